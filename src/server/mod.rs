//! The HTTP service: the same runs as on the command line, started and watched over HTTP. A handler parses, calls one
//! function of [`Service`] and renders with `views`; authentication, the same-site check and the limits are layers
//! that know nothing of each other.
//!
//! This module uses the engine, the journal and the directory of runbooks. It must not depend on any action, nor on the
//! platform.

mod active_runs;
mod auth;
mod body;
mod checks;
mod connections;
mod csrf;
mod error;
mod limits;
mod listener;
mod recovery;
mod requested_runs;
mod retention;
mod routes;
mod secret_file;
mod service;
mod tls;
mod token;
mod views;
mod write_timeout;

use std::time::Duration;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::Response,
    routing::{MethodRouter, get, post},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    trace::{DefaultOnFailure, TraceLayer},
};
use tracing::Level;

pub use auth::{Access, Reach};
pub use limits::Limits;
pub use listener::{EXTRA_DESCRIPTORS, HttpServer};
pub use secret_file::SecretFileError;
pub use service::Service;
pub use tls::{Tls, TlsError};
pub use token::{TokenFileError, read_token};

use runbook::MAX_BYTES;

/// Inputs are short; a runbook's text is taken by `/validate` alone, which has its own limit.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Accepting a run asks the cluster and the account who they are; everything else is quick.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// All routes, behind all layers.
fn router(service: Service, access: Access) -> Router {
    let limits = service.limits().clone();
    let limited = |route: MethodRouter<Service>| limits::limited(route, &limits);
    // A probe is answered whatever else is going on: many at once cost no more than one.
    let open =
        Router::new().route("/health", get(routes::health)).route("/ready", get(routes::ready));
    // The limit of `/validate` is its queue.
    let validate = body::receiving(post(routes::validate), &service);
    let validate = validate.layer(DefaultBodyLimit::max(MAX_BYTES));
    let reading = Router::new()
        .route("/status", limited(get(routes::status)))
        .route("/validate", validate)
        .route("/runbooks", limited(get(routes::runbooks)))
        .route("/runs", limited(get(routes::runs)))
        .route("/runs/{id}", limited(get(routes::run)));
    // HEAD would otherwise be answered by the handler of GET, and start a run.
    let start = get(routes::start).post(routes::start).head(routes::method_not_allowed);
    let mutating = Router::new()
        .route("/plan", body::receiving(limited(post(routes::plan)), &service))
        .route("/run", body::receiving(limited(start), &service))
        .route("/runs/{id}/cancel", limited(post(routes::cancel)))
        .route("/runs/{id}/approve", body::receiving(limited(post(routes::approve)), &service))
        .route("/runs/{id}/reject", body::receiving(limited(post(routes::reject)), &service))
        .route("/runs/{id}/resume", body::receiving(limited(post(routes::resume)), &service))
        .route("/runs/{id}/rollback", limited(post(routes::rollback)))
        .route("/runs/{id}/abandon", limited(post(routes::abandon)))
        .route_layer(middleware::from_fn_with_state(access.clone(), auth::require_token))
        .route_layer(middleware::from_fn_with_state(access.clone(), csrf::reject_browser_get));
    open.merge(reading)
        .merge(mutating)
        .fallback(routes::route_not_found)
        .method_not_allowed_fallback(routes::method_not_allowed)
        .layer(middleware::from_fn_with_state(access, csrf::reject_cross_site))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(request_timeout))
        // A fault of ours in one handler must not look like a broken network to the caller.
        .layer(CatchPanicLayer::custom(error::panic_response))
        // A request that is refused is the client's to report: a flood of them must not fill the log.
        .layer(TraceLayer::new_for_http().on_failure(DefaultOnFailure::new().level(Level::DEBUG)))
        .with_state(service)
}

/// A request that takes too long is answered; what it has begun to ask of the cluster is dropped.
async fn request_timeout(request: Request, next: Next) -> Result<Response, error::ApiError> {
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.map_err(|_| {
        error::ApiError::new(
            axum::http::StatusCode::GATEWAY_TIMEOUT,
            "the cluster or the account did not answer in time; /status says whether a run was started",
        )
    })
}
