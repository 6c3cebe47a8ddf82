//! `taint_nodes`: set or remove taints of nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kinds::NodeName;
use super::{
    Action, Change, Error, Impact, KnownTargets, KubernetesScope, Permission, PlannedChange,
    PlatformReader, PlatformWriter, Progress, RestoreCommand, Result, TargetState,
    known_targets::report_gone,
    node_entries::{ChangedNodes, EntryChange, EntryKind},
    node_targets,
};
use crate::platform::kubernetes::node::Node;
use crate::platform::kubernetes::node::{self, UNSCHEDULABLE_TAINT};
use runbook::{LimitKind, Reversibility};

/// Sets or removes taints of nodes.
///
/// A taint is known by its key and its effect, as for kubectl. The undo restores each taint that still has the value
/// that this step set. A taint with the effect NoExecute has Kubernetes delete the pods of the node that do not
/// tolerate it, whatever disruption budgets say: these pods are not restored. A node that an earlier step listed and
/// that has ended since is reported as gone; a name that no step listed and that no node has is an error.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-any-of" = [["taints", "remove"]],
    "x-distinct" = [{"of": ["taints", "remove"], "by": ["key", "effect"]}]
))]
pub struct Params {
    /// Names of the nodes. An empty list changes nothing.
    #[schemars(with = "Vec<NodeName>")]
    pub nodes: Vec<String>,
    /// The taints to set.
    #[serde(default)]
    pub taints: Vec<TaintToSet>,
    /// The taints to remove. One that a node does not have is no error; without an effect, all with the key are
    /// removed.
    #[serde(default)]
    pub remove: Vec<TaintToRemove>,
}

/// A taint to set.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaintToSet {
    /// The key.
    #[schemars(extend(
        "x-syntax" = "label-key",
        "x-refused" = [{
            "text": "node.kubernetes.io/unschedulable",
            "why": "this taint follows from a cordon",
            "help": "use the action cordon or uncordon"
        }]
    ))]
    pub key: String,
    /// The value.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "label-value"))]
    pub value: Option<String>,
    /// The effect on pods that do not tolerate the taint.
    pub effect: TaintEffect,
}

/// A taint to remove.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaintToRemove {
    /// The key.
    #[schemars(extend(
        "x-syntax" = "label-key",
        "x-refused" = [{
            "text": "node.kubernetes.io/unschedulable",
            "why": "this taint follows from a cordon",
            "help": "use the action cordon or uncordon"
        }]
    ))]
    pub key: String,
    /// The effect; without it, the taints with the key are removed whatever their effect is.
    #[serde(default)]
    pub effect: Option<TaintEffect>,
}

/// The effect of a taint on pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// New pods are not placed on the node.
    NoSchedule,
    /// New pods are placed on another node where there is one.
    PreferNoSchedule,
    /// New pods are not placed on the node, and those that run there are deleted.
    NoExecute,
}

impl TaintEffect {
    const ALL: [Self; 3] = [Self::NoSchedule, Self::PreferNoSchedule, Self::NoExecute];

    fn name(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// The tainted nodes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// All of them, by name.
    #[schemars(with = "Vec<NodeName>")]
    pub nodes: Vec<String>,
    /// The nodes that this step changed; those that had these taints before are left out.
    #[schemars(with = "Vec<NodeName>")]
    pub changed: Vec<String>,
    /// The nodes that have ended since an earlier step listed them, by name. They are not among `nodes`.
    #[schemars(with = "Vec<NodeName>")]
    pub gone: Vec<String>,
}

/// The taints as they were, and as they are to be.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    change: EntryChange,
    /// Names of the nodes that were gone already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

/// The nodes after the change.
#[derive(Serialize, Deserialize)]
pub struct Receipt(ChangedNodes);

pub(super) struct TaintNodes;

/// The taints of nodes, each under `KEY:EFFECT`.
struct Taints;

impl EntryKind for Taints {
    const NOUN: &'static str = "taint";

    fn entries(node: &Node) -> BTreeMap<String, String> {
        let entry = |taint: &Taint| (entry_key(taint), taint.value.clone().unwrap_or_default());
        node::taints(node).map(entry).collect()
    }

    fn patch(node: &Node, changes: &BTreeMap<String, Option<String>>) -> Value {
        let is_kept = |taint: &&Taint| !changes.contains_key(&entry_key(taint));
        let kept = node::taints(node).filter(is_kept).map(|taint| json!(taint));
        let set = changes.iter().filter_map(|(entry, value)| {
            let (key, effect) = entry.rsplit_once(':')?;
            let value = value.as_ref()?;
            let taint = json!({"key": key, "effect": effect});
            Some(if value.is_empty() { taint } else { with_value(taint, value) })
        });
        let taints: Vec<Value> = kept.chain(set).collect();
        // A node without taints has no list at all.
        let taints = if taints.is_empty() { Value::Null } else { json!(taints) };
        json!({"spec": {"taints": taints}})
    }

    fn restore(node: &str, key: &str, value: Option<&str>) -> RestoreCommand {
        let (key, effect) = key.rsplit_once(':').unwrap_or((key, ""));
        match value {
            Some(value) => {
                let taint = format!("{key}={value}:{effect}");
                RestoreCommand::kubectl(["taint", "node", node, &taint, "--overwrite"])
            }
            None => RestoreCommand::kubectl(["taint", "node", node, &format!("{key}:{effect}-")]),
        }
    }
}

fn with_value(mut taint: Value, value: &str) -> Value {
    taint["value"] = json!(value);
    taint
}

fn entry_key(taint: &Taint) -> String {
    format!("{}:{}", taint.key, taint.effect)
}

impl Action for TaintNodes {
    const NAME: &'static str = "taint_nodes";
    const PERMISSIONS: &'static [Permission] =
        &[Permission::core("nodes", &["get", "list", "patch"], KubernetesScope::Cluster)];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.nodes.iter().for_each(|name| known.add_node(name, None));
    }
}

impl Change for TaintNodes {
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    const LIMITS: &'static [LimitKind] = Impact::REMOVES_PODS;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        intent.change.planned_changes::<Taints>()
    }

    fn impact(intent: &Intent) -> Impact {
        let is_evicting =
            |entry: &str| entry.ends_with(&format!(":{}", TaintEffect::NoExecute.name()));
        Impact { emptied_nodes: intent.change.nodes_that_get(is_evicting), ..Impact::default() }
    }

    async fn prepare(
        params: Params,
        known: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let wanted = wanted_entries(&params)?;
        let kubernetes = reader.kubernetes().await?;
        let (nodes, gone) = node_targets::find(&params.nodes, known, &kubernetes).await?;
        report_gone(progress, "node", &gone);
        Ok(Intent { change: EntryChange::of::<Taints>(&nodes, |_| wanted.clone()), gone })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        Ok(Receipt(intent.change.apply::<Taints>(&writer.kubernetes().await?).await?))
    }

    async fn settle(
        intent: &Intent,
        Receipt(after): &Receipt,
        _: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        report_gone(progress, "node", &after.gone);
        Ok(Output {
            nodes: after.nodes.clone(),
            changed: after.changed.clone(),
            gone: [&intent.gone[..], &after.gone[..]].concat(),
        })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        intent.change.undo::<Taints>(&writer.kubernetes().await?).await
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        intent.change.read_targets::<Taints>(&reader.kubernetes().await?).await
    }
}

/// Returns the wanted value of each taint, by `KEY:EFFECT`.
///
/// # Errors
/// A taint is to be set and removed, or is the one of a cordon.
fn wanted_entries(params: &Params) -> Result<BTreeMap<String, Option<String>>> {
    let key = |key: &str, effect: TaintEffect| format!("{key}:{}", effect.name());
    let keys = params.taints.iter().map(|taint| &taint.key);
    if keys
        .chain(params.remove.iter().map(|taint| &taint.key))
        .any(|key| key == UNSCHEDULABLE_TAINT)
    {
        let message = format!("the taint {UNSCHEDULABLE_TAINT} follows from a cordon");
        return Err(Error::precondition(message).with_hint("use `cordon` or `uncordon`"));
    }
    let mut wanted = BTreeMap::new();
    for taint in &params.remove {
        let effects = taint.effect.map_or(TaintEffect::ALL.to_vec(), |effect| vec![effect]);
        wanted.extend(effects.into_iter().map(|effect| (key(&taint.key, effect), None)));
    }
    for taint in &params.taints {
        let entry = key(&taint.key, taint.effect);
        let value = taint.value.clone().unwrap_or_default();
        let former = wanted.insert(entry.clone(), Some(value));
        // Another effect of the key may be removed by a removal that names no effect.
        let is_removed_by_name = |removed: &TaintToRemove| {
            removed.key == taint.key && removed.effect == Some(taint.effect)
        };
        if params.remove.iter().any(is_removed_by_name) || matches!(former, Some(Some(_))) {
            let message = format!("the taint {entry} is named twice");
            return Err(Error::precondition(message));
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(params: Value) -> Result<BTreeMap<String, Option<String>>> {
        wanted_entries(&serde_json::from_value(params).unwrap())
    }

    #[test]
    fn a_removal_without_effect_removes_every_other_effect() {
        let taint = json!({"key": "a", "value": "v", "effect": "NoExecute"});
        let params = json!({"nodes": [], "taints": [taint], "remove": [{"key": "a"}]});
        let expected =
            [("a:NoExecute", Some("v")), ("a:NoSchedule", None), ("a:PreferNoSchedule", None)];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(wanted(params).unwrap(), expected.into());
    }

    #[test]
    fn contradictions_and_the_taint_of_a_cordon_are_refused() {
        let taint = json!({"key": "a", "effect": "NoSchedule"});
        let error = |params: Value| wanted(params).unwrap_err().to_string();
        let twice = "the taint a:NoSchedule is named twice";
        assert_eq!(error(json!({"nodes": [], "taints": [taint], "remove": [taint]})), twice);
        assert_eq!(error(json!({"nodes": [], "taints": [taint, taint]})), twice);
        let cordon = json!([{"key": UNSCHEDULABLE_TAINT}]);
        assert!(error(json!({"nodes": [], "remove": cordon})).contains("follows from a cordon"));
    }

    #[test]
    fn a_patch_keeps_the_other_taints_as_they_are() {
        let other = json!({"key": "b", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"});
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "spec": {"taints": [other, {"key": "a", "value": "old", "effect": "NoSchedule"}]},
        }))
        .unwrap();
        let patch = |key: &str, value: Option<&str>| {
            Taints::patch(&node, &BTreeMap::from([(key.to_owned(), value.map(str::to_owned))]))
        };
        let new = json!({"key": "a", "value": "new", "effect": "NoSchedule"});
        assert_eq!(patch("a:NoSchedule", Some("new")), json!({"spec": {"taints": [other, new]}}));
        assert_eq!(patch("a:NoSchedule", None), json!({"spec": {"taints": [other]}}));
    }
}
