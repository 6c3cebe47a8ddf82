//! `list_nodegroups`: the nodegroups of a cluster.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, AwsParams, AwsScope, KnownTargets, Permission, PlatformReader, Progress, Read,
    RepeatedParam, Result,
    nodegroups::{self, NodegroupRecord},
    types::count_u32,
};

/// Lists the managed nodegroups of a cluster: all, or those that have the given labels and tags.
///
/// No match is an empty list. The node count of each is the DesiredCapacity of its Auto Scaling group. A nodegroup
/// that has no group yet, because it is being created, or no longer, is left out, and said.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// AWS region of the cluster.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the EKS cluster.
    #[schemars(extend("x-syntax" = "cluster-name"))]
    pub cluster: String,
    /// Labels that a nodegroup must have, all of them.
    #[serde(default)]
    #[schemars(extend("x-keys" = "label-key"))]
    pub labels: BTreeMap<String, String>,
    /// Tags that a nodegroup must have, all of them. They are those of the nodegroup itself in EKS.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// The nodegroups.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// How many there are.
    pub count: u32,
    /// The nodegroups, by name. Each can be handed on as the `nodegroup` of another step.
    pub nodegroups: Vec<NodegroupRecord>,
}

pub(super) struct ListNodegroups;

/// The parameters that name where to look.
const IN_CLUSTER: AwsParams =
    AwsParams { region: "region", cluster: Some("cluster"), nodegroup: None, group: None };

impl Action for ListNodegroups {
    const NAME: &'static str = "list_nodegroups";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::aws("eks:ListNodegroups", AwsScope::Cluster(IN_CLUSTER)),
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(IN_CLUSTER)),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(IN_CLUSTER)),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] = &[
        RepeatedParam::new("nodegroups[].region", "region"),
        RepeatedParam::new("nodegroups[].cluster", "cluster"),
    ];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.nodegroups.iter().for_each(|nodegroup| nodegroup.add_known_targets(known));
    }
}

impl Read for ListNodegroups {
    async fn read(params: Params, reader: &PlatformReader, progress: &Progress) -> Result<Output> {
        let aws = reader.aws(&params.region).await?;
        let names = aws.list_nodegroups(&params.cluster).await?;
        let mut found = aws.describe_nodegroups(&params.cluster, &names).await?;
        found.retain(|nodegroup| {
            nodegroups::has_all(&nodegroup.labels, &params.labels)
                && nodegroups::has_all(&nodegroup.tags, &params.tags)
        });
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let group_names: Vec<String> =
            found.iter().flat_map(|nodegroup| nodegroup.auto_scaling_groups.clone()).collect();
        let groups = aws.describe_auto_scaling_groups(&group_names).await?;
        let mut nodegroups = Vec::new();
        for nodegroup in &found {
            match nodegroups::group_of(nodegroup, &groups)? {
                Some(group) => {
                    let record = NodegroupRecord::of(&params.region, nodegroup, group, progress);
                    nodegroups.push(record);
                }
                None => progress.report(&format!(
                    "nodegroup {} ({}) is left out: it has no Auto Scaling group",
                    nodegroup.name, nodegroup.status
                )),
            }
        }
        Ok(Output { count: count_u32(&nodegroups), nodegroups })
    }
}
