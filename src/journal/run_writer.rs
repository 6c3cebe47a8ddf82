//! One process's hold on one run: the only way to append, and the run as it stands after each append.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::{Event, EventRecord, Run, RunId, RunSpec, RunStore, StoreError, audit};

/// How many records a slow listener may fall behind before it misses some; it then reads the store.
const SUBSCRIBER_BACKLOG: usize = 4096;

/// Appends to one run.
pub struct RunWriter {
    store: Arc<dyn RunStore>,
    run: Run,
    subscribers: broadcast::Sender<Arc<EventRecord>>,
}

impl RunWriter {
    /// Begins a run.
    ///
    /// # Errors
    /// The store could not keep its first event; then there is no run.
    pub fn create(
        store: Arc<dyn RunStore>,
        id: RunId,
        now: Timestamp,
        spec: RunSpec,
    ) -> Result<Self, StoreError> {
        let first = EventRecord { seq: 0, time: now, event: Event::RunStarted(Box::new(spec)) };
        store.append(&id, 0, std::slice::from_ref(&first), true)?;
        let run = Run::from_records(&id, std::slice::from_ref(&first))
            .expect("its first event starts a run");
        audit::log_event(&run, &first);
        Ok(Self::new(store, run))
    }

    /// Takes up a run that has events.
    ///
    /// # Errors
    /// There is no such run, or its journal cannot be read.
    pub fn open(store: Arc<dyn RunStore>, id: &RunId) -> Result<Self, StoreError> {
        let run = read(store.as_ref(), id)?;
        Ok(Self::new(store, run))
    }

    fn new(store: Arc<dyn RunStore>, run: Run) -> Self {
        let (subscribers, _) = broadcast::channel(SUBSCRIBER_BACKLOG);
        Self { store, run, subscribers }
    }

    /// The run as it stands.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Everything that is appended from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<EventRecord>> {
        self.subscribers.subscribe()
    }

    /// Appends an event, durably where its kind asks for it.
    ///
    /// # Errors
    /// The store could not keep it. Then it has not happened, and what depends on it must not be done.
    pub fn append(&mut self, now: Timestamp, event: Event) -> Result<(), StoreError> {
        let sync = event.requires_sync();
        let record = EventRecord { seq: self.run.event_count, time: now, event };
        let records = std::slice::from_ref(&record);
        self.store.append(&self.run.id, self.run.event_count, records, sync)?;
        self.run.apply(&record);
        audit::log_event(&self.run, &record);
        // Nobody listening is fine.
        let _ = self.subscribers.send(Arc::new(record));
        Ok(())
    }
}

/// Reads a run from a store.
///
/// # Errors
/// There is no such run, or its journal cannot be read.
pub(super) fn read(store: &dyn RunStore, id: &RunId) -> Result<Run, StoreError> {
    let records = store.read(id)?;
    Run::from_records(id, &records).ok_or_else(|| StoreError::Damaged {
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
    pub fn read(store: &dyn RunStore, id: &RunId) -> Result<Self, StoreError> {
        read(store, id)
    }
}
