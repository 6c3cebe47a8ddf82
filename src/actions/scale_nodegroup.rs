//! `scale_nodegroup`: more nodes, or fewer.

use std::{fmt, time::Duration};

use k8s_openapi::api::core::v1::Node;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, Change, Diff, Error, Permission, Progress, Reader, Result, Writer, nodegroups,
    records::{NodeRecord, NodegroupName, Sizes},
    three_way::{Move, three_way},
};
use crate::{
    platform::{
        aws::{self, AutoScalingGroup, Nodegroup, Scaling, Update, UpdateStatus},
        kubernetes::{Selection, node},
    },
    runbook::Undo,
};

/// EKS takes from seconds to minutes for a change of sizes. The first look comes soon, so that a quick one is not
/// waited for, and the looks then grow apart, because EKS throttles DescribeUpdate.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Sets how many nodes a managed nodegroup is to have.
///
/// The new size is decided once, when the step begins, so a resumed run never scales twice. The step ends when EKS
/// has accepted the new sizes and the Auto Scaling group carries them; `wait_nodes` then waits for the nodes. It
/// refuses to work on a nodegroup none of whose instances is a node of the Kubernetes cluster that it talks to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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
}

/// The nodegroup as it was and as it is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// AWS region of the cluster.
    pub region: String,
    /// Name of the EKS cluster.
    pub cluster: String,
    /// Name of the nodegroup.
    pub name: String,
    /// Name of its Auto Scaling group.
    pub auto_scaling_group: String,
    /// The least number of nodes that it may have.
    pub min: u32,
    /// The greatest number of nodes that it may have.
    pub max: u32,
    /// The number of nodes that it is to have.
    pub desired: u32,
    /// How it was before.
    pub before: Before,
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
    /// Ids of the updates that EKS already knew. One that is not among them, and that asks for what we ask for, is
    /// ours: it is followed, not sent again.
    earlier_updates: Vec<String>,
}

/// What EKS answered.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    /// The update to follow; none where nothing had to be sent.
    update: Option<String>,
    /// Whether EKS called it done in its very answer.
    already_done: bool,
}

pub(super) struct ScaleNodegroup;

impl Action for ScaleNodegroup {
    const NAME: &'static str = "scale_nodegroup";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::Aws("eks:DescribeNodegroup"),
        Permission::Aws("eks:UpdateNodegroupConfig"),
        Permission::Aws("eks:DescribeUpdate"),
        Permission::Aws("eks:ListUpdates"),
        Permission::Aws("autoscaling:DescribeAutoScalingGroups"),
        Permission::core("nodes", &["list"]),
    ];
    type Params = Params;
    type Output = Output;
}

impl Change for ScaleNodegroup {
    const UNDO: Undo = Undo::Restores;
    type Intent = Intent;
    type Receipt = Receipt;

    fn changes(intent: &Intent) -> Vec<Diff> {
        let size = |what: &str, before: u32, after: u32| {
            (before != after)
                .then(|| Diff::new(target(&intent.nodegroup.name, what), before, after))
        };
        [
            size("desired", intent.before.desired, intent.after.desired),
            size("min", intent.before.min, intent.after.min),
            size("max", intent.before.max, intent.after.max),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    async fn prepare(params: Params, reader: &Reader, progress: &Progress) -> Result<Intent> {
        let aws = reader.aws(&params.nodegroup.region).await?;
        let nodegroup = nodegroups::describe(&aws, &params.nodegroup).await?;
        refuse_unless_it_can_be_scaled(&nodegroup, progress)?;
        let group = nodegroups::group(&aws, nodegroups::group_name(&nodegroup)?).await?;
        let before =
            Sizes { min: nodegroup.min, max: nodegroup.max, desired: group.desired };
        let after = merged(&params, before)?;
        let kubernetes = reader.kubernetes().await?;
        let nodes = kubernetes.list::<Node>(&nodes_of(&nodegroup.name)).await?;
        let nodes: Vec<NodeRecord> = nodes.iter().filter_map(NodeRecord::of).collect();
        refuse_another_cluster(&params.nodegroup, &group, &nodes)?;
        let earlier_updates = aws.list_updates(&nodegroup.cluster, &nodegroup.name).await?;
        Ok(Intent {
            nodegroup: params.nodegroup,
            auto_scaling_group: group.name,
            before,
            after,
            instances: group.instances.into_iter().map(|instance| instance.id).collect(),
            nodes,
            earlier_updates,
        })
    }

    async fn apply(intent: &Intent, writer: &Writer) -> Result<Receipt> {
        resize(intent, intent.before, intent.after, writer).await
    }

    async fn settle(
        intent: &Intent,
        receipt: &Receipt,
        reader: &Reader,
        progress: &Progress,
    ) -> Result<Output> {
        let aws = reader.aws(&intent.nodegroup.region).await?;
        follow(intent, receipt, reader, &aws, progress).await?;
        group_carries(intent, intent.before, intent.after, reader, &aws, progress).await?;
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
        })
    }

    async fn undo(
        intent: &Intent,
        receipt: Option<&Receipt>,
        writer: &Writer,
        progress: &Progress,
    ) -> Result<Vec<String>> {
        let reader = writer.reader();
        let aws = reader.aws(&intent.nodegroup.region).await?;
        if let Some(receipt) = receipt {
            // Ours may still be under way; a failed one needs no undo, which the sizes then show.
            let _ = follow(intent, receipt, reader, &aws, progress).await;
        }
        progress.say(&format!(
            "restoring the sizes of nodegroup {}: its Auto Scaling group chooses which instances go",
            intent.nodegroup.name
        ));
        let receipt = resize(intent, intent.after, intent.before, writer).await?;
        follow(intent, &receipt, reader, &aws, progress).await?;
        group_carries(intent, intent.after, intent.before, reader, &aws, progress).await?;
        Ok(Vec::new())
    }
}

/// DEGRADED is no reason to refuse: it stays so even for a group of no nodes.
fn refuse_unless_it_can_be_scaled(nodegroup: &Nodegroup, progress: &Progress) -> Result<()> {
    for issue in &nodegroup.health {
        progress.say(&format!("nodegroup {} has an issue: {issue}", nodegroup.name));
    }
    match nodegroup.status.as_str() {
        "ACTIVE" | "DEGRADED" => Ok(()),
        "UPDATING" => Err(busy(nodegroup)),
        status => Err(Error::Refused(format!(
            "nodegroup {} is {status}: only an ACTIVE one can be scaled",
            nodegroup.name
        ))),
    }
}

fn busy(nodegroup: &Nodegroup) -> Error {
    Error::Busy(format!("nodegroup {} is being updated by somebody else", nodegroup.name))
}

/// The sizes as EKS will check them: merged, and min <= desired <= max.
fn merged(params: &Params, before: Sizes) -> Result<Sizes> {
    let mut after = Sizes { desired: params.desired, ..before };
    if after.desired > after.max {
        if !params.raise_max {
            return Err(Error::Refused(format!(
                "{} nodes are more than the maximum of nodegroup {}, {}: say `raise_max: true` to raise it",
                after.desired, params.nodegroup.name, after.max
            )));
        }
        after.max = after.desired;
    }
    if after.desired < after.min {
        if !params.lower_min {
            return Err(Error::Refused(format!(
                "{} nodes are fewer than the minimum of nodegroup {}, {}: say `lower_min: true` to lower it",
                after.desired, params.nodegroup.name, after.min
            )));
        }
        after.min = after.desired;
    }
    Ok(after)
}

/// The name of the EKS cluster and the kubeconfig are independent of each other. An instance of the nodegroup that is
/// a node here proves that they mean the same cluster.
fn refuse_another_cluster(
    name: &NodegroupName,
    group: &AutoScalingGroup,
    nodes: &[NodeRecord],
) -> Result<()> {
    let mut running = group.instances.iter().filter(|i| i.lifecycle.as_str() == "InService");
    let is_node_here = |id: &str| nodes.iter().any(|node| node.instance == id);
    if running.clone().any(|instance| is_node_here(&instance.id)) {
        return Ok(());
    }
    let why = match running.next() {
        Some(instance) => format!("{} runs instance {}, which is no node", name.name, instance.id),
        None => format!("{} has no instance in service to tell it by", name.name),
    };
    Err(Error::Refused(format!(
        "cannot tell that the Kubernetes cluster is EKS cluster {} in {}: nodegroup {why} of the cluster that the kubeconfig names; check --context and the runbook's cluster",
        name.cluster, name.region
    )))
}

/// EKS puts this label on every node of a managed nodegroup.
fn nodes_of(nodegroup: &str) -> Selection {
    Selection::all().labelled(format!("{}={nodegroup}", node::NODEGROUP_LABEL))
}

fn target(nodegroup: &str, what: &str) -> String {
    format!("nodegroup {nodegroup} {what}")
}

/// Sends the sizes `to`, unless they stand already, or were sent before and the answer was lost.
async fn resize(intent: &Intent, from: Sizes, to: Sizes, writer: &Writer) -> Result<Receipt> {
    let name = &intent.nodegroup;
    let aws = writer.reader().aws(&name.region).await?;
    let nodegroup = nodegroups::describe(&aws, name).await?;
    let is_updating = nodegroup.status.as_str() == "UPDATING";
    if is_updating || sizes_of(&nodegroup) == to {
        if let Some(update) = our_update(intent, &aws, to).await? {
            return Ok(Receipt { update: Some(update), already_done: false });
        }
    }
    if is_updating {
        return Err(busy(&nodegroup));
    }
    let group = nodegroups::group(&aws, &intent.auto_scaling_group).await?;
    if plan(&nodegroup, &group, from, to)? == Move::Done {
        return Ok(Receipt { update: None, already_done: true });
    }
    let scaling = Scaling {
        min: (from.min != to.min).then_some(to.min),
        max: (from.max != to.max).then_some(to.max),
        desired: Some(to.desired),
    };
    let client = writer.aws(&name.region).await?;
    let update = client.update_nodegroup_config(&name.cluster, &name.name, scaling).await?;
    Ok(Receipt {
        already_done: update.status == UpdateStatus::Successful,
        update: Some(update.id),
    })
}

fn sizes_of(nodegroup: &Nodegroup) -> Sizes {
    Sizes { min: nodegroup.min, max: nodegroup.max, desired: nodegroup.desired }
}

/// The three-way rule, size by size. EKS's own desired size can lag behind the group's: either of them may stand
/// where we left it.
fn plan(nodegroup: &Nodegroup, group: &AutoScalingGroup, from: Sizes, to: Sizes) -> Result<Move> {
    let name = &nodegroup.name;
    let stands = |desired: u32| desired == from.desired || desired == to.desired;
    let desired = if stands(nodegroup.desired) { nodegroup.desired } else { group.desired };
    let moves = [
        three_way(&target(name, "desired"), &desired, &from.desired, &to.desired)?,
        three_way(&target(name, "min"), &nodegroup.min, &from.min, &to.min)?,
        three_way(&target(name, "max"), &nodegroup.max, &from.max, &to.max)?,
    ];
    let all_done = moves.iter().all(|step| *step == Move::Done) && group.desired == to.desired;
    Ok(if all_done { Move::Done } else { Move::Write })
}

/// An update that began after the intent and asks for the sizes `to`.
async fn our_update(intent: &Intent, aws: &aws::Reader, to: Sizes) -> Result<Option<String>> {
    let name = &intent.nodegroup;
    for id in aws.list_updates(&name.cluster, &name.name).await? {
        if intent.earlier_updates.contains(&id) {
            continue;
        }
        let update = aws.describe_update(&name.cluster, &name.name, &id).await?;
        if update.is_some_and(|update| asks_for(&update, to) && !has_failed(&update.status)) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn asks_for(update: &Update, sizes: Sizes) -> bool {
    let fits = |asked: Option<u32>, size: u32| asked.is_none_or(|asked| asked == size);
    update.scaling.desired == Some(sizes.desired)
        && fits(update.scaling.min, sizes.min)
        && fits(update.scaling.max, sizes.max)
}

fn has_failed(status: &UpdateStatus) -> bool {
    matches!(status, UpdateStatus::Failed | UpdateStatus::Cancelled)
}

/// Waits until the update has ended. A failed one returns the nodegroup to ACTIVE, so its status proves nothing.
async fn follow(
    intent: &Intent,
    receipt: &Receipt,
    reader: &Reader,
    aws: &aws::Reader,
    progress: &Progress,
) -> Result<()> {
    let (Some(id), false) = (&receipt.update, receipt.already_done) else {
        return Ok(());
    };
    let name = &intent.nodegroup;
    let mut pauses = Pauses::default();
    loop {
        let Some(update) = aws.describe_update(&name.cluster, &name.name, id).await? else {
            // A server that has no DescribeUpdate: the sizes tell the rest.
            return Ok(());
        };
        match update.status {
            UpdateStatus::Successful => return Ok(()),
            UpdateStatus::Failed | UpdateStatus::Cancelled => return Err(ended_badly(name, &update)),
            UpdateStatus::InProgress | UpdateStatus::Unknown(_) => progress
                .waiting(&format!("EKS to finish update {id} of nodegroup {}", name.name)),
        }
        reader.clock().sleep(pauses.next()).await;
    }
}

fn ended_badly(name: &NodegroupName, update: &Update) -> Error {
    let errors = if update.errors.is_empty() {
        "without saying why".to_owned()
    } else {
        update.errors.join("; ")
    };
    Error::Failed(format!(
        "EKS update {} of nodegroup {} ended as {:?}: {errors}",
        update.id, name.name, update.status
    ))
}

/// EKS hands the size on to the Auto Scaling group; whoever reads the group next must find it there.
async fn group_carries(
    intent: &Intent,
    from: Sizes,
    to: Sizes,
    reader: &Reader,
    aws: &aws::Reader,
    progress: &Progress,
) -> Result<()> {
    let mut pauses = Pauses::default();
    loop {
        let group = nodegroups::group(aws, &intent.auto_scaling_group).await?;
        let what = format!("Auto Scaling group {} desired", group.name);
        if three_way(&what, &group.desired, &from.desired, &to.desired)? == Move::Done {
            return Ok(());
        }
        progress.waiting(&format!("{what} to become {}: it is {}", to.desired, group.desired));
        reader.clock().sleep(pauses.next()).await;
    }
}

/// Pauses that grow from [`FIRST_LOOK`] to [`LONGEST_PAUSE`].
#[derive(Default)]
struct Pauses(u32);

impl Pauses {
    fn next(&mut self) -> Duration {
        let pause = FIRST_LOOK.saturating_mul(1 << self.0.min(16)).min(LONGEST_PAUSE);
        self.0 += 1;
        pause
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "desired {}, min {}, max {}", self.desired, self.min, self.max)
    }
}
