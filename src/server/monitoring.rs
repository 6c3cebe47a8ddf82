//! `/metrics`: what the process has counted, and the state of the store and of the directory of runbooks, which are
//! looked at when they are asked for, not more often than once in a while.

use std::time::Duration;

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{Service, error::ApiError, routes};
use crate::{
    journal::{HeadEntry, HeadQuery, StoreError},
    metrics::{Exposition, MAX_RUNBOOKS, Metrics, ObservedRun},
};

/// For how long the state of the store, and of the runbooks, is the answer to who asks for the metrics.
const STATE_AGE: Duration = Duration::from_secs(5);
const RUNBOOKS_AGE: Duration = Duration::from_secs(60);

/// How long a store or a disk may take. Prometheus waits for ten seconds; what is counted must not be missing because
/// of either.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many of the latest runs are looked at beside those that are not over. Older ones have been seen before.
const LATEST: usize = 100;

/// The metrics of a service, and when they were made current.
#[derive(Default)]
pub(super) struct Monitoring {
    metrics: Metrics,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// Whether all runs of the store have been looked at.
    has_seen_all: bool,
    runs_at: Option<Instant>,
    runbooks_at: Option<Instant>,
}

impl Monitoring {
    pub(super) fn of(metrics: Metrics) -> Self {
        Self { metrics, current: Mutex::default() }
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl Service {
    /// Makes the metrics current. What cannot be looked at in time stays as it was.
    async fn refresh_metrics(&self) {
        // One request does it; those that come meanwhile wait for the result.
        let mut current = self.monitoring().current.lock().await;
        let is_old = |at: Option<Instant>, age| at.is_none_or(|at| at.elapsed() >= age);
        if is_old(current.runs_at, STATE_AGE) {
            current.runs_at = Some(Instant::now());
            let query =
                if current.has_seen_all { HeadQuery::Newest(LATEST) } else { HeadQuery::All };
            match timeout(PATIENCE, self.observe_runs(query)).await {
                Ok(Ok(())) => current.has_seen_all = true,
                Ok(Err(error)) => tracing::warn!(%error, "the metrics of the runs are old"),
                Err(_) => tracing::warn!("the store is slow: the metrics of the runs are old"),
            }
        }
        if is_old(current.runbooks_at, RUNBOOKS_AGE) {
            current.runbooks_at = Some(Instant::now());
            match timeout(PATIENCE, self.check_runbooks(MAX_RUNBOOKS)).await {
                Ok(Ok(runbooks)) => self.monitoring().metrics().set_runbooks(&runbooks),
                Ok(Err(_)) | Err(_) => tracing::warn!("the metrics of the runbooks are old"),
            }
        }
    }

    /// Reads the runs of a query, and those that are not over.
    async fn observe_runs(&self, query: HeadQuery) -> Result<(), StoreError> {
        let open = self.store().heads(HeadQuery::Open).await?;
        let is_open = |entry: &HeadEntry| open.iter().any(|open| open.run == entry.run);
        let mut latest = self.store().heads(query).await?;
        latest.retain(|entry| !is_open(entry));
        let (mut runs, mut unreadable) = (Vec::new(), 0);
        for HeadEntry { run, head } in open.into_iter().chain(latest) {
            let observed = match head {
                Ok(head) if head.is_final() => Ok((head, false)),
                Ok(head) => self.with_liveness(head).await,
                Err(error) => Err(error),
            };
            match observed {
                Ok((head, is_live)) => runs.push(ObservedRun { head, is_live }),
                // It was removed meanwhile.
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::debug!(run = run.as_str(), %error, "a run without metrics");
                    unreadable += 1;
                }
            }
        }
        self.monitoring().metrics().set_runs(&runs, unreadable);
        Ok(())
    }
}

/// Answers with the metrics, in the format that the client would rather have.
pub(super) async fn metrics(State(service): State<Service>, headers: HeaderMap) -> Response {
    service.refresh_metrics().await;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let exposition = Exposition::wanted(accept);
    let body = service.monitoring().metrics().encode(exposition);
    (StatusCode::OK, [(header::CONTENT_TYPE, exposition.content_type())], body).into_response()
}

/// Counts a request, by the pattern of its route.
pub(super) async fn count(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let (route, code) = (path.as_ref().map(MatchedPath::as_str), response.status().as_u16());
    service.monitoring().metrics().request(route, method.as_str(), code);
    response
}

/// The routes of an address that only answers with the metrics.
pub(super) fn router(service: Service) -> Router {
    let not_found = async || {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "only /metrics is here; the service has another address",
        )
    };
    Router::new()
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(routes::method_not_allowed)
        .with_state(service)
}
