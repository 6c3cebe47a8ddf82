//! A store in which a process dies, or seems to, at one append of a run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use rafay_relay_sop::journal::{
    HeadEntry, HeadQuery, RecordedEvent, RunHead, RunId, RunStore, StoreError, StoreLocation,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast;

/// Whether the event at which an append is interrupted is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// The event is not written: what it reports has been done, and only the platform knows.
    BeforeEvent,
    /// The event is written, and nothing has been done about it yet.
    AfterEvent,
}

/// The append at which a run is interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Point {
    /// The append of the event with this number, from 1.
    Event(u64),
    /// The append with this number, from 1, among those that are synced.
    Synced(u64),
    /// The append of the first event of this name, of this step if one is given, as the journal has them.
    Named(String, Option<String>),
}

impl Point {
    /// The first event of this name of this step.
    pub fn of_step(event: &str, step: &str) -> Self {
        Self::Named(event.to_owned(), Some(step.to_owned()))
    }
}

/// Interrupts one append of a run, once: the run may be resumed through the same store.
pub struct InterruptingStore {
    store: Arc<dyn RunStore>,
    point: Point,
    moment: Moment,
    interrupt: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    synced: AtomicU64,
    has_interrupted: AtomicBool,
}

impl InterruptingStore {
    /// Interrupts at an append by waiting for `interrupt`.
    pub fn new(
        store: Arc<dyn RunStore>,
        point: Point,
        moment: Moment,
        interrupt: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let interrupt = Box::new(interrupt);
        let (synced, has_interrupted) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { store, point, moment, interrupt, synced, has_interrupted }
    }

    fn is_reached(&self, expected: u64, events: &[RecordedEvent], sync: bool) -> bool {
        match &self.point {
            Point::Event(number) => expected + events.len() as u64 >= *number,
            Point::Synced(number) => {
                sync && self.synced.fetch_add(1, Ordering::SeqCst) + 1 == *number
            }
            Point::Named(name, step) => events.iter().any(|event| {
                let event = serde_json::to_value(event).expect("an event is JSON");
                let text = |member: &str| event.get(member).and_then(Value::as_str);
                text("event") == Some(name) && (step.is_none() || text("step") == step.as_deref())
            }),
        }
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
        let interrupts = self.is_reached(expected, events, sync)
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
