//! Nodes.

use serde_json::{Value, json};

use crate::kubernetes::object::{condition, flag, list, map, put, text};
use crate::kubernetes::status_error::StatusCause;

use super::column::{AGE, NAME, column, text_or_none, wide};
use super::{Kind, core};

pub(crate) static NODES: Kind = Kind {
    short_names: &["no"],
    subresources: &["status"],
    admit,
    omitted_when_empty: &[&["spec", "unschedulable"], &["spec", "taints"]],
    validate_update,
    keeps_first_status: true,
    status_metadata: &["labels", "annotations"],
    fields: &["spec.unschedulable"],
    columns: &[
        NAME,
        column("Status", |node, _| node_status(node).into()),
        column("Roles", |node, _| roles(node).into()),
        AGE,
        column("Version", |node, _| text(node, "/status/nodeInfo/kubeletVersion").into()),
        wide("Internal-IP", |node, _| address(node, "InternalIP")),
        wide("External-IP", |node, _| address(node, "ExternalIP")),
        wide("OS-Image", |node, _| text_or_none(node, "/status/nodeInfo/osImage")),
        wide("Kernel-Version", |node, _| text_or_none(node, "/status/nodeInfo/kernelVersion")),
        wide("Container-Runtime", |node, _| {
            text_or_none(node, "/status/nodeInfo/containerRuntimeVersion")
        }),
    ],
    ..core("nodes", "Node", false)
};

/// Taints a new node until the node controller has seen its conditions.
fn admit(object: &mut Value) {
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let mut taints = list(object, "/spec/taints").to_vec();
    if !taints.contains(&taint) {
        taints.push(taint);
    }
    put(object, &["spec", "taints"], taints);
}

fn validate_update(old: &Value, new: &Value, causes: &mut Vec<StatusCause>) {
    let before = text(old, "/spec/providerID");
    if !before.is_empty() && before != text(new, "/spec/providerID") {
        let message = "node updates may not change providerID except from \"\" to valid";
        causes.push(StatusCause::forbidden("spec.providerID", message));
    }
}

fn node_status(node: &Value) -> String {
    let mut status = match condition(node, "Ready") {
        Some(ready) if text(ready, "/status") == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if flag(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let labels = map(node, "/metadata/labels");
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flat_map(|labels| labels.keys())
        .filter_map(|key| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    roles.sort_unstable();
    if roles.is_empty() {
        return "<none>".to_owned();
    }
    roles.join(",")
}

fn address(node: &Value, kind: &str) -> Value {
    let found =
        list(node, "/status/addresses").iter().find(|address| text(address, "/type") == kind);
    found.map_or("<none>".into(), |address| text_or_none(address, "/address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_status_of_a_cordoned_node_says_so() {
        let node = json!({
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        assert_eq!(node_status(&node), "Ready,SchedulingDisabled");
    }
}
