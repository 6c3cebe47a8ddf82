//! The HTTP service: the same runs as on the command line, started and watched over HTTP. A handler parses, calls one
//! function of [`Service`] and renders with `views`; authentication, the same-site check and the limits are layers
//! that know nothing of each other.
//!
//! This module uses the engine, the journal and the directory of runbooks. It must not depend on any action, nor on the
//! platform.

mod active_runs;
mod auth;
mod csrf;
mod error;
mod file_stamp;
mod routes;
mod service;
mod token;
mod views;

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use tokio::net::TcpListener;
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};

pub use auth::{Access, Reach};
pub use file_stamp::SecretFileError;
use runbook::MAX_BYTES;
pub use service::Service;
pub use token::{TokenFileError, read_token};

/// Inputs are short; a runbook's text is taken by `/validate` alone, which has its own limit.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Accepting a run asks the cluster and the account who they are; everything else is quick.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// All routes, behind all layers.
pub fn router(service: Service, access: Access) -> Router {
    let open =
        Router::new().route("/health", get(routes::health)).route("/ready", get(routes::ready));
    let reading = Router::new()
        .route("/status", get(routes::status))
        .route("/validate", post(routes::validate).layer(DefaultBodyLimit::max(MAX_BYTES)))
        .route("/runbooks", get(routes::runbooks))
        .route("/runs", get(routes::runs))
        .route("/runs/{id}", get(routes::run));
    let mutating = Router::new()
        // HEAD would otherwise be answered by the handler of GET, and start a run.
        .route("/run", get(routes::start).post(routes::start).head(routes::method_not_allowed))
        .route("/runs/{id}/cancel", post(routes::cancel))
        .route("/runs/{id}/resume", post(routes::resume))
        .route("/runs/{id}/rollback", post(routes::rollback))
        .route("/runs/{id}/abandon", post(routes::abandon))
        .route_layer(middleware::from_fn_with_state(access.clone(), auth::require_token))
        .route_layer(middleware::from_fn(csrf::reject_browser_get));
    open.merge(reading)
        .merge(mutating)
        .fallback(routes::route_not_found)
        .method_not_allowed_fallback(routes::method_not_allowed)
        .layer(middleware::from_fn_with_state(access, csrf::reject_cross_site))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(request_timeout))
        // A fault of ours in one handler must not look like a broken network to the caller.
        .layer(CatchPanicLayer::custom(error::panic_response))
        .layer(TraceLayer::new_for_http())
        .with_state(service)
}

/// A request that takes too long is answered; what it has begun to ask of the cluster is dropped.
async fn request_timeout(request: Request, next: Next) -> Result<Response, error::ApiError> {
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.map_err(|_| {
        error::ApiError::new(
            axum::http::StatusCode::GATEWAY_TIMEOUT,
            "the cluster or the account did not answer in time; nothing was started",
        )
    })
}

/// Answers requests until `stop` resolves, then finishes those under way.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    access: Access,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = router(service, access).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).with_graceful_shutdown(stop).await
}
