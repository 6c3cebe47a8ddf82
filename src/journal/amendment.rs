//! What a person changed about the rest of a run when they resumed it. It is part of the event `run_resumed`, so that a
//! crash after it loses nothing.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CalledText, StepPath};

/// A change of the rest of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Amendment {
    /// The runbook that replaces the one of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<ReplacedRunbook>,
    /// The step from which the run continues, where a person named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<StepPath>,
    /// The steps that are not run, in the order of the runbook.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<StepPath>,
    /// The steps that had ended and are run again, in the order of the runbook. None of them has changed anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<StepPath>,
}

/// A runbook that replaces that of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplacedRunbook {
    /// Where the text came from: an absolute path, or `built in`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The text, whole.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal.
    pub digest: String,
    /// The runbooks that it calls, and those that they call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub called: Vec<CalledText>,
    /// The inputs of the run as this runbook declares them, defaults included.
    pub inputs: Map<String, Value>,
}

/// A change of the rest of a run, with who made it and when.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedAmendment {
    /// When.
    pub time: Timestamp,
    /// The actor that asked for it.
    pub actor: String,
    /// The changes.
    pub amendment: Amendment,
}

impl Amendment {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The time for finding the shortest difference. After it a longer one is shown, which is as true.
const DIFF_TIMEOUT: Duration = Duration::from_millis(200);

/// Returns the difference of two texts as a unified diff without a header.
pub fn text_diff(old: &str, new: &str) -> String {
    similar::TextDiff::configure()
        .timeout(DIFF_TIMEOUT)
        .diff_lines(old, new)
        .unified_diff()
        .context_radius(3)
        .to_string()
}
