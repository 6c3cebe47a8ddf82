//! `find_nodegroup`: the one nodegroup that a runbook is about.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, AwsParams, AwsScope, Error, KnownTargets, Permission, PlatformReader, Progress, Read,
    RepeatedParam, Result, nodegroups,
};
use crate::platform::aws::{AutoScalingGroup, Nodegroup};
use text::join_truncated;

/// Finds the one managed nodegroup that has all of the given labels and enough nodes.
///
/// Labels are the nodegroup's own. Its node count is the DesiredCapacity of its Auto Scaling group. None or several
/// matches are an error that lists what was looked at.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// AWS region of the cluster.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the EKS cluster.
    #[schemars(extend("x-syntax" = "eks-name"))]
    pub cluster: String,
    /// Labels that the nodegroup must have, all of them.
    #[schemars(length(min = 1), extend("x-keys" = "label-key"))]
    pub labels: BTreeMap<String, String>,
    /// The least number of nodes that it must have.
    #[serde(default = "default_min_nodes")]
    pub min_nodes: u32,
}

/// A managed nodegroup.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// AWS region of the cluster.
    pub region: String,
    /// Name of the EKS cluster.
    pub cluster: String,
    /// Name of the nodegroup.
    pub name: String,
    /// Its ARN.
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
    pub auto_scaling_group: String,
    /// Ids of the instances in that group.
    pub instances: Vec<String>,
}

fn default_min_nodes() -> u32 {
    1
}

pub(super) struct FindNodegroup;

/// The parameters that name where to look.
const IN_CLUSTER: AwsParams = AwsParams { region: "region", cluster: "cluster", nodegroup: None };

impl Action for FindNodegroup {
    const NAME: &'static str = "find_nodegroup";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::aws("eks:ListNodegroups", AwsScope::Cluster(IN_CLUSTER)),
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(IN_CLUSTER)),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(IN_CLUSTER)),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] =
        &[RepeatedParam::new("region", "region"), RepeatedParam::new("cluster", "cluster")];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.instances.iter().for_each(|id| known.add_instance(id));
    }
}

impl Read for FindNodegroup {
    async fn read(params: Params, reader: &PlatformReader, progress: &Progress) -> Result<Output> {
        let aws = reader.aws(&params.region).await?;
        let names = aws.list_nodegroups(&params.cluster).await?;
        let nodegroups = aws.describe_nodegroups(&params.cluster, &names).await?;
        let labeled: Vec<&Nodegroup> =
            nodegroups.iter().filter(|group| has_labels(group, &params.labels)).collect();
        let group_names: Vec<String> =
            labeled.iter().flat_map(|group| group.auto_scaling_groups.clone()).collect();
        let groups = aws.describe_auto_scaling_groups(&group_names).await?;
        let (nodegroup, group) = exactly_one(&params, &nodegroups, &labeled, &groups)?;
        if group.desired != nodegroup.desired {
            progress.report(&format!(
                "nodegroup {} says {} nodes, its Auto Scaling group {} says {}: the group's count is used",
                nodegroup.name, nodegroup.desired, group.name, group.desired
            ));
        }
        Ok(Output {
            region: params.region,
            cluster: params.cluster,
            name: nodegroup.name.clone(),
            arn: nodegroup.arn.clone(),
            status: nodegroup.status.clone(),
            labels: nodegroup.labels.clone(),
            min: nodegroup.min,
            max: nodegroup.max,
            desired: group.desired,
            auto_scaling_group: group.name.clone(),
            instances: group.instances.iter().map(|instance| instance.id.clone()).collect(),
        })
    }
}

fn has_labels(nodegroup: &Nodegroup, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| nodegroup.labels.get(key) == Some(value))
}

/// The nodegroup that matches, with its one Auto Scaling group.
fn exactly_one<'a>(
    params: &Params,
    all: &[Nodegroup],
    labeled: &[&'a Nodegroup],
    groups: &'a [AutoScalingGroup],
) -> Result<(&'a Nodegroup, &'a AutoScalingGroup)> {
    let mut matches = Vec::new();
    let mut too_small = Vec::new();
    for nodegroup in labeled {
        match group_of(nodegroup, groups)? {
            Some(group) if group.desired >= params.min_nodes => matches.push((*nodegroup, group)),
            Some(group) => too_small.push(format!("{} has {}", nodegroup.name, group.desired)),
            None => too_small.push(format!(
                "{} ({}) has no Auto Scaling group",
                nodegroup.name, nodegroup.status
            )),
        }
    }
    let wanted = describe_labels(&params.labels);
    match matches.as_slice() {
        [found] => Ok(*found),
        [] if !too_small.is_empty() => Err(Error::precondition(format!(
            "no nodegroup of cluster {} with label {wanted} has {} nodes or more: {}",
            params.cluster,
            params.min_nodes,
            join_truncated(too_small)
        ))),
        [] => Err(Error::precondition(format!(
            "no nodegroup of cluster {} has label {wanted}; the cluster has: {}",
            params.cluster,
            describe_all(all)
        ))),
        several => {
            let names: Vec<_> = several.iter().map(|(group, _)| group.name.as_str()).collect();
            Err(Error::precondition(format!(
                "{} nodegroups of cluster {} have label {wanted} and {} nodes or more: {}",
                several.len(),
                params.cluster,
                params.min_nodes,
                join_truncated(names)
            ))
            .with_hint("add labels that only one of the nodegroups has"))
        }
    }
}

/// The Auto Scaling group of a nodegroup; none of one that is being made or is half gone, which has no nodes.
fn group_of<'a>(
    nodegroup: &Nodegroup,
    groups: &'a [AutoScalingGroup],
) -> Result<Option<&'a AutoScalingGroup>> {
    if nodegroup.auto_scaling_groups.is_empty() {
        return Ok(None);
    }
    let name = nodegroups::group_name(nodegroup)?;
    Ok(groups.iter().find(|group| group.name == name))
}

fn describe_labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

fn describe_all(all: &[Nodegroup]) -> String {
    if all.is_empty() {
        return "no nodegroups".into();
    }
    let each = |group: &Nodegroup| format!("{} ({})", group.name, describe_labels(&group.labels));
    join_truncated(all.iter().map(each))
}
