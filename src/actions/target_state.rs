//! The targets of a change as they are now, beside what they were before it, and the commands that restore them.

use serde_json::Value;

/// One target of a change, as it was before the step and as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetState {
    /// The target, in the terms of [`PlannedChange`](super::PlannedChange).
    pub target: String,
    /// The value before the step.
    pub before: Value,
    /// The value now; null for an object that no longer exists.
    pub now: Value,
    /// The command that restores the value before; none where no command can.
    pub restore: Option<RestoreCommand>,
}

/// A command for a person. It names no cluster: the engine adds the context of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreCommand {
    /// The arguments of `kubectl`.
    Kubectl(Vec<String>),
    /// The arguments of `aws`, the region included.
    Aws(Vec<String>),
}

impl TargetState {
    /// Returns the state of a target.
    pub fn new(
        target: impl Into<String>,
        before: impl Into<Value>,
        now: impl Into<Value>,
        restore: Option<RestoreCommand>,
    ) -> Self {
        Self { target: target.into(), before: before.into(), now: now.into(), restore }
    }
}

impl RestoreCommand {
    /// Returns a `kubectl` command.
    pub fn kubectl<const N: usize>(arguments: [&str; N]) -> Self {
        Self::Kubectl(arguments.map(str::to_owned).into())
    }

    /// Returns an `aws` command for a region.
    pub fn aws<const N: usize>(region: &str, arguments: [&str; N]) -> Self {
        let region = ["--region", region].map(str::to_owned);
        Self::Aws(arguments.map(str::to_owned).into_iter().chain(region).collect())
    }
}
