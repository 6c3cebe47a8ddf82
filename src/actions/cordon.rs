//! `cordon` and `uncordon`: keep new pods off some nodes, or let them onto the nodes again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::kinds::NodeName;
use super::{
    Action, Change, Impact, KnownTargets, KubernetesScope, Permission, PlannedChange,
    PlatformReader, PlatformWriter, Progress, Result, TargetState,
    cordon_change::{CordonChange, new_owner_mark},
    known_targets::report_gone,
    node_targets,
};
use crate::platform::NODE_NAME;
use runbook::{LimitKind, Reversibility};

/// Keeps new pods off some nodes. The pods that are there stay.
///
/// Nodes that are cordoned already are left as they are, also by the undo: it uncordons only what this step cordoned.
/// A node that an earlier step listed and that has ended since is reported as gone; a name that no step listed and that
/// no node has is an error.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Params", extend("x-opposite" = "uncordon"))]
pub struct CordonParams {
    /// Names of the nodes. An empty list changes nothing.
    #[schemars(with = "Vec<NodeName>")]
    pub nodes: Vec<String>,
}

/// The cordoned nodes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Output")]
pub struct CordonOutput {
    /// All of them, by name.
    #[schemars(with = "Vec<NodeName>")]
    pub nodes: Vec<String>,
    /// The nodes that this step cordoned; those that were cordoned before are left out.
    #[schemars(with = "Vec<NodeName>")]
    pub changed: Vec<String>,
    /// The nodes that have ended since an earlier step listed them, by name. They are not among `nodes`.
    #[serde(default)]
    #[schemars(with = "Vec<NodeName>")]
    pub gone: Vec<String>,
}

/// Lets new pods onto some nodes again.
///
/// Nodes that take pods already are left as they are, also by the undo: it cordons only what this step uncordoned. A
/// node that an earlier step listed and that has ended since is reported as gone; a name that no step listed and that
/// no node has is an error.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Params", extend("x-opposite" = "cordon"))]
pub struct UncordonParams {
    /// Names of the nodes. An empty list changes nothing.
    #[schemars(with = "Vec<NodeName>")]
    pub nodes: Vec<String>,
}

/// The nodes that take pods.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Output")]
pub struct UncordonOutput {
    /// All of them, by name.
    #[schemars(with = "Vec<NodeName>")]
    pub nodes: Vec<String>,
    /// The nodes that this step uncordoned; those that were not cordoned are left out.
    #[schemars(with = "Vec<NodeName>")]
    pub changed: Vec<String>,
    /// The nodes that have ended since an earlier step listed them, by name. They are not among `nodes`.
    #[serde(default)]
    #[schemars(with = "Vec<NodeName>")]
    pub gone: Vec<String>,
}

/// The nodes as they were.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    #[serde(rename = "cordoning")]
    change: CordonChange,
    /// Names of the nodes that were gone already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

/// The nodes on which this step set the flag, and those that had ended since the step was prepared.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    changed: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

/// The action that sets or removes the flag of nodes.
pub(super) struct SetCordon<const CORDON: bool>;

pub(super) type Cordon = SetCordon<true>;
pub(super) type Uncordon = SetCordon<false>;

/// The differences between the two actions: the name, and the documented types.
pub trait Direction {
    /// The name of the action.
    const NAME: &'static str;
    /// The parameters, with their documentation.
    type Params: DeserializeOwned + JsonSchema + Send;
    /// The output, with its documentation.
    type Output: Serialize + DeserializeOwned + JsonSchema + Send;

    /// Returns the names of the nodes in the parameters.
    fn nodes(params: &Self::Params) -> &[String];
    /// Returns the output for these nodes, of which this step changed some, and for those that are gone.
    fn output(nodes: Vec<String>, changed: Vec<String>, gone: Vec<String>) -> Self::Output;
    /// Returns the names of the nodes in an output.
    fn output_nodes(output: &Self::Output) -> &[String];
}

impl Direction for Cordon {
    const NAME: &'static str = "cordon";
    type Params = CordonParams;
    type Output = CordonOutput;

    fn nodes(params: &CordonParams) -> &[String] {
        &params.nodes
    }

    fn output(nodes: Vec<String>, changed: Vec<String>, gone: Vec<String>) -> CordonOutput {
        CordonOutput { nodes, changed, gone }
    }

    fn output_nodes(output: &CordonOutput) -> &[String] {
        &output.nodes
    }
}

impl Direction for Uncordon {
    const NAME: &'static str = "uncordon";
    type Params = UncordonParams;
    type Output = UncordonOutput;

    fn nodes(params: &UncordonParams) -> &[String] {
        &params.nodes
    }

    fn output(nodes: Vec<String>, changed: Vec<String>, gone: Vec<String>) -> UncordonOutput {
        UncordonOutput { nodes, changed, gone }
    }

    fn output_nodes(output: &UncordonOutput) -> &[String] {
        &output.nodes
    }
}

impl<const CORDON: bool> Action for SetCordon<CORDON>
where
    Self: Direction,
{
    const NAME: &'static str = <Self as Direction>::NAME;
    const PERMISSIONS: &'static [Permission] =
        &[Permission::core("nodes", &["get", "list", "patch"], KubernetesScope::Cluster)];
    type Params = <Self as Direction>::Params;
    type Output = <Self as Direction>::Output;

    fn add_known_targets(output: &Self::Output, known: &mut KnownTargets) {
        Self::output_nodes(output).iter().for_each(|name| known.add_node(name, None));
    }
}

impl<const CORDON: bool> Change for SetCordon<CORDON>
where
    Self: Direction,
{
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    const LIMITS: &'static [LimitKind] = if CORDON { Impact::CORDONS } else { &[] };
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        intent.change.planned_changes()
    }

    fn impact(intent: &Intent) -> Impact {
        let cordons = if CORDON { intent.change.changed_nodes() } else { Vec::new() };
        Impact { cordons, ..Impact::default() }
    }

    async fn prepare(
        params: <Self as Direction>::Params,
        known: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let kubernetes = reader.kubernetes().await?;
        let names = Self::nodes(&params);
        let (nodes, gone) = node_targets::find(names, known, &kubernetes).await?;
        report_gone(progress, "node", &gone);
        let own = reader.environment(NODE_NAME);
        if CORDON && let Some(own) = own.filter(|own| names.iter().any(|name| name == own)) {
            progress.report(&format!(
                "this process runs on node {own}, which is cordoned: a pod that ends there starts elsewhere"
            ));
        }
        let change = CordonChange::of(&nodes, CORDON, new_owner_mark(*reader.clock()));
        Ok(Intent { change, gone })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let (changed, gone) = intent.change.apply(&writer.kubernetes().await?).await?;
        Ok(Receipt { changed, gone })
    }

    async fn settle(
        intent: &Intent,
        receipt: &Receipt,
        _: &PlatformReader,
        progress: &Progress,
    ) -> Result<<Self as Direction>::Output> {
        report_gone(progress, "node", &receipt.gone);
        let mut nodes = intent.change.nodes();
        nodes.retain(|name| !receipt.gone.contains(name));
        let gone = [&intent.gone[..], &receipt.gone[..]].concat();
        Ok(Self::output(nodes, receipt.changed.clone(), gone))
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        intent.change.undo(&writer.kubernetes().await?).await
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        intent.change.read_targets(&reader.kubernetes().await?).await
    }
}
