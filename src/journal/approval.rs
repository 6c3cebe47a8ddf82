//! Approvals: a step waits until enough persons have approved, one has rejected, or its time is up. An answer is posted
//! to the store by any process, and becomes an event when the process that drives the run has taken it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::StepPath;

/// An answer to an approval, as a person gave it. It counts once it is an event of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PostedAnswer {
    /// A name that no other answer has: hexadecimal digits.
    pub id: String,
    /// The step that asked.
    pub step: StepPath,
    /// The actor that answers.
    pub actor: String,
    /// The answer.
    #[serde(flatten)]
    pub decision: Decision,
}

/// The decision of a person about a step that waits for approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// The run may go on.
    Approve {
        /// The answers to the questions of the step.
        #[serde(default)]
        answers: Map<String, Value>,
        /// A remark.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// The step fails.
    Reject {
        /// Why.
        reason: String,
    },
}

impl PostedAnswer {
    /// Returns an answer with a name of its own.
    pub fn new(step: StepPath, actor: &str, decision: Decision) -> Self {
        let id = format!("{:032x}", fastrand::u128(..));
        Self { id, step, actor: actor.to_owned(), decision }
    }

    /// Whether a name can be that of an answer: it is a part of names of files and annotations.
    pub(crate) fn is_id(text: &str) -> bool {
        (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// The progress of an approval: what was asked, and what was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalProgress {
    /// The text of the request.
    pub message: String,
    /// How many different actors must approve.
    pub approvals: u32,
    /// The actors that may not.
    pub not_by: Vec<String>,
    /// The declarations of the questions, as an object.
    pub ask: Value,
    /// The time at which the step fails.
    pub expires_at: Timestamp,
    /// The approvals so far.
    pub given: Vec<GivenApproval>,
    /// The answers to the questions, which are those of the first actor that approved.
    pub answers: Map<String, Value>,
    /// The rejection.
    pub rejection: Option<Rejection>,
    /// The names of the answers that were taken.
    pub taken: Vec<String>,
}

/// One approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GivenApproval {
    /// The actor that approved.
    pub actor: String,
    /// When.
    pub time: Timestamp,
    /// The remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A rejection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The actor that rejected.
    pub actor: String,
    /// Why.
    pub reason: String,
}

impl ApprovalProgress {
    /// Returns how many approvals are missing.
    pub fn missing(&self) -> u32 {
        self.approvals.saturating_sub(u32::try_from(self.given.len()).unwrap_or(u32::MAX))
    }

    /// Whether an answer still counts.
    pub fn is_open(&self) -> bool {
        self.rejection.is_none() && self.missing() > 0
    }

    /// Returns the actors that have approved, in that order.
    pub fn approved_by(&self) -> Vec<String> {
        self.given.iter().map(|given| given.actor.clone()).collect()
    }
}

/// An approval that a run waits for, in the head of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenApproval {
    /// The step.
    pub step: StepPath,
    /// The time at which it fails.
    pub expires_at: Timestamp,
}

/// An approval that a run waits for, for reading.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ApprovalSummary {
    /// The step.
    pub step: StepPath,
    /// The text of the request.
    pub message: String,
    /// The time at which the step fails.
    pub expires_at: Timestamp,
    /// How many different actors must approve.
    pub approvals: u32,
    /// The approvals so far.
    pub given: Vec<GivenApproval>,
    /// The actors that may not approve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_by: Vec<String>,
    /// The questions that the first actor that approves answers.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub ask: Map<String, Value>,
}

impl ApprovalSummary {
    /// Summarizes the approval of a step.
    pub fn of(step: &StepPath, approval: &ApprovalProgress) -> Self {
        Self {
            step: step.clone(),
            message: approval.message.clone(),
            expires_at: approval.expires_at,
            approvals: approval.approvals,
            given: approval.given.clone(),
            not_by: approval.not_by.clone(),
            ask: approval.ask.as_object().cloned().unwrap_or_default(),
        }
    }
}
