//! The limits of the service: what it refuses before memory or descriptors end, and how long it waits for a client.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::MethodRouter,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::{Service, error::ApiError};

/// The number of clients, requests and texts that the service takes at a time, and its time-outs.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections.
    pub connections: NonZeroUsize,
    /// Open connections of one peer: an IPv4 address, or the first half of an IPv6 address.
    pub connections_per_peer: NonZeroUsize,
    /// Requests that are being answered at a time, for each route but `/health`, `/ready`, `/validate` and streams; of
    /// those to `/status`, what must be read counts. A request whose body has not arrived does not.
    pub requests_per_route: NonZeroUsize,
    /// Bodies that are being received at a time. One more takes the place of the one that takes longest.
    pub bodies: NonZeroUsize,
    /// Texts that wait for `/validate` to check them. One is checked at a time.
    pub validate_queue: usize,
    /// How long a connection may take until it has sent the header of its next request.
    pub header_timeout: Duration,
    /// How long a request may take until it has sent its body.
    pub body_timeout: Duration,
}

/// Limits how many requests of a route are being answered at a time. All methods of the route share the limit.
pub(super) fn limited(route: MethodRouter<Service>, limits: &Limits) -> MethodRouter<Service> {
    let permits = Arc::new(Semaphore::new(limits.requests_per_route.get()));
    route.route_layer(middleware::from_fn_with_state(permits, refuse_above_limit))
}

async fn refuse_above_limit(
    State(permits): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Ok(_permit) = permits.try_acquire() else {
        return Err(ApiError::overloaded("too many requests of this route are being answered"));
    };
    Ok(next.run(request).await)
}

/// The queue of `/validate`: one text is checked at a time, and so many wait. It is the only limit of that route, so
/// that what the queue is set to is what holds.
pub(super) struct ValidateQueue {
    places: Semaphore,
    turn: Arc<Semaphore>,
}

/// A place in the queue, which a request has until it ends.
pub(super) struct QueuePlace<'a> {
    _permit: SemaphorePermit<'a>,
}

/// The right to check a text now. Whatever checks the text holds it, also after the request has ended.
pub(super) type Turn = OwnedSemaphorePermit;

impl ValidateQueue {
    pub(super) fn new(limits: &Limits) -> Self {
        let places = Semaphore::new(limits.validate_queue.saturating_add(1));
        Self { places, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Waits for the right to check a text. A request that ends meanwhile leaves the queue.
    ///
    /// # Errors
    /// The queue is full.
    pub(super) async fn wait(&self) -> Result<(QueuePlace<'_>, Turn), ApiError> {
        let full = || ApiError::overloaded("too many texts wait to be checked");
        let place = QueuePlace { _permit: self.places.try_acquire().map_err(|_| full())? };
        // This semaphore is never closed.
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| full())?;
        Ok((place, turn))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Limits that no other test reaches.
    pub(in crate::server) fn limits() -> Limits {
        let number = |number| NonZeroUsize::new(number).unwrap();
        Limits {
            connections: number(100),
            connections_per_peer: number(100),
            requests_per_route: number(100),
            bodies: number(100),
            validate_queue: 1,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
        }
    }

    #[tokio::test]
    async fn one_text_is_checked_at_a_time_and_as_many_wait_as_the_queue_has_places() {
        let queue = ValidateQueue::new(&limits());
        let first = queue.wait().await.unwrap();
        let second = queue.wait();
        let third = async {
            assert!(queue.wait().await.is_err(), "the queue is full");
            drop(first);
        };
        let (second, ()) = tokio::join!(second, third);
        assert!(second.is_ok());
    }

    #[tokio::test]
    async fn a_request_that_ends_leaves_the_queue() {
        let queue = ValidateQueue::new(&limits());
        let (place, turn) = queue.wait().await.unwrap();
        for _ in 0..3 {
            tokio::select! {
                biased;
                _ = queue.wait() => panic!("another has the turn"),
                () = std::future::ready(()) => {}
            }
        }
        drop((place, turn));
        assert!(queue.wait().await.is_ok());
    }
}
