//! Records that several actions take or return, so that a step's output matches the next step's parameter.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::platform::kubernetes::{KubernetesReader, Selection, node, pod};
use crate::platform::kubernetes::{node::Node, pod::Pod};

/// Names a managed nodegroup. The output of `find_nodegroup` and of `scale_nodegroup` can be handed on as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-noun" = "nodegroup"))]
pub struct NodegroupName {
    /// AWS region of the cluster.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the EKS cluster.
    #[schemars(extend("x-syntax" = "cluster-name"))]
    pub cluster: String,
    /// Name of the nodegroup.
    #[schemars(extend("x-syntax" = "nodegroup-name"))]
    pub name: String,
}

/// Names an Auto Scaling group. The output of `find_auto_scaling_group` can be handed on as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-noun" = "Auto Scaling group"))]
pub struct AutoScalingGroupName {
    /// AWS region of the group.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the group.
    #[schemars(length(min = 1, max = 255))]
    #[schemars(extend("x-syntax" = "auto-scaling-group-name"))]
    pub name: String,
}

/// The three sizes of a nodegroup or an Auto Scaling group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sizes {
    /// The least number of nodes that it may have.
    pub min: u32,
    /// The greatest number of nodes that it may have.
    pub max: u32,
    /// The number of nodes that it is to have.
    pub desired: u32,
}

/// A node that was there before. A whole record of a node can be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-noun" = "node"))]
pub struct KnownNode {
    /// Name of the node.
    #[schemars(extend("x-syntax" = "node-name"))]
    pub name: String,
    /// UID of the Node object: a node that comes back under its old name has another one.
    #[schemars(extend("x-syntax" = "uid"))]
    pub uid: String,
}

/// A node that runs on an EC2 instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-noun" = "node"))]
pub struct NodeRecord {
    /// Name of the node.
    #[schemars(extend("x-syntax" = "node-name"))]
    pub name: String,
    /// UID of the Node object: a node that comes back under its old name has another one.
    #[schemars(extend("x-syntax" = "uid"))]
    pub uid: String,
    /// Id of the EC2 instance that it runs on.
    #[schemars(extend("x-syntax" = "instance-id"))]
    pub instance: String,
}

impl NodeRecord {
    /// Returns the record of a node; none for a node that does not run on an EC2 instance.
    pub(super) fn of(node: &Node) -> Option<Self> {
        Some(Self {
            name: node.metadata.name.clone()?,
            uid: node.metadata.uid.clone()?,
            instance: node::instance_id(node)?.to_owned(),
        })
    }
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-noun" = "pod"))]
pub struct PodRecord {
    /// Namespace of the pod.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the pod.
    #[schemars(extend("x-syntax" = "pod-name"))]
    pub name: String,
    /// UID of the Pod object: a pod that comes back under its old name has another one.
    #[schemars(length(min = 1))]
    #[schemars(extend("x-syntax" = "uid"))]
    pub uid: String,
    /// Name of the node that it runs on; none while it waits for one.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "node-name"))]
    pub node: Option<String>,
    /// Id of the EC2 instance that it runs on; none off EC2.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "instance-id"))]
    pub instance: Option<String>,
    /// Whether it was Ready.
    #[serde(default)]
    pub ready: bool,
}

impl PodRecord {
    /// Returns the record of a pod.
    pub(super) fn of(pod: &Pod, instances: &NodeInstances) -> Self {
        let node = pod::node(pod).map(str::to_owned);
        Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            instance: node.as_ref().and_then(|node| instances.0.get(node)).cloned(),
            node,
            ready: pod::is_ready(pod),
        }
    }

    /// Returns whether `pod` is the recorded pod, and not another one of the same name.
    pub(super) fn matches(&self, pod: &Pod) -> bool {
        pod.metadata.uid.as_deref() == Some(self.uid.as_str())
    }
}

/// Returns pods by UID, in which many records are looked up.
pub(super) fn by_uid<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> BTreeMap<&'a str, &'a Pod> {
    pods.into_iter().filter_map(|pod| Some((pod.metadata.uid.as_deref()?, pod))).collect()
}

/// The EC2 instance of each node.
#[derive(Debug, Default)]
pub(super) struct NodeInstances(BTreeMap<String, String>);

impl NodeInstances {
    /// Reads the instances of all nodes of the cluster.
    pub(super) async fn read(kubernetes: &KubernetesReader) -> Result<Self> {
        Ok(Self::of(&kubernetes.list::<Node>(&Selection::all()).await?))
    }

    /// Returns the instances of these nodes.
    pub(super) fn of(nodes: &[Node]) -> Self {
        let pair =
            |node: &Node| Some((node.metadata.name.clone()?, node::instance_id(node)?.to_owned()));
        Self(nodes.iter().filter_map(pair).collect())
    }
}

/// Returns how long a problem that can resolve itself (a crash, a lack of capacity) may last before a wait fails,
/// unless the runbook sets another duration. CrashLoopBackOff reaches its fourth start within two minutes.
pub(super) fn default_give_up_after() -> runbook::Duration {
    Duration::from_secs(120).into()
}

/// Returns the length of a list as the runbook language counts.
pub(super) fn count_u32<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}
