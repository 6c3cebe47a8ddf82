//! `get_protection`: which instances of an Auto Scaling group scale-in must leave alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::InstanceId;
use super::{
    Action, AwsScope, Condition, KnownTargets, OF_GROUP, OF_NODEGROUP, Permission, PlatformReader,
    Progress, Read, Result, group_target,
    types::{AutoScalingGroupName, NodegroupName},
};

/// Tells which instances of a nodegroup, or of another Auto Scaling group, are protected from scale-in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["nodegroup", "auto_scaling_group"]]))]
pub struct Params {
    /// The nodegroup.
    #[serde(default)]
    pub nodegroup: Option<NodegroupName>,
    /// The group, where it is not a nodegroup's: such as the output of `find_auto_scaling_group`.
    #[serde(default)]
    pub auto_scaling_group: Option<AutoScalingGroupName>,
}

/// The protections of a group.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Name of the Auto Scaling group.
    #[schemars(extend("x-syntax" = "auto-scaling-group-name"))]
    pub auto_scaling_group: String,
    /// Its instances, by id.
    pub instances: Vec<Instance>,
    /// Ids of those that are protected.
    #[schemars(with = "Vec<InstanceId>")]
    pub protected: Vec<String>,
    /// Whether new instances of the group are protected from the start.
    pub new_instances_protected: bool,
}

/// An instance, as its group sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// Its id.
    #[schemars(extend("x-syntax" = "instance-id"))]
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
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(OF_NODEGROUP))
            .only(Condition::IfGiven("nodegroup")),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_NODEGROUP))
            .only(Condition::IfGiven("nodegroup")),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_GROUP))
            .only(Condition::IfGiven("auto_scaling_group")),
    ];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.instances.iter().for_each(|instance| known.add_instance(&instance.id));
    }
}

impl Read for GetProtection {
    async fn read(params: Params, reader: &PlatformReader, _: &Progress) -> Result<Output> {
        let (nodegroup, group) = (params.nodegroup.as_ref(), params.auto_scaling_group.as_ref());
        let group = group_target::find(nodegroup, group, reader).await?.group;
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
