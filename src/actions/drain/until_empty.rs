//! The drain of an undo: evicts the pods of nodes as disruption budgets allow, and waits for the replacements.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, StatefulSet},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    actions::{
        Error, PlatformWriter, Progress, Result,
        budgets::{self, BlockedEviction},
        concurrency::try_join_bounded,
        pod_causes::{CauseView, PodCauses},
        types,
        workload::{self, describe_unready, expired_problem, pod_name},
    },
    platform::{
        kubernetes::{self, ObjectView, ObjectWatch, Selection, pod},
        wait::{self, GraceTimer, WaitSource, WaitState},
    },
};
use clock::{Backoff, Clock, Pace};
use text::{join_truncated, plural};

/// `kubectl drain` asks a disruption budget again after five seconds.
const EVICTION_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The pauses between evictions of pods that have just become evictable. A controller that puts a new pod on a drained
/// node as soon as the old one has gone is not followed at its speed.
const EVICTION_PACE: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(1));

/// Evicts every pod of the nodes that is not bound to its node (daemon sets' and mirror pods are), and waits until
/// they are gone and whatever controls them has as many Ready pods elsewhere as it had before. `previously_pending`
/// says how many pods of each workload had no node before the new nodes joined: no replacement is expected for them.
///
/// A workload may have all its pods here, and no disruption budget. So only a quarter of its Ready pods are missing at
/// a time, which is what a rollout may take away unless it is told otherwise (`maxUnavailable` of a Deployment), and
/// always one may be.
///
/// # Errors
/// A pod would be lost because nothing replaces it; or there is no progress for two minutes, because of a disruption
/// budget or of a replacement that does not become Ready.
pub(in crate::actions) async fn drain(
    nodes: &[String],
    previously_pending: &BTreeMap<String, usize>,
    writer: &PlatformWriter,
    progress: &Progress,
) -> Result<()> {
    let kubernetes = writer.kubernetes().await?;
    let mut watch = DrainWatch::new(kubernetes.reader(), *writer.reader().clock(), progress);
    let views = watch.views(nodes);
    watch.read(progress).await?;
    reject_uncontrolled_pods(&views.remaining())?;
    let expected_ready = views.expected_ready(previously_pending);
    let clock = writer.reader().clock();
    let (retry_interval, give_up_after) = (
        clock.delay(EVICTION_RETRY_INTERVAL),
        clock.deadline(types::default_give_up_after().std()),
    );
    let (mut budget_grace, mut replacement_grace) =
        (GraceTimer::new(give_up_after), GraceTimer::new(give_up_after));
    let mut termination_grace = GraceTimer::new(give_up_after);
    let mut evicted = BTreeSet::new();
    let mut pace = Pace::new(clock, EVICTION_PACE);
    loop {
        pace.next_turn().await;
        let blocked =
            evict(&views.evictable(&expected_ready, &evicted), &mut evicted, &kubernetes).await?;
        let permanent = budgets::find_permanent_refusal(blocked.values(), kubernetes.reader());
        let permanent = permanent.await?;
        let requested_at = Instant::now();
        let drained = watch.wait(progress, || {
            // Many pods under one budget go one after the other. As long as one is going, or the replacement of one
            // that went is starting, the budget may yet allow the next.
            let is_stuck = !blocked.is_empty() && !views.is_progressing(&expected_ready);
            let refusal = || match &permanent {
                Some(failure) => failure.message.clone(),
                None => budgets::describe(blocked.values()),
            };
            let stuck = is_stuck.then(|| (evicted.len().to_string(), refusal()));
            if let Some(why) = budget_grace.expired(Instant::now(), stuck) {
                let hint = permanent.as_ref().and_then(|failure| failure.hint.clone());
                return WaitState::Failed(wait::Failure { message: why, hint });
            }
            let remaining = views.remaining();
            if remaining.is_empty() {
                return WaitState::Ready(true);
            }
            let stuck = views.causes.expired_termination(&mut termination_grace, &remaining);
            if let Some(failure) = stuck {
                return WaitState::Failed(failure);
            }
            let evictable = views.evictable(&expected_ready, &evicted);
            let is_new = |pod: &Arc<Pod>| !blocked.contains_key(uid(&pod.metadata));
            if evictable.iter().any(is_new)
                || !evictable.is_empty() && requested_at.elapsed() >= retry_interval
            {
                return WaitState::Ready(false);
            }
            let refusal = (!blocked.is_empty()).then(refusal);
            let text = describe(&remaining, &views.causes, refusal.as_deref());
            match views.evaluate_replacements(&expected_ready, &mut replacement_grace) {
                WaitState::Failed(why) => WaitState::Failed(why),
                WaitState::Pending(first) => WaitState::Pending(format!("{text}; first {first}")),
                WaitState::Ready(()) => WaitState::Pending(text),
            }
        });
        if drained.await? {
            break;
        }
    }
    watch
        .wait(progress, || views.evaluate_replacements(&expected_ready, &mut replacement_grace))
        .await
}

/// The watches of all pods and their controllers, in all namespaces.
struct DrainWatch {
    pods: ObjectWatch<Pod>,
    replica_sets: ObjectWatch<ReplicaSet>,
    stateful_sets: ObjectWatch<StatefulSet>,
    causes: PodCauses,
}

/// The state of a [`DrainWatch`], for some nodes.
struct DrainViews {
    nodes: BTreeSet<String>,
    pods: ObjectView<Pod>,
    replica_sets: ObjectView<ReplicaSet>,
    stateful_sets: ObjectView<StatefulSet>,
    causes: CauseView,
}

impl DrainWatch {
    fn new(kubernetes: &kubernetes::KubernetesReader, clock: Clock, progress: &Progress) -> Self {
        let running = "status.phase!=Succeeded,status.phase!=Failed";
        Self {
            pods: kubernetes.watch(&Selection::all().with_fields(running)),
            replica_sets: kubernetes.watch(&Selection::all()),
            stateful_sets: kubernetes.watch(&Selection::all()),
            causes: PodCauses::new(kubernetes, clock, progress),
        }
    }

    fn views(&self, nodes: &[String]) -> DrainViews {
        DrainViews {
            nodes: nodes.iter().cloned().collect(),
            pods: self.pods.view(),
            replica_sets: self.replica_sets.view(),
            stateful_sets: self.stateful_sets.view(),
            causes: self.causes.view(),
        }
    }

    async fn read(&mut self, progress: &Progress) -> Result<()> {
        Ok(wait::until(progress, &mut self.sources(), || WaitState::Ready(())).await?)
    }

    async fn wait<T>(
        &mut self,
        progress: &Progress,
        evaluate: impl FnMut() -> WaitState<T>,
    ) -> Result<T> {
        Ok(wait::until_with_read_sources(progress, &mut self.sources(), evaluate).await?)
    }

    fn sources(&mut self) -> [&mut dyn WaitSource; 4] {
        [&mut self.pods, &mut self.replica_sets, &mut self.stateful_sets, self.causes.source()]
    }
}

impl DrainViews {
    /// Returns the pods that are still to be evicted or to end.
    fn remaining(&self) -> Vec<Arc<Pod>> {
        let mut pods = self.pods.objects();
        pods.retain(|pod| {
            let is_bound = pod::is_daemon(pod) || pod::is_mirror(pod) || pod::is_finished(pod);
            !is_bound && pod::node(pod).is_some_and(|node| self.nodes.contains(node))
        });
        pods
    }

    /// Returns the remaining pods that are neither evicted nor terminating.
    fn to_evict(&self, evicted: &BTreeSet<String>) -> Vec<Arc<Pod>> {
        let mut pods = self.remaining();
        pods.retain(|pod| !pod::is_terminating(pod) && !evicted.contains(uid(&pod.metadata)));
        pods
    }

    /// Returns the pods that can be evicted now.
    fn evictable(
        &self,
        expected_ready: &BTreeMap<String, usize>,
        evicted: &BTreeSet<String>,
    ) -> Vec<Arc<Pod>> {
        let mut pods = self.to_evict(evicted);
        let mut allowed_disruptions: BTreeMap<String, usize> = BTreeMap::new();
        pods.retain(|pod| {
            // A pod that is not Ready serves no requests.
            let Some(owner) = controller_uid(pod).filter(|_| pod::is_ready(pod)) else {
                return true;
            };
            let allowed_disruptions =
                allowed_disruptions.entry(owner.to_owned()).or_insert_with(|| {
                    self.allowed_disruptions(
                        owner,
                        expected_ready.get(owner).copied().unwrap_or(0),
                        evicted,
                    )
                });
            let can_go = *allowed_disruptions > 0;
            *allowed_disruptions = allowed_disruptions.saturating_sub(1);
            can_go
        });
        pods
    }

    /// Returns how many Ready pods of a controller may be missing.
    fn allowed_disruptions(
        &self,
        owner_uid: &str,
        expected_ready: usize,
        evicted: &BTreeSet<String>,
    ) -> usize {
        let due = expected_ready.min(self.desired_replicas(owner_uid));
        let least = due.saturating_sub((due / 4).max(1));
        let ready = self.ready_pods_of(owner_uid);
        let not_evicted = ready.iter().filter(|pod| !evicted.contains(uid(&pod.metadata))).count();
        not_evicted.saturating_sub(least)
    }

    /// Returns whether the number of allowed disruptions may change soon: a pod is terminating, or a replacement is
    /// starting.
    fn is_progressing(&self, expected_ready: &BTreeMap<String, usize>) -> bool {
        let any_terminating = self.remaining().iter().any(|pod| pod::is_terminating(pod));
        let is_elsewhere =
            |pod: &Pod| !pod::node(pod).is_some_and(|node| self.nodes.contains(node));
        let is_starting = |owner: &String| {
            self.active_pods_of(owner).iter().any(|pod| is_elsewhere(pod) && !pod::is_ready(pod))
        };
        any_terminating || expected_ready.keys().any(is_starting)
    }

    /// Returns how many Ready pods each controller with a pod on the nodes had, without the previously pending ones.
    fn expected_ready(
        &self,
        previously_pending: &BTreeMap<String, usize>,
    ) -> BTreeMap<String, usize> {
        let mut remaining: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in self.remaining() {
            if let Some(owner) = controller_uid(&pod) {
                remaining.entry(owner.to_owned()).or_default().push(pod);
            }
        }
        let expected_ready = |(owner, pods): (String, Vec<Arc<Pod>>)| {
            let workload = pods.first().and_then(|pod| pod::workload(pod));
            let had_none =
                workload.and_then(|name| previously_pending.get(&name)).copied().unwrap_or(0);
            let expected_ready =
                self.ready_pods_of(&owner).len().saturating_sub(had_none.min(pods.len()));
            (owner, expected_ready)
        };
        remaining.into_iter().map(expected_ready).collect()
    }

    fn active_pods_of(&self, owner_uid: &str) -> Vec<Arc<Pod>> {
        let mut pods = self.pods.objects();
        pods.retain(|pod| controller_uid(pod) == Some(owner_uid) && pod::is_active(pod));
        pods
    }

    fn ready_pods_of(&self, owner_uid: &str) -> Vec<Arc<Pod>> {
        let mut pods = self.active_pods_of(owner_uid);
        pods.retain(|pod| pod::is_ready(pod));
        pods
    }

    /// Returns the desired number of pods of a controller; zero if the controller is gone.
    fn desired_replicas(&self, owner_uid: &str) -> usize {
        let sets = self.replica_sets.objects();
        let of_set = sets.iter().map(|set| (uid(&set.metadata), set.spec.replicas));
        let stateful = self.stateful_sets.objects();
        let of_stateful = stateful.iter().map(|set| (uid(&set.metadata), set.spec.replicas));
        let mut all = of_set.chain(of_stateful);
        let replicas = all.find(|(uid, _)| *uid == owner_uid).map(|(_, count)| count.unwrap_or(1));
        replicas.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
    }

    /// Returns why a replica set does not get its pods.
    fn refused_pods_of(&self, owner_uid: &str) -> Option<String> {
        let sets = self.replica_sets.objects();
        let set = sets.iter().find(|set| uid(&set.metadata) == owner_uid)?;
        workload::refused_pods_of(set)
    }

    fn evaluate_replacements(
        &self,
        expected_ready: &BTreeMap<String, usize>,
        grace: &mut GraceTimer,
    ) -> WaitState<()> {
        let mut missing = 0;
        let mut waiting = Vec::new();
        let mut refused = None;
        for (owner, before) in expected_ready {
            let due = (*before)
                .min(self.desired_replicas(owner))
                .saturating_sub(self.ready_pods_of(owner).len());
            missing += due;
            if due > 0 {
                waiting.extend(self.active_pods_of(owner));
                refused = refused.or_else(|| self.refused_pods_of(owner));
            }
        }
        let remaining = self.remaining();
        self.causes.observe(waiting.iter().chain(&remaining));
        if missing == 0 {
            return WaitState::Ready(());
        }
        if let Some(why) = expired_problem(grace, &waiting, &self.causes, refused.clone()) {
            return WaitState::failed(format!("a replacement did not become Ready: {why}"));
        }
        let unready =
            describe_unready(&waiting, &self.causes, refused).map(|pods| format!(": {pods}"));
        let unready = unready.unwrap_or_default();
        WaitState::Pending(format!(
            "{} of evicted pods to be Ready{unready}",
            plural(missing, "replacement")
        ))
    }
}

fn reject_uncontrolled_pods(pods: &[Arc<Pod>]) -> Result<()> {
    let is_uncontrolled = |pod: &&Arc<Pod>| controller_uid(pod).is_none() && pod::is_active(pod);
    let uncontrolled: Vec<&str> =
        pods.iter().filter(is_uncontrolled).map(|pod| pod_name(pod)).collect();
    if uncontrolled.is_empty() {
        return Ok(());
    }
    Err(Error::unrecoverable(format!(
        "{} without a controller would be lost: {}",
        plural(uncontrolled.len(), "pod"),
        join_truncated(uncontrolled)
    ))
    .with_hint("move or delete every pod without a controller, then roll back again"))
}

/// Requests the eviction of these pods. Returns those that cannot be evicted yet, by UID.
async fn evict(
    pods: &[Arc<Pod>],
    evicted: &mut BTreeSet<String>,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<BTreeMap<String, BlockedEviction>> {
    let calls: Vec<_> = pods
        .iter()
        .map(|pod| async move {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let (name, uid) = (pod_name(pod), uid(&pod.metadata));
            match kubernetes.evict_pod(namespace, name, uid, None).await {
                Ok(_) => Ok((uid.to_owned(), None)),
                Err(error) => match BlockedEviction::of(namespace, name, uid, &error) {
                    Some(blocked) => Ok((uid.to_owned(), Some(blocked))),
                    None => Err(error.into()),
                },
            }
        })
        .collect();
    let mut blocked = BTreeMap::new();
    for (uid, refusal) in try_join_bounded(calls).await? {
        match refusal {
            Some(refusal) => drop(blocked.insert(uid, refusal)),
            None => drop(evicted.insert(uid)),
        }
    }
    Ok(blocked)
}

/// Says which pods are to leave, after the cause for which they do not.
fn describe(remaining: &[Arc<Pod>], causes: &CauseView, refusal: Option<&str>) -> String {
    let names = remaining.iter().map(|pod| match causes.describe(pod) {
        Some(cause) if pod::is_terminating(pod) => format!("{} ({cause})", pod_name(pod)),
        _ => pod_name(pod).to_owned(),
    });
    let text = format!(
        "{} to leave the new nodes: {}",
        plural(remaining.len(), "pod"),
        join_truncated(names)
    );
    match refusal {
        Some(refusal) => format!("{refusal}; {text}"),
        None => text,
    }
}

fn controller_uid(pod: &Pod) -> Option<&str> {
    pod::controller(&pod.metadata).map(|owner| owner.uid.as_str())
}

fn uid(metadata: &ObjectMeta) -> &str {
    metadata.uid.as_deref().unwrap_or_default()
}
