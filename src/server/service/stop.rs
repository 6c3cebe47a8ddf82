//! What ends a run or answers it from outside: cancel, abandon, approvals.

use std::time::Duration;

use super::{
    super::{active_runs::Phase, error::ApiError},
    Service,
};
use crate::{
    engine::{AnswerRequest, Answered, answer_approval},
    journal::{Failure, FailureKind, RunId, with_liveness},
};

/// How long a client waits until the lock of a run that it abandons is removed from the cluster.
const CLEAR_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request to cancel a run waits until others know it.
const RECORD_CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

impl Service {
    pub(in crate::server) async fn cancel(&self, id: &RunId, actor: &str) -> Result<(), ApiError> {
        match self.shared.active.phase(id) {
            Some(Phase::Running(control)) if control.is_ending() => Err(is_restoring(id)),
            Some(Phase::Running(control)) => {
                // Another process may have continued the run, or will when this one dies before it has journaled that.
                // Before the run ends by this, so that it cannot stop a later one.
                if let Some(shared) = self.store().shared() {
                    let recorded = shared.request_cancel(id, actor);
                    match tokio::time::timeout(RECORD_CANCEL_TIMEOUT, recorded).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => {
                            tracing::warn!(%error, run = id.as_str(), "the request to cancel is known here only");
                        }
                        Err(_) => {
                            tracing::warn!(
                                run = id.as_str(),
                                "the request to cancel may be known here only"
                            );
                        }
                    }
                }
                control.cancel(actor);
                Ok(())
            }
            Some(Phase::Recovering { .. }) => {
                let failure =
                    Failure::new(FailureKind::Conflict, format!("run {id} is about to be resumed"));
                Err(failure.with_hint(Some("abandon it or roll it back instead")).into())
            }
            Some(Phase::JournalFailed(_)) | None => {
                let _reading = self.shared.reading.acquire().await;
                let head = self.store().head(id).await?;
                let (head, is_live) = with_liveness(self.store().as_ref(), head).await?;
                if is_live && head.restoring().is_some() {
                    return Err(is_restoring(id));
                }
                if let Some(shared) = self.store().shared().filter(|_| is_live) {
                    return Ok(shared.request_cancel(id, actor).await?);
                }
                let state = head.state(false);
                let message = format!("run {id} is {state}: nothing to cancel");
                Err(Failure::new(FailureKind::Conflict, message).into())
            }
        }
    }

    /// Answers an approval of a run, whichever process drives it.
    pub(in crate::server) async fn answer(
        &self,
        id: &RunId,
        request: AnswerRequest,
    ) -> Result<Answered, ApiError> {
        let answered = answer_approval(self.store().as_ref(), id, request).await;
        answered.map_err(|error| error.failure().into())
    }

    pub(in crate::server) async fn abandon(&self, id: &RunId, actor: &str) -> Result<(), ApiError> {
        let admission = self.admit().await?;
        if self.is_live(id) || self.is_live_elsewhere(id).await? {
            let failure = Failure::new(FailureKind::Conflict, format!("run {id} is active"));
            return Err(failure.with_hint(Some("cancel it first")).into());
        }
        self.engine().abandon(id, actor).await?;
        // A cluster that does not answer must not keep other requests waiting.
        drop(admission);
        if self.store().head(id).await?.target.kubernetes.is_some() {
            let (service, id) = (self.clone(), id.clone());
            let clearing = self.shared.runs.spawn(async move {
                service.shared.engine.clear_lock(&id).await;
            });
            // The run is over whatever the cluster says; the rest goes on without the client.
            let _ = tokio::time::timeout(CLEAR_LOCK_TIMEOUT, clearing).await;
        }
        Ok(())
    }
}

fn is_restoring(id: &RunId) -> ApiError {
    let message = format!("run {id} is at its end: it restores what is not to outlast it");
    Failure::new(FailureKind::Conflict, message).into()
}
