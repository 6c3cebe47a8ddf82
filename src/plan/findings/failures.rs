//! Steps that fail with what is there now, and a rehearsal that fails.

use super::{error, evidence::Evidence, warning};
use crate::{
    journal::{Failure, FailureKind},
    plan::model::{Basis, Effect, Finding, Rehearsal},
};

/// The refusals of actions and of the engine, by a part of their messages, with the code of each. What is not here has
/// a code that only says where it was found.
const REFUSALS: [(&str, &str); 14] = [
    ("limit nodes_at_most", "limit_exceeded"),
    ("limit cordon_at_most", "limit_exceeded"),
    ("limit keep_ready", "limit_exceeded"),
    ("disruption budget", "budget_blocks"),
    ("is scaled by HorizontalPodAutoscaler", "replicas_managed"),
    ("is paused", "rollout_paused"),
    ("is suspended, so its size", "processes_suspended"),
    ("the process Launch", "processes_suspended"),
    ("exceeds the maximum of", "maximum_too_small"),
    ("must have exactly one Auto Scaling group", "several_groups"),
    ("not protected from scale-in", "all_protected"),
    ("is being updated by another client", "update_in_flight"),
    ("only an ACTIVE nodegroup", "update_in_flight"),
    ("not found", "object_missing"),
];

/// Returns the code of a refusal, if it is a known one.
fn code_of(failure: &Failure) -> Option<&'static str> {
    // What is waited for in vain may come in the meantime, from another client. A limit is one all the same.
    let counts = |code: &str| failure.kind != FailureKind::TimedOut || code == "limit_exceeded";
    let known = REFUSALS.iter().find(|(text, code)| failure.message.contains(text) && counts(code));
    let missing = (failure.kind == FailureKind::NotFound).then_some("object_missing");
    known.map(|(_, code)| *code).or(missing)
}

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for step in evidence.steps.iter().filter(|step| step.basis == Basis::Read) {
        let Effect::Fails { failure } = &step.effect else { continue };
        let code = code_of(failure).unwrap_or("step_fails");
        let mut found = error(code, failure.message.clone())
            .because("the step was evaluated against the cluster as it is now");
        let hint = failure.hint.clone();
        found =
            found.hint(hint.unwrap_or_else(|| "correct what the step names, or its inputs".into()));
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
    let known = failure.as_ref().and_then(code_of);
    let why = failure.as_ref().map_or_else(|| outcome.clone(), |failure| failure.message.clone());
    // An action refuses what it was told to by the facts. Anything else is the prediction of a simulation.
    let report = if known.is_some() { error } else { warning };
    let code = known.unwrap_or("rehearsal_failed");
    let mut found = report(code, format!("the run would end as {outcome}: {why}"))
        .because("the whole runbook was run on a copy of the cluster");
    let hint = failure.as_ref().and_then(|failure| failure.hint.clone());
    found = found.hint(hint.unwrap_or_else(|| "`plan --all` shows every step and wait".into()));
    findings.push(match failed_step {
        Some(step) => found.at(step),
        None => found.of_run(),
    });
    findings
}
