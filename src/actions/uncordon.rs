//! `uncordon`: let new pods onto some nodes again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, Change, Diff, Permission, Progress, Reader, Result, Writer, cordoning::Cordoning,
};
use crate::runbook::Reversibility;

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
    cordoning: Cordoning,
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
    const UNDO: Reversibility = Reversibility::Reversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn changes(intent: &Intent) -> Vec<Diff> {
        intent.cordoning.changes()
    }

    async fn prepare(params: Params, reader: &Reader, _: &Progress) -> Result<Intent> {
        let kubernetes = reader.kubernetes().await?;
        let clock = reader.clock();
        let cordoning = Cordoning::prepare(&params.nodes, false, clock, &kubernetes).await?;
        Ok(Intent { cordoning })
    }

    async fn apply(intent: &Intent, writer: &Writer) -> Result<Receipt> {
        let changed = intent.cordoning.apply(&writer.kubernetes().await?).await?;
        Ok(Receipt { changed })
    }

    async fn settle(
        intent: &Intent,
        receipt: &Receipt,
        _: &Reader,
        _: &Progress,
    ) -> Result<Output> {
        Ok(Output { nodes: intent.cordoning.nodes(), changed: receipt.changed.clone() })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &Writer,
        _: &Progress,
    ) -> Result<Vec<String>> {
        intent.cordoning.undo(&writer.kubernetes().await?).await
    }
}
