//! One process's hold on one run: the only way to append, and the run after each append.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;
use tokio::sync::{Mutex, broadcast};

use super::{
    Event, RecordedEvent, Run, RunEvent, RunId, RunSpec, RunStore, StepPath, StoreError,
    store::no_start,
};

/// How many events a slow subscriber may fall behind before it misses some.
const SUBSCRIBER_BACKLOG: usize = 4096;

/// An observer of every event of every run that this process writes: the audit log, metrics, notifications.
pub trait RunObserver: Send + Sync {
    /// Takes an event that the store has kept; `run` is the run with that event in it. It must return at once and
    /// cannot fail, because the run waits for it.
    fn on_event(&self, run: &Run, recorded: &RecordedEvent);

    /// Takes note that this process drives a run from now on, and of how to find the action of a step: events do not
    /// say it.
    fn on_drive(&self, run: &Run, action_of: &ActionOf) {
        let _ = (run, action_of);
    }
}

/// Returns the name of the action of a step of one run; `call` where the step calls a runbook, `for_each` where its
/// items do the work.
pub type ActionOf = Arc<dyn Fn(&StepPath) -> Option<String> + Send + Sync>;

/// The observers of this process.
pub type Observers = Arc<[Arc<dyn RunObserver>]>;

/// Appends to one run.
pub struct RunWriter {
    run: Run,
    keeper: Keeper,
}

/// Appends to one run for several that work on it at the same time.
pub struct SharedRunWriter {
    run: RwLock<Run>,
    keeper: Keeper,
    /// Held while an event is appended: the next one has the place after it.
    order: Mutex<()>,
}

/// Keeps events, and tells others about them.
struct Keeper {
    store: Arc<dyn RunStore>,
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
        writer.keeper.notify(&writer.run, first);
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
        Self { run, keeper: Keeper { store, observers, subscribers } }
    }

    /// Returns the run as it is now.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Returns a writer to which several can append.
    pub fn shared(self) -> SharedRunWriter {
        let Self { run, keeper } = self;
        SharedRunWriter { run: RwLock::new(run), keeper, order: Mutex::new(()) }
    }

    /// Returns everything that is appended from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<RecordedEvent>> {
        self.keeper.subscribers.subscribe()
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
        let next = self.run.head.events;
        for recorded in self.keeper.keep(self.run.id(), next, now, vec![event.into()]).await? {
            self.run.apply(&recorded);
            self.keeper.notify(&self.run, recorded);
        }
        Ok(())
    }
}

impl SharedRunWriter {
    /// Returns the run as it is now. Nothing can be appended while the result is held.
    pub fn run(&self) -> RwLockReadGuard<'_, Run> {
        // A fold that panics is a defect, and leaves a run that can still be read.
        self.run.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the run as it is now, and ends the hold on it.
    pub fn into_run(self) -> Run {
        self.run.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an event, durably where its kind requires it, after those that were appended before.
    ///
    /// # Errors
    /// As [`RunWriter::append`].
    pub async fn append(&self, now: Timestamp, event: impl Into<Event>) -> Result<(), StoreError> {
        self.append_all(now, vec![event.into()]).await
    }

    /// Appends events of which the later ones follow from the first: no crash of this process comes between them.
    ///
    /// # Errors
    /// As [`RunWriter::append`].
    pub async fn append_all(&self, now: Timestamp, events: Vec<Event>) -> Result<(), StoreError> {
        let _order = self.order.lock().await;
        let (id, next) = {
            let run = self.run();
            (run.id().clone(), run.head.events)
        };
        let recorded = self.keeper.keep(&id, next, now, events).await?;
        let mut run = self.run.write().unwrap_or_else(PoisonError::into_inner);
        for recorded in recorded {
            run.apply(&recorded);
            self.keeper.notify(&run, recorded);
        }
        Ok(())
    }
}

impl Keeper {
    async fn keep(
        &self,
        run: &RunId,
        seq: u64,
        now: Timestamp,
        events: Vec<Event>,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let sync = events.iter().any(Event::requires_sync);
        let record = |(seq, mut event): (u64, Event)| {
            event.bound();
            RecordedEvent { seq, time: now, event }
        };
        let recorded: Vec<RecordedEvent> = (seq..).zip(events).map(record).collect();
        self.store.append(run, seq, &recorded, sync).await?;
        Ok(recorded)
    }

    fn notify(&self, run: &Run, recorded: RecordedEvent) {
        self.observers.iter().for_each(|observer| observer.on_event(run, &recorded));
        // A run that has no subscriber is fine.
        let _ = self.subscribers.send(Arc::new(recorded));
    }
}
