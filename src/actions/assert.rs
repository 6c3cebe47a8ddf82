//! `assert`: continue only if a condition is true.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Error, Permission, PlatformReader, Progress, Result, Wait};

/// Fails the step, with a message from the runbook, unless a condition is true.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-never-retried" = true))]
pub struct Params {
    /// The condition, such as `"{{ new_nodes.count >= scale_up.desired }}"`.
    pub that: bool,
    /// The error message when the condition is false.
    #[schemars(length(min = 1))]
    pub message: String,
}

/// Nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {}

pub(super) struct Assert;

impl Action for Assert {
    const NAME: &'static str = "assert";
    const PERMISSIONS: &'static [Permission] = &[];
    type Params = Params;
    type Output = Output;
}

impl Wait for Assert {
    async fn wait(params: Params, _: &PlatformReader, _: &Progress) -> Result<Output> {
        if params.that { Ok(Output {}) } else { Err(Error::precondition(params.message)) }
    }
}
