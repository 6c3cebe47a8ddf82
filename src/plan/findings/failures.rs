//! Steps that fail with what is there now, and a rehearsal that fails.

use super::{error, evidence::Evidence, warning};
use crate::{
    journal::FailureKind,
    plan::model::{Basis, Effect, Finding, Rehearsal},
};

/// The limits of a runbook, as messages name them.
const LIMITS: [&str; 3] = ["nodes_at_most", "cordon_at_most", "keep_ready"];

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for step in evidence.steps.iter().filter(|step| step.basis == Basis::Read) {
        let Effect::Fails { failure } = &step.effect else { continue };
        let code = match failure.kind {
            FailureKind::NotFound => "object_missing",
            _ if failure.message.contains("not found") => "object_missing",
            _ => "step_fails",
        };
        let mut found = error(code, failure.message.clone())
            .because("the step was evaluated against the cluster as it is now");
        if let Some(hint) = &failure.hint {
            found = found.hint(hint.clone());
        }
        findings.push(found.at(&step.path));
    }
    let Rehearsal::Done { outcome, failure, failed_step, .. } = evidence.rehearsal else {
        return findings;
    };
    let is_said = |finding: &Finding| finding.step == *failed_step;
    let succeeds = matches!(outcome.as_str(), "succeeded" | "succeeded_with_failures");
    if succeeds || (failed_step.is_some() && findings.iter().any(is_said)) {
        return findings;
    }
    let is_limit = failure.as_ref().is_some_and(|failure| {
        LIMITS.iter().any(|limit| failure.message.contains(&format!("limit {limit}")))
    });
    let code = if is_limit { "limit_exceeded" } else { "rehearsal_failed" };
    let why = failure.as_ref().map_or_else(|| outcome.clone(), |failure| failure.message.clone());
    // A limit is a limit. Anything else is the prediction of a simulation, which a person should read.
    let report = if is_limit { error } else { warning };
    let mut found = report(code, format!("the run would end as {outcome}: {why}"))
        .because("the whole runbook was run on a copy of the cluster");
    if let Some(hint) = failure.as_ref().and_then(|failure| failure.hint.as_ref()) {
        found = found.hint(hint.clone());
    }
    findings.push(match failed_step {
        Some(step) => found.at(step),
        None => found.of_run(),
    });
    findings
}
