//! The audit log: one structured line for everything that somebody may later have to answer for. It is written where
//! events are written, after the event is safe, so nothing is logged that did not happen.

use super::{Event, EventRecord, Run};

/// Logs what a record means for the audit, given the run as it stands with it.
pub(super) fn log_event(run: &Run, record: &EventRecord) {
    match &record.event {
        Event::RunStarted(spec) => log_run(run, &spec.actor, "started"),
        Event::RunResumed { actor, rollback: false, .. } => log_run(run, actor, "resumed"),
        Event::RunResumed { actor, .. } => log_run(run, actor, "rollback asked for"),
        Event::CancelRequested { actor } => log_run(run, actor, "cancel asked for"),
        Event::RunAbandoned { actor } => log_run(run, actor, "abandoned"),
        Event::StepApplied { step, .. } => log_change(run, step, "apply", &[]),
        Event::UndoFinished { step, not_restored } => log_change(run, step, "undo", not_restored),
        _ => {}
    }
}

fn log_run(run: &Run, actor: &str, what: &str) {
    let (id, runbook) = (run.id.as_str(), run.spec.runbook.as_str());
    tracing::info!(target: "audit", actor, run = id, runbook, "{what}");
}

/// One line a target. What a step found done already, or left alone, is in the journal beside it.
fn log_change(run: &Run, step: &str, operation: &str, not_restored: &[String]) {
    let intent = run.step(step).and_then(|step| step.intent.as_ref());
    for change in intent.into_iter().flat_map(|intent| &intent.changes) {
        let (before, after) = match operation {
            "undo" => (&change.after, &change.before),
            _ => (&change.before, &change.after),
        };
        tracing::info!(
            target: "audit",
            actor = run.actor,
            run = run.id.as_str(),
            step,
            operation,
            change_target = change.target,
            %before,
            %after,
            left_alone = not_restored.join("; "),
            "changed"
        );
    }
}
