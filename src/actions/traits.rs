//! The traits that an action implements.

use std::future::Future;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Permission, PlatformReader, PlatformWriter, Progress, Result};
use runbook::Reversibility;

/// What every action declares. Its documentation is the doc comment of its `Params`.
pub trait Action: 'static {
    /// The word that a runbook uses.
    const NAME: &'static str;
    /// Raised when an intent or an output of an older program can no longer be read. A run that holds one of
    /// another revision is not resumed.
    const REVISION: u32 = 1;
    /// What the platform must allow for it to work.
    const PERMISSIONS: &'static [Permission];
    /// What a runbook gives it.
    type Params: DeserializeOwned + JsonSchema + Send;
    /// What it gives to later steps.
    type Output: Serialize + DeserializeOwned + JsonSchema + Send;
}

/// An action that looks.
pub trait Read: Action {
    /// Looks.
    fn read(
        params: Self::Params,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// An action that looks until something is so, or can no longer become so.
pub trait Wait: Action {
    /// Looks until it is so. It is dropped when its time is up, and says through `progress` what it waits for.
    fn wait(
        params: Self::Params,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// An action that changes the world, in verbs that can each be repeated.
pub trait Change: Action {
    /// What [`undo`](Self::undo) puts back; said before a run starts.
    const REVERSIBILITY: Reversibility;
    /// What is to be true and what was true before, decided once, in absolute terms.
    type Intent: Serialize + DeserializeOwned + Send + Sync;
    /// What the platform answered: enough to wait for it.
    type Receipt: Serialize + DeserializeOwned + Send + Sync;

    /// The intent target by target, for plans, `runs show` and the audit log.
    fn planned_changes(intent: &Self::Intent) -> Vec<PlannedChange>;

    /// Decides what to change. Changes nothing.
    fn prepare(
        params: Self::Params,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> impl Future<Output = Result<Self::Intent>> + Send;

    /// Sends what the intent says, target by target by the three-way rule. It is not interrupted; it is repeated
    /// with the same intent when nobody knows whether it arrived.
    fn apply(
        intent: &Self::Intent,
        writer: &PlatformWriter,
    ) -> impl Future<Output = Result<Self::Receipt>> + Send;

    /// Waits until what was sent is true.
    fn settle(
        intent: &Self::Intent,
        receipt: &Self::Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> impl Future<Output = Result<Self::Output>> + Send;

    /// Puts back what stood before, by the same rule, and waits until it is so. Returns what it left alone, a
    /// sentence each. It may be called again after it was cut off, and converges.
    fn undo(
        intent: &Self::Intent,
        receipt: Option<&Self::Receipt>,
        writer: &PlatformWriter,
        progress: &Progress,
    ) -> impl Future<Output = Result<Vec<String>>> + Send;
}

/// One target of a change, as it was found and as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedChange {
    /// What is changed, in the platform's words.
    pub target: String,
    /// What it was.
    pub before: Value,
    /// What it is to be.
    pub after: Value,
}

impl PlannedChange {
    /// A target that goes from `before` to `after`.
    pub fn new(
        target: impl Into<String>,
        before: impl Into<Value>,
        after: impl Into<Value>,
    ) -> Self {
        Self { target: target.into(), before: before.into(), after: after.into() }
    }
}
