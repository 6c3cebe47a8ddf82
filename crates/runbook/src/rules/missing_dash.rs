//! A step without the dash that begins it.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB093",
    name: "missing_dash",
    severity: Severity::Error,
    summary: "a step without the '-' that begins it",
    explanation: "\
Each step begins with '- ', before its first key. Without the dash, YAML reads the keys of the step as further keys of
the step above, which has most of them already.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    if let Some((first, _)) = analysis.unlisted_step() {
        let key = first.text().unwrap_or_default();
        let message = format!("a '-' is missing before '{key}': each step begins with '- '");
        let diagnostic = Diagnostic::new(&RULE, first.span.clone(), message);
        let end = analysis.source.text().len();
        diagnostics.push_for(first.span.start..end, diagnostic.help(format!("write '- {key}'")));
    }
    let steps = &analysis.document.steps;
    for swallowed in &analysis.swallowed {
        let Some(step) = steps.get(swallowed.step) else { continue };
        let key = &swallowed.key;
        let message = if swallowed.is_first {
            format!("a '-' is missing before '{key}': each step begins with '- '")
        } else {
            format!("another step begins with this '{key}', without '- id: …' before it")
        };
        let help = if swallowed.is_first {
            format!("write '- {key}'")
        } else {
            "add '- id: …'".to_owned()
        };
        let diagnostic = Diagnostic::new(&RULE, swallowed.span.clone(), message)
            .label(step.head(), "the step above")
            .help(help);
        // YAML reads the keys of both steps as those of one.
        let next = steps.get(swallowed.step + 1).map(|next| next.node.span.start);
        let end = next.unwrap_or(analysis.source.text().len());
        diagnostics.push_for(step.node.span.start..end, diagnostic);
    }
}
