//! One process's hold on one run: the only way to append, and the run as it stands after each append.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::{Event, Record, Run, RunId, Started, Store, StoreError, audit};

/// How many records a slow listener may fall behind before it misses some; it then reads the store.
const LISTENERS_BACKLOG: usize = 4096;

/// Appends to one run.
pub struct Recorder {
    store: Arc<dyn Store>,
    run: Run,
    listeners: broadcast::Sender<Arc<Record>>,
}

impl Recorder {
    /// Begins a run.
    ///
    /// # Errors
    /// The store could not keep its first event; then there is no run.
    pub fn begin(
        store: Arc<dyn Store>,
        id: RunId,
        now: Timestamp,
        started: Started,
    ) -> Result<Self, StoreError> {
        let first = Record { seq: 0, time: now, event: Event::RunStarted(Box::new(started)) };
        store.append(&id, 0, std::slice::from_ref(&first), true)?;
        let run = Run::of(&id, std::slice::from_ref(&first)).expect("its first event starts a run");
        audit::tell(&run, &first);
        Ok(Self::on(store, run))
    }

    /// Takes up a run that has events.
    ///
    /// # Errors
    /// There is no such run, or its journal cannot be read.
    pub fn take_up(store: Arc<dyn Store>, id: &RunId) -> Result<Self, StoreError> {
        let run = read(store.as_ref(), id)?;
        Ok(Self::on(store, run))
    }

    fn on(store: Arc<dyn Store>, run: Run) -> Self {
        let (listeners, _) = broadcast::channel(LISTENERS_BACKLOG);
        Self { store, run, listeners }
    }

    /// The run as it stands.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Everything that is appended from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Record>> {
        self.listeners.subscribe()
    }

    /// Appends an event, durably where its kind asks for it.
    ///
    /// # Errors
    /// The store could not keep it. Then it has not happened, and what depends on it must not be done.
    pub fn append(&mut self, now: Timestamp, event: Event) -> Result<(), StoreError> {
        let sync = event.must_be_synced();
        let record = Record { seq: self.run.events, time: now, event };
        let records = std::slice::from_ref(&record);
        self.store.append(&self.run.id, self.run.events, records, sync)?;
        self.run.apply(&record);
        audit::tell(&self.run, &record);
        // Nobody listening is fine.
        let _ = self.listeners.send(Arc::new(record));
        Ok(())
    }
}

/// Reads a run from a store.
///
/// # Errors
/// There is no such run, or its journal cannot be read.
pub(super) fn read(store: &dyn Store, id: &RunId) -> Result<Run, StoreError> {
    let records = store.read(id)?;
    Run::of(id, &records).ok_or_else(|| StoreError::Damaged {
        path: id.as_str().into(),
        line: 1,
        why: "the first event does not start a run".into(),
    })
}

impl Run {
    /// Reads a run from a store.
    ///
    /// # Errors
    /// There is no such run, or its journal cannot be read.
    pub fn read(store: &dyn Store, id: &RunId) -> Result<Self, StoreError> {
        read(store, id)
    }
}
