//! The last answer of `/status`: many clients poll the state of one run, which changes less often than they ask.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    error::ApiError,
    limits::Limits,
    responses::{ChangeWindow, Status},
};
use crate::journal::RunId;

/// Everything on which the answer depends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StatusKey {
    pub(super) run: RunId,
    /// How many events of it were read.
    pub(super) events: u64,
    pub(super) is_live: bool,
    /// The relation of the service to the run.
    pub(super) phase: String,
    pub(super) change_window: Option<ChangeWindow>,
}

/// Keeps one answer.
pub(super) struct StatusCache {
    kept: Mutex<Option<(StatusKey, Bytes)>>,
    making: tokio::sync::Mutex<()>,
    /// A permit for each request about a run that must be read from the store.
    places: Semaphore,
}

impl StatusCache {
    pub(super) fn new(limits: &Limits) -> Self {
        let places = Semaphore::new(limits.requests_per_route.get());
        Self { kept: Mutex::default(), making: tokio::sync::Mutex::default(), places }
    }

    /// Returns the answer, if it is still the same.
    pub(super) fn find(&self, key: &StatusKey) -> Option<Bytes> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(other, _)| other == key).map(|(_, json)| json.clone())
    }

    /// Takes a place among the requests about runs that must be read from the store.
    ///
    /// # Errors
    /// As many as the limits allow are being answered.
    pub(super) fn enter(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        let full = |_| ApiError::overloaded("too many requests of this route are being answered");
        self.places.try_acquire().map_err(full)
    }

    /// Waits for the right to make an answer about the run that this service drives.
    pub(super) async fn wait_for_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.making.lock().await
    }

    /// Keeps an answer in the place of the one before.
    pub(super) fn keep(&self, key: StatusKey, json: Bytes) {
        // A change is one assignment: a panic leaves nothing half done.
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, json));
    }
}

/// Returns an answer as JSON.
pub(super) fn to_json(status: &Status) -> Bytes {
    // Its types have only names as keys, and write without an error.
    serde_json::to_vec(status).unwrap_or_default().into()
}
