//! A read whose output is not used.

use std::collections::HashSet;

use super::super::registry::ActionKind;
use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB053",
    name: "unused_output",
    severity: Severity::Note,
    summary: "a read whose output is not used",
    explanation: "\
A step that only reads changes nothing. If no other step uses its output, its only effect is to fail
when the read fails.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    if !analysis.is_fully_parsed() {
        return;
    }
    let mut used: HashSet<usize> =
        analysis.sites().flat_map(|site| &site.inferred.steps).copied().collect();
    for (_, issue) in analysis.template_issues() {
        match &issue.kind {
            TemplateIssueKind::ForwardReference(step) => {
                used.insert(*step);
            }
            TemplateIssueKind::UnknownName(name) => {
                let meant =
                    diagnostics.spelling.correction(name, analysis.symbols.steps.keys().copied());
                used.extend(meant.and_then(|name| analysis.symbols.steps.get(name.as_str())));
            }
            _ => {}
        }
    }
    for (index, step) in analysis.steps.iter().enumerate() {
        let reads = step.signature.is_some_and(|action| {
            let has_output = !action.output.fields.is_empty() || action.declares_output();
            action.kind == ActionKind::Read && has_output
        });
        if reads && !used.contains(&index) && !analysis.id(index).is_empty() {
            let message = format!("the output of '{}' is not used", analysis.id(index));
            let diagnostic = Diagnostic::new(&RULE, analysis.declaration(index), message);
            diagnostics.push(diagnostic.help("use it in a later step, or remove this step"));
        }
    }
}
