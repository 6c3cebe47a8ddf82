//! `list_nodes`: the nodes of a nodegroup or a selector, and whether they take pods.

use k8s_openapi::api::core::v1::Node;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, KnownTargets, KubernetesScope, Permission, PlatformReader, Progress, Read, Result,
    types::{NodegroupName, count_u32},
};
use crate::platform::kubernetes::{Selection, node};

/// Lists the nodes of a managed nodegroup, those that a label selector matches, or all nodes of the cluster.
///
/// A nodegroup's nodes are those that carry its label; one whose instance has just ended may still be listed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The nodegroup.
    #[serde(default)]
    pub nodegroup: Option<NodegroupName>,
    /// A label selector as kubectl takes it, such as `topology.kubernetes.io/zone=us-west-2a`. With a nodegroup, its
    /// nodes must match the selector too.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub selector: Option<String>,
}

/// The nodes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// How many there are.
    pub count: u32,
    /// The nodes, by name.
    pub nodes: Vec<ListedNode>,
    /// Names of those that are cordoned.
    pub cordoned: Vec<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListedNode {
    /// Name of the node.
    pub name: String,
    /// UID of the Node object: a node that comes back under its old name has another one.
    pub uid: String,
    /// Id of the EC2 instance that it runs on; none off EC2.
    pub instance: Option<String>,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether it is cordoned.
    pub cordoned: bool,
}

pub(super) struct ListNodes;

impl Action for ListNodes {
    const NAME: &'static str = "list_nodes";
    const PERMISSIONS: &'static [Permission] =
        &[Permission::core("nodes", &["list"], KubernetesScope::Cluster)];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.nodes.iter().for_each(|node| known.add_node(&node.name, node.instance.as_deref()));
    }
}

impl Read for ListNodes {
    async fn read(params: Params, reader: &PlatformReader, _: &Progress) -> Result<Output> {
        let of_nodegroup = params.nodegroup.map(|group| node::nodegroup_selector(&group.name));
        let selectors: Vec<String> = of_nodegroup.into_iter().chain(params.selector).collect();
        let selection = match selectors.as_slice() {
            [] => Selection::all(),
            selectors => Selection::all().with_labels(selectors.join(",")),
        };
        let found = reader.kubernetes().await?.list::<Node>(&selection).await?;
        let mut nodes: Vec<ListedNode> = found.iter().map(ListedNode::of).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let cordoned = nodes.iter().filter(|node| node.cordoned);
        Ok(Output {
            count: count_u32(&nodes),
            cordoned: cordoned.map(|node| node.name.clone()).collect(),
            nodes,
        })
    }
}

impl ListedNode {
    fn of(found: &Node) -> Self {
        Self {
            name: found.metadata.name.clone().unwrap_or_default(),
            uid: found.metadata.uid.clone().unwrap_or_default(),
            instance: node::instance_id(found).map(str::to_owned),
            ready: node::is_ready(found),
            cordoned: node::is_cordoned(found),
        }
    }
}
