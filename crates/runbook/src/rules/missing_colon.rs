//! A key in braces without the colon, or without the space after it.

use std::ops::Range;

use super::super::yaml::{Node, NodeKind};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB094",
    name: "missing_colon",
    severity: Severity::Error,
    summary: "a key in braces without ': ' after it",
    explanation: "\
In {a: 1, b: 2} each key has a colon and a space after it. YAML reads {a 1} and {a:1} as one key, 'a 1' or 'a:1',
without a value.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (key, value) in analysis.root.iter().filter(|(key, _)| key.text() != Some("steps")) {
        for (key, value) in value.pairs().unwrap_or_default() {
            check_tree(analysis, value, &(key.span.start..value.span.end), diagnostics);
        }
        check_tree(analysis, value, &(key.span.start..value.span.end), diagnostics);
    }
    for step in &analysis.document.steps {
        check_tree(analysis, step.node, &step.node.span, diagnostics);
    }
}

/// Checks the mappings in a tree; all that is found in `around` follows from the missing colon.
fn check_tree(
    analysis: &Analysis<'_>,
    node: &Node,
    around: &Range<usize>,
    diagnostics: &mut Diagnostics,
) {
    match &node.kind {
        NodeKind::List(items) => {
            items.iter().for_each(|item| check_tree(analysis, item, around, diagnostics));
        }
        NodeKind::Map(pairs) => {
            for (key, value) in pairs {
                match found(analysis, key, value) {
                    Some(diagnostic) => return diagnostics.push_for(around.clone(), diagnostic),
                    None => check_tree(analysis, value, around, diagnostics),
                }
            }
        }
        NodeKind::Scalar { .. } | NodeKind::Broken => {}
    }
}

fn found(analysis: &Analysis<'_>, key: &Node, value: &Node) -> Option<Diagnostic> {
    let text = key.text()?;
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let is_absent = value.text() == Some("") && value.span.is_empty();
    // `with:{a: 1}` has the brace in its key.
    if let Some((name, rest)) = text.split_once(':')
        && is_name(name)
        && !rest.starts_with(['/', ' '])
        && (is_absent || rest.starts_with(['{', '[']))
        && !rest.is_empty()
    {
        let message = format!("a space is missing after '{name}:'");
        let mut diagnostic = Diagnostic::new(&RULE, key.span.clone(), message).help(if is_absent {
            format!("write '{name}: {}'", shown(rest))
        } else {
            format!("write '{name}: …'")
        });
        diagnostic.suggestion = Some(format!("{name}: {rest}")).filter(|_| is_absent);
        return Some(diagnostic);
    }
    let (name, rest) = text.split_once(' ')?;
    if is_name(name) && rest.starts_with(['{', '[']) && !rest.starts_with("{{") {
        let place = key.span.start..key.span.start + name.len();
        let mut diagnostic =
            Diagnostic::new(&RULE, place, format!("a ':' is missing after '{name}'"))
                .help(format!("write '{name}: …'"));
        diagnostic.suggestion = Some(format!("{name}:"));
        return Some(diagnostic);
    }
    if !is_absent {
        return None;
    }
    let is_written = analysis.source.text().get(key.span.clone()) == Some(text);
    let rest = rest.trim_start_matches(['=', '>', ' ']);
    if !is_name(name) || !is_written || text.contains('{') {
        return None;
    }
    let mut diagnostic =
        Diagnostic::new(&RULE, key.span.clone(), format!("a ':' is missing after '{name}'"))
            .help(format!("write '{name}: {}'", shown(rest)));
    diagnostic.suggestion = Some(format!("{name}: {rest}")).filter(|_| !rest.contains(['"', '\'']));
    Some(diagnostic)
}

/// Returns a value for a message, shortened when it is long.
fn shown(value: &str) -> String {
    const MAX_SHOWN: usize = 40;
    let short: String = value.chars().take(MAX_SHOWN).collect();
    if short.len() < value.len() { format!("{short}…") } else { short }
}
