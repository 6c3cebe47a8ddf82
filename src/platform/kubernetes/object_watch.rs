//! A live set of objects. kube's watcher lists, watches, and lists again after 410; this module adds when to stop
//! retrying, the delays between attempts, and the handling of a watch that is refused with 410 before it begins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use kube::ResourceExt;
use kube::runtime::watcher::{self, Event as WatchEvent};
use tokio::time::Instant;

use crate::platform::error::{Classified, Error, ErrorKind};
use crate::platform::poll::MAX_FIRST_ATTEMPTS;
use crate::platform::wait::{SourceEvent, WaitSource};
use clock::Backoff;

use super::{Connection, Object, PAGE_SIZE, Selection, error};

/// A watch whose connection a firewall dropped is silent, like one without changes. The server ends each watch after a
/// minute, and it is resumed from the same version; one that has not ended by then is dead and is cut five seconds
/// later.
pub(super) const WATCH_SECONDS: u32 = 60;
/// The delays after failures. An API server that restarts answers again within a minute, which should be noticed soon.
const BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(500), Duration::from_secs(10)).with_jitter(0.25);

/// A restarted API server refuses every client until it has read its roles, which takes a few seconds.
const API_SERVER_STARTUP: Duration = Duration::from_secs(10);

/// The live set of the selected objects. It lives while it is awaited and holds no task.
pub struct ObjectWatch<K> {
    connection: Arc<Connection>,
    selection: Selection,
    events: BoxStream<'static, watcher::Result<WatchEvent<K>>>,
    /// The objects of a list that is not yet complete.
    listed: BTreeMap<Key, Arc<K>>,
    view: ObjectView<K>,
    has_listed: bool,
    failures: u32,
    /// The time since which a watch that worked before is refused.
    denied_since: Option<Instant>,
    resume_at: Option<Instant>,
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
    fn of<K: Object>(object: &K) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        }
    }
}

impl<K: Object> ObjectWatch<K> {
    pub(super) fn new(connection: Arc<Connection>, selection: Selection) -> Self {
        Self {
            events: events(&connection, &selection),
            connection,
            selection,
            listed: BTreeMap::new(),
            view: ObjectView(Arc::default()),
            has_listed: false,
            failures: 0,
            denied_since: None,
            resume_at: None,
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
            let Some(event) = self.events.next().await else {
                self.restart();
                continue;
            };
            match event {
                Ok(event) => {
                    if self.apply(event) {
                        return self.drain();
                    }
                }
                Err(error) => {
                    if let Some(interrupted) = self.handle_error(error)? {
                        return Ok(interrupted);
                    }
                }
            }
        }
    }

    /// Applies all events that have arrived already, so that a burst causes one evaluation and not hundreds.
    fn drain(&mut self) -> Result<SourceEvent, Error> {
        while let Some(Some(event)) = self.events.next().now_or_never() {
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
    fn apply(&mut self, event: WatchEvent<K>) -> bool {
        // the beginning of a list is announced before it is asked for, so it is no sign of health
        if !matches!(event, WatchEvent::Init) {
            self.failures = 0;
            self.denied_since = None;
        }
        match event {
            WatchEvent::Init => self.listed.clear(),
            WatchEvent::InitApply(object) => {
                self.listed.insert(Key::of(&object), Arc::new(object));
            }
            WatchEvent::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.view.update(|objects| *objects = listed);
                self.has_listed = true;
                return true;
            }
            WatchEvent::Apply(object) => {
                self.view.update(|objects| replace(objects, object));
                return true;
            }
            WatchEvent::Delete(object) => {
                self.view.update(|objects| drop(objects.remove(&Key::of(&object))));
                return true;
            }
        }
        false
    }

    /// Decides what to do about an error: end the watch, report an interruption, or retry silently.
    fn handle_error(&mut self, error: watcher::Error) -> Result<Option<SourceEvent>, Error> {
        self.failures = self.failures.saturating_add(1);
        if is_expired(&error) && self.failures < MAX_FIRST_ATTEMPTS {
            self.relist(&error);
            return Ok(None);
        }
        let error = self.to_platform_error(error);
        if !(error.is_retryable() || self.may_be_starting(&error))
            || (!self.has_listed && self.failures >= MAX_FIRST_ATTEMPTS)
        {
            return Err(error);
        }
        self.back_off();
        Ok(Some(SourceEvent::Interrupted(format!("{error}; trying again"))))
    }

    /// Returns whether a refusal may come from an API server that has just started and has not loaded its roles yet: it
    /// briefly refuses clients that it accepted before.
    fn may_be_starting(&mut self, error: &Error) -> bool {
        if !self.has_listed || error.kind() != ErrorKind::Denied {
            return false;
        }
        let since = *self.denied_since.get_or_insert_with(Instant::now);
        since.elapsed() < self.connection.clock.delay(API_SERVER_STARTUP)
    }

    /// Lists the set again after an expired version, at once the first time.
    fn relist(&mut self, error: &watcher::Error) {
        // The watcher does so by itself after an expired event, but asks on and on with the same version when the
        // request is refused as expired.
        if matches!(error, watcher::Error::WatchStartFailed(_)) {
            self.restart();
        }
        if self.failures > 1 {
            self.back_off();
        }
    }

    fn restart(&mut self) {
        self.listed.clear();
        self.events = events(&self.connection, &self.selection);
    }

    fn back_off(&mut self) {
        let delay = BACKOFF.delay(self.failures.saturating_sub(1));
        self.resume_at = Some(Instant::now() + self.connection.clock.delay(delay));
    }

    fn to_platform_error(&self, error: watcher::Error) -> Error {
        let what = self.selection.describe::<K>();
        let server = &self.connection.server;
        match error {
            watcher::Error::InitialListFailed(error) => {
                error::into_error(&format!("list {what}"), server, error)
            }
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                error::into_error(&format!("watch {what}"), server, error)
            }
            watcher::Error::WatchError(status) => {
                error::into_error(&format!("watch {what}"), server, kube::Error::Api(status))
            }
            watcher::Error::NoResourceVersion => {
                let message = "the answer has no resourceVersion";
                Classified::new(ErrorKind::Invalid, message).into_error(
                    &format!("watch {what}"),
                    server,
                    error,
                )
            }
        }
    }
}

impl<K: Object> WaitSource for ObjectWatch<K> {
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

    fn update(&self, update: impl FnOnce(&mut BTreeMap<Key, Arc<K>>)) {
        update(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<K> Clone for ObjectView<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Inserts an object, and removes its predecessors of the same name, even if their deletion was never observed.
fn replace<K: Object>(objects: &mut BTreeMap<Key, Arc<K>>, object: K) {
    let key = Key::of(&object);
    let first = Key { uid: String::new(), ..key.clone() };
    let stale: Vec<Key> = objects
        .range(first..)
        .map(|(other, _)| other)
        .take_while(|other| other.namespace == key.namespace && other.name == key.name)
        .filter(|other| other.uid != key.uid)
        .cloned()
        .collect();
    for other in stale {
        objects.remove(&other);
    }
    objects.insert(key, Arc::new(object));
}

fn events<K: Object>(
    connection: &Connection,
    selection: &Selection,
) -> BoxStream<'static, watcher::Result<WatchEvent<K>>> {
    let api = connection.api::<K>(selection.namespace.as_deref());
    let config = watcher::Config {
        label_selector: selection.labels.clone(),
        field_selector: selection.fields.clone(),
        page_size: Some(PAGE_SIZE),
        timeout: Some(WATCH_SECONDS),
        ..watcher::Config::default()
    };
    watcher::watcher(api, config).boxed()
}

fn is_expired(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error::status_code(error),
        watcher::Error::WatchError(status) => Some(status.code),
        watcher::Error::NoResourceVersion => None,
    };
    code == Some(410)
}
