//! The Auto Scaling group that a step acts on: that of a nodegroup, or one that is named itself.

use super::{
    Error, PlatformReader, Result, nodegroups,
    types::{AutoScalingGroupName, NodegroupName},
};
use crate::platform::aws::{AutoScalingGroup, AwsReader};

/// A group that was found, with the clients of its region.
pub(super) struct GroupTarget {
    pub(super) region: String,
    pub(super) aws: AwsReader,
    pub(super) group: AutoScalingGroup,
    /// The group, and the nodegroup where it is known, for messages.
    pub(super) text: String,
}

/// Returns the group that a step's parameters name.
///
/// # Errors
/// The group or the nodegroup does not exist, or the nodegroup has several groups.
pub(super) async fn find(
    nodegroup: Option<&NodegroupName>,
    group: Option<&AutoScalingGroupName>,
    reader: &PlatformReader,
) -> Result<GroupTarget> {
    match (nodegroup, group) {
        (Some(name), _) => {
            let aws = reader.aws(&name.region).await?;
            let nodegroup = nodegroups::describe(&aws, name).await?;
            let group =
                nodegroups::describe_group(&aws, nodegroups::group_name(&nodegroup)?).await?;
            let text = format!("nodegroup {} (Auto Scaling group {})", name.name, group.name);
            Ok(GroupTarget { region: name.region.clone(), aws, group, text })
        }
        (None, Some(name)) => {
            let aws = reader.aws(&name.region).await?;
            let group = nodegroups::describe_group(&aws, &name.name).await?;
            let text = format!("Auto Scaling group {}", group.name);
            Ok(GroupTarget { region: name.region.clone(), aws, group, text })
        }
        // The check of the runbook requires one of them.
        (None, None) => {
            Err(Error::precondition("neither `nodegroup` nor `auto_scaling_group` is given"))
        }
    }
}
