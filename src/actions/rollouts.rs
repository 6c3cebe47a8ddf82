//! Rollouts of the workloads that have a pod template: deployments, stateful sets and daemon sets. The actions that
//! change a template wait for its rollout here, and refuse a workload whose controller would not roll it out.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use serde::{Deserialize, Serialize};

use super::{
    Condition, Error, Impact, KubernetesScope, Permission, PlatformReader, Progress, Result,
    pod_causes::{CauseView, PodCauses},
    rollout_guard::{self, RolloutInProgress, RolloutTimers},
    workload::{self, describe_unready, expired_problem},
};
use crate::platform::kubernetes::pod::Pod;
use crate::platform::{
    kubernetes::{KubernetesReader, Object, ObjectView, ObjectWatch, Selection, pod, rollout},
    wait::{self, Failure, GraceTimer, WaitSource, WaitState},
};
use clock::Clock;
use runbook::Workload;

/// The remedy for a rollout that does not end.
const HINT: &str = "`kubectl rollout status` shows the rollout; `kubectl rollout undo` returns to the revision before";

/// The permissions for a change of the template of any of them, and for the wait for its rollout.
pub(super) const PERMISSIONS: &[Permission] = &[
    Permission::apps(
        "deployments",
        &["get", "list", "watch", "patch"],
        KubernetesScope::Object { namespace: "namespace", name: "deployment" },
    )
    .only(Condition::IfGiven("deployment")),
    Permission::apps("replicasets", &["list", "watch"], KubernetesScope::Namespace("namespace"))
        .only(Condition::IfGiven("deployment")),
    Permission::apps(
        "statefulsets",
        &["get", "list", "watch", "patch"],
        KubernetesScope::Object { namespace: "namespace", name: "stateful_set" },
    )
    .only(Condition::IfGiven("stateful_set")),
    Permission::apps(
        "daemonsets",
        &["get", "list", "watch", "patch"],
        KubernetesScope::Object { namespace: "namespace", name: "daemon_set" },
    )
    .only(Condition::IfGiven("daemon_set")),
    Permission::core("pods", &["list", "watch"], KubernetesScope::Namespace("namespace")),
    // For the causes that keep a new pod from starting; without them the wait goes on.
    Permission::core("nodes", &["list"], KubernetesScope::Cluster).optional(),
    Permission::core("events", &["list"], KubernetesScope::Namespace("namespace")).optional(),
];

/// The reference to a workload in an intent: exactly one of the names is given. A program that knows deployments only
/// misses their name in the intent for another kind, and refuses it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WorkloadRef {
    pub(super) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deployment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stateful_set: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    daemon_set: Option<String>,
}

/// The kind of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkloadKind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

impl WorkloadRef {
    /// Returns the reference that parameters make, of which the registry lets only one be given.
    pub(super) fn new(
        namespace: String,
        deployment: Option<String>,
        stateful_set: Option<String>,
        daemon_set: Option<String>,
    ) -> Self {
        Self { namespace, deployment, stateful_set, daemon_set }
    }

    pub(super) fn kind(&self) -> WorkloadKind {
        match self {
            Self { stateful_set: Some(_), .. } => WorkloadKind::StatefulSet,
            Self { daemon_set: Some(_), .. } => WorkloadKind::DaemonSet,
            _ => WorkloadKind::Deployment,
        }
    }

    /// Returns the impact of a rollout of the workload.
    pub(super) fn rollout_impact(&self) -> Impact {
        let kind = match self.kind() {
            WorkloadKind::Deployment => runbook::WorkloadKind::Deployment,
            WorkloadKind::StatefulSet => runbook::WorkloadKind::StatefulSet,
            // None of its pods is among those that a limit keeps.
            WorkloadKind::DaemonSet => return Impact { takes_others: true, ..Impact::default() },
        };
        let (namespace, name) = (self.namespace.clone(), self.name().to_owned());
        Impact { rolled: vec![Workload { kind, namespace, name }], ..Impact::default() }
    }

    pub(super) fn name(&self) -> &str {
        let names = [&self.deployment, &self.stateful_set, &self.daemon_set];
        names.into_iter().flatten().next().map(String::as_str).unwrap_or_default()
    }

    /// Returns the kind as kubectl names it.
    pub(super) fn kind_name(&self) -> &'static str {
        match self.kind() {
            WorkloadKind::Deployment => Deployment::NOUN,
            WorkloadKind::StatefulSet => StatefulSet::NOUN,
            WorkloadKind::DaemonSet => DaemonSet::NOUN,
        }
    }

    /// Returns the workload as messages name it.
    pub(super) fn target(&self) -> String {
        format!("{} {}/{}", self.kind_name(), self.namespace, self.name())
    }
}

/// A kind of workload whose controller rolls out its template.
pub(super) trait Rollable: Object {
    /// The kind as kubectl names it.
    const NOUN: &'static str;
    /// Whether its pods are controlled by replica sets, and not by itself.
    const HAS_REPLICA_SETS: bool;

    /// Returns the pod template.
    fn template(&self) -> &PodTemplateSpec;
    /// Returns the selector of the pods.
    fn selector(&self) -> &LabelSelector;
    /// Returns the desired number of pods.
    fn replicas(&self) -> u32;
    /// Returns whether the current template is rolled out.
    fn status(&self) -> WaitState<()>;
    /// Returns why a change of the template would not be rolled out.
    fn refusal(&self) -> Option<Failure>;
    /// Returns what is missing to the end of a rollout in progress; none when no rollout is. Asked of kinds without
    /// replica sets.
    fn in_progress(&self) -> Option<String>;
    /// Returns whether a pod of it may be of the current template. Asked of kinds without replica sets.
    fn may_be_new(&self, pod: &Pod) -> bool;
    /// Returns why it has fewer pods than it is to have, if the API server refuses them; none where its status does not
    /// say so.
    fn refused_pods(&self, _: &[Arc<ReplicaSet>]) -> Option<String> {
        None
    }
    /// Returns the workload when no rollout of it is in progress; `self` has just been read.
    fn settle(
        self,
        target: &WorkloadRef,
        wait: RolloutWait,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> impl Future<Output = Result<Arc<Self>>> + Send {
        async move { Ok(settled(self, target, wait, reader, progress).await?.0) }
    }
}

/// How a rollout in progress is met.
#[derive(Debug, Clone, Copy)]
pub(super) struct RolloutWait {
    pub(super) policy: RolloutInProgress,
    pub(super) give_up_after: runbook::Duration,
}

impl Rollable for Deployment {
    const NOUN: &'static str = "deployment";
    const HAS_REPLICA_SETS: bool = true;

    fn template(&self) -> &PodTemplateSpec {
        &self.spec.template
    }

    fn selector(&self) -> &LabelSelector {
        &self.spec.selector
    }

    fn replicas(&self) -> u32 {
        workload::replicas(self)
    }

    fn status(&self) -> WaitState<()> {
        rollout::status(self)
    }

    fn refusal(&self) -> Option<Failure> {
        rollout::is_paused(self).then(|| {
            Failure::from("is paused").with_hint("resume it with `kubectl rollout resume`")
        })
    }

    fn in_progress(&self) -> Option<String> {
        None
    }

    fn may_be_new(&self, _: &Pod) -> bool {
        false
    }

    fn refused_pods(&self, sets: &[Arc<ReplicaSet>]) -> Option<String> {
        workload::refused_pods(self, sets)
    }

    async fn settle(
        self,
        _: &WorkloadRef,
        RolloutWait { policy, give_up_after }: RolloutWait,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Arc<Self>> {
        let timers = RolloutTimers::new(give_up_after, *reader.clock());
        let kubernetes = reader.kubernetes().await?;
        let settled = rollout_guard::settled_snapshot(self, policy, timers, &kubernetes, progress);
        Ok(settled.await?.deployment)
    }
}

impl Rollable for StatefulSet {
    const NOUN: &'static str = "statefulset";
    const HAS_REPLICA_SETS: bool = false;

    fn template(&self) -> &PodTemplateSpec {
        &self.spec.template
    }

    fn selector(&self) -> &LabelSelector {
        &self.spec.selector
    }

    fn replicas(&self) -> u32 {
        u32::try_from(self.spec.replicas.unwrap_or(1)).unwrap_or(0)
    }

    fn status(&self) -> WaitState<()> {
        rollout::stateful_set_status(self)
    }

    fn refusal(&self) -> Option<Failure> {
        let strategy = self.spec.update_strategy.as_ref();
        refuse_on_delete(strategy.and_then(|strategy| strategy.type_.as_deref()))
    }

    fn in_progress(&self) -> Option<String> {
        rollout::stateful_set_in_progress(self)
    }

    fn may_be_new(&self, pod: &Pod) -> bool {
        let newest = self.status.as_ref().and_then(|status| status.update_revision.as_ref());
        let labels = pod.metadata.labels.as_ref();
        newest.is_some() && labels.and_then(|labels| labels.get(REVISION_LABEL)) == newest
    }
}

impl Rollable for DaemonSet {
    const NOUN: &'static str = "daemonset";
    const HAS_REPLICA_SETS: bool = false;

    fn template(&self) -> &PodTemplateSpec {
        &self.spec.template
    }

    fn selector(&self) -> &LabelSelector {
        &self.spec.selector
    }

    fn replicas(&self) -> u32 {
        let desired = self.status.as_ref().map_or(0, |status| status.desired_number_scheduled);
        u32::try_from(desired).unwrap_or(0)
    }

    fn status(&self) -> WaitState<()> {
        rollout::daemon_set_status(self)
    }

    fn refusal(&self) -> Option<Failure> {
        let strategy = self.spec.update_strategy.as_ref();
        refuse_on_delete(strategy.and_then(|strategy| strategy.type_.as_deref()))
    }

    fn in_progress(&self) -> Option<String> {
        rollout::daemon_set_in_progress(self)
    }

    fn may_be_new(&self, _: &Pod) -> bool {
        // Its status does not name the newest revision.
        true
    }
}

/// The label with the revision that a stateful set or a daemon set made a pod of.
const REVISION_LABEL: &str = "controller-revision-hash";

fn refuse_on_delete(strategy: Option<&str>) -> Option<Failure> {
    (strategy == Some("OnDelete")).then(|| {
        Failure::from("has the update strategy OnDelete")
            .with_hint("delete its pods with `delete_pods`: the new ones have the new template")
    })
}

/// Reads a workload.
///
/// # Errors
/// It does not exist.
pub(super) async fn read<K: Rollable>(
    kubernetes: &KubernetesReader,
    target: &WorkloadRef,
) -> Result<K> {
    match kubernetes.get::<K>(Some(&target.namespace), target.name()).await? {
        Some(found) => Ok(found),
        None => Err(Error::precondition(format!("{} not found", target.target()))),
    }
}

/// Returns an error for a workload whose controller would not roll out `change`, such as "a restart".
pub(super) fn reject_unrollable<K: Rollable>(
    found: &K,
    target: &WorkloadRef,
    change: &str,
) -> Result<()> {
    match found.refusal() {
        None => Ok(()),
        Some(Failure { message, hint }) => {
            let message = format!("{} {message}, so {change} would not begin", target.target());
            Err(Error::Precondition { message, hint })
        }
    }
}

/// Returns a workload that controls its pods itself and has just been read, with its pods, when no rollout is in
/// progress.
///
/// # Errors
/// A rollout is in progress and is refused, or can no longer end by itself.
pub(super) async fn settled<K: Rollable>(
    found: K,
    target: &WorkloadRef,
    RolloutWait { policy, give_up_after }: RolloutWait,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<(Arc<K>, Vec<Arc<Pod>>)> {
    let kubernetes = reader.kubernetes().await?;
    if let (Some(missing), RolloutInProgress::Refuse) = (found.in_progress(), policy) {
        let message = format!("a rollout of {} is in progress: {missing}", target.target());
        return Err(Error::precondition(message).with_hint(HINT));
    }
    let mut watch = RolloutWatch::new(&kubernetes, &found, target, *reader.clock(), progress);
    let views = watch.views();
    let mut grace = GraceTimer::new(reader.clock().deadline(give_up_after.std()));
    let mut sources = watch.sources();
    let settled = wait::until(progress, &mut sources, || {
        let Some(snapshot) = views.snapshot() else {
            return WaitState::failed(format!("{} no longer exists", target.target()));
        };
        let Some(missing) = snapshot.object.in_progress() else {
            let pods = snapshot.active_pods().cloned().collect();
            return WaitState::Ready((snapshot.object, pods));
        };
        let new_pods = snapshot.new_pods(&|_| false);
        let of = format!("rollout of {}", target.target());
        if let Some(why) = expired_problem(&mut grace, new_pods, &snapshot.causes, None) {
            let message = format!("{of} is stuck: {why} (for {give_up_after})");
            return WaitState::Failed(Failure::from(message).with_hint(HINT));
        }
        WaitState::Pending(format!("{of}: {missing}"))
    });
    Ok(settled.await?)
}

/// Waits until the template of a workload is rolled out, and returns how many pods it is to have. `is_current` says
/// whether a template is the one that is rolled out, and returns the conflict if not.
///
/// # Errors
/// Another client has changed the template, or the rollout has failed or is stuck.
pub(super) async fn wait_for_rollout(
    target: &WorkloadRef,
    is_current: &(dyn Fn(&PodTemplateSpec) -> Result<()> + Sync),
    give_up_after: runbook::Duration,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<u32> {
    match target.kind() {
        WorkloadKind::Deployment => {
            wait_for::<Deployment>(target, is_current, give_up_after, reader, progress).await
        }
        WorkloadKind::StatefulSet => {
            wait_for::<StatefulSet>(target, is_current, give_up_after, reader, progress).await
        }
        WorkloadKind::DaemonSet => {
            wait_for::<DaemonSet>(target, is_current, give_up_after, reader, progress).await
        }
    }
}

async fn wait_for<K: Rollable>(
    target: &WorkloadRef,
    is_current: &(dyn Fn(&PodTemplateSpec) -> Result<()> + Sync),
    give_up_after: runbook::Duration,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<u32> {
    let kubernetes = reader.kubernetes().await?;
    let found: K = read(&kubernetes, target).await?;
    let mut watch = RolloutWatch::new(&kubernetes, &found, target, *reader.clock(), progress);
    let views = watch.views();
    let mut grace = GraceTimer::new(reader.clock().deadline(give_up_after.std()));
    let mut sources = watch.sources();
    let replicas = wait::until(progress, &mut sources, || match views.snapshot() {
        Some(snapshot) => evaluate(target, &snapshot, is_current, give_up_after, &mut grace),
        None => WaitState::failed(format!("{} no longer exists", target.target())),
    });
    Ok(replicas.await?)
}

fn evaluate<K: Rollable>(
    target: &WorkloadRef,
    snapshot: &RolloutSnapshot<K>,
    is_current: &(dyn Fn(&PodTemplateSpec) -> Result<()> + Sync),
    give_up_after: runbook::Duration,
    grace: &mut GraceTimer,
) -> WaitState<u32> {
    let object = &snapshot.object;
    if let Err(conflict) = is_current(object.template()) {
        return WaitState::failed(conflict.to_string());
    }
    let new_pods = snapshot.new_pods(&|template| is_current(template).is_ok());
    let refused = object.refused_pods(&snapshot.sets);
    let of = || format!("rollout of {}", target.target());
    let unready = || describe_unready(new_pods.iter().copied(), &snapshot.causes, refused.clone());
    match object.status() {
        WaitState::Ready(()) => WaitState::Ready(object.replicas()),
        WaitState::Failed(failure) => {
            let unready = unready().map(|pods| format!("; {pods}")).unwrap_or_default();
            let message = |why: &str| format!("{} failed: {why}{unready}", of());
            WaitState::Failed(failure.map_message(message))
        }
        WaitState::Pending(what) => {
            let pods = new_pods.iter().copied();
            if let Some(why) = expired_problem(grace, pods, &snapshot.causes, refused.clone()) {
                let message = format!("{} is stuck: {why} (for {give_up_after})", of());
                return WaitState::failed(message);
            }
            let unready = unready().map(|pods| format!(": {pods}")).unwrap_or_default();
            WaitState::Pending(format!("{}: {what}{unready}", of()))
        }
    }
}

/// A live view of a workload with its pods.
struct RolloutWatch<K> {
    object: ObjectWatch<K>,
    sets: Option<ObjectWatch<ReplicaSet>>,
    pods: ObjectWatch<Pod>,
    causes: PodCauses,
}

/// The state of a [`RolloutWatch`], readable while it runs.
struct RolloutViews<K> {
    object: ObjectView<K>,
    sets: Option<ObjectView<ReplicaSet>>,
    pods: ObjectView<Pod>,
    causes: CauseView,
}

/// A workload with its pods at one moment.
struct RolloutSnapshot<K> {
    object: Arc<K>,
    sets: Vec<Arc<ReplicaSet>>,
    pods: Vec<Arc<Pod>>,
    causes: CauseView,
}

impl<K: Rollable> RolloutWatch<K> {
    fn new(
        kubernetes: &KubernetesReader,
        found: &K,
        target: &WorkloadRef,
        clock: Clock,
        progress: &Progress,
    ) -> Self {
        let in_namespace = Selection::in_namespace(&target.namespace);
        let selection = in_namespace.clone().matching(found.selector());
        Self {
            object: kubernetes.watch(&in_namespace.named(target.name())),
            sets: K::HAS_REPLICA_SETS.then(|| kubernetes.watch(&selection)),
            pods: kubernetes.watch(&selection),
            causes: PodCauses::new(kubernetes, clock, progress),
        }
    }

    fn sources(&mut self) -> Vec<&mut dyn WaitSource> {
        let mut sources: Vec<&mut dyn WaitSource> =
            vec![&mut self.object, &mut self.pods, self.causes.source()];
        sources.extend(self.sets.iter_mut().map(|sets| sets as &mut dyn WaitSource));
        sources
    }

    fn views(&self) -> RolloutViews<K> {
        RolloutViews {
            object: self.object.view(),
            sets: self.sets.as_ref().map(ObjectWatch::view),
            pods: self.pods.view(),
            causes: self.causes.view(),
        }
    }
}

impl<K: Rollable> RolloutViews<K> {
    /// Returns the current state; none when the workload is gone.
    fn snapshot(&self) -> Option<RolloutSnapshot<K>> {
        let object = self.object.objects().pop()?;
        let mut sets = self.sets.as_ref().map(ObjectView::objects).unwrap_or_default();
        let own: BTreeSet<String> = object.meta().uid.iter().cloned().collect();
        sets.retain(|set| is_controlled_by(&set.metadata, &own));
        let of_sets = sets.iter().filter_map(|set| set.metadata.uid.clone());
        let owners = if K::HAS_REPLICA_SETS { of_sets.collect() } else { own };
        let mut pods = self.pods.objects();
        pods.retain(|pod| is_controlled_by(&pod.metadata, &owners));
        self.causes.observe(&pods);
        Some(RolloutSnapshot { object, sets, pods, causes: self.causes.clone() })
    }
}

impl<K: Rollable> RolloutSnapshot<K> {
    fn active_pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter().filter(|pod| pod::is_active(pod))
    }

    /// Returns the active pods of the template: of the newest replica set that `is_current` accepts, where the workload
    /// has some.
    fn new_pods(&self, is_current: &dyn Fn(&PodTemplateSpec) -> bool) -> Vec<&Arc<Pod>> {
        if !K::HAS_REPLICA_SETS {
            return self.active_pods().filter(|pod| self.object.may_be_new(pod)).collect();
        }
        let is_new = |set: &&Arc<ReplicaSet>| set.spec.template.as_ref().is_some_and(is_current);
        let newest = self.sets.iter().filter(is_new).max_by_key(|set| workload::revision(set));
        let Some(uid) = newest.and_then(|set| set.metadata.uid.clone()) else { return Vec::new() };
        let owners = BTreeSet::from([uid]);
        self.active_pods().filter(|pod| is_controlled_by(&pod.metadata, &owners)).collect()
    }
}

fn is_controlled_by(metadata: &ObjectMeta, owners: &BTreeSet<String>) -> bool {
    pod::controller(metadata).is_some_and(|owner| owners.contains(&owner.uid))
}
