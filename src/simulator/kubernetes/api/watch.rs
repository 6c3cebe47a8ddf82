//! Watches: the changes after a version as a stream of JSON lines, with bookmarks, until the client
//! has had enough.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use crate::simulator::kubernetes::failure::Failure;
use crate::simulator::kubernetes::object::put;
use crate::simulator::kubernetes::request::{Query, Target};
use crate::simulator::kubernetes::selectors::Selector;
use crate::simulator::kubernetes::store::{Change, Store};
use crate::simulator::wire::Wire;

use super::read::{check_options, parse_version};
use super::view::View;
use super::{ApiServer, lock};

/// How long a watch lasts when the client does not say: an API server chooses between half an hour
/// and an hour.
const LONGEST: Duration = Duration::from_secs(45 * 60);

/// How often a quiet watch gets a bookmark. An API server sends one a minute.
const BOOKMARK_EVERY: Duration = Duration::from_secs(20);

/// How long before its end a watch gets its last bookmark, so that the next one need not go far back.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

struct Watch {
    server: Arc<ApiServer>,
    target: Target,
    selector: Selector,
    view: View,
    bookmarks: bool,
    /// Everything up to this version has been sent.
    seen: u64,
    news: Receiver<u64>,
    wire: Wire,
    end: Instant,
    next_bookmark: Option<Instant>,
    /// What is to be sent before any change.
    first: String,
    over: bool,
}

/// The body of a watch's answer.
pub(crate) fn body(
    server: &Arc<ApiServer>,
    target: Target,
    query: &Query,
    view: View,
    wire: Wire,
) -> Result<Body, Failure> {
    check_options(query)?;
    let mut selector = query.selector(target.resource)?;
    if let Some(name) = &target.name {
        let only = format!("metadata.name={name}");
        selector = Selector::parse(target.resource, query.get("labelSelector"), &only)?;
    }
    let given = query.get("resourceVersion");
    let store = lock(&server.store);
    let from_now = given.is_empty() || given == "0" || query.flag("sendInitialEvents");
    let seen = if from_now { store.version() } else { parse_version(given)? };
    let now = Instant::now();
    let longest = query.number("timeoutSeconds").map_or(LONGEST, Duration::from_secs).min(LONGEST);
    let mut watch = Watch {
        server: Arc::clone(server),
        bookmarks: query.flag("allowWatchBookmarks"),
        seen,
        news: store.subscribe(),
        wire,
        end: now + longest,
        next_bookmark: next_bookmark(now, now + longest),
        first: String::new(),
        over: false,
        target,
        selector,
        view,
    };
    if from_now {
        watch.first = watch.present(&store, query.flag("sendInitialEvents"));
    }
    drop(store);
    Ok(Body::from_stream(stream::unfold(watch, Watch::next)))
}

/// When the next bookmark is due, if there is to be one before the watch's end.
fn next_bookmark(now: Instant, end: Instant) -> Option<Instant> {
    let last = end.checked_sub(LAST_BOOKMARK)?;
    (last > now).then(|| last.min(now + BOOKMARK_EVERY))
}

impl Watch {
    /// What stands already, as if it had just been added.
    fn present(&self, store: &Store, initial_events: bool) -> String {
        let mut lines = String::new();
        for object in store.list(self.target.resource, self.target.namespace.as_deref()) {
            if self.selector.matches(object) {
                self.line(&mut lines, "ADDED", object);
            }
        }
        if initial_events && self.bookmarks {
            let mut metadata = self.bookmark_metadata();
            put(&mut metadata, &["annotations", "k8s.io/initial-events-end"], "true");
            self.bookmark(&mut lines, metadata);
        }
        lines
    }

    /// The next piece of the stream.
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            return Some((Ok(first.into()), self));
        }
        while !self.over {
            self.news.mark_unchanged();
            let mut lines = self.changes();
            if lines.is_empty() {
                self.be_punctual(&mut lines);
            }
            if !lines.is_empty() {
                return Some((Ok(lines.into()), self));
            }
            if self.over {
                break;
            }
            let wake = self.next_bookmark.unwrap_or(self.end);
            tokio::select! {
                news = self.news.changed() => self.over = news.is_err(),
                () = tokio::time::sleep_until(wake) => {}
                () = self.wire.was_cut() => {
                    self.over = true;
                    return Some((Err(io::ErrorKind::ConnectionAborted.into()), self));
                }
            }
        }
        None
    }

    /// Sends a bookmark when one is due, and ends the watch when its time is over.
    fn be_punctual(&mut self, lines: &mut String) {
        let now = Instant::now();
        self.over = now >= self.end;
        if self.next_bookmark.is_some_and(|due| now >= due) {
            self.next_bookmark = next_bookmark(now, self.end);
            if self.bookmarks {
                self.bookmark(lines, self.bookmark_metadata());
            }
        }
    }

    fn changes(&mut self) -> String {
        let mut lines = String::new();
        let server = Arc::clone(&self.server);
        let store = lock(&server.store);
        match store.since(self.seen) {
            Ok(changes) => {
                for change in changes {
                    if change.resource == self.target.resource.key() {
                        self.change(&mut lines, change);
                    }
                }
                self.seen = self.seen.max(store.version());
            }
            Err(compacted) => {
                let message =
                    format!("too old resource version: {} ({})", self.seen, compacted.oldest);
                let status = Failure::expired(message).status();
                lines = json!({"type": "ERROR", "object": status}).to_string() + "\n";
                self.over = true;
            }
        }
        lines
    }

    fn change(&self, lines: &mut String, change: &Change) {
        let space = self.target.namespace.as_deref();
        let here = change.object.pointer("/metadata/namespace").and_then(Value::as_str);
        if space.is_some() && space != here {
            return;
        }
        let before = change.before.as_deref();
        let was = before.is_some_and(|object| self.selector.matches(object));
        let is = !change.deleted && self.selector.matches(&change.object);
        match (was, is) {
            (false, true) => self.line(lines, "ADDED", &change.object),
            (true, true) => self.line(lines, "MODIFIED", &change.object),
            (true, false) => {
                // The object as the watcher knew it, under the version at which it went.
                let mut last = before.cloned().unwrap_or_default();
                let version = change.version.to_string();
                put(&mut last, &["metadata", "resourceVersion"], version);
                self.line(lines, "DELETED", &last);
            }
            (false, false) => {}
        }
    }

    fn line(&self, lines: &mut String, kind: &str, object: &Value) {
        let object = self.view.one(self.target.resource, object, Timestamp::now());
        lines.push_str(&json!({"type": kind, "object": object}).to_string());
        lines.push('\n');
    }

    fn bookmark_metadata(&self) -> Value {
        json!({"resourceVersion": self.seen.to_string()})
    }

    fn bookmark(&self, lines: &mut String, metadata: Value) {
        let object = self.view.bookmark(self.target.resource, metadata);
        lines.push_str(&json!({"type": "BOOKMARK", "object": object}).to_string());
        lines.push('\n');
    }
}
