//! Where events are kept: the contract that every store keeps, and how it can fail.

use std::path::PathBuf;

use super::{EventRecord, RunId};

/// Keeps the events of runs. Appends are compare-and-append.
pub trait RunStore: Send + Sync {
    /// Adds `records` to a run that holds `expected` events (0: the run is new). When it returns, the records are
    /// visible to readers; with `sync` they, and all before them, also survive a power cut.
    ///
    /// # Errors
    /// Nothing was added: somebody else appended meanwhile, the store is read-only, or the medium failed.
    fn append(
        &self,
        run: &RunId,
        expected: u64,
        records: &[EventRecord],
        sync: bool,
    ) -> Result<(), StoreError>;

    /// All events of a run.
    ///
    /// # Errors
    /// No such run, damage (with the place), or the medium failed.
    fn read(&self, run: &RunId) -> Result<Vec<EventRecord>, StoreError>;

    /// The names of all runs, oldest first.
    ///
    /// # Errors
    /// The medium failed.
    fn list(&self) -> Result<Vec<RunId>, StoreError>;

    /// Whether a living process is writing this run. One that its events call running, and that nobody writes, was
    /// interrupted. To be asked before the run is read: a run that ends in between then has its end.
    fn is_live(&self, run: &RunId) -> bool;

    /// Whether a run could be written now.
    ///
    /// # Errors
    /// Why not: a full disk, a folder that has become read-only.
    fn check_writable(&self) -> Result<(), StoreError>;
}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be used.
    #[error("cannot use the state folder {path}: {source}; name another one with --state-dir")]
    Directory {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process writes here.
    #[error(
        "the state folder {path} is in use by {owner}: wait for it to end, or cancel its run (`runs cancel`)"
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Who, as far as they said.
        owner: String,
    },
    /// The store was opened for reading.
    #[error("the state folder {path} was opened for reading only")]
    ReadOnly {
        /// The folder.
        path: PathBuf,
    },
    /// There is no such run.
    #[error("there is no run {run} in {path}; `rafay-relay-sop runs list` shows those that are")]
    NoSuchRun {
        /// The run that was asked for.
        run: RunId,
        /// The folder.
        path: PathBuf,
    },
    /// A journal that cannot be trusted. It is never written to.
    #[error(
        "the journal {path} is damaged at line {line}: {why}; it is left as it is; move it away to go on without this run"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else appended to the run.
    #[error(
        "the journal of run {run} was continued by somebody else: it should hold {expected} events and holds {found}"
    )]
    Conflict {
        /// The run.
        run: RunId,
        /// How many events the writer has seen.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// The medium failed.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An event that cannot be written as JSON.
    #[error("cannot write an event of run {run} as JSON: {source}")]
    Json {
        /// The run.
        run: RunId,
        /// Why.
        source: serde_json::Error,
    },
}
