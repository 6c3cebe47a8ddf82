//! The audit log: one structured line for everything that a person may later have to answer for. It is an observer, so
//! nothing is logged that did not happen.

use super::{Event, RecordedEvent, ResumeMode, Run, RunEvent, RunObserver, StepEvent, StepPath};

/// Logs to the target `audit`.
#[derive(Debug, Default)]
pub struct AuditLog;

impl RunObserver for AuditLog {
    fn on_event(&self, run: &Run, recorded: &RecordedEvent) {
        match &recorded.event {
            Event::Run(event) => log_run_event(run, event),
            Event::Step { path, event: StepEvent::StepApplied { .. } } => {
                log_changes(run, path, "apply", &[]);
            }
            Event::Step { path, event: StepEvent::StepUndoFinished { not_restored, .. } } => {
                log_changes(run, path, "undo", not_restored);
            }
            Event::Step { path, event: StepEvent::StepApproved { actor, answers, .. } } => {
                let answers = serde_json::Value::Object(answers.clone());
                let (run, step) = (run.id().as_str(), path);
                tracing::info!(target: "audit", actor, run, %step, %answers, "approved");
            }
            Event::Step { path, event: StepEvent::StepRejected { actor, reason, .. } } => {
                let (run, step) = (run.id().as_str(), path);
                tracing::info!(target: "audit", actor, run, %step, reason, "rejected");
            }
            Event::Step { .. } => {}
        }
    }
}

fn log_run_event(run: &Run, event: &RunEvent) {
    let (id, runbook) = (run.id().as_str(), run.spec.runbook.as_str());
    let (actor, action) = match event {
        RunEvent::RunStarted(spec) => {
            let (actor, digest) = (&spec.actor, &spec.digest);
            let origin = spec.origin.as_deref().unwrap_or("unknown");
            let outside_window = spec.outside_window.as_deref();
            tracing::info!(
                target: "audit",
                actor, run = id, runbook, origin, digest, outside_window,
                "started"
            );
            return;
        }
        RunEvent::RunResumed { actor, amendment: Some(amendment), .. } => {
            let list = |paths: &[StepPath]| StepPath::join(paths, " ");
            let (skipped, again) = (list(&amendment.skip), list(&amendment.again));
            let from = amendment.from.as_ref().map(ToString::to_string);
            tracing::info!(
                target: "audit",
                actor, run = id, runbook, origin = run.origin(), digest = run.digest(), from, skipped, again,
                "resumed differently"
            );
            return;
        }
        RunEvent::RunResumed { actor, mode: ResumeMode::Continue, .. } => (actor, "resumed"),
        RunEvent::RunResumed { actor, .. } => (actor, "rollback requested"),
        RunEvent::RunCancelRequested { actor } => (actor, "cancel requested"),
        RunEvent::RunAbandoned { actor } => (actor, "abandoned"),
        RunEvent::RunRestoring { .. } | RunEvent::RunEnded { .. } => return,
    };
    tracing::info!(target: "audit", actor, run = id, runbook, "{action}");
}

/// Logs one line for each target. What a step found done already, or did not restore, is in the journal.
fn log_changes(run: &Run, path: &StepPath, operation: &str, not_restored: &[String]) {
    let intent = run.step(path).and_then(|step| step.intent.as_ref());
    for change in intent.into_iter().flat_map(|intent| &intent.changes) {
        let (before, after) = match operation {
            "undo" => (&change.after, &change.before),
            _ => (&change.before, &change.after),
        };
        tracing::info!(
            target: "audit",
            actor = run.head.actor,
            run = run.id().as_str(),
            step = %path,
            operation,
            change_target = change.target,
            %before,
            %after,
            not_restored = not_restored.join("; "),
            "changed"
        );
    }
}
