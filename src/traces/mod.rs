//! Traces of runs, sent by OTLP: one trace for each run, with spans of its steps, of their attempts and of the calls to
//! the platforms. They are made from the events of the run, so a run that is continued by another process stays one
//! trace: ids are hashes of what they stand for, and a span is sent when it ends, by the process that sees its end.
//!
//! This module uses the journal and the observer of the platform. It must not depend on the engine or the server.

#[cfg(feature = "otlp")]
mod export;
#[cfg(not(feature = "otlp"))]
#[path = "no_export.rs"]
mod export;
mod settings;
mod span;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

pub use self::export::{Exporter, ExporterError};
pub use self::settings::{Settings, SettingsError};

use self::span::{Kind, Span, Status};
use crate::{
    journal::{
        ActionOf, Event, Failure, RecordedEvent, Run, RunEvent, RunId, RunObserver, RunState,
        StepEvent, StepPath, StepProgress,
    },
    platform::{CallOfStep, LeaseChange, ObservedCall, PlatformObserver},
};

/// How many runs are followed at a time. A process drives one for each cluster.
const MAX_RUNS: usize = 64;

/// Takes a span that has ended, without waiting.
type SendSpan = dyn Fn(Span) + Send + Sync;

/// The observer that makes spans. Clones send to the same place.
#[derive(Clone)]
pub struct Traces {
    send: Arc<SendSpan>,
    runs: Arc<Mutex<HashMap<RunId, OpenRun>>>,
}

/// A run that this process drives.
struct OpenRun {
    action_of: Option<ActionOf>,
    last_event_at: Timestamp,
    attempts: HashMap<StepPath, Attempt>,
}

/// The attempt of a step that goes on.
#[derive(Clone, Copy)]
struct Attempt {
    /// Which one, from 1; 0 is the undo.
    number: u32,
    since: Timestamp,
    /// The span of the step.
    step: u64,
}

impl Traces {
    /// Returns an observer that hands over each span that ends.
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "nothing is sent then"))]
    fn new(send: impl Fn(Span) + Send + Sync + 'static) -> Self {
        Self { send: Arc::new(send), runs: Arc::default() }
    }

    fn with<T>(&self, run: &Run, change: impl FnOnce(&mut OpenRun) -> T) -> T {
        let mut runs = lock(&self.runs);
        if !runs.contains_key(run.id()) && runs.len() >= MAX_RUNS {
            // Of one whose end could not be written, no event tells that.
            let oldest =
                runs.iter().min_by_key(|(_, run)| run.last_event_at).map(|(id, _)| id.clone());
            oldest.map(|id| runs.remove(&id));
        }
        let last_event_at = run.head.last_event_at;
        let new = || OpenRun { action_of: None, last_event_at, attempts: HashMap::new() };
        let open = runs.entry(run.id().clone()).or_insert_with(new);
        open.last_event_at = last_event_at;
        change(open)
    }

    fn end_run(&self, run: &Run, time: Timestamp) {
        lock(&self.runs).remove(run.id());
        let state = run.state(false);
        // It goes on by itself, in this trace.
        if state == RunState::Interrupted {
            return;
        }
        let status = match (state, &run.head.failure) {
            (RunState::Succeeded | RunState::SucceededWithFailures, _) => Status::Ok,
            (_, failure) => Status::Error(message_of(failure.as_ref(), state.as_str())),
        };
        let span = Span {
            trace: run.id().trace_id(),
            id: root_of(run.id()),
            parent: None,
            name: format!("run {}", run.head.runbook),
            kind: Kind::Internal,
            start: run.head.started_at,
            end: time,
            attributes: vec![
                ("sop.run", run.id().as_str().to_owned()),
                ("sop.runbook", run.head.runbook.clone()),
                ("sop.state", state.as_str().to_owned()),
                ("sop.actor", run.head.requested_by.clone()),
            ],
            status,
        };
        (self.send)(span);
    }
}

impl RunObserver for Traces {
    fn on_drive(&self, run: &Run, action_of: &ActionOf) {
        self.with(run, |open| {
            open.action_of = Some(ActionOf::clone(action_of));
            open.attempts.clear();
        });
    }

    fn on_event(&self, run: &Run, recorded: &RecordedEvent) {
        let time = recorded.time;
        match &recorded.event {
            Event::Run(RunEvent::RunEnded { .. } | RunEvent::RunAbandoned { .. }) => {
                self.end_run(run, time);
            }
            Event::Run(_) => {}
            Event::Step { path, event } => {
                if let Some(step) = run.step(path) {
                    self.with(run, |open| self.step_event(open, run, step, event, time));
                }
            }
        }
    }
}

impl Traces {
    fn step_event(
        &self,
        open: &mut OpenRun,
        run: &Run,
        step: &StepProgress,
        event: &StepEvent,
        time: Timestamp,
    ) {
        let path = &step.path;
        match event {
            StepEvent::StepStarted { .. } | StepEvent::StepResumed { .. } => {
                let number = step.failed_attempts + 1;
                let attempt = Attempt { number, since: time, step: span_of_step(run, step) };
                open.attempts.insert(path.clone(), attempt);
            }
            StepEvent::StepUndoStarted => {
                let attempt = Attempt { number: 0, since: time, step: span_of_step(run, step) };
                open.attempts.insert(path.clone(), attempt);
            }
            StepEvent::StepAttemptFailed { attempt, failure, retry_in_ms } => {
                let status = Status::Error(message_of(Some(failure), ""));
                self.end_attempt(open, run, step, time, status);
                let pause = SignedDuration::from_millis(i64::try_from(*retry_in_ms).unwrap_or(0));
                let since = time.checked_add(pause).unwrap_or(time);
                let number = attempt.saturating_add(1);
                let next = Attempt { number, since, step: span_of_step(run, step) };
                open.attempts.insert(path.clone(), next);
            }
            StepEvent::StepCompleted { .. } => {
                self.end_attempt(open, run, step, time, Status::Ok);
                self.end_step(open, run, step, time, Status::Ok);
            }
            StepEvent::StepFailed { failure, .. } => {
                let status = || Status::Error(message_of(Some(failure), ""));
                self.end_attempt(open, run, step, time, status());
                self.end_step(open, run, step, time, status());
            }
            StepEvent::StepUndoFinished { .. } => {
                self.end_attempt(open, run, step, time, Status::Ok);
            }
            StepEvent::StepUndoFailed { failure } => {
                let status = Status::Error(message_of(Some(failure), ""));
                self.end_attempt(open, run, step, time, status);
            }
            StepEvent::StepSkipped { .. }
            | StepEvent::StepMessage { .. }
            | StepEvent::StepWaiting { .. }
            | StepEvent::StepCalled { .. }
            | StepEvent::StepItemsDecided { .. }
            | StepEvent::StepApprovalRequested { .. }
            | StepEvent::StepApproved { .. }
            | StepEvent::StepRejected { .. }
            | StepEvent::StepPrepared { .. }
            | StepEvent::StepApplied { .. }
            | StepEvent::StepOperationFailed { .. } => {}
        }
    }

    fn end_attempt(
        &self,
        open: &mut OpenRun,
        run: &Run,
        step: &StepProgress,
        end: Timestamp,
        status: Status,
    ) {
        let Some(attempt) = open.attempts.remove(&step.path) else { return };
        let name = match attempt.number {
            0 => "undo".to_owned(),
            number => format!("attempt {number}"),
        };
        let span = Span {
            trace: run.id().trace_id(),
            id: span_of_attempt(attempt),
            parent: Some(attempt.step),
            name,
            kind: Kind::Internal,
            start: attempt.since,
            end,
            attributes: vec![("sop.step", step.path.to_string())],
            status,
        };
        (self.send)(span);
    }

    fn end_step(
        &self,
        open: &OpenRun,
        run: &Run,
        step: &StepProgress,
        end: Timestamp,
        status: Status,
    ) {
        let outer = step.path.outer().and_then(|outer| run.step(&outer));
        let action = open.action_of.as_ref().and_then(|action_of| action_of(&step.path));
        let mut attributes =
            vec![("sop.run", run.id().as_str().to_owned()), ("sop.step", step.path.to_string())];
        attributes.extend(action.map(|action| ("sop.action", action)));
        let span = Span {
            trace: run.id().trace_id(),
            id: span_of_step(run, step),
            parent: Some(outer.map_or_else(|| root_of(run.id()), |outer| span_of_step(run, outer))),
            name: format!("step {}", step.path),
            kind: Kind::Internal,
            start: step.started_at.unwrap_or(end),
            end,
            attributes,
            status,
        };
        (self.send)(span);
    }
}

impl PlatformObserver for Traces {
    fn on_call(&self, _: &ObservedCall<'_>) {}

    fn on_lease(&self, _: LeaseChange) {}

    fn on_call_of_step(&self, call: &CallOfStep<'_>) {
        let (Ok(run), Ok(path)) = (call.caller.run.parse::<RunId>(), call.caller.step.parse())
        else {
            return;
        };
        let attempt = lock(&self.runs).get(&run).and_then(|open| open.attempts.get(&path).copied());
        let Some(attempt) = attempt else { return };
        let start = Timestamp::try_from(call.started).unwrap_or_default();
        let status = match call.error {
            Some(error) => Status::Error(error.to_owned()),
            None => Status::Ok,
        };
        let span = Span {
            trace: run.trace_id(),
            // Two of the same name may be sent at the same time.
            id: fastrand::u64(1..),
            parent: Some(span_of_attempt(attempt)),
            name: call.name.to_owned(),
            kind: Kind::Client,
            start,
            end: start.checked_add(call.duration).unwrap_or(start),
            attributes: vec![
                ("rpc.system", call.service.to_owned()),
                ("sop.step", path.to_string()),
            ],
            status,
        };
        (self.send)(span);
    }
}

/// Returns the id of the span of a run.
fn root_of(run: &RunId) -> u64 {
    hash(&[run.as_str(), "run"])
}

/// Returns the id of the span of a step, the same in each process. A step that begins again has another one.
fn span_of_step(run: &Run, step: &StepProgress) -> u64 {
    let started_at = step.started_at.map_or_else(String::new, |time| time.to_string());
    hash(&[run.id().as_str(), &step.path.to_string(), &started_at])
}

fn span_of_attempt(attempt: Attempt) -> u64 {
    let since = attempt.since.to_string();
    hash(&[&attempt.step.to_string(), &attempt.number.to_string(), &since])
}

/// Returns the beginning of a hash, which is not zero: that would be no id.
fn hash(parts: &[&str]) -> u64 {
    let digest = Sha256::digest(parts.join("\n").as_bytes());
    let beginning = digest.iter().take(8).fold(0, |id, byte| (id << 8) | u64::from(*byte));
    beginning.max(1)
}

fn message_of(failure: Option<&Failure>, otherwise: &str) -> String {
    failure.map_or_else(|| otherwise.to_owned(), |failure| failure.message.clone())
}

/// Every change of what is locked is whole: a panic leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
