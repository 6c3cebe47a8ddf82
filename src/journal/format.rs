//! The version of the journal's format, and how a journal of an earlier format is read.
//!
//! | format | since | what changed |
//! |---|---|---|
//! | 0.0 | 0.1.0 | no `format`; events `prepared`, `said`, …; a failure is a string |
//! | 1.0 | 0.2.0 | `format` in `run_started` and `run_resumed`; `step_*` and `run_*` names; a failure is an object |
//! | 1.1 | 0.2.0 | `sum` at the end of each line; `amendment` in `run_resumed`; steps within steps (see below) |
//!
//! A step within a step is an item of a loop, as in `restart[2]`, or a step of a called runbook, as in `rotate/cordon`:
//! `step_items_decided`, `step_called`, `called` in `run_started`. Format 1.1 also has `run_restoring`,
//! `step_approval_requested`, `step_approved`, `step_rejected`, and `description` in `step_started`,
//! and `outside_window` and `consent` (accepted findings, an approved plan) in `run_started`.
//!
//! A new event, or a new member that a reader may not ignore, raises the minor number; anything that makes an existing
//! event mean something else raises the major number. `docs/compatibility.md` has the policy, and
//! `tests/fixtures/journals` a journal of every format, which every later version must read.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A version of the journal's format.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub struct Format {
    /// Readers of another major number cannot read the journal.
    pub major: u32,
    /// Readers of a smaller minor number do not know everything in the journal.
    pub minor: u32,
}

impl Format {
    /// The format that this version writes.
    pub const CURRENT: Self = Self { major: 1, minor: 1 };

    /// The first format whose lines end with a checksum.
    pub(super) const FIRST_WITH_SUMS: Self = Self { major: 1, minor: 1 };

    /// Whether this version knows everything that a journal of this format can hold.
    pub fn is_known(self) -> bool {
        self <= Self::CURRENT
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The event names of format 0 that have another name now.
const RENAMED_EVENTS: &[(&str, &str)] = &[
    ("said", "step_message"),
    ("waiting", "step_waiting"),
    ("prepared", "step_prepared"),
    ("applied", "step_applied"),
    ("operation_failed", "step_operation_failed"),
    ("attempt_failed", "step_attempt_failed"),
    ("completed", "step_completed"),
    ("undoing", "step_undo_started"),
    ("undone", "step_undo_finished"),
    ("undo_failed", "step_undo_failed"),
    ("cancel_requested", "run_cancel_requested"),
    ("abandoned", "run_abandoned"),
];

/// The members of format 0 that have another name now.
const RENAMED_MEMBERS: &[(&str, &str)] =
    &[("because", "reason"), ("ending", "outcome"), ("left_alone", "not_restored")];

/// Rewrites an event of format 0 as the current format has it. An event of the current format stays as it is: a journal
/// that an earlier version began and this one resumed holds both.
pub(super) fn upgrade(event: &mut Map<String, Value>) {
    if let Some(Value::String(name)) = event.get_mut("event")
        && let Some((_, new)) = RENAMED_EVENTS.iter().find(|(old, _)| *old == name.as_str())
    {
        *name = (*new).to_owned();
    }
    for (old, new) in RENAMED_MEMBERS {
        if let Some(value) = event.remove(*old) {
            event.insert((*new).to_owned(), value);
        }
    }
    if let Some(Value::String(message)) = event.remove("error") {
        event.insert("failure".to_owned(), json!({ "message": message, "kind": "other" }));
    }
    if let Some(Value::Bool(back)) = event.remove("back") {
        event.insert("mode".to_owned(), json!(if back { "rollback" } else { "continue" }));
    }
}
