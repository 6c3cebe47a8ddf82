//! More pods to keep than there are to be.

use super::super::analysis::flow::{EffectKind, length};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB084",
    name: "keeps_too_many",
    severity: Severity::Warning,
    summary: "more pods to keep than there are to be",
    explanation: "\
'keep' names the pods that stay when a deployment is to have fewer. They stay as far as 'replicas' goes: with fewer
replicas than pods to keep, some of them go, and the runbook does not say which.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let flow = &analysis.flow;
    for (index, raw) in analysis.document.steps.iter().enumerate() {
        let (Some(with), Some(facts)) = (raw.with, flow.steps.get(index)) else { continue };
        let (Some(keep), Some(replicas)) = (with.member("keep"), with.member("replicas")) else {
            continue;
        };
        let of_item = facts.acts.iter().find_map(|act| match &act.effect.kind {
            EffectKind::Size(size) => size.as_ref(),
            _ => None,
        });
        let (Some(size), false) = (facts.size.as_ref().or(of_item), keep.is_null()) else {
            continue;
        };
        let message = if size.as_number() == Some(0) {
            "no pod is to be left, but 'keep' names pods".to_owned()
        } else if length(keep).is_some_and(|kept| kept.exceeds(size)) {
            "'keep' has more pods than 'replicas' leaves".to_owned()
        } else {
            continue;
        };
        let diagnostic = Diagnostic::new(&RULE, replicas.span.clone(), message);
        let diagnostic = diagnostic.label(keep.span.clone(), "the pods to keep");
        diagnostics
            .push(diagnostic.help("set 'replicas' to the number of pods to keep, or keep fewer"));
    }
}
