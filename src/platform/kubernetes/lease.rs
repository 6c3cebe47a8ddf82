//! The calls for the lease of the cluster: one object of a fixed name, so that every process meets the others there.
//! Knows how it is read and written, not what it means.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};

use crate::platform::PROGRAM;
use crate::platform::calls::LeaseChange;
use crate::platform::error::Error;

use super::{Connection, object_ref};

/// The namespace of the lease. It exists in every cluster, and no input can name another.
pub const LEASE_NAMESPACE: &str = "kube-system";
/// The name of the lease.
pub const LEASE_NAME: &str = PROGRAM;

/// Reads and writes the lease of the cluster. Each call is sent once.
#[derive(Clone)]
pub struct LeaseClient {
    connection: Arc<Connection>,
}

impl LeaseClient {
    pub(in crate::platform) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    /// Returns the API server's address.
    pub fn server(&self) -> &str {
        &self.connection.server
    }

    /// Takes note of a change of this process's hold on the cluster, for the observer of the platform.
    pub fn note(&self, change: LeaseChange) {
        self.connection.hook.on_lease(change);
    }

    /// Returns the time by the clock of the connection.
    pub fn now(&self) -> Timestamp {
        self.connection.clock.now()
    }

    /// Returns the lease, if there is one.
    ///
    /// # Errors
    /// The call failed, or took longer than `limit`.
    pub async fn get(&self, limit: Duration) -> Result<Option<Lease>, Error> {
        let api = self.api();
        self.connection.send(&call("get"), limit, api.get_opt(LEASE_NAME)).await
    }

    /// Creates the lease.
    ///
    /// # Errors
    /// As [`get`](Self::get); the code is `AlreadyExists` where there is one.
    pub async fn create(&self, lease: &Lease, limit: Duration) -> Result<Lease, Error> {
        let (api, params) = (self.api(), params());
        self.connection.send(&call("create"), limit, api.create(&params, lease)).await
    }

    /// Replaces the lease, if it still is of the version that `lease` has.
    ///
    /// # Errors
    /// As [`get`](Self::get); the code is `Conflict` where it is of another version.
    pub async fn replace(&self, lease: &Lease, limit: Duration) -> Result<Lease, Error> {
        let (api, params) = (self.api(), params());
        self.connection.send(&call("update"), limit, api.replace(LEASE_NAME, &params, lease)).await
    }

    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.connection.client.clone(), LEASE_NAMESPACE)
    }
}

fn call(verb: &str) -> String {
    format!("{verb} {}", object_ref::<Lease>(Some(LEASE_NAMESPACE), LEASE_NAME))
}

fn params() -> PostParams {
    PostParams { field_manager: Some(PROGRAM.to_owned()), ..PostParams::default() }
}
