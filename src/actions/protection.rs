//! Scale-in protection of instances, for `set_protection` and the undo of `scale_nodegroup`.

use super::{RestoreCommand, Result, TargetState, nodegroups};
use crate::platform::{
    ErrorKind,
    aws::{AutoScalingGroup, AwsWriter, GroupInstance, MAX_PROTECTED_PER_CALL},
};

/// An instance whose flag could not be set, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SkippedInstance {
    pub(super) id: String,
    pub(super) reason: String,
    /// Whether the instance is no longer in the group.
    pub(super) is_gone: bool,
}

/// Sets the flag of the instances that do not have it, in as few calls as the service allows, and returns the
/// instances whose flag cannot be set.
///
/// # Errors
/// A call failed for another reason than an instance that has just changed its state.
pub(super) async fn set_protected(
    aws: &AwsWriter,
    group: &str,
    ids: &[String],
    protected: bool,
) -> Result<Vec<SkippedInstance>> {
    let mut group_now = nodegroups::describe_group(aws.reader(), group).await?;
    match send(aws, &group_now, ids, protected).await {
        // One instance in the wrong state fails the call for all. The group shows which one.
        Err(error) if error.kind() == ErrorKind::Invalid => {
            group_now = nodegroups::describe_group(aws.reader(), group).await?;
            send(aws, &group_now, ids, protected).await?;
        }
        result => result?,
    }
    Ok(ids.iter().filter_map(|id| skip_reason(&group_now, id)).collect())
}

async fn send(
    aws: &AwsWriter,
    group: &AutoScalingGroup,
    ids: &[String],
    protected: bool,
) -> Result<(), crate::platform::Error> {
    let needs_change = |id: &&String| {
        find_instance(group, id)
            .is_some_and(|instance| instance.is_protectable() && instance.protected != protected)
    };
    let ids: Vec<String> = ids.iter().filter(needs_change).cloned().collect();
    for batch in ids.chunks(MAX_PROTECTED_PER_CALL) {
        aws.set_instance_protection(&group.name, batch, protected).await?;
    }
    Ok(())
}

/// Returns why the flag of an instance cannot be set; none if it can.
pub(super) fn skip_reason(group: &AutoScalingGroup, id: &str) -> Option<SkippedInstance> {
    let (reason, is_gone) = match find_instance(group, id) {
        Some(instance) if instance.is_protectable() => return None,
        Some(instance) => (format!("its state is {}", instance.lifecycle), false),
        None => (format!("it is no longer in Auto Scaling group {}", group.name), true),
    };
    Some(SkippedInstance { id: id.to_owned(), reason, is_gone })
}

/// Returns the flag of an instance beside the one that it had before.
pub(super) fn target_state(
    region: &str,
    group: &AutoScalingGroup,
    id: &str,
    before: bool,
) -> TargetState {
    let flag = if before { "--protected-from-scale-in" } else { "--no-protected-from-scale-in" };
    let found = find_instance(group, id);
    let restore = || {
        let name = group.name.as_str();
        let arguments = [
            "autoscaling",
            "set-instance-protection",
            "--auto-scaling-group-name",
            name,
            "--instance-ids",
            id,
            flag,
        ];
        RestoreCommand::aws(region, arguments)
    };
    TargetState::new(
        target(id),
        before,
        found.map(|instance| instance.protected),
        found.map(|_| restore()),
    )
}

/// Returns the flag of an instance as a target, for messages.
pub(super) fn target(id: &str) -> String {
    format!("instance {id} protected from scale-in")
}

pub(super) fn find_instance<'a>(
    group: &'a AutoScalingGroup,
    id: &str,
) -> Option<&'a GroupInstance> {
    group.instances.iter().find(|instance| instance.id == id)
}
