//! Steps that fail with what is there now, and a rehearsal that fails.

use super::{error, evidence::Evidence, warning};
use crate::{
    journal::{Failure, FailureKind, StepPath},
    plan::model::{Basis, Effect, Finding, Rehearsal},
};

/// The refusals of actions and of the engine, by a part of their messages, with the code of each. What is not here has
/// a code that only says where it was found.
const REFUSALS: [(&str, &str); 16] = [
    ("limit nodes_at_most", "limit_exceeded"),
    ("limit cordon_at_most", "limit_exceeded"),
    ("limit keep_ready", "limit_exceeded"),
    ("disruption budget", "budget_blocks"),
    ("is scaled by HorizontalPodAutoscaler", "replicas_managed"),
    ("is paused", "rollout_paused"),
    ("exceeded quota", "quota_exceeded"),
    ("is suspended, so its size", "processes_suspended"),
    ("the process Launch", "processes_suspended"),
    ("exceeds the maximum of", "maximum_too_small"),
    ("must have exactly one Auto Scaling group", "several_groups"),
    ("not protected from scale-in", "all_protected"),
    ("is being updated by another client", "update_in_flight"),
    ("only an ACTIVE nodegroup", "update_in_flight"),
    ("not found", "object_missing"),
    ("does not exist", "object_missing"),
];

/// The actions whose messages are those of authors, or of what they ask.
const OF_AUTHORS: [&str; 3] = ["assert", "http_probe", "run_job"];

/// Returns the code of a refusal, if it is a known one.
fn code_of(evidence: &Evidence<'_>, step: &StepPath, failure: &Failure) -> Option<&'static str> {
    let step = evidence.steps.iter().find(|found| found.path == *step);
    if step.is_some_and(|step| OF_AUTHORS.contains(&step.action.as_str())) {
        return None;
    }
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
        let code = code_of(evidence, &step.path, failure).unwrap_or("step_fails");
        let report = if step.may_fail { warning } else { error };
        let mut found = report(code, failure.message.clone())
            .because("the step was evaluated against the cluster as it is now");
        let hint = failure.hint.clone();
        found = found.hint(hint.unwrap_or_else(|| match code {
            "update_in_flight" => "start the run when the update has ended".into(),
            "several_groups" => "act on each group by its name".into(),
            _ => "correct what the step names, or its inputs".into(),
        }));
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
    let known = match (failure, failed_step) {
        (Some(failure), Some(step)) => code_of(evidence, step, failure),
        _ => None,
    };
    let why = failure.as_ref().map_or_else(|| outcome.clone(), |failure| failure.message.clone());
    // An action refuses what it was told to by the facts. Anything else is the prediction of a simulation.
    let report = if known.is_some() { error } else { warning };
    let code = known.unwrap_or("rehearsal_failed");
    let message = match outcome.as_str() {
        "not_finished" => {
            "the rehearsal took too long and was stopped: what follows is not known".to_owned()
        }
        _ => format!("the run would end as {outcome}: {why}"),
    };
    let mut found =
        report(code, message).because("the whole runbook was run on a copy of the cluster");
    let hint = failure.as_ref().and_then(|failure| failure.hint.clone());
    let is_answer = failure.as_ref().is_some_and(|failure| failure.message.contains("answer '"));
    found = found.hint(hint.unwrap_or_else(|| match is_answer {
        true => "give the answer with --answer NAME=VALUE".into(),
        false => "`plan --all` shows every step and wait".into(),
    }));
    findings.push(match failed_step {
        Some(step) => found.at(step),
        None => found.of_run(),
    });
    findings
}
