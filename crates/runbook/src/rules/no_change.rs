//! A step that gives a target the size that it has.

use super::super::analysis::flow::{SIZES, literal_integer};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB079",
    name: "no_change",
    severity: Severity::Warning,
    summary: "a step that gives a group or a workload the size that it has",
    explanation: "\
A step that sets the size which was just read, or just set, changes nothing, and the steps after it act as if it had.
Probably something is missing: `{{ group.desired + 1 }}`, `{{ group.desired * 2 }}`. A step that sets back what an
earlier one has changed is another matter, and so is one with other changes in between.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, with, facts) in analysis.changes() {
        if let Some(node) = with.member("factor").filter(|node| literal_integer(node) == Some(1)) {
            let message = "a factor of 1 changes nothing";
            diagnostics
                .push(Diagnostic::new(&RULE, node.span.clone(), message).help("write 2 or more"));
            continue;
        }
        let given = SIZES.iter().find_map(|name| with.member(name).map(|node| (*name, node)));
        let (Some((name, node)), Some((current, by))) = (given, &facts.before.current) else {
            continue;
        };
        if facts.size.as_ref() != Some(current) {
            continue;
        }
        let id = analysis.id(*by);
        let message =
            format!("'{name}' is the size that '{id}' has found or set: this step changes nothing");
        let help = format!(
            "write another size, such as \"{{{{ {id}.{name} + 1 }}}}\", or remove the step"
        );
        let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message).help(help);
        diagnostics.push(diagnostic.label(analysis.declaration(*by), "it has this size here"));
    }
}
