//! Writes the status of a run beside its appends: once a second at most, the latest one, and the last one for certain.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clock::Backoff;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    journal::RunId,
    platform::{
        Error,
        kubernetes::{RunObjects, RunbookRun, RunbookRunStatus},
    },
};

/// The least time between two writes.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the end of a run waits for its last status. One that is not written is written by the next reader.
const END_TIMEOUT: Duration = Duration::from_secs(15);
/// How often one status is tried.
const MAX_ATTEMPTS: u32 = 4;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(2));

/// Writes the status of one run. Dropped, it writes no more.
pub(super) struct StatusWriter {
    statuses: watch::Sender<RunbookRunStatus>,
    ending: CancellationToken,
    is_gone: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl StatusWriter {
    /// Returns the writer of the status of an object, which this process has just read or created.
    pub(super) fn new(objects: RunObjects, run: RunId, object: &RunbookRun, writer: &str) -> Self {
        let (statuses, received) = watch::channel(RunbookRunStatus::default());
        let (ending, is_gone) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let status = Status {
            objects,
            run,
            writer: writer.to_owned(),
            version: object.metadata.resource_version.clone(),
            is_gone: Arc::clone(&is_gone),
            has_written: false,
        };
        let task = tokio::spawn(status.keep(received, ending.clone()));
        Self { statuses, ending, is_gone, task }
    }

    /// Whether the object of the run was deleted.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// Hands over a status, which is written soon unless a later one replaces it.
    pub(super) fn write(&self, status: RunbookRunStatus) {
        // The receiver lives as long as this.
        let _ = self.statuses.send(status);
    }

    /// Writes the last status, after those in flight.
    pub(super) async fn end(mut self, status: RunbookRunStatus) {
        self.write(status);
        self.ending.cancel();
        if tokio::time::timeout(END_TIMEOUT, &mut self.task).await.is_err() {
            tracing::warn!("the status of the run could not be written in time");
        }
    }
}

impl Drop for StatusWriter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The status of one run, as this process has written it.
struct Status {
    objects: RunObjects,
    run: RunId,
    writer: String,
    /// The version of the object that was read or written last.
    version: Option<String>,
    is_gone: Arc<AtomicBool>,
    has_written: bool,
}

impl Status {
    async fn keep(
        mut self,
        mut statuses: watch::Receiver<RunbookRunStatus>,
        ending: CancellationToken,
    ) {
        loop {
            tokio::select! {
                biased;
                changed = statuses.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = ending.cancelled() => return,
            }
            let status = statuses.borrow_and_update().clone();
            let mut delays = BACKOFF.delays();
            for attempt in 1..=MAX_ATTEMPTS {
                let Err(error) = self.write(&status).await else { break };
                if attempt == MAX_ATTEMPTS || !error.is_retryable() {
                    let run = self.run.as_str();
                    tracing::warn!(%error, run, "cannot write the status of the run");
                    break;
                }
                tokio::time::sleep(delays.next_delay()).await;
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = ending.cancelled() => {}
            }
        }
    }

    /// Writes a status, unless another process has written one: this process was stopped, and is no longer the writer.
    async fn write(&mut self, status: &RunbookRunStatus) -> Result<(), Error> {
        let (objects, name) = (&self.objects, self.run.as_str());
        match objects.write_status(name, self.version.as_deref(), status).await {
            Ok(written) => {
                self.version = written.metadata.resource_version;
                self.has_written = true;
                Ok(())
            }
            Err(error) if error.code() == "NotFound" => {
                self.is_gone.store(true, Ordering::Relaxed);
                Err(error)
            }
            Err(error) if error.code() == "Conflict" => {
                let Some(found) = objects.get_run(name).await? else { return Err(error) };
                let holder = found.status.as_ref().and_then(|status| status.holder.as_ref());
                // The response to a write was lost, or something else of the object was changed.
                if holder == Some(&self.writer) || !self.has_written {
                    self.version = found.metadata.resource_version;
                    return Err(error);
                }
                tracing::debug!(run = name, "another process writes the status of the run");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
