//! The files of the runs that this process writes. Each has a lock of its own, so that a run waits for no other run and
//! for no reader. The lock of the map is held while memory is read and written, and never while a file is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::run_file::RunFile;
use crate::journal::RunId;

/// The files that are open.
#[derive(Default)]
pub(super) struct OpenRuns {
    slots: Mutex<HashMap<RunId, Arc<Slot>>>,
}

/// The file of one run; none while it is being opened.
type Slot = Mutex<Option<RunFile>>;

/// The use of a slot by one thread, which removes the slot when it leaves no file in it.
struct Use<'a> {
    runs: &'a OpenRuns,
    run: &'a RunId,
    slot: Arc<Slot>,
}

impl OpenRuns {
    /// Calls `work` with the place of a run's file, which no other thread uses meanwhile. The file is open for as long
    /// as it is left there.
    pub(super) fn with<T>(&self, run: &RunId, work: impl FnOnce(&mut Option<RunFile>) -> T) -> T {
        let slot = Arc::clone(self.slots().entry(run.clone()).or_default());
        let used = Use { runs: self, run, slot };
        work(&mut file_of(&used.slot))
    }

    /// Whether a run's file is open, or is being opened.
    pub(super) fn contains(&self, run: &RunId) -> bool {
        self.slots().contains_key(run)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Slot>>> {
        // Each change is one call: a panic leaves nothing half done.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the file of a run. A panic while the file was written to has left none: it was taken out before.
fn file_of(slot: &Slot) -> MutexGuard<'_, Option<RunFile>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        let mut slots = self.runs.slots();
        // The map's and this one: no other thread has the slot, and none can get it before the map is free.
        if Arc::strong_count(&self.slot) == 2 && file_of(&self.slot).is_none() {
            slots.remove(self.run);
        }
    }
}
