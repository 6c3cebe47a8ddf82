//! `sleep`: let time pass.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Permission, PlatformReader, Progress, Result, Wait};

/// Lets time pass.
///
/// A wait for a condition (`wait_nodes`, `wait_pods`) is better: it ends as soon as the condition holds, and reports
/// what is missing until then. A resumed step sleeps for the whole duration again.
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
