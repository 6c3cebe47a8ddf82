//! The undo: restores the old sizes by removing exactly the new instances.
//!
//! Lowering the desired size lets the Auto Scaling group choose who goes, and asks no disruption budget. So the new
//! nodes are emptied first, and the choice is narrowed to them by protecting all others. Every part can be repeated:
//! an interrupted undo reads the state again and continues.

use std::collections::BTreeSet;

use super::{Intent, Receipt, nodes_selection, resize, scale_in::ScaleInSelection, target};
use crate::platform::kubernetes::node::Node;
use crate::{
    actions::{
        Error, PlatformWriter, Progress, Result,
        cordon_change::{CordonChange, has_mark},
        drain::until_empty,
        nodegroups,
        protection::{self, SkippedInstance},
        types::Sizes,
    },
    platform::{
        aws::{self, AutoScalingGroup, Nodegroup},
        kubernetes::node,
        wait::{self, WaitState},
    },
};
use clock::Pace;
use text::{join_truncated, plural};

pub(super) async fn undo(
    intent: &Intent,
    receipt: Option<&Receipt>,
    writer: &PlatformWriter,
    progress: &Progress,
) -> Result<Vec<String>> {
    let reader = writer.reader();
    let aws = reader.aws(&intent.nodegroup.region).await?;
    let nodegroup = wait_for_own_update(intent, receipt, writer, &aws, progress).await?;
    let group = nodegroups::describe_group(&aws, &intent.auto_scaling_group).await?;
    let (now, goal, mut not_restored) = plan_restore(intent, &nodegroup, &group);
    if let Some(removal) = &intent.removal {
        not_restored.extend(removal.undo(writer, progress).await?);
    }
    let shrinks = goal.desired < intent.after.desired;
    let selection = if shrinks && group.desired > goal.desired {
        let selection = drain_removed(intent, goal.desired, writer, progress).await?;
        protect_retained(intent, &selection, writer, progress).await?;
        selection
    } else {
        let nodes =
            reader.kubernetes().await?.list::<Node>(&nodes_selection(&nodegroup.name)).await?;
        ScaleInSelection::of(intent, &group, &nodes, goal.desired)
    };
    not_restored.extend(uncordon_retained(intent, &selection, writer).await?);
    let sent = resize::send(intent, now, goal, writer).await?;
    resize::wait_for_update(intent, &sent, reader, &aws, progress).await?;
    resize::wait_for_group_size(intent, now, goal, reader, &aws, progress).await?;
    if shrinks {
        wait_until_removed(intent, &selection.removed, writer, progress).await?;
    }
    not_restored.extend(lost_instances(intent, &aws).await?);
    let skipped = restore_protection(intent, &selection, &group, writer).await?;
    not_restored.extend(skipped.into_iter().map(|instance| {
        format!("left the protection of instance {} unchanged: {}", instance.id, instance.reason)
    }));
    Ok(not_restored)
}

/// Waits for this step's own update, which may still be in progress, even one whose response was lost. The sizes show
/// how the update ends.
async fn wait_for_own_update(
    intent: &Intent,
    receipt: Option<&Receipt>,
    writer: &PlatformWriter,
    aws: &aws::AwsReader,
    progress: &Progress,
) -> Result<Nodegroup> {
    let found = nodegroups::describe(aws, &intent.nodegroup).await?;
    let update = match receipt {
        Some(receipt) => receipt.update.clone(),
        None if found.status == "UPDATING" => {
            resize::find_own_update(intent, aws, intent.after).await?
        }
        None => None,
    };
    let Some(update) = update else { return Ok(found) };
    let receipt = Receipt { update: Some(update), already_done: false };
    match resize::wait_for_update(intent, &receipt, writer.reader(), aws, progress).await {
        Ok(()) | Err(Error::OperationFailed { .. }) => {
            nodegroups::describe(aws, &intent.nodegroup).await
        }
        Err(error) => Err(error),
    }
}

/// Returns the current sizes, the sizes to restore, and the sizes that are not restored because another client set
/// them. The desired size in EKS can lag behind that of the group: either of them may have the value that this step
/// set.
fn plan_restore(
    intent: &Intent,
    nodegroup: &Nodegroup,
    group: &AutoScalingGroup,
) -> (Sizes, Sizes, Vec<String>) {
    let (before, after) = (intent.before, intent.after);
    let ours = |size: u32, before: u32, after: u32| size == before || size == after;
    // A removal ends one instance after another, and each lowers the size of the group.
    let is_partly_removed =
        intent.removal.is_some() && (after.desired..=before.desired).contains(&group.desired);
    let known = ours(nodegroup.desired, before.desired, after.desired) && !is_partly_removed;
    let desired = if known { nodegroup.desired } else { group.desired };
    let found = Sizes { desired, min: nodegroup.min, max: nodegroup.max };
    let mut not_restored = Vec::new();
    let mut restore = |what: &str, now: u32, before: u32, after: u32| {
        if ours(now, before, after) {
            return before;
        }
        let target = target(&intent.nodegroup.name, what);
        not_restored
            .push(format!("left {target} at {now}: another client changed it from {after}"));
        now
    };
    let desired_after = if is_partly_removed { found.desired } else { after.desired };
    let mut goal = Sizes {
        desired: restore("desired", found.desired, before.desired, desired_after),
        min: restore("min", found.min, before.min, after.min),
        max: restore("max", found.max, before.max, after.max),
    };
    // A size that another client has set may need the limits that this step raised.
    let name = &intent.nodegroup.name;
    for (what, size, now, fits) in [
        ("max", &mut goal.max, found.max, goal.desired <= before.max),
        ("min", &mut goal.min, found.min, goal.desired >= before.min),
    ] {
        if !fits && *size != now {
            *size = now;
            not_restored.push(format!(
                "left {} at {now}: desired is {}",
                target(name, what),
                goal.desired
            ));
        }
    }
    // A size to restore has the value that this step set, or is restored already.
    let from = |now: u32, goal: u32, after: u32| if now == goal { goal } else { after };
    let now = Sizes {
        desired: from(found.desired, goal.desired, desired_after),
        min: from(found.min, goal.min, after.min),
        max: from(found.max, goal.max, after.max),
    };
    (now, goal, not_restored)
}

/// Drains the nodes to remove, and those that join meanwhile: a slow node for which a wait was given up is the emptiest
/// one when it joins, so evicted pods would be scheduled to it. A node is drained once, also where another client has
/// cordoned it; one that was uncordoned since is cordoned and drained again, because it may have new pods.
async fn drain_removed(
    intent: &Intent,
    desired: u32,
    writer: &PlatformWriter,
    progress: &Progress,
) -> Result<ScaleInSelection> {
    let aws = writer.reader().aws(&intent.nodegroup.region).await?;
    let kubernetes = writer.reader().kubernetes().await?;
    let mut pace = Pace::new(writer.reader().clock(), nodegroups::POLL_BACKOFF);
    // The first time, nodes that an interrupted attempt has cordoned are drained too: they may have pods.
    let mut drained = BTreeSet::new();
    loop {
        pace.next_turn().await;
        let group = nodegroups::describe_group(&aws, &intent.auto_scaling_group).await?;
        let nodes = kubernetes.list::<Node>(&nodes_selection(&intent.nodegroup.name)).await?;
        let selection = ScaleInSelection::of(intent, &group, &nodes, desired);
        let leaving = on_instances(&nodes, &selection.removed);
        let is_drained =
            |node: &Node| node::is_cordoned(node) && drained.contains(&node.metadata.uid);
        if leaving.iter().all(is_drained) {
            return Ok(selection);
        }
        cordon_and_drain(intent, &leaving, writer, progress).await?;
        drained.extend(leaving.into_iter().map(|node| node.metadata.uid));
    }
}

fn on_instances(nodes: &[Node], instances: &[String]) -> Vec<Node> {
    let is_on = |node: &&Node| {
        let instance = node::instance_id(node);
        instance.is_some_and(|id| instances.iter().any(|instance| instance == id))
    };
    nodes.iter().filter(is_on).cloned().collect()
}

/// Uncordons the nodes that an earlier attempt cordoned and that are now retained, because more nodes are wanted.
async fn uncordon_retained(
    intent: &Intent,
    selection: &ScaleInSelection,
    writer: &PlatformWriter,
) -> Result<Vec<String>> {
    let kubernetes = writer.kubernetes().await?;
    let nodes = kubernetes.reader().list::<Node>(&nodes_selection(&intent.nodegroup.name)).await?;
    let mut staying = on_instances(&nodes, &selection.retained);
    staying.retain(|node| has_mark(node, &intent.owner_mark));
    if staying.is_empty() {
        return Ok(Vec::new());
    }
    CordonChange::on_open_nodes(&staying, intent.owner_mark.clone()).undo(&kubernetes).await
}

/// Cordons the nodes to remove, and evicts their pods.
async fn cordon_and_drain(
    intent: &Intent,
    leaving: &[Node],
    writer: &PlatformWriter,
    progress: &Progress,
) -> Result<()> {
    let names: Vec<String> = leaving.iter().filter_map(|node| node.metadata.name.clone()).collect();
    progress.report(&format!(
        "draining {}: {}",
        plural(names.len(), "new node"),
        join_truncated(&names)
    ));
    let change = CordonChange::of(leaving, true, intent.owner_mark.clone());
    change.apply(&writer.kubernetes().await?).await?;
    until_empty::drain(&names, &intent.pending_pods, writer, progress).await.map_err(|error| match error {
        Error::Unrecoverable { message, hint } => Error::Unrecoverable {
            message: format!(
                "the new nodes of nodegroup {} could not be drained, so its size was not lowered: {message}",
                intent.nodegroup.name
            ),
            hint,
        },
        other => other,
    })
}

/// Protects every other instance from scale-in, so that the group can only choose the instances to remove.
async fn protect_retained(
    intent: &Intent,
    selection: &ScaleInSelection,
    writer: &PlatformWriter,
    progress: &Progress,
) -> Result<()> {
    let aws = writer.aws(&intent.nodegroup.region).await?;
    let group = &intent.auto_scaling_group;
    let staying = [&selection.original[..], &selection.retained[..]].concat();
    for skipped in protection::set_protected(&aws, group, &staying, true).await? {
        progress
            .report(&format!("instance {} cannot be protected: {}", skipped.id, skipped.reason));
    }
    // The flag of an instance that is starting cannot be set yet; it is set below once the instance runs.
    protection::set_protected(&aws, group, &selection.removed, false).await.map(drop)
}

/// Waits until the instances have left the group.
async fn wait_until_removed(
    intent: &Intent,
    removed: &[String],
    writer: &PlatformWriter,
    progress: &Progress,
) -> Result<()> {
    let aws = writer.aws(&intent.nodegroup.region).await?;
    let clock = writer.reader().clock();
    wait::poll(progress, clock, nodegroups::POLL_BACKOFF, || async {
        let group = nodegroups::describe_group(aws.reader(), &intent.auto_scaling_group).await?;
        let there: Vec<_> =
            removed.iter().filter_map(|id| protection::find_instance(&group, id)).collect();
        if there.is_empty() {
            return Ok(WaitState::Ready(()));
        }
        let protected_at_launch: Vec<String> = there
            .iter()
            .filter(|instance| instance.protected && instance.is_protectable())
            .map(|instance| instance.id.clone())
            .collect();
        if !protected_at_launch.is_empty() {
            protection::set_protected(&aws, &group.name, &protected_at_launch, false).await?;
        }
        let named =
            there.iter().map(|instance| format!("{} ({})", instance.id, instance.lifecycle));
        Ok(WaitState::Pending(format!(
            "Auto Scaling group {} to end {}",
            group.name,
            join_truncated(named)
        )))
    })
    .await
}

/// Returns a sentence about the original instances that are gone, which no undo restores.
async fn lost_instances(intent: &Intent, aws: &aws::AwsReader) -> Result<Option<String>> {
    let group = nodegroups::describe_group(aws, &intent.auto_scaling_group).await?;
    let is_lost = |id: &&String| protection::find_instance(&group, id).is_none();
    let lost: Vec<&String> = intent.instances.iter().filter(is_lost).collect();
    Ok((!lost.is_empty()).then(|| {
        let count = plural(lost.len(), "instance");
        format!(
            "{count} that nodegroup {} had before {} gone: {}",
            intent.nodegroup.name,
            if lost.len() == 1 { "is" } else { "are" },
            join_truncated(lost)
        )
    }))
}

/// Restores the flags of the original instances, and gives the retained new ones the group's default.
async fn restore_protection(
    intent: &Intent,
    selection: &ScaleInSelection,
    group: &AutoScalingGroup,
    writer: &PlatformWriter,
) -> Result<Vec<SkippedInstance>> {
    let aws = writer.aws(&intent.nodegroup.region).await?;
    let (mut protected, mut open): (Vec<String>, Vec<String>) =
        selection.original.iter().cloned().partition(|id| intent.protected.contains(id));
    let retained = selection.retained.iter().cloned();
    if group.new_instances_protected {
        protected.extend(retained);
    } else {
        open.extend(retained);
    }
    let mut skipped = protection::set_protected(&aws, &group.name, &protected, true).await?;
    skipped.extend(protection::set_protected(&aws, &group.name, &open, false).await?);
    Ok(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{actions::types::NodegroupName, platform::aws::UpdateConfig};

    const BEFORE: Sizes = Sizes { min: 2, max: 4, desired: 3 };
    const AFTER: Sizes = Sizes { min: 2, max: 6, desired: 6 };

    fn restore_plan(nodegroup: (u32, u32, u32), group_desired: u32) -> (Sizes, Sizes, Vec<String>) {
        let (min, max, desired) = nodegroup;
        let intent = Intent {
            nodegroup: NodegroupName { region: "r".into(), cluster: "c".into(), name: "g".into() },
            auto_scaling_group: "asg".into(),
            before: BEFORE,
            after: AFTER,
            instances: Vec::new(),
            nodes: Vec::new(),
            earlier_updates: Vec::new(),
            protected: Vec::new(),
            owner_mark: "ours".into(),
            removal: None,
            pending_pods: [].into(),
        };
        let nodegroup = Nodegroup {
            tags: [].into(),
            name: "g".into(),
            arn: String::new(),
            cluster: "c".into(),
            status: "ACTIVE".into(),
            labels: [].into(),
            taints: Vec::new(),
            min,
            max,
            desired,
            update_config: UpdateConfig::Count(1),
            version: String::new(),
            release_version: String::new(),
            launch_template: None,
            auto_scaling_groups: vec!["asg".into()],
            health: Vec::new(),
            ..Nodegroup::default()
        };
        let group = AutoScalingGroup {
            name: "asg".into(),
            arn: String::new(),
            min,
            max,
            desired: group_desired,
            new_instances_protected: false,
            instances: Vec::new(),
            suspended_processes: Vec::new(),
            tags: [].into(),
            ..AutoScalingGroup::default()
        };
        plan_restore(&intent, &nodegroup, &group)
    }

    #[test]
    fn sizes_that_the_step_set_are_restored() {
        assert_eq!(restore_plan((2, 6, 6), 6), (AFTER, BEFORE, vec![]));
        assert_eq!(restore_plan((2, 4, 3), 3), (BEFORE, BEFORE, vec![]), "it is back already");
        assert_eq!(restore_plan((2, 6, 3), 6).1, BEFORE, "EKS's own number lags behind");
    }

    #[test]
    fn sizes_that_another_client_set_are_kept_with_their_limits() {
        let (now, goal, not_restored) = restore_plan((2, 9, 6), 6);
        assert_eq!((now.max, goal), (9, Sizes { max: 9, ..BEFORE }));
        assert_eq!(not_restored, ["left nodegroup g max at 9: another client changed it from 6"]);
        let (now, goal, not_restored) = restore_plan((2, 6, 5), 5);
        assert_eq!(goal, Sizes { min: 2, max: 6, desired: 5 });
        assert_eq!((now.desired, not_restored.len()), (5, 2));
        let (_, goal, _) = restore_plan((0, 6, 1), 1);
        assert_eq!(goal, Sizes { min: 0, max: 4, desired: 1 });
    }
}
