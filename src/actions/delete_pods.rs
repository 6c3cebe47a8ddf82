//! `delete_pods`: remove exactly these pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kinds::PodName;
use super::{
    Action, Change, Condition, Error, Impact, KnownTargets, KubernetesScope, Permission,
    PlannedChange, PlatformReader, PlatformWriter, Progress, RepeatedParam, Result, TargetState,
    budgets::{self, BlockedEviction},
    concurrency::try_join_bounded,
    known_targets::report_gone,
    pod_causes::{self, CauseView, PodCauses},
    types::{PodRecord, default_give_up_after},
    workload,
};
use crate::platform::kubernetes::{node::Node, pod::Pod};
use crate::platform::{
    kubernetes::{self, ObjectView, ObjectWatch, Selection, pod},
    wait::{self, GraceTimer, WaitSource, WaitState},
};
use runbook::{LimitKind, Reversibility};
use text::{join_truncated, plural};

/// Deletes pods, each by its name and UID, and waits until they are gone.
///
/// A pod that has meanwhile come back under the same name is another pod and stays; one that is gone needs nothing.
/// With `evict`, disruption budgets are asked, and the step waits while one does not allow it; it fails at once when
/// one never will, because it requires every pod that there is. Without `evict`, budgets are not asked. Whatever
/// controls the pods makes new ones; nothing brings the deleted ones back. A pod ends only when the kubelet of its node
/// says so: the step fails early when a node has not been Ready for `give_up_after`, unless `force_after` is set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The pods, such as the `pods` of `list_pods`. An empty list deletes nothing.
    pub pods: Vec<PodRecord>,
    /// Whether disruption budgets are to be asked.
    #[serde(default)]
    pub evict: bool,
    /// How long each pod is given to end; its own grace period, unless it is said.
    #[serde(default)]
    pub grace_period: Option<runbook::Duration>,
    /// How long after its grace period a pod may remain whose node is gone or not Ready. Then the pod is deleted by
    /// force: without waiting for its containers, which may still run if the node does. Without this parameter, no pod
    /// is.
    #[serde(default)]
    pub force_after: Option<runbook::Duration>,
    /// How long a node may be gone or not Ready under a pod that is to end before the wait is given up.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: runbook::Duration,
}

/// The pods that are gone.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The pods that this step deleted, by name; those that were gone before are left out.
    pub deleted: Vec<PodRecord>,
    /// Names of the pods that were gone before.
    #[serde(default)]
    #[schemars(with = "Vec<PodName>")]
    pub gone: Vec<String>,
}

/// The pods to delete: those that were there when the step was prepared.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    pods: Vec<PodRecord>,
    evict: bool,
    grace_seconds: Option<u32>,
    /// Names of the pods that were gone already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    force_after: Option<runbook::Duration>,
    #[serde(default = "default_give_up_after")]
    give_up_after: runbook::Duration,
}

/// Nothing needs to be kept: a pod is there or it is not.
#[derive(Serialize, Deserialize)]
pub struct Receipt {}

pub(super) struct DeletePods;

impl Action for DeletePods {
    const NAME: &'static str = "delete_pods";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::core(
            "pods",
            &["list", "watch"],
            KubernetesScope::Namespace("pods[].namespace"),
        ),
        Permission::core("pods", &["delete"], KubernetesScope::Namespace("pods[].namespace"))
            .only(Condition::IfNotTrue("evict")),
        Permission::core("pods", &["delete"], KubernetesScope::Namespace("pods[].namespace"))
            .only(Condition::IfGiven("force_after")),
        Permission::core(
            "pods/eviction",
            &["create"],
            KubernetesScope::Namespace("pods[].namespace"),
        )
        .only(Condition::IfTrue("evict")),
        // To recognize a budget that never allows an eviction; where it is missing, the step waits instead.
        Permission::policy(
            "poddisruptionbudgets",
            &["list"],
            KubernetesScope::Namespace("pods[].namespace"),
        )
        .only(Condition::IfTrue("evict"))
        .optional(),
        // For the causes that keep a pod from ending; without them the wait goes on.
        Permission::core("nodes", &["list"], KubernetesScope::Cluster).optional(),
        Permission::core("nodes", &["list"], KubernetesScope::Cluster)
            .only(Condition::IfGiven("force_after")),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] =
        &[RepeatedParam::new("deleted[].namespace", "pods[].namespace")];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.deleted.iter().for_each(|pod| known.add_pod(pod));
    }
}

impl Change for DeletePods {
    const REVERSIBILITY: Reversibility = Reversibility::Irreversible;
    const LIMITS: &'static [LimitKind] = Impact::REMOVES_PODS;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let planned =
            |pod: &PodRecord| PlannedChange::new(pod_target(pod), pod.uid.clone(), Value::Null);
        intent.pods.iter().map(planned).collect()
    }

    fn impact(intent: &Intent) -> Impact {
        let pods = intent.pods.iter().map(|pod| pod.uid.clone()).collect();
        Impact { pods, ..Impact::default() }
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let kubernetes = reader.kubernetes().await?;
        let present = list_present(&params.pods, &kubernetes).await?;
        let mut pods = params.pods;
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        pods.dedup_by(|a, b| a.uid == b.uid);
        let (pods, gone): (Vec<_>, Vec<_>) =
            pods.into_iter().partition(|record| present.contains_key(&record.uid));
        let gone: Vec<String> = gone.into_iter().map(|record| record.name).collect();
        report_gone(progress, "pod", &gone);
        let has_controller = |record: &PodRecord| {
            present.get(&record.uid).is_some_and(|pod| pod::controller(&pod.metadata).is_some())
        };
        for record in pods.iter().filter(|record| !has_controller(record)) {
            let name = &record.name;
            progress.report(&format!("pod {name} will not be replaced: it has no controller"));
        }
        let seconds = |grace: runbook::Duration| whole_seconds(grace.std());
        Ok(Intent {
            pods,
            evict: params.evict,
            grace_seconds: params.grace_period.map(seconds),
            gone,
            force_after: params.force_after,
            give_up_after: params.give_up_after,
        })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let kubernetes = writer.kubernetes().await?;
        let present = list_present(&intent.pods, kubernetes.reader()).await?;
        // A pod that is terminating was deleted by an earlier attempt or by another client.
        let to_remove = |record: &&PodRecord| {
            present.get(&record.uid).is_some_and(|found| !pod::is_terminating(found))
        };
        let calls: Vec<_> = intent
            .pods
            .iter()
            .filter(to_remove)
            .map(|record| remove(record, intent, &kubernetes))
            .collect();
        let blocked: Vec<BlockedEviction> =
            try_join_bounded(calls).await?.into_iter().flatten().collect();
        if blocked.is_empty() {
            return match intent.force_after {
                Some(force_after) => force_remaining(intent, force_after, writer).await,
                None => Ok(Receipt {}),
            };
        }
        match budgets::find_permanent_refusal(&blocked, kubernetes.reader()).await? {
            Some(failure) => Err(wait::Error::ConditionFailed(failure).into()),
            None => Err(Error::busy(budgets::describe(&blocked))),
        }
    }

    async fn settle(
        intent: &Intent,
        _: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        let kubernetes = reader.kubernetes().await?;
        let selections = selections(&intent.pods);
        let mut watches: Vec<ObjectWatch<Pod>> =
            selections.iter().map(|selection| kubernetes.watch(selection)).collect();
        let mut causes = PodCauses::new(&kubernetes, *reader.clock(), progress);
        let seen_causes = causes.view();
        let mut grace = GraceTimer::new(reader.clock().deadline(intent.give_up_after.std()));
        let views: Vec<ObjectView<Pod>> = watches.iter().map(ObjectWatch::view).collect();
        let mut sources: Vec<&mut dyn WaitSource> =
            watches.iter_mut().map(|watch| watch as &mut dyn WaitSource).collect();
        sources.push(causes.source());
        wait::until(progress, &mut sources, || evaluate(intent, &views, &seen_causes, &mut grace))
            .await?;
        Ok(Output { deleted: intent.pods.clone(), gone: intent.gone.clone() })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        let kubernetes = writer.reader().kubernetes().await?;
        let present = list_present(&intent.pods, &kubernetes).await?;
        let is_gone =
            |record: &&PodRecord| present.get(&record.uid).is_none_or(pod::is_terminating);
        let gone: Vec<&String> =
            intent.pods.iter().filter(is_gone).map(|record| &record.name).collect();
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let count = plural(gone.len(), "deleted pod");
        Ok(vec![format!("{count} cannot be restored: {}", join_truncated(gone))])
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        let present = list_present(&intent.pods, &reader.kubernetes().await?).await?;
        let state = |pod: &PodRecord| {
            let now = present.get(&pod.uid).map_or(Value::Null, |_| pod.uid.clone().into());
            TargetState::new(pod_target(pod), pod.uid.clone(), now, None)
        };
        Ok(intent.pods.iter().map(state).collect())
    }
}

/// Returns a pod as a target, for plans and messages.
pub(super) fn pod_target(pod: &PodRecord) -> String {
    format!("pod {}/{}", pod.namespace, pod.name)
}

/// Requests the deletion of one pod. Returns the eviction if a disruption budget does not allow it now.
async fn remove(
    record: &PodRecord,
    intent: &Intent,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<Option<BlockedEviction>> {
    let PodRecord { namespace, name, uid, .. } = record;
    if !intent.evict {
        kubernetes.delete_pod(namespace, name, uid, intent.grace_seconds).await?;
        return Ok(None);
    }
    match kubernetes.evict_pod(namespace, name, uid, intent.grace_seconds).await {
        Ok(_) => Ok(None),
        Err(error) => match BlockedEviction::of(namespace, name, uid, &error) {
            Some(blocked) => Ok(Some(blocked)),
            None => Err(error.into()),
        },
    }
}

/// Deletes by force the pods that should have ended `force_after` ago and whose nodes are gone or not Ready. Only
/// `apply` may write, so the end of the pods is awaited here, by an error that has the engine call again: a node can be
/// lost long after the first deletion.
async fn force_remaining(
    intent: &Intent,
    force_after: runbook::Duration,
    writer: &PlatformWriter,
) -> Result<Receipt> {
    let kubernetes = writer.kubernetes().await?;
    let reader = kubernetes.reader();
    let now = writer.reader().clock().now();
    let mut remaining = Vec::new();
    let mut forced = Vec::new();
    let mut nodes: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (uid, pod) in list_present(&intent.pods, reader).await? {
        let problem = match pod::node(&pod) {
            Some(name) => {
                // Many pods may have the same node.
                if !nodes.contains_key(name) {
                    let found = reader.list::<Node>(&Selection::all().named(name)).await?;
                    let problem = pod_causes::node_problem(name, found.first());
                    nodes.insert(name.to_owned(), problem);
                }
                nodes.get(name).cloned().flatten()
            }
            None => None,
        };
        let is_overdue = has_ended_by(&pod, now, force_after.std());
        let (namespace, name) = (pod.metadata.namespace.clone(), workload::pod_name(&pod));
        match problem {
            Some(_) if is_overdue => {
                forced.push((namespace.unwrap_or_default(), name.to_owned(), uid));
            }
            Some(why) => {
                remaining
                    .push(format!("{name} (terminating; {why}; by force after {force_after})"));
            }
            None => remaining.push(format!(
                "{name} ({})",
                pod::why_not_ready(&pod).unwrap_or_else(|| "not terminating".into())
            )),
        }
    }
    let calls: Vec<_> = forced
        .iter()
        .map(|(namespace, name, uid)| kubernetes.delete_pod(namespace, name, uid, Some(0)))
        .map(async |call| Ok(call.await.map(drop)?))
        .collect();
    try_join_bounded(calls).await?;
    if remaining.is_empty() {
        return Ok(Receipt {});
    }
    Err(Error::busy(describe_remaining(intent, remaining)))
}

/// Returns whether the pod's grace period ended at least `duration` before `now`.
fn has_ended_by(pod: &Pod, now: Timestamp, duration: Duration) -> bool {
    let Some(end) = &pod.metadata.deletion_timestamp else { return false };
    Duration::try_from(now.duration_since(end.0)).is_ok_and(|since| since >= duration)
}

/// Returns the listed pods that still exist, by UID.
async fn list_present(
    records: &[PodRecord],
    kubernetes: &kubernetes::KubernetesReader,
) -> Result<BTreeMap<String, Pod>> {
    let mut present = BTreeMap::new();
    for selection in selections(records) {
        let pods = kubernetes.list::<Pod>(&selection).await?;
        present.extend(pods.into_iter().filter_map(|pod| Some((pod.metadata.uid.clone()?, pod))));
    }
    Ok(present)
}

/// Returns the selection of the listed pods in each of their namespaces.
fn selections(records: &[PodRecord]) -> Vec<Selection> {
    let mut uids: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for record in records {
        uids.entry(&record.namespace).or_default().insert(record.uid.clone());
    }
    let of = |(namespace, uids)| Selection::in_namespace(namespace).with_uids(uids);
    uids.into_iter().map(of).collect()
}

/// Returns the grace period in whole seconds, as Kubernetes counts it, rounded up.
pub(super) fn whole_seconds(grace: Duration) -> u32 {
    let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn evaluate(
    intent: &Intent,
    views: &[ObjectView<Pod>],
    causes: &CauseView,
    grace: &mut GraceTimer,
) -> WaitState<()> {
    let objects: Vec<_> = views.iter().flat_map(ObjectView::objects).collect();
    let by_uid: BTreeMap<&str, &Arc<Pod>> =
        objects.iter().filter_map(|pod| Some((pod.metadata.uid.as_deref()?, pod))).collect();
    let remaining: Vec<&Arc<Pod>> =
        intent.pods.iter().filter_map(|record| by_uid.get(record.uid.as_str()).copied()).collect();
    if remaining.is_empty() {
        return WaitState::Ready(());
    }
    causes.observe(remaining.iter().copied());
    if let Some(failure) = causes.expired_termination(grace, remaining.iter().copied()) {
        let after = intent.give_up_after;
        return WaitState::Failed(failure.map_message(|why| format!("{why} (for {after})")));
    }
    let named = remaining.iter().map(|pod| {
        workload::describe_pod(pod, causes).unwrap_or_else(|| workload::pod_name(pod).to_owned())
    });
    WaitState::Pending(describe_remaining(intent, named.collect()))
}

fn describe_remaining(intent: &Intent, remaining: Vec<String>) -> String {
    format!(
        "{} of {} gone; remaining: {}",
        intent.pods.len() - remaining.len(),
        plural(intent.pods.len(), "pod"),
        join_truncated(remaining)
    )
}
