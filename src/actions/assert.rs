//! `assert`: go on only if something is so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Error, Permission, PlatformReader, Progress, Result, Wait};

/// Fails the step, with a message of the runbook's own, unless something is true.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-never-retried" = true))]
pub struct Params {
    /// What must be true, such as `"{{ new_nodes.count >= scale_up.desired }}"`.
    pub that: bool,
    /// What to say when it is not.
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
