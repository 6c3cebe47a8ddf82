//! `scale_nodegroup`: more nodes, or fewer.

mod removal;
mod resize;
mod scale_in;
mod targets;
mod undo;

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::{InstanceId, NodeName};
use super::{
    Action, AwsScope, Change, Condition, Error, Impact, KnownTargets, KubernetesScope,
    OF_NODEGROUP, Permission, PlannedChange, PlatformReader, PlatformWriter, Progress,
    RepeatedParam, Result, SizeChange, TargetState, cluster_identity,
    cordon_change::new_owner_mark,
    nodegroup_update, nodegroups,
    types::{NodeRecord, NodegroupName, Sizes},
};
use crate::platform::kubernetes::{node::Node, pod::Pod};
use crate::platform::{
    ErrorKind,
    aws::AutoScalingGroup,
    kubernetes::{self, Selection, node, pod},
};
use removal::Removal;
use runbook::{LimitKind, Reversibility};
use text::plural;

/// Sets how many nodes a managed nodegroup is to have.
///
/// The new size is decided once, when the step begins, so a resumed run never scales twice. The step ends when EKS has
/// accepted the new sizes and the Auto Scaling group carries them, and where there are to be fewer nodes, when the
/// surplus instances have left the group; `wait_nodes` then waits for the nodes. It refuses to work unless the
/// Kubernetes cluster is the nodegroup's EKS cluster: EKS must report the kubeconfig's endpoint or certificate
/// authority for it, or an instance of the nodegroup must be a node of the Kubernetes cluster.
///
/// A group of which more instances are protected from scale-in than are to be left is refused: they would stay.
///
/// Without `drain`, the Auto Scaling group chooses the instances that go by its termination policy, and EKS drains
/// their nodes for a limited time. With `drain`, the step chooses them once: of the zone with the most instances, those
/// that are not protected from scale-in, cordoned nodes first, then those with the fewest pods, then the oldest; the
/// node of this process last. It drains their nodes as the action `drain` does with its defaults, waits until the
/// replacements of the pods are Ready, and then terminates exactly these instances, each of which lowers the desired
/// size by one. Pods that would be lost, and a disruption budget that never allows an eviction, fail the step before
/// anything is changed.
///
/// The undo of a smaller size restores the sizes and uncordons the nodes that still exist; new instances take the place
/// of those that are gone.
///
/// The undo empties the new nodes first: it cordons them, evicts their pods as disruption budgets allow and at most a
/// quarter of a workload's (one at least) at a time, and waits until their replacements are Ready. Only then it lowers
/// the sizes, with the original instances protected from scale-in, so that exactly the new ones go. If the new nodes
/// cannot be emptied, it stops before that.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-no-effect" = [
        [{"lower_min": true}, {"drain": true}, "a step that drains does not lower the minimum; set_nodegroup does"]
    ],
    "x-limits-with" = {"cordon_at_most": "drain"}
))]
pub struct Params {
    /// The nodegroup.
    pub nodegroup: NodegroupName,
    /// How many nodes it is to have.
    pub desired: u32,
    /// Whether to raise the nodegroup's maximum when `desired` is above it.
    #[serde(default)]
    pub raise_max: bool,
    /// Whether to lower the nodegroup's minimum when `desired` is below it.
    #[serde(default)]
    pub lower_min: bool,
    /// Whether nodes that go are drained first, by this step, within the disruption budgets. The minimum cannot be
    /// lowered at the same time: `set_nodegroup` lowers it before.
    #[serde(default)]
    pub drain: bool,
}

/// The nodegroup as it was and as it is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// AWS region of the cluster.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the EKS cluster.
    #[schemars(extend("x-syntax" = "cluster-name"))]
    pub cluster: String,
    /// Name of the nodegroup.
    #[schemars(extend("x-syntax" = "nodegroup-name"))]
    pub name: String,
    /// Name of its Auto Scaling group.
    #[schemars(extend("x-syntax" = "auto-scaling-group-name"))]
    pub auto_scaling_group: String,
    /// The least number of nodes that it may have.
    pub min: u32,
    /// The greatest number of nodes that it may have.
    pub max: u32,
    /// The number of nodes that it is to have.
    pub desired: u32,
    /// How it was before.
    pub before: Before,
    /// Ids of the instances that have left, where there are to be fewer.
    #[serde(default)]
    #[schemars(with = "Vec<InstanceId>")]
    pub removed: Vec<String>,
    /// Names of the nodes that this step drained.
    #[serde(default)]
    #[schemars(with = "Vec<NodeName>")]
    pub drained: Vec<String>,
}

/// A nodegroup before it was scaled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Before {
    /// The least number of nodes that it might have.
    pub min: u32,
    /// The greatest number of nodes that it might have.
    pub max: u32,
    /// The number of nodes that it was to have.
    pub desired: u32,
    /// Ids of the instances that it had.
    #[schemars(with = "Vec<InstanceId>")]
    pub instances: Vec<String>,
    /// The nodes that it had.
    pub nodes: Vec<NodeRecord>,
}

/// Everything that apply and undo will need, as it was before anything was sent.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    nodegroup: NodegroupName,
    auto_scaling_group: String,
    before: Sizes,
    after: Sizes,
    instances: Vec<String>,
    nodes: Vec<NodeRecord>,
    /// Ids of the updates that EKS already knew. An update that is not among them and requests the same sizes is this
    /// step's: it is followed, not sent again.
    earlier_updates: Vec<String>,
    /// Ids of the instances that were protected from scale-in.
    protected: Vec<String>,
    /// The value of the annotation on the nodes that the undo cordons; empty with a removal, whose undo cordons none. A
    /// program that knows no removal misses the field in such an intent and refuses it: it would drain nothing.
    #[serde(default, rename = "mark", skip_serializing_if = "String::is_empty")]
    owner_mark: String,
    /// The instances that the step itself drains and ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    removal: Option<Removal>,
    /// How many pods of each workload had no node: the old nodes never had the capacity for them.
    #[serde(default, rename = "waiting_pods")]
    pending_pods: BTreeMap<String, usize>,
}

/// The response of EKS.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    /// The update to follow; none where nothing had to be sent.
    update: Option<String>,
    /// Whether EKS called it done in its very answer.
    already_done: bool,
}

pub(super) struct ScaleNodegroup;

/// Why the undo acts in every namespace.
const DRAINED: &str =
    "the undo drains the nodes that it removes, and pods of any namespace may run there";
/// Why the step itself does.
const DRAINED_FIRST: &str =
    "the step drains the nodes that go, and pods of any namespace may run there";

/// With this parameter the step itself drains.
const DRAINS: Condition = Condition::IfTrue("drain");

impl Action for ScaleNodegroup {
    const NAME: &'static str = "scale_nodegroup";
    const PERMISSIONS: &'static [Permission] = &[
        // Whether the nodegroup belongs to this cluster; where it is missing, its instances prove that.
        Permission::aws("eks:DescribeCluster", AwsScope::Cluster(OF_NODEGROUP)).optional(),
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(OF_NODEGROUP)),
        Permission::aws("eks:UpdateNodegroupConfig", AwsScope::Nodegroup(OF_NODEGROUP)),
        Permission::aws("eks:DescribeUpdate", AwsScope::ClusterAndNodegroup(OF_NODEGROUP)),
        Permission::aws("eks:ListUpdates", AwsScope::ClusterAndNodegroup(OF_NODEGROUP)),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_NODEGROUP)),
        Permission::core("nodes", &["list"], KubernetesScope::Cluster),
        // From here on, for the undo; before it only the pods that wait for a node are listed, where that is allowed.
        Permission::aws(
            "autoscaling:SetInstanceProtection",
            AwsScope::AutoScalingGroup(OF_NODEGROUP),
        )
        .for_undo(),
        Permission::core("nodes", &["get", "patch"], KubernetesScope::Cluster).for_undo(),
        Permission::core("pods", &["list", "watch"], KubernetesScope::AllNamespaces(DRAINED))
            .for_undo(),
        Permission::core("pods/eviction", &["create"], KubernetesScope::AllNamespaces(DRAINED))
            .for_undo(),
        Permission::apps(
            "replicasets",
            &["list", "watch"],
            KubernetesScope::AllNamespaces(DRAINED),
        )
        .for_undo(),
        Permission::apps(
            "statefulsets",
            &["list", "watch"],
            KubernetesScope::AllNamespaces(DRAINED),
        )
        .for_undo(),
        // To recognize a budget that never allows an eviction, and the causes that keep a pod from starting elsewhere.
        Permission::policy(
            "poddisruptionbudgets",
            &["list"],
            KubernetesScope::AllNamespaces(DRAINED),
        )
        .for_undo()
        .optional(),
        Permission::core("events", &["list"], KubernetesScope::AllNamespaces(DRAINED))
            .for_undo()
            .optional(),
        // The same for the step itself.
        Permission::aws(
            "autoscaling:TerminateInstanceInAutoScalingGroup",
            AwsScope::AutoScalingGroup(OF_NODEGROUP),
        )
        .only(DRAINS),
        Permission::core("nodes", &["get", "patch"], KubernetesScope::Cluster).only(DRAINS),
        Permission::core("pods", &["list", "watch"], KubernetesScope::AllNamespaces(DRAINED_FIRST))
            .only(DRAINS),
        Permission::core(
            "pods/eviction",
            &["create"],
            KubernetesScope::AllNamespaces(DRAINED_FIRST),
        )
        .only(DRAINS),
        Permission::apps("replicasets", &["list"], KubernetesScope::AllNamespaces(DRAINED_FIRST))
            .only(DRAINS),
        Permission::apps("statefulsets", &["list"], KubernetesScope::AllNamespaces(DRAINED_FIRST))
            .only(DRAINS),
        Permission::policy(
            "poddisruptionbudgets",
            &["list"],
            KubernetesScope::AllNamespaces(DRAINED_FIRST),
        )
        .optional()
        .only(DRAINS),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] = &[
        RepeatedParam::new("region", "nodegroup.region"),
        RepeatedParam::new("cluster", "nodegroup.cluster"),
        RepeatedParam::new("name", "nodegroup.name"),
    ];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output
            .before
            .nodes
            .iter()
            .for_each(|node| known.add_node(&node.name, Some(&node.instance)));
        output.before.instances.iter().for_each(|id| known.add_instance(id));
    }
}

impl Change for ScaleNodegroup {
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    const LIMITS: &'static [LimitKind] =
        &[LimitKind::NodesAtMost, LimitKind::CordonAtMost, LimitKind::KeepReady];
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let size = |what: &str, before: u32, after: u32| {
            (before != after)
                .then(|| PlannedChange::new(target(&intent.nodegroup.name, what), before, after))
        };
        let sizes = [
            size("desired", intent.before.desired, intent.after.desired),
            size("min", intent.before.min, intent.after.min),
            size("max", intent.before.max, intent.after.max),
        ];
        let removed = intent.removal.as_ref().map(Removal::planned_changes).unwrap_or_default();
        removed.into_iter().chain(sizes.into_iter().flatten()).collect()
    }

    fn impact(intent: &Intent) -> Impact {
        let drained = intent.removal.as_ref().map(Removal::impact).unwrap_or_default();
        let size = SizeChange {
            group: intent.auto_scaling_group.clone(),
            name: format!("nodegroup {}", intent.nodegroup.name),
            before: intent.before.desired,
            after: intent.after.desired,
        };
        Impact {
            takes_others: size.after < size.before,
            sizes: (size.before != size.after).then_some(size).into_iter().collect(),
            ..drained
        }
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let aws = reader.aws(&params.nodegroup.region).await?;
        let nodegroup = nodegroups::describe(&aws, &params.nodegroup).await?;
        nodegroup_update::ensure_can_be_updated(&nodegroup, "scaled", progress)?;
        let group = nodegroups::describe_group(&aws, nodegroups::group_name(&nodegroup)?).await?;
        let before = Sizes { min: nodegroup.min, max: nodegroup.max, desired: group.desired };
        let after = merge_sizes(&params, before)?;
        check_not_suspended(&group, before, after)?;
        if after.desired < before.desired {
            removal::ensure_unprotected(&group, after.desired)?;
        }
        let kubernetes = reader.kubernetes().await?;
        let found = kubernetes.list::<Node>(&nodes_selection(&nodegroup.name)).await?;
        let nodes: Vec<NodeRecord> = found.iter().filter_map(NodeRecord::of).collect();
        let name = &params.nodegroup;
        cluster_identity::ensure_same_cluster(name, &group, &nodes, &aws, &kubernetes).await?;
        let earlier_updates = aws.list_updates(&nodegroup.cluster, &nodegroup.name).await?;
        let removal = if params.drain && after.desired < before.desired {
            Some(Removal::prepare(&group, &found, after.desired, reader, progress).await?)
        } else {
            None
        };
        let owner_mark =
            if removal.is_none() { new_owner_mark(*reader.clock()) } else { String::new() };
        Ok(Intent {
            nodegroup: params.nodegroup,
            auto_scaling_group: group.name,
            before,
            after,
            protected: group
                .instances
                .iter()
                .filter(|instance| instance.protected)
                .map(|instance| instance.id.clone())
                .collect(),
            instances: group.instances.into_iter().map(|instance| instance.id).collect(),
            nodes,
            earlier_updates,
            owner_mark,
            removal,
            pending_pods: count_pending_pods(&kubernetes).await?,
        })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        if let Some(removal) = &intent.removal {
            removal.apply(intent, writer).await?;
        }
        // After a removal the group has its size already, and EKS is told.
        resize::send(intent, intent.before, intent.after, writer).await
    }

    async fn settle(
        intent: &Intent,
        receipt: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        let aws = reader.aws(&intent.nodegroup.region).await?;
        resize::wait_for_update(intent, receipt, reader, &aws, progress).await?;
        resize::wait_for_group_size(intent, intent.before, intent.after, reader, &aws, progress)
            .await?;
        let removed = match intent.after.desired < intent.before.desired {
            true => resize::wait_for_surplus(intent, reader, &aws, progress).await?,
            false => Vec::new(),
        };
        let NodegroupName { region, cluster, name } = intent.nodegroup.clone();
        Ok(Output {
            region,
            cluster,
            name,
            auto_scaling_group: intent.auto_scaling_group.clone(),
            min: intent.after.min,
            max: intent.after.max,
            desired: intent.after.desired,
            before: Before {
                min: intent.before.min,
                max: intent.before.max,
                desired: intent.before.desired,
                instances: intent.instances.clone(),
                nodes: intent.nodes.clone(),
            },
            removed,
            drained: intent.removal.as_ref().map(Removal::nodes).unwrap_or_default(),
        })
    }

    async fn undo(
        intent: &Intent,
        receipt: Option<&Receipt>,
        writer: &PlatformWriter,
        progress: &Progress,
    ) -> Result<Vec<String>> {
        undo::undo(intent, receipt, writer, progress).await
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        targets::read(intent, reader).await
    }
}

/// Refuses a change that the Auto Scaling group would accept and never carry out: its process is suspended.
fn check_not_suspended(group: &AutoScalingGroup, before: Sizes, after: Sizes) -> Result<()> {
    let process = match after.desired.cmp(&before.desired) {
        Ordering::Greater => "Launch",
        Ordering::Less => "Terminate",
        Ordering::Equal => return Ok(()),
    };
    if !group.is_suspended(process) {
        return Ok(());
    }
    Err(Error::precondition(format!(
        "the process {process} of Auto Scaling group {} is suspended, so its size would not change",
        group.name
    ))
    .with_hint(nodegroups::resume_hint(&group.name, process)))
}

/// Returns the sizes as EKS will check them: merged, and min <= desired <= max.
fn merge_sizes(params: &Params, before: Sizes) -> Result<Sizes> {
    let mut after = Sizes { desired: params.desired, ..before };
    if after.desired > after.max {
        if !params.raise_max {
            return Err(Error::precondition(format!(
                "{} exceeds the maximum of nodegroup {}, which is {}",
                plural(after.desired as usize, "node"),
                params.nodegroup.name,
                after.max
            ))
            .with_hint("set `raise_max: true` to raise the maximum"));
        }
        after.max = after.desired;
    }
    if after.desired < after.min {
        if !params.lower_min {
            return Err(Error::precondition(format!(
                "{} is below the minimum of nodegroup {}, which is {}",
                plural(after.desired as usize, "node"),
                params.nodegroup.name,
                after.min
            ))
            .with_hint("set `lower_min: true` to lower the minimum"));
        }
        if params.drain {
            return Err(Error::precondition(
                "a step that drains ends instances one by one, and cannot lower the minimum with them",
            )
            .with_hint("lower the minimum first, with `set_nodegroup`"));
        }
        after.min = after.desired;
    }
    Ok(after)
}

/// Counts the pods that wait for a node, by workload. Only the undo needs the counts. An account that may not list all
/// pods cannot undo the step either, so the missing permission is not an error here.
async fn count_pending_pods(
    kubernetes: &kubernetes::KubernetesReader,
) -> Result<BTreeMap<String, usize>> {
    let unscheduled = "spec.nodeName=,status.phase!=Succeeded,status.phase!=Failed";
    let pending = match kubernetes.list::<Pod>(&Selection::all().with_fields(unscheduled)).await {
        Ok(pods) => pods,
        Err(error) if error.kind() == ErrorKind::Denied => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut counts = BTreeMap::new();
    for workload in pending.iter().filter_map(pod::workload) {
        *counts.entry(workload).or_default() += 1;
    }
    Ok(counts)
}

/// EKS puts this label on every node of a managed nodegroup.
fn nodes_selection(nodegroup: &str) -> Selection {
    Selection::all().with_labels(node::nodegroup_selector(nodegroup))
}

fn target(nodegroup: &str, what: &str) -> String {
    format!("nodegroup {nodegroup} {what}")
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "desired {}, min {}, max {}", self.desired, self.min, self.max)
    }
}
