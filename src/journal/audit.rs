//! The audit log: one structured line for everything that somebody may later have to answer for. It is written where
//! events are written, after the event is safe, so nothing is logged that did not happen.

use super::{Event, Record, Run};

/// Logs what a record means for the audit, given the run as it stands with it.
pub(super) fn tell(run: &Run, record: &Record) {
    match &record.event {
        Event::RunStarted(started) => told(run, &started.actor, "started"),
        Event::RunResumed { actor, back: false, .. } => told(run, actor, "resumed"),
        Event::RunResumed { actor, .. } => told(run, actor, "rollback asked for"),
        Event::CancelRequested { actor } => told(run, actor, "cancel asked for"),
        Event::Abandoned { actor } => told(run, actor, "abandoned"),
        Event::Applied { step, .. } => changed(run, step, "apply", &[]),
        Event::Undone { step, left_alone } => changed(run, step, "undo", left_alone),
        _ => {}
    }
}

fn told(run: &Run, who: &str, what: &str) {
    let (id, runbook) = (run.id.as_str(), run.started.runbook.as_str());
    tracing::info!(target: "audit", who, run = id, runbook, "{what}");
}

/// One line a target. What a step found done already, or left alone, is in the journal beside it.
fn changed(run: &Run, step: &str, way: &str, left_alone: &[String]) {
    let intent = run.step(step).and_then(|step| step.intent.as_ref());
    for change in intent.into_iter().flat_map(|intent| &intent.changes) {
        let (before, after) = match way {
            "undo" => (&change.after, &change.before),
            _ => (&change.before, &change.after),
        };
        tracing::info!(
            target: "audit",
            who = run.actor,
            run = run.id.as_str(),
            step,
            way,
            on = change.target,
            %before,
            %after,
            left_alone = left_alone.join("; "),
            "changed"
        );
    }
}
