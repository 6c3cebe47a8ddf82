//! Cordoning and uncordoning of nodes, for `cordon`, `uncordon`, `drain` and the undo of `scale_nodegroup`.
//!
//! The flag of a node does not say who set it. This program sets it together with an annotation, in one patch, whose
//! value is chosen when the step is prepared. An undo reverts only the nodes that have the annotation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    PlannedChange, RestoreCommand, Result, TargetState, concurrency::try_join_bounded,
    optimistic::patch_if_unchanged,
};
use crate::platform::kubernetes::node::Node;
use crate::platform::kubernetes::{KubernetesReader, KubernetesWriter, Selection, node};
use clock::Clock;

const CORDONED_BY: &str = "rafay-relay-sop/cordoned-by";
const UNCORDONED_BY: &str = "rafay-relay-sop/uncordoned-by";

/// The planned change of some nodes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CordonChange {
    /// Whether the nodes are to be cordoned; otherwise they are to be uncordoned.
    cordon: bool,
    /// The value of this step's annotation.
    #[serde(rename = "mark")]
    owner_mark: String,
    nodes: Vec<NodeBefore>,
}

/// A node before the change.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct NodeBefore {
    name: String,
    uid: String,
    cordoned: bool,
    cordoned_by: Option<String>,
    uncordoned_by: Option<String>,
}

impl NodeBefore {
    fn of(node: &Node) -> Self {
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            cordoned: node::is_cordoned(node),
            cordoned_by: annotation(node, CORDONED_BY),
            uncordoned_by: annotation(node, UNCORDONED_BY),
        }
    }

    fn matches(&self, node: &Node) -> bool {
        node.metadata.uid.as_deref() == Some(self.uid.as_str())
    }
}

/// The owner of a node's flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flag {
    /// This step.
    Ours,
    /// Another client.
    Theirs,
    /// The node no longer exists, or another one has its name.
    Gone,
}

impl CordonChange {
    /// Returns the change of these nodes, as they were just read.
    pub(super) fn of(nodes: &[Node], cordon: bool, owner_mark: String) -> Self {
        Self { cordon, owner_mark, nodes: nodes.iter().map(NodeBefore::of).collect() }
    }

    /// Returns the cordon that an earlier attempt has set on these nodes, none of which was cordoned before.
    pub(super) fn on_open_nodes(nodes: &[Node], owner_mark: String) -> Self {
        let before = |node: &Node| NodeBefore {
            cordoned: false,
            cordoned_by: None,
            uncordoned_by: None,
            ..NodeBefore::of(node)
        };
        Self { cordon: true, owner_mark, nodes: nodes.iter().map(before).collect() }
    }

    /// Returns the names of all nodes.
    pub(super) fn nodes(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// Returns the names of the nodes whose flag is to change.
    pub(super) fn changed_nodes(&self) -> Vec<String> {
        let changed = self.nodes.iter().filter(|node| node.cordoned != self.cordon);
        changed.map(|node| node.name.clone()).collect()
    }

    /// Reads which of all nodes still exist. Returns their names, and those of the others.
    pub(super) async fn find_nodes(
        &self,
        kubernetes: &KubernetesReader,
    ) -> Result<(Vec<String>, Vec<String>)> {
        let found = kubernetes.list::<Node>(&Selection::all()).await?;
        let is_there = |target: &&NodeBefore| found.iter().any(|node| target.matches(node));
        let (present, gone): (Vec<_>, Vec<_>) = self.nodes.iter().partition(is_there);
        let names = |nodes: Vec<&NodeBefore>| -> Vec<String> {
            nodes.into_iter().map(|node| node.name.clone()).collect()
        };
        Ok((names(present), names(gone)))
    }

    pub(super) fn planned_changes(&self) -> Vec<PlannedChange> {
        let changed = self.nodes.iter().filter(|node| node.cordoned != self.cordon);
        changed
            .map(|node| PlannedChange::new(flag_of(&node.name), node.cordoned, self.cordon))
            .collect()
    }

    /// Returns the flags of the nodes that were to be changed.
    pub(super) async fn read_targets(
        &self,
        kubernetes: &KubernetesReader,
    ) -> Result<Vec<TargetState>> {
        let nodes = kubernetes.list::<Node>(&Selection::all()).await?;
        let by_uid: BTreeMap<&str, &Node> =
            nodes.iter().filter_map(|node| Some((node.metadata.uid.as_deref()?, node))).collect();
        let state = |target: &NodeBefore| {
            let found = by_uid.get(target.uid.as_str()).copied();
            target_state(&target.name, target.cordoned, found)
        };
        Ok(self.nodes.iter().filter(|node| node.cordoned != self.cordon).map(state).collect())
    }

    /// Sets the flag where it is not set. Returns the nodes on which this step did so, now or in an earlier attempt,
    /// and those that no longer exist.
    pub(super) async fn apply(
        &self,
        kubernetes: &KubernetesWriter,
    ) -> Result<(Vec<String>, Vec<String>)> {
        let calls: Vec<_> = self
            .with_nodes(kubernetes)
            .await?
            .into_iter()
            .map(|(target, seen)| async move {
                let decide = |found: Option<&Node>| Ok(self.decide(target, found));
                let flag = patch_if_unchanged(kubernetes, None, &target.name, seen, decide).await?;
                Ok((flag, target.name.clone()))
            })
            .collect();
        let (mut ours, mut gone) = (Vec::new(), Vec::new());
        for (flag, name) in try_join_bounded(calls).await? {
            match flag {
                Flag::Ours => ours.push(name),
                Flag::Gone => gone.push(name),
                Flag::Theirs => {}
            }
        }
        ours.sort();
        gone.sort();
        Ok((ours, gone))
    }

    /// Returns the targets whose flag is to change, with their nodes as they are now, read in pages and not one by one.
    async fn with_nodes(
        &self,
        kubernetes: &KubernetesWriter,
    ) -> Result<Vec<(&NodeBefore, Option<Node>)>> {
        let mut nodes = kubernetes.reader().list::<Node>(&Selection::all()).await?;
        let mut take_node = |target: &NodeBefore| {
            let index = nodes.iter().position(|node| target.matches(node))?;
            Some(nodes.swap_remove(index))
        };
        let changed = self.nodes.iter().filter(|node| node.cordoned != self.cordon);
        Ok(changed.map(|target| (target, take_node(target))).collect())
    }

    /// Decides who owns the flag, and returns the patch that sets it.
    fn decide(&self, target: &NodeBefore, found: Option<&Node>) -> (Flag, Option<Value>) {
        let Some(node) = found.filter(|node| target.matches(node)) else {
            return (Flag::Gone, None);
        };
        if node::is_cordoned(node) == self.cordon {
            let flag = if self.has_owner_mark(node) { Flag::Ours } else { Flag::Theirs };
            return (flag, None);
        }
        let (ours, other) = self.keys();
        (Flag::Ours, Some(patch(self.cordon, json!({ours: self.owner_mark, other: null}))))
    }

    /// Reverts the flags that this step set, and returns those that were not restored, a sentence each.
    pub(super) async fn undo(&self, kubernetes: &KubernetesWriter) -> Result<Vec<String>> {
        let calls: Vec<_> = self
            .with_nodes(kubernetes)
            .await?
            .into_iter()
            .map(|(target, seen)| {
                let decide = |found: Option<&Node>| Ok(self.decide_undo(target, found));
                patch_if_unchanged(kubernetes, None, &target.name, seen, decide)
            })
            .collect();
        Ok(try_join_bounded(calls).await?.into_iter().flatten().collect())
    }

    fn decide_undo(
        &self,
        target: &NodeBefore,
        found: Option<&Node>,
    ) -> (Option<String>, Option<Value>) {
        let Some(node) = found.filter(|node| target.matches(node)) else {
            return (Some(format!("node {} no longer exists", target.name)), None);
        };
        let is_ours = self.has_owner_mark(node);
        if node::is_cordoned(node) != self.cordon {
            // Another client has reverted the flag, so this step's annotation is no longer true.
            let annotations = is_ours.then(|| Self::annotations_before(target));
            return (None, annotations.map(|before| json!({"metadata": {"annotations": before}})));
        }
        if !is_ours {
            let state = if self.cordon { "cordoned" } else { "uncordoned" };
            let text =
                format!("left node {} {state}: it was {state} by another client", target.name);
            return (Some(text), None);
        }
        (None, Some(patch(!self.cordon, Self::annotations_before(target))))
    }

    fn annotations_before(target: &NodeBefore) -> Value {
        json!({CORDONED_BY: target.cordoned_by, UNCORDONED_BY: target.uncordoned_by})
    }

    fn has_owner_mark(&self, node: &Node) -> bool {
        annotation(node, self.keys().0).as_ref() == Some(&self.owner_mark)
    }

    /// Returns the annotation that this step sets, and the one that is then no longer true.
    fn keys(&self) -> (&'static str, &'static str) {
        if self.cordon { (CORDONED_BY, UNCORDONED_BY) } else { (UNCORDONED_BY, CORDONED_BY) }
    }
}

/// Returns the flag of a node beside the one that it had before.
pub(super) fn target_state(name: &str, before: bool, found: Option<&Node>) -> TargetState {
    let now = found.map_or(Value::Null, |node| node::is_cordoned(node).into());
    let operation = if before { "cordon" } else { "uncordon" };
    let restore = found.map(|_| RestoreCommand::kubectl([operation, name]));
    TargetState::new(flag_of(name), before, now, restore)
}

fn flag_of(node: &str) -> String {
    format!("node {node} unschedulable")
}

/// Returns whether the node was cordoned under this mark.
pub(super) fn has_mark(node: &Node, owner_mark: &str) -> bool {
    annotation(node, CORDONED_BY).as_deref() == Some(owner_mark)
}

/// Returns a value that no other step has: the time, for readers, and a random number.
pub(super) fn new_owner_mark(clock: Clock) -> String {
    format!("{}/{:08x}", clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"), fastrand::u32(..))
}

/// Returns the patch that sets or removes the flag. An uncordoned node has no flag at all, as after
/// `kubectl uncordon`.
fn patch(cordon: bool, annotations: Value) -> Value {
    let flag = if cordon { json!(true) } else { Value::Null };
    json!({"spec": {"unschedulable": flag}, "metadata": {"annotations": annotations}})
}

fn annotation(node: &Node, key: &str) -> Option<String> {
    node.metadata.annotations.as_ref()?.get(key).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(uid: &str, cordoned: bool, cordoned_by: Option<&str>) -> Node {
        let annotations: Value =
            cordoned_by.map_or(json!({}), |owner_mark| json!({CORDONED_BY: owner_mark}));
        serde_json::from_value(json!({
            "metadata": {"name": "n", "uid": uid, "annotations": annotations},
            "spec": {"unschedulable": cordoned},
        }))
        .unwrap()
    }

    fn change() -> CordonChange {
        CordonChange::of(&[node("1", false, None)], true, "ours".into())
    }

    #[test]
    fn apply_meets_every_state_of_the_node() {
        let change = change();
        let target = &change.nodes[0];
        let decide = |node: Node| change.decide(target, Some(&node));
        assert!(matches!(decide(node("1", false, None)), (Flag::Ours, Some(_))));
        assert_eq!(decide(node("1", true, Some("ours"))), (Flag::Ours, None));
        assert_eq!(decide(node("1", true, Some("theirs"))), (Flag::Theirs, None));
        assert_eq!(decide(node("1", true, None)), (Flag::Theirs, None));
        assert_eq!(decide(node("2", false, None)), (Flag::Gone, None));
        assert_eq!(change.decide(target, None), (Flag::Gone, None));
    }

    #[test]
    fn undo_restores_only_what_this_step_set() {
        let change = change();
        let target = &change.nodes[0];
        let undo = |node: Node| change.decide_undo(target, Some(&node));
        let (not_restored, patch) = undo(node("1", true, Some("ours")));
        assert_eq!(not_restored, None);
        assert_eq!(
            patch.unwrap(),
            json!({
                "spec": {"unschedulable": null},
                "metadata": {"annotations": {CORDONED_BY: null, UNCORDONED_BY: null}},
            })
        );
        assert!(matches!(undo(node("1", true, Some("theirs"))), (Some(_), None)));
        assert!(matches!(undo(node("1", false, None)), (None, None)));
        assert!(matches!(undo(node("1", false, Some("ours"))), (None, Some(_))));
        assert!(matches!(undo(node("2", true, Some("ours"))), (Some(_), None)));
    }
}
