//! `drain`: cordon nodes and evict their pods, as `kubectl drain` does it.
//!
//! Apply works in rounds, each of which reads everything again: only apply may write, and the engine repeats it while
//! it is busy, so that a run can be cancelled between two rounds and resumed after a crash in one.

mod snapshot;
pub(super) mod until_empty;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kinds::NodeName;
use super::{
    Action, Change, Error, Impact, KnownTargets, KubernetesScope, Permission, PlannedChange,
    PlatformReader, PlatformWriter, Progress, Result, TargetState,
    budgets::{self, BlockedEviction},
    cordon_change::{CordonChange, new_owner_mark},
    delete_pods::{pod_target, whole_seconds},
    known_targets::report_gone,
    node_targets,
    types::{NodeInstances, PodRecord, by_uid, default_give_up_after},
};
use crate::platform::kubernetes::pod::Pod;
use crate::platform::{
    NODE_NAME,
    kubernetes::{KubernetesReader, Selection, pod},
    wait::{self, GraceTimer, WaitState},
};
use runbook::{LimitKind, Reversibility};
use snapshot::{DrainRules, DrainSnapshot, controller_uid, describe, evict, uid};
use text::{join_truncated, plural};
use watch::{DrainWatch, read_snapshot};

/// Cordons nodes, evicts their pods as disruption budgets allow, and waits until the pods are gone.
///
/// The rules are those of `kubectl drain --ignore-daemonsets`. Pods of all namespaces are evicted. Pods of daemon sets
/// and the static pods of a node stay. A pod that no controller replaces, and a pod with an emptyDir volume, whose
/// content would be lost, fail the step before anything is changed, unless `force` or `delete_emptydir_data` is set.
/// Pods that have finished are removed. A pod that comes to a node afterwards because it tolerates the cordon stays.
///
/// All nodes are cordoned first, so that no evicted pod moves to a node that is drained next; then the pods of all
/// nodes are evicted together, at most `max_unavailable` of one workload at a time. To drain nodes one after another,
/// use one step a node. Items of a loop that drain at the same time do not know of each other: only disruption budgets
/// limit them together. The step waits while a disruption budget does not allow an eviction. It fails early, with the
/// budget and the pods, when a budget never allows one because it requires every pod that there is, and when the
/// replacement of an evicted pod has failed for `give_up_after`.
///
/// The undo uncordons the nodes that this step cordoned. Evicted pods stay where their controllers have put them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Names of the nodes. An empty list changes nothing.
    #[schemars(with = "Vec<NodeName>")]
    pub nodes: Vec<String>,
    /// How many Ready pods of one workload (of one replica set or stateful set) may be missing at a time while this
    /// step evicts them, whatever disruption budgets allow; without it, a quarter of them, and at least one.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_unavailable: Option<u32>,
    /// Whether pods without a controller are evicted too. Nothing makes them anew.
    #[serde(default)]
    pub force: bool,
    /// Whether pods with an emptyDir volume are evicted. The content of the volume is lost.
    #[serde(default)]
    pub delete_emptydir_data: bool,
    /// How long each pod is given to end; its own grace period, unless it is said.
    #[serde(default)]
    pub grace_period: Option<runbook::Duration>,
    /// Whether the step waits until each workload has as many Ready pods as before. Without it, the step ends when the
    /// pods are gone, such as where their replacements need nodes that come later.
    #[serde(default = "default_wait_for_replacements")]
    pub wait_for_replacements: bool,
    /// How long a replacement may fail, or a node may be gone or not Ready under a pod that is to end, before the step
    /// fails.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: runbook::Duration,
}

fn default_wait_for_replacements() -> bool {
    true
}

impl Params {
    /// Returns the parameters with which `scale_nodegroup` drains nodes: the defaults.
    pub(super) fn of(nodes: Vec<String>) -> Self {
        Self {
            nodes,
            max_unavailable: None,
            force: false,
            delete_emptydir_data: false,
            grace_period: None,
            wait_for_replacements: default_wait_for_replacements(),
            give_up_after: default_give_up_after(),
        }
    }
}

/// The drained nodes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// All of them, by name.
    #[schemars(with = "Vec<NodeName>")]
    pub nodes: Vec<String>,
    /// The nodes that this step cordoned; those that were cordoned before are left out.
    #[schemars(with = "Vec<NodeName>")]
    pub changed: Vec<String>,
    /// The pods that were on the nodes and have left them, by namespace and name; those that have finished, too.
    pub evicted: Vec<PodRecord>,
    /// The nodes that have ended since an earlier step listed them, by name. They are not among `nodes`.
    #[serde(default)]
    #[schemars(with = "Vec<NodeName>")]
    pub gone: Vec<String>,
}

/// The nodes as they were, with the pods that are to leave them.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    cordon: CordonChange,
    /// Names of the nodes that were gone already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
    pods: Vec<PodRecord>,
    /// The UIDs of the pods without a controller.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    uncontrolled: BTreeSet<String>,
    /// How many Ready pods each controller of a pod had, by its UID.
    ready: BTreeMap<String, usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_unavailable: Option<u32>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    delete_emptydir_data: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace_seconds: Option<u32>,
    wait_for_replacements: bool,
    give_up_after: runbook::Duration,
}

/// The nodes that this step cordoned, and those that had ended since the step was prepared.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    changed: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

pub(super) struct Drain;

/// Why the action acts in every namespace.
const ANY_NAMESPACE: &str = "pods of any namespace may run on the nodes";

impl Action for Drain {
    const NAME: &'static str = "drain";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::core("nodes", &["get", "list", "patch"], KubernetesScope::Cluster),
        Permission::core("pods", &["list", "watch"], KubernetesScope::AllNamespaces(ANY_NAMESPACE)),
        Permission::core(
            "pods/eviction",
            &["create"],
            KubernetesScope::AllNamespaces(ANY_NAMESPACE),
        ),
        Permission::apps(
            "replicasets",
            &["list", "watch"],
            KubernetesScope::AllNamespaces(ANY_NAMESPACE),
        ),
        Permission::apps(
            "statefulsets",
            &["list", "watch"],
            KubernetesScope::AllNamespaces(ANY_NAMESPACE),
        ),
        // To recognize a budget that never allows an eviction; where it is missing, the step waits instead.
        Permission::policy(
            "poddisruptionbudgets",
            &["list"],
            KubernetesScope::AllNamespaces(ANY_NAMESPACE),
        )
        .optional(),
        // For the causes that keep a pod from starting elsewhere; without them the wait goes on.
        Permission::core("events", &["list"], KubernetesScope::AllNamespaces(ANY_NAMESPACE))
            .optional(),
    ];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.nodes.iter().for_each(|name| known.add_node(name, None));
        output.evicted.iter().for_each(|pod| known.add_pod(pod));
    }
}

impl Change for Drain {
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    const LIMITS: &'static [LimitKind] = Impact::CORDONS;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let evicted =
            |pod: &PodRecord| PlannedChange::new(pod_target(pod), pod.uid.clone(), Value::Null);
        let cordoned = intent.cordon.planned_changes();
        cordoned.into_iter().chain(intent.pods.iter().map(evicted)).collect()
    }

    fn impact(intent: &Intent) -> Impact {
        Impact {
            cordons: intent.cordon.changed_nodes(),
            pods: intent.pods.iter().map(|pod| pod.uid.clone()).collect(),
            ..Impact::default()
        }
    }

    async fn prepare(
        params: Params,
        known: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let kubernetes = reader.kubernetes().await?;
        let (nodes, gone) = node_targets::find(&params.nodes, known, &kubernetes).await?;
        report_gone(progress, "node", &gone);
        let cordon = CordonChange::of(&nodes, true, new_owner_mark(*reader.clock()));
        let names = cordon.nodes();
        let rules = DrainRules { removes_finished: true, ..DrainRules::default() };
        let snapshot = read_snapshot(&kubernetes, &names, rules).await?;
        let pods = snapshot.to_evict(&BTreeSet::new());
        if let Some(refusal) = refusal(&pods, params.force, params.delete_emptydir_data) {
            let message = format!("cannot drain {}: {}", nodes_text(&names), refusal.message);
            return Err(Error::Precondition { message, hint: refusal.hint });
        }
        if let Some(refusal) = permanent_refusal(&pods, &kubernetes).await? {
            return Err(Error::Precondition { message: refusal.message, hint: refusal.hint });
        }
        let own = reader.environment(NODE_NAME);
        if let Some(own) = own.filter(|own| names.iter().any(|name| name == own)) {
            progress.report(&format!(
                "this process runs on node {own}, which is drained: the run continues where the process starts again"
            ));
        }
        let instances = NodeInstances::of(&nodes);
        let uncontrolled = pods.iter().filter(|pod| controller_uid(pod).is_none());
        Ok(Intent {
            cordon,
            gone,
            pods: pods.iter().map(|pod| PodRecord::of(pod, &instances)).collect(),
            uncontrolled: uncontrolled.map(|pod| uid(&pod.metadata).to_owned()).collect(),
            ready: snapshot.expected_ready(&BTreeMap::new()),
            max_unavailable: params.max_unavailable,
            force: params.force,
            delete_emptydir_data: params.delete_emptydir_data,
            grace_seconds: params.grace_period.map(|grace| whole_seconds(grace.std())),
            wait_for_replacements: params.wait_for_replacements,
            give_up_after: params.give_up_after,
        })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let kubernetes = writer.kubernetes().await?;
        let (changed, _) = intent.cordon.apply(&kubernetes).await?;
        let (nodes, gone) = intent.cordon.find_nodes(kubernetes.reader()).await?;
        let snapshot = read_snapshot(kubernetes.reader(), &nodes, intent.rules()).await?;
        let pods = snapshot.to_evict(&BTreeSet::new());
        if let Some(refusal) = refusal(&pods, intent.force, intent.delete_emptydir_data) {
            let message = format!("cannot drain {}: {}", nodes_text(&nodes), refusal.message);
            return Err(Error::Unrecoverable { message, hint: refusal.hint });
        }
        let mut evicted = BTreeSet::new();
        let evictable = snapshot.evictable(&intent.ready, &evicted);
        let blocked = evict(&evictable, intent.grace_seconds, &mut evicted, &kubernetes).await?;
        let permanent = budgets::find_permanent_refusal(blocked.values(), kubernetes.reader());
        if let Some(failure) = permanent.await? {
            return Err(wait::Error::ConditionFailed(failure).into());
        }
        let waiting = snapshot.to_evict(&evicted);
        if waiting.is_empty() {
            return Ok(Receipt { changed, gone });
        }
        let clock = writer.reader().clock();
        let refusal = (!blocked.is_empty()).then(|| budgets::describe(blocked.values()));
        let text = describe(&waiting, &nodes_text(&nodes), &snapshot.causes, refusal.as_deref());
        let give_up_after = clock.deadline(intent.give_up_after.std());
        if evicted.is_empty()
            && let Some(why) = failed_replacement(&snapshot, intent, clock.now(), give_up_after)
        {
            let message = format!("{why} (for {}); {text}", intent.give_up_after);
            return Err(Error::unrecoverable(message));
        }
        // What the replacements lack changes with every round; the timer is for waits that remember.
        let mut grace = GraceTimer::new(Duration::MAX);
        Err(Error::busy(match snapshot.evaluate_replacements(&intent.ready, &mut grace) {
            WaitState::Pending(first) => format!("{text}; first {first}"),
            WaitState::Ready(()) | WaitState::Failed(_) => text,
        }))
    }

    async fn settle(
        intent: &Intent,
        receipt: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        report_gone(progress, "node", &receipt.gone);
        let mut nodes = intent.cordon.nodes();
        nodes.retain(|name| !receipt.gone.contains(name));
        if !intent.pods.is_empty() {
            wait_until_gone(intent, &nodes, reader, progress).await?;
        }
        let mut evicted = intent.pods.clone();
        evicted.retain(|pod| pod.node.as_ref().is_none_or(|node| !receipt.gone.contains(node)));
        let gone = [&intent.gone[..], &receipt.gone[..]].concat();
        Ok(Output { nodes, changed: receipt.changed.clone(), evicted, gone })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        progress: &Progress,
    ) -> Result<Vec<String>> {
        let kubernetes = writer.kubernetes().await?;
        let mut not_restored = intent.cordon.undo(&kubernetes).await?;
        let present = kubernetes.reader().list::<Pod>(&Selection::all()).await?;
        let present = by_uid(&present);
        let is_gone = |record: &&PodRecord| {
            present.get(record.uid.as_str()).is_none_or(|pod| pod::is_terminating(pod))
        };
        let (lost, replaced): (Vec<_>, Vec<_>) = intent
            .pods
            .iter()
            .filter(is_gone)
            .partition(|record| intent.uncontrolled.contains(&record.uid));
        if !replaced.is_empty() {
            let count = plural(replaced.len(), "evicted pod");
            progress.report(&format!("{count}: their replacements stay where they are"));
        }
        if !lost.is_empty() {
            let names = lost.iter().map(|record| &record.name);
            let count = plural(lost.len(), "evicted pod");
            not_restored.push(format!(
                "{count} without a controller cannot be restored: {}",
                join_truncated(names)
            ));
        }
        Ok(not_restored)
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        let kubernetes = reader.kubernetes().await?;
        let mut targets = intent.cordon.read_targets(&kubernetes).await?;
        let present = kubernetes.list::<Pod>(&Selection::all()).await?;
        let present = by_uid(&present);
        targets.extend(intent.pods.iter().map(|record| {
            let now = present.get(record.uid.as_str()).map(|_| record.uid.clone());
            TargetState::new(pod_target(record), record.uid.clone(), now, None)
        }));
        Ok(targets)
    }
}

impl Intent {
    /// Returns the names of the nodes.
    pub(super) fn nodes(&self) -> Vec<String> {
        self.cordon.nodes()
    }

    fn rules(&self) -> DrainRules {
        DrainRules {
            removes_finished: true,
            planned: Some(self.pods.iter().map(|pod| pod.uid.clone()).collect()),
            max_unavailable: self.max_unavailable,
        }
    }
}

/// Counts the pods of each node that a drain would evict.
pub(super) async fn count_pods(
    kubernetes: &KubernetesReader,
    nodes: &[String],
) -> Result<BTreeMap<String, usize>> {
    let snapshot = read_snapshot(kubernetes, nodes, DrainRules::default()).await?;
    let mut counts = BTreeMap::new();
    for node in snapshot.remaining().iter().filter_map(|pod| pod::node(pod)) {
        *counts.entry(node.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// Returns an error unless the pods have ended that [`Drain::apply`] has evicted, and their replacements are Ready.
///
/// # Errors
/// [`Error::Busy`] until then; [`Error::Unrecoverable`] where a replacement keeps failing.
pub(super) async fn ensure_empty(intent: &Intent, reader: &PlatformReader) -> Result<()> {
    let kubernetes = reader.kubernetes().await?;
    let nodes = intent.nodes();
    let snapshot = read_snapshot(&kubernetes, &nodes, intent.rules()).await?;
    let leaving = snapshot.remaining();
    if !leaving.is_empty() {
        return Err(Error::busy(describe(&leaving, &nodes_text(&nodes), &snapshot.causes, None)));
    }
    let clock = reader.clock();
    let give_up_after = clock.deadline(intent.give_up_after.std());
    if let Some(why) = failed_replacement(&snapshot, intent, clock.now(), give_up_after) {
        return Err(Error::unrecoverable(format!("{why} (for {})", intent.give_up_after)));
    }
    let mut grace = GraceTimer::new(Duration::MAX);
    match snapshot.evaluate_replacements(&intent.ready, &mut grace) {
        WaitState::Ready(()) => Ok(()),
        WaitState::Pending(why) => Err(Error::busy(why)),
        WaitState::Failed(failure) => Err(wait::Error::ConditionFailed(failure).into()),
    }
}

/// Waits until the evicted pods are gone, and until they are replaced where that was asked for.
async fn wait_until_gone(
    intent: &Intent,
    nodes: &[String],
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<()> {
    let kubernetes = reader.kubernetes().await?;
    let clock = *reader.clock();
    let rules = intent.rules();
    let mut watch = DrainWatch::new(&kubernetes, clock, &rules, progress);
    let views = watch.views(nodes, rules);
    let planned: BTreeSet<&str> = intent.pods.iter().map(|pod| pod.uid.as_str()).collect();
    let none = BTreeMap::new();
    let expected_ready = if intent.wait_for_replacements { &intent.ready } else { &none };
    let timer = || GraceTimer::new(clock.deadline(intent.give_up_after.std()));
    let (mut terminations, mut replacements) = (timer(), timer());
    watch.read(progress).await?;
    watch
        .wait(progress, || {
            let snapshot = views.snapshot();
            let mut leaving = snapshot.remaining();
            // A pod that has come since has come to a node that another client has uncordoned.
            leaving.retain(|pod| pod::is_terminating(pod) || planned.contains(uid(&pod.metadata)));
            if let Some(failure) = snapshot.causes.expired_termination(&mut terminations, &leaving)
            {
                return WaitState::Failed(failure);
            }
            let replaced = snapshot.evaluate_replacements(expected_ready, &mut replacements);
            if leaving.is_empty() {
                return replaced;
            }
            let text = describe(&leaving, &nodes_text(nodes), &snapshot.causes, None);
            WaitState::<()>::Pending(text).and(replaced).map(drop)
        })
        .await
}

/// Returns why these pods may not be evicted: something would be lost with them.
fn refusal(pods: &[Arc<Pod>], force: bool, delete_emptydir_data: bool) -> Option<wait::Failure> {
    let names = |is_lost: fn(&Pod) -> bool| -> Vec<String> {
        let lost = pods.iter().filter(|pod| pod::is_active(pod) && is_lost(pod));
        lost.map(|pod| full_name(pod)).collect()
    };
    let (mut texts, mut hints) = (Vec::new(), Vec::new());
    let uncontrolled = names(|pod| controller_uid(pod).is_none());
    if !uncontrolled.is_empty() && !force {
        let count = plural(uncontrolled.len(), "pod");
        let names = join_truncated(uncontrolled);
        texts.push(format!("{count} without a controller would be lost: {names}"));
        hints.push("`force: true` evicts pods without a controller");
    }
    let with_data = names(pod::has_empty_dir);
    if !with_data.is_empty() && !delete_emptydir_data {
        let count = plural(with_data.len(), "pod");
        let names = join_truncated(with_data);
        texts.push(format!("the emptyDir data of {count} would be lost: {names}"));
        hints.push("`delete_emptydir_data: true` evicts pods with emptyDir volumes");
    }
    if texts.is_empty() {
        return None;
    }
    Some(wait::Failure::from(texts.join("; ")).with_hint(hints.join("; ")))
}

/// Returns why a disruption budget will never allow the eviction of one of these pods.
async fn permanent_refusal(
    pods: &[Arc<Pod>],
    kubernetes: &KubernetesReader,
) -> Result<Option<wait::Failure>> {
    let evictions: Vec<BlockedEviction> = pods
        .iter()
        .filter(|pod| pod::is_ready(pod))
        .map(|pod| BlockedEviction {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: uid(&pod.metadata).to_owned(),
            cause: String::new(),
        })
        .collect();
    budgets::find_permanent_refusal(&evictions, kubernetes).await
}

/// Returns the problem of a replacement that has lasted too long. Rounds remember nothing, so the pod's own times tell.
fn failed_replacement(
    snapshot: &DrainSnapshot,
    intent: &Intent,
    now: Timestamp,
    give_up_after: Duration,
) -> Option<String> {
    if snapshot.remaining().iter().any(|pod| pod::is_terminating(pod)) {
        return None;
    }
    let has_lasted = |pod: &Pod| {
        let since =
            pod::unready_since(pod).map(|since| Duration::try_from(now.duration_since(since)));
        since.is_some_and(|since| since.is_ok_and(|since| since >= give_up_after))
    };
    let replacements = intent.ready.keys().flat_map(|owner| snapshot.active_pods_of(owner));
    let mut failed = replacements.filter(|pod| has_lasted(pod)).filter_map(|pod| {
        let problem = pod::problem(&pod)?;
        Some(format!("pod {} did not become Ready: {}", full_name(&pod), problem.message))
    });
    failed.next()
}

fn full_name(pod: &Pod) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    format!("{namespace}/{}", pod.metadata.name.as_deref().unwrap_or_default())
}

/// Returns the nodes as messages name them.
fn nodes_text(nodes: &[String]) -> String {
    match nodes {
        [node] => format!("node {node}"),
        nodes => plural(nodes.len(), "node"),
    }
}
