//! Writes the status of a run beside its appends: once a second at most, the latest one, and the last one for certain.
//! While nothing happens it is renewed, so that other processes know that this one is alive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clock::Backoff;
use jiff::Timestamp;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::projection::time;
use crate::{
    journal::RunId,
    lease::LeaseTimes,
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
    pub(super) fn new(
        objects: RunObjects,
        run: RunId,
        object: &RunbookRun,
        writer: &str,
        times: LeaseTimes,
    ) -> Self {
        let (statuses, received) = watch::channel(RunbookRunStatus::default());
        let (ending, is_gone) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let status = Status {
            objects,
            run,
            writer: writer.to_owned(),
            times,
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

/// Returns a status that says, where a process drives the run, that it is alive now.
pub(super) fn renewed(status: &RunbookRunStatus, times: LeaseTimes) -> RunbookRunStatus {
    let mut status = status.clone();
    if status.holder.is_some() {
        status.renewed_at = Some(time(Timestamp::now()));
        status.lease_duration_seconds = u32::try_from(times.duration.as_secs()).ok();
    }
    status
}

/// The status of one run, as this process has written it.
struct Status {
    objects: RunObjects,
    run: RunId,
    writer: String,
    times: LeaseTimes,
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
        let mut renews = false;
        loop {
            tokio::select! {
                biased;
                changed = statuses.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = ending.cancelled() => return,
                () = tokio::time::sleep(self.times.renewal()), if renews => {}
            }
            let status = statuses.borrow_and_update().clone();
            renews = status.holder.is_some();
            let mut delays = BACKOFF.delays();
            for attempt in 1..=MAX_ATTEMPTS {
                let error = match self.write(&status).await {
                    Ok(true) => break,
                    Ok(false) => return,
                    Err(error) => error,
                };
                if attempt == MAX_ATTEMPTS || !error.is_retryable() {
                    let run = self.run.as_str();
                    tracing::warn!(%error, run, "cannot write the status of the run");
                    break;
                }
                tokio::time::sleep(delays.next_delay()).await;
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL.min(self.times.renewal())) => {}
                () = ending.cancelled() => {}
            }
        }
    }

    /// Writes a status, and returns whether this process still is the one that does. It is not when another one has
    /// continued the run, or ended it: this process was stopped.
    async fn write(&mut self, status: &RunbookRunStatus) -> Result<bool, Error> {
        let (objects, name) = (&self.objects, self.run.as_str());
        let status = renewed(status, self.times);
        match objects.write_status(name, self.version.as_deref(), &status).await {
            Ok(written) => {
                self.version = written.metadata.resource_version;
                self.has_written = true;
                Ok(true)
            }
            Err(error) if error.code() == "NotFound" => {
                self.is_gone.store(true, Ordering::Relaxed);
                Err(error)
            }
            Err(error) if error.code() == "Conflict" => {
                let Some(found) = objects.get_run(name).await? else { return Err(error) };
                if self.has_written && self.is_replaced(found.status.as_ref()) {
                    tracing::debug!(run = name, "another process writes the status of the run");
                    return Ok(false);
                }
                // The response to a write was lost, or something else of the object was changed.
                self.version = found.metadata.resource_version;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether another process has written a status after this one's. One that took this process for dead, and wrote
    /// no more than that, has not continued the run.
    fn is_replaced(&self, found: Option<&RunbookRunStatus>) -> bool {
        found.is_some_and(|found| match &found.holder {
            Some(holder) => *holder != self.writer,
            None => found.ended_at.is_some(),
        })
    }
}
