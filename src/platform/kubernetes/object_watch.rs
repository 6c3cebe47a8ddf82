//! A live set of objects: the requests of [`list_watch`](super::list_watch) with pauses between them, and the decision
//! when to give up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use kube::ResourceExt;
use tokio::time::Instant;

use crate::platform::error::{Error, ErrorKind};
use crate::platform::poll::MAX_FIRST_ATTEMPTS;
use crate::platform::wait::{SourceEvent, WaitSource};
use clock::{Backoff, Clock};

use super::list_watch::{ListWatchEvent, list_watch};
use super::{Connection, Listed, Listing, Selection, is_expired};

/// The delays after requests that failed, and after watches that ended too soon. An API server that restarts answers
/// again within a minute, which should be noticed soon.
const BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(500), Duration::from_secs(10)).with_jitter(0.25);

/// A watch that ends sooner was not ended by its timeout. If such watches began again at once, a server or a proxy that
/// ends every watch would be asked thousands of times a second.
const MIN_WATCH_DURATION: Duration = Duration::from_secs(5);

/// A restarted API server refuses every client until it has read its roles, which takes a few seconds.
const API_SERVER_STARTUP: Duration = Duration::from_secs(10);

/// The live set of the selected objects. It lives while it is awaited and holds no task.
pub struct ObjectWatch<K> {
    clock: Clock,
    selection: Selection,
    events: BoxStream<'static, Result<ListWatchEvent<K>, Error>>,
    view: ObjectView<K>,
    has_listed: bool,
    /// Requests in a row that failed, and watches that ended too soon.
    failures: u32,
    /// Watches in a row whose version had expired. A list does not end this row: one that succeeds before each watch
    /// that is refused proves nothing.
    expirations: u32,
    watching_since: Option<Instant>,
    /// The time since which a watch that worked before is refused.
    denied_since: Option<Instant>,
    resume_at: Option<Instant>,
    /// Whether an interruption was reported, and its end was not.
    is_interrupted: bool,
}

/// The objects of an [`ObjectWatch`], readable while it runs. Clones share them.
pub struct ObjectView<K>(Arc<Mutex<BTreeMap<Key, Arc<K>>>>);

/// The UID distinguishes an object from its successor of the same name; the other fields define the order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    namespace: String,
    name: String,
    uid: String,
}

impl Key {
    fn of<K: Listed>(object: &K) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        }
    }
}

impl<K: Listed> ObjectWatch<K> {
    pub(super) fn new(connection: Arc<Connection>, listing: Listing<K>) -> Self {
        Self {
            clock: connection.clock,
            selection: listing.selection.clone(),
            events: list_watch(connection, listing).boxed(),
            view: ObjectView(Arc::default()),
            has_listed: false,
            failures: 0,
            expirations: 0,
            watching_since: None,
            denied_since: None,
            resume_at: None,
            is_interrupted: false,
        }
    }

    /// Returns the set, readable while it is kept current.
    pub fn view(&self) -> ObjectView<K> {
        self.view.clone()
    }

    /// Returns the objects as last observed, by namespace and name; none before the first list is complete.
    pub fn objects(&self) -> Vec<Arc<K>> {
        self.view.objects()
    }

    async fn next(&mut self) -> Result<SourceEvent, Error> {
        loop {
            if let Some(time) = self.resume_at {
                tokio::time::sleep_until(time).await;
                self.resume_at = None;
            }
            match self.events.next().await {
                Some(Ok(event)) => {
                    if self.apply(event) {
                        return self.drain();
                    }
                }
                Some(Err(error)) => {
                    if let Some(interrupted) = self.handle_error(error)? {
                        return Ok(interrupted);
                    }
                }
                // The stream of requests has no end.
                None => return std::future::pending().await,
            }
        }
    }

    /// Applies all events that have arrived already, so that a burst causes one evaluation and not hundreds.
    fn drain(&mut self) -> Result<SourceEvent, Error> {
        while self.resume_at.is_none()
            && let Some(Some(event)) = self.events.next().now_or_never()
        {
            match event {
                Ok(event) => {
                    self.apply(event);
                }
                Err(error) => {
                    self.handle_error(error)?;
                    break;
                }
            }
        }
        Ok(SourceEvent::Changed)
    }

    /// Applies an event, and returns whether the view has changed.
    fn apply(&mut self, event: ListWatchEvent<K>) -> bool {
        match event {
            ListWatchEvent::Listed(objects) => {
                let listed = objects.into_iter().map(|object| (Key::of(&object), Arc::new(object)));
                self.view.update(|objects| *objects = listed.collect());
                self.has_listed = true;
                self.failures = 0;
                self.denied_since = None;
                self.is_interrupted = false;
                true
            }
            ListWatchEvent::WatchStarted => {
                self.watching_since = Some(Instant::now());
                self.denied_since = None;
                // Nothing may have changed meanwhile, and then no other event comes.
                std::mem::take(&mut self.is_interrupted)
            }
            ListWatchEvent::Applied(object) => {
                let is_kept = self.selection.keeps(&object);
                self.view.update(|objects| replace(objects, object, is_kept))
            }
            ListWatchEvent::Deleted(object) => {
                self.view.update(|objects| objects.remove(&Key::of(&object)).is_some())
            }
            ListWatchEvent::WatchEnded => {
                if !self.end_watch() {
                    self.failures = self.failures.saturating_add(1);
                    self.back_off(self.failures);
                }
                false
            }
        }
    }

    /// Notes that no watch is open any more, and returns whether the last one was long enough. That ends the rows of
    /// failures.
    fn end_watch(&mut self) -> bool {
        let since = self.watching_since.take();
        let enough = self.clock.delay(MIN_WATCH_DURATION);
        let was_long = since.is_some_and(|since| since.elapsed() >= enough);
        if was_long {
            self.failures = 0;
            self.expirations = 0;
        }
        was_long
    }

    /// Decides what to do about an error: end the watch, report an interruption, or retry silently.
    fn handle_error(&mut self, error: Error) -> Result<Option<SourceEvent>, Error> {
        self.end_watch();
        let row = if is_expired(&error) { &mut self.expirations } else { &mut self.failures };
        *row = row.saturating_add(1);
        let times = *row;
        if is_expired(&error) && times < MAX_FIRST_ATTEMPTS {
            // A version expires while a watch is cut off, so the list comes at once the first time.
            if times > 1 {
                self.back_off(times);
            }
            return Ok(None);
        }
        if !(error.is_retryable() || self.may_be_starting(&error))
            || (!self.has_listed && times >= MAX_FIRST_ATTEMPTS)
        {
            return Err(error);
        }
        self.back_off(times);
        self.is_interrupted = true;
        Ok(Some(SourceEvent::Interrupted(format!("{error}; trying again"))))
    }

    /// Returns whether a refusal may come from an API server that has just started and has not loaded its roles yet: it
    /// briefly refuses clients that it accepted before.
    fn may_be_starting(&mut self, error: &Error) -> bool {
        if !self.has_listed || error.kind() != ErrorKind::Denied {
            return false;
        }
        let since = *self.denied_since.get_or_insert_with(Instant::now);
        since.elapsed() < self.clock.delay(API_SERVER_STARTUP)
    }

    fn back_off(&mut self, times: u32) {
        let delay = BACKOFF.delay(times.saturating_sub(1));
        self.resume_at = Some(Instant::now() + self.clock.delay(delay));
    }
}

impl<K: Listed> WaitSource for ObjectWatch<K> {
    fn changed(&mut self) -> BoxFuture<'_, Result<SourceEvent, Error>> {
        self.next().boxed()
    }
}

impl<K> ObjectView<K> {
    /// Returns the objects as last observed, by namespace and name; none before the first list is complete.
    pub fn objects(&self) -> Vec<Arc<K>> {
        let objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        objects.values().map(Arc::clone).collect()
    }

    fn update<T>(&self, update: impl FnOnce(&mut BTreeMap<Key, Arc<K>>) -> T) -> T {
        update(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K> Clone for ObjectView<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Inserts an object that is kept, and removes its predecessors of the same name, even if their deletion was never
/// observed. Returns whether anything has changed.
fn replace<K: Listed>(objects: &mut BTreeMap<Key, Arc<K>>, object: K, is_kept: bool) -> bool {
    let key = Key::of(&object);
    let first = Key { uid: String::new(), ..key.clone() };
    let stale: Vec<Key> = objects
        .range(first..)
        .map(|(other, _)| other)
        .take_while(|other| other.namespace == key.namespace && other.name == key.name)
        .filter(|other| other.uid != key.uid)
        .cloned()
        .collect();
    for other in &stale {
        objects.remove(other);
    }
    if is_kept {
        objects.insert(key, Arc::new(object));
    }
    is_kept || !stale.is_empty()
}
