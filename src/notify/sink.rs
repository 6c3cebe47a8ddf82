//! A sink: the bounded queue of one webhook, and the task that delivers what is in it, in the order in which it
//! happened.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clock::Backoff;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use super::{
    DeliveryResult, OnResult, Shared,
    attempt::{Outcome, Problem, attempt},
    config::Webhook,
    notice::Notice,
};
use crate::journal::{RunId, StoreError};

/// How many notices wait for a receiver. Those after them are read from the journal.
const QUEUE: usize = 256;
/// The pauses between attempts.
const BACKOFF: Backoff =
    Backoff::new(Duration::from_secs(1), Duration::from_secs(5 * 60)).with_jitter(0.25);
/// How often a message is tried that the receiver cannot process: for about twenty minutes. One that cannot be
/// reached is tried for as long as the message is not too old.
const MAX_FAILED: u32 = 12;
/// The age from which on an event is told no more.
pub(super) const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);
/// The runs whose cursors are known without the store.
const MAX_CURSORS: usize = 1024;
/// The pause before the journal is read again, where it could not be.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// An entry of a queue.
pub(super) enum Item {
    /// A notice to deliver.
    Notice(Arc<Notice>),
    /// Deliver what the journal has and this sink was not told.
    CatchUp,
    /// Say when everything before this is done.
    Flush(oneshot::Sender<()>),
}

/// A webhook with its queue.
pub(super) struct Sink {
    pub(super) webhook: Arc<Webhook>,
    pub(super) queue: mpsc::Sender<Item>,
    /// Whether something was left out because the queue was full.
    is_behind: AtomicBool,
}

impl Sink {
    /// Returns a sink and its queue.
    pub(super) fn new(webhook: Webhook) -> (Arc<Self>, mpsc::Receiver<Item>) {
        let (queue, items) = mpsc::channel(QUEUE);
        let webhook = Arc::new(webhook);
        (Arc::new(Self { webhook, queue, is_behind: AtomicBool::new(false) }), items)
    }

    /// Hands something over without waiting. Returns whether the queue has taken it.
    ///
    /// What comes while the sink is behind is left out, too: it is in the journal already, from which the task reads
    /// once its queue is empty, after it has taken the mark away.
    pub(super) fn offer(&self, item: Item, on_result: &OnResult) -> bool {
        let name = self.webhook.name.as_str();
        if !self.is_behind.load(Ordering::SeqCst) {
            match self.queue.try_send(item) {
                Ok(()) => return true,
                // The process is ending.
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(_)) => {}
            }
            self.is_behind.store(true, Ordering::SeqCst);
            tracing::warn!(
                sink = name,
                "the receiver is slow: further notifications wait in the journal"
            );
        }
        on_result(name, DeliveryResult::Deferred);
        false
    }
}

/// The task of a sink.
pub(super) struct Worker {
    pub(super) sink: Arc<Sink>,
    items: mpsc::Receiver<Item>,
    pub(super) shared: Arc<Shared>,
    pub(super) cursors: Cursors,
    /// Whether the last attempt failed: that is said once.
    is_down: bool,
}

/// How far this sink was told of the latest runs.
#[derive(Default)]
pub(super) struct Cursors {
    next: HashMap<RunId, u64>,
    order: VecDeque<RunId>,
}

impl Cursors {
    pub(super) fn get(&self, run: &RunId) -> Option<u64> {
        self.next.get(run).copied()
    }

    pub(super) fn set(&mut self, run: &RunId, next: u64) {
        if self.next.insert(run.clone(), next).is_none() {
            self.order.push_back(run.clone());
        }
        if self.order.len() > MAX_CURSORS
            && let Some(oldest) = self.order.pop_front()
        {
            self.next.remove(&oldest);
        }
    }
}

impl Worker {
    pub(super) fn new(sink: Arc<Sink>, items: mpsc::Receiver<Item>, shared: Arc<Shared>) -> Self {
        let cursors = Cursors::default();
        Self { sink, items, shared, cursors, is_down: false }
    }

    /// Delivers what comes, for as long as the process tells.
    pub(super) async fn work(mut self) {
        while let Some(item) = self.items.recv().await {
            match item {
                Item::Notice(notice) => self.deliver(&notice).await,
                Item::CatchUp => self.catch_up_patiently().await,
                Item::Flush(done) => {
                    // The one who asked may wait no more.
                    let _ = done.send(());
                }
            }
            if self.items.is_empty() && self.sink.is_behind.swap(false, Ordering::SeqCst) {
                self.catch_up_patiently().await;
            }
        }
    }

    /// Delivers what is left over, as soon as that can be read. What comes meanwhile waits: once something later of a
    /// run is told, what was left out counts as told, too.
    async fn catch_up_patiently(&mut self) {
        while let Err(error) = self.catch_up().await {
            let (sink, hint) = (self.sink.webhook.name.as_str(), error.hint());
            tracing::warn!(sink, %error, hint, "cannot read which notifications are left over yet");
            tokio::time::sleep(READ_AGAIN).await;
        }
    }

    /// Delivers one notice, unless it was told before.
    pub(super) async fn deliver(&mut self, notice: &Notice) {
        let is_told = self.cursors.get(&notice.run).is_some_and(|next| notice.seq < next);
        if is_told && !notice.is_stuck() {
            return;
        }
        let result = self.try_to_deliver(notice).await;
        self.settle(notice, result).await;
    }

    /// Tries until the notice is delivered, is refused, or is too old.
    async fn try_to_deliver(&mut self, notice: &Notice) -> DeliveryResult {
        let (mut delays, mut failed) = (BACKOFF.delays(), 0);
        let mut is_first = true;
        loop {
            if Timestamp::now().duration_since(notice.time) > MAX_AGE && !notice.is_stuck() {
                self.give_up(notice, "it is too old", None);
                return DeliveryResult::Expired;
            }
            if notice.is_stuck() && !self.shared.is_still_stuck(notice).await {
                return DeliveryResult::Expired;
            }
            let Shared { client, links, on_result, .. } = &*self.shared;
            let (problem, retry_after) =
                match attempt(client, &self.sink.webhook, notice, links).await {
                    Outcome::Delivered(status) => {
                        self.note_delivery(notice, status);
                        return DeliveryResult::Delivered;
                    }
                    Outcome::Refused(problem) => {
                        self.give_up(notice, &problem.message, problem.hint.as_deref());
                        return DeliveryResult::Refused;
                    }
                    Outcome::Failed(problem) => {
                        failed += 1;
                        if failed >= MAX_FAILED {
                            self.give_up(notice, &problem.message, problem.hint.as_deref());
                            return DeliveryResult::Failed;
                        }
                        (problem, None)
                    }
                    Outcome::Unavailable { problem, retry_after } => (problem, retry_after),
                };
            on_result(&self.sink.webhook.name, DeliveryResult::Retried);
            self.note_problem(notice, &problem);
            // From now on it may take long: another process is to know that this is not told yet.
            if std::mem::take(&mut is_first) && !notice.is_stuck() {
                self.keep_cursor(notice, notice.seq).await;
            }
            tokio::time::sleep(delays.next_delay().max(retry_after.unwrap_or_default())).await;
        }
    }

    async fn settle(&mut self, notice: &Notice, result: DeliveryResult) {
        let Webhook { name, .. } = &*self.sink.webhook;
        (self.shared.on_result)(name, result);
        self.keep_cursor(notice, notice.seq + 1).await;
    }

    async fn keep_cursor(&mut self, notice: &Notice, next: u64) {
        let name = &self.sink.webhook.name;
        let key = if notice.is_stuck() { stuck_key(name) } else { name.clone() };
        if !notice.is_stuck() {
            self.cursors.set(&notice.run, next);
        }
        match self.shared.store.set_notified(&notice.run, &key, next).await {
            // The run was removed.
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => {
                let (run, hint) = (notice.run.as_str(), error.hint());
                tracing::warn!(
                    sink = name, run, %error, hint,
                    "cannot note what was told: it may be told again after a restart"
                );
            }
        }
    }

    fn note_delivery(&mut self, notice: &Notice, status: u16) {
        let (sink, id) = (self.sink.webhook.name.as_str(), notice.id.as_str());
        if std::mem::take(&mut self.is_down) {
            tracing::info!(sink, id, status, "notifications are delivered again");
        } else {
            tracing::debug!(sink, id, status, "delivered a notification");
        }
    }

    /// Says once that a receiver cannot be reached.
    fn note_problem(&mut self, notice: &Notice, Problem { message, hint }: &Problem) {
        let (sink, id, to) = (
            self.sink.webhook.name.as_str(),
            notice.id.as_str(),
            self.sink.webhook.target.origin(),
        );
        if std::mem::replace(&mut self.is_down, true) {
            tracing::debug!(sink, id, to, problem = message, "cannot deliver a notification yet");
        } else {
            tracing::warn!(
                sink,
                id,
                to,
                problem = message,
                hint,
                "cannot deliver a notification yet, and tries again"
            );
        }
    }

    fn give_up(&self, notice: &Notice, problem: &str, hint: Option<&str>) {
        let webhook = &self.sink.webhook;
        let (sink, id, to) = (webhook.name.as_str(), notice.id.as_str(), webhook.target.origin());
        tracing::error!(sink, id, to, problem, hint, "a notification was not delivered");
    }
}

/// Returns the name under which the store keeps that a sink was told of a run that is stuck.
pub(super) fn stuck_key(sink: &str) -> String {
    format!("{sink}.stuck")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_cursors_are_kept() {
        let mut cursors = Cursors::default();
        let run = |number: usize| -> RunId { format!("run-{number}").parse().unwrap() };
        for number in 0..=MAX_CURSORS {
            cursors.set(&run(number), 1);
            cursors.set(&run(number), 2);
        }
        assert_eq!((cursors.get(&run(0)), cursors.get(&run(1))), (None, Some(2)));
        assert_eq!(cursors.next.len(), MAX_CURSORS);
    }
}
