//! The lease of the cluster for a run: taken before the run is started or resumed, so that what the run reads is not
//! changed by another run, and released when it stops.

use std::time::Duration;

use super::{Engine, Preflight, StartError, checked::is_of_kind};
use crate::{
    journal::{RunHead, RunId, RunState, RunTarget, with_liveness},
    lease::{
        self, HeldLease, LeaseError, LeaseTimes, LockRequest, Observation, ProcessId, RunLock,
    },
};
use runbook::{ActionKind, Runbook};

/// This process and its host, as others are told.
#[derive(Debug)]
pub(super) struct Holder {
    process: ProcessId,
    times: LeaseTimes,
    /// Whether a start may take as long as the duration of a lease.
    waits: bool,
    /// The observations of another process's lease.
    observation: Observation,
}

impl Holder {
    pub(super) fn new() -> Self {
        let process = ProcessId::of_this_process();
        let (times, observation) = (LeaseTimes::default(), Observation::default());
        Self { process, times, waits: true, observation }
    }

    pub(super) fn with_times(self, times: LeaseTimes) -> Self {
        Self { times, ..self }
    }

    pub(super) fn without_waiting(self) -> Self {
        Self { waits: false, ..self }
    }
}

/// A run for which the lease is taken.
pub(super) struct LockedRun<'r> {
    pub(super) id: &'r RunId,
    pub(super) actor: &'r str,
    pub(super) has_changed: bool,
    /// Whether it may continue only if the cluster still has its lock.
    pub(super) requires_lock: bool,
}

impl Engine {
    /// Takes the lease of the cluster for a run, where the run needs it: it acts on a cluster, and one of its steps
    /// changes something.
    ///
    /// # Errors
    /// Another run holds the cluster, or the lease cannot be read or written.
    pub(super) async fn take_lease(
        &self,
        runbook: &Runbook,
        target: &RunTarget,
        run: LockedRun<'_>,
    ) -> Result<Option<HeldLease>, StartError> {
        let Some(request) = self.lock_request(runbook, target, run) else { return Ok(None) };
        let client = self.platform.cluster_lease().await?;
        let observation = &self.holder.observation;
        match lease::acquire(client.clone(), request.clone(), observation).await {
            Ok(held) => Ok(Some(held)),
            // The process that drove it could not release the lease.
            Err(LeaseError::Held { lock, .. }) if self.is_known_to_be_over(&lock.run).await => {
                tracing::info!(run = lock.run, "removing the lock of a run that is over");
                let request = LockRequest { ignored: Some(lock.run), ..request };
                Ok(Some(lease::acquire(client, request, observation).await?))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the request for the lease, if a run of the runbook needs it.
    fn lock_request(
        &self,
        runbook: &Runbook,
        target: &RunTarget,
        run: LockedRun<'_>,
    ) -> Option<LockRequest> {
        let is_needed = target.kubernetes.is_some()
            && runbook.all_steps().into_iter().any(|step| is_of_kind(step, ActionKind::Change));
        if !is_needed {
            return None;
        }
        let location = self.store.location();
        let lock = RunLock {
            run: run.id.to_string(),
            runbook: runbook.name.clone(),
            actor: run.actor.to_owned(),
            since: self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            host: self.holder.process.host.clone(),
            pid: self.holder.process.pid.to_string(),
            store: location.name,
            store_id: location.exclusive_id,
            url: location.url,
            has_changed: run.has_changed,
            reason: None,
        };
        // Another hold of this process, which is not released yet, must not be taken for this one.
        let holder = format!("{}/{:04x}", self.holder.process, fastrand::u16(..));
        let (times, waits) = (self.holder.times, self.holder.waits);
        let requires_lock = run.requires_lock;
        Some(LockRequest { lock, holder, ignored: None, times, waits, requires_lock })
    }

    /// Checks, before anything that takes long, that no other run holds the target. The start of the run checks it
    /// again.
    ///
    /// # Errors
    /// Another run holds it, or the store or the lease cannot be read.
    pub async fn ensure_target_is_free(
        &self,
        preflight: &Preflight,
        actor: &str,
    ) -> Result<(), StartError> {
        let (runbook, target) = (preflight.checked.runbook(), &preflight.target);
        self.ensure_lock_is_free(target, None).await?;
        let id = RunId::new(self.clock.now(), &runbook.name, None);
        let run = LockedRun { id: &id, actor, has_changed: false, requires_lock: false };
        let Some(request) = self.lock_request(runbook, target, run) else { return Ok(()) };
        match lease::ensure_free(&self.platform.cluster_lease().await?, &request).await {
            Err(LeaseError::Held { lock, .. }) if self.is_known_to_be_over(&lock.run).await => {
                Ok(())
            }
            free => Ok(free?),
        }
    }

    /// Whether the journal of a run is in this store, and says that the run holds no lock.
    async fn is_known_to_be_over(&self, run: &str) -> bool {
        let Ok(id) = run.parse::<RunId>() else { return false };
        let Ok(head) = self.store.head(&id).await else { return false };
        let found = with_liveness(self.store.as_ref(), head).await;
        found.is_ok_and(|(head, is_live)| !head.holds_lock(is_live))
    }

    /// Returns what holds the cluster now, if an unfinished run does; `None` where that cannot be read.
    pub async fn run_that_holds_the_cluster(&self) -> Option<String> {
        let client = self.platform.cluster_lease().await.ok()?;
        let found = client.get(self.holder.times.retry()).await.ok()??;
        let lock = RunLock::of(&found)?;
        Some(format!("run {} of runbook {}, started by {}", lock.run, lock.runbook, lock.actor))
    }

    /// Observes the lease of the cluster, so that it is known for how long a process that has died has left it
    /// unchanged when a run of that process is to be continued.
    pub async fn observe_lease(&self) {
        let observed = async {
            let client = self.platform.cluster_lease().await?;
            self.holder.observation.update(&client, self.holder.times).await
        };
        if let Err(error) = observed.await {
            tracing::debug!(%error, "cannot observe the lease of the cluster");
        }
    }

    /// Returns the pause between two such observations.
    pub fn observation_interval(&self) -> Duration {
        self.holder.times.retry()
    }

    /// Removes the lock of a run of this engine that was declared to be over. What cannot be removed is logged: the
    /// next run of the same store removes it.
    pub async fn clear_lock(&self, run: &RunId) {
        let store_id = self.store.location().exclusive_id;
        let cleared = async {
            let client = self.platform.cluster_lease().await?;
            lease::clear(&client, self.holder.times, run.as_str(), store_id.as_deref()).await
        };
        if let Err(error) = cleared.await {
            tracing::warn!(%error, run = run.as_str(), "cannot remove the lock of the run from the cluster");
        }
    }
}

/// Releases the lease of a run that has stopped like this, or that was not started.
pub(super) async fn release(lease: Option<HeldLease>, head: Option<&RunHead>) {
    if let Some(lease) = lease {
        lease.release(head.and_then(reason_to_keep)).await;
    }
}

/// Returns why a run that has stopped keeps its lock; `None` where it keeps none.
fn reason_to_keep(head: &RunHead) -> Option<String> {
    if !head.holds_lock(false) {
        return None;
    }
    let state = head.state(false);
    Some(match &head.failure {
        Some(failure) if state != RunState::Cancelled => format!("{state}: {failure}"),
        _ => state.to_string(),
    })
}
