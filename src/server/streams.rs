//! The responses that do not end by themselves: so many are open at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;
use crate::metrics::{Metrics, OpenStream};

/// How many streams are open at a time. Each holds a connection and a place in a run, and is otherwise cheap.
pub(super) const MAX_STREAMS: usize = 64;

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
