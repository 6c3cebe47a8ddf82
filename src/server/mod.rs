//! The HTTP service: the same runs as on the command line, started and watched over HTTP. A handler parses, calls one
//! function of [`Service`] and renders with `views`; authentication, the same-site check and the limits are layers
//! that know nothing of each other.
//!
//! This module uses the engine, the journal and the directory of runbooks. It must not depend on any action, nor on the
//! platform.

mod active_runs;
mod api;
mod auth;
mod body;
mod checks;
mod conditional;
mod connections;
mod csrf;
mod error;
mod events;
mod limits;
mod listener;
mod monitoring;
mod openapi;
mod page;
mod recovery;
mod requested_runs;
mod responses;
mod retention;
mod route;
mod routes;
mod run_feed;
mod runs_page;
mod service;
mod session;
mod status_cache;
mod streams;
mod tls;
mod token;
mod views;
mod write_timeout;

use std::time::Duration;

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::Response,
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer, DefaultPredicate, Predicate as _, predicate::NotForContentType,
    },
    trace::{DefaultOnFailure, TraceLayer},
};
use tracing::Level;

pub use auth::{
    Access, AnonymousReads, Authentication, Authenticator, Reach, Right, UnknownClient,
};
pub use limits::Limits;
pub use listener::{EXTRA_DESCRIPTORS, HttpServer};
pub use openapi::openapi;
pub use service::Service;
pub use tls::{Tls, TlsError};
pub use token::{TokenFileError, read_token};

/// Inputs are short; a runbook's text is taken by `/validate` alone, which has its own limit.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Accepting a run asks the cluster and the account who they are; everything else is quick.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// All routes, behind all layers.
fn router(service: Service, access: Access) -> Router {
    let compress = CompressionLayer::new().compress_when(
        // A stream must not be held back until there is enough to compress.
        DefaultPredicate::new().and(NotForContentType::const_new(api::NDJSON)),
    );
    api::router(&service, &access)
        .merge(session::router(&service, &access))
        .merge(page::router(&service, &access))
        .fallback(routes::route_not_found)
        .method_not_allowed_fallback(routes::method_not_allowed)
        .layer(middleware::from_fn_with_state(access, csrf::reject_cross_site))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(request_timeout))
        .layer(compress)
        // A fault of ours in one handler must not look like a broken network to the caller.
        .layer(CatchPanicLayer::custom(error::panic_response))
        // A request that is refused is the client's to report: a flood of them must not fill the log.
        .layer(TraceLayer::new_for_http().on_failure(DefaultOnFailure::new().level(Level::DEBUG)))
        .layer(Extension(page::Caches::default()))
        .layer(middleware::from_fn_with_state(service.clone(), monitoring::count))
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
