//! `get_protection`: which instances of a nodegroup scale-in must leave alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, AwsScope, KnownTargets, OF_NODEGROUP, Permission, PlatformReader, Progress, Read,
    Result, nodegroups, types::NodegroupName,
};

/// Tells which instances of a nodegroup are protected from scale-in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The nodegroup.
    pub nodegroup: NodegroupName,
}

/// The protections of a nodegroup.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Name of its Auto Scaling group.
    pub auto_scaling_group: String,
    /// Its instances, by id.
    pub instances: Vec<Instance>,
    /// Ids of those that are protected.
    pub protected: Vec<String>,
    /// Whether new instances of the group are protected from the start.
    pub new_instances_protected: bool,
}

/// An instance, as its group sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// The lifecycle state: `InService`, `Pending`, `Terminating`, …
    pub lifecycle: String,
    /// Whether scale-in must leave it alone.
    pub protected: bool,
}

pub(super) struct GetProtection;

impl Action for GetProtection {
    const NAME: &'static str = "get_protection";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(OF_NODEGROUP)),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_NODEGROUP)),
    ];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.instances.iter().for_each(|instance| known.add_instance(&instance.id));
    }
}

impl Read for GetProtection {
    async fn read(params: Params, reader: &PlatformReader, _: &Progress) -> Result<Output> {
        let aws = reader.aws(&params.nodegroup.region).await?;
        let nodegroup = nodegroups::describe(&aws, &params.nodegroup).await?;
        let group = nodegroups::describe_group(&aws, nodegroups::group_name(&nodegroup)?).await?;
        let mut instances: Vec<Instance> = group
            .instances
            .into_iter()
            .map(|found| Instance {
                id: found.id,
                lifecycle: found.lifecycle,
                protected: found.protected,
            })
            .collect();
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        let protected = instances.iter().filter(|instance| instance.protected);
        Ok(Output {
            auto_scaling_group: group.name,
            protected: protected.map(|instance| instance.id.clone()).collect(),
            new_instances_protected: group.new_instances_protected,
            instances,
        })
    }
}
