//! The parts of pages that cost more than a page: checks of runbooks, steps of texts, runs that are being watched, and
//! the state of the overview. All clients share them, and each is bounded.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    outline::Outline, overview_stream::Snapshot, overview_view::Validity, watched_run::WatchedRun,
};
use crate::journal::{RecordedEvent, Run, RunId};

/// How many texts are remembered. When there are more, all are forgotten.
const MAX_OUTLINES: usize = 64;

/// For how long the check of a runbook is believed: a runbook that it calls may have changed.
const VALIDITY_AGE: Duration = Duration::from_secs(30);

/// The values that pages share. Cloned, they are the same.
#[derive(Clone, Default)]
pub(in crate::server) struct Caches(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The runs that are being watched.
    runs: Mutex<HashMap<RunId, Weak<WatchedMutex>>>,
    outlines: Mutex<HashMap<String, Arc<Outline>>>,
    validities: Mutex<BTreeMap<String, Checked>>,
    overview: tokio::sync::Mutex<Overview>,
}

/// A run that is being watched, which all its watchers share.
pub(super) type SharedRun = Arc<WatchedMutex>;

/// The run, for one watcher at a time.
pub(super) struct WatchedMutex(Mutex<WatchedRun>);

impl WatchedMutex {
    /// Waits for a moment for the other watchers.
    pub(super) fn lock(&self) -> MutexGuard<'_, WatchedRun> {
        lock(&self.0)
    }
}

/// A runbook's check, with the text that was checked and when.
struct Checked {
    text: String,
    at: Instant,
    validity: Validity,
}

/// The state of the overview, for all who watch it.
#[derive(Default)]
pub(super) struct Overview {
    /// The last answer, and its time.
    pub(super) last: Option<(Instant, Arc<Snapshot>)>,
    /// The active runs among them.
    pub(super) watched: HashMap<RunId, WatchedRun>,
}

impl Caches {
    /// Returns a run with these events; `None` when the first of them does not start a run.
    pub(super) fn watched(&self, id: &RunId, events: &[Arc<RecordedEvent>]) -> Option<SharedRun> {
        if let Some(known) = lock(&self.0.runs).get(id).and_then(Weak::upgrade) {
            let mut run = known.lock();
            run.follow(events);
            // A person may have replaced the runbook.
            run.outline = self.outline(&run.run);
            drop(run);
            return Some(known);
        }
        // Which text is the run's depends on what persons changed.
        let run = Run::of(id, events)?;
        let watched = WatchedRun::of(id, events, self.outline(&run))?;
        let shared = Arc::new(WatchedMutex(Mutex::new(watched)));
        let mut runs = lock(&self.0.runs);
        runs.retain(|_, run| run.strong_count() > 0);
        runs.insert(id.clone(), Arc::downgrade(&shared));
        Some(shared)
    }

    /// Returns the steps of a run's runbook.
    fn outline(&self, run: &Run) -> Arc<Outline> {
        let digest = run.digest().to_owned();
        if let Some(known) = lock(&self.0.outlines).get(&digest) {
            return Arc::clone(known);
        }
        let outline = Arc::new(Outline::of_run(run));
        let mut outlines = lock(&self.0.outlines);
        if outlines.len() >= MAX_OUTLINES {
            outlines.clear();
        }
        outlines.insert(digest, Arc::clone(&outline));
        outline
    }

    /// Returns the check of a runbook with that text, where it is recent.
    pub(super) fn validity(&self, name: &str, text: &str) -> Option<Validity> {
        let validities = lock(&self.0.validities);
        let known = validities.get(name)?;
        let is_same = known.text == text && known.at.elapsed() < VALIDITY_AGE;
        is_same.then(|| known.validity.clone())
    }

    /// Takes note of a check.
    pub(super) fn note_validity(&self, name: &str, text: &str, validity: &Validity) {
        let (text, at) = (text.to_owned(), Instant::now());
        let checked = Checked { text, at, validity: validity.clone() };
        lock(&self.0.validities).insert(name.to_owned(), checked);
    }

    /// Forgets the runbooks that are not among these.
    pub(super) fn keep_validities(&self, names: &[String]) {
        lock(&self.0.validities).retain(|name, _| names.contains(name));
    }

    /// Returns the overview, which one client at a time renews.
    pub(super) async fn overview(&self) -> tokio::sync::MutexGuard<'_, Overview> {
        self.0.overview.lock().await
    }
}

/// Returns the value. A panic in the middle of a change leaves at most a page that is not current.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
