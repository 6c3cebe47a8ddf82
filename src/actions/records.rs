//! Records that several actions take or give, so that a step's output fits the next step's parameter.

use k8s_openapi::api::core::v1::Node;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::platform::kubernetes::node;

/// Names a managed nodegroup. The output of `find_nodegroup` and of `scale_nodegroup` can be handed on as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodegroupName {
    /// AWS region of the cluster.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the EKS cluster.
    #[schemars(length(min = 1))]
    pub cluster: String,
    /// Name of the nodegroup.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// The three sizes of a nodegroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sizes {
    /// The least number of nodes that it may have.
    pub min: u32,
    /// The greatest number of nodes that it may have.
    pub max: u32,
    /// The number of nodes that it is to have.
    pub desired: u32,
}

/// A node of a nodegroup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRecord {
    /// Name of the node.
    pub name: String,
    /// UID of the Node object: a node that comes back under its old name has another one.
    pub uid: String,
    /// Id of the EC2 instance that it runs on.
    pub instance: String,
}

impl NodeRecord {
    /// The record of a node; none for one that runs on no EC2 instance.
    pub(super) fn of(node: &Node) -> Option<Self> {
        Some(Self {
            name: node.metadata.name.clone()?,
            uid: node.metadata.uid.clone()?,
            instance: node::instance_id(node)?.to_owned(),
        })
    }
}
