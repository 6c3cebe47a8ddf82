//! Runs that are asked for by creating an object in the store, such as with `kubectl create`: each is started under its
//! name, waits while it cannot be, or is refused with the reason. Who may create such objects is the cluster's to say.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::{
    Service,
    error::ApiError,
    service::{RestartGuard, StartRequest},
};
use crate::journal::{
    FailureKind, RequestAnswer, RunId, RunRequest, SharedStore, StoreError, timestamp,
};
use clock::{Backoff, Clock, Pace};

/// The least pause between two attempts to start the same run.
const INTERVAL: Duration = Duration::from_secs(5);
/// For how long a request waits that does not say how long.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// A request as this process has seen it.
struct Seen {
    first: Instant,
    /// When it is tried next.
    next: Instant,
}

impl Seen {
    fn now() -> Self {
        let now = Instant::now();
        Self { first: now, next: now }
    }
}

impl Service {
    /// Starts the runs that are asked for in the store, for as long as this is awaited. In a store that only one
    /// process writes to, there are none.
    pub async fn start_requested(&self) {
        let Some(shared) = self.store().shared() else { return };
        let pause = Duration::from_millis(500);
        let mut pace = Pace::new(&Clock::real(), Backoff::new(pause, pause));
        let (mut changes, mut known) = (shared.changes(), HashMap::new());
        loop {
            pace.next_turn().await;
            let Some(requests) = shared.requested_runs() else {
                // The store lives as long as this.
                let _ = changes.changed().await;
                continue;
            };
            known.retain(|name: &String, _| requests.iter().any(|request| request.name == *name));
            for request in &requests {
                let seen = known.entry(request.name.clone()).or_insert_with(Seen::now);
                if Instant::now() < seen.next {
                    continue;
                }
                // Several processes try.
                seen.next = Instant::now() + INTERVAL.mul_f64(1.0 + fastrand::f64());
                let waited = seen.first.elapsed();
                if let Err(error) = self.start_one(shared, request, waited).await {
                    tracing::warn!(%error, name = request.name, "a request for a run is not answered");
                }
            }
            let next = known.values().map(|seen| seen.next).min();
            let _ = match next {
                None => changes.changed().await.ok(),
                Some(next) => timeout_at(next, changes.changed()).await.ok().and_then(Result::ok),
            };
        }
    }

    async fn start_one(
        &self,
        shared: &dyn SharedStore,
        request: &RunRequest,
        waited: Duration,
    ) -> Result<(), StoreError> {
        let answer = match self.try_to_start(request, waited).await {
            Ok(()) => return Ok(()),
            Err(answer) => answer,
        };
        if matches!(&answer, RequestAnswer::Waits(why) if request.answer.as_ref() == Some(why)) {
            return Ok(());
        }
        tracing::info!(name = request.name, ?answer, "a run that is asked for is not started");
        shared.answer(request, answer).await
    }

    async fn try_to_start(
        &self,
        request: &RunRequest,
        waited: Duration,
    ) -> Result<(), RequestAnswer> {
        let RunRequest { name, start_before, .. } = request;
        if let Some(end) = start_before.filter(|end| Timestamp::now() >= *end) {
            let message = format!("startBefore has passed: {}", timestamp(end));
            return Err(RequestAnswer::Refused(message));
        }
        let id: Result<RunId, _> = name.parse();
        let id = id.map_err(|error| RequestAnswer::Refused(error.to_string()))?;
        let outside_window = request.outside_window.as_deref();
        if outside_window.is_some_and(|reason| reason.trim().is_empty()) {
            return Err(RequestAnswer::Refused("outsideWindow has no reason".into()));
        }
        let asked_by = request.requested_by.as_deref().unwrap_or("an unknown person");
        let started = self.start(StartRequest {
            runbook: request.runbook.clone(),
            inputs: request.inputs.clone(),
            key: request.key.clone(),
            accept: request.accept.clone(),
            actor: format!("object:{asked_by}"),
            guard: RestartGuard::Off,
            id: Some(id.clone()),
            outside_window: request.outside_window.clone(),
        });
        let error = match started.await {
            Ok(response) if response.run.as_str() == name.as_str() => return Ok(()),
            Ok(response) => {
                let message = format!("its key started run {} before", response.run);
                return Err(RequestAnswer::Refused(message));
            }
            // Another process of the service was faster.
            Err(_) if self.store().head(&id).await.is_ok() => return Ok(()),
            Err(error) => error,
        };
        // The clock of the API server may be another one.
        let has_waited = waited >= MAX_WAIT
            || request.created_at.is_some_and(|created| {
                Duration::try_from(Timestamp::now() - created).is_ok_and(|age| age > 2 * MAX_WAIT)
            });
        let message = error.as_text();
        // However long that is: a request that may not wait says so.
        match error.waits_for_window() {
            Some(true) => return Err(RequestAnswer::Waits(message)),
            Some(false) => return Err(RequestAnswer::Refused(message)),
            None => {}
        }
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
        use FailureKind::{Busy, Conflict, Denied, Interrupted, Store, Transient, Unreachable};
        match self.kind() {
            Some(kind) => matches!(
                kind,
                Busy | Conflict | Denied | Interrupted | Store | Transient | Unreachable
            ),
            // Another run holds the target.
            None => self.status().as_u16() == 409,
        }
    }
}
