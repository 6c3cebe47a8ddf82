//! A store in which a process dies, or seems to, at one event of a run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use rafay_relay_sop::journal::{
    HeadEntry, HeadQuery, RecordedEvent, RunHead, RunId, RunStore, StoreError, StoreLocation,
};
use tokio::sync::broadcast;

/// Whether the event at which an append is interrupted is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The event is not written: what it reports has been done, and only the platform knows.
    BeforeEvent,
    /// The event is written, and nothing has been done about it yet.
    AfterEvent,
}

/// Interrupts the append of the Nth event of a run, once: the run may be resumed through the same store.
pub struct InterruptingStore {
    store: Arc<dyn RunStore>,
    at_event: u64,
    moment: Moment,
    interrupt: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    has_interrupted: AtomicBool,
}

impl InterruptingStore {
    /// Interrupts at the event with this number, from 1, by waiting for `interrupt`.
    pub fn new(
        store: Arc<dyn RunStore>,
        at_event: u64,
        moment: Moment,
        interrupt: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let interrupt = Box::new(interrupt);
        Self { store, at_event, moment, interrupt, has_interrupted: AtomicBool::new(false) }
    }
}

#[async_trait]
impl RunStore for InterruptingStore {
    async fn append(
        &self,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<(), StoreError> {
        let interrupts = expected + events.len() as u64 >= self.at_event
            && !self.has_interrupted.swap(true, Ordering::SeqCst);
        if !interrupts || self.moment == Moment::AfterEvent {
            self.store.append(run, expected, events, sync).await?;
        }
        if interrupts {
            (self.interrupt)().await;
        }
        Ok(())
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<RecordedEvent>, StoreError> {
        self.store.read(run, from).await
    }

    async fn heads(&self, query: HeadQuery) -> Result<Vec<HeadEntry>, StoreError> {
        self.store.heads(query).await
    }

    async fn head(&self, run: &RunId) -> Result<RunHead, StoreError> {
        self.store.head(run).await
    }

    fn watch(&self) -> broadcast::Receiver<RunHead> {
        self.store.watch()
    }

    async fn is_live(&self, run: &RunId) -> bool {
        self.store.is_live(run).await
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.store.check_writable().await
    }

    fn location(&self) -> StoreLocation {
        self.store.location()
    }
}
