//! Counts the events of runs. A run that this process does not drive is counted by the process that does.

use std::{collections::HashMap, sync::Mutex};

use jiff::Timestamp;

use super::{
    Families, Metrics,
    labels::{Action, Change, Kind, RunLabel, RunResult, StepResult, Wait, kind_of, reason_of},
    lock, system_time,
};
use crate::journal::{
    ActionOf, Event, RecordedEvent, Run, RunEvent, RunId, RunObserver, RunState, StepEvent,
    StepPath, StepProgress,
};

/// How many runs are followed at a time. A process drives one for each cluster.
const MAX_DRIVEN: usize = 64;

/// The runs that this process drives.
#[derive(Default)]
pub(super) struct DrivenRuns(Mutex<HashMap<RunId, DrivenRun>>);

struct DrivenRun {
    action_of: Option<ActionOf>,
    /// When something happened last that was not a wait.
    progress: Timestamp,
    waits: HashMap<StepPath, CurrentWait>,
}

/// The wait of a step, as it was reported last.
struct CurrentWait {
    reason: &'static str,
    since: Timestamp,
}

impl DrivenRuns {
    /// Returns when something happened last in a run that this process drives, waits not counted.
    pub(super) fn last_progress(&self, run: &RunId) -> Option<Timestamp> {
        lock(&self.0).get(run).map(|driven| driven.progress)
    }

    /// Changes what is known of a run, which is forgotten when it ends.
    fn with<T>(&self, run: &RunId, now: Timestamp, change: impl FnOnce(&mut DrivenRun) -> T) -> T {
        let mut driven = lock(&self.0);
        if !driven.contains_key(run) && driven.len() >= MAX_DRIVEN {
            // Of one whose end could not be written, no event tells that.
            let oldest =
                driven.iter().min_by_key(|(_, run)| run.progress).map(|(id, _)| id.clone());
            oldest.map(|id| driven.remove(&id));
        }
        let new = || DrivenRun { action_of: None, progress: now, waits: HashMap::new() };
        change(driven.entry(run.clone()).or_insert_with(new))
    }

    fn forget(&self, run: &RunId) -> Option<DrivenRun> {
        lock(&self.0).remove(run)
    }
}

impl RunObserver for Metrics {
    fn on_drive(&self, run: &Run, action_of: &ActionOf) {
        let now = run.head.last_event_at;
        self.shared.driven.with(run.id(), now, |driven| {
            driven.action_of = Some(ActionOf::clone(action_of));
            driven.waits.clear();
        });
    }

    fn on_event(&self, run: &Run, recorded: &RecordedEvent) {
        let time = recorded.time;
        match &recorded.event {
            Event::Run(RunEvent::RunEnded { .. } | RunEvent::RunAbandoned { .. }) => {
                if let Some(driven) = self.shared.driven.forget(run.id()) {
                    driven.end_waits(self.families(), time);
                }
                self.count_end(run, time);
            }
            Event::Run(_) => {
                self.shared.driven.with(run.id(), time, |driven| driven.progress = time);
            }
            Event::Step { path, event } => {
                let driven = &self.shared.driven;
                driven.with(run.id(), time, |driven| {
                    driven.step_event(self.families(), run, path, event, time);
                });
            }
        }
    }
}

impl Metrics {
    fn count_end(&self, run: &Run, time: Timestamp) {
        let state = run.state(false);
        // What an append of an older version may have ended in such a way is not a result.
        if state == RunState::Running || state == RunState::RollingBack {
            return;
        }
        let labels = RunResult { runbook: self.runbook(&run.head.runbook), result: state.as_str() };
        let exemplar = || Some(RunLabel { run: run.id().as_str().to_owned() });
        let at = Some(system_time(time));
        self.families().runs.get_or_create(&labels).inc_by(1, exemplar(), at);
        if state == RunState::Abandoned {
            // It may have been over for days.
            return;
        }
        let duration = seconds(run.head.started_at, time);
        self.families().run_duration.get_or_create(&labels).observe(duration, exemplar(), at);
    }
}

impl DrivenRun {
    fn action(&self, path: &StepPath) -> String {
        let action = self.action_of.as_ref().and_then(|action_of| action_of(path));
        action.unwrap_or_else(|| super::OTHER.into())
    }

    fn step_event(
        &mut self,
        families: &Families,
        run: &Run,
        path: &StepPath,
        event: &StepEvent,
        time: Timestamp,
    ) {
        if let StepEvent::StepWaiting { message, .. } = event {
            let reason = reason_of(&self.action(path), message);
            self.begin_wait(families, path, reason, time);
            return;
        }
        self.progress = time;
        match event {
            StepEvent::StepApprovalRequested { .. } => {
                return self.begin_wait(families, path, "approval", time);
            }
            // Others may still have to answer.
            StepEvent::StepApproved { .. } | StepEvent::StepMessage { .. } => {
                return self.count_wait(families, path, time);
            }
            _ => self.end_wait(families, path, time),
        }
        let action = || self.action(path);
        let ended = |result| {
            let labels = StepResult { action: action(), result };
            families.steps.get_or_create(&labels).inc();
        };
        let attempted = || families.attempts.get_or_create(&Action { action: action() }).inc();
        match event {
            StepEvent::StepCompleted { .. } | StepEvent::StepFailed { .. } => {
                let is_completed = matches!(event, StepEvent::StepCompleted { .. });
                ended(if is_completed { "completed" } else { "failed" });
                attempted();
                if let Some(took) = run.step(path).and_then(StepProgress::took) {
                    let labels = Action { action: action() };
                    let duration = families.step_duration.get_or_create(&labels);
                    duration.observe(took.as_secs_f64());
                }
            }
            StepEvent::StepSkipped { .. } => ended("skipped"),
            StepEvent::StepAttemptFailed { .. } => {
                attempted();
            }
            StepEvent::StepApplied { .. } => count_changes(families, run, path, "apply", 0),
            StepEvent::StepUndoFinished { not_restored, .. } => {
                count_changes(families, run, path, "undo", not_restored.len());
                for left in not_restored {
                    families.left_alone.get_or_create(&Kind { kind: kind_of(left) }).inc();
                }
            }
            StepEvent::StepUndoFailed { .. } => ended("undo_failed"),
            StepEvent::StepStarted { .. }
            | StepEvent::StepResumed { .. }
            | StepEvent::StepMessage { .. }
            | StepEvent::StepWaiting { .. }
            | StepEvent::StepCalled { .. }
            | StepEvent::StepItemsDecided { .. }
            | StepEvent::StepApprovalRequested { .. }
            | StepEvent::StepApproved { .. }
            | StepEvent::StepRejected { .. }
            | StepEvent::StepPrepared { .. }
            | StepEvent::StepOperationFailed { .. }
            | StepEvent::StepUndoStarted => {}
        }
    }

    fn begin_wait(
        &mut self,
        families: &Families,
        path: &StepPath,
        reason: &'static str,
        time: Timestamp,
    ) {
        self.end_wait(families, path, time);
        self.waits.insert(path.clone(), CurrentWait { reason, since: time });
    }

    fn end_wait(&mut self, families: &Families, path: &StepPath, time: Timestamp) {
        if let Some(wait) = self.waits.remove(path) {
            self.count(families, path, &wait, time);
        }
    }

    /// Counts the time of a wait so far, which goes on.
    fn count_wait(&mut self, families: &Families, path: &StepPath, time: Timestamp) {
        if let Some(reason) = self.waits.get(path).map(|wait| wait.reason) {
            self.begin_wait(families, path, reason, time);
        }
    }

    fn end_waits(mut self, families: &Families, time: Timestamp) {
        for (path, wait) in std::mem::take(&mut self.waits) {
            self.count(families, &path, &wait, time);
        }
    }

    fn count(&self, families: &Families, path: &StepPath, wait: &CurrentWait, until: Timestamp) {
        let labels = Wait { action: self.action(path), reason: wait.reason };
        families.waits.get_or_create(&labels).inc_by(seconds(wait.since, until));
    }
}

/// Counts the changes that a step has decided on, but for those that were not made.
fn count_changes(
    families: &Families,
    run: &Run,
    path: &StepPath,
    way: &'static str,
    not_made: usize,
) {
    let intent = run.step(path).and_then(|step| step.intent.as_ref());
    let changes = intent.map_or(&[][..], |intent| &intent.changes);
    for change in changes.iter().take(changes.len().saturating_sub(not_made)) {
        let labels = Change { kind: kind_of(&change.target), way };
        families.changes.get_or_create(&labels).inc();
    }
}

/// Returns the time between two moments; none where a clock was set back.
fn seconds(from: Timestamp, until: Timestamp) -> f64 {
    (until - from).total(jiff::Unit::Second).unwrap_or_default().max(0.0)
}
