//! The events of runs for the clients that watch them: all clients of a run share what was read of it. A run that this
//! process drives is read once, and then observed; one that another process drives is read again when the store says
//! that it has changed.
//!
//! This file uses the journal, and the service for whether a run is driven. It knows nothing of HTTP.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{Semaphore, watch};

use super::Service;
use crate::journal::{
    RecordedEvent, Run, RunHead, RunId, RunObserver, RunState, SharedStore, StoreError, no_start,
};

/// How often it is asked whether a run still has a driver. A driver that dies writes no event.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(2);

/// The runs that are being watched. Cloned, it is the same.
#[derive(Clone, Default)]
pub struct RunFeeds {
    feeds: Arc<Mutex<HashMap<RunId, Weak<Feed>>>>,
    /// The feed of the run whose state was asked for last.
    last: Arc<Mutex<Option<Arc<Feed>>>>,
}

/// The events of one run, as far as they are known here.
struct Feed {
    run: RunId,
    known: Mutex<Known>,
    /// Counts the changes of `known`.
    changed: watch::Sender<u64>,
    /// One client at a time reads from the store.
    reading: Semaphore,
}

#[derive(Default)]
struct Known {
    /// The event with `seq` N is at N.
    events: Vec<Arc<RecordedEvent>>,
    head: Option<RunHead>,
    /// Events that were observed before those in front of them were read.
    early: Vec<Arc<RecordedEvent>>,
}

/// The knowledge of a run at a moment.
pub(super) struct ObservedRun {
    feed: Arc<Feed>,
    /// The number of events.
    pub(super) count: u64,
    /// Whether a process drives the run.
    pub(super) is_live: bool,
}

impl ObservedRun {
    /// Returns the events.
    pub(super) fn events(&self) -> Vec<Arc<RecordedEvent>> {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        self.feed.known().events.iter().take(count).cloned().collect()
    }
}

/// One client's place in a run.
pub(super) struct RunFollower {
    feed: Arc<Feed>,
    service: Service,
    changed: watch::Receiver<u64>,
    elsewhere: Option<watch::Receiver<()>>,
    /// The state that the client was told last.
    told: Option<RunState>,
}

/// The news of a run.
pub(super) struct Followed {
    /// The events from the one on that was asked for.
    pub(super) events: Vec<Arc<RecordedEvent>>,
    /// The state of the run after the last event.
    pub(super) state: RunState,
    /// Whether this service is about to continue the run.
    pub(super) is_recovering: bool,
    /// Whether the service is shutting down: nothing more follows.
    pub(super) is_closing: bool,
}

impl Followed {
    /// Whether nothing follows unless a person resumes the run.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.state.is_active() && !self.is_recovering
    }
}

impl RunObserver for RunFeeds {
    fn on_event(&self, run: &Run, recorded: &RecordedEvent) {
        let feed = self.feeds().get(run.id()).and_then(Weak::upgrade);
        if let Some(feed) = feed {
            feed.add([Arc::new(recorded.clone())]);
        }
    }
}

impl RunFeeds {
    /// Begins to follow a run.
    ///
    /// # Errors
    /// No such run, or its journal cannot be read.
    pub(super) async fn follow(
        &self,
        service: &Service,
        id: &RunId,
    ) -> Result<RunFollower, StoreError> {
        let feed = self.feed(id);
        let changed = feed.changed.subscribe();
        let elsewhere = service.store().shared().map(SharedStore::changes);
        let (service, told) = (service.clone(), None);
        let follower = RunFollower { feed, service, changed, elsewhere, told };
        if follower.feed.known().has_gap() {
            follower.read_missing().await?;
        }
        Ok(follower)
    }

    /// Returns what is known of a run that this process drives. It is kept until another run is asked for.
    ///
    /// # Errors
    /// No such run, or its journal cannot be read.
    pub(super) async fn observed(
        &self,
        service: &Service,
        id: &RunId,
    ) -> Result<ObservedRun, StoreError> {
        // Asked first: a run that ends in between then has its end in what is known.
        let was_live = service.is_written(id).await;
        let feed = self.follow(service, id).await?.feed;
        // A change is one assignment: a panic leaves nothing half done.
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&feed));
        let count = feed.known().count();
        Ok(ObservedRun { feed, count, is_live: was_live || service.is_written(id).await })
    }

    /// Returns the feed of a run, a new one if no client follows the run. It is found by the observer from now on.
    fn feed(&self, id: &RunId) -> Arc<Feed> {
        let mut feeds = self.feeds();
        if let Some(feed) = feeds.get(id).and_then(Weak::upgrade) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let feed = Arc::new(Feed {
            run: id.clone(),
            known: Mutex::default(),
            changed: watch::Sender::new(0),
            reading: Semaphore::new(1),
        });
        feeds.insert(id.clone(), Arc::downgrade(&feed));
        feed
    }

    fn feeds(&self) -> MutexGuard<'_, HashMap<RunId, Weak<Feed>>> {
        // Each change is one call: a panic leaves nothing half done.
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    /// Takes events that may be known already.
    fn add(&self, events: impl IntoIterator<Item = Arc<RecordedEvent>>) {
        let mut known = self.known();
        let before = known.events.len();
        let mut new: Vec<_> = events.into_iter().collect();
        new.append(&mut known.early);
        new.sort_by_key(|event| event.seq);
        for event in new {
            match event.seq.cmp(&known.count()) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => known.push(&self.run, event),
                std::cmp::Ordering::Greater => known.early.push(event),
            }
        }
        let is_changed = known.events.len() != before || !known.early.is_empty();
        drop(known);
        if is_changed {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // An event is pushed by one call: a panic leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn count(&self) -> u64 {
        self.events.len() as u64
    }

    fn push(&mut self, run: &RunId, event: Arc<RecordedEvent>) {
        match &mut self.head {
            Some(head) => head.apply(&event),
            None => self.head = RunHead::start(run, &event),
        }
        self.events.push(event);
    }

    /// Whether the store has events that are not here: some that follow them are.
    fn has_gap(&self) -> bool {
        self.events.is_empty() || !self.early.is_empty()
    }
}

impl RunFollower {
    /// Waits until there is an event from `from` on, or the state of the run is another than the client was told, and
    /// returns both. To be called again with the place after the last event.
    ///
    /// # Errors
    /// The run's journal cannot be read.
    pub(super) async fn next(&mut self, from: u64) -> Result<Followed, StoreError> {
        let mut closing = self.service.active().closing();
        loop {
            self.changed.mark_unchanged();
            if self.feed.known().has_gap() {
                self.read_missing().await?;
            }
            let is_closing = *closing.borrow_and_update();
            let followed = self.followed(from, is_closing).await?;
            if is_closing || !followed.events.is_empty() || self.told != Some(followed.state) {
                self.told = Some(followed.state);
                return Ok(followed);
            }
            tokio::select! {
                _ = self.changed.changed() => {}
                _ = closing.changed() => {}
                () = changed_elsewhere(&mut self.elsewhere) => {
                    if !self.service.is_live(&self.feed.run) {
                        self.read_missing().await?;
                    }
                }
                () = tokio::time::sleep(LIVENESS_INTERVAL) => {}
            }
        }
    }

    async fn followed(&self, from: u64, is_closing: bool) -> Result<Followed, StoreError> {
        let id = &self.feed.run;
        // Asked first: a run that ends in between then has its end in what is read.
        let was_live = self.service.is_written(id).await;
        if !was_live && self.seems_to_have_died() {
            self.read_missing().await?;
        }
        let is_live = was_live || self.service.is_written(id).await;
        let known = self.feed.known();
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(known.events.len());
        let events = known.events[from..].to_vec();
        let head = known.head.as_ref().ok_or_else(|| no_start(id))?;
        let state = head.state(is_live);
        drop(known);
        let is_recovering = self.service.is_recovering(id);
        Ok(Followed { events, state, is_recovering, is_closing })
    }

    /// Whether a run that has no driver any more has no end either, as far as is known here, and the client was not
    /// told. The end may have been written by another process meanwhile.
    fn seems_to_have_died(&self) -> bool {
        let known = self.feed.known();
        let Some(head) = &known.head else { return true };
        let is_shared = self.service.store().shared().is_some();
        is_shared && head.state(true).is_active() && self.told != Some(head.state(false))
    }

    /// Reads from the store what is not known yet.
    async fn read_missing(&self) -> Result<(), StoreError> {
        let before = *self.feed.changed.borrow();
        // The semaphores are never closed; without their permits more is read at a time than is good.
        let _alone = self.feed.reading.acquire().await;
        // Another client has read it meanwhile.
        if *self.feed.changed.borrow() != before && !self.feed.known().has_gap() {
            return Ok(());
        }
        let from = self.feed.known().count();
        let _reading = self.service.reading().acquire().await;
        let events = self.service.store().read(&self.feed.run, from).await?;
        self.feed.add(events.into_iter().map(Arc::new));
        Ok(())
    }
}

/// Waits until another process has changed something; for ever in a store that only one process writes to.
async fn changed_elsewhere(changes: &mut Option<watch::Receiver<()>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}
