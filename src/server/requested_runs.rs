//! Runs that are asked for by creating an object in the store, such as with `kubectl create`: each is started under its
//! name, waits while it cannot be, or is refused with the reason. Who may create such objects is the cluster's to say.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    Service,
    error::ApiError,
    service::{RestartGuard, StartRequest},
};
use crate::journal::{RequestAnswer, RunId, RunRequest, SharedStore, StoreError, timestamp};
use clock::{Backoff, Clock, Pace};

/// The pause between two attempts to start what waits.
const INTERVAL: Duration = Duration::from_secs(10);
/// For how long a request waits that does not say how long.
const MAX_WAIT: Duration = Duration::from_secs(3600);

impl Service {
    /// Starts the runs that are asked for in the store, for as long as this is awaited. In a store that only one
    /// process writes to, there are none.
    pub async fn start_requested(&self) {
        let Some(shared) = self.store().shared() else { return };
        let pause = Duration::from_millis(500);
        let mut pace = Pace::new(&Clock::real(), Backoff::new(pause, pause));
        let mut changes = shared.changes();
        loop {
            pace.next_turn().await;
            let requests = shared.requested_runs().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "requests for runs cannot be read");
                Vec::new()
            });
            for request in &requests {
                if let Err(error) = self.start_one(shared, request).await {
                    tracing::warn!(%error, name = request.name, "a request for a run is not answered");
                }
            }
            // What waits, waits for time to pass, too. The store lives as long as this.
            let _ = match requests.is_empty() {
                true => changes.changed().await.ok(),
                false => timeout(INTERVAL, changes.changed()).await.ok().and_then(Result::ok),
            };
        }
    }

    async fn start_one(
        &self,
        shared: &dyn SharedStore,
        request: &RunRequest,
    ) -> Result<(), StoreError> {
        let answer = match self.try_to_start(request).await {
            Ok(()) => return Ok(()),
            Err(answer) => answer,
        };
        if matches!(&answer, RequestAnswer::Waits(why) if request.answer.as_ref() == Some(why)) {
            return Ok(());
        }
        tracing::info!(name = request.name, ?answer, "a run that is asked for is not started");
        shared.answer(request, answer).await
    }

    async fn try_to_start(&self, request: &RunRequest) -> Result<(), RequestAnswer> {
        let RunRequest { name, start_before, .. } = request;
        let now = Timestamp::now();
        if let Some(end) = start_before.filter(|end| now >= *end) {
            let message = format!("startBefore has passed: {}", timestamp(end));
            return Err(RequestAnswer::Refused(message));
        }
        let id: Result<RunId, _> = name.parse();
        let id = id.map_err(|error| RequestAnswer::Refused(error.to_string()))?;
        let asked_by = request.requested_by.as_deref().unwrap_or("an unknown person");
        let started = self.start(StartRequest {
            runbook: request.runbook.clone(),
            inputs: request.inputs.clone(),
            key: request.key.clone(),
            actor: format!("object:{asked_by}"),
            guard: RestartGuard::Off,
            id: Some(id.clone()),
        });
        let error = match started.await {
            Ok(response) if response["run"] == name.as_str() => return Ok(()),
            Ok(response) => {
                let message = format!("its key started run {} before", response["run"]);
                return Err(RequestAnswer::Refused(message));
            }
            // Another process of the service was faster.
            Err(_) if self.store().head(&id).await.is_ok() => return Ok(()),
            Err(error) => error,
        };
        let has_waited = request.created_at.is_some_and(|created| {
            Duration::try_from(now - created).is_ok_and(|age| age > MAX_WAIT)
        });
        let message = error.as_text();
        match error.may_pass() {
            true if start_before.is_some() || !has_waited => Err(RequestAnswer::Waits(message)),
            true => Err(RequestAnswer::Refused(format!("it has waited for too long: {message}"))),
            false => Err(RequestAnswer::Refused(message)),
        }
    }
}

impl ApiError {
    /// Whether the same request may be accepted later.
    fn may_pass(&self) -> bool {
        self.status().is_server_error() || self.status().as_u16() == 409
    }
}
