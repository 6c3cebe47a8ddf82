//! The symbols of expressions: `inputs` and the steps.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::types::RecordType;

/// The symbols of a runbook.
pub(crate) struct SymbolTable<'t> {
    /// The inputs, as a record.
    pub(crate) inputs: Arc<RecordType>,
    /// The index of each step, by its id; the first of two steps with the same id.
    pub(crate) steps: HashMap<&'t str, usize>,
    /// The output of each step, in order.
    pub(crate) outputs: Vec<StepOutput>,
}

/// The output of a step.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepOutput {
    /// The fields; `None` when the action is unknown.
    pub(crate) record: Option<Arc<RecordType>>,
    /// The reasons why the output can be absent.
    pub(crate) presence: Presence,
}

/// The reasons why an output can be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// The canonical conditions under which the step runs; empty when it always runs.
    pub(crate) when: Vec<String>,
    /// Whether the run continues when the step fails.
    pub(crate) may_fail: bool,
}

impl Presence {
    /// Whether the output can be absent.
    pub(crate) fn is_conditional(&self) -> bool {
        self.may_fail || !self.when.is_empty()
    }
}
