//! A run as lines of text, in the form that `/status`, `run` and `runs logs` share:
//! `[2024-01-01 12:00:01] Starting step: NAME`.

use std::collections::HashMap;

use jiff::{Timestamp, tz::TimeZone};

use super::{AfterFailure, Event, EventRecord, Run, RunOutcome, RunSpec};

/// Turns records into lines, one at a time. It remembers step names between them.
#[derive(Debug, Default)]
pub struct LogLines {
    names: HashMap<String, String>,
}

/// A time as log lines show it: UTC, to the second.
pub fn timestamp(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

impl LogLines {
    /// For the lines that a run will have from now on: it knows the names of the steps that have begun.
    pub fn continuing(run: &Run) -> Self {
        let names = run.steps().iter().map(|step| (step.id.clone(), step.name.clone()));
        Self { names: names.collect() }
    }

    /// All lines of a run.
    pub fn format_all(records: &[EventRecord]) -> Vec<String> {
        let mut lines = Self::default();
        records.iter().flat_map(|record| lines.lines(record)).collect()
    }

    /// The lines of the next record: most have one, some none.
    pub fn lines(&mut self, record: &EventRecord) -> Vec<String> {
        self.messages(&record.event)
            .into_iter()
            .map(|text| format!("[{}] {text}", timestamp(record.time)))
            .collect()
    }

    fn messages(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::RunStarted(spec) => vec![start_line(spec)],
            Event::RunResumed { actor, rollback: false, .. } => vec![format!("Resumed by {actor}")],
            Event::RunResumed { actor, .. } => vec![format!("Rolling back, asked by {actor}")],
            Event::StepStarted { step, name } => {
                self.names.insert(step.clone(), name.clone());
                vec![format!("Starting step: {name}")]
            }
            Event::StepResumed { step, name } => {
                self.names.insert(step.clone(), name.clone());
                vec![format!("Resuming step: {name}")]
            }
            Event::StepSkipped { name, reason, .. } => {
                vec![format!("Skipped step: {name} ({reason})")]
            }
            Event::StepMessage { message, .. } => vec![message.clone()],
            Event::StepWaiting { message, .. } => vec![format!("Waiting: {message}")],
            Event::StepPrepared { changes, .. } => changes
                .iter()
                .map(|c| format!("Changing {}: {} -> {}", c.target, c.before, c.after))
                .collect(),
            Event::StepApplied { .. } => vec![],
            Event::OperationFailed { error, .. } => vec![format!("The platform gave up: {error}")],
            Event::AttemptFailed { attempt, error, retry_in_ms, .. } => {
                let seconds = *retry_in_ms as f64 / 1000.0;
                vec![format!("Attempt {attempt} failed: {error}; next one in {seconds:.1} s")]
            }
            Event::StepCompleted { step, message, .. } => message
                .iter()
                .cloned()
                .chain([format!("Completed step: {}", self.name(step))])
                .collect(),
            Event::StepFailed { step, error, then } => {
                let failed = format!("Failed step: {}: {error}", self.name(step));
                let back = (*then == AfterFailure::Rollback).then(|| "Rolling back".to_owned());
                [failed].into_iter().chain(back).collect()
            }
            Event::CancelRequested { actor } => vec![format!("Cancel requested by {actor}")],
            Event::UndoStarted { step } => vec![format!("Undoing step: {}", self.name(step))],
            Event::UndoFinished { step, not_restored } => not_restored
                .iter()
                .map(|what| format!("Left alone: {what}"))
                .chain([undone_line(self.name(step), not_restored)])
                .collect(),
            Event::UndoFailed { step, error } => {
                vec![format!("Could not undo step: {}: {error}", self.name(step))]
            }
            Event::RunEnded { outcome, error } => vec![end_line(*outcome, error.as_deref())],
            Event::RunAbandoned { actor } => vec![format!("Abandoned by {actor}")],
        }
    }

    fn name<'a>(&'a self, step: &'a str) -> &'a str {
        self.names.get(step).map_or(step, String::as_str)
    }
}

fn start_line(spec: &RunSpec) -> String {
    let whereabouts = if spec.target.simulated { " on the simulator" } else { "" };
    format!("Started runbook: {}{whereabouts}, asked by {}", spec.runbook, spec.actor)
}

/// What was left alone stands in the lines before.
fn undone_line(name: &str, not_restored: &[String]) -> String {
    let but = if not_restored.is_empty() { "" } else { ", but for what is left alone" };
    format!("Undid step: {name}{but}")
}

fn end_line(outcome: RunOutcome, error: Option<&str>) -> String {
    let word = match outcome {
        RunOutcome::Succeeded => "Succeeded",
        RunOutcome::SucceededWithFailures => "Succeeded with failures",
        RunOutcome::Failed => "Failed",
        RunOutcome::Cancelled => "Cancelled",
        RunOutcome::Interrupted => "Interrupted",
        RunOutcome::RolledBack => "Rolled back",
        RunOutcome::RollbackFailed => "Rollback failed",
    };
    match error {
        Some(error) if outcome == RunOutcome::Cancelled => error.replacen('c', "C", 1),
        Some(error) => format!("{word}: {error}"),
        None => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_reads_as_the_original_service_wrote_it() {
        let events = [
            Event::StepStarted { step: "config".into(), name: "Get AWS region".into() },
            Event::StepCompleted {
                step: "config".into(),
                revision: 1,
                output: json!({}),
                message: Some("AWS Region: us-west-2".into()),
            },
        ];
        let records: Vec<EventRecord> = events
            .into_iter()
            .enumerate()
            .map(|(seq, event)| EventRecord {
                seq: seq as u64,
                time: "2024-01-01T12:00:01Z".parse().unwrap(),
                event,
            })
            .collect();
        assert_eq!(
            LogLines::format_all(&records),
            [
                "[2024-01-01 12:00:01] Starting step: Get AWS region",
                "[2024-01-01 12:00:01] AWS Region: us-west-2",
                "[2024-01-01 12:00:01] Completed step: Get AWS region",
            ]
        );
    }
}
