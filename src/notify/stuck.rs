//! Runs that are stuck: driven, and without progress since a while; or unfinished, and driven by no process. Each is
//! told once for as long as nothing changes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use clock::{Backoff, Clock, Pace};
use jiff::{SignedDuration, Timestamp};

use super::{
    Notifier, Shared,
    notice::Notice,
    observed::is_progress,
    sink::{Item, MAX_AGE, Sink, stuck_key},
};
use crate::journal::{
    Event, HeadQuery, RecordedEvent, Run, RunId, StepEvent, StoreError, with_liveness,
};

/// The longest pause between two searches.
const MAX_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// The runs that were told, with the place since which each is stuck.
type Told = HashMap<RunId, u64>;

impl Notifier {
    /// Finds runs that are stuck and tells of them, for as long as this is awaited.
    pub async fn watch_for_stuck(&self) {
        if !self.sinks.iter().any(|sink| sink.webhook.wants_stuck()) {
            return;
        }
        let interval = (self.shared.stuck_after / 4).min(MAX_INTERVAL);
        // The processes of a service begin together.
        let mut pace = Pace::new(&Clock::real(), Backoff::new(interval, interval).with_jitter(0.5));
        let mut told = Told::new();
        loop {
            pace.next_turn().await;
            if let Err(error) = self.look_for_stuck(&mut told).await {
                tracing::warn!(%error, hint = error.hint(), "cannot look for runs that are stuck");
            }
        }
    }

    async fn look_for_stuck(&self, told: &mut Told) -> Result<(), StoreError> {
        let mut stuck = self.shared.without_progress().await?;
        stuck.extend(self.shared.left_unfinished().await?);
        told.retain(|run, since| stuck.get(run) == Some(since));
        for (run, since) in stuck {
            if told.get(&run) != Some(&since) && self.tell_stuck(&run, since).await? {
                told.insert(run, since);
            }
        }
        Ok(())
    }

    /// Tells the sinks that a run is stuck which were not told. Returns whether each has taken it.
    async fn tell_stuck(&self, id: &RunId, since: u64) -> Result<bool, StoreError> {
        let store = &self.shared.store;
        let notified = store.notified(id).await?;
        let is_told = |sink: &Arc<Sink>| {
            notified.get(&stuck_key(&sink.webhook.name)).is_some_and(|next| *next > since)
        };
        let sinks: Vec<&Arc<Sink>> = self.sinks.iter().filter(|sink| !is_told(sink)).collect();
        if sinks.is_empty() {
            return Ok(true);
        }
        let is_live = self.shared.observed.open(id).is_some() && store.is_live(id).await;
        let events = store.read(id, 0).await?;
        let Some(run) = Run::of(id, &events) else { return Ok(true) };
        let place = events.iter().rev().find(|recorded| recorded.seq <= since);
        let time = place.map_or(run.head.last_event_at, |recorded| recorded.time);
        let message = waiting_for(&events).filter(|_| is_live);
        let notice = Arc::new(Notice::stuck(&run, is_live, (since, time), message));
        let mut is_taken = true;
        for sink in sinks {
            if sink.webhook.wants(notice.what.when(), &notice.runbook) {
                is_taken &= sink.offer(Item::Notice(Arc::clone(&notice)), &self.shared.on_result);
            }
        }
        Ok(is_taken)
    }
}

impl Shared {
    /// Returns the runs of this process that have made no progress for too long, with the place of the last one. One
    /// that waits for the approval of a person has told that.
    async fn without_progress(&self) -> Result<Told, StoreError> {
        let mut found = Told::new();
        for (run, observed) in self.observed.all_open() {
            if observed.since.elapsed() < self.stuck_after {
                continue;
            }
            let head = match self.store.head(&run).await {
                Ok(head) => head,
                Err(StoreError::NotFound { .. }) => {
                    self.observed.forget(&run);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !self.store.is_live(&run).await {
                // Another process may have continued it, and ended it.
                self.observed.forget(&run);
            } else if head.open_approvals.is_empty() {
                found.insert(run, observed.progress);
            }
        }
        Ok(found)
    }

    /// Returns the runs that are unfinished for too long and that no process drives, with the places of their ends.
    async fn left_unfinished(&self) -> Result<Told, StoreError> {
        let after = SignedDuration::try_from(self.stuck_after).unwrap_or(SignedDuration::MAX);
        let mut found = Told::new();
        for entry in self.store.heads(HeadQuery::Open).await? {
            let Ok(head) = entry.head else { continue };
            let left_for = Timestamp::now().duration_since(head.last_event_at);
            if left_for < after || left_for - after > MAX_AGE {
                continue;
            }
            let (head, is_live) = with_liveness(self.store.as_ref(), head).await?;
            if head.state(is_live).is_unfinished() {
                found.insert(head.run, head.events.saturating_sub(1));
            }
        }
        Ok(found)
    }

    /// Whether what a notice of a run that is stuck tells is still true. Where that cannot be read, it may be.
    pub(super) async fn is_still_stuck(&self, notice: &Notice) -> bool {
        if let Some(observed) = self.observed.open(&notice.run) {
            return observed.progress == notice.seq;
        }
        match self.store.head(&notice.run).await {
            Ok(head) => head.events == notice.seq + 1,
            Err(StoreError::NotFound { .. }) => false,
            Err(_) => true,
        }
    }
}

/// Returns what a run says it waits for.
fn waiting_for(events: &[RecordedEvent]) -> Option<&str> {
    let since_progress = events.iter().rev().take_while(|recorded| !is_progress(&recorded.event));
    since_progress.take(1).find_map(|recorded| match &recorded.event {
        Event::Step { event: StepEvent::StepWaiting { message, .. }, .. } => Some(message.as_str()),
        _ => None,
    })
}
