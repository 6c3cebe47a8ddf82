//! `find_auto_scaling_group`: a group that belongs to no nodegroup.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::InstanceId;
use super::suspend_processes::Process;
use super::{
    Action, AwsParams, AwsScope, Error, KnownTargets, Permission, PlatformReader, Progress, Read,
    RepeatedParam, Result, nodegroups,
};
use crate::platform::aws::AutoScalingGroup;
use text::join_truncated;

/// Finds the one Auto Scaling group that has this name, or all of the given tags.
///
/// It is for groups that belong to no nodegroup, such as those of self-managed nodes; `find_nodegroup` finds the others
/// too, with their cluster. None or several matches are an error.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["name", "tags"]]))]
pub struct Params {
    /// AWS region of the group.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the group.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    #[schemars(extend("x-syntax" = "auto-scaling-group-name"))]
    pub name: Option<String>,
    /// Tags that the group must have, all of them.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub tags: Option<BTreeMap<String, String>>,
}

/// An Auto Scaling group.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// AWS region of the group.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the group.
    #[schemars(extend("x-syntax" = "auto-scaling-group-name"))]
    pub name: String,
    /// Its ARN.
    #[schemars(extend("x-syntax" = "arn"))]
    pub arn: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The least number of instances that it may have.
    pub min: u32,
    /// The greatest number of instances that it may have.
    pub max: u32,
    /// The number of instances that it is to have.
    pub desired: u32,
    /// Ids of its instances, in whatever state.
    #[schemars(with = "Vec<InstanceId>")]
    pub instances: Vec<String>,
    /// Its suspended processes.
    #[schemars(with = "Vec<Process>")]
    pub suspended: Vec<String>,
}

pub(super) struct FindAutoScalingGroup;

/// The parameters that name where to look.
const IN_REGION: AwsParams =
    AwsParams { region: "region", cluster: None, nodegroup: None, group: None };

impl Action for FindAutoScalingGroup {
    const NAME: &'static str = "find_auto_scaling_group";
    const PERMISSIONS: &'static [Permission] =
        &[Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(IN_REGION))];
    const REPEATED_PARAMS: &'static [RepeatedParam] =
        &[RepeatedParam::new("region", "region"), RepeatedParam::new("name", "name")];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.instances.iter().for_each(|id| known.add_instance(id));
    }
}

impl Read for FindAutoScalingGroup {
    async fn read(params: Params, reader: &PlatformReader, _: &Progress) -> Result<Output> {
        let aws = reader.aws(&params.region).await?;
        let group = match (params.name, params.tags.unwrap_or_default()) {
            (Some(name), _) => nodegroups::describe_group(&aws, &name).await?,
            (None, tags) => {
                exactly_one(aws.auto_scaling_groups_with_tags(&tags).await?, &tags, &params.region)?
            }
        };
        Ok(Output {
            region: params.region,
            name: group.name,
            arn: group.arn,
            tags: group.tags,
            min: group.min,
            max: group.max,
            desired: group.desired,
            instances: group.instances.into_iter().map(|instance| instance.id).collect(),
            suspended: group.suspended_processes,
        })
    }
}

fn exactly_one(
    mut groups: Vec<AutoScalingGroup>,
    tags: &BTreeMap<String, String>,
    region: &str,
) -> Result<AutoScalingGroup> {
    let tags = nodegroups::describe_pairs(tags);
    match (groups.pop(), groups.is_empty()) {
        (Some(group), true) => Ok(group),
        (None, _) => Err(Error::precondition(format!(
            "no Auto Scaling group of region {region} has tag {tags}"
        ))),
        (Some(last), false) => {
            let mut names: Vec<String> =
                groups.into_iter().chain([last]).map(|group| group.name).collect();
            names.sort();
            Err(Error::precondition(format!(
                "{} Auto Scaling groups of region {region} have tag {tags}: {}",
                names.len(),
                join_truncated(names)
            ))
            .with_hint("add tags that only one of the groups has, or give its name"))
        }
    }
}
