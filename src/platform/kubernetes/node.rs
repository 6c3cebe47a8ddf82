//! Nodes, as far as this program reads them, and pure functions of a Node.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::core::{ClusterResourceScope, Resource};
use serde::Deserialize;

use super::metadata::without_managed_fields;

/// The label that EKS puts on the nodes of a managed nodegroup.
pub const NODEGROUP_LABEL: &str = "eks.amazonaws.com/nodegroup";
/// The taint that the node controller puts on a cordoned node.
pub const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

/// A node. A whole one lists its images and its managers, of which nothing is read.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Its metadata.
    #[serde(default, deserialize_with = "without_managed_fields")]
    pub metadata: ObjectMeta,
    /// The part that was asked for.
    pub spec: Option<NodeSpec>,
    /// The part that was observed.
    pub status: Option<NodeStatus>,
}

/// The specification of a node.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSpec {
    /// Whether it is cordoned.
    pub unschedulable: Option<bool>,
    /// The instance that it runs on, as its cloud names it.
    #[serde(rename = "providerID")]
    pub provider_id: Option<String>,
    /// The taints.
    pub taints: Option<Vec<Taint>>,
}

/// The status of a node.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The conditions.
    pub conditions: Option<Vec<NodeCondition>>,
    /// The report of its kubelet.
    pub node_info: Option<NodeInfo>,
}

/// The report of a kubelet about its node.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    /// The version of the kubelet.
    #[serde(default)]
    pub kubelet_version: String,
}

impl Resource for Node {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "nodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Returns the label selector of a managed nodegroup's nodes.
pub fn nodegroup_selector(nodegroup: &str) -> String {
    format!("{NODEGROUP_LABEL}={nodegroup}")
}

/// Returns whether the Ready condition is True. `Unknown` (no heartbeat) is not ready.
pub fn is_ready(node: &Node) -> bool {
    ready_condition(node).is_some_and(|ready| ready.status == "True")
}

/// Returns why the node is not ready, as the kubelet or the node controller says; none if it is ready.
pub fn why_not_ready(node: &Node) -> Option<String> {
    match ready_condition(node) {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(describe_condition(ready)),
        None => Some("the kubelet has not reported yet".into()),
    }
}

/// Returns whether the node takes new pods: ready, not cordoned, and no taint but the `expected` ones keeps pods away.
pub fn is_usable(node: &Node, expected: &[Taint]) -> bool {
    is_ready(node) && !is_cordoned(node) && blocking_taints(node, expected).next().is_none()
}

/// Returns why the node does not take new pods; none if it does.
pub fn why_not_usable(node: &Node, expected: &[Taint]) -> Option<String> {
    if let Some(why) = why_not_ready(node) {
        return Some(why);
    }
    if is_cordoned(node) {
        return Some("it is cordoned".into());
    }
    let taint = blocking_taints(node, expected).next()?;
    Some(format!("it has the taint {}:{}", taint.key, taint.effect))
}

/// Returns whether the node is cordoned.
pub fn is_cordoned(node: &Node) -> bool {
    let flag = node.spec.as_ref().and_then(|spec| spec.unschedulable);
    flag.unwrap_or(false)
}

/// Returns the EC2 instance that the node runs on, from `aws:///us-west-2a/i-0123`; none on another cloud.
pub fn instance_id(node: &Node) -> Option<&str> {
    let provider_id = node.spec.as_ref()?.provider_id.as_deref()?;
    let instance = provider_id.strip_prefix("aws://")?.rsplit('/').next()?;
    instance.starts_with("i-").then_some(instance)
}

/// Returns the version of the kubelet, as it reports it: `v1.33.2-eks-1a2b3c`.
pub fn kubelet_version(node: &Node) -> Option<&str> {
    let version = node.status.as_ref()?.node_info.as_ref()?.kubelet_version.as_str();
    (!version.is_empty()).then_some(version)
}

/// Returns whether the condition of that type is True.
pub fn has_condition(node: &Node, kind: &str) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// Returns the taints.
pub fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
}

/// Returns the availability zone.
pub fn zone(node: &Node) -> Option<&str> {
    node.labels().get("topology.kubernetes.io/zone").map(String::as_str)
}

/// Returns the managed nodegroup that the node belongs to.
pub fn nodegroup(node: &Node) -> Option<&str> {
    node.labels().get(NODEGROUP_LABEL).map(String::as_str)
}

fn ready_condition(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready")
}

fn describe_condition(condition: &NodeCondition) -> String {
    let reason = condition.reason.as_deref().unwrap_or("not ready");
    match condition.message.as_deref() {
        Some(message) if !message.is_empty() => format!("{reason}: {message}"),
        _ => format!("{reason} (Ready is {})", condition.status),
    }
}

/// Returns the unexpected taints that keep new pods away. The taint of a cordon is not counted twice.
fn blocking_taints<'a>(node: &'a Node, expected: &'a [Taint]) -> impl Iterator<Item = &'a Taint> {
    taints(node)
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        .filter(|taint| taint.key != UNSCHEDULABLE_TAINT)
        .filter(|taint| !expected.iter().any(|known| is_same_taint(known, taint)))
}

/// Returns whether both taints have the same key, value and effect.
pub fn is_same_taint(one: &Taint, other: &Taint) -> bool {
    let value = |taint: &Taint| taint.value.clone().unwrap_or_default();
    one.key == other.key && one.effect == other.effect && value(one) == value(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(spec: serde_json::Value, ready: Option<(&str, &str, &str)>) -> Node {
        let conditions: Vec<_> = ready
            .map(|(status, reason, message)| {
                json!({"type": "Ready", "status": status, "reason": reason, "message": message})
            })
            .into_iter()
            .collect();
        let labels = json!({NODEGROUP_LABEL: "relay", "topology.kubernetes.io/zone": "us-west-2a"});
        serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": labels},
            "spec": spec,
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    const READY: Option<(&str, &str, &str)> =
        Some(("True", "KubeletReady", "kubelet is posting ready status"));

    #[test]
    fn only_true_is_ready() {
        assert!(is_ready(&node(json!({}), READY)));
        assert_eq!(why_not_ready(&node(json!({}), READY)), None);
        let unknown = node(
            json!({}),
            Some(("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")),
        );
        assert!(!is_ready(&unknown));
        assert_eq!(
            why_not_ready(&unknown).unwrap(),
            "NodeStatusUnknown: Kubelet stopped posting node status."
        );
        let silent = node(json!({}), None);
        assert_eq!(why_not_ready(&silent).unwrap(), "the kubelet has not reported yet");
        let terse = node(json!({}), Some(("False", "KubeletNotReady", "")));
        assert_eq!(why_not_ready(&terse).unwrap(), "KubeletNotReady (Ready is False)");
    }

    #[test]
    fn the_instance_is_the_last_part_of_an_aws_provider_id() {
        let id = |provider_id: &str| {
            instance_id(&node(json!({"providerID": provider_id}), None)).map(str::to_owned)
        };
        assert_eq!(id("aws:///us-west-2a/i-0abc").as_deref(), Some("i-0abc"));
        assert_eq!(id("aws:///us-west-2a/fargate-ip-10"), None);
        assert_eq!(id("kwok://node-1"), None);
        assert_eq!(instance_id(&node(json!({}), None)), None);
    }

    #[test]
    fn the_labels_of_eks_are_read() {
        let node = node(json!({}), None);
        assert_eq!((nodegroup(&node), zone(&node)), (Some("relay"), Some("us-west-2a")));
    }

    #[test]
    fn a_usable_node_is_ready_and_open() {
        let tainted = |key: &str, effect: &str| {
            node(json!({"taints": [{"key": key, "effect": effect, "value": "x"}]}), READY)
        };
        let why = |node: &Node| why_not_usable(node, &[]);
        assert_eq!(why(&node(json!({}), READY)), None);
        assert_eq!(why(&tainted("soft", "PreferNoSchedule")), None);
        assert_eq!(
            why(&tainted("dedicated", "NoSchedule")).unwrap(),
            "it has the taint dedicated:NoSchedule"
        );
        let cordoned = node(
            json!({"unschedulable": true, "taints": [{"key": UNSCHEDULABLE_TAINT, "effect": "NoSchedule"}]}),
            READY,
        );
        assert_eq!(why(&cordoned).unwrap(), "it is cordoned");
        let expected = Taint {
            key: "dedicated".into(),
            effect: "NoSchedule".into(),
            value: Some("x".into()),
            time_added: None,
        };
        assert!(is_usable(&tainted("dedicated", "NoSchedule"), &[expected]));
    }
}
