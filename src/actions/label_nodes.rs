//! `label_nodes`: set or remove labels of nodes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kinds::NodeName;
use super::{
    Action, Change, KnownTargets, KubernetesScope, Permission, PlannedChange, PlatformReader,
    PlatformWriter, Progress, RestoreCommand, Result, TargetState,
    known_targets::report_gone,
    node_entries::{ChangedNodes, EntryChange, EntryKind},
    node_targets,
};
use crate::platform::kubernetes::node::Node;
use runbook::Reversibility;

/// Sets or removes labels of nodes.
///
/// The undo restores each label that still has the value that this step set. Pods that run on a node stay there when
/// its labels change. A node that an earlier step listed and that has ended since is reported as gone; a name that no
/// step listed and that no node has is an error.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Names of the nodes. An empty list changes nothing.
    #[schemars(with = "Vec<NodeName>")]
    pub nodes: Vec<String>,
    /// The labels: a value sets a label, null removes it. Others stay as they are.
    #[schemars(length(min = 1), extend("x-keys" = "label-key"))]
    pub labels: BTreeMap<String, Option<LabelValue>>,
}

/// The value of a label.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(extend("x-syntax" = "label-value"))]
pub struct LabelValue(String);

/// The labeled nodes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// All of them, by name.
    #[schemars(with = "Vec<NodeName>")]
    pub nodes: Vec<String>,
    /// The nodes that this step changed; those that had these labels before are left out.
    #[schemars(with = "Vec<NodeName>")]
    pub changed: Vec<String>,
    /// The nodes that have ended since an earlier step listed them, by name. They are not among `nodes`.
    #[schemars(with = "Vec<NodeName>")]
    pub gone: Vec<String>,
}

/// The labels as they were, and as they are to be.
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

pub(super) struct LabelNodes;

/// The labels of nodes.
pub(super) struct Labels;

impl EntryKind for Labels {
    const NOUN: &'static str = "label";

    fn entries(node: &Node) -> BTreeMap<String, String> {
        node.metadata.labels.clone().unwrap_or_default()
    }

    fn patch(_: &Node, changes: &BTreeMap<String, Option<String>>) -> Value {
        json!({"metadata": {"labels": changes}})
    }

    fn restore(node: &str, key: &str, value: Option<&str>) -> RestoreCommand {
        match value {
            Some(value) => {
                let label = format!("{key}={value}");
                RestoreCommand::kubectl(["label", "node", node, &label, "--overwrite"])
            }
            None => RestoreCommand::kubectl(["label", "node", node, &format!("{key}-")]),
        }
    }
}

impl Action for LabelNodes {
    const NAME: &'static str = "label_nodes";
    const PERMISSIONS: &'static [Permission] =
        &[Permission::core("nodes", &["get", "list", "patch"], KubernetesScope::Cluster)];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.nodes.iter().for_each(|name| known.add_node(name, None));
    }
}

impl Change for LabelNodes {
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        intent.change.planned_changes::<Labels>()
    }

    async fn prepare(
        params: Params,
        known: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let kubernetes = reader.kubernetes().await?;
        let (nodes, gone) = node_targets::find(&params.nodes, known, &kubernetes).await?;
        report_gone(progress, "node", &gone);
        let wanted = params.labels.into_iter();
        let wanted: BTreeMap<_, _> =
            wanted.map(|(key, value)| (key, value.map(|LabelValue(value)| value))).collect();
        Ok(Intent { change: EntryChange::of::<Labels>(&nodes, |_| wanted.clone()), gone })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        Ok(Receipt(intent.change.apply::<Labels>(&writer.kubernetes().await?).await?))
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
        intent.change.undo::<Labels>(&writer.kubernetes().await?).await
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        intent.change.read_targets::<Labels>(&reader.kubernetes().await?).await
    }
}
