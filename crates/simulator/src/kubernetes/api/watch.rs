//! Watches: the changes after a version as a stream of JSON lines with bookmarks, until the client
//! closes it or its time is over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use crate::connection::ConnectionHandle;
use crate::kubernetes::object::put;
use crate::kubernetes::request::{Query, ResourcePath};
use crate::kubernetes::selectors::Selector;
use crate::kubernetes::status_error::StatusError;
use crate::kubernetes::store::{ObjectChange, ObjectStore};

use super::read::{check_options, parse_version};
use super::representation::{Representation, to_text};
use super::{ApiServer, lock_store};

/// The duration of a watch if the client does not set one: an API server chooses between half an
/// hour and an hour.
const MAX_DURATION: Duration = Duration::from_mins(45);

/// The time between two bookmarks of a quiet watch. An API server sends one per minute.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(20);

/// The time between a watch's last bookmark and its end, so that the next watch can start at a
/// recent version.
const LAST_BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

struct Watch {
    server: Arc<ApiServer>,
    target: ResourcePath,
    selector: Selector,
    representation: Representation,
    bookmarks: bool,
    /// The version up to which every change has been sent.
    sent_version: Arc<AtomicU64>,
    versions: Receiver<u64>,
    connection: ConnectionHandle,
    end: Instant,
    next_bookmark: Option<Instant>,
    /// The lines to be sent before any change.
    initial_events: String,
    ended: bool,
}

/// Returns the body of a watch's response.
pub(crate) fn body(
    server: &Arc<ApiServer>,
    target: ResourcePath,
    query: &Query,
    representation: Representation,
    connection: ConnectionHandle,
) -> Result<Body, StatusError> {
    check_options(query)?;
    let mut selector = query.selector(target.resource)?;
    if let Some(name) = &target.name {
        let only = format!("metadata.name={name}");
        selector = Selector::parse(target.resource, query.get("labelSelector"), &only)?;
    }
    let given = query.get("resourceVersion");
    let mut store = lock_store(&server.store);
    let from_now = given.is_empty() || given == "0" || query.flag("sendInitialEvents");
    let sent_version = if from_now { store.version() } else { parse_version(given)? };
    let now = Instant::now();
    let duration =
        query.number("timeoutSeconds").map_or(MAX_DURATION, Duration::from_secs).min(MAX_DURATION);
    let mut watch = Watch {
        server: Arc::clone(server),
        bookmarks: query.flag("allowWatchBookmarks"),
        sent_version: store.open_watch(sent_version),
        versions: store.subscribe(),
        connection,
        end: now + duration,
        next_bookmark: next_bookmark(now, now + duration),
        initial_events: String::new(),
        ended: false,
        target,
        selector,
        representation,
    };
    if from_now {
        watch.initial_events = watch.existing_objects(&store, query.flag("sendInitialEvents"));
    }
    drop(store);
    Ok(Body::from_stream(stream::unfold(watch, Watch::next)))
}

/// Returns when the next bookmark is due, if there is to be one before the watch's end.
fn next_bookmark(now: Instant, end: Instant) -> Option<Instant> {
    let last = end.checked_sub(LAST_BOOKMARK_BEFORE_END)?;
    (last > now).then(|| last.min(now + BOOKMARK_INTERVAL))
}

impl Watch {
    /// Returns the events of the existing objects, as if they had just been added.
    fn existing_objects(&self, store: &ObjectStore, with_end_mark: bool) -> String {
        let mut lines = String::new();
        let (kind, namespace) = (self.target.resource.kept(), self.target.namespace.as_deref());
        for object in store.read_all(kind, namespace) {
            if self.selector.matches(&object) {
                self.write_event(&mut lines, "ADDED", &object);
            }
        }
        if with_end_mark && self.bookmarks {
            let mut metadata = self.bookmark_metadata();
            put(&mut metadata, &["annotations", "k8s.io/initial-events-end"], "true");
            self.write_bookmark(&mut lines, &metadata);
        }
        lines
    }

    /// Returns the next chunk of the stream.
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if !self.initial_events.is_empty() {
            let lines = std::mem::take(&mut self.initial_events);
            return Some((Ok(lines.into()), self));
        }
        while !self.ended {
            self.versions.mark_unchanged();
            let mut lines = self.new_changes();
            if lines.is_empty() {
                self.emit_bookmark(&mut lines);
            }
            if !lines.is_empty() {
                return Some((Ok(lines.into()), self));
            }
            if self.ended {
                break;
            }
            let wake = self.next_bookmark.unwrap_or(self.end);
            tokio::select! {
                versions = self.versions.changed() => self.ended = versions.is_err(),
                () = tokio::time::sleep_until(wake) => {}
                () = self.connection.aborted() => {
                    self.ended = true;
                    return Some((Err(io::ErrorKind::ConnectionAborted.into()), self));
                }
            }
        }
        None
    }

    /// Sends a bookmark if one is due, and ends the watch when its time is over.
    fn emit_bookmark(&mut self, lines: &mut String) {
        let now = Instant::now();
        self.ended = now >= self.end;
        if self.next_bookmark.is_some_and(|due| now >= due) {
            self.next_bookmark = next_bookmark(now, self.end);
            if self.bookmarks {
                self.write_bookmark(lines, &self.bookmark_metadata());
            }
        }
    }

    fn new_changes(&mut self) -> String {
        let mut lines = String::new();
        let server = Arc::clone(&self.server);
        let store = lock_store(&server.store);
        let sent_version = self.sent_version.load(Ordering::Relaxed);
        match store.since(sent_version) {
            Ok(changes) => {
                for change in changes {
                    if change.resource == self.target.resource.kept() {
                        self.write_change(&mut lines, change);
                    }
                }
                self.sent_version.store(sent_version.max(store.version()), Ordering::Relaxed);
            }
            Err(compacted) => {
                let message =
                    format!("too old resource version: {sent_version} ({})", compacted.oldest);
                let status = StatusError::expired(message).to_status();
                lines = json!({"type": "ERROR", "object": status}).to_string() + "\n";
                self.ended = true;
            }
        }
        lines
    }

    fn write_change(&self, lines: &mut String, change: &ObjectChange) {
        let namespace = self.target.namespace.as_deref();
        let object_namespace = change.object.pointer("/metadata/namespace").and_then(Value::as_str);
        if namespace.is_some() && namespace != object_namespace {
            return;
        }
        let before = change.before.as_deref();
        let matched_before = before.is_some_and(|object| self.selector.matches(object));
        let matches_now = !change.deleted && self.selector.matches(&change.object);
        match (matched_before, matches_now) {
            (false, true) => self.write_event(lines, "ADDED", &change.object),
            (true, true) => self.write_event(lines, "MODIFIED", &change.object),
            (true, false) => {
                // The deleted object as the watcher knew it, with the version of the deletion.
                let mut last = before.cloned().unwrap_or_default();
                let version = change.version.to_string();
                put(&mut last, &["metadata", "resourceVersion"], version);
                self.write_event(lines, "DELETED", &last);
            }
            (false, false) => {}
        }
    }

    fn write_event(&self, lines: &mut String, kind: &str, object: &Value) {
        let now = self.server.clock.now();
        let object = self.representation.object(self.target.resource, object, now);
        lines.push_str(&format!("{{\"type\":\"{kind}\",\"object\":{}}}\n", to_text(&object)));
    }

    fn bookmark_metadata(&self) -> Value {
        let sent_version = self.sent_version.load(Ordering::Relaxed);
        json!({"resourceVersion": sent_version.to_string()})
    }

    fn write_bookmark(&self, lines: &mut String, metadata: &Value) {
        let object = self.representation.bookmark(self.target.resource, metadata);
        lines.push_str(&json!({"type": "BOOKMARK", "object": object}).to_string());
        lines.push('\n');
    }
}
