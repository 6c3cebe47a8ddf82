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
mod run_lock;

use std::time::Duration;

use jiff::Timestamp;

pub use acquire::{LeaseError, LockRequest, Observation, acquire};
pub use held::HeldLease;
pub use run_lock::RunLock;

use crate::platform::{Error, kubernetes::LeaseClient};
use run_lock::{holder, release, seems_renewed, set_lock};

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

    /// How often the holder renews the lease.
    fn renewal(self) -> Duration {
        self.duration / 6
    }

    /// The pause after a renewal that failed.
    fn retry(self) -> Duration {
        self.duration / 30
    }

    /// The time limit of one call for the lease.
    fn call(self) -> Duration {
        self.duration / 6
    }
}

/// Returns the run that holds the cluster, if there is one, and whether its process seems to be alive.
///
/// # Errors
/// The lease cannot be read.
pub async fn current(
    client: &LeaseClient,
    times: LeaseTimes,
) -> Result<Option<(RunLock, bool)>, Error> {
    let Some(lease) = client.get(times.call()).await? else { return Ok(None) };
    let is_running = holder(&lease).is_some() && seems_renewed(&lease, Timestamp::now());
    Ok(RunLock::of(&lease).map(|lock| (lock, is_running)))
}

/// Removes the lock of a run that no process drives any more. Returns whether there was one.
///
/// # Errors
/// The lease cannot be read or written, or changed meanwhile.
pub async fn clear(client: &LeaseClient, times: LeaseTimes, run: &str) -> Result<bool, Error> {
    let Some(mut lease) = client.get(times.call()).await? else { return Ok(false) };
    if RunLock::of(&lease).is_none_or(|lock| lock.run != run) {
        return Ok(false);
    }
    set_lock(&mut lease, None);
    release(&mut lease);
    client.replace(&lease, times.call()).await?;
    Ok(true)
}

/// Whether a call failed because the lease has another version, exists already or no longer exists.
fn is_stale(error: &Error) -> bool {
    matches!(error.code(), "Conflict" | "AlreadyExists" | "NotFound")
}

/// Returns the holder of a lease, unless it is free.
fn other_holder<'l>(
    lease: &'l k8s_openapi::api::coordination::v1::Lease,
    own: &str,
) -> Option<&'l str> {
    holder(lease).filter(|holder| *holder != own)
}
