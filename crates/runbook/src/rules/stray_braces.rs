//! The end of a template where no template can be.

use super::super::document::start_span;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB113",
    name: "stray_braces",
    severity: Severity::Warning,
    summary: "'}}' in a text that is no template",
    explanation: "\
The default of an input, its description, and that of a runbook are plain texts. `}}` in one of them is a part of the
text: probably it is left over from a template.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let inputs = analysis.header().find(|(key, _)| key.text() == Some("inputs"));
    let inputs = inputs.and_then(|(_, inputs)| inputs.pairs()).unwrap_or_default().iter();
    let of_inputs = inputs.flat_map(|(_, declaration)| {
        let value = |key| declaration.member(key);
        [value("default"), value("description")].into_iter().flatten()
    });
    for node in of_inputs.chain(analysis.document.description) {
        check_value(node, diagnostics);
    }
}

fn check_value(node: &Node, diagnostics: &mut Diagnostics) {
    if let Some(items) = node.items() {
        return items.iter().for_each(|item| check_value(item, diagnostics));
    }
    if let Some(pairs) = node.pairs() {
        return pairs.iter().for_each(|(_, value)| check_value(value, diagnostics));
    }
    let is_stray = |text: &str| text.contains("}}") && !text.contains("{{") && !is_balanced(text);
    if !node.text().is_some_and(is_stray) {
        return;
    }
    let message = "'}}' is a part of this text: no template begins before it";
    let diagnostic = Diagnostic::new(&RULE, start_span(node), message);
    diagnostics.push(diagnostic.help("remove the braces: the value has no templates"));
}

/// Whether each brace that is opened is closed, as in JSON.
fn is_balanced(text: &str) -> bool {
    let open = text.chars().try_fold(0_usize, |open, character| match character {
        '{' => Some(open + 1),
        '}' => open.checked_sub(1),
        _ => Some(open),
    });
    open == Some(0)
}
