//! `uncordon`: let new pods onto some nodes again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, Change, Permission, PlannedChange, PlatformReader, PlatformWriter, Progress, Result,
    cordon_change::CordonChange,
};
use runbook::Reversibility;

/// Lets new pods onto some nodes again.
///
/// Nodes that take pods already are left as they are, also by the undo: it cordons only what this step uncordoned.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-opposite" = "cordon"))]
pub struct Params {
    /// Names of the nodes.
    #[schemars(length(min = 1))]
    pub nodes: Vec<String>,
}

/// The nodes that take pods.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
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

/// The nodes on which it was this step that set the flag.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    changed: Vec<String>,
}

pub(super) struct Uncordon;

impl Action for Uncordon {
    const NAME: &'static str = "uncordon";
    const PERMISSIONS: &'static [Permission] =
        &[Permission::core("nodes", &["get", "list", "patch"])];
    type Params = Params;
    type Output = Output;
}

impl Change for Uncordon {
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        intent.change.planned_changes()
    }

    async fn prepare(params: Params, reader: &PlatformReader, _: &Progress) -> Result<Intent> {
        let kubernetes = reader.kubernetes().await?;
        let clock = reader.clock();
        let change = CordonChange::prepare(&params.nodes, false, clock, &kubernetes).await?;
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
    ) -> Result<Output> {
        Ok(Output { nodes: intent.change.nodes(), changed: receipt.changed.clone() })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        intent.change.undo(&writer.kubernetes().await?).await
    }
}
