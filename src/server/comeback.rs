//! The run that a new process of the service is about to take up, from its first request on: whoever polls `/status`
//! across a restart is not told that the run has failed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::journal::RunId;

/// Which run, if any, and why it is not taken up yet.
#[derive(Default)]
pub(super) struct Comeback(Mutex<Option<Expected>>);

struct Expected {
    run: RunId,
    delay: Option<String>,
}

impl Comeback {
    pub(super) fn expect(&self, run: RunId) {
        *self.lock() = Some(Expected { run, delay: None });
    }

    pub(super) fn expected(&self) -> Option<RunId> {
        self.lock().as_ref().map(|expected| expected.run.clone())
    }

    /// Notes why it could not be taken up just now.
    pub(super) fn delayed(&self, why: &str) {
        if let Some(expected) = self.lock().as_mut() {
            expected.delay = Some(why.to_owned());
        }
    }

    /// It was taken up, or never will be.
    pub(super) fn is_over(&self) {
        *self.lock() = None;
    }

    /// Whether that run is expected; inside, why it is not taken up yet.
    pub(super) fn of(&self, run: &RunId) -> Option<Option<String>> {
        let expected = self.lock();
        expected.as_ref().filter(|expected| expected.run == *run).map(|it| it.delay.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Expected>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
