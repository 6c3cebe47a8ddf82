//! One process's hold on one run: the only way to append, and the run after each append.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::{
    Event, RecordedEvent, Run, RunEvent, RunId, RunSpec, RunStore, StoreError, store::no_start,
};

/// How many events a slow subscriber may fall behind before it misses some.
const SUBSCRIBER_BACKLOG: usize = 4096;

/// An observer of every event of every run that this process writes: the audit log, metrics, notifications.
pub trait RunObserver: Send + Sync {
    /// Takes an event that the store has kept; `run` is the run with that event in it. It must return at once and
    /// cannot fail, because the run waits for it.
    fn on_event(&self, run: &Run, recorded: &RecordedEvent);
}

/// The observers of this process.
pub type Observers = Arc<[Arc<dyn RunObserver>]>;

/// Appends to one run.
pub struct RunWriter {
    store: Arc<dyn RunStore>,
    run: Run,
    observers: Observers,
    subscribers: broadcast::Sender<Arc<RecordedEvent>>,
}

impl RunWriter {
    /// Starts a run.
    ///
    /// # Errors
    /// The store could not keep its first event; then there is no run.
    pub async fn start(
        store: Arc<dyn RunStore>,
        observers: Observers,
        id: RunId,
        now: Timestamp,
        spec: RunSpec,
    ) -> Result<Self, StoreError> {
        let event = RunEvent::RunStarted(Box::new(spec)).into();
        let first = RecordedEvent { seq: 0, time: now, event };
        store.append(&id, 0, std::slice::from_ref(&first), true).await?;
        let run = Run::of(&id, std::slice::from_ref(&first)).ok_or_else(|| no_start(&id))?;
        let writer = Self::new(store, observers, run);
        writer.notify(&first);
        Ok(writer)
    }

    /// Opens a run that has events.
    ///
    /// # Errors
    /// No such run, or its journal cannot be read.
    pub async fn open(
        store: Arc<dyn RunStore>,
        observers: Observers,
        id: &RunId,
    ) -> Result<Self, StoreError> {
        let run = Run::read(store.as_ref(), id).await?;
        Ok(Self::new(store, observers, run))
    }

    fn new(store: Arc<dyn RunStore>, observers: Observers, run: Run) -> Self {
        let (subscribers, _) = broadcast::channel(SUBSCRIBER_BACKLOG);
        Self { store, run, observers, subscribers }
    }

    /// Returns the run as it is now.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Returns the run as it is now, and ends the hold on it.
    pub fn into_run(self) -> Run {
        self.run
    }

    /// Returns everything that is appended from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<RecordedEvent>> {
        self.subscribers.subscribe()
    }

    /// Appends an event, durably where its kind requires it.
    ///
    /// # Errors
    /// The store could not keep it. Then it has not happened, and what depends on it must not be done.
    pub async fn append(
        &mut self,
        now: Timestamp,
        event: impl Into<Event>,
    ) -> Result<(), StoreError> {
        let mut event = event.into();
        event.bound();
        let sync = event.requires_sync();
        let recorded = RecordedEvent { seq: self.run.head.events, time: now, event };
        let events = std::slice::from_ref(&recorded);
        self.store.append(self.run.id(), self.run.head.events, events, sync).await?;
        self.run.apply(&recorded);
        self.notify(&recorded);
        // A run that has no subscriber is fine.
        let _ = self.subscribers.send(Arc::new(recorded));
        Ok(())
    }

    fn notify(&self, recorded: &RecordedEvent) {
        self.observers.iter().for_each(|observer| observer.on_event(&self.run, recorded));
    }
}
