//! Whether nodes take new pods: what `cordon` and `uncordon` share, and the undo of `scale_nodegroup` uses.
//!
//! The flag of a node does not say who set it. Ours comes with an annotation, in one patch, whose value is chosen
//! when the step is prepared; an undo takes back only what carries it.

use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Diff, Error, Result, at_once::a_few_at_once, patched::patch_as_read, words::listed};
use crate::{
    clock::Clock,
    platform::kubernetes::{Reader, Selection, Writer, node},
};

const CORDONED_BY: &str = "rafay-relay-sop/cordoned-by";
const UNCORDONED_BY: &str = "rafay-relay-sop/uncordoned-by";

/// What is to become of some nodes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cordoning {
    /// Whether they are to be cordoned, or no longer.
    cordon: bool,
    /// The value of our annotation.
    mark: String,
    nodes: Vec<Target>,
}

/// A node as it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Target {
    name: String,
    uid: String,
    cordoned: bool,
    cordoned_by: Option<String>,
    uncordoned_by: Option<String>,
}

impl Target {
    fn of(node: &Node) -> Self {
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            cordoned: node::is_cordoned(node),
            cordoned_by: annotation(node, CORDONED_BY),
            uncordoned_by: annotation(node, UNCORDONED_BY),
        }
    }

    fn is(&self, node: &Node) -> bool {
        node.metadata.uid.as_deref() == Some(self.uid.as_str())
    }
}

impl Cordoning {
    /// Looks at the nodes of these names, which must all be there.
    pub(super) async fn prepare(
        names: &[String],
        cordon: bool,
        clock: &Clock,
        kubernetes: &Reader,
    ) -> Result<Self> {
        let mut found = kubernetes.list::<Node>(&Selection::all()).await?;
        found.retain(|node| node.metadata.name.as_ref().is_some_and(|name| names.contains(name)));
        let is_there =
            |name: &&String| found.iter().any(|n| n.metadata.name.as_ref() == Some(name));
        let missing: Vec<&String> = names.iter().filter(|name| !is_there(name)).collect();
        if !missing.is_empty() {
            return Err(Error::Refused(format!("the cluster has no node {}", listed(missing))));
        }
        Ok(Self::of(&found, cordon, new_mark(clock)))
    }

    /// What is to become of these nodes, as they were just seen.
    pub(super) fn of(nodes: &[Node], cordon: bool, mark: String) -> Self {
        Self { cordon, mark, nodes: nodes.iter().map(Target::of).collect() }
    }

    /// The cordon that an earlier attempt has put on these nodes, which were open before: to be taken back.
    pub(super) fn on_open_nodes(nodes: &[Node], mark: String) -> Self {
        let before = |node: &Node| Target {
            cordoned: false,
            cordoned_by: None,
            uncordoned_by: None,
            ..Target::of(node)
        };
        Self { cordon: true, mark, nodes: nodes.iter().map(before).collect() }
    }

    /// Every node that it is about.
    pub(super) fn nodes(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    pub(super) fn changes(&self) -> Vec<Diff> {
        let changed = self.nodes.iter().filter(|node| node.cordoned != self.cordon);
        changed
            .map(|node| {
                Diff::new(format!("node {} unschedulable", node.name), node.cordoned, self.cordon)
            })
            .collect()
    }

    /// Sets the flag where it is not set, and returns the nodes on which this step did so, now or in an attempt of
    /// which nobody heard.
    pub(super) async fn apply(&self, kubernetes: &Writer) -> Result<Vec<String>> {
        let calls: Vec<_> = self
            .with_nodes(kubernetes)
            .await?
            .into_iter()
            .map(|(target, seen)| async move {
                let decide = |found: Option<&Node>| self.decide(target, found);
                let ours = patch_as_read(kubernetes, None, &target.name, seen, decide).await?;
                Ok(ours.then(|| target.name.clone()))
            })
            .collect();
        let mut ours: Vec<String> = a_few_at_once(calls).await?.into_iter().flatten().collect();
        ours.sort();
        Ok(ours)
    }

    /// The targets whose flag is to change, with their nodes as they are now, read by the page and not one by one.
    async fn with_nodes(&self, kubernetes: &Writer) -> Result<Vec<(&Target, Option<Node>)>> {
        let mut nodes = kubernetes.reader().list::<Node>(&Selection::all()).await?;
        let mut take = |target: &Target| {
            let place = nodes.iter().position(|node| target.is(node))?;
            Some(nodes.swap_remove(place))
        };
        let changed = self.nodes.iter().filter(|node| node.cordoned != self.cordon);
        Ok(changed.map(|target| (target, take(target))).collect())
    }

    /// Whether the flag will be ours, and the patch that makes it so.
    fn decide(&self, target: &Target, found: Option<&Node>) -> Result<(bool, Option<Value>)> {
        let Some(node) = found.filter(|node| target.is(node)) else {
            return Err(Error::Conflict {
                target: format!("node {}", target.name),
                expected: format!("UID {}", target.uid),
                found: found.map_or("no such node".into(), |_| "another one".into()),
            });
        };
        if node::is_cordoned(node) == self.cordon {
            return Ok((self.is_ours(node), None));
        }
        let (ours, other) = self.keys();
        Ok((true, Some(patch(self.cordon, json!({ours: self.mark, other: null})))))
    }

    /// Puts back the flags that this step set, and says which it left alone.
    pub(super) async fn undo(&self, kubernetes: &Writer) -> Result<Vec<String>> {
        let calls: Vec<_> = self
            .with_nodes(kubernetes)
            .await?
            .into_iter()
            .map(|(target, seen)| {
                let decide = |found: Option<&Node>| Ok(self.decide_back(target, found));
                patch_as_read(kubernetes, None, &target.name, seen, decide)
            })
            .collect();
        Ok(a_few_at_once(calls).await?.into_iter().flatten().collect())
    }

    fn decide_back(
        &self,
        target: &Target,
        found: Option<&Node>,
    ) -> (Option<String>, Option<Value>) {
        let Some(node) = found.filter(|node| target.is(node)) else {
            return (Some(format!("node {} is not there any more", target.name)), None);
        };
        let is_ours = self.is_ours(node);
        if node::is_cordoned(node) != self.cordon {
            // Somebody put the flag back by hand; our annotation would then say what is no longer true.
            let annotations = is_ours.then(|| self.marks_before(target));
            return (None, annotations.map(|marks| json!({"metadata": {"annotations": marks}})));
        }
        if !is_ours {
            let word = if self.cordon { "cordoned" } else { "uncordoned" };
            let text =
                format!("node {} stays {word}: it was not this run that did it", target.name);
            return (Some(text), None);
        }
        (None, Some(patch(!self.cordon, self.marks_before(target))))
    }

    fn marks_before(&self, target: &Target) -> Value {
        json!({CORDONED_BY: target.cordoned_by, UNCORDONED_BY: target.uncordoned_by})
    }

    fn is_ours(&self, node: &Node) -> bool {
        annotation(node, self.keys().0).as_ref() == Some(&self.mark)
    }

    /// The annotation that we set, and the one that is then no longer true.
    fn keys(&self) -> (&'static str, &'static str) {
        if self.cordon { (CORDONED_BY, UNCORDONED_BY) } else { (UNCORDONED_BY, CORDONED_BY) }
    }
}

/// Whether we cordoned the node under this mark.
pub(super) fn carries(node: &Node, mark: &str) -> bool {
    annotation(node, CORDONED_BY).as_deref() == Some(mark)
}

/// A value that no other step has: the time, for people, and chance.
pub(super) fn new_mark(clock: &Clock) -> String {
    format!("{}/{:08x}", clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"), fastrand::u32(..))
}

/// A schedulable node has no flag at all, as after `kubectl uncordon`.
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
        let annotations: Value = cordoned_by.map_or(json!({}), |mark| json!({CORDONED_BY: mark}));
        serde_json::from_value(json!({
            "metadata": {"name": "n", "uid": uid, "annotations": annotations},
            "spec": {"unschedulable": cordoned},
        }))
        .unwrap()
    }

    fn cordoning() -> Cordoning {
        Cordoning::of(&[node("1", false, None)], true, "ours".into())
    }

    #[test]
    fn apply_meets_every_state_of_the_node() {
        let cordoning = cordoning();
        let target = &cordoning.nodes[0];
        let decide = |node: Node| cordoning.decide(target, Some(&node));
        assert!(matches!(decide(node("1", false, None)), Ok((true, Some(_)))));
        assert!(matches!(decide(node("1", true, Some("ours"))), Ok((true, None))));
        assert!(matches!(decide(node("1", true, Some("theirs"))), Ok((false, None))));
        assert!(matches!(decide(node("1", true, None)), Ok((false, None))));
        assert!(matches!(decide(node("2", false, None)), Err(Error::Conflict { .. })));
        assert!(matches!(cordoning.decide(target, None), Err(Error::Conflict { .. })));
    }

    #[test]
    fn undo_takes_back_only_what_is_ours() {
        let cordoning = cordoning();
        let target = &cordoning.nodes[0];
        let undo = |node: Node| cordoning.decide_back(target, Some(&node));
        let (said, patch) = undo(node("1", true, Some("ours")));
        assert_eq!(said, None);
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
