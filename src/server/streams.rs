//! The responses that do not end by themselves: so many are open at a time.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;
use crate::metrics::{Metrics, OpenStream};

/// How many streams are open at a time. Each holds a connection and a place in a run, and is otherwise cheap.
pub(super) const MAX_STREAMS: usize = 64;

/// After how long a client opens a stream again that was cut.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// How often a stream without messages says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The headers of a stream: no cache keeps it, and nginx, and what is built on it, does not hold back its messages.
pub(super) const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
];

/// Returns the response with server-sent events.
pub(super) fn server_sent(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
) -> Response {
    let mut response =
        Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    for (name, value) in HEADERS {
        // In the place of a header that says less about caches.
        response.headers_mut().insert(name, value);
    }
    response
}

/// The right to have a stream open, for as long as it is held.
pub(super) struct StreamPermit {
    _permit: OwnedSemaphorePermit,
    _counted: OpenStream,
}

/// The streams of a service.
#[derive(Clone)]
pub(super) struct Streams {
    permits: Arc<Semaphore>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }
}

impl Streams {
    /// Returns the right to open one more.
    ///
    /// # Errors
    /// So many are open.
    pub(super) fn open(&self, metrics: &Metrics) -> Result<StreamPermit, ApiError> {
        let too_many = |_| ApiError::overloaded("too many streams are open");
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(too_many)?;
        Ok(StreamPermit { _permit: permit, _counted: metrics.stream() })
    }
}
