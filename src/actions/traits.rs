//! The traits that an action implements.

use std::future::Future;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    Impact, KnownTargets, Permission, PlatformReader, PlatformWriter, Progress, RepeatedParam,
    Result, TargetState,
};
use runbook::{LimitKind, Reversibility};

/// The declaration of an action. The doc comment of its `Params` is the action's documentation.
pub trait Action: 'static {
    /// The name that a runbook uses.
    const NAME: &'static str;
    /// The revision of the intent and the output, raised when those of an older program can no longer be read. A run
    /// that holds data of another revision is not resumed.
    const REVISION: u32 = 1;
    /// The permissions that the action needs.
    const PERMISSIONS: &'static [Permission];
    /// The parts of the output that repeat a parameter.
    const REPEATED_PARAMS: &'static [RepeatedParam] = &[];
    /// The parameters that a runbook sets.
    type Params: DeserializeOwned + JsonSchema + Send;
    /// The output, which later steps can use.
    type Output: Serialize + DeserializeOwned + JsonSchema + Send;

    /// Adds the nodes, instances and pods of an output, all of which existed when the action read them. A later step
    /// that is given one of them and does not find it knows that the target is gone, and not misspelled.
    fn add_known_targets(_output: &Self::Output, _known: &mut KnownTargets) {}
}

/// An action that reads.
pub trait Read: Action {
    /// Reads and returns the output.
    fn read(
        params: Self::Params,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// An action that waits until a condition holds, or can no longer hold.
pub trait Wait: Action {
    /// Waits until the condition holds, and reports through `progress` what is missing. The future is dropped when the
    /// step's time is up.
    fn wait(
        params: Self::Params,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// An action that waits for persons. The engine asks them, because their answers are events of the run.
pub trait Approve: Action {
    /// Returns what to ask.
    fn request(params: Self::Params) -> ApprovalRequest;

    /// Returns the output once enough actors have approved.
    fn output(approved_by: Vec<String>, answers: Map<String, Value>) -> Self::Output;
}

/// A request for approval.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalRequest {
    /// The text of the request.
    pub message: String,
    /// How many different actors must approve.
    pub approvals: u32,
    /// The actors that may not.
    pub not_by: Vec<String>,
    /// Whether the actor that started the run may not.
    pub excludes_starter: bool,
    /// The declarations of the questions, as an object.
    pub ask: Value,
    /// How long to wait.
    pub expires: runbook::Duration,
}

/// An action that changes something, in operations that can each be repeated.
pub trait Change: Action {
    /// How much [`undo`](Self::undo) restores; shown before a run starts.
    const REVERSIBILITY: Reversibility;
    /// The limits of a runbook that [`impact`](Self::impact) can reach.
    const LIMITS: &'static [LimitKind] = &[];
    /// The target state and the state before, decided once and in absolute terms.
    type Intent: Serialize + DeserializeOwned + Send + Sync;
    /// The platform's response, which [`settle`](Self::settle) needs to wait for the change.
    type Receipt: Serialize + DeserializeOwned + Send + Sync;

    /// Returns the intent target by target, for plans, `runs show` and the audit log.
    fn planned_changes(intent: &Self::Intent) -> Vec<PlannedChange>;

    /// Returns what the intent takes away and adds, for the limits of a runbook.
    fn impact(_intent: &Self::Intent) -> Impact {
        Impact::default()
    }

    /// Decides what to change. Changes nothing. A parameter that names a target among `known` may name one that is
    /// gone: that is no error, and there is nothing to do for it.
    fn prepare(
        params: Self::Params,
        known: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> impl Future<Output = Result<Self::Intent>> + Send;

    /// Sends the changes of the intent, target by target by the three-way rule. This operation is not interrupted; it
    /// is repeated with the same intent when it is unknown whether a call arrived.
    fn apply(
        intent: &Self::Intent,
        writer: &PlatformWriter,
    ) -> impl Future<Output = Result<Self::Receipt>> + Send;

    /// Waits until the changes have taken effect.
    fn settle(
        intent: &Self::Intent,
        receipt: &Self::Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> impl Future<Output = Result<Self::Output>> + Send;

    /// Restores the state before, by the same rule, and waits until that has taken effect. Returns the targets that
    /// were not restored, a sentence each. A call after an interrupted one converges on the same result.
    fn undo(
        intent: &Self::Intent,
        receipt: Option<&Self::Receipt>,
        writer: &PlatformWriter,
        progress: &Progress,
    ) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// Reads every target of the change and of its undo as it is now. After a run that did not succeed, this says what
    /// still differs from the start.
    fn read_targets(
        intent: &Self::Intent,
        reader: &PlatformReader,
    ) -> impl Future<Output = Result<Vec<TargetState>>> + Send;

    /// Removes what apply or undo put on the platform only for the time of their work. It is called when the step, or
    /// its undo, ends without success.
    fn clean_up(
        _intent: &Self::Intent,
        _writer: &PlatformWriter,
    ) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// One target of a change, with the value before and the value after.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedChange {
    /// The target, in the platform's terms.
    pub target: String,
    /// The value before.
    pub before: Value,
    /// The value after.
    pub after: Value,
}

impl PlannedChange {
    /// Returns the change of a target from `before` to `after`.
    pub fn new(
        target: impl Into<String>,
        before: impl Into<Value>,
        after: impl Into<Value>,
    ) -> Self {
        Self { target: target.into(), before: before.into(), after: after.into() }
    }
}
