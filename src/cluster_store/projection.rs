//! The status of a run, for people and for lists: a fold over its events.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    journal::{Event, RecordedEvent, RunEvent, RunHead, RunId, RunState, StepEvent, StepPath},
    platform::kubernetes::{RunCondition, RunbookRunStatus},
};

/// The longest text of a status, in bytes.
const MAX_TEXT: usize = 1024;

/// The status of a run so far.
#[derive(Debug, Clone)]
pub(super) struct Projection {
    head: RunHead,
    step_count: Option<usize>,
    step: Option<StepPath>,
    ended: HashSet<StepPath>,
    waiting_for: Option<String>,
    conditions: [Condition; 3],
}

#[derive(Debug, Clone)]
struct Condition {
    name: &'static str,
    status: &'static str,
    since: Timestamp,
}

impl Projection {
    /// Folds a journal's events; `None` when the first of them does not start a run.
    pub(super) fn of(run: &RunId, events: &[RecordedEvent]) -> Option<Self> {
        let (first, rest) = events.split_first()?;
        let head = RunHead::start(run, first)?;
        let condition = |name, status| Condition { name, status, since: first.time };
        let conditions = [
            condition("Finished", "False"),
            condition("Succeeded", "Unknown"),
            condition("Waiting", "False"),
        ];
        let ended = HashSet::new();
        let mut projection =
            Self { head, step_count: None, step: None, ended, waiting_for: None, conditions };
        projection.note(&first.event);
        rest.iter().for_each(|event| projection.apply(event));
        Some(projection)
    }

    /// Returns the head of the run.
    pub(super) fn head(&self) -> &RunHead {
        &self.head
    }

    /// Folds one more event.
    pub(super) fn apply(&mut self, recorded: &RecordedEvent) {
        self.head.apply(recorded);
        self.note(&recorded.event);
        let state = self.head.state(true);
        let statuses = [
            truth(self.head.ended_at.is_some()),
            match state {
                RunState::Running | RunState::RollingBack => "Unknown",
                state => truth(is_success(state)),
            },
            truth(self.waiting_for.is_some()),
        ];
        for (condition, status) in self.conditions.iter_mut().zip(statuses) {
            if condition.status != status {
                condition.status = status;
                condition.since = recorded.time;
            }
        }
    }

    fn note(&mut self, event: &Event) {
        let runbook = match event {
            Event::Run(RunEvent::RunStarted(spec)) => Some(&spec.text),
            Event::Run(RunEvent::RunResumed { amendment, .. }) => {
                amendment.as_ref().and_then(|a| a.runbook.as_ref()).map(|runbook| &runbook.text)
            }
            _ => None,
        };
        if let Some(text) = runbook {
            self.step_count = count_steps(text);
        }
        match event {
            Event::Step { event: StepEvent::StepMessage { .. }, .. } => {}
            Event::Step { event: StepEvent::StepWaiting { message, .. }, .. } => {
                self.waiting_for = Some(cut(message));
            }
            Event::Step { path, event: StepEvent::StepApprovalRequested { message, .. } } => {
                self.step = Some(path.clone());
                self.waiting_for = Some(cut(&format!("approval of {path}: {message}")));
            }
            Event::Step { path, event } => {
                self.waiting_for = None;
                self.step = Some(path.clone());
                let has_ended = matches!(
                    event,
                    StepEvent::StepCompleted { .. }
                        | StepEvent::StepSkipped { .. }
                        | StepEvent::StepFailed { .. }
                );
                if has_ended && path.is_top_level() {
                    self.ended.insert(path.clone());
                }
            }
            Event::Run(RunEvent::RunCancelRequested { .. }) => {}
            Event::Run(_) => self.waiting_for = None,
        }
    }

    /// Returns the status; `holder` is the process that drives the run. Without one, a run that has not ended was
    /// interrupted.
    pub(super) fn status(&self, holder: Option<&str>) -> RunbookRunStatus {
        let head = &self.head;
        let state = head.state(holder.is_some());
        let is_driven = head.ended_at.is_none() && holder.is_some();
        let reason = reason(state);
        // Its process died, and no event says so.
        let is_lost = head.ended_at.is_none() && holder.is_none();
        let condition = |condition: &Condition| {
            let (status, since) = match condition.name {
                "Finished" if is_lost => ("True", head.last_event_at),
                _ if is_lost => ("False", head.last_event_at),
                _ => (condition.status, condition.since),
            };
            RunCondition {
                type_: condition.name.into(),
                status: status.into(),
                reason: reason.clone(),
                message: match condition.name {
                    "Waiting" if is_lost => String::new(),
                    "Waiting" => self.waiting_for.clone().unwrap_or_default(),
                    _ => self.message(),
                },
                last_transition_time: time(since),
            }
        };
        let done = self.ended.len();
        let progress = self.step_count.map_or(done.to_string(), |count| format!("{done}/{count}"));
        RunbookRunStatus {
            state: Some(state.to_string()),
            step: self.step.as_ref().filter(|_| is_driven).map(ToString::to_string),
            progress: Some(progress),
            waiting_for: self.waiting_for.clone().filter(|_| is_driven),
            holder: holder.filter(|_| is_driven).map(str::to_owned),
            renewed_at: None,
            lease_duration_seconds: None,
            target: Some(cut(&head.target.to_string())),
            started_at: Some(time(head.started_at)),
            ended_at: head.ended_at.map(time),
            failure: head.failure.as_ref().map(|failure| cut(&failure.message)),
            events: Some(head.events),
            // A head is plain data.
            head: serde_json::to_string(head).ok(),
            conditions: self.conditions.iter().map(condition).collect(),
        }
    }

    fn message(&self) -> String {
        let head = &self.head;
        match (&head.failure, &head.failed_step) {
            (Some(failure), Some(step)) => cut(&format!("{step}: {failure}")),
            (Some(failure), None) => cut(&failure.message),
            (None, _) => match (&self.step, head.ended_at) {
                (Some(step), None) => step.to_string(),
                _ => String::new(),
            },
        }
    }
}

/// Returns the head that a status holds, if this version can read it.
pub(super) fn head_of(status: Option<&RunbookRunStatus>) -> Option<RunHead> {
    serde_json::from_str(status?.head.as_ref()?).ok()
}

fn is_success(state: RunState) -> bool {
    matches!(state, RunState::Succeeded | RunState::SucceededWithFailures)
}

fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// Returns a state as the reason of a condition: `RolledBack`.
fn reason(state: RunState) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    state.as_str().split('_').map(word).collect()
}

/// Returns how many steps a runbook has.
fn count_steps(text: &str) -> Option<usize> {
    #[derive(Deserialize)]
    struct Steps {
        steps: Vec<Value>,
    }
    serde_saphyr::from_str::<Steps>(text).ok().map(|runbook| runbook.steps.len())
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

/// Returns a time as the API server formats it.
pub(super) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal that waits, fails, is rolled back and ends.
    const JOURNAL: &str = include_str!(
        "../../tests/fixtures/journals/format-1.0/20261125t090003z-interrupted-0004.jsonl"
    );

    #[test]
    fn a_state_is_a_reason_in_one_word() {
        assert_eq!(reason(RunState::SucceededWithFailures), "SucceededWithFailures");
        assert_eq!(reason(RunState::Running), "Running");
    }

    #[test]
    fn the_head_is_read_back_from_the_status() {
        let (events, _) = crate::journal::parse_lines("fixture", JOURNAL.as_bytes()).unwrap();
        let run: RunId = "20261125t090003z-interrupted-0004".parse().unwrap();
        for count in 1..=events.len() {
            let projection = Projection::of(&run, &events[..count]).unwrap();
            let status = projection.status(Some("host/1/0"));
            let head = head_of(Some(&status)).unwrap();
            assert_eq!(Some(&head), RunHead::of(&run, &events[..count]).as_ref());
            assert_eq!(status.events, Some(count as u64));
            let finished = &status.conditions[0];
            assert_eq!(finished.status == "True", head.ended_at.is_some());
            assert_eq!(status.holder.is_some(), head.ended_at.is_none());
            let lost = projection.status(None);
            assert_eq!(lost.conditions[0].status, "True");
            assert_eq!(lost.state, Some(head.state(false).to_string()));
        }
    }
}
