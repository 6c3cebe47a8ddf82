//! `wait_approval`: wait until persons have approved.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Action, ApprovalRequest, Approve, Permission};

/// Waits until enough persons have approved, and fails when one rejects or the time is up.
///
/// They answer with `runs approve RUN`, `runs reject RUN`, or over HTTP. The lease of the cluster is given back during
/// the wait; a run that has changed something keeps its lock. The wait survives the process, and ends at the time that
/// was fixed when it began: then the step fails, whatever happened meanwhile.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-never-retried" = true, "x-asks" = true))]
pub struct Params {
    /// The text of the request: what has happened, and what an approval lets happen.
    #[schemars(length(min = 1))]
    pub message: String,
    /// How long to wait. A literal; the step needs no `timeout`.
    pub expires: runbook::Duration,
    /// How many different actors must approve.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10))]
    pub approvals: u32,
    /// The actors that may not approve, such as `cli:ann`; `starter` is the one that started the run. With an empty
    /// list everybody may.
    #[serde(default = "starter")]
    pub not_by: Vec<String>,
    /// Questions that the first actor that approves answers: names, and declarations as those of inputs. Literals.
    #[serde(default)]
    pub ask: BTreeMap<String, Question>,
}

/// A question, declared as an input is.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The type of the answer.
    #[serde(rename = "type")]
    pub ty: String,
    /// The text of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The answer when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The least number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// The greatest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// The least number of characters, or of items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u32>,
    /// The greatest number of characters, or of items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// The values of an enum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// The syntax of a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syntax: Option<String>,
}

fn one() -> u32 {
    1
}

fn starter() -> Vec<String> {
    vec![STARTER.to_owned()]
}

/// The actor that started the run.
const STARTER: &str = "starter";

/// The approval.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The actors that approved, in that order.
    pub approved_by: Vec<String>,
    /// The answers to the questions, each of its type.
    pub answers: Map<String, Value>,
}

pub(super) struct WaitApproval;

impl Action for WaitApproval {
    const NAME: &'static str = "wait_approval";
    const PERMISSIONS: &'static [Permission] = &[];
    type Params = Params;
    type Output = Output;
}

impl Approve for WaitApproval {
    fn request(params: Params) -> ApprovalRequest {
        let Params { message, expires, approvals, not_by, ask } = params;
        let excludes_starter = not_by.iter().any(|actor| actor == STARTER);
        ApprovalRequest {
            message,
            approvals,
            not_by: not_by.into_iter().filter(|actor| actor != STARTER).collect(),
            excludes_starter,
            // Declarations are plain data.
            ask: serde_json::to_value(ask).unwrap_or_default(),
            expires,
        }
    }

    fn output(approved_by: Vec<String>, answers: Map<String, Value>) -> Output {
        Output { approved_by, answers }
    }
}
