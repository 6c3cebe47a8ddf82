//! A store in which a process dies, or seems to, at one append of a run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use rafay_relay_sop::journal::{RecordedEvent, RunId, RunStore, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use super::{AroundAppend, WrappedStore};

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
pub struct Interruption {
    point: Point,
    moment: Moment,
    interrupt: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    synced: AtomicU64,
    has_interrupted: AtomicBool,
}

/// A store that interrupts one append.
pub type InterruptingStore = WrappedStore<Interruption>;

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
        Self::around(store, Interruption { point, moment, interrupt, synced, has_interrupted })
    }

    /// Stops at an append for ever, as a process that has died, and notifies that it has.
    pub fn stopping(store: Arc<dyn RunStore>, point: Point, moment: Moment) -> (Self, Arc<Notify>) {
        let stopped = Arc::new(Notify::new());
        let notify = Arc::clone(&stopped);
        let stop = move || -> BoxFuture<'static, ()> {
            notify.notify_one();
            Box::pin(std::future::pending())
        };
        (Self::new(store, point, moment, stop), stopped)
    }
}

impl Interruption {
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
impl AroundAppend for Interruption {
    async fn append(
        &self,
        store: &dyn RunStore,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<(), StoreError> {
        let interrupts = self.is_reached(expected, events, sync)
            && !self.has_interrupted.swap(true, Ordering::SeqCst);
        if !interrupts || self.moment == Moment::AfterEvent {
            store.append(run, expected, events, sync).await?;
        }
        if interrupts {
            (self.interrupt)().await;
        }
        Ok(())
    }
}
