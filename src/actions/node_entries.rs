//! Named values on nodes that are set or removed one by one: labels and taints. Each is compared and set on its own, so
//! that another client's values on the same node are never touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Display, Formatter},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    PlannedChange, RestoreCommand, Result, TargetState,
    compare_and_set::{WriteDecision, decide_write},
    concurrency::try_join_bounded,
    optimistic::patch_if_unchanged,
};
use crate::platform::kubernetes::node::Node;
use crate::platform::kubernetes::{KubernetesReader, KubernetesWriter, Selection};

/// A kind of named values.
pub(super) trait EntryKind {
    /// The noun for messages.
    const NOUN: &'static str;

    /// Returns all entries of a node.
    fn entries(node: &Node) -> BTreeMap<String, String>;
    /// Returns the patch that sets or removes these entries and leaves all others.
    fn patch(node: &Node, changes: &BTreeMap<String, Option<String>>) -> Value;
    /// Returns the command that gives an entry this value, or removes it.
    fn restore(node: &str, key: &str, value: Option<&str>) -> RestoreCommand;
}

/// The planned change of the entries of some nodes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EntryChange {
    nodes: Vec<NodeEntries>,
}

/// The entries of one node.
#[derive(Debug, Serialize, Deserialize)]
struct NodeEntries {
    name: String,
    uid: String,
    entries: BTreeMap<String, BeforeAndAfter>,
}

/// An entry before and after the change; none where it is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BeforeAndAfter {
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

/// A value in messages.
#[derive(PartialEq)]
pub(super) struct Shown(pub(super) Option<String>);

impl Display for Shown {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => write!(f, "\"{value}\""),
            None => f.write_str("none"),
        }
    }
}

/// The nodes after the change, by name.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChangedNodes {
    /// Those that have the entries.
    pub(super) nodes: Vec<String>,
    /// Those of them that had other entries before.
    pub(super) changed: Vec<String>,
    /// Those that no longer exist.
    pub(super) gone: Vec<String>,
}

impl EntryChange {
    /// Returns the change of these nodes, as they were just read, to the wanted values of each node.
    pub(super) fn of<K: EntryKind>(
        nodes: &[Node],
        wanted: impl Fn(&BTreeMap<String, String>) -> BTreeMap<String, Option<String>>,
    ) -> Self {
        let of_node = |node: &Node| {
            let now = K::entries(node);
            let entry = |(key, after): (String, Option<String>)| {
                let before = now.get(&key).cloned();
                (key, BeforeAndAfter { before, after })
            };
            NodeEntries {
                name: node.metadata.name.clone().unwrap_or_default(),
                uid: node.metadata.uid.clone().unwrap_or_default(),
                entries: wanted(&now).into_iter().map(entry).collect(),
            }
        };
        Self { nodes: nodes.iter().map(of_node).collect() }
    }

    pub(super) fn planned_changes<K: EntryKind>(&self) -> Vec<PlannedChange> {
        let planned = |(node, key, entry): (&NodeEntries, &String, &BeforeAndAfter)| {
            let target = target::<K>(&node.name, key);
            PlannedChange::new(target, entry.before.clone(), entry.after.clone())
        };
        self.changed_entries().map(planned).collect()
    }

    /// Returns the names of the nodes that get an entry of these which they do not have.
    pub(super) fn nodes_that_get(&self, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
        let gets = |(_, key, entry): &(&NodeEntries, &String, &BeforeAndAfter)| {
            entry.before.is_none() && entry.after.is_some() && is_meant(key)
        };
        let nodes = self.changed_entries().filter(gets).map(|(node, ..)| node.name.clone());
        nodes.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// Sets the entries of each node in one patch.
    ///
    /// # Errors
    /// Another client has given an entry a third value.
    pub(super) async fn apply<K: EntryKind>(
        &self,
        kubernetes: &KubernetesWriter,
    ) -> Result<ChangedNodes> {
        let mut found = read(kubernetes.reader()).await?;
        let calls: Vec<_> = self
            .nodes
            .iter()
            .map(|target| {
                let seen = found.remove(&target.uid);
                async move {
                    let decide = |found: Option<&Node>| decide::<K>(target, found);
                    let name = &target.name;
                    let is_there = patch_if_unchanged(kubernetes, None, name, seen, decide).await?;
                    Ok((target, is_there))
                }
            })
            .collect();
        let (present, gone): (Vec<_>, Vec<_>) =
            try_join_bounded(calls).await?.into_iter().partition(|(_, is_there)| *is_there);
        let names = |nodes: &[(&NodeEntries, bool)]| -> BTreeSet<String> {
            nodes.iter().map(|(node, _)| node.name.clone()).collect()
        };
        let changed: BTreeSet<&str> =
            self.changed_entries().map(|(node, ..)| node.name.as_str()).collect();
        let nodes = names(&present);
        Ok(ChangedNodes {
            changed: nodes.iter().filter(|name| changed.contains(name.as_str())).cloned().collect(),
            nodes: nodes.into_iter().collect(),
            gone: names(&gone).into_iter().collect(),
        })
    }

    /// Restores the entries that still have the value that this step set. Returns those that were not restored, a
    /// sentence each.
    pub(super) async fn undo<K: EntryKind>(
        &self,
        kubernetes: &KubernetesWriter,
    ) -> Result<Vec<String>> {
        let mut found = read(kubernetes.reader()).await?;
        let calls: Vec<_> = self
            .nodes
            .iter()
            .filter(|node| node.changed().next().is_some())
            .map(|target| {
                let seen = found.remove(&target.uid);
                let decide = |found: Option<&Node>| Ok(decide_undo::<K>(target, found));
                patch_if_unchanged(kubernetes, None, &target.name, seen, decide)
            })
            .collect();
        Ok(try_join_bounded(calls).await?.into_iter().flatten().collect())
    }

    /// Returns the entries that were to be changed as they are now.
    pub(super) async fn read_targets<K: EntryKind>(
        &self,
        kubernetes: &KubernetesReader,
    ) -> Result<Vec<TargetState>> {
        let found = read(kubernetes).await?;
        let state = |(node, key, entry): (&NodeEntries, &String, &BeforeAndAfter)| {
            let present = found.get(&node.uid);
            let now = present.and_then(|present| K::entries(present).remove(key));
            let restore = present.map(|_| K::restore(&node.name, key, entry.before.as_deref()));
            TargetState::new(target::<K>(&node.name, key), entry.before.clone(), now, restore)
        };
        Ok(self.changed_entries().map(state).collect())
    }

    fn changed_entries(&self) -> impl Iterator<Item = (&NodeEntries, &String, &BeforeAndAfter)> {
        let of_node = |node| NodeEntries::changed(node).map(move |(key, entry)| (node, key, entry));
        self.nodes.iter().flat_map(of_node)
    }
}

impl NodeEntries {
    fn changed(&self) -> impl Iterator<Item = (&String, &BeforeAndAfter)> {
        self.entries.iter().filter(|(_, entry)| entry.before != entry.after)
    }

    fn is(&self, node: &Node) -> bool {
        node.metadata.uid.as_deref() == Some(self.uid.as_str())
    }
}

/// Reads all nodes, in pages and not one by one, by UID.
async fn read(kubernetes: &KubernetesReader) -> Result<BTreeMap<String, Node>> {
    let nodes = kubernetes.list::<Node>(&Selection::all()).await?;
    Ok(nodes.into_iter().filter_map(|node| Some((node.metadata.uid.clone()?, node))).collect())
}

fn target<K: EntryKind>(node: &str, key: &str) -> String {
    format!("node {node} {} {key}", K::NOUN)
}

/// Returns whether the node still exists, and the patch that sets its entries.
fn decide<K: EntryKind>(
    target: &NodeEntries,
    found: Option<&Node>,
) -> Result<(bool, Option<Value>)> {
    let Some(node) = found.filter(|node| target.is(node)) else { return Ok((false, None)) };
    let now = K::entries(node);
    let mut changes = BTreeMap::new();
    for (key, entry) in target.changed() {
        let shown = |value: &Option<String>| Shown(value.clone());
        let now = Shown(now.get(key).cloned());
        let name = self::target::<K>(&target.name, key);
        match decide_write(&name, &now, &shown(&entry.before), &shown(&entry.after))? {
            WriteDecision::Needed => drop(changes.insert(key.clone(), entry.after.clone())),
            WriteDecision::NotNeeded => {}
        }
    }
    Ok((true, (!changes.is_empty()).then(|| K::patch(node, &changes))))
}

/// Returns what is not restored, and the patch that restores the rest.
fn decide_undo<K: EntryKind>(
    target: &NodeEntries,
    found: Option<&Node>,
) -> (Vec<String>, Option<Value>) {
    let Some(node) = found.filter(|node| target.is(node)) else {
        return (vec![format!("node {} no longer exists", target.name)], None);
    };
    let entries = K::entries(node);
    let mut changes = BTreeMap::new();
    let mut not_restored = Vec::new();
    for (key, entry) in target.changed() {
        let now = entries.get(key).cloned();
        if now == entry.after {
            changes.insert(key.clone(), entry.before.clone());
        } else if now != entry.before {
            not_restored.push(format!(
                "left {} at {}: another client changed it from {}",
                self::target::<K>(&target.name, key),
                Shown(now),
                Shown(entry.after.clone())
            ));
        }
    }
    (not_restored, (!changes.is_empty()).then(|| K::patch(node, &changes)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::label_nodes::Labels;

    fn node(uid: &str, labels: &Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n", "uid": uid, "labels": labels}}))
            .unwrap()
    }

    fn change() -> EntryChange {
        let before = node("1", &json!({"kept": "k", "removed": "r", "set": "old"}));
        EntryChange::of::<Labels>(&[before], |_| {
            let wanted = [("kept", Some("k")), ("removed", None), ("set", Some("new"))];
            wanted.map(|(key, value)| (key.to_owned(), value.map(str::to_owned))).into()
        })
    }

    #[test]
    fn apply_sets_what_is_still_as_it_was() {
        let change = change();
        let decide = |uid, labels| decide::<Labels>(&change.nodes[0], Some(&node(uid, &labels)));
        let (is_there, patch) = decide("1", json!({"removed": "r", "set": "old"})).unwrap();
        let labels = json!({"removed": null, "set": "new"});
        assert_eq!((is_there, patch), (true, Some(json!({"metadata": {"labels": labels}}))));
        let (is_there, patch) = decide("1", json!({"set": "new"})).unwrap();
        assert_eq!((is_there, patch), (true, None));
        assert!(!decide("2", json!({})).unwrap().0);
        assert_eq!(
            decide("1", json!({"set": "theirs"})).unwrap_err().to_string(),
            "node n label set was changed by another client: expected \"old\", found \"theirs\""
        );
    }

    #[test]
    fn undo_restores_each_entry_that_is_still_as_it_was_set() {
        let change = change();
        let undo = |labels| decide_undo::<Labels>(&change.nodes[0], Some(&node("1", &labels)));
        let labels = json!({"removed": "r", "set": "old"});
        let patch = json!({"metadata": {"labels": labels}});
        assert_eq!(undo(json!({"kept": "k", "set": "new"})), (vec![], Some(patch)));
        assert_eq!(undo(labels), (vec![], None));
        let (not_restored, patch) = undo(json!({"removed": "theirs", "set": "new"}));
        assert_eq!(
            not_restored,
            ["left node n label removed at \"theirs\": another client changed it from none"]
        );
        assert_eq!(patch, Some(json!({"metadata": {"labels": {"set": "old"}}})));
    }
}
