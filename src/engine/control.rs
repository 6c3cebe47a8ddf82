//! How the outside speaks to a run that is being driven.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// A handle on a run in progress; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Control {
    cancel: CancellationToken,
    cancelled_by: Arc<OnceLock<String>>,
    shutdown: CancellationToken,
}

/// What the outside has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StopRequest {
    /// To stop the run, by whom.
    Cancel(String),
    /// That the process goes away.
    ShutDown,
}

impl Control {
    /// Asks the run to stop. A call in flight is finished first.
    pub fn cancel(&self, actor: &str) {
        // The first who asks is the one who is named.
        let _ = self.cancelled_by.set(actor.to_owned());
        self.cancel.cancel();
    }

    /// Tells the run that its process goes away: it is left to be resumed.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// What has been asked for so far. A cancel wins: a run that a person stopped must not be taken up again by the
    /// next process on its own.
    pub(super) fn stop_requested(&self) -> Option<StopRequest> {
        if self.cancel.is_cancelled() {
            return Some(StopRequest::Cancel(self.actor()));
        }
        self.shutdown.is_cancelled().then_some(StopRequest::ShutDown)
    }

    /// Waits until something is asked for.
    pub(super) async fn wait_for_stop(&self) -> StopRequest {
        tokio::select! {
            biased;
            actor = self.wait_for_cancel() => StopRequest::Cancel(actor),
            () = self.shutdown.cancelled() => StopRequest::ShutDown,
        }
    }

    /// Waits until somebody asks the run to stop, and says who.
    pub(super) async fn wait_for_cancel(&self) -> String {
        self.cancel.cancelled().await;
        self.actor()
    }

    fn actor(&self) -> String {
        self.cancelled_by.get().cloned().unwrap_or_else(|| "somebody".into())
    }
}
