//! Looks that several actions take at a nodegroup before they do anything with it.

use super::{Error, Result, types::NodegroupName};
use crate::platform::aws::{AutoScalingGroup, AwsReader, Nodegroup};

/// The nodegroup of that name.
pub(super) async fn describe(aws: &AwsReader, name: &NodegroupName) -> Result<Nodegroup> {
    aws.describe_nodegroup(&name.cluster, &name.name).await?.ok_or_else(|| {
        Error::precondition(format!("cluster {} has no nodegroup {}", name.cluster, name.name))
    })
}

/// The name of its one Auto Scaling group. EKS gives a list; none of our actions means anything for several.
pub(super) fn group_name(nodegroup: &Nodegroup) -> Result<&str> {
    match nodegroup.auto_scaling_groups.as_slice() {
        [name] => Ok(name),
        groups => Err(Error::precondition(format!(
            "nodegroup {} has {} Auto Scaling groups, and this needs exactly one",
            nodegroup.name,
            groups.len()
        ))),
    }
}

/// The Auto Scaling group of that name.
pub(super) async fn describe_group(aws: &AwsReader, name: &str) -> Result<AutoScalingGroup> {
    let groups = aws.describe_auto_scaling_groups(&[name.to_owned()]).await?;
    groups
        .into_iter()
        .next()
        .ok_or_else(|| Error::precondition(format!("there is no Auto Scaling group {name}")))
}
