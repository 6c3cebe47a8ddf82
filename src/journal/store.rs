//! Where journals are kept: the contract of every store, and how a store can fail.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{Format, PostedAnswer, RecordedEvent, Run, RunHead, RunId, RunTarget, SharedStore};

/// How many changes a slow reader of [`RunStore::watch`] may fall behind before it misses some.
pub(crate) const WATCH_BACKLOG: usize = 1024;

/// Keeps the journals of runs. Appends are compare-and-append: two processes cannot both continue a run.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Appends `events` to a run that holds `expected` events (0: the run is new). When it returns, the events are
    /// visible to readers; with `sync` they, and all before them, also survive a power cut.
    ///
    /// # Errors
    /// Nothing was appended: [`StoreError::Conflict`] when another writer appended meanwhile, else the medium failed.
    async fn append(
        &self,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<(), StoreError>;

    /// Returns the events of a run whose `seq` is `from` or more.
    ///
    /// # Errors
    /// No such run, a journal that is corrupt or of a newer format, or the medium failed.
    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<RecordedEvent>, StoreError>;

    /// Returns the heads of the runs that `query` asks for, the oldest run first. A run whose journal cannot be read
    /// has the reason instead of a head.
    ///
    /// # Errors
    /// The medium failed.
    async fn heads(&self, query: HeadQuery) -> Result<Vec<HeadEntry>, StoreError>;

    /// Returns the head of a run.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    async fn head(&self, run: &RunId) -> Result<RunHead, StoreError>;

    /// Returns the heads of runs as they are after each append through this store from now on.
    fn watch(&self) -> broadcast::Receiver<RunHead>;

    /// Whether a process writes to this run now. A run that its events call running, and that no process writes to, was
    /// interrupted. To be asked before the run is read: a run that ends in between then has its end.
    async fn is_live(&self, run: &RunId) -> bool;

    /// Posts an answer to an approval, for the process that drives the run or will. Any process may.
    ///
    /// # Errors
    /// No such run, or the medium failed.
    async fn post_answer(&self, run: &RunId, answer: &PostedAnswer) -> Result<(), StoreError>;

    /// Returns the answers that were posted and not removed.
    ///
    /// # Errors
    /// The medium failed.
    async fn answers(&self, run: &RunId) -> Result<Vec<PostedAnswer>, StoreError>;

    /// Removes an answer that is an event now, or is refused. One that is not there is no error.
    ///
    /// # Errors
    /// The medium failed.
    async fn remove_answer(&self, run: &RunId, id: &str) -> Result<(), StoreError>;

    /// Returns how far each sink was told of a run: the place of the first event of which it was not. A sink of which
    /// nothing is known is not there.
    ///
    /// # Errors
    /// The medium failed.
    async fn notified(&self, run: &RunId) -> Result<Notified, StoreError>;

    /// Records how far a sink was told of a run. Its name has letters, digits, `-` and `.`.
    ///
    /// # Errors
    /// No such run, or the medium failed.
    async fn set_notified(&self, run: &RunId, sink: &str, next: u64) -> Result<(), StoreError>;

    /// Checks that a run could be written now.
    ///
    /// # Errors
    /// Why not: a full disk, a directory that has become read-only.
    async fn check_writable(&self) -> Result<(), StoreError>;

    /// Returns where the store is, for other processes and for people.
    fn location(&self) -> StoreLocation;

    /// Returns what the store can do for several processes that write to it at the same time; `None` where only one
    /// can.
    fn shared(&self) -> Option<&dyn SharedStore> {
        None
    }
}

/// How far each sink of notifications was told of a run, by the name of the sink.
pub type Notified = BTreeMap<String, u64>;

/// The place of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreLocation {
    /// The place, such as `directory /var/lib/sop`.
    pub name: String,
    /// The medium, where only one process at a time can write to it: a process that has the right to write knows that
    /// those that had it before are gone. `None` where that is not so, or cannot be known.
    pub exclusive_id: Option<String>,
    /// The URL of the service that writes to it, if it is one.
    pub url: Option<String>,
}

/// Which heads to return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadQuery {
    /// Of all runs.
    All,
    /// Of the newest runs, this many.
    Newest(usize),
    /// Of this many runs that are older than a run.
    Before(RunId, usize),
    /// Of the runs that are not over: active, unfinished, or not readable.
    Open,
    /// Of the runs with this idempotency key.
    WithKey(String),
}

/// A run and its head, or why it has none.
#[derive(Debug)]
pub struct HeadEntry {
    /// The run.
    pub run: RunId,
    /// Its head, or why its journal cannot be read.
    pub head: Result<RunHead, StoreError>,
}

/// Why a store failed. `Display` is the message; [`hint`](Self::hint) is the remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No such run.
    #[error("run {run} not found in {place}")]
    NotFound {
        /// The run.
        run: RunId,
        /// The store.
        place: String,
    },
    /// Another writer appended to the run.
    #[error("concurrent write to run {run}: expected {expected} events, found {found}")]
    Conflict {
        /// The run.
        run: RunId,
        /// How many events the writer had seen.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// Another process writes to the store.
    #[error("{place} is in use by {holder}")]
    Locked {
        /// The store.
        place: String,
        /// The other process, as far as it is known.
        holder: String,
    },
    /// A journal that cannot be trusted. It is never written to.
    #[error("journal {place} is corrupt at line {line}: {problem}")]
    Corrupt {
        /// The journal.
        place: String,
        /// The line, from 1.
        line: usize,
        /// The problem.
        problem: String,
    },
    /// A journal of a newer format. It is never written to.
    #[error(
        "journal {place} was written by version {by} (format {format}), which knows more than this \
         version {} (format {})", env!("CARGO_PKG_VERSION"), Format::CURRENT
    )]
    TooNew {
        /// The journal.
        place: String,
        /// The version of the program that wrote it.
        by: String,
        /// The format of the journal.
        format: Format,
        /// The cluster and account that the run may touch, where this version can tell.
        target: Option<Box<RunTarget>>,
        /// Whether the run has ended for good.
        is_over: bool,
    },
    /// The cluster that keeps the runs refused a call, or lacks what the store needs.
    #[error("{message}")]
    Cluster {
        /// The call, and the response or what is missing.
        message: String,
        /// The remedy, where one is known.
        hint: Option<String>,
    },
    /// The store cannot be read or written.
    #[error("cannot {operation} {place}: {problem}")]
    Unavailable {
        /// The operation.
        operation: &'static str,
        /// The file, or the store.
        place: String,
        /// The error of the system.
        problem: String,
    },
}

impl StoreError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { .. } => "`rafay-relay-sop runs list` lists the runs".into(),
            Self::Conflict { .. } => "another process continued this run; see `runs show`".into(),
            Self::Locked { .. } => {
                "wait for it to end, or cancel its run with `runs cancel`".into()
            }
            Self::Corrupt { .. } => {
                "the journal was not modified; move it out of the store to continue without this run"
                    .into()
            }
            Self::TooNew { by, .. } => {
                format!("the journal was not modified; use version {by} or later for this run")
            }
            Self::Unavailable { operation: "use", .. } => {
                "name another state directory with --state-dir".into()
            }
            Self::Cluster { hint, .. } => return hint.clone(),
            Self::Unavailable { .. } => return None,
        })
    }
}

/// Returns the head of a run with whether a process writes to the run, for a head that was read before that is asked.
///
/// A run that ends in between is not written to any more, and would count as interrupted by its old head. So where no
/// process writes, the head is read again: it has the end, since a run is written to until its end can be read.
///
/// # Errors
/// As [`RunStore::head`].
pub async fn with_liveness(
    store: &dyn RunStore,
    head: RunHead,
) -> Result<(RunHead, bool), StoreError> {
    if !head.state(true).is_active() {
        return Ok((head, false));
    }
    if store.is_live(&head.run).await {
        return Ok((head, true));
    }
    let head = store.head(&head.run).await?;
    // Another request may have resumed it in between.
    let is_live = head.state(true).is_active() && store.is_live(&head.run).await;
    Ok((head, is_live))
}

impl Run {
    /// Reads a run from a store.
    ///
    /// # Errors
    /// As [`RunStore::read`].
    pub async fn read(store: &dyn RunStore, id: &RunId) -> Result<Self, StoreError> {
        let events = store.read(id, 0).await?;
        Self::of(id, &events).ok_or_else(|| no_start(id))
    }
}

/// The error of a journal whose first event does not start a run.
pub(crate) fn no_start(id: &RunId) -> StoreError {
    let problem = "the first event does not start a run".into();
    StoreError::Corrupt { place: id.to_string(), line: 1, problem }
}
