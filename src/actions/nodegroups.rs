//! The description of a nodegroup and its group, which several actions read before they do anything else.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::InstanceId;
use super::{Error, KnownTargets, Progress, Result, types::NodegroupName};
use crate::platform::aws::{AutoScalingGroup, AwsReader, Nodegroup};
use clock::Backoff;

/// The delays between reads of something in AWS that cannot be watched. EKS takes from seconds to minutes for a change:
/// the first read comes soon, so that a quick change is noticed, and later ones are further apart, because AWS
/// throttles the describe calls of an account together.
pub(super) const POLL_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// A managed nodegroup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodegroupRecord {
    /// AWS region of the cluster.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the EKS cluster.
    #[schemars(extend("x-syntax" = "cluster-name"))]
    pub cluster: String,
    /// Name of the nodegroup.
    #[schemars(extend("x-syntax" = "nodegroup-name"))]
    pub name: String,
    /// Its ARN.
    #[schemars(extend("x-syntax" = "arn"))]
    pub arn: String,
    /// Its status in EKS, such as `ACTIVE`.
    pub status: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The least number of nodes that it may have.
    pub min: u32,
    /// The greatest number of nodes that it may have.
    pub max: u32,
    /// The number of nodes that it is to have.
    pub desired: u32,
    /// Name of its Auto Scaling group.
    #[schemars(extend("x-syntax" = "auto-scaling-group-name"))]
    pub auto_scaling_group: String,
    /// Ids of the instances in that group.
    #[schemars(with = "Vec<InstanceId>")]
    pub instances: Vec<String>,
}

impl NodegroupRecord {
    /// Returns the record of a nodegroup with its group. The size is the group's: an autoscaler changes it without EKS.
    pub(super) fn of(
        region: &str,
        nodegroup: &Nodegroup,
        group: &AutoScalingGroup,
        progress: &Progress,
    ) -> Self {
        if group.desired != nodegroup.desired {
            progress.report(&format!(
                "nodegroup {} says {} nodes, its Auto Scaling group {} says {}: the group's count is used",
                nodegroup.name, nodegroup.desired, group.name, group.desired
            ));
        }
        Self {
            region: region.to_owned(),
            cluster: nodegroup.cluster.clone(),
            name: nodegroup.name.clone(),
            arn: nodegroup.arn.clone(),
            status: nodegroup.status.clone(),
            labels: nodegroup.labels.clone(),
            min: nodegroup.min,
            max: nodegroup.max,
            desired: group.desired,
            auto_scaling_group: group.name.clone(),
            instances: group.instances.iter().map(|instance| instance.id.clone()).collect(),
        }
    }

    /// Adds the instances, which existed when they were read.
    pub(super) fn add_known_targets(&self, known: &mut KnownTargets) {
        self.instances.iter().for_each(|id| known.add_instance(id));
    }
}

/// Returns the nodegroup of that name.
pub(super) async fn describe(aws: &AwsReader, name: &NodegroupName) -> Result<Nodegroup> {
    aws.describe_nodegroup(&name.cluster, &name.name).await?.ok_or_else(|| {
        Error::precondition(format!(
            "nodegroup {} not found in cluster {}",
            name.name, name.cluster
        ))
        .with_hint(format!(
            "`aws eks list-nodegroups --region {} --cluster-name {}` lists the names",
            name.region, name.cluster
        ))
    })
}

/// Returns the Auto Scaling group of a nodegroup; none of one that is being made or is half gone, which has no nodes.
pub(super) fn group_of<'a>(
    nodegroup: &Nodegroup,
    groups: &'a [AutoScalingGroup],
) -> Result<Option<&'a AutoScalingGroup>> {
    if nodegroup.auto_scaling_groups.is_empty() {
        return Ok(None);
    }
    let name = group_name(nodegroup)?;
    Ok(groups.iter().find(|group| group.name == name))
}

/// Returns whether `all` has all of the wanted labels or tags.
pub(super) fn has_all(all: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| all.get(key) == Some(value))
}

/// Returns labels or tags as text: `a=b,c=d`.
pub(super) fn describe_pairs(pairs: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
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
