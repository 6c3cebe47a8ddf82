//! A run as lines of text, in the form that `/status`, `run` and `runs logs` share:
//! `[2024-01-01 12:00:01] Starting step: NAME`.

use std::collections::HashMap;

use jiff::{Timestamp, tz::TimeZone};

use super::{AfterFailure, Ending, Event, Record, Run, Started};

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
    pub fn after(run: &Run) -> Self {
        let names = run.steps().iter().map(|step| (step.id.clone(), step.name.clone()));
        Self { names: names.collect() }
    }

    /// All lines of a run.
    pub fn of(records: &[Record]) -> Vec<String> {
        let mut lines = Self::default();
        records.iter().flat_map(|record| lines.lines(record)).collect()
    }

    /// The lines of the next record: most have one, some none.
    pub fn lines(&mut self, record: &Record) -> Vec<String> {
        self.texts(&record.event)
            .into_iter()
            .map(|text| format!("[{}] {text}", timestamp(record.time)))
            .collect()
    }

    fn texts(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::RunStarted(started) => vec![start(started)],
            Event::RunResumed { actor, back: false, .. } => vec![format!("Resumed by {actor}")],
            Event::RunResumed { actor, .. } => vec![format!("Rolling back, asked by {actor}")],
            Event::StepStarted { step, name } => {
                self.names.insert(step.clone(), name.clone());
                vec![format!("Starting step: {name}")]
            }
            Event::StepResumed { step, name } => {
                self.names.insert(step.clone(), name.clone());
                vec![format!("Resuming step: {name}")]
            }
            Event::StepSkipped { name, because, .. } => {
                vec![format!("Skipped step: {name} ({because})")]
            }
            Event::Said { message, .. } => vec![message.clone()],
            Event::Waiting { message, .. } => vec![format!("Waiting: {message}")],
            Event::Prepared { changes, .. } => changes
                .iter()
                .map(|c| format!("Changing {}: {} -> {}", c.target, c.before, c.after))
                .collect(),
            Event::Applied { .. } => vec![],
            Event::OperationFailed { error, .. } => vec![format!("The platform gave up: {error}")],
            Event::AttemptFailed { attempt, error, retry_in_ms, .. } => {
                let seconds = *retry_in_ms as f64 / 1000.0;
                vec![format!("Attempt {attempt} failed: {error}; next one in {seconds:.1} s")]
            }
            Event::Completed { step, message, .. } => message
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
            Event::Undoing { step } => vec![format!("Undoing step: {}", self.name(step))],
            Event::Undone { step, left_alone } => left_alone
                .iter()
                .map(|what| format!("Left alone: {what}"))
                .chain([undid(self.name(step), left_alone)])
                .collect(),
            Event::UndoFailed { step, error } => {
                vec![format!("Could not undo step: {}: {error}", self.name(step))]
            }
            Event::RunEnded { ending, error } => vec![end(*ending, error.as_deref())],
            Event::Abandoned { actor } => vec![format!("Abandoned by {actor}")],
        }
    }

    fn name<'a>(&'a self, step: &'a str) -> &'a str {
        self.names.get(step).map_or(step, String::as_str)
    }
}

fn start(started: &Started) -> String {
    let whereabouts = if started.target.simulated { " on the simulator" } else { "" };
    format!("Started runbook: {}{whereabouts}, asked by {}", started.runbook, started.actor)
}

/// What was left alone stands in the lines before.
fn undid(name: &str, left_alone: &[String]) -> String {
    let but = if left_alone.is_empty() { "" } else { ", but for what is left alone" };
    format!("Undid step: {name}{but}")
}

fn end(ending: Ending, error: Option<&str>) -> String {
    let word = match ending {
        Ending::Succeeded => "Succeeded",
        Ending::SucceededWithFailures => "Succeeded with failures",
        Ending::Failed => "Failed",
        Ending::Cancelled => "Cancelled",
        Ending::Interrupted => "Interrupted",
        Ending::RolledBack => "Rolled back",
        Ending::RollbackFailed => "Rollback failed",
    };
    match error {
        Some(error) if ending == Ending::Cancelled => error.replacen('c', "C", 1),
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
            Event::Completed {
                step: "config".into(),
                revision: 1,
                output: json!({}),
                message: Some("AWS Region: us-west-2".into()),
            },
        ];
        let records: Vec<Record> = events
            .into_iter()
            .enumerate()
            .map(|(seq, event)| Record {
                seq: seq as u64,
                time: "2024-01-01T12:00:01Z".parse().unwrap(),
                event,
            })
            .collect();
        assert_eq!(
            LogLines::of(&records),
            [
                "[2024-01-01 12:00:01] Starting step: Get AWS region",
                "[2024-01-01 12:00:01] AWS Region: us-west-2",
                "[2024-01-01 12:00:01] Completed step: Get AWS region",
            ]
        );
    }
}
