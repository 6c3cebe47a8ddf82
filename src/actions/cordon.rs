//! `cordon` and `uncordon`: keep new pods off some nodes, or let them onto the nodes again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Action, Change, Permission, PlannedChange, PlatformReader, PlatformWriter, Progress, Result,
    TargetState, cordon_change::CordonChange,
};
use runbook::Reversibility;

/// Keeps new pods off some nodes. The pods that are there stay.
///
/// Nodes that are cordoned already are left as they are, also by the undo: it uncordons only what this step cordoned.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Params", extend("x-opposite" = "uncordon"))]
pub struct CordonParams {
    /// Names of the nodes.
    #[schemars(length(min = 1))]
    pub nodes: Vec<String>,
}

/// The cordoned nodes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Output")]
pub struct CordonOutput {
    /// All of them, by name.
    pub nodes: Vec<String>,
    /// The nodes that this step cordoned; those that were cordoned before are left out.
    pub changed: Vec<String>,
}

/// Lets new pods onto some nodes again.
///
/// Nodes that take pods already are left as they are, also by the undo: it cordons only what this step uncordoned.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Params", extend("x-opposite" = "cordon"))]
pub struct UncordonParams {
    /// Names of the nodes.
    #[schemars(length(min = 1))]
    pub nodes: Vec<String>,
}

/// The nodes that take pods.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Output")]
pub struct UncordonOutput {
    /// All of them, by name.
    pub nodes: Vec<String>,
    /// The nodes that this step uncordoned; those that were not cordoned are left out.
    pub changed: Vec<String>,
}

/// The nodes as they were.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    #[serde(rename = "cordoning")]
    change: CordonChange,
}

/// The nodes on which this step set the flag.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    changed: Vec<String>,
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
    /// Returns the output for these nodes, of which this step changed some.
    fn output(nodes: Vec<String>, changed: Vec<String>) -> Self::Output;
}

impl Direction for Cordon {
    const NAME: &'static str = "cordon";
    type Params = CordonParams;
    type Output = CordonOutput;

    fn nodes(params: &CordonParams) -> &[String] {
        &params.nodes
    }

    fn output(nodes: Vec<String>, changed: Vec<String>) -> CordonOutput {
        CordonOutput { nodes, changed }
    }
}

impl Direction for Uncordon {
    const NAME: &'static str = "uncordon";
    type Params = UncordonParams;
    type Output = UncordonOutput;

    fn nodes(params: &UncordonParams) -> &[String] {
        &params.nodes
    }

    fn output(nodes: Vec<String>, changed: Vec<String>) -> UncordonOutput {
        UncordonOutput { nodes, changed }
    }
}

impl<const CORDON: bool> Action for SetCordon<CORDON>
where
    Self: Direction,
{
    const NAME: &'static str = <Self as Direction>::NAME;
    const PERMISSIONS: &'static [Permission] =
        &[Permission::core("nodes", &["get", "list", "patch"])];
    type Params = <Self as Direction>::Params;
    type Output = <Self as Direction>::Output;
}

impl<const CORDON: bool> Change for SetCordon<CORDON>
where
    Self: Direction,
{
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        intent.change.planned_changes()
    }

    async fn prepare(
        params: <Self as Direction>::Params,
        reader: &PlatformReader,
        _: &Progress,
    ) -> Result<Intent> {
        let kubernetes = reader.kubernetes().await?;
        let nodes = Self::nodes(&params);
        let change = CordonChange::prepare(nodes, CORDON, reader.clock(), &kubernetes).await?;
        Ok(Intent { change })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let changed = intent.change.apply(&writer.kubernetes().await?).await?;
        Ok(Receipt { changed })
    }

    async fn settle(
        intent: &Intent,
        receipt: &Receipt,
        _: &PlatformReader,
        _: &Progress,
    ) -> Result<<Self as Direction>::Output> {
        Ok(Self::output(intent.change.nodes(), receipt.changed.clone()))
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
