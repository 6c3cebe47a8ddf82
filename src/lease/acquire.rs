//! Taking the lease of a cluster for a run.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

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

/// How many reads of the lease in a row may fail before a process gives up.
const MAX_FAILURES: u32 = 5;

/// For how long a process that does not wait gives another one to release the lease: the end of its run can be read a
/// moment before that.
const RELEASE: Duration = Duration::from_secs(1);

/// The run for which the lease is taken, and what is known of the lease already.
#[derive(Debug, Clone)]
pub struct LockRequest {
    /// The run, as others are told.
    pub lock: RunLock,
    /// This process and this hold: no other one has the same text.
    pub holder: String,
    /// A run whose lock counts for nothing, because its journal says that it is over.
    pub ignored: Option<String>,
    /// The times.
    pub times: LeaseTimes,
    /// Whether to wait for as long as it takes to see that another process is gone.
    pub waits: bool,
    /// Whether the cluster must still have the lock of the run, which has changed something.
    pub requires_lock: bool,
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
    /// Another process holds the lease, and it is not known yet whether that process is alive.
    #[error("{holder} holds the lease of the cluster, and it is not known yet whether it is alive")]
    MayBeHeld {
        /// The other process.
        holder: String,
        /// After how many seconds it will be known.
        seconds: u64,
    },
    /// The lock of the run, which has changed something, is no longer on the cluster.
    #[error(
        "the lock of the run was removed from the cluster: other runs may have changed it since"
    )]
    LockRemoved,
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
            Self::Held { lock, .. } if lock.waits_for_approval() => format!(
                "wait for it to end; it waits for an answer: {}",
                place_command(lock, "approve")
            ),
            Self::Held { lock, .. } => {
                // A process that released the lease in order said why the run is unfinished.
                let over = match lock.reason {
                    Some(_) => "",
                    None => ", or run anything that changes the cluster there, if that run is over",
                };
                format!(
                    "resume it (or roll it back, or abandon it) where its journal is: {}{over}; if its journal is \
                     gone: `rafay-relay-sop runs abandon --lock`",
                    place_command(lock, "resume"),
                )
            }
            Self::HeldByOther(_) => {
                "wait until it releases the lease, or until the lease expires".into()
            }
            Self::MayBeHeld { seconds, .. } => format!("try again in {seconds} s"),
            Self::LockRemoved => {
                "look at what it has changed (`runs show`), then resume, roll back or abandon it"
                    .into()
            }
            Self::Platform(error) if error.kind() == ErrorKind::Denied => {
                super::PERMISSION_HINT.into()
            }
            Self::Platform(error) => return error.hint().map(str::to_owned),
        })
    }
}

/// A command for the run, as it is typed on its host.
fn place_command(lock: &RunLock, operation: &str) -> String {
    let RunLock { run, host, store, .. } = lock;
    // A cluster can be reached from elsewhere, too.
    if let Some(namespace) = store.strip_prefix("namespace ") {
        let flags = format!("--store cluster --store-namespace {namespace}");
        return format!("`rafay-relay-sop {flags} runs {operation} {run}`");
    }
    let directory = store.strip_prefix("directory ").map(|directory| {
        // Only NUL cannot be quoted, and no path has one.
        let quoted = shlex::try_quote(directory).unwrap_or(directory.into());
        format!(" --state-dir {quoted}")
    });
    let directory = directory.unwrap_or_default();
    format!("`rafay-relay-sop{directory} runs {operation} {run}` on host {host}")
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
    holder: String,
    version: Option<String>,
    since: Instant,
}

/// The result of one more look at a lease that another process holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The lease did not change for its duration: its holder is gone.
    IsGone,
    /// The lease has changed since the last look.
    IsLive,
    /// The lease must be seen unchanged for this much longer.
    Wait(Duration),
}

impl Observation {
    pub(super) fn look(&self, lease: &Lease, times: LeaseTimes) -> Look {
        let mut observed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let version = lease.metadata.resource_version.clone();
        let holder = run_lock::holder(lease).unwrap_or_default().to_owned();
        let duration = duration(lease).unwrap_or(times.duration);
        let look = match &*observed {
            Some(seen) if seen.holder == holder && seen.version == version => {
                let left = duration.saturating_sub(seen.since.elapsed());
                return if left.is_zero() { Look::IsGone } else { Look::Wait(left) };
            }
            Some(seen) if seen.holder == holder => Look::IsLive,
            _ => Look::Wait(duration),
        };
        *observed = Some(Observed { holder, version, since: Instant::now() });
        look
    }

    /// Reads the lease, and takes note of what it says.
    ///
    /// # Errors
    /// The lease cannot be read.
    pub async fn update(&self, client: &LeaseClient, times: LeaseTimes) -> Result<(), Error> {
        if let Some(lease) = client.get(times.call()).await? {
            self.look(&lease, times);
        }
        Ok(())
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
    let taken = take(&client, &request, observation).await?;
    Ok(HeldLease::new(client, request, taken))
}

/// Checks whether another run has the lease, without taking it. A process that may be dead is not waited for.
///
/// # Errors
/// Another run holds the cluster, or the lease cannot be read.
pub async fn ensure_free(client: &LeaseClient, request: &LockRequest) -> Result<(), LeaseError> {
    let Some(lease) = client.get(request.times.call()).await? else { return Ok(()) };
    match way_past(&lease, request, client.now()) {
        Way::Free | Way::Observe { .. } => Ok(()),
        Way::Locked { is_running } => Err(held(&lease, is_running)),
    }
}

/// A lease as it was taken.
pub(super) struct TakenLease {
    /// The lease as this process wrote it.
    pub(super) lease: Lease,
    /// When the call was sent that took it.
    pub(super) started: Moment,
    /// Whether no other run has held it since this run did.
    pub(super) is_continued: bool,
}

/// Takes the lease, as [`acquire`] does, and does not renew it.
pub(super) async fn take(
    client: &LeaseClient,
    request: &LockRequest,
    observation: &Observation,
) -> Result<TakenLease, LeaseError> {
    let limit = request.times.call();
    let (mut meetings, mut failures) = (0, 0);
    let mut is_continued = true;
    let begun = Instant::now();
    loop {
        let found = match client.get(limit).await {
            Ok(found) => found,
            Err(error) if error.is_retryable() && failures < MAX_FAILURES => {
                failures += 1;
                pause(request.times.retry()).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        failures = 0;
        if request.requires_lock && !found.as_ref().is_some_and(|lease| is_same_run(lease, request))
        {
            return Err(LeaseError::LockRemoved);
        }
        if let Some(lease) = &found {
            match way_past(lease, request, client.now()) {
                Way::Free => {}
                Way::Locked { is_running } => return Err(held(lease, is_running)),
                Way::Observe { seems_live } => {
                    match (observation.look(lease, request.times), request.waits) {
                        (Look::IsGone, _) => {}
                        (Look::Wait(left), true) => {
                            let (holder, seconds) = (run_lock::holder(lease), left.as_secs());
                            tracing::warn!(
                                holder,
                                seconds,
                                "waiting to see whether a process is alive"
                            );
                            pause(left.min(run_lock::renewal(lease, request.times))).await;
                            continue;
                        }
                        (Look::IsLive, true) => return Err(held(lease, true)),
                        (_, false) if is_same_run(lease, request) && begun.elapsed() < RELEASE => {
                            pause(RELEASE / 10).await;
                            continue;
                        }
                        (look, false) => return Err(refusal(lease, request, seems_live, &look)),
                    }
                }
            }
        }
        // After a write of this process, and after that of another one, the lease says less than before.
        is_continued &=
            found.as_ref().is_some_and(|lease| run_lock::is_continued(lease, &request.lock.run));
        let started = Moment::now();
        let mut lease = found.clone().unwrap_or_else(new_lease);
        run_lock::hold(&mut lease, &request.holder, request.times.duration, client.now());
        set_lock(&mut lease, Some(&request.lock));
        let written = match found {
            Some(_) => client.replace(&lease, limit).await,
            None => client.create(&lease, limit).await,
        };
        match written {
            // The lease that was created is replaced at once: a permission that is missing is found now.
            Ok(_) if found.is_none() => {}
            Ok(lease) => {
                observation.forget();
                return Ok(TakenLease { lease, started, is_continued });
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

/// Returns the answer to a request that does not wait, after one look. The look goes on with the next request.
fn refusal(lease: &Lease, request: &LockRequest, seems_live: bool, look: &Look) -> LeaseError {
    // The process of another run; while it is not known to be alive, that is a guess.
    if !is_same_run(lease, request) && (seems_live || *look == Look::IsLive) {
        return held(lease, true);
    }
    let left = match look {
        Look::Wait(left) => *left,
        Look::IsGone | Look::IsLive => request.times.duration,
    };
    let holder = run_lock::holder(lease).unwrap_or_default().to_owned();
    LeaseError::MayBeHeld { holder, seconds: left.as_secs() + 1 }
}

async fn pause(duration: Duration) {
    tokio::time::sleep(duration.max(Duration::from_millis(20))).await;
}

fn way_past(lease: &Lease, request: &LockRequest, now: Timestamp) -> Way {
    let lock = RunLock::of(lease);
    let other = other_holder(lease, &request.holder);
    let seems_live = other.is_some() && seems_renewed(lease, now);
    // Only one process at a time can write to that store, and now this one does: the other one is gone.
    let is_gone = lock
        .as_ref()
        .is_some_and(|lock| lock.store_id.is_some() && lock.store_id == request.lock.store_id);
    let counts = |lock: &RunLock| {
        lock.has_changed
            && lock.run != request.lock.run
            && request.ignored.as_ref() != Some(&lock.run)
    };
    match other {
        _ if lock.as_ref().is_some_and(counts) => Way::Locked { is_running: seems_live },
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
        LockRequest {
            lock: lock(run),
            holder,
            ignored: None,
            times,
            waits: true,
            requires_lock: false,
        }
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
        // A run that is over by the journal of a copied directory may still be driven elsewhere.
        let ignored = LockRequest { ignored: Some("theirs".into()), ..request("mine") };
        let way = |lock: RunLock| way_past(&lease(Some(&lock), Some(5)), &ignored, NOW);
        assert_eq!(way(changed("theirs")), Way::Observe { seems_live: true });
        assert_eq!(way(RunLock { has_changed: true, ..here }), Way::Free);
        assert_eq!(way_past(&lease(Some(&changed("theirs")), None), &ignored, NOW), Way::Free);
    }
}
