//! Taking the lease of a cluster for a run.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

use super::{
    HeldLease, LeaseTimes, RunLock, is_stale, other_holder,
    run_lock::{self, duration, seems_renewed, set_lock},
};
use crate::platform::{
    Error, ErrorKind, Moment,
    kubernetes::{LEASE_NAME, LEASE_NAMESPACE, LeaseClient},
};

/// How often a process that meets others at the lease begins again before it gives up.
const MAX_MEETINGS: u32 = 10;

/// The run for which the lease is taken, and what is known of the lease already.
#[derive(Debug, Clone)]
pub struct LockRequest {
    /// The run, as others are told.
    pub lock: RunLock,
    /// This process: no other one has the same text.
    pub holder: String,
    /// A run whose lock counts for nothing, because its journal says that it is over.
    pub ignored: Option<String>,
    /// The times.
    pub times: LeaseTimes,
    /// Whether to wait for as long as it takes to see that another process is gone.
    pub waits: bool,
}

/// Why the lease was not taken. `Display` is the message; [`hint`](Self::hint) is the remedy.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another run holds the cluster.
    #[error("{}", lock.describe(*is_running))]
    Held {
        /// The other run.
        lock: Box<RunLock>,
        /// Whether its process seems to be alive.
        is_running: bool,
    },
    /// Another process holds the lease, and does not say for which run.
    #[error("{0} holds the lease {LEASE_NAMESPACE}/{LEASE_NAME} of the cluster")]
    HeldByOther(String),
    /// Another process may hold the lease, and does not seem to be alive.
    #[error("another process holds the lease of the cluster, and does not seem to be alive")]
    MayBeHeld {
        /// After how many seconds that will be known.
        seconds: u64,
    },
    /// The lease cannot be read or written.
    #[error(transparent)]
    Platform(#[from] Error),
}

impl LeaseError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Held { lock, is_running: true } => {
                let address =
                    lock.url.as_ref().map(|url| format!(", POST {url}/runs/{}/cancel", lock.run));
                let address = address.unwrap_or_default();
                format!(
                    "wait for it to end, or cancel it: {}{address}",
                    place_command(lock, "cancel")
                )
            }
            Self::Held { lock, .. } => format!(
                "resume, roll back or abandon it where its journal is: {}; if that is gone: `rafay-relay-sop runs \
                 abandon --lock`",
                place_command(lock, "resume|rollback|abandon"),
            ),
            Self::HeldByOther(_) => {
                "wait until it releases the lease, or until the lease expires".into()
            }
            Self::MayBeHeld { seconds } => format!("try again in {seconds} s"),
            Self::Platform(error) if error.kind() == ErrorKind::Denied => format!(
                "a run that changes something needs get, create and update of leases.coordination.k8s.io in the \
                 namespace {LEASE_NAMESPACE}"
            ),
            Self::Platform(error) => return error.hint().map(str::to_owned),
        })
    }
}

/// A command for the run, as it is typed on its host.
fn place_command(lock: &RunLock, operation: &str) -> String {
    let directory =
        lock.store.strip_prefix("directory ").map(|directory| format!(" --state-dir {directory}"));
    let directory = directory.unwrap_or_default();
    format!("`rafay-relay-sop{directory} runs {operation} {}` on host {}", lock.run, lock.host)
}

/// The way past what a lease says.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// The lease may be taken.
    Free,
    /// Another run has it.
    Locked { is_running: bool },
    /// The lease may be taken when it does not change for its duration. `seems_live` says whether that is likely.
    Observe { seems_live: bool },
}

/// The lease as this process saw it last when another process held it, and since when it has not changed.
#[derive(Debug, Default)]
pub struct Observation(Mutex<Option<Observed>>);

#[derive(Debug, Clone)]
struct Observed {
    version: Option<String>,
    since: Instant,
}

/// The result of one more look at a lease that another process holds.
enum Look {
    /// The lease did not change for its duration: its holder is gone.
    IsGone,
    /// The lease has changed since the last look.
    IsLive,
    /// The lease must be seen unchanged for this much longer.
    Wait(Duration),
}

impl Observation {
    fn look(&self, lease: &Lease, duration: Duration) -> Look {
        let mut observed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let version = lease.metadata.resource_version.clone();
        match &*observed {
            Some(seen) if seen.version == version => {
                let left = duration.saturating_sub(seen.since.elapsed());
                if left.is_zero() { Look::IsGone } else { Look::Wait(left) }
            }
            other => {
                let look = if other.is_some() { Look::IsLive } else { Look::Wait(duration) };
                *observed = Some(Observed { version, since: Instant::now() });
                look
            }
        }
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Takes the lease. Where a process that has died may still hold it, this takes as long as the lease's duration, unless
/// the request is not to wait: then the same request may be made again.
///
/// # Errors
/// Another run holds the cluster, or the lease cannot be read or written.
pub async fn acquire(
    client: LeaseClient,
    request: LockRequest,
    observation: &Observation,
) -> Result<HeldLease, LeaseError> {
    let limit = request.times.call();
    let mut meetings = 0;
    loop {
        let found = client.get(limit).await?;
        if let Some(lease) = &found {
            match way_past(lease, &request, Timestamp::now()) {
                Way::Free => {}
                Way::Locked { is_running } => return Err(held(lease, is_running)),
                Way::Observe { seems_live } => {
                    let duration = duration(lease).unwrap_or(request.times.duration);
                    match observation.look(lease, duration) {
                        Look::IsGone => {}
                        Look::IsLive => return Err(held(lease, true)),
                        // Waiting for another run to die would only delay the answer.
                        Look::Wait(_) if seems_live && !is_same_run(lease, &request) => {
                            return Err(held(lease, true));
                        }
                        Look::Wait(left) if !request.waits => {
                            let seconds = left.as_secs() + 1;
                            return Err(LeaseError::MayBeHeld { seconds });
                        }
                        Look::Wait(left) => {
                            let holder = run_lock::holder(lease);
                            let seconds = left.as_secs();
                            tracing::warn!(
                                holder,
                                seconds,
                                "waiting to see whether a process holds the cluster"
                            );
                            pause(left.min(request.times.renewal())).await;
                            continue;
                        }
                    }
                }
            }
        }
        let started = Moment::now();
        let mut lease = found.clone().unwrap_or_else(new_lease);
        run_lock::hold(&mut lease, &request.holder, request.times.duration, Timestamp::now());
        set_lock(&mut lease, Some(&request.lock));
        let written = match found {
            Some(_) => client.replace(&lease, limit).await,
            None => client.create(&lease, limit).await,
        };
        match written {
            Ok(lease) => {
                observation.forget();
                return Ok(HeldLease::new(client, request, lease, started));
            }
            // Another process was faster, or the response to our own call was lost: the lease says which.
            Err(error) if is_stale(&error) || error.is_retryable() => {
                meetings += 1;
                if meetings >= MAX_MEETINGS {
                    return Err(error.into());
                }
                tracing::debug!(%error, "reading the lease again");
                pause(request.times.retry()).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_same_run(lease: &Lease, request: &LockRequest) -> bool {
    RunLock::of(lease).is_some_and(|lock| lock.run == request.lock.run)
}

async fn pause(duration: Duration) {
    tokio::time::sleep(duration.max(Duration::from_millis(20))).await;
}

fn way_past(lease: &Lease, request: &LockRequest, now: Timestamp) -> Way {
    let lock = RunLock::of(lease).filter(|lock| request.ignored.as_ref() != Some(&lock.run));
    let other = other_holder(lease, &request.holder);
    let seems_live = other.is_some() && seems_renewed(lease, now);
    let Some(lock) = lock else {
        return match other {
            // The run is over, and its process has not come to say so.
            Some(_) if request.ignored.is_some() => Way::Free,
            Some(_) => Way::Observe { seems_live },
            None => Way::Free,
        };
    };
    if lock.run != request.lock.run && lock.has_changed {
        return Way::Locked { is_running: seems_live };
    }
    // Only one process at a time can write to that store, and now this one does: the other one is gone.
    let is_gone = lock.store_id.is_some() && lock.store_id == request.lock.store_id;
    match other {
        Some(_) if !is_gone => Way::Observe { seems_live },
        _ => Way::Free,
    }
}

fn held(lease: &Lease, is_running: bool) -> LeaseError {
    match RunLock::of(lease) {
        Some(lock) => LeaseError::Held { lock: Box::new(lock), is_running },
        None => LeaseError::HeldByOther(run_lock::holder(lease).unwrap_or_default().to_owned()),
    }
}

fn new_lease() -> Lease {
    let mut lease = Lease::default();
    lease.metadata.name = Some(LEASE_NAME.into());
    lease.metadata.namespace = Some(LEASE_NAMESPACE.into());
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn lock(run: &str) -> RunLock {
        RunLock { run: run.into(), store_id: Some(format!("store of {run}")), ..RunLock::default() }
    }

    fn request(run: &str) -> LockRequest {
        let (holder, times) = ("me".into(), LeaseTimes::default());
        LockRequest { lock: lock(run), holder, ignored: None, times, waits: true }
    }

    /// A lease whose process renewed it this many seconds ago, or released it.
    fn lease(lock: Option<&RunLock>, renewed: Option<u64>) -> Lease {
        let mut lease = new_lease();
        set_lock(&mut lease, lock);
        if let Some(seconds) = renewed {
            let times = LeaseTimes::default();
            run_lock::hold(&mut lease, "other", times.duration, NOW - Duration::from_secs(seconds));
        }
        lease
    }

    #[test]
    fn a_lease_is_taken_only_from_a_process_that_is_gone() {
        let changed = |run| RunLock { has_changed: true, ..lock(run) };
        let live = Way::Observe { seems_live: true };
        let silent = Way::Observe { seems_live: false };
        let here = RunLock { store_id: lock("mine").store_id, ..lock("theirs") };
        let elsewhere = RunLock { store_id: None, ..changed("mine") };
        for (what, lease, expected) in [
            ("a free lease", lease(None, None), Way::Free),
            (
                "one that is held for no run",
                lease(None, Some(5)),
                Way::Observe { seems_live: true },
            ),
            (
                "a run that changed something",
                lease(Some(&changed("theirs")), Some(5)),
                Way::Locked { is_running: true },
            ),
            (
                "the same, of a process that died",
                lease(Some(&changed("theirs")), Some(99)),
                Way::Locked { is_running: false },
            ),
            (
                "the same, released",
                lease(Some(&changed("theirs")), None),
                Way::Locked { is_running: false },
            ),
            ("a run that changed nothing yet", lease(Some(&lock("theirs")), Some(5)), live),
            ("the same, of a process that died", lease(Some(&lock("theirs")), Some(99)), silent),
            ("the same, which wrote to this store", lease(Some(&here), Some(5)), Way::Free),
            ("this run, from this store", lease(Some(&changed("mine")), Some(5)), Way::Free),
            ("this run, released", lease(Some(&elsewhere), None), Way::Free),
            (
                "this run, from a store of several processes",
                lease(Some(&elsewhere), Some(99)),
                Way::Observe { seems_live: false },
            ),
        ] {
            assert_eq!(way_past(&lease, &request("mine"), NOW), expected, "{what}");
        }
        let ignored = LockRequest { ignored: Some("theirs".into()), ..request("mine") };
        assert_eq!(way_past(&lease(Some(&changed("theirs")), Some(5)), &ignored, NOW), Way::Free);
    }
}
