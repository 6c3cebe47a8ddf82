//! The times of a run: a fold over its events that knows when each step began and how long it was worked on, which
//! attempts failed, how long it waited, and when no process drove the run.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::durations::between;
use crate::journal::{
    Event, Failure, LogLines, RecordedEvent, RunEvent, RunOutcome, StepEvent, StepPath,
};

/// How many failed attempts of a step are kept.
const MAX_ATTEMPTS: usize = 10;
/// The time between two steps from which on it is worth a row.
const NOTED_GAP: Duration = Duration::from_secs(2);

/// The times of a run.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    started_at: Option<Timestamp>,
    last_at: Timestamp,
    /// The events of the time line, in their order.
    rows: Vec<Row>,
    /// The parts of a step are beside it: its end is theirs.
    steps: BTreeMap<StepPath, StepTimes>,
    /// How long no process drove the run.
    paused: Duration,
    /// How many steps at the top level are being run.
    open: usize,
}

/// One thing that happened.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) at: Timestamp,
    pub(super) kind: RowKind,
}

/// The kind of a row.
#[derive(Debug)]
pub(super) enum RowKind {
    /// A step at the top level began.
    Step(StepPath),
    /// A step at the top level was undone.
    Undo(UndoTimes),
    /// Something that concerns the run, in words.
    Note(String),
    /// No step was run for this long.
    Gap(Duration),
    /// No process drove the run for this long.
    Pause(Duration),
}

/// The undo of a step at the top level, with its items.
#[derive(Debug)]
pub(super) struct UndoTimes {
    pub(super) step: StepPath,
    /// How many items, or steps of a called runbook.
    pub(super) parts: usize,
    pub(super) took: Duration,
    pub(super) failure: Option<Failure>,
    pub(super) has_ended: bool,
}

/// The times of a step or an item.
#[derive(Debug, Default)]
pub(super) struct StepTimes {
    /// How long processes worked on it.
    pub(super) worked: Duration,
    /// When it was continued by another process.
    pub(super) continued_at: Vec<Timestamp>,
    pub(super) attempts: Vec<Attempt>,
    /// How many attempts have failed that are not kept.
    pub(super) more_attempts: usize,
    /// How long it waited for conditions.
    pub(super) waited: Duration,
    /// The condition that it waited for last.
    pub(super) last_wait: Option<String>,
    running_since: Option<Timestamp>,
    waiting_since: Option<Timestamp>,
}

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) at: Timestamp,
    pub(super) failure: Failure,
    pub(super) retry_in: Duration,
}

impl StepTimes {
    fn begin(&mut self, time: Timestamp) {
        self.running_since.get_or_insert(time);
    }

    fn end_wait(&mut self, time: Timestamp) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += between(since, time);
        }
    }

    fn stop(&mut self, time: Timestamp) {
        self.end_wait(time);
        if let Some(since) = self.running_since.take() {
            self.worked += between(since, time);
        }
    }
}

impl Timeline {
    /// Folds the events of a run.
    pub(super) fn of(events: &[RecordedEvent]) -> Self {
        let mut timeline = Self::default();
        events.iter().for_each(|event| timeline.apply(event));
        timeline
    }

    /// Returns what happened, in that order.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Returns the times of a step or an item.
    pub(super) fn step(&self, path: &StepPath) -> Option<&StepTimes> {
        self.steps.get(path)
    }

    /// Returns how long processes have worked on a step until `now`, where that is later than the last event.
    pub(super) fn worked(&self, path: &StepPath, now: Option<Timestamp>) -> Option<Duration> {
        let times = self.steps.get(path)?;
        let end = now.unwrap_or(self.last_at).max(self.last_at);
        let open = times.running_since.map_or(Duration::ZERO, |since| between(since, end));
        Some(times.worked + open)
    }

    /// Returns the condition that a step, or a part of it, waits for at the end of the events.
    pub(super) fn last_wait_in(&self, path: &StepPath) -> Option<&str> {
        let own = self.steps.get(path).filter(|times| times.waiting_since.is_some());
        let mut parts =
            self.steps.range(path.clone()..).take_while(|(other, _)| other.is_part_of(path));
        let mut part = || parts.find(|(_, times)| times.waiting_since.is_some());
        own.or_else(|| part().map(|(_, times)| times))?.last_wait.as_deref()
    }

    /// Returns the time from the start of the run.
    pub(super) fn offset(&self, time: Timestamp) -> Duration {
        self.started_at.map_or(Duration::ZERO, |start| between(start, time))
    }

    /// Returns how long no process drove the run.
    pub(super) fn paused(&self) -> Duration {
        self.paused
    }

    /// Returns the steps at the top level that took longest, the longest first.
    pub(super) fn longest(&self, count: usize) -> Vec<(&StepPath, Duration)> {
        let mut steps: Vec<(&StepPath, Duration)> = self
            .rows
            .iter()
            .filter_map(|row| match &row.kind {
                RowKind::Step(path) => Some((path, self.worked(path, None)?)),
                _ => None,
            })
            .collect();
        steps.sort_by_key(|(_, worked)| std::cmp::Reverse(*worked));
        steps.truncate(count);
        steps
    }

    /// Folds one more event.
    pub(super) fn apply(&mut self, recorded: &RecordedEvent) {
        match &recorded.event {
            Event::Run(event) => self.apply_run_event(event, recorded),
            Event::Step { path, event } => self.apply_step_event(path, event, recorded.time),
        }
        self.last_at = recorded.time;
    }

    fn push(&mut self, at: Timestamp, kind: RowKind) {
        self.rows.push(Row { at, kind });
    }

    fn apply_run_event(&mut self, event: &RunEvent, recorded: &RecordedEvent) {
        let time = recorded.time;
        let event = match event {
            RunEvent::RunStarted(_) => {
                self.started_at = Some(time);
                return;
            }
            RunEvent::RunResumed { .. } => {
                let paused = between(self.last_at, time);
                self.stop_all(self.last_at);
                self.paused += paused;
                self.push(self.last_at, RowKind::Pause(paused));
                event.clone()
            }
            RunEvent::RunEnded { outcome, failure, .. } => {
                self.stop_all(time);
                // A success is the state of the run, and the differences have lines of their own.
                if matches!(outcome, RunOutcome::Succeeded) {
                    return;
                }
                let (outcome, failure) = (*outcome, failure.clone());
                RunEvent::RunEnded { outcome, failure, differences: None }
            }
            RunEvent::RunCancelRequested { .. }
            | RunEvent::RunRestoring { .. }
            | RunEvent::RunAbandoned { .. } => event.clone(),
        };
        for text in LogLines::default().texts(&event.into()) {
            self.push(time, RowKind::Note(text));
        }
    }

    fn stop_all(&mut self, time: Timestamp) {
        self.steps.values_mut().for_each(|times| times.stop(time));
        self.open = 0;
    }

    fn apply_step_event(&mut self, path: &StepPath, event: &StepEvent, time: Timestamp) {
        let is_top = path.is_top_level();
        match event {
            StepEvent::StepStarted { .. } | StepEvent::StepResumed { .. } => {
                if is_top {
                    self.note_gap(time);
                    self.open += 1;
                }
                if is_top && !self.steps.contains_key(path) {
                    self.push(time, RowKind::Step(path.clone()));
                }
                let is_continued = self.steps.contains_key(path);
                let times = self.steps.entry(path.clone()).or_default();
                if is_continued {
                    times.continued_at.push(time);
                }
                times.begin(time);
            }
            StepEvent::StepSkipped { .. } => {
                if is_top && !self.steps.contains_key(path) {
                    self.push(time, RowKind::Step(path.clone()));
                }
                self.steps.entry(path.clone()).or_default();
            }
            StepEvent::StepWaiting { message, .. } => {
                let times = self.steps.entry(path.clone()).or_default();
                times.waiting_since.get_or_insert(time);
                times.last_wait = Some(message.clone());
            }
            StepEvent::StepApprovalRequested { message, .. } => {
                let times = self.steps.entry(path.clone()).or_default();
                times.waiting_since.get_or_insert(time);
                let message = message.lines().next().unwrap_or_default();
                times.last_wait = Some(format!("approval: {message}"));
            }
            StepEvent::StepAttemptFailed { attempt, failure, retry_in_ms } => {
                let times = self.steps.entry(path.clone()).or_default();
                times.end_wait(time);
                if times.attempts.len() < MAX_ATTEMPTS {
                    times.attempts.push(Attempt {
                        number: *attempt,
                        at: time,
                        failure: failure.clone(),
                        retry_in: Duration::from_millis(*retry_in_ms),
                    });
                } else {
                    times.more_attempts += 1;
                }
            }
            StepEvent::StepApproved { .. } | StepEvent::StepRejected { .. } => {
                let event = Event::step(path, event.clone());
                for text in LogLines::default().texts(&event) {
                    // The texts of a part begin with its path already.
                    let text = if is_top { format!("{path}: {text}") } else { text };
                    self.push(time, RowKind::Note(text));
                }
            }
            StepEvent::StepCompleted { .. } | StepEvent::StepFailed { .. } => {
                self.open = self.open.saturating_sub(usize::from(is_top));
                let within = self.steps.range_mut(path.clone()..);
                let within = within.take_while(|(other, _)| other.is_part_of(path));
                within.for_each(|(_, times)| times.stop(time));
            }
            StepEvent::StepUndoStarted => self.begin_undo(path, time),
            StepEvent::StepUndoFinished { .. } => self.end_undo(path, time, None),
            StepEvent::StepUndoFailed { failure } => self.end_undo(path, time, Some(failure)),
            StepEvent::StepMessage { .. }
            | StepEvent::StepCalled { .. }
            | StepEvent::StepItemsDecided { .. } => {}
            StepEvent::StepPrepared { .. }
            | StepEvent::StepApplied { .. }
            | StepEvent::StepOperationFailed { .. } => {
                if let Some(times) = self.steps.get_mut(path) {
                    times.end_wait(time);
                }
            }
        }
    }

    /// Notes that no step was run for a while.
    fn note_gap(&mut self, time: Timestamp) {
        let gap = between(self.last_at, time);
        if self.open == 0 && gap >= NOTED_GAP {
            self.push(self.last_at, RowKind::Gap(gap));
        }
    }

    fn begin_undo(&mut self, path: &StepPath, time: Timestamp) {
        let (top, is_part) = (path.top(), !path.is_top_level());
        if let Some(Row { kind: RowKind::Undo(undo), .. }) = self.rows.last_mut()
            && undo.step == top
        {
            undo.parts += usize::from(is_part);
            undo.has_ended = false;
            return;
        }
        let undo = UndoTimes {
            step: top,
            parts: usize::from(is_part),
            took: Duration::ZERO,
            failure: None,
            has_ended: false,
        };
        self.push(time, RowKind::Undo(undo));
    }

    fn end_undo(&mut self, path: &StepPath, time: Timestamp, failure: Option<&Failure>) {
        let top = path.top();
        for Row { at, kind } in self.rows.iter_mut().rev() {
            if let RowKind::Undo(undo) = kind
                && undo.step == top
            {
                undo.took = between(*at, time);
                undo.has_ended = true;
                if failure.is_some() {
                    undo.failure = failure.cloned();
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::journal::FailureKind;

    /// Events at these seconds; each is the event of one step, or of the run where its path is empty.
    fn timeline(events: &[(i64, &str, Value)]) -> Timeline {
        let recorded: Vec<RecordedEvent> = events
            .iter()
            .zip(0u64..)
            .map(|((second, path, event), seq)| {
                let time = Timestamp::from_second(*second).unwrap();
                let mut line = json!({"seq": seq, "time": time});
                let members = line.as_object_mut().unwrap();
                members.extend(event.as_object().unwrap().clone());
                if !path.is_empty() {
                    members.insert("step".into(), json!(path));
                }
                serde_json::from_value(line).unwrap()
            })
            .collect();
        Timeline::of(&recorded)
    }

    fn started() -> Value {
        json!({"event": "step_started", "name": "n"})
    }

    fn completed() -> Value {
        json!({"event": "step_completed", "revision": 1, "output": {}})
    }

    #[test]
    fn a_step_that_another_process_continued_is_not_worked_on_in_between() {
        let timeline = timeline(&[
            (0, "a", started()),
            (2, "a", json!({"event": "step_waiting", "message": "a node"})),
            (5, "a", json!({"event": "step_waiting", "message": "2 nodes"})),
            (90, "", json!({"event": "run_resumed", "actor": "me", "version": "1"})),
            (91, "a", json!({"event": "step_resumed", "name": "n"})),
            (95, "a", completed()),
        ]);
        let a = StepPath::top_level("a");
        assert_eq!(timeline.worked(&a, None), Some(Duration::from_secs(5 + 4)));
        assert_eq!(timeline.paused(), Duration::from_secs(85));
        let times = timeline.step(&a).unwrap();
        assert_eq!(times.waited, Duration::from_secs(3));
        assert_eq!(times.last_wait.as_deref(), Some("2 nodes"));
        assert_eq!(times.continued_at.len(), 1);
        let kinds: Vec<String> =
            timeline.rows().iter().map(|row| format!("{:?}", row.kind)).collect();
        assert!(kinds[0].starts_with("Step("), "{kinds:#?}");
        assert_eq!(kinds[1..], ["Pause(85s)", "Note(\"Resumed by me\")"]);
    }

    #[test]
    fn failed_attempts_gaps_and_undos_are_rows() {
        let failure = Failure::new(FailureKind::Transient, "throttled");
        let failed = json!({
            "event": "step_attempt_failed", "attempt": 1, "failure": failure, "retry_in_ms": 5000
        });
        let timeline = timeline(&[
            (0, "a", started()),
            (1, "a", failed),
            (7, "a", completed()),
            (17, "b", started()),
            (18, "b", completed()),
            (20, "b[0]", json!({"event": "step_undo_started"})),
            (21, "b[0]", json!({"event": "step_undo_finished"})),
            (21, "b[1]", json!({"event": "step_undo_started"})),
            (24, "b[1]", json!({"event": "step_undo_finished"})),
        ]);
        let attempts = &timeline.step(&StepPath::top_level("a")).unwrap().attempts;
        assert_eq!((attempts.len(), attempts[0].number), (1, 1));
        let kinds: Vec<&RowKind> = timeline.rows().iter().map(|row| &row.kind).collect();
        assert!(matches!(kinds[1], RowKind::Gap(gap) if *gap == Duration::from_secs(10)));
        let RowKind::Undo(undo) = kinds[3] else { panic!("{kinds:?}") };
        assert_eq!((undo.parts, undo.took, undo.has_ended), (2, Duration::from_secs(4), true));
        let longest: Vec<String> =
            timeline.longest(1).iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(longest, ["a"]);
    }
}
