//! A limit that no step can reach.

use super::super::limits::LimitKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB073",
    name: "useless_limit",
    severity: Severity::Warning,
    summary: "a limit that no step can reach",
    explanation: "\
A limit that protects nothing lets a reader believe that it does. 'nodes_at_most' is for steps that set
the size of a nodegroup or an Auto Scaling group, 'cordon_at_most' for steps that cordon nodes, and
'keep_ready' for steps that take pods or nodes away. Steps of called runbooks count.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    // An unknown action, or a runbook that cannot be called, may reach every limit.
    if analysis.steps.iter().any(|step| step.signature.is_none()) {
        return;
    }
    let is_reached = |kind: LimitKind| {
        let mut signatures = analysis.steps.iter().filter_map(|step| step.signature);
        signatures.any(|signature| signature.limits.contains(&kind))
    };
    let pairs = analysis.document.limits.and_then(|limits| limits.pairs()).unwrap_or_default();
    for (key, _) in pairs {
        let kind = LimitKind::ALL.into_iter().find(|kind| key.text() == Some(kind.key()));
        let Some(kind) = kind.filter(|kind| !is_reached(*kind)) else { continue };
        let message = format!("no step {}: '{}' has no effect", kind.reached_by(), kind.key());
        diagnostics.push(Diagnostic::new(&RULE, key.span.clone(), message).help("remove it"));
    }
}
