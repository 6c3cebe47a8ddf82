//! The requests of an [`ObjectWatch`](super::ObjectWatch), one after the other: a list, a watch from the version of the
//! list, a watch from the last version after each watch that ended, and a list again after a version that expired.
//!
//! kube's own watcher does the same, but begins the next request by itself as soon as a watch has ended: a server that
//! ends every watch at once is asked without a pause. Here each end is an item of the stream, and the next request is
//! not sent before the next item is asked for.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::ResourceExt;
use kube::api::{WatchEvent, WatchParams};

use crate::platform::error::Error;

use super::{Connection, Listed, Listing, error};

/// A watch whose connection a firewall dropped is silent, like one without changes. The server ends each watch after a
/// minute, and it is resumed from the same version; one that has not ended by then is dead and is cut five seconds
/// later.
pub(super) const WATCH_SECONDS: u32 = 60;
const MAX_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 5);

/// An item of the stream: what a request returned.
pub(super) enum ListWatchEvent<K> {
    /// All objects.
    Listed(Vec<K>),
    /// The server answers a watch; its events follow.
    WatchStarted,
    /// An object was created or changed.
    Applied(K),
    /// An object was deleted.
    Deleted(K),
    /// A watch ended without an error.
    WatchEnded,
}

/// The next request, or the one in flight.
enum State<K> {
    List,
    Watch { version: String },
    Watching { version: String, events: WatchEvents<K> },
}

type WatchEvents<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

struct ListWatch<K> {
    connection: Arc<Connection>,
    listing: Listing<K>,
    state: State<K>,
}

/// Returns the stream of what the requests return. It never ends, and goes on after an error. A request in flight is
/// part of the stream, so a caller that stops waiting for an item loses nothing.
pub(super) fn list_watch<K: Listed>(
    connection: Arc<Connection>,
    listing: Listing<K>,
) -> impl Stream<Item = Result<ListWatchEvent<K>, Error>> + Send {
    let first = ListWatch { connection, listing, state: State::List };
    stream::unfold(first, |mut list_watch| async move {
        let event = list_watch.next().await;
        Some((event, list_watch))
    })
}

impl<K: Listed> ListWatch<K> {
    async fn next(&mut self) -> Result<ListWatchEvent<K>, Error> {
        // Whatever fails, a list is right: it is what is left when this future is dropped or an error returned.
        match std::mem::replace(&mut self.state, State::List) {
            State::List => self.list().await,
            State::Watch { version } => self.start_watch(version).await,
            State::Watching { version, events } => self.next_event(version, events).await,
        }
    }

    async fn list(&mut self) -> Result<ListWatchEvent<K>, Error> {
        let list = self.connection.list(&self.listing, 1).await?;
        let Some(version) = list.metadata.resource_version.filter(|version| !version.is_empty())
        else {
            return Err(Error::InvalidResponse {
                call: format!("list {}", self.listing.description).into(),
                server: self.connection.server.as_str().into(),
                message: "the response has no resourceVersion".into(),
            });
        };
        self.state = State::Watch { version };
        Ok(ListWatchEvent::Listed(list.items))
    }

    async fn start_watch(&mut self, version: String) -> Result<ListWatchEvent<K>, Error> {
        let selection = &self.listing.selection;
        let params = WatchParams {
            label_selector: selection.labels.clone(),
            field_selector: selection.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        match self.listing.api.watch(&params, &version).await {
            Ok(events) => {
                self.state = State::Watching { version, events: events.boxed() };
                Ok(ListWatchEvent::WatchStarted)
            }
            Err(error) => Err(self.watch_error(error, version)),
        }
    }

    /// Returns the next event of a watch that carries an object, or its end.
    async fn next_event(
        &mut self,
        mut version: String,
        mut events: WatchEvents<K>,
    ) -> Result<ListWatchEvent<K>, Error> {
        loop {
            let event = match tokio::time::timeout(MAX_SILENCE, events.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return Err(self.watch_error(error, version)),
                Ok(None) | Err(_) => {
                    self.state = State::Watch { version };
                    return Ok(ListWatchEvent::WatchEnded);
                }
            };
            let (seen, event) = match event {
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => {
                    return Err(self.watch_error(kube::Error::Api(status), version));
                }
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    (object.resource_version(), ListWatchEvent::Applied(object))
                }
                WatchEvent::Deleted(object) => {
                    (object.resource_version(), ListWatchEvent::Deleted(object))
                }
            };
            self.state = State::Watching { version: seen.unwrap_or(version), events };
            return Ok(event);
        }
    }

    /// Returns the error of a watch. The next request watches from the same version, or lists if that has expired.
    fn watch_error(&mut self, error: kube::Error, version: String) -> Error {
        if error::status_code(&error) != Some(super::GONE) {
            self.state = State::Watch { version };
        }
        let call = format!("watch {}", self.listing.description);
        error::into_error(&call, &self.connection.server, error)
    }
}
