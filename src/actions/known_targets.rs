//! The nodes, instances and pods that earlier steps of a run have read. They tell a target that is gone, because it
//! existed when it was read, from one that never existed, such as a misspelled name.

use std::collections::{BTreeMap, BTreeSet};

use super::{Progress, types::PodRecord};
use crate::platform::kubernetes::node;
use crate::platform::kubernetes::node::Node;
use text::{join_truncated, plural};

/// The targets that the outputs of a run's completed steps name.
#[derive(Debug, Clone, Default)]
pub struct KnownTargets {
    /// The EC2 instances that each node was seen on; none for a node of which only the name was read.
    nodes: BTreeMap<String, BTreeSet<String>>,
    instances: BTreeSet<String>,
    /// UIDs.
    pods: BTreeSet<String>,
}

impl KnownTargets {
    /// Adds a node, with its instance where that was read.
    pub(super) fn add_node(&mut self, name: &str, instance: Option<&str>) {
        let instance = instance.map(str::to_owned);
        self.nodes.entry(name.to_owned()).or_default().extend(instance.clone());
        self.instances.extend(instance);
    }

    /// Adds a pod with the node and the instance that it ran on.
    pub(super) fn add_pod(&mut self, pod: &PodRecord) {
        self.pods.insert(pod.uid.clone());
        if let Some(node) = &pod.node {
            self.add_node(node, pod.instance.as_deref());
        }
    }

    /// Adds an instance.
    pub(super) fn add_instance(&mut self, id: &str) {
        self.instances.insert(id.to_owned());
    }

    /// Returns whether an earlier step read a node of that name.
    pub(super) fn has_node(&self, name: &str) -> bool {
        self.nodes.contains_key(name)
    }

    /// Returns whether an earlier step read that instance.
    pub(super) fn has_instance(&self, id: &str) -> bool {
        self.instances.contains(id)
    }

    /// Returns whether an earlier step read that pod.
    pub(super) fn has_pod(&self, uid: &str) -> bool {
        self.pods.contains(uid)
    }

    /// Returns whether a node has the name of one that was read, but runs on another instance. Nodes are named after
    /// addresses, and an address is given to the next instance.
    pub(super) fn is_replacement(&self, found: &Node) -> bool {
        let name = found.metadata.name.as_deref().unwrap_or_default();
        let seen_on = self.nodes.get(name).filter(|instances| !instances.is_empty());
        match (seen_on, node::instance_id(found)) {
            (Some(instances), Some(now)) => !instances.contains(now),
            _ => false,
        }
    }
}

/// Reports targets that existed when an earlier step read them and are gone: there is nothing to do for them.
pub(super) fn report_gone(
    progress: &Progress,
    noun: &str,
    names: impl IntoIterator<Item = impl AsRef<str>>,
) {
    let names: Vec<_> = names.into_iter().collect();
    if !names.is_empty() {
        let count = plural(names.len(), noun);
        let verb = if names.len() == 1 { "is" } else { "are" };
        progress.report(&format!("{count} {verb} gone: {}", join_truncated(names)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node_on(instance: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "spec": {"providerID": format!("aws:///us-west-2a/{instance}")},
        }))
        .unwrap()
    }

    #[test]
    fn a_node_on_another_instance_is_a_replacement() {
        let mut known = KnownTargets::default();
        assert!(!known.is_replacement(&node_on("i-2")), "never read");
        known.add_node("n", None);
        assert!(!known.is_replacement(&node_on("i-2")), "only its name was read");
        known.add_node("n", Some("i-1"));
        assert!(known.is_replacement(&node_on("i-2")));
        known.add_node("n", Some("i-2"));
        assert!(!known.is_replacement(&node_on("i-2")), "a later step read it");
    }
}
