//! Sending sizes to EKS, and waiting for the update.

use super::{Intent, Receipt, removal::describe, target};
use crate::{
    actions::{
        PlatformReader, PlatformWriter, Progress, Result,
        compare_and_set::{WriteDecision, decide_write},
        nodegroup_update, nodegroups,
        protection::find_instance,
        types::Sizes,
    },
    platform::{
        aws::{self, AutoScalingGroup, Nodegroup, Scaling, Update, UpdateStatus},
        wait::{self, WaitState},
    },
};
use text::plural;

/// Sends the sizes `to`, unless they are set already, or were sent before and the response was lost.
pub(super) async fn send(
    intent: &Intent,
    from: Sizes,
    to: Sizes,
    writer: &PlatformWriter,
) -> Result<Receipt> {
    let name = &intent.nodegroup;
    let aws = writer.reader().aws(&name.region).await?;
    let nodegroup = nodegroups::describe(&aws, name).await?;
    let is_updating = nodegroup.status.as_str() == "UPDATING";
    if (is_updating || sizes_of(&nodegroup) == to)
        && let Some(update) = find_own_update(intent, &aws, to).await?
    {
        return Ok(Receipt { update: Some(update), already_done: false });
    }
    if is_updating {
        return Err(nodegroup_update::busy(&nodegroup.name));
    }
    let group = nodegroups::describe_group(&aws, &intent.auto_scaling_group).await?;
    if decide_sizes_write(&nodegroup, &group, from, to)? == WriteDecision::NotNeeded {
        return Ok(Receipt { update: None, already_done: true });
    }
    let scaling = Scaling {
        min: (from.min != to.min).then_some(to.min),
        max: (from.max != to.max).then_some(to.max),
        desired: Some(to.desired),
    };
    let client = writer.aws(&name.region).await?;
    let update = client.update_nodegroup_config(&name.cluster, &name.name, &scaling.into()).await?;
    Ok(Receipt { already_done: update.status == UpdateStatus::Successful, update: Some(update.id) })
}

pub(super) fn sizes_of(nodegroup: &Nodegroup) -> Sizes {
    Sizes { min: nodegroup.min, max: nodegroup.max, desired: nodegroup.desired }
}

/// Applies the three-way rule, size by size. The desired size in EKS can lag behind that of the group: either of them
/// may have the value that this step set.
fn decide_sizes_write(
    nodegroup: &Nodegroup,
    group: &AutoScalingGroup,
    from: Sizes,
    to: Sizes,
) -> Result<WriteDecision> {
    let name = &nodegroup.name;
    let is_known = |desired: u32| desired == from.desired || desired == to.desired;
    let desired = if is_known(nodegroup.desired) { nodegroup.desired } else { group.desired };
    let decisions = [
        decide_write(&target(name, "desired"), &desired, &from.desired, &to.desired)?,
        decide_write(&target(name, "min"), &nodegroup.min, &from.min, &to.min)?,
        decide_write(&target(name, "max"), &nodegroup.max, &from.max, &to.max)?,
    ];
    let all_done = decisions.iter().all(|decision| *decision == WriteDecision::NotNeeded)
        && group.desired == to.desired;
    Ok(if all_done { WriteDecision::NotNeeded } else { WriteDecision::Needed })
}

/// Returns an update that began after the step was prepared and requests the sizes `to`.
pub(super) async fn find_own_update(
    intent: &Intent,
    aws: &aws::AwsReader,
    to: Sizes,
) -> Result<Option<String>> {
    let name = &intent.nodegroup;
    for id in aws.list_updates(&name.cluster, &name.name).await? {
        if intent.earlier_updates.contains(&id) {
            continue;
        }
        let update = aws.describe_update(&name.cluster, &name.name, &id).await?;
        if update.is_some_and(|update| requests_sizes(&update, to) && !has_failed(&update.status)) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn requests_sizes(update: &Update, sizes: Sizes) -> bool {
    let matches =
        |requested: Option<u32>, size: u32| requested.is_none_or(|requested| requested == size);
    update.scaling.desired == Some(sizes.desired)
        && matches(update.scaling.min, sizes.min)
        && matches(update.scaling.max, sizes.max)
}

fn has_failed(status: &UpdateStatus) -> bool {
    matches!(status, UpdateStatus::Failed | UpdateStatus::Cancelled)
}

/// Waits until the update has ended. A failed one returns the nodegroup to ACTIVE, so its status proves nothing.
pub(super) async fn wait_for_update(
    intent: &Intent,
    receipt: &Receipt,
    reader: &PlatformReader,
    aws: &aws::AwsReader,
    progress: &Progress,
) -> Result<()> {
    let (Some(id), false) = (&receipt.update, receipt.already_done) else {
        return Ok(());
    };
    nodegroup_update::follow(&intent.nodegroup, id, aws, reader, progress, None).await
}

/// Waits until no instance is left in the group beyond its size, those that are ending included. Returns the earlier
/// instances that are gone.
pub(super) async fn wait_for_surplus(
    intent: &Intent,
    reader: &PlatformReader,
    aws: &aws::AwsReader,
    progress: &Progress,
) -> Result<Vec<String>> {
    wait::poll(progress, reader.clock(), nodegroups::POLL_BACKOFF, || async {
        let group = nodegroups::describe_group(aws, &intent.auto_scaling_group).await?;
        let (leaving, active): (Vec<_>, Vec<_>) =
            group.instances.iter().partition(|instance| instance.is_leaving());
        let surplus = active.len().saturating_sub(group.desired as usize);
        if leaving.is_empty() && surplus == 0 {
            let is_gone = |id: &&String| find_instance(&group, id).is_none();
            return Ok(WaitState::Ready(
                intent.instances.iter().filter(is_gone).cloned().collect(),
            ));
        }
        let protected = active.iter().filter(|instance| instance.protected).count();
        let ending = match leaving.as_slice() {
            [] => String::new(),
            leaving => format!("; ending: {}", describe(leaving)),
        };
        let kept = match protected > group.desired as usize {
            true => format!("; {} protected from scale-in", plural(protected, "instance")),
            false => String::new(),
        };
        Ok(WaitState::Pending(format!(
            "{} to leave Auto Scaling group {}{ending}{kept}",
            plural(surplus + leaving.len(), "instance"),
            group.name
        )))
    })
    .await
}

/// Waits until EKS has passed the size on to the Auto Scaling group, so that the next read finds it there.
pub(super) async fn wait_for_group_size(
    intent: &Intent,
    from: Sizes,
    to: Sizes,
    reader: &PlatformReader,
    aws: &aws::AwsReader,
    progress: &Progress,
) -> Result<()> {
    wait::poll(progress, reader.clock(), nodegroups::POLL_BACKOFF, || async {
        let group = nodegroups::describe_group(aws, &intent.auto_scaling_group).await?;
        let what = format!("Auto Scaling group {} desired", group.name);
        let decision = decide_write(&what, &group.desired, &from.desired, &to.desired)?;
        Ok(match decision {
            WriteDecision::NotNeeded => WaitState::Ready(()),
            WriteDecision::Needed => WaitState::Pending(format!(
                "{what} to become {}: it is {}",
                to.desired, group.desired
            )),
        })
    })
    .await
}
