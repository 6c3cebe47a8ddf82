//! `wait_nodes`: until a nodegroup's nodes are there and Ready, or until nodes are gone.

mod gone;
mod ready;
mod taints;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::NodeName;
use super::{
    Action, AwsScope, Condition, KnownTargets, KubernetesScope, OF_NODEGROUP, Permission,
    PlatformReader, Progress, Result, Wait,
    types::{KnownNode, NodeRecord, NodegroupName, default_give_up_after},
};

/// Waits until enough nodes of a nodegroup are Ready, or until nodes are gone.
///
/// A node counts when its instance is in service in the nodegroup's Auto Scaling group, its Ready condition is True and
/// no startup taint keeps pods off it; a cordoned node counts. On a node that is not among `previous`, every taint with
/// the effect NoSchedule or NoExecute is a startup taint, unless the nodegroup declares it or `ignore_taints` names it.
/// A taint that the nodegroup declares is one too if its key is known (such as node.cilium.io/agent-not-ready) or if a
/// Ready node of `previous` does not carry it.
///
/// The wait fails early when the group cannot launch instances (launches fail, its process Launch is suspended, or its
/// maximum is too small) and that has not healed for `give_up_after`, and when an instance has been in service for
/// `ready_within` and is not a Ready node yet.
///
/// With `gone`, it waits until no node of these names is there instead, such as after their instances were terminated.
/// A new node that gets one of the names does not count as the old one. A name that no node has is gone.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-exactly-one-of" = [["nodegroup", "gone"]],
    "x-no-effect" = [
        ["count", "gone", "the step waits until all of them are gone"],
        ["previous", "gone", "it is for the wait for new nodes"],
        ["give_up_after", "gone", "it is for the wait for new nodes"],
        ["ignore_taints", "gone", "it is for the wait for Ready nodes"],
        ["ready_within", "gone", "it is for the wait for Ready nodes"]
    ]
))]
pub struct Params {
    /// The nodegroup.
    #[serde(default)]
    pub nodegroup: Option<NodegroupName>,
    /// Names of nodes that are to be gone.
    #[serde(default)]
    #[schemars(with = "Option<Vec<NodeName>>")]
    pub gone: Option<Vec<String>>,
    /// The least number of nodes that must be Ready; without it, as many as the nodegroup's Auto Scaling group is to
    /// have when the wait begins.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub count: Option<u32>,
    /// Nodes that were there before, such as `scale_up.before.nodes`; the output's `new_nodes` are all others.
    #[serde(default)]
    pub previous: Vec<KnownNode>,
    /// How long a group may fail to launch instances before the wait is given up.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: runbook::Duration,
    /// Keys of taints that do not keep a node from counting.
    #[serde(default)]
    pub ignore_taints: Vec<String>,
    /// How long an instance that was seen in service may take to be a Ready node before the wait is given up.
    #[serde(default = "default_ready_within")]
    pub ready_within: runbook::Duration,
}

/// The Cluster Autoscaler (`--max-node-provision-time`) and Karpenter (its registration time) treat an instance as lost
/// after fifteen minutes. The whole wait of relay-scale has the same timeout, and this one must expire before that.
fn default_ready_within() -> runbook::Duration {
    Duration::from_secs(600).into()
}

/// The nodes that are Ready, or gone.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// How many nodes are Ready; with `gone`, how many are gone.
    pub count: u32,
    /// All Ready nodes, by name.
    pub nodes: Vec<NodeRecord>,
    /// Those that are not among `previous`, by name.
    pub new_nodes: Vec<NodeRecord>,
    /// Names of the nodes that are gone, where the step waited for that.
    #[serde(default)]
    #[schemars(with = "Vec<NodeName>")]
    pub gone: Vec<String>,
}

pub(super) struct WaitNodes;

impl Action for WaitNodes {
    const NAME: &'static str = "wait_nodes";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(OF_NODEGROUP))
            .only(Condition::IfGiven("nodegroup")),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_NODEGROUP))
            .only(Condition::IfGiven("nodegroup")),
        // For the causes that keep an instance or a node from coming; without them the wait goes on.
        Permission::aws("autoscaling:DescribeScalingActivities", AwsScope::Region(OF_NODEGROUP))
            .optional()
            .only(Condition::IfGiven("nodegroup")),
        Permission::aws("ec2:DescribeInstances", AwsScope::Region(OF_NODEGROUP))
            .optional()
            .only(Condition::IfGiven("nodegroup")),
        Permission::core("nodes", &["list", "watch"], KubernetesScope::Cluster),
    ];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.nodes.iter().for_each(|node| known.add_node(&node.name, Some(&node.instance)));
    }
}

impl Wait for WaitNodes {
    async fn wait(params: Params, reader: &PlatformReader, progress: &Progress) -> Result<Output> {
        match params.nodegroup.clone() {
            Some(nodegroup) => ready::wait(nodegroup, params, reader, progress).await,
            None => gone::wait(params.gone.unwrap_or_default(), reader, progress).await,
        }
    }
}
