//! The runs that this service drives, is about to resume, or could not journal: one map, so that there is one answer to
//! what is going on.

use std::collections::HashMap;

use tokio::sync::{Mutex, MutexGuard, watch};

use crate::{engine::Control, journal::RunId};

/// The service's relation to a run.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// The service drives the run.
    Running(Control),
    /// The service found the run interrupted at its start, and is about to resume it.
    Recovering {
        /// Why it could not be resumed so far.
        reason: Option<String>,
    },
    /// The service drove the run until the journal could not be written, for this reason.
    JournalFailed(String),
}

/// The runs of a service.
#[derive(Default)]
pub(super) struct ActiveRuns {
    state: watch::Sender<State>,
    closing: watch::Sender<bool>,
    admission: Mutex<()>,
}

#[derive(Default)]
struct State {
    runs: HashMap<RunId, Phase>,
}

/// The right to start or resume a run, which one request has at a time: two requests at once could both find the target
/// free.
pub(super) struct Admission<'a> {
    runs: &'a ActiveRuns,
    _guard: MutexGuard<'a, ()>,
}

/// Removes a run that was driven from the map when it is dropped, whatever became of the run.
pub(super) struct RunningGuard<'a> {
    runs: &'a ActiveRuns,
    run: RunId,
}

impl ActiveRuns {
    /// Waits for the right to start a run; `None` when the service is shutting down.
    pub(super) async fn admit(&self) -> Option<Admission<'_>> {
        let guard = self.admission.lock().await;
        (!*self.closing.borrow()).then_some(Admission { runs: self, _guard: guard })
    }

    /// Returns whether the service is shutting down, and is told when it does.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Takes note of an interrupted run that is to be resumed.
    pub(super) fn expect_recovery(&self, run: RunId) {
        self.set_recovering(run, None);
    }

    /// Takes note of why a run cannot be resumed yet.
    pub(super) fn delay_recovery(&self, run: &RunId, reason: String) {
        self.set_recovering(run.clone(), Some(reason));
    }

    /// Takes note of a run that is to be resumed, unless a client has resumed it.
    fn set_recovering(&self, run: RunId, reason: Option<String>) {
        self.state.send_modify(|state| {
            if !matches!(state.runs.get(&run), Some(Phase::Running(_))) {
                state.runs.insert(run, Phase::Recovering { reason });
            }
        });
    }

    /// Ends the recovery of a run that was not resumed.
    pub(super) fn end_recovery(&self, run: &RunId) {
        self.state.send_modify(|state| {
            if matches!(state.runs.get(run), Some(Phase::Recovering { .. })) {
                state.runs.remove(run);
            }
        });
    }

    /// Ends the recovery of all runs but these.
    pub(super) fn keep_recovering(&self, is_kept: impl Fn(&RunId) -> bool) {
        self.state.send_modify(|state| {
            state
                .runs
                .retain(|run, phase| !matches!(phase, Phase::Recovering { .. }) || is_kept(run));
        });
    }

    /// Returns the run that is to be resumed, if there is one.
    pub(super) fn recovering(&self) -> Option<RunId> {
        self.newest(|phase| matches!(phase, Phase::Recovering { .. }))
    }

    /// Returns the newest run that is being driven.
    pub(super) fn running(&self) -> Option<RunId> {
        self.newest(|phase| matches!(phase, Phase::Running(_)))
    }

    /// Returns what the service has to do with a run. To be asked before the run's journal is read: a run that ends in
    /// between has its end there; asked afterwards, it would look as if its process had died.
    pub(super) fn phase(&self, run: &RunId) -> Option<Phase> {
        self.state.borrow().runs.get(run).cloned()
    }

    /// Waits until a run that has ended is no longer driven: its last event comes a moment before that.
    pub(super) async fn wait_until_released(&self, run: &RunId) {
        let is_released = |state: &State| !matches!(state.runs.get(run), Some(Phase::Running(_)));
        // The sender lives as long as `self`.
        let _ = self.state.subscribe().wait_for(is_released).await;
    }

    /// Takes note that the journal of a run that was driven could not be written.
    pub(super) fn journal_failed(&self, run: &RunId, message: String) {
        self.set(run.clone(), Phase::JournalFailed(message));
    }

    /// Starts no more runs, leaves the active ones to be resumed, and waits until their calls in flight are journaled.
    pub(super) async fn shut_down(&self) {
        self.closing.send_replace(true);
        // A run that is being accepted now is in the map when this lock is free.
        drop(self.admission.lock().await);
        for phase in self.state.borrow().runs.values() {
            if let Phase::Running(control) = phase {
                control.shut_down();
            }
        }
        let is_idle =
            |state: &State| !state.runs.values().any(|phase| matches!(phase, Phase::Running(_)));
        // The sender lives as long as `self`.
        let _ = self.state.subscribe().wait_for(is_idle).await;
    }

    fn set(&self, run: RunId, phase: Phase) {
        self.state.send_modify(|state| drop(state.runs.insert(run, phase)));
    }

    fn newest(&self, is_wanted: impl Fn(&Phase) -> bool) -> Option<RunId> {
        let state = self.state.borrow();
        state.runs.iter().filter(|(_, phase)| is_wanted(phase)).map(|(run, _)| run.clone()).max()
    }
}

impl Admission<'_> {
    /// Takes note of a run that was accepted and is driven from now on.
    pub(super) fn run(&self, run: &RunId, control: &Control) {
        self.runs.set(run.clone(), Phase::Running(control.clone()));
    }
}

impl<'a> RunningGuard<'a> {
    /// Returns the guard of a run that is being driven.
    pub(super) fn new(runs: &'a ActiveRuns, run: &RunId) -> Self {
        Self { runs, run: run.clone() }
    }
}

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        self.runs.state.send_modify(|state| {
            if !matches!(state.runs.get(&self.run), Some(Phase::Running(_))) {
                return;
            }
            state.runs.remove(&self.run);
            if std::thread::panicking() {
                // Its journal is still open, and says no more than that the run has not ended.
                let reason = "the service failed while it drove the run; see its log".to_owned();
                state.runs.insert(self.run.clone(), Phase::JournalFailed(reason));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attempt of the service to resume a run may come after that of a client.
    #[tokio::test]
    async fn a_run_that_is_driven_is_not_about_to_be_resumed() {
        let (runs, run): (_, RunId) = (ActiveRuns::default(), "a-run".parse().unwrap());
        runs.expect_recovery(run.clone());
        assert!(matches!(runs.phase(&run), Some(Phase::Recovering { .. })));
        runs.admit().await.unwrap().run(&run, &Control::default());
        runs.expect_recovery(run.clone());
        runs.delay_recovery(&run, "busy".into());
        runs.keep_recovering(|_| false);
        assert!(matches!(runs.phase(&run), Some(Phase::Running(_))));
    }
}
