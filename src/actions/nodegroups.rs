//! The description of a nodegroup and its group, which several actions read before they do anything else.

use std::time::Duration;

use super::{Error, Result, types::NodegroupName};
use crate::platform::aws::{AutoScalingGroup, AwsReader, Nodegroup};
use clock::Backoff;

/// The delays between reads of something in AWS that cannot be watched. EKS takes from seconds to minutes for a change:
/// the first read comes soon, so that a quick change is noticed, and later ones are further apart, because AWS
/// throttles the describe calls of an account together.
pub(super) const POLL_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// Returns the nodegroup of that name.
pub(super) async fn describe(aws: &AwsReader, name: &NodegroupName) -> Result<Nodegroup> {
    aws.describe_nodegroup(&name.cluster, &name.name).await?.ok_or_else(|| {
        Error::precondition(format!(
            "nodegroup {} not found in cluster {}",
            name.name, name.cluster
        ))
    })
}

/// Returns the name of the nodegroup's only Auto Scaling group. EKS returns a list; no action supports several.
pub(super) fn group_name(nodegroup: &Nodegroup) -> Result<&str> {
    match nodegroup.auto_scaling_groups.as_slice() {
        [name] => Ok(name),
        groups => Err(Error::precondition(format!(
            "nodegroup {} must have exactly one Auto Scaling group, but has {}",
            nodegroup.name,
            groups.len()
        ))),
    }
}

/// Returns the hint for a process of an Auto Scaling group that is suspended.
pub(super) fn resume_hint(group: &str, process: &str) -> String {
    format!(
        "resume it: `aws autoscaling resume-processes --auto-scaling-group-name {group} --scaling-processes {process}`"
    )
}

/// Returns the Auto Scaling group of that name.
pub(super) async fn describe_group(aws: &AwsReader, name: &str) -> Result<AutoScalingGroup> {
    let groups = aws.describe_auto_scaling_groups(&[name.to_owned()]).await?;
    groups
        .into_iter()
        .next()
        .ok_or_else(|| Error::precondition(format!("Auto Scaling group {name} not found")))
}
