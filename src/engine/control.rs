//! The handle with which others cancel a run that is being driven, or shut it down.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::sync::CancellationToken;

/// A handle on a run in progress; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Control {
    cancel: CancellationToken,
    cancelled_by: Arc<OnceLock<String>>,
    shutdown: CancellationToken,
    lease_lost: CancellationToken,
    /// Whether it is too late to cancel the run.
    is_ending: Arc<AtomicBool>,
}

/// A request to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StopRequest {
    /// The run was canceled, by this actor.
    Cancel(String),
    /// The process is asked to shut down.
    ShutDown,
    /// Another process has taken the lease of the cluster.
    LeaseLost,
}

impl Control {
    /// Asks the run to stop. A call in flight is finished first.
    pub fn cancel(&self, actor: &str) {
        // The first actor is the one that is named.
        let _ = self.cancelled_by.set(actor.to_owned());
        self.cancel.cancel();
    }

    /// Tells the run that its process shuts down: the run is left to be resumed.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Returns the same control for a run that stops when its lease is lost.
    pub(super) fn with_lease(self, lease_lost: CancellationToken) -> Self {
        Self { lease_lost, ..self }
    }

    /// Whether the steps of the run are over, so that a cancel changes nothing.
    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Returns a control that the cancel of this one does not stop: what is left must be done although the run is
    /// canceled.
    pub(super) fn at_the_end(&self) -> Self {
        self.is_ending.store(true, Ordering::Relaxed);
        let (shutdown, lease_lost) = (self.shutdown.clone(), self.lease_lost.clone());
        Self { shutdown, lease_lost, ..Self::default() }
    }

    /// Returns the request so far. A cancel wins: a run that a person stopped must not be resumed by the next process
    /// without one.
    pub(super) fn stop_requested(&self) -> Option<StopRequest> {
        if self.cancel.is_cancelled() {
            return Some(StopRequest::Cancel(self.actor()));
        }
        if self.lease_lost.is_cancelled() {
            return Some(StopRequest::LeaseLost);
        }
        self.shutdown.is_cancelled().then_some(StopRequest::ShutDown)
    }

    /// Waits for a request.
    pub(super) async fn wait_for_stop(&self) -> StopRequest {
        tokio::select! {
            biased;
            actor = self.wait_for_cancel() => StopRequest::Cancel(actor),
            () = self.lease_lost.cancelled() => StopRequest::LeaseLost,
            () = self.shutdown.cancelled() => StopRequest::ShutDown,
        }
    }

    /// Waits until the run is canceled, and returns by whom.
    pub(super) async fn wait_for_cancel(&self) -> String {
        self.cancel.cancelled().await;
        self.actor()
    }

    fn actor(&self) -> String {
        self.cancelled_by.get().cloned().unwrap_or_else(|| "an unknown actor".into())
    }
}
