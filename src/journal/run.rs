//! A run as its events tell it: the fold that resume, status and `runs show` all read.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AfterFailure, Event, EventRecord, RecordedChange, RunId, RunOutcome, RunSpec};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Steps are being taken.
    Running,
    /// Every step ended well or was left out.
    Succeeded,
    /// The end was reached, and some step failed under `on_failure: continue`.
    SucceededWithFailures,
    /// A step failed; nothing more was changed.
    Failed,
    /// Somebody asked it to stop.
    Cancelled,
    /// Its process died, or was asked to go away.
    Interrupted,
    /// Steps are being undone.
    RollingBack,
    /// What took effect was undone.
    RolledBack,
    /// Some step could not be undone.
    RollbackFailed,
    /// Somebody declared it to be over.
    Abandoned,
}

impl RunState {
    /// Whether a process is at work on it.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::RollingBack)
    }

    /// Whether it still holds its lock: it must be resumed, rolled back or abandoned before another run may start,
    /// because that one would do again what this one half did.
    pub fn is_unfinished(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled | Self::Interrupted | Self::RollbackFailed)
    }

    /// The word that is used everywhere: in JSON, on the command line, in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::SucceededWithFailures => "succeeded_with_failures",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
            Self::Abandoned => "abandoned",
        }
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<RunOutcome> for RunState {
    fn from(outcome: RunOutcome) -> Self {
        match outcome {
            RunOutcome::Succeeded => Self::Succeeded,
            RunOutcome::SucceededWithFailures => Self::SucceededWithFailures,
            RunOutcome::Failed => Self::Failed,
            RunOutcome::Cancelled => Self::Cancelled,
            RunOutcome::Interrupted => Self::Interrupted,
            RunOutcome::RolledBack => Self::RolledBack,
            RunOutcome::RollbackFailed => Self::RollbackFailed,
        }
    }
}

/// A run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// What it began with.
    pub spec: RunSpec,
    /// When it began.
    pub started_at: Timestamp,
    /// When it last came to a stop.
    pub ended_at: Option<Timestamp>,
    /// Why it stopped, where it did not end well.
    pub error: Option<String>,
    /// How many events it has.
    pub event_count: u64,
    /// Its steps in the order in which they began; steps that have not begun are not here.
    steps: Vec<StepProgress>,
    index: HashMap<String, usize>,
    /// Who last started it or took it up.
    pub actor: String,
    /// The state of a run whose process lives.
    state: RunState,
    rolling_back: bool,
    /// Somebody asked it to stop, and it has not stopped yet.
    cancel_requested: bool,
    last_event_at: Timestamp,
}

/// How far a step has come.
#[derive(Debug, Clone, Default)]
pub struct StepProgress {
    /// Its id.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How many attempts have failed since it began, or since a person resumed the run.
    pub failed_attempts: u32,
    /// What it decided to change.
    pub intent: Option<RecordedIntent>,
    /// How often what was sent ended in a definite failure: part of the client token.
    pub generation: u32,
    /// What came back when the intent was sent.
    pub receipt: Option<Value>,
    /// How it ended, if it has.
    pub outcome: Option<StepOutcome>,
    /// How its undo went, if there was one.
    pub undo: Option<UndoStatus>,
    /// Time used up in earlier processes. Time while no process lived does not count.
    elapsed: Duration,
    running_since: Option<Timestamp>,
}

/// What a step decided to change.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedIntent {
    /// The revision of the action that wrote it.
    pub revision: u32,
    /// In the action's own form.
    pub value: Value,
    /// Target by target.
    pub changes: Vec<RecordedChange>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub enum StepOutcome {
    /// Well, with this output.
    Completed {
        /// The revision of the action that wrote it.
        revision: u32,
        /// What later steps are given.
        output: Value,
    },
    /// It was left out.
    Skipped {
        /// Why.
        reason: String,
    },
    /// Badly.
    Failed {
        /// Why.
        error: String,
        /// What followed from it.
        then: AfterFailure,
    },
}

/// How an undo stands.
#[derive(Debug, Clone, PartialEq)]
pub enum UndoStatus {
    /// It began.
    Started,
    /// It is done; these were left as somebody else had made them.
    Finished(Vec<String>),
    /// It failed.
    Failed(String),
}

impl StepProgress {
    /// Time that this step has used in processes that are gone. Units of the wall clock.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Whether its change may have had an effect that is still there.
    pub fn may_need_undo(&self) -> bool {
        self.intent.is_some() && !matches!(self.undo, Some(UndoStatus::Finished(_)))
    }

    /// Its output, if it completed.
    pub fn output(&self) -> Option<&Value> {
        match &self.outcome {
            Some(StepOutcome::Completed { output, .. }) => Some(output),
            _ => None,
        }
    }

    /// Gives the step up to `now` for time used, and stops counting.
    fn stop_clock(&mut self, now: Timestamp) {
        if let Some(since) = self.running_since.take() {
            self.elapsed += Duration::try_from(now - since).unwrap_or_default();
        }
    }

    /// A person resumes a run that had stopped: its open step gets its whole time and all its attempts again.
    fn reset_retry_budget(&mut self) {
        self.elapsed = Duration::ZERO;
        self.failed_attempts = 0;
    }
}

impl Run {
    /// Folds a run's events; `None` when the first of them is not the start of a run.
    pub fn from_records(id: &RunId, records: &[EventRecord]) -> Option<Self> {
        let (first, rest) = records.split_first()?;
        let Event::RunStarted(spec) = &first.event else {
            return None;
        };
        let mut run = Self {
            id: id.clone(),
            spec: (**spec).clone(),
            started_at: first.time,
            ended_at: None,
            error: None,
            event_count: 1,
            steps: Vec::new(),
            index: HashMap::new(),
            actor: spec.actor.clone(),
            state: RunState::Running,
            rolling_back: false,
            cancel_requested: false,
            last_event_at: first.time,
        };
        rest.iter().for_each(|record| run.apply(record));
        Some(run)
    }

    /// Its state; `is_live` says whether a process is at work on it. A run whose process died after somebody asked it
    /// to stop counts as cancelled: nobody may take it up but a person.
    pub fn state(&self, is_live: bool) -> RunState {
        match (self.state, is_live) {
            (RunState::Running | RunState::RollingBack, false) if self.cancel_requested => {
                RunState::Cancelled
            }
            (RunState::Running | RunState::RollingBack, false) => RunState::Interrupted,
            (state, _) => state,
        }
    }

    /// Whether somebody has asked it to stop since it was last taken up.
    pub fn is_cancel_requested(&self) -> bool {
        self.cancel_requested
    }

    /// Whether it is on its way back: resuming it goes on undoing.
    pub fn is_rolling_back(&self) -> bool {
        self.rolling_back
    }

    /// When it was last heard of.
    pub fn last_event_at(&self) -> Timestamp {
        self.last_event_at
    }

    /// Its steps that have begun, in that order.
    pub fn steps(&self) -> &[StepProgress] {
        &self.steps
    }

    /// A step, if it has begun.
    pub fn step(&self, id: &str) -> Option<&StepProgress> {
        self.steps.get(*self.index.get(id)?)
    }

    /// Takes one more event in.
    pub fn apply(&mut self, record: &EventRecord) {
        let time = record.time;
        match &record.event {
            Event::RunStarted(_) => {}
            Event::RunResumed { actor, rollback, .. } => self.resume(actor, *rollback),
            Event::StepStarted { step, name } => self.start_step(step, name, time),
            Event::StepResumed { step, name } => self.start_step(step, name, time),
            Event::StepSkipped { step, name, reason } => {
                let reason = reason.clone();
                self.start_step(step, name, time);
                self.finish_step(step, time, StepOutcome::Skipped { reason });
            }
            Event::StepMessage { .. } | Event::StepWaiting { .. } => {}
            Event::StepPrepared { step, revision, intent, changes } => {
                self.step_mut(step).intent = Some(RecordedIntent {
                    revision: *revision,
                    value: intent.clone(),
                    changes: changes.clone(),
                });
            }
            Event::StepApplied { step, receipt, .. } => {
                self.step_mut(step).receipt = Some(receipt.clone())
            }
            Event::OperationFailed { step, generation, .. } => {
                let step = self.step_mut(step);
                step.generation = generation + 1;
                step.receipt = None;
            }
            Event::AttemptFailed { step, attempt, .. } => {
                self.step_mut(step).failed_attempts = *attempt
            }
            Event::StepCompleted { step, revision, output, .. } => {
                let outcome =
                    StepOutcome::Completed { revision: *revision, output: output.clone() };
                self.finish_step(step, time, outcome);
            }
            Event::StepFailed { step, error, then } => {
                let outcome = StepOutcome::Failed { error: error.clone(), then: *then };
                self.finish_step(step, time, outcome);
                self.apply_failure(*then, error);
            }
            Event::CancelRequested { .. } => self.cancel_requested = true,
            Event::UndoStarted { step } => self.step_mut(step).undo = Some(UndoStatus::Started),
            Event::UndoFinished { step, not_restored } => {
                self.step_mut(step).undo = Some(UndoStatus::Finished(not_restored.clone()));
            }
            Event::UndoFailed { step, error } => {
                self.step_mut(step).undo = Some(UndoStatus::Failed(error.clone()));
            }
            Event::RunEnded { outcome, error } => self.end(*outcome, error.clone(), time),
            Event::RunAbandoned { .. } => {
                self.state = RunState::Abandoned;
                self.ended_at = Some(time);
            }
        }
        self.last_event_at = time;
        self.event_count += 1;
    }

    /// After a crash the open step keeps the time and the attempts that it has used; after a stop that a person has
    /// seen it begins afresh (`end` saw to that).
    fn resume(&mut self, actor: &str, rollback: bool) {
        let last = self.last_event_at;
        self.steps.iter_mut().for_each(|step| step.stop_clock(last));
        actor.clone_into(&mut self.actor);
        self.rolling_back |= rollback;
        self.cancel_requested = false;
        self.state = if self.rolling_back { RunState::RollingBack } else { RunState::Running };
        self.error = None;
        self.ended_at = None;
    }

    fn apply_failure(&mut self, then: AfterFailure, error: &str) {
        match then {
            AfterFailure::Continue => {}
            // Its end follows; a crash in between must not make it look as if it could go on by itself.
            AfterFailure::Stop => {
                self.state = RunState::Failed;
                self.error = Some(error.to_owned());
            }
            AfterFailure::Rollback => {
                self.rolling_back = true;
                self.state = RunState::RollingBack;
            }
        }
    }

    fn end(&mut self, outcome: RunOutcome, error: Option<String>, time: Timestamp) {
        for step in &mut self.steps {
            step.stop_clock(time);
            if outcome != RunOutcome::Interrupted {
                step.reset_retry_budget();
            }
        }
        self.state = outcome.into();
        self.error = error;
        self.ended_at = Some(time);
    }

    fn start_step(&mut self, id: &str, name: &str, time: Timestamp) {
        let step = self.step_mut(id);
        name.clone_into(&mut step.name);
        step.started_at.get_or_insert(time);
        step.running_since = Some(time);
        step.outcome = None;
        step.ended_at = None;
    }

    fn finish_step(&mut self, id: &str, time: Timestamp, outcome: StepOutcome) {
        let step = self.step_mut(id);
        step.running_since = None;
        step.ended_at = Some(time);
        step.outcome = Some(outcome);
    }

    fn step_mut(&mut self, id: &str) -> &mut StepProgress {
        let position = *self.index.entry(id.to_owned()).or_insert_with(|| {
            self.steps.push(StepProgress { id: id.to_owned(), ..StepProgress::default() });
            self.steps.len() - 1
        });
        &mut self.steps[position]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::journal::RunTarget;

    /// A run whose events come one second apart.
    fn run(events: Vec<Event>) -> Run {
        let start = Event::RunStarted(Box::new(RunSpec {
            runbook: "r".into(),
            text: String::new(),
            digest: String::new(),
            inputs: serde_json::Map::new(),
            actor: "me".into(),
            key: None,
            version: "0".into(),
            target: RunTarget::default(),
        }));
        let records: Vec<EventRecord> = std::iter::once(start)
            .chain(events)
            .enumerate()
            .map(|(seq, event)| EventRecord {
                seq: seq as u64,
                time: Timestamp::from_second(seq as i64).unwrap(),
                event,
            })
            .collect();
        Run::from_records(&"r-1".parse().unwrap(), &records).unwrap()
    }

    fn started() -> Event {
        Event::StepStarted { step: "a".into(), name: "A".into() }
    }

    fn message() -> Event {
        Event::StepMessage { step: "a".into(), message: "x".into() }
    }

    fn resumed() -> Event {
        Event::RunResumed { actor: "me".into(), version: "0".into(), rollback: false }
    }

    fn ended(outcome: RunOutcome) -> Event {
        Event::RunEnded { outcome, error: None }
    }

    fn attempt_failed() -> Event {
        Event::AttemptFailed { step: "a".into(), attempt: 1, error: "no".into(), retry_in_ms: 0 }
    }

    #[test]
    fn a_run_without_a_process_is_interrupted() {
        let run = run(vec![started()]);
        assert_eq!(run.state(true), RunState::Running);
        assert_eq!(run.state(false), RunState::Interrupted);
    }

    #[test]
    fn elapsed_time_counts_only_while_a_process_lived() {
        let run = run(vec![started(), message(), message(), resumed()]);
        assert_eq!(run.step("a").unwrap().elapsed(), Duration::from_secs(2));
    }

    #[test]
    fn a_person_who_resumes_a_failed_run_gives_the_step_its_whole_time_again() {
        let run = run(vec![
            started(),
            attempt_failed(),
            Event::StepFailed { step: "a".into(), error: "no".into(), then: AfterFailure::Stop },
            ended(RunOutcome::Failed),
            resumed(),
        ]);
        let step = run.step("a").unwrap();
        assert_eq!((step.elapsed(), step.failed_attempts), (Duration::ZERO, 0));
        assert!(step.outcome.is_some(), "why it failed is known until it is taken again");
        assert_eq!(run.state(true), RunState::Running);
    }

    #[test]
    fn a_run_that_was_asked_to_stop_waits_for_a_person_whatever_happens() {
        let run = run(vec![started(), Event::CancelRequested { actor: "me".into() }]);
        assert_eq!(run.state(true), RunState::Running);
        assert_eq!(run.state(false), RunState::Cancelled);
    }

    #[test]
    fn a_failure_that_stops_the_run_needs_no_second_event() {
        let failed =
            Event::StepFailed { step: "a".into(), error: "no".into(), then: AfterFailure::Stop };
        let run = run(vec![started(), failed]);
        assert_eq!(run.state(false), RunState::Failed);
        assert_eq!(run.error.as_deref(), Some("no"));
    }

    #[test]
    fn a_crash_does_not_give_attempts_back() {
        let run = run(vec![started(), attempt_failed(), resumed()]);
        assert_eq!(run.step("a").unwrap().failed_attempts, 1);
    }

    #[test]
    fn a_definite_failure_raises_the_generation_and_forgets_the_receipt() {
        let run = run(vec![
            started(),
            Event::StepPrepared {
                step: "a".into(),
                revision: 1,
                intent: json!(1),
                changes: vec![],
            },
            Event::StepApplied { step: "a".into(), generation: 0, receipt: json!(2) },
            Event::OperationFailed { step: "a".into(), generation: 0, error: "no".into() },
        ]);
        let step = run.step("a").unwrap();
        assert_eq!((step.generation, &step.receipt), (1, &None));
        assert!(step.intent.is_some());
    }

    #[test]
    fn a_resumed_rollback_goes_on_rolling_back() {
        let run = run(vec![
            started(),
            Event::StepFailed {
                step: "a".into(),
                error: "no".into(),
                then: AfterFailure::Rollback,
            },
            ended(RunOutcome::RollbackFailed),
            resumed(),
        ]);
        assert_eq!(run.state(true), RunState::RollingBack);
        assert!(run.is_rolling_back());
    }
}
