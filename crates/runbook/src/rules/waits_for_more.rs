//! A wait for more nodes or pods than were asked for.

use super::super::analysis::flow::Reading;
use super::super::registry::ActionKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB078",
    name: "waits_for_more",
    severity: Severity::Warning,
    summary: "a wait for more nodes or pods than were asked for",
    explanation: "\
A step that waits for more nodes or pods than the step before has asked for waits until its timeout, and fails. Wait
for what was asked for: `count: \"{{ scale_up.desired }}\"`.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let flow = &analysis.flow;
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, step.signature) else { continue };
        let Some(facts) = flow.steps.get(index).filter(|_| action.kind == ActionKind::Wait) else {
            continue;
        };
        let (Some(count), Some((asked, by))) = (with.member("count"), &facts.before.asked) else {
            continue;
        };
        // Pods that are to go are counted in another way.
        if with.member("until").is_some_and(|until| until.text() != Some("ready")) {
            continue;
        }
        let reading = Reading { analysis, flow };
        let Some(wanted) = reading.size(count).filter(|wanted| wanted.exceeds(asked)) else {
            continue;
        };
        let id = analysis.id(*by);
        let message = match (wanted.as_number(), asked.as_number()) {
            (Some(wanted), Some(asked)) => {
                format!("this waits for {wanted}, but '{id}' asks for {asked}")
            }
            _ => format!("this waits for more than '{id}' asks for"),
        };
        let help = match action.params.field("nodegroup") {
            Some(_) => format!("write \"{{{{ {id}.desired }}}}\""),
            None => format!("write \"{{{{ {id}.replicas }}}}\""),
        };
        let diagnostic = Diagnostic::new(&RULE, count.span.clone(), message).help(help);
        diagnostics.push(diagnostic.label(analysis.declaration(*by), "it asks for fewer"));
    }
}
