//! `list_nodes`: the nodes that have some properties, and whether they take pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::NodeName;
use super::{
    Action, KnownTargets, KubernetesScope, Permission, PlatformReader, Progress, Read, Result,
    types::{NodegroupName, count_u32},
};
use crate::platform::kubernetes::node::Node;
use crate::platform::kubernetes::{Selection, node};

/// Lists the nodes of the cluster that have all of the given properties; without any, all nodes.
///
/// A nodegroup's nodes are those that carry its label; one whose instance has just ended may still be listed.
/// The `instance`, `version`, `zone` and `nodegroup` of a node are null where it has none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The nodegroup.
    #[serde(default)]
    pub nodegroup: Option<NodegroupName>,
    /// The nodegroup by its name alone, as the nodes' label has it.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "nodegroup-name"))]
    pub nodegroup_name: Option<String>,
    /// A label selector as kubectl takes it, such as `topology.kubernetes.io/zone=us-west-2a`. With a nodegroup, its
    /// nodes must match the selector too.
    #[serde(default)]
    #[schemars(length(min = 1))]
    #[schemars(extend("x-syntax" = "label-selector"))]
    pub selector: Option<String>,
    /// The availability zone.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "availability-zone"))]
    pub zone: Option<String>,
    /// The version of the kubelet, or the first components of it: `1.33` selects `v1.33.2-eks-1a2b3c`.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "kubelet-version"))]
    pub version: Option<String>,
    /// The version that the kubelet must not have, in the same form: such as the target of an upgrade.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "kubelet-version"))]
    pub not_version: Option<String>,
    /// Whether the nodes are Ready.
    #[serde(default)]
    pub ready: Option<bool>,
    /// Whether the nodes are cordoned.
    #[serde(default)]
    pub cordoned: Option<bool>,
    /// Conditions by type, such as `DiskPressure: true`: `true` selects nodes whose condition is True, `false` those
    /// whose condition is False, Unknown or missing.
    #[serde(default)]
    pub conditions: BTreeMap<String, bool>,
}

/// The nodes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// How many there are.
    pub count: u32,
    /// The nodes, by name.
    pub nodes: Vec<ListedNode>,
    /// Their names.
    #[serde(default)]
    #[schemars(with = "Vec<NodeName>")]
    pub names: Vec<String>,
    /// Names of those that are cordoned.
    #[schemars(with = "Vec<NodeName>")]
    pub cordoned: Vec<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListedNode {
    /// Name of the node.
    #[schemars(extend("x-syntax" = "node-name"))]
    pub name: String,
    /// UID of the Node object: a node that comes back under its old name has another one.
    #[schemars(extend("x-syntax" = "uid"))]
    pub uid: String,
    /// Id of the EC2 instance that it runs on; none off EC2.
    #[schemars(extend("x-syntax" = "instance-id"))]
    pub instance: Option<String>,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether it is cordoned.
    pub cordoned: bool,
    /// The version of its kubelet, such as `v1.33.2-eks-1a2b3c`; none before the kubelet has reported.
    #[serde(default)]
    pub version: Option<String>,
    /// Its availability zone; none where its labels have none.
    #[serde(default)]
    pub zone: Option<String>,
    /// Name of the managed nodegroup that it belongs to; none for another node.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "nodegroup-name"))]
    pub nodegroup: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its taints, with that of a cordon.
    #[serde(default)]
    pub taints: Vec<NodeTaint>,
}

/// A taint of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeTaint {
    /// The key.
    pub key: String,
    /// The value; empty for a taint without one.
    pub value: String,
    /// The effect: `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
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
        let found = reader.kubernetes().await?.list::<Node>(&params.selection()).await?;
        let selected = found.iter().filter(|node| params.selects(node));
        let mut nodes: Vec<ListedNode> = selected.map(ListedNode::of).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let cordoned = nodes.iter().filter(|node| node.cordoned);
        Ok(Output {
            count: count_u32(&nodes),
            cordoned: cordoned.map(|node| node.name.clone()).collect(),
            names: nodes.iter().map(|node| node.name.clone()).collect(),
            nodes,
        })
    }
}

impl Params {
    /// Returns what the API server selects by.
    fn selection(&self) -> Selection {
        let of_group = self.nodegroup.as_ref().map(|group| node::nodegroup_selector(&group.name));
        let of_name = self.nodegroup_name.as_deref().map(node::nodegroup_selector);
        let selectors: Vec<String> =
            of_group.into_iter().chain(of_name).chain(self.selector.clone()).collect();
        match selectors.as_slice() {
            [] => Selection::all(),
            selectors => Selection::all().with_labels(selectors.join(",")),
        }
    }

    /// Returns whether the node has the properties that the API server cannot select by. A zone is one of them only
    /// because not every text is a valid label value.
    fn selects(&self, found: &Node) -> bool {
        let has_version = |wanted: &String| {
            node::kubelet_version(found).is_some_and(|version| is_of_version(version, wanted))
        };
        self.zone.as_ref().is_none_or(|zone| node::zone(found) == Some(zone))
            && self.version.as_ref().is_none_or(has_version)
            && !self.not_version.as_ref().is_some_and(has_version)
            && self.ready.is_none_or(|ready| node::is_ready(found) == ready)
            && self.cordoned.is_none_or(|cordoned| node::is_cordoned(found) == cordoned)
            && self
                .conditions
                .iter()
                .all(|(kind, is_true)| node::has_condition(found, kind) == *is_true)
    }
}

/// Returns whether a kubelet's version begins with the components of `wanted`, which may lack the `v`.
fn is_of_version(version: &str, wanted: &str) -> bool {
    let without_v = |text: &str| text.strip_prefix('v').unwrap_or(text).to_owned();
    let (version, wanted) = (without_v(version), without_v(wanted));
    let Some(rest) = version.strip_prefix(&wanted) else { return false };
    rest.is_empty() || rest.starts_with(['.', '-', '+'])
}

impl ListedNode {
    fn of(found: &Node) -> Self {
        Self {
            name: found.metadata.name.clone().unwrap_or_default(),
            uid: found.metadata.uid.clone().unwrap_or_default(),
            instance: node::instance_id(found).map(str::to_owned),
            ready: node::is_ready(found),
            cordoned: node::is_cordoned(found),
            version: node::kubelet_version(found).map(str::to_owned),
            zone: node::zone(found).map(str::to_owned),
            nodegroup: node::nodegroup(found).map(str::to_owned),
            labels: found.metadata.labels.clone().unwrap_or_default(),
            taints: node::taints(found).map(NodeTaint::of).collect(),
        }
    }
}

impl NodeTaint {
    fn of(taint: &Taint) -> Self {
        Self {
            key: taint.key.clone(),
            value: taint.value.clone().unwrap_or_default(),
            effect: taint.effect.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_of_version;

    #[test]
    fn a_version_is_selected_by_its_first_components() {
        let version = "v1.33.2-eks-1a2b3c";
        for wanted in ["1.33", "v1.33", "1.33.2", "1", version] {
            assert!(is_of_version(version, wanted), "{wanted}");
        }
        for wanted in ["1.3", "1.33.20", "1.34", "v1.33.2-eks-1", "33"] {
            assert!(!is_of_version(version, wanted), "{wanted}");
        }
    }
}
