//! The status of a disruption budget, of which the eviction API and the disruption controller both write parts.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{number, set_condition};

/// A number of the status.
pub(super) fn status_count(budget: &Value, field: &str) -> i64 {
    number(budget, &format!("/status/{field}")).unwrap_or(0)
}

/// Lets the condition say what the number of allowed disruptions does.
pub(super) fn set_allowed_condition(budget: &mut Value, now: Timestamp) {
    let (status, reason) = match status_count(budget, "disruptionsAllowed") {
        0 => ("False", "InsufficientPods"),
        _ => ("True", "SufficientPods"),
    };
    let condition = json!({
        "type": "DisruptionAllowed",
        "status": status,
        "reason": reason,
        "message": "",
        "observedGeneration": status_count(budget, "observedGeneration"),
    });
    set_condition(budget, condition, now);
}
