//! The runs that this process writes to, and since when each has made no progress.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use crate::journal::{Event, RecordedEvent, Run, RunEvent, RunId, StepEvent};

/// How many runs are kept before those that have ended are forgotten.
const MAX_RUNS: usize = 256;

/// The runs, by their ids.
#[derive(Default)]
pub(super) struct ObservedRuns(Mutex<HashMap<RunId, Observed>>);

/// How this process sees a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// The whole of it, since it began or since what came before was told.
    Whole,
    /// The first event that it sees of a run that has begun in another process.
    Continued,
}

/// A run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observed {
    /// The place of the last event that is progress.
    pub(super) progress: u64,
    /// When it was seen.
    pub(super) since: Instant,
    has_ended: bool,
}

impl ObservedRuns {
    /// Takes note of an event.
    pub(super) fn observe(&self, run: &Run, recorded: &RecordedEvent) -> Sight {
        let mut runs = self.runs();
        let has_ended = matches!(
            recorded.event,
            Event::Run(RunEvent::RunEnded { .. } | RunEvent::RunAbandoned { .. })
        );
        let fresh = Observed { progress: recorded.seq, since: Instant::now(), has_ended };
        if let Some(observed) = runs.get_mut(run.id()) {
            if is_progress(&recorded.event) {
                *observed = fresh;
            }
            return Sight::Whole;
        }
        if runs.len() >= MAX_RUNS {
            runs.retain(|_, observed| !observed.has_ended);
        }
        runs.insert(run.id().clone(), fresh);
        match recorded.seq {
            0 => Sight::Whole,
            _ => Sight::Continued,
        }
    }

    /// Whether this process writes to a run, or has written to it not long ago.
    pub(super) fn contains(&self, run: &RunId) -> bool {
        self.runs().contains_key(run)
    }

    /// Returns a run that has not ended in this process.
    pub(super) fn open(&self, run: &RunId) -> Option<Observed> {
        self.runs().get(run).copied().filter(|observed| !observed.has_ended)
    }

    /// Returns all runs that have not ended in this process.
    pub(super) fn all_open(&self) -> Vec<(RunId, Observed)> {
        let runs = self.runs();
        let open = runs.iter().filter(|(_, observed)| !observed.has_ended);
        open.map(|(run, observed)| (run.clone(), *observed)).collect()
    }

    /// Forgets a run that another process has continued.
    pub(super) fn forget(&self, run: &RunId) {
        self.runs().remove(run);
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<RunId, Observed>> {
        // Every change is one assignment: a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an event says more than that something is still missing.
pub(super) fn is_progress(event: &Event) -> bool {
    !matches!(event, Event::Step { event: StepEvent::StepWaiting { .. }, .. })
}
