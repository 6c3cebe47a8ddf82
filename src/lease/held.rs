//! A lease that this process holds: renewed until it is released or lost.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use k8s_openapi::api::coordination::v1::Lease;
use tokio::{sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    LeaseError, LeaseTimes, LockRequest, Observation, RunLock,
    acquire::{TakenLease, take},
    is_stale,
    run_lock::{self, WAITS_FOR_APPROVAL, set_lock},
};
use crate::platform::{Error, LeaseChange, Moment, WriteFence, kubernetes::LeaseClient};

/// How often a write begins again when the lease has changed, but not its holder.
const MAX_ATTEMPTS: u32 = 5;

/// The lease of a cluster, held for one run. Dropped without [`release`](Self::release), it is no longer renewed, and
/// the lock of the run stays.
pub struct HeldLease {
    shared: Arc<Shared>,
    is_continued: bool,
    renewal: JoinHandle<()>,
}

struct Shared {
    client: LeaseClient,
    holder: String,
    times: LeaseTimes,
    fence: WriteFence,
    lost: CancellationToken,
    loss: OnceLock<String>,
    /// Whether the observer of the platform was told that the lease is held.
    is_noted: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// The lease as this process wrote it last.
    lease: Lease,
    lock: RunLock,
    /// Whether the lease is given back until the run goes on.
    is_given_back: bool,
}

/// The content of a write of the lease.
enum Write<'l> {
    /// This process holds it for the run.
    Hold(&'l RunLock),
    /// No process holds it; the lock of a run that is not over stays.
    Release(Option<&'l RunLock>),
}

impl HeldLease {
    /// Returns the lease that was taken, and begins to renew it.
    pub(super) fn new(client: LeaseClient, request: LockRequest, taken: TakenLease) -> Self {
        let TakenLease { lease, started, is_continued } = taken;
        let LockRequest { lock, holder, times, .. } = request;
        let fence = WriteFence::closed();
        fence.extend(started, times.fence());
        let lost = CancellationToken::new();
        let state = Mutex::new(State { lease, lock, is_given_back: false });
        let (cause, is_noted) = (OnceLock::new(), AtomicBool::new(false));
        let shared = Shared { client, holder, times, fence, lost, loss: cause, is_noted, state };
        let shared = Arc::new(shared);
        shared.note(LeaseChange::Taken);
        let renewal = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move { shared.keep().await }
        });
        Self { shared, is_continued, renewal }
    }

    /// Returns whether no other run has held the lease since this run held it before.
    pub fn is_continued(&self) -> bool {
        self.is_continued
    }

    /// Returns the fence that is open for as long as the lease is held.
    pub fn fence(&self) -> &WriteFence {
        &self.shared.fence
    }

    /// Returns the token that is cancelled when another process has taken the lease.
    pub fn lost(&self) -> &CancellationToken {
        &self.shared.lost
    }

    /// Returns why the lease is lost, once it is.
    pub fn loss(&self) -> Option<&str> {
        self.shared.loss.get().map(String::as_str)
    }

    /// Notes that the run is about to change something: from now on its lock stays until the run is over. A call that
    /// fails is repeated while there is time.
    ///
    /// # Errors
    /// The lease cannot be written, or is lost. The change must not be made.
    pub async fn note_change(&self) -> Result<(), Error> {
        let noting = async {
            let mut state = self.shared.state.lock().await;
            if state.lock.has_changed {
                return Ok(());
            }
            let lock = RunLock { has_changed: true, ..state.lock.clone() };
            self.shared.write_until_done(&mut state, &Write::Hold(&lock)).await?;
            state.lock = lock;
            Ok(())
        };
        let noted = tokio::time::timeout(self.shared.times.repeated_call(), noting).await;
        noted.unwrap_or_else(|_| Err(self.shared.fenced()))
    }

    /// Gives the lease back until [`take_back`](Self::take_back): nothing is sent meanwhile. The lock of a run that has
    /// changed something stays. Where that cannot be written, the lease is held on.
    pub async fn give_back(&self) {
        let mut state = self.shared.state.lock().await;
        if state.is_given_back || self.shared.lost.is_cancelled() {
            return;
        }
        let reason = Some(WAITS_FOR_APPROVAL.to_owned());
        let lock = RunLock { reason, ..state.lock.clone() };
        let write = Write::Release(Some(&lock).filter(|lock| lock.has_changed));
        self.shared.fence.suspend();
        match self.shared.write(&mut state, &write).await {
            Ok(()) => {
                state.is_given_back = true;
                self.shared.note(LeaseChange::GivenBack);
            }
            Err(error) => {
                tracing::warn!(%error, "the lease of the cluster is not given back");
            }
        }
    }

    /// Takes the lease again, if it was given back. Returns whether no other run has held it since.
    ///
    /// # Errors
    /// Another run holds the cluster, or the lease cannot be read or written. The lock of a run that has changed
    /// something may have been removed.
    pub async fn take_back(&self) -> Result<bool, LeaseError> {
        let shared = &self.shared;
        let mut state = shared.state.lock().await;
        if !state.is_given_back {
            return Ok(true);
        }
        let request = LockRequest {
            lock: state.lock.clone(),
            holder: shared.holder.clone(),
            ignored: None,
            times: shared.times,
            waits: true,
            requires_lock: state.lock.has_changed,
        };
        let taken = take(&shared.client, &request, &Observation::default()).await?;
        state.lease = taken.lease;
        state.is_given_back = false;
        shared.note(LeaseChange::Taken);
        shared.fence.extend(taken.started, shared.times.fence());
        Ok(taken.is_continued)
    }

    /// Gives the lease up, because it cannot be taken again: nothing more is sent.
    pub fn lose(&self, loss: String) {
        self.shared.lose(loss);
    }

    /// Gives the lease back. The lock of the run stays where a reason says why the run is not over. A call that fails
    /// is repeated while there is time.
    pub async fn release(self, reason: Option<String>) {
        self.renewal.abort();
        self.shared.fence.close();
        if self.shared.lost.is_cancelled() {
            return;
        }
        let write = async {
            let mut state = self.shared.state.lock().await;
            let lock = reason.map(|reason| RunLock { reason: Some(reason), ..state.lock.clone() });
            self.shared.write_until_done(&mut state, &Write::Release(lock.as_ref())).await
        };
        let problem = match tokio::time::timeout(self.shared.times.repeated_call(), write).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API server did not answer in time".into(),
        };
        tracing::warn!(
            problem,
            "the lease of the cluster is not released: the next run from this store removes it, and `runs abandon --lock`"
        );
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.renewal.abort();
        self.shared.fence.close();
        self.shared.note(LeaseChange::GivenBack);
    }
}

impl Shared {
    /// Renews the lease until it is lost.
    async fn keep(&self) {
        let mut pause = self.times.renewal();
        loop {
            tokio::time::sleep(pause).await;
            let mut state = self.state.lock().await;
            if state.is_given_back {
                continue;
            }
            let lock = state.lock.clone();
            pause = match self.write(&mut state, &Write::Hold(&lock)).await {
                Ok(()) => self.times.renewal(),
                Err(_) if self.lost.is_cancelled() => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot renew the lease of the cluster");
                    self.times.retry()
                }
            };
        }
    }

    /// Writes the lease, and repeats a call that fails for a reason that may pass.
    async fn write_until_done(&self, state: &mut State, write: &Write<'_>) -> Result<(), Error> {
        loop {
            match self.write(state, write).await {
                Err(error) if error.is_retryable() && !self.lost.is_cancelled() => {
                    tracing::debug!(%error, "writing the lease again");
                    tokio::time::sleep(self.times.retry()).await;
                }
                result => return result,
            }
        }
    }

    /// Writes the lease: renewed, or released. The fence is extended from the moment at which the call is sent.
    async fn write(&self, state: &mut State, write: &Write<'_>) -> Result<(), Error> {
        let limit = self.times.call();
        let mut attempts = 0;
        loop {
            if self.lost.is_cancelled() {
                return Err(self.fenced());
            }
            let started = Moment::now();
            let mut next = state.lease.clone();
            match *write {
                Write::Hold(lock) => {
                    set_lock(&mut next, Some(lock));
                    let now = self.client.now();
                    run_lock::hold(&mut next, &self.holder, self.times.duration, now);
                }
                Write::Release(lock) => {
                    set_lock(&mut next, lock);
                    run_lock::release(&mut next);
                    if lock.is_none() {
                        run_lock::set_last_run(&mut next, &state.lock.run);
                    }
                }
            }
            let is_new = next.metadata.resource_version.is_none();
            let written = match is_new {
                true => self.client.create(&next, limit).await,
                false => self.client.replace(&next, limit).await,
            };
            let error = match written {
                Ok(lease) => {
                    state.lease = lease;
                    if matches!(write, Write::Hold(_)) {
                        self.fence.extend(started, self.times.fence());
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            attempts += 1;
            if !is_stale(&error) || attempts >= MAX_ATTEMPTS {
                return Err(error);
            }
            if self.read_again(state, write).await? {
                return Ok(());
            }
        }
    }

    /// Reads a lease that has another version than the one that was written last. Returns whether there is nothing left
    /// to write.
    async fn read_again(&self, state: &mut State, write: &Write<'_>) -> Result<bool, Error> {
        match self.client.get(self.times.call()).await? {
            // The response to our own call was lost, or something else about the object has changed.
            Some(lease) if run_lock::holder(&lease) == Some(&self.holder) => state.lease = lease,
            // No other process can have taken what does not exist. If one creates it now, this one cannot.
            None => state.lease.metadata.resource_version = None,
            // Released already, or taken since the run is over.
            Some(_) if matches!(write, Write::Release(_)) => return Ok(true),
            Some(lease) => {
                let loss = match (run_lock::holder(&lease), RunLock::of(&lease)) {
                    (Some(holder), Some(lock)) => format!(
                        "{holder} took the lease of the cluster for run {} of {}",
                        lock.run, lock.actor
                    ),
                    (Some(holder), None) => format!("{holder} took the lease of the cluster"),
                    (None, _) => {
                        "another process took the lease of the cluster, or removed its lock".into()
                    }
                };
                self.lose(loss);
                return Err(self.fenced());
            }
        }
        Ok(false)
    }

    fn lose(&self, loss: String) {
        tracing::error!(loss, "the lease of the cluster is lost: nothing more is changed");
        // The first reason is the one that counts.
        let _ = self.loss.set(loss);
        self.fence.close();
        self.lost.cancel();
        self.note(LeaseChange::Lost);
    }

    /// Tells the observer of the platform, where it does not know that yet.
    fn note(&self, change: LeaseChange) {
        let is_held = change == LeaseChange::Taken;
        if self.is_noted.swap(is_held, Ordering::Relaxed) != is_held {
            self.client.note(change);
        }
    }

    fn fenced(&self) -> Error {
        let server = self.client.server().into();
        Error::Fenced { call: "keep the lease of the cluster".into(), server }
    }
}
