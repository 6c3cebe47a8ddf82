//! A name that is neither `inputs` nor a step.

use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB023",
    name: "unknown_step",
    severity: Severity::Error,
    summary: "a name that is neither 'inputs' nor a step",
    explanation: "\
A template refers to the inputs of the run as {{ inputs.NAME }} and to the output of an earlier step
as {{ ID.FIELD }}. A string in an expression is quoted: {{ 'text' }}.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (site, issue) in analysis.template_issues() {
        let TemplateIssueKind::UnknownName(name) = &issue.kind else {
            continue;
        };
        let diagnostic =
            Diagnostic::new(&RULE, issue.span.clone(), format!("unknown step '{name}'"));
        if analysis.symbols.inputs.field(name).is_some() {
            let mut diagnostic = diagnostic.help(format!("did you mean 'inputs.{name}'?"));
            diagnostic.suggestion = Some(format!("inputs.{name}"));
            diagnostics.push(diagnostic);
            continue;
        }
        let steps = &analysis.document.steps[..site.step];
        let earlier = steps.iter().filter_map(|step| step.id_text());
        let names = std::iter::once("inputs").chain(earlier);
        diagnostics.push(diagnostic.suggest(&diagnostics.spelling, name, names));
    }
}
