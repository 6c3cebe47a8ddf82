//! A name that is neither 'inputs' nor a step.

use super::super::template::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB023",
    name: "unknown_step",
    severity: Severity::Error,
    summary: "a name that is neither 'inputs' nor a step",
    explanation: "\
A template sees the run's inputs as {{ inputs.NAME }} and the output of each earlier step as {{
ID.FIELD }}. Text in an expression stands in quotes: {{ 'text' }}.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (site, flaw) in book.template_flaws() {
        let Fault::UnknownName(name) = &flaw.fault else {
            continue;
        };
        let finding = Finding::new(&RULE, flaw.span.clone(), format!("there is no step '{name}'"));
        if book.names.inputs.field(name).is_some() {
            let mut finding = finding.help(format!("did you mean the input 'inputs.{name}'?"));
            finding.suggestion = Some(format!("inputs.{name}"));
            findings.push(finding);
            continue;
        }
        let steps = &book.document.steps[..site.step];
        let earlier = steps.iter().filter_map(|step| step.id_text());
        let names = std::iter::once("inputs").chain(earlier);
        findings.push(finding.suggest(&findings.spelling, name, names));
    }
}
