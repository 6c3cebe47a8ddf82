//! The lease of a Kubernetes cluster: which process may change it, and which run has changed it and is unfinished.
//! Both are in one object, so that they are read and written together, by every process against that cluster, whatever
//! its store.
//!
//! - *Who may send* is the holder. The holder renews the lease; another process takes it only after it has seen that
//!   the lease did not change for its whole duration, so no two clocks are compared. The holder itself stops sending
//!   half a duration after its last renewal was sent ([`WriteFence`](crate::platform::WriteFence)).
//! - *Which run* is in annotations ([`RunLock`]), has no end, and stays when the process ends or dies: the natural next
//!   run would double again what an unfinished one has doubled. A run that has changed nothing leaves none.
//!
//! This module knows the platform's calls for the lease. It must not depend on the engine, the journal or the actions.

mod acquire;
mod held;
mod process;
mod run_lock;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

pub use acquire::{LeaseError, LockRequest, Observation, acquire, ensure_free};
pub use held::HeldLease;
pub use process::ProcessId;
pub use run_lock::RunLock;

use crate::platform::{
    Error,
    kubernetes::{LEASE_NAME, LEASE_NAMESPACE, LeaseClient},
};
use acquire::Look;
use run_lock::{holder, release, set_lock};

/// The namespace of the lease.
pub const NAMESPACE: &str = LEASE_NAMESPACE;

/// The calls for the lease: the verb, and the name that the verb can be limited to. An object that does not exist yet
/// has no name to RBAC.
pub const CALLS: [(&str, Option<&str>); 3] =
    [("get", Some(LEASE_NAME)), ("create", None), ("update", Some(LEASE_NAME))];

/// The times of a lease, all of them real: other processes have other clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// How long another process must see the lease unchanged before it may take it.
    pub duration: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self { duration: Duration::from_secs(60) }
    }
}

impl LeaseTimes {
    /// The shortest duration: a renewal takes a call, and calls take their time.
    pub const MIN: Duration = Duration::from_secs(3);
    /// The longest duration: a lease whose process died is waited for.
    pub const MAX: Duration = Duration::from_secs(600);

    /// How long after the last renewal was sent the holder still sends.
    fn fence(self) -> Duration {
        self.duration / 2
    }

    /// How often the holder renews the lease, and a process the status of its run.
    pub fn renewal(self) -> Duration {
        self.duration / 6
    }

    /// The pause after a renewal that failed, and between two observations of the lease of another process.
    pub fn retry(self) -> Duration {
        self.duration / 30
    }

    /// The time limit of one call for the lease.
    fn call(self) -> Duration {
        self.duration / 6
    }

    /// The time limit of a call that is repeated when it fails. A service that is asked to shut down has fifteen
    /// seconds.
    fn repeated_call(self) -> Duration {
        self.duration / 5
    }
}

/// The remedy where a permission on the lease is missing.
pub const PERMISSION_HINT: &str = "a run that changes something needs get, create and update of \
                                   leases.coordination.k8s.io in the namespace kube-system (docs/locks.md)";

/// A run that holds a cluster, as it was seen.
#[derive(Debug, Clone)]
pub struct SeenLock {
    /// The run.
    pub lock: RunLock,
    /// Whether its process is alive.
    pub is_running: bool,
    lease: Lease,
}

/// Returns the run that holds the cluster, if there is one. Where its process may be alive, that takes as long as the
/// lease's duration.
///
/// # Errors
/// The lease cannot be read.
pub async fn observe(client: &LeaseClient, times: LeaseTimes) -> Result<Option<SeenLock>, Error> {
    let observation = Observation::default();
    loop {
        let Some(lease) = client.get(times.call()).await? else { return Ok(None) };
        let Some(lock) = RunLock::of(&lease) else { return Ok(None) };
        let result = match holder(&lease) {
            Some(_) => observation.look(&lease, times),
            None => Look::IsGone,
        };
        if let Look::Wait(left) = result {
            tokio::time::sleep(left.min(run_lock::renewal(&lease, times))).await;
            continue;
        }
        return Ok(Some(SeenLock { lock, is_running: result == Look::IsLive, lease }));
    }
}

/// Why the lock of a run was not removed.
#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    /// The process of the run has renewed the lease meanwhile.
    #[error("the process of the run is alive: {0}")]
    IsRunning(String),
    /// The lease cannot be read or written, or changed meanwhile.
    #[error(transparent)]
    Platform(#[from] Error),
}

/// Removes the lock of a run that no process drives any more. Returns whether there was one. `store_id` is that of the
/// store in which the run was declared to be over, where only this process can write to it.
///
/// # Errors
/// A process drives the run, or the lease cannot be read or written, or changed meanwhile.
pub async fn clear(
    client: &LeaseClient,
    times: LeaseTimes,
    run: &str,
    store_id: Option<&str>,
) -> Result<bool, ClearError> {
    let Some(lease) = client.get(times.call()).await? else { return Ok(false) };
    let Some(lock) = RunLock::of(&lease).filter(|lock| lock.run == run) else { return Ok(false) };
    let is_gone = lock.store_id.is_some() && lock.store_id.as_deref() == store_id;
    if is_gone || holder(&lease).is_none() {
        return clear_seen(client, times, &SeenLock { lock, is_running: false, lease }).await;
    }
    // In a copy of its store a run may be over while its process lives.
    match observe(client, times).await? {
        Some(seen) if seen.lock.run == run => clear_seen(client, times, &seen).await,
        _ => Ok(false),
    }
}

/// Removes the lock of a run that was seen. Returns whether it was still there.
///
/// # Errors
/// A process drives the run, or the lease cannot be read or written, or changed meanwhile.
pub async fn clear_seen(
    client: &LeaseClient,
    times: LeaseTimes,
    seen: &SeenLock,
) -> Result<bool, ClearError> {
    let is_running = || Err(ClearError::IsRunning(seen.lock.describe(true)));
    if seen.is_running {
        return is_running();
    }
    let mut lease = seen.lease.clone();
    set_lock(&mut lease, None);
    release(&mut lease);
    match client.replace(&lease, times.call()).await {
        Ok(_) => Ok(true),
        Err(error) if is_stale(&error) => {
            let now = client.get(times.call()).await?.as_ref().and_then(RunLock::of);
            if now.is_some_and(|lock| lock.run == seen.lock.run) { is_running() } else { Ok(false) }
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a call failed because the lease has another version, exists already or no longer exists.
fn is_stale(error: &Error) -> bool {
    matches!(error.code(), "Conflict" | "AlreadyExists" | "NotFound")
}

/// Returns the holder of a lease, unless it is free.
fn other_holder<'l>(lease: &'l Lease, own: &str) -> Option<&'l str> {
    holder(lease).filter(|holder| *holder != own)
}
