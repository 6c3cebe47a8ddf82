//! What the names in an expression mean: `inputs` and the steps.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::types::RecordType;

/// All names of a runbook.
pub(crate) struct SymbolTable<'t> {
    /// The inputs, as a record.
    pub(crate) inputs: Arc<RecordType>,
    /// Each step's place in the order, by its id; the first of two with one id.
    pub(crate) steps: HashMap<&'t str, usize>,
    /// What each step leaves, in order.
    pub(crate) outputs: Vec<StepOutput>,
}

/// What a step leaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepOutput {
    /// Its fields; nothing when its action is unknown, of which nothing can be said.
    pub(crate) record: Option<Arc<RecordType>>,
    /// How it can come to be absent.
    pub(crate) presence: Presence,
}

/// How an output can come to be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// The conditions under which its step runs, canonical; empty: always.
    pub(crate) when: Vec<String>,
    /// Its step may fail and the run go on.
    pub(crate) may_fail: bool,
}

impl Presence {
    /// It can.
    pub(crate) fn is_conditional(&self) -> bool {
        self.may_fail || !self.when.is_empty()
    }
}
