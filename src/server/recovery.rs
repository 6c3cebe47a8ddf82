//! The run that a new process of the service is about to take up, from its first request on: whoever polls `/status`
//! across a restart is not told that the run has failed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::journal::RunId;

/// Which run, if any, and why it is not taken up yet.
#[derive(Default)]
pub(super) struct PendingRecovery(Mutex<Option<PendingRun>>);

struct PendingRun {
    run: RunId,
    delay: Option<String>,
}

impl PendingRecovery {
    pub(super) fn expect(&self, run: RunId) {
        *self.lock() = Some(PendingRun { run, delay: None });
    }

    pub(super) fn run(&self) -> Option<RunId> {
        self.lock().as_ref().map(|pending| pending.run.clone())
    }

    /// Notes why it could not be taken up just now.
    pub(super) fn set_delay(&self, why: &str) {
        if let Some(pending) = self.lock().as_mut() {
            pending.delay = Some(why.to_owned());
        }
    }

    /// It was taken up, or never will be.
    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    /// Whether that run is expected; inside, why it is not taken up yet.
    pub(super) fn delay_of(&self, run: &RunId) -> Option<Option<String>> {
        let pending = self.lock();
        pending.as_ref().filter(|pending| pending.run == *run).map(|pending| pending.delay.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<PendingRun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
