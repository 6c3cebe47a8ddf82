//! `terminate_instances`: end exactly these instances of an Auto Scaling group.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kinds::{InstanceId, NodeName};
use super::{
    Action, AwsScope, Change, Condition, Error, Impact, KnownTargets, KubernetesScope, OF_GROUP,
    OF_NODEGROUP, Permission, PlannedChange, PlatformReader, PlatformWriter, Progress, Result,
    SizeChange, TargetState, group_instances, group_target, nodegroups,
    protection::find_instance,
    types::{AutoScalingGroupName, NodeRecord, NodegroupName},
};
use crate::platform::kubernetes::node::Node;
use crate::platform::{
    aws::{AutoScalingGroup, AwsReader, GroupInstance},
    kubernetes::Selection,
    wait::{self, WaitState},
};
use runbook::{LimitKind, Reversibility};
use text::{join_truncated, plural};

/// Terminates instances of an Auto Scaling group, each by its id, and waits until they and their nodes are gone.
///
/// The instances are named themselves or by the nodes that they run. One that is not the group's is refused; one that
/// an earlier step listed and that has ended since is reported as gone. Protection from scale-in does not keep an
/// instance from this step. No pod is evicted: drain the nodes first. The step names every instance once, before
/// anything is sent, so a repetition never ends another one. Nothing brings an instance back: without `lower_desired`
/// the group launches a new one for each, which `wait_nodes` can wait for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["nodegroup", "auto_scaling_group"], ["instances", "nodes"]]))]
pub struct Params {
    /// The nodegroup of which the group is meant.
    #[serde(default)]
    pub nodegroup: Option<NodegroupName>,
    /// The group, such as the output of `find_auto_scaling_group`.
    #[serde(default)]
    pub auto_scaling_group: Option<AutoScalingGroupName>,
    /// Ids of the instances. An empty list changes nothing.
    #[serde(default)]
    #[schemars(with = "Option<Vec<InstanceId>>")]
    pub instances: Option<Vec<String>>,
    /// Names of the nodes that the instances run.
    #[serde(default)]
    #[schemars(with = "Option<Vec<NodeName>>")]
    pub nodes: Option<Vec<String>>,
    /// Whether the group is to have so many fewer instances. That is refused where the group would have fewer than its
    /// minimum.
    #[serde(default)]
    pub lower_desired: bool,
}

/// The instances that are gone.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Ids of the instances that this step terminated, or that were ending already.
    #[schemars(with = "Vec<InstanceId>")]
    pub terminated: Vec<String>,
    /// The nodes that ran on them.
    pub nodes: Vec<NodeRecord>,
    /// The instances, or the nodes where `nodes` was given, that have ended since an earlier step listed them.
    pub gone: Vec<String>,
}

/// The instances to terminate: those that were in the group when the step was prepared.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    region: String,
    auto_scaling_group: String,
    /// The instances to terminate, and those that were ending already.
    instances: Vec<String>,
    /// Those of them that were ending already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ending: Vec<String>,
    lower_desired: bool,
    /// The desired size before, and after.
    desired: (u32, u32),
    nodes: Vec<NodeRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

/// Nothing needs to be kept: an instance is there or it is not.
#[derive(Serialize, Deserialize)]
pub struct Receipt {}

pub(super) struct TerminateInstances;

impl Action for TerminateInstances {
    const NAME: &'static str = "terminate_instances";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(OF_NODEGROUP))
            .only(Condition::IfGiven("nodegroup")),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_NODEGROUP))
            .only(Condition::IfGiven("nodegroup")),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_GROUP))
            .only(Condition::IfGiven("auto_scaling_group")),
        Permission::aws("ec2:DescribeInstances", AwsScope::Region(OF_NODEGROUP))
            .only(Condition::IfGiven("nodegroup")),
        Permission::aws("ec2:DescribeInstances", AwsScope::Region(OF_GROUP))
            .only(Condition::IfGiven("auto_scaling_group")),
        Permission::aws(
            "autoscaling:TerminateInstanceInAutoScalingGroup",
            AwsScope::AutoScalingGroup(OF_NODEGROUP),
        )
        .only(Condition::IfGiven("nodegroup")),
        Permission::aws(
            "autoscaling:TerminateInstanceInAutoScalingGroup",
            AwsScope::NamedAutoScalingGroup(OF_GROUP),
        )
        .only(Condition::IfGiven("auto_scaling_group")),
        Permission::core("nodes", &["list", "watch"], KubernetesScope::Cluster),
    ];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.terminated.iter().for_each(|id| known.add_instance(id));
        output.nodes.iter().for_each(|node| known.add_node(&node.name, Some(&node.instance)));
    }
}

impl Change for TerminateInstances {
    const REVERSIBILITY: Reversibility = Reversibility::Irreversible;
    const LIMITS: &'static [LimitKind] = Impact::REMOVES_PODS;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let is_new = |id: &&String| !intent.ending.contains(id);
        let ends = intent.instances.iter().filter(is_new);
        let mut planned: Vec<PlannedChange> =
            ends.map(|id| PlannedChange::new(target(id), true, Value::Null)).collect();
        let (before, after) = intent.desired;
        if before != after {
            planned.push(PlannedChange::new(desired_of(&intent.auto_scaling_group), before, after));
        }
        planned
    }

    fn impact(intent: &Intent) -> Impact {
        let is_new = |node: &&NodeRecord| !intent.ending.contains(&node.instance);
        let (before, after) = intent.desired;
        let size = SizeChange {
            group: intent.auto_scaling_group.clone(),
            name: format!("Auto Scaling group {}", intent.auto_scaling_group),
            before,
            after,
        };
        Impact {
            sizes: (before != after).then_some(size).into_iter().collect(),
            nodes: intent.nodes.iter().filter(is_new).map(|node| node.name.clone()).collect(),
            takes_others: intent.instances.len() > intent.ending.len(),
            ..Impact::default()
        }
    }

    async fn prepare(
        params: Params,
        known: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let (nodegroup, group) = (params.nodegroup.as_ref(), params.auto_scaling_group.as_ref());
        let found = group_target::find(nodegroup, group, reader).await?;
        let (instances, nodes) = (params.instances.as_ref(), params.nodes.as_ref());
        let named =
            group_instances::find(instances, nodes, &found, known, reader, progress).await?;
        let is_ending =
            |id: &&String| find_instance(&found.group, id).is_some_and(GroupInstance::is_leaving);
        let ending: Vec<String> = named.ids.iter().filter(is_ending).cloned().collect();
        let count = u32::try_from(named.ids.len() - ending.len()).unwrap_or(u32::MAX);
        let before = found.group.desired;
        let after =
            if params.lower_desired { ensure_above_minimum(&found.group, count)? } else { before };
        let nodes = reader.kubernetes().await?.list::<Node>(&Selection::all()).await?;
        let nodes = nodes.iter().filter_map(NodeRecord::of);
        Ok(Intent {
            region: found.region,
            auto_scaling_group: found.group.name,
            nodes: nodes.filter(|node| named.ids.contains(&node.instance)).collect(),
            instances: named.ids.into_iter().collect(),
            ending,
            lower_desired: params.lower_desired,
            desired: (before, after),
            gone: named.gone,
        })
    }

    /// Asks for each instance whether it is there and not ending before it is terminated: a call that was sent and not
    /// answered must not lower the desired size once more.
    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        if intent.instances.is_empty() {
            return Ok(Receipt {});
        }
        let aws = writer.aws(&intent.region).await?;
        let group = nodegroups::describe_group(aws.reader(), &intent.auto_scaling_group).await?;
        let is_left =
            |id: &&String| find_instance(&group, id).is_some_and(|instance| !instance.is_leaving());
        for id in intent.instances.iter().filter(is_left) {
            aws.terminate_instance(id, intent.lower_desired).await?;
        }
        Ok(Receipt {})
    }

    async fn settle(
        intent: &Intent,
        _: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        wait_for_instances(intent, reader, progress).await?;
        wait_for_nodes(intent, reader, progress).await?;
        Ok(Output {
            terminated: intent.instances.clone(),
            nodes: intent.nodes.clone(),
            gone: intent.gone.clone(),
        })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        let aws = writer.reader().aws(&intent.region).await?;
        let group = nodegroups::describe_group(&aws, &intent.auto_scaling_group).await?;
        let is_ended =
            |id: &&String| find_instance(&group, id).is_none_or(GroupInstance::is_leaving);
        let ended: Vec<&String> = intent.instances.iter().filter(is_ended).collect();
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let count = plural(ended.len(), "terminated instance");
        Ok(vec![format!("{count} cannot be restored: {}", join_truncated(ended))])
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        if intent.instances.is_empty() {
            return Ok(Vec::new());
        }
        let aws = reader.aws(&intent.region).await?;
        let group = nodegroups::describe_group(&aws, &intent.auto_scaling_group).await?;
        let is_new = |id: &&String| !intent.ending.contains(id);
        let state = |id: &String| {
            let found = find_instance(&group, id).filter(|instance| !instance.is_leaving());
            let now = found.map_or(Value::Null, |_| true.into());
            TargetState::new(target(id), true, now, None)
        };
        let mut targets: Vec<TargetState> =
            intent.instances.iter().filter(is_new).map(state).collect();
        let (before, after) = intent.desired;
        if before != after {
            let what = desired_of(&intent.auto_scaling_group);
            targets.push(TargetState::new(what, before, group.desired, None));
        }
        Ok(targets)
    }
}

fn target(id: &str) -> String {
    format!("instance {id}")
}

fn desired_of(group: &str) -> String {
    format!("Auto Scaling group {group} desired")
}

/// Returns the desired size without `count` instances.
fn ensure_above_minimum(group: &AutoScalingGroup, count: u32) -> Result<u32> {
    match group.desired.checked_sub(count).filter(|after| *after >= group.min || count == 0) {
        Some(after) => Ok(after),
        None => Err(Error::precondition(format!(
            "Auto Scaling group {} is to have {}, and at least {}: {} cannot go",
            group.name,
            plural(group.desired as usize, "instance"),
            group.min,
            plural(count as usize, "instance"),
        ))
        .with_hint(
            "lower the minimum first (`set_nodegroup`, `scale_auto_scaling_group`), or leave out `lower_desired`",
        )),
    }
}

/// Waits until the group no longer has the instances, and EC2 has ended them.
async fn wait_for_instances(
    intent: &Intent,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<()> {
    if intent.instances.is_empty() {
        return Ok(());
    }
    let aws = reader.aws(&intent.region).await?;
    wait::poll(progress, reader.clock(), nodegroups::POLL_BACKOFF, || async {
        let left = remaining(intent, &aws).await?;
        Ok(match left.is_empty() {
            true => WaitState::Ready(()),
            false => WaitState::Pending(format!(
                "{} of {} to end: {}",
                left.len(),
                plural(intent.instances.len(), "instance"),
                join_truncated(left)
            )),
        })
    })
    .await
}

/// Returns the instances that are not gone, each with its state.
async fn remaining(intent: &Intent, aws: &AwsReader) -> Result<Vec<String>> {
    let group = nodegroups::describe_group(aws, &intent.auto_scaling_group).await?;
    let (in_group, others): (Vec<_>, Vec<_>) =
        intent.instances.iter().cloned().partition(|id| find_instance(&group, id).is_some());
    let state = |id: &String| {
        let lifecycle = find_instance(&group, id).map(|instance| instance.lifecycle.as_str());
        format!("{id} ({})", lifecycle.unwrap_or_default())
    };
    let mut left: Vec<String> = in_group.iter().map(state).collect();
    if others.is_empty() {
        return Ok(left);
    }
    let found = aws.describe_instances(&others).await?;
    let running = found.into_iter().filter(|instance| instance.state != "terminated");
    left.extend(running.map(|instance| format!("{} ({})", instance.id, instance.state)));
    Ok(left)
}

/// Waits until the nodes of the instances are gone. The cloud controller removes them once it has seen the end of the
/// instances.
async fn wait_for_nodes(
    intent: &Intent,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<()> {
    if intent.nodes.is_empty() {
        return Ok(());
    }
    let uids: BTreeSet<&str> = intent.nodes.iter().map(|node| node.uid.as_str()).collect();
    let mut nodes = reader.kubernetes().await?.watch::<Node>(&Selection::all());
    let view = nodes.view();
    wait::until(progress, &mut [&mut nodes], || {
        let mut left = view.objects();
        left.retain(|node| node.metadata.uid.as_deref().is_some_and(|uid| uids.contains(uid)));
        if left.is_empty() {
            return WaitState::Ready(());
        }
        let names = left.iter().filter_map(|node| node.metadata.name.clone());
        WaitState::Pending(format!(
            "{} to be removed: {}",
            plural(left.len(), "node"),
            join_truncated(names)
        ))
    })
    .await?;
    Ok(())
}
