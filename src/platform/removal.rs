//! The permission to take a pod or an instance away. What must be kept is decided by the caller of the platform; the
//! writers ask before each call that removes something.
//!
//! This module knows no platform, and not what is kept.

use std::{future::Future, pin::Pin, sync::Arc};

use super::Error;

/// The permission to remove one target. The target counts as removed for as long as the permit exists: it is dropped
/// when the call has ended, and the platform says then what is left.
pub type Permit = Box<dyn Send>;

/// The answer to the question whether something may be removed now.
pub type Permission<'a> = Pin<Box<dyn Future<Output = Result<Permit, Error>> + Send + 'a>>;

/// Decides whether something may be removed now.
pub trait RemovalGuard: Send + Sync {
    /// Permits the removal of a pod.
    ///
    /// # Errors
    /// [`Error::Held`] when the pod must be kept for now, or what decides about it could not be read.
    fn permit_pod<'a>(&'a self, namespace: &'a str, uid: &'a str) -> Permission<'a>;

    /// Permits the end of an instance with the pods that run there.
    ///
    /// # Errors
    /// As for a pod.
    fn permit_instance<'a>(&'a self, id: &'a str) -> Permission<'a>;
}

/// The guard of a writer, if it has one.
#[derive(Clone, Default)]
pub(super) struct Removals(Option<Arc<dyn RemovalGuard>>);

impl Removals {
    pub(super) fn guarded_by(guard: Arc<dyn RemovalGuard>) -> Self {
        Self(Some(guard))
    }

    pub(super) async fn permit_pod(
        &self,
        namespace: &str,
        uid: &str,
    ) -> Result<Option<Permit>, Error> {
        match &self.0 {
            Some(guard) => guard.permit_pod(namespace, uid).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn permit_instance(&self, id: &str) -> Result<Option<Permit>, Error> {
        match &self.0 {
            Some(guard) => guard.permit_instance(id).await.map(Some),
            None => Ok(None),
        }
    }
}
