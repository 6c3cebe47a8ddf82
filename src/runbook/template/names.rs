//! What the names in an expression mean: `inputs` and the steps.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::types::Record;

/// All names of a runbook.
pub(crate) struct Names<'t> {
    /// The inputs, as a record.
    pub(crate) inputs: Arc<Record>,
    /// Each step's place in the order, by its id; the first of two with one id.
    pub(crate) steps: HashMap<&'t str, usize>,
    /// What each step leaves, in order.
    pub(crate) outputs: Vec<Output>,
}

/// What a step leaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output {
    /// Its fields; nothing when its action is unknown, of which nothing can be said.
    pub(crate) record: Option<Arc<Record>>,
    /// How it can come to be absent.
    pub(crate) absence: Absence,
}

/// How an output can come to be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Absence {
    /// The conditions under which its step runs, canonical; empty: always.
    pub(crate) when: Vec<String>,
    /// Its step may fail and the run go on.
    pub(crate) may_fail: bool,
}

impl Absence {
    /// It can.
    pub(crate) fn is_possible(&self) -> bool {
        self.may_fail || !self.when.is_empty()
    }
}
