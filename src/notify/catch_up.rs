//! What a sink was not told, read from the journals: after a restart, after a crash of another process, or because its
//! queue was full.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{
    Reach,
    notice::Notice,
    sink::{MAX_AGE, Worker},
};
use crate::journal::{HeadQuery, Run, RunHead, RunId, StoreError};

/// How many of the latest runs are looked at, beside those that are not over.
const LATEST_RUNS: usize = 500;
/// The time for which a process may have left a run untold of which the store says nothing. A new sink is told as much
/// of the past.
const UNKNOWN: SignedDuration = SignedDuration::from_mins(15);

impl Worker {
    /// Delivers what the journals have and this sink was not told, the oldest run first.
    pub(super) async fn catch_up(&mut self) -> Result<(), StoreError> {
        for head in self.candidates().await? {
            self.catch_up_with(&head).await?;
        }
        Ok(())
    }

    /// Returns the runs of which something may be left to tell.
    async fn candidates(&self) -> Result<Vec<RunHead>, StoreError> {
        let store = &self.shared.store;
        let mut heads: BTreeMap<(Timestamp, RunId), RunHead> = BTreeMap::new();
        for query in [HeadQuery::Newest(LATEST_RUNS), HeadQuery::Open] {
            // A run whose journal cannot be read has nothing to tell.
            let read = store.heads(query).await?.into_iter().filter_map(|entry| entry.head.ok());
            heads.extend(read.map(|head| ((head.started_at, head.run.clone()), head)));
        }
        let oldest = Timestamp::now() - MAX_AGE;
        let mut candidates = Vec::new();
        for head in heads.into_values().filter(|head| head.last_event_at >= oldest) {
            if self.is_told_here(&head).await {
                candidates.push(head);
            }
        }
        Ok(candidates)
    }

    /// Whether it is for this process to tell of a run: it drives the run, or a process of the service did that and
    /// none does any more.
    async fn is_told_here(&self, head: &RunHead) -> bool {
        let of_service = || {
            let actors = ["http", "object:"];
            let is_of_service = actors.iter().any(|kind| head.actor.starts_with(kind));
            self.shared.reach == Reach::Service && is_of_service
        };
        self.shared.observed.contains(&head.run)
            || (of_service() && !self.shared.store.is_live(&head.run).await)
    }

    async fn catch_up_with(&mut self, head: &RunHead) -> Result<(), StoreError> {
        let (store, webhook) = (&self.shared.store, &self.sink.webhook);
        let told = match self.cursors.get(&head.run) {
            Some(next) => Some(next),
            None => store.notified(&head.run).await?.get(&webhook.name).copied(),
        };
        if told.is_some_and(|next| next >= head.events) {
            return Ok(());
        }
        let events = match store.read(&head.run, 0).await {
            Ok(events) => events,
            // It was removed meanwhile, or no process can read it: the others are told.
            Err(
                StoreError::NotFound { .. }
                | StoreError::Corrupt { .. }
                | StoreError::TooNew { .. },
            ) => return Ok(()),
            Err(error) => return Err(error),
        };
        let since = self.shared.started_at - UNKNOWN;
        let is_left = |seq: u64, time: Timestamp| match told {
            Some(next) => seq >= next,
            None => time >= since,
        };
        let mut notices = Vec::new();
        let Some(mut run) = events.first().and_then(|_| Run::of(&head.run, &events[..1])) else {
            return Ok(());
        };
        for recorded in &events {
            if recorded.seq > 0 {
                run.apply(recorded);
            }
            if is_left(recorded.seq, recorded.time) {
                notices.extend(Notice::of(&run, recorded));
            }
        }
        drop(events);
        notices.retain(|notice| webhook.wants(notice.what.when(), &notice.runbook));
        if let Some(next) = told {
            self.cursors.set(&head.run, next);
        }
        for notice in &notices {
            self.deliver(notice).await;
        }
        Ok(())
    }
}
