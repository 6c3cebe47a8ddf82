//! A run as lines of text, in the form that `/status`, `run` and `runs logs` share:
//! `[2024-01-01 12:00:01] Starting step: NAME`.

use std::{borrow::Borrow, collections::HashMap, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use text::printable;

use super::{
    AfterFailure, Amendment, Event, Failure, RecordedDifference, RecordedEvent, ResumeMode, Run,
    RunEvent, RunOutcome, RunSpec, StepEvent, StepPath, origin_and_digest,
};

/// Turns events into lines, one event at a time. It remembers step names between them.
#[derive(Debug, Default)]
pub struct LogLines {
    names: HashMap<StepPath, String>,
}

/// Formats a time as log lines show it: UTC, to the second.
pub fn timestamp(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

impl LogLines {
    /// Returns one for the lines that a run will have from now on: it knows the names of the steps that have begun.
    pub fn after(run: &Run) -> Self {
        let names = run.steps().iter().map(|step| (step.path.clone(), step.name.clone()));
        Self { names: names.collect() }
    }

    /// Returns all lines of a run.
    pub fn of<E: Borrow<RecordedEvent>>(events: &[E]) -> Vec<String> {
        let mut lines = Self::default();
        events.iter().flat_map(|event| lines.lines(event.borrow())).collect()
    }

    /// Returns the lines of the next event: most have one, some none.
    pub fn lines(&mut self, recorded: &RecordedEvent) -> Vec<String> {
        let time = timestamp(recorded.time);
        self.texts(&recorded.event).into_iter().map(|text| format!("[{time}] {text}")).collect()
    }

    /// Returns the same lines without their times. Each is one line, whatever is in the texts of the event. Those of an
    /// item, or of a step of a called runbook, begin with its path.
    pub fn texts(&mut self, event: &Event) -> Vec<String> {
        let texts = match event {
            Event::Run(event) => run_texts(event),
            Event::Step { path, event } => {
                let texts = self.step_texts(path, event);
                // Parts of steps are at work at the same time.
                match path.is_top_level() {
                    true => texts,
                    false => texts.iter().map(|text| format!("{path}: {text}")).collect(),
                }
            }
        };
        // A text of a block scalar ends with a line break.
        texts.iter().map(|text| printable(text.trim_end()).into_owned()).collect()
    }

    fn step_texts(&mut self, path: &StepPath, event: &StepEvent) -> Vec<String> {
        match event {
            StepEvent::StepStarted { name, description } => {
                self.names.insert(path.clone(), name.clone());
                let description = description.iter().flat_map(|text| text.lines());
                let first = format!("Starting step: {name}");
                std::iter::once(first).chain(description.map(str::to_owned)).collect()
            }
            StepEvent::StepCalled { runbook, .. } => vec![format!("Calling runbook: {runbook}")],
            StepEvent::StepItemsDecided { items } => {
                let count = items.as_array().map_or(0, Vec::len);
                let count = items.as_object().map_or(count, serde_json::Map::len);
                vec![text::plural(count, "item")]
            }
            StepEvent::StepResumed { name } => {
                self.names.insert(path.clone(), name.clone());
                vec![format!("Resuming step: {name}")]
            }
            StepEvent::StepSkipped { name, reason } => {
                vec![format!("Skipped step: {name} ({reason})")]
            }
            StepEvent::StepMessage { message } => vec![message.clone()],
            StepEvent::StepWaiting { message, waited_ms } => {
                vec![format!("Waiting: {message}{}", so_far(*waited_ms))]
            }
            StepEvent::StepApprovalRequested { message, approvals, not_by, expires_at, .. } => {
                requested(path, message, *approvals, not_by, *expires_at)
            }
            StepEvent::StepApproved { actor, note, .. } => {
                let note = note.iter().map(|note| format!(": {note}"));
                vec![format!("Approved by {actor}{}", note.collect::<String>())]
            }
            StepEvent::StepRejected { actor, reason, .. } => {
                vec![format!("Rejected by {actor}: {reason}")]
            }
            StepEvent::StepPrepared { changes, .. } => changes
                .iter()
                .map(|c| format!("Changing {}: {} -> {}", c.target, c.before, c.after))
                .collect(),
            StepEvent::StepApplied { .. } => vec![],
            StepEvent::StepOperationFailed { failure, .. } => {
                prefixed("Operation failed: ", failure, "")
            }
            StepEvent::StepAttemptFailed { attempt, failure, retry_in_ms } => {
                let delay = Duration::from_millis(*retry_in_ms).as_secs_f64();
                let retry = format!("; retrying in {delay:.1} s");
                prefixed(&format!("Attempt {attempt} failed: "), failure, &retry)
            }
            StepEvent::StepCompleted { message, .. } => message
                .iter()
                .cloned()
                .chain([format!("Completed step: {}", self.name(path))])
                .collect(),
            StepEvent::StepFailed { failure, then } => {
                let mut lines =
                    prefixed(&format!("Failed step: {}: ", self.name(path)), failure, "");
                if *then == AfterFailure::Rollback {
                    lines.push("Rolling back".into());
                }
                lines
            }
            StepEvent::StepUndoStarted => vec![format!("Undoing step: {}", self.name(path))],
            StepEvent::StepUndoFinished { not_restored, .. } => not_restored
                .iter()
                .map(|target| format!("Not restored: {target}"))
                .chain([undone(&self.name(path), not_restored.len())])
                .collect(),
            StepEvent::StepUndoFailed { failure } => {
                prefixed(&format!("Could not undo step: {}: ", self.name(path)), failure, "")
            }
        }
    }

    fn name(&self, path: &StepPath) -> String {
        self.names.get(path).cloned().unwrap_or_else(|| path.to_string())
    }
}

fn run_texts(event: &RunEvent) -> Vec<String> {
    match event {
        RunEvent::RunStarted(spec) => {
            let file = spec.origin_and_digest().map(|file| format!("Runbook file: {file}"));
            let outside = spec.outside_window.iter();
            let outside = outside.map(|reason| format!("Outside the change windows: {reason}"));
            std::iter::once(started(spec)).chain(outside).chain(file).collect()
        }
        RunEvent::RunResumed { actor, mode: ResumeMode::Continue, amendment, .. } => {
            let amended = amendment.iter().flat_map(|amendment| amendment_texts(amendment));
            std::iter::once(format!("Resumed by {actor}")).chain(amended).collect()
        }
        RunEvent::RunResumed { actor, .. } => vec![format!("Rolling back, requested by {actor}")],
        RunEvent::RunCancelRequested { actor } => vec![format!("Cancel requested by {actor}")],
        RunEvent::RunRestoring { .. } => vec!["Restoring what is not to outlast the run".into()],
        RunEvent::RunEnded { outcome, failure, differences } => {
            let mut lines = ended(*outcome, failure.as_ref());
            lines.extend(difference_texts(differences.as_deref().unwrap_or_default()));
            lines
        }
        RunEvent::RunAbandoned { actor } => vec![format!("Abandoned by {actor}")],
    }
}

/// Returns what a person changed about the rest of a run as lines.
fn amendment_texts(amendment: &Amendment) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(runbook) = &amendment.runbook {
        let file = origin_and_digest(runbook.origin.as_deref(), &runbook.digest);
        lines.push(format!("Changed runbook file: {file}"));
    }
    lines.extend(amendment.from.iter().map(|from| format!("Continuing from step: {from}")));
    if !amendment.again.is_empty() {
        lines.push(format!("Running again: {}", StepPath::join(&amendment.again, ", ")));
    }
    if !amendment.skip.is_empty() {
        lines.push(format!("Skipping: {}", StepPath::join(&amendment.skip, ", ")));
    }
    lines
}

fn ended(outcome: RunOutcome, failure: Option<&Failure>) -> Vec<String> {
    match failure {
        // The failure of a step has its own lines above.
        None => vec![outcome_text(outcome).into()],
        Some(failure) if outcome == RunOutcome::Cancelled => {
            vec![failure.message.replacen("cancelled", "Cancelled", 1)]
        }
        Some(failure) => prefixed(&format!("{}: ", outcome_text(outcome)), failure, ""),
    }
}

/// Returns what still differs from the start of a run as lines, each command once and after all that it restores.
pub fn difference_texts(differences: &[RecordedDifference]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (index, difference) in differences.iter().enumerate() {
        lines.push(format!("Not as before the run: {difference}"));
        let next = differences.get(index + 1).and_then(|next| next.restore.as_ref());
        let restore = difference.restore.as_ref().filter(|restore| next != Some(restore));
        lines.extend(restore.map(|command| format!("hint: restore it with `{command}`")));
    }
    lines.iter().map(|line| printable(line).into_owned()).collect()
}

fn started(spec: &RunSpec) -> String {
    let place = if spec.target.simulated { " on the simulator" } else { "" };
    format!("Started runbook: {}{place}, requested by {}", spec.runbook, spec.actor)
}

/// The message with what belongs around it, and the hint on a line of its own.
fn prefixed(prefix: &str, failure: &Failure, suffix: &str) -> Vec<String> {
    let mut lines = failure.lines();
    lines[0] = format!("{prefix}{}{suffix}", lines[0]);
    lines
}

/// Returns what a step asks, of whom, until when, and how it is answered.
fn requested(
    path: &StepPath,
    message: &str,
    approvals: u32,
    not_by: &[String],
    expires_at: Timestamp,
) -> Vec<String> {
    let mut lines: Vec<String> = message.lines().map(str::to_owned).collect();
    if let Some(first) = lines.first_mut() {
        first.insert_str(0, "Waiting for approval: ");
    }
    let needed = text::plural(usize::try_from(approvals).unwrap_or(usize::MAX), "approval");
    let not_by = match not_by {
        [] => String::new(),
        actors => format!(", not by {}", actors.join(", ")),
    };
    lines.push(format!("Needs {needed} until {}{not_by}", timestamp(expires_at)));
    lines.push(format!("hint: answer with `runs approve RUN {path}` or `runs reject RUN {path}`"));
    lines
}

/// Returns how long a condition has been missing, in whole seconds: ` (for 1m30s)`; nothing in its first report.
fn so_far(waited_ms: Option<u64>) -> String {
    waited_ms.map_or_else(String::new, |millis| {
        let duration = runbook::Duration::from(Duration::from_secs(millis / 1_000));
        format!(" (for {duration})")
    })
}

/// The targets that were not restored are in the lines before.
fn undone(name: &str, not_restored: usize) -> String {
    match not_restored {
        0 => format!("Undid step: {name}"),
        _ => format!("Undid step: {name} ({} not restored)", text::plural(not_restored, "target")),
    }
}

fn outcome_text(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Succeeded => "Succeeded",
        RunOutcome::SucceededWithFailures => "Succeeded with failures",
        RunOutcome::Failed => "Failed",
        RunOutcome::Cancelled => "Cancelled",
        RunOutcome::Interrupted => "Interrupted",
        RunOutcome::RolledBack => "Rolled back",
        RunOutcome::RollbackFailed => "Rollback failed",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::journal::FailureKind;

    fn lines(events: Vec<StepEvent>) -> Vec<String> {
        let path = StepPath::top_level("config");
        let recorded: Vec<RecordedEvent> = events
            .into_iter()
            .zip(0..)
            .map(|(event, seq)| RecordedEvent {
                seq,
                time: "2024-01-01T12:00:01Z".parse().unwrap(),
                event: Event::step(&path, event),
            })
            .collect();
        LogLines::of(&recorded)
    }

    #[test]
    fn a_step_reads_as_the_go_service_wrote_it() {
        let events = vec![
            StepEvent::StepStarted { name: "Get AWS region".into(), description: None },
            StepEvent::StepCompleted {
                revision: 1,
                output: json!({}).into(),
                message: Some("AWS Region: us-west-2".into()),
            },
        ];
        assert_eq!(
            lines(events),
            [
                "[2024-01-01 12:00:01] Starting step: Get AWS region",
                "[2024-01-01 12:00:01] AWS Region: us-west-2",
                "[2024-01-01 12:00:01] Completed step: Get AWS region",
            ]
        );
    }

    #[test]
    fn a_wait_that_is_reported_again_says_how_long_it_has_lasted() {
        let waiting = |waited_ms| StepEvent::StepWaiting { message: "a node".into(), waited_ms };
        assert_eq!(
            lines(vec![waiting(None), waiting(Some(90_400))]),
            [
                "[2024-01-01 12:00:01] Waiting: a node",
                "[2024-01-01 12:00:01] Waiting: a node (for 1m30s)",
            ]
        );
    }

    #[test]
    fn a_failure_has_its_message_once_and_its_hint_on_a_line_of_its_own() {
        let failure = Failure::new(FailureKind::Denied, "denied").with_hint(Some("allow it"));
        let failed = StepEvent::StepFailed { failure, then: AfterFailure::Rollback };
        assert_eq!(
            lines(vec![StepEvent::StepStarted { name: "A".into(), description: None }, failed]),
            [
                "[2024-01-01 12:00:01] Starting step: A",
                "[2024-01-01 12:00:01] Failed step: A: denied",
                "[2024-01-01 12:00:01] hint: allow it",
                "[2024-01-01 12:00:01] Rolling back",
            ]
        );
    }
}
