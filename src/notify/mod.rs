//! Who is told what of a run: webhooks, by a file of the service, and Kubernetes Events on the objects that a run
//! changes.
//!
//! ```text
//! event of a run ──> Notifier (an observer) ──> a queue for each sink ──> its task ──> POST, again and again
//!                                                      ^                     │
//!                     the journal, from the cursor ────┘ after a restart     └──> cursor, in the store
//! ```
//!
//! - **A run never waits.** The observer hands a notice to bounded queues and returns. A queue that is full takes no
//!   more; its task then reads from the journal what it has missed.
//! - **At least once.** The journal is the queue that survives: beside each run the store keeps how far each sink was
//!   told of it, and a process of the service that starts, or continues a run, goes on from there. The id of a message
//!   is that of its event, so that a receiver can leave repetitions out.
//! - **The process that drives a run tells of it**, so that replicas do not tell everything twice.
//!
//! This module uses the journal and the clients. It must not depend on the engine or its callers.

mod attempt;
mod catch_up;
mod config;
mod credentials;
mod forms;
mod notice;
mod object_events;
mod observed;
mod signature;
mod sink;
mod stuck;
mod test_message;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::oneshot, task::JoinSet};

pub use config::{Form, NotifyConfig, NotifyFileError, Webhook, When};
pub use credentials::CredentialsError;
pub use forms::Links;
pub use object_events::ObjectEvents;
pub use signature::SigningKeyError;
pub use test_message::{TestResult, send_test, test_body};

use self::{
    notice::Notice,
    observed::{ObservedRuns, Sight},
    sink::{Item, Sink, Worker},
};
use crate::{
    journal::{RecordedEvent, Run, RunObserver, RunStore},
    platform::http::HttpClient,
};

/// The result of a message, for the metric `sop_notifications_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryResult {
    /// The receiver has taken it.
    Delivered,
    /// An attempt failed, and another one follows.
    Retried,
    /// The receiver does not take it.
    Refused,
    /// The receiver could not process it, in any of the attempts.
    Failed,
    /// The message became too old, or is true no more.
    Expired,
    /// The queue was full. What was left out is read from the journal later.
    Deferred,
}

impl DeliveryResult {
    /// Returns the name, which is a label of the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Deferred => "deferred",
        }
    }
}

/// A function that is told the result of each message, with the name of its sink.
pub type OnResult = Arc<dyn Fn(&str, DeliveryResult) + Send + Sync>;

/// Which runs are told that this process does not drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// None: the command line.
    OwnRuns,
    /// Those that a process of the service has driven, and that none drives any more.
    Service,
}

/// Tells webhooks of runs. Dropped, it tells no more; what is left over is told by the next process.
pub struct Notifier {
    shared: Arc<Shared>,
    sinks: Vec<Arc<Sink>>,
    /// A task for each sink.
    tasks: Mutex<JoinSet<()>>,
}

/// The parts that all sinks share.
struct Shared {
    store: Arc<dyn RunStore>,
    client: HttpClient,
    links: Links,
    on_result: OnResult,
    reach: Reach,
    /// When this process began to tell.
    started_at: Timestamp,
    stuck_after: Duration,
    observed: ObservedRuns,
}

impl Notifier {
    /// Starts a task for each webhook. The runs are in `store`; `on_result` is told what comes of each message.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(
        config: NotifyConfig,
        store: Arc<dyn RunStore>,
        links: Links,
        reach: Reach,
        on_result: OnResult,
    ) -> Arc<Self> {
        let NotifyConfig { webhooks, page_url, stuck_after } = config;
        let shared = Arc::new(Shared {
            store,
            client: HttpClient::for_posts(),
            links: Links { page_url, ..links },
            on_result,
            reach,
            started_at: Timestamp::now(),
            stuck_after,
            observed: ObservedRuns::default(),
        });
        let mut tasks = JoinSet::new();
        let start = |webhook: Webhook| {
            let (sink, items) = Sink::new(webhook);
            tasks.spawn(Worker::new(Arc::clone(&sink), items, Arc::clone(&shared)).work());
            sink
        };
        let sinks: Vec<Arc<Sink>> = webhooks.into_iter().map(start).collect();
        Arc::new(Self { shared, sinks, tasks: Mutex::new(tasks) })
    }

    /// Lets each sink be told what the processes before this one have left: to be called where a service starts.
    pub fn catch_up(&self) {
        for sink in &self.sinks {
            sink.offer(Item::CatchUp, &self.shared.on_result);
        }
    }

    /// Waits until what was handed over is told, for a limited time. The rest is told by the next process of a service.
    pub async fn finish(&self, limit: Duration) {
        let told = self.sinks.iter().map(|sink| async move {
            let (done, is_done) = oneshot::channel();
            // A task that has ended has nothing to tell.
            if sink.queue.send(Item::Flush(done)).await.is_ok() {
                let _ = is_done.await;
            }
        });
        if tokio::time::timeout(limit, futures::future::join_all(told)).await.is_err() {
            tracing::warn!("some notifications could not be delivered in time");
        }
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl RunObserver for Notifier {
    fn on_event(&self, run: &Run, recorded: &RecordedEvent) {
        // What happened before in another process may not have been told: the journal has that and this.
        if self.shared.observed.observe(run, recorded) == Sight::Continued {
            return self.catch_up();
        }
        let Some(notice) = Notice::of(run, recorded) else { return };
        let notice = Arc::new(notice);
        for sink in &self.sinks {
            if sink.webhook.wants(notice.what.when(), &notice.runbook) {
                sink.offer(Item::Notice(Arc::clone(&notice)), &self.shared.on_result);
            }
        }
    }
}
