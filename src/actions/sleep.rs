//! `sleep`: let time pass.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Permission, PlatformReader, Progress, Result, Wait};

/// Lets time pass.
///
/// A wait for something that can be seen (`wait_nodes`, `wait_pods`) is better: it ends as soon as it is so, and says
/// why it is not. A step that is resumed sleeps from the beginning.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-never-retried" = true))]
pub struct Params {
    /// How long.
    pub duration: runbook::Duration,
}

/// Nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {}

pub(super) struct Sleep;

impl Action for Sleep {
    const NAME: &'static str = "sleep";
    const PERMISSIONS: &'static [Permission] = &[];
    type Params = Params;
    type Output = Output;
}

impl Wait for Sleep {
    async fn wait(params: Params, reader: &PlatformReader, progress: &Progress) -> Result<Output> {
        progress.waiting(&format!("{} to pass", params.duration));
        reader.clock().sleep(params.duration.std()).await;
        Ok(Output {})
    }
}
