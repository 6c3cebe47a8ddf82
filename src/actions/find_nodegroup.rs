//! `find_nodegroup`: the one nodegroup that a runbook is about.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Action, AwsParams, AwsScope, Condition, Error, KnownTargets, Permission, PlatformReader,
    Progress, Read, RepeatedParam, Result,
    nodegroups::{self, NodegroupRecord},
    types::NodegroupName,
};
use crate::platform::aws::{AutoScalingGroup, Nodegroup};
use text::join_truncated;

/// Finds the one managed nodegroup that has this name, or all of the given labels, and enough nodes.
///
/// Labels are the nodegroup's own. Its node count is the DesiredCapacity of its Auto Scaling group. None or several
/// matches are an error that lists what was looked at. With a name, no other nodegroup is read.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["name", "labels"]]))]
pub struct Params {
    /// AWS region of the cluster.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the EKS cluster.
    #[schemars(extend("x-syntax" = "cluster-name"))]
    pub cluster: String,
    /// Name of the nodegroup.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "nodegroup-name"))]
    pub name: Option<String>,
    /// Labels that the nodegroup must have, all of them.
    #[serde(default)]
    #[schemars(length(min = 1), extend("x-keys" = "label-key"))]
    pub labels: Option<BTreeMap<String, String>>,
    /// The least number of nodes that it must have.
    #[serde(default = "default_min_nodes")]
    pub min_nodes: u32,
}

fn default_min_nodes() -> u32 {
    1
}

pub(super) struct FindNodegroup;

/// The parameters that name where to look.
const IN_CLUSTER: AwsParams =
    AwsParams { region: "region", cluster: Some("cluster"), nodegroup: Some("name"), group: None };

impl Action for FindNodegroup {
    const NAME: &'static str = "find_nodegroup";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::aws("eks:ListNodegroups", AwsScope::Cluster(IN_CLUSTER))
            .only(Condition::IfGiven("labels")),
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(IN_CLUSTER)),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(IN_CLUSTER)),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] = &[
        RepeatedParam::new("region", "region"),
        RepeatedParam::new("cluster", "cluster"),
        RepeatedParam::new("name", "name"),
    ];
    type Params = Params;
    type Output = NodegroupRecord;

    fn add_known_targets(output: &NodegroupRecord, known: &mut KnownTargets) {
        output.add_known_targets(known);
    }
}

impl Read for FindNodegroup {
    async fn read(
        params: Params,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<NodegroupRecord> {
        let Params { region, cluster, name, labels, min_nodes } = params;
        let aws = reader.aws(&region).await?;
        let wanted = Wanted {
            text: match (&name, &labels) {
                (Some(_), _) => String::new(),
                (None, labels) => {
                    let labels = labels.as_ref().map(nodegroups::describe_pairs);
                    format!(" with label {}", labels.unwrap_or_default())
                }
            },
            cluster,
            min_nodes,
        };
        let all = match name {
            Some(name) => {
                let cluster = wanted.cluster.clone();
                let name = NodegroupName { region: region.clone(), cluster, name };
                vec![nodegroups::describe(&aws, &name).await?]
            }
            None => {
                let names = aws.list_nodegroups(&wanted.cluster).await?;
                aws.describe_nodegroups(&wanted.cluster, &names).await?
            }
        };
        let labels = labels.unwrap_or_default();
        let matching: Vec<&Nodegroup> =
            all.iter().filter(|group| nodegroups::has_all(&group.labels, &labels)).collect();
        let group_names: Vec<String> =
            matching.iter().flat_map(|group| group.auto_scaling_groups.clone()).collect();
        let groups = aws.describe_auto_scaling_groups(&group_names).await?;
        let (nodegroup, group) = exactly_one(&wanted, &all, &matching, &groups)?;
        Ok(NodegroupRecord::of(&region, nodegroup, group, progress))
    }
}

/// The wanted nodegroup.
struct Wanted {
    cluster: String,
    /// The labels, for messages; empty for one that is named.
    text: String,
    min_nodes: u32,
}

/// The nodegroup that matches, with its one Auto Scaling group.
fn exactly_one<'a>(
    wanted: &Wanted,
    all: &[Nodegroup],
    matching: &[&'a Nodegroup],
    groups: &'a [AutoScalingGroup],
) -> Result<(&'a Nodegroup, &'a AutoScalingGroup)> {
    let mut matches = Vec::new();
    let mut too_small = Vec::new();
    for nodegroup in matching {
        match nodegroups::group_of(nodegroup, groups)? {
            Some(group) if group.desired >= wanted.min_nodes => matches.push((*nodegroup, group)),
            Some(group) => too_small.push(format!("{} has {}", nodegroup.name, group.desired)),
            None => too_small.push(format!(
                "{} ({}) has no Auto Scaling group",
                nodegroup.name, nodegroup.status
            )),
        }
    }
    let Wanted { cluster, text, min_nodes } = wanted;
    match matches.as_slice() {
        [found] => Ok(*found),
        [] if !too_small.is_empty() => Err(Error::precondition(format!(
            "no nodegroup of cluster {cluster}{text} has {min_nodes} nodes or more: {}",
            join_truncated(too_small)
        ))),
        [] => Err(Error::precondition(format!(
            "no nodegroup of cluster {cluster}{}; the cluster has: {}",
            text.replacen(" with", " has", 1),
            describe_all(all)
        ))),
        several => {
            let names: Vec<_> = several.iter().map(|(group, _)| group.name.as_str()).collect();
            Err(Error::precondition(format!(
                "{} nodegroups of cluster {cluster}{} and {min_nodes} nodes or more: {}",
                several.len(),
                text.replacen(" with", " have", 1),
                join_truncated(names)
            ))
            .with_hint("add labels that only one of the nodegroups has, or give its name"))
        }
    }
}

fn describe_all(all: &[Nodegroup]) -> String {
    if all.is_empty() {
        return "no nodegroups".into();
    }
    let each = |group: &Nodegroup| {
        format!("{} ({})", group.name, nodegroups::describe_pairs(&group.labels))
    };
    join_truncated(all.iter().map(each))
}
