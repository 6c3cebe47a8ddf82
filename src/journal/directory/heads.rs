//! The index of heads, between readers that read files for it and runs that must not wait for them. An append leaves
//! its head in memory; the thread that has the index, or has it next, takes the head in.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
};

use super::head_index::{CreatedRuns, HeadIndex, Stamp};
use crate::journal::{RunHead, RunId};

/// The heads of a directory.
pub(super) struct Heads {
    directory: PathBuf,
    /// Whether the index is forgotten after each query, because another process writes.
    is_forgetful: bool,
    /// Read when it is first needed. Its lock is held while files are read and written: an append never waits for it.
    index: Mutex<Option<HeadIndex>>,
    /// The heads after appends that the index does not have yet. Locked for operations on memory only.
    news: Mutex<BTreeMap<RunId, (RunHead, Stamp)>>,
    created: Arc<CreatedRuns>,
}

impl Heads {
    /// Returns the heads of a directory that this process writes to, or only reads.
    pub(super) fn new(directory: &Path, is_writer: bool) -> Self {
        Self {
            directory: directory.to_owned(),
            is_forgetful: !is_writer,
            index: Mutex::default(),
            news: Mutex::default(),
            created: Arc::default(),
        }
    }

    /// Asks the index, which has every head whose append has returned. Waits for its other users.
    pub(super) fn query<T>(&self, query: impl FnOnce(&mut HeadIndex) -> T) -> T {
        let mut guard = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let index = self.loaded(&mut guard);
        self.take_news(index);
        let result = query(index);
        if self.is_forgetful {
            *guard = None;
        }
        drop(guard);
        self.update();
        result
    }

    /// Takes note that a run's file is about to be created.
    pub(super) fn expect(&self, run: &RunId) {
        // Read before the directory changes, so that it is known whether the index was current. Without the index, the
        // thread that has it has read it.
        if let Some(mut guard) = self.try_index() {
            self.loaded(&mut guard);
        }
        self.created.insert(run);
    }

    /// Takes note that a run's file was not created.
    pub(super) fn forget_expected(&self, run: &RunId) {
        self.created.remove(run);
    }

    /// Takes note of a run's head after an append, when its file was like that.
    pub(super) fn appended(&self, head: &RunHead, stamp: Stamp) {
        self.news().insert(head.run.clone(), (head.clone(), stamp));
    }

    /// Brings the index up to date, unless another thread has it: that one does it afterwards.
    pub(super) fn update(&self) {
        while !self.news().is_empty() {
            let Some(mut guard) = self.try_index() else { return };
            let index = self.loaded(&mut guard);
            self.take_news(index);
        }
    }

    fn take_news(&self, index: &mut HeadIndex) {
        let news = std::mem::take(&mut *self.news());
        for (run, (head, stamp)) in news {
            index.update(&head, stamp);
            self.created.remove(&run);
        }
    }

    fn loaded<'i>(&self, index: &'i mut Option<HeadIndex>) -> &'i mut HeadIndex {
        index.get_or_insert_with(|| HeadIndex::load(&self.directory, &self.created))
    }

    fn try_index(&self) -> Option<MutexGuard<'_, Option<HeadIndex>>> {
        match self.index.try_lock() {
            Ok(guard) => Some(guard),
            // The index is a cache: whatever a panic left is compared with the files.
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn news(&self) -> MutexGuard<'_, BTreeMap<RunId, (RunHead, Stamp)>> {
        // Each change is one call: a panic leaves nothing half done.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
