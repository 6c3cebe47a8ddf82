//! What a person agreed to before a run started: findings that would have stopped it, and a plan that it must keep to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{RecordedChange, StepPath};

/// The consent of a person before a run started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Consent {
    /// The codes of the findings that would have stopped the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<String>,
    /// The plan that the run must keep to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<ApprovedPlan>,
}

/// The changes of a plan that a person has approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovedPlan {
    /// SHA-256 of the file of the plan, in hexadecimal.
    pub digest: String,
    /// The steps that change something.
    pub steps: Vec<ApprovedStep>,
}

/// The changes of a step that a person has approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovedStep {
    /// The step.
    pub step: StepPath,
    /// Its changes. What does not exist yet has a number in place of its name, as in `(new node 1)`.
    pub changes: Vec<RecordedChange>,
}

impl Consent {
    /// Whether there was nothing to agree to.
    pub fn is_empty(&self) -> bool {
        self.accepted.is_empty() && self.plan.is_none()
    }
}

impl ApprovedPlan {
    /// Returns how the changes of a step differ from those that were approved, a sentence each.
    pub fn differences(&self, step: &StepPath, changes: &[RecordedChange]) -> Vec<String> {
        let approved = self.steps.iter().find(|approved| approved.step == *step);
        differences(
            approved.map(|approved| approved.changes.as_slice()).unwrap_or_default(),
            changes,
        )
    }
}

/// Returns how changes differ from planned ones, a sentence each. The order does not count.
pub fn differences(planned: &[RecordedChange], changes: &[RecordedChange]) -> Vec<String> {
    let mut left: Vec<&RecordedChange> = planned.iter().collect();
    let mut others: Vec<&RecordedChange> = Vec::new();
    for change in changes {
        match left.iter().position(|planned| is_planned(planned, change)) {
            Some(at) => drop(left.swap_remove(at)),
            None => others.push(change),
        }
    }
    let mut differences = Vec::new();
    for change in others {
        let now = format!("{} -> {}", change.before, change.after);
        let same_target = left.iter().position(|planned| planned.target == change.target);
        differences.push(match same_target {
            Some(at) => {
                let planned = left.swap_remove(at);
                format!(
                    "{}: planned {} -> {}, now {now}",
                    change.target, planned.before, planned.after
                )
            }
            None => format!("{}: not planned, now {now}", change.target),
        });
    }
    let missing = left.iter().map(|planned| {
        format!(
            "{}: planned {} -> {}, now nothing to change",
            planned.target, planned.before, planned.after
        )
    });
    differences.extend(missing);
    differences.sort();
    differences
}

fn is_planned(planned: &RecordedChange, change: &RecordedChange) -> bool {
    is_same_text(&planned.target, &change.target)
        && is_same_value(&planned.before, &change.before)
        && is_same_value(&planned.after, &change.after)
}

/// Whether a value is the planned one: times differ, and so do the names of what did not exist when the plan was made.
fn is_same_value(planned: &Value, value: &Value) -> bool {
    match (planned, value) {
        (Value::String(planned), Value::String(text)) => {
            let is_time = |text: &str| text.parse::<Timestamp>().is_ok();
            is_same_text(planned, text) || (is_time(planned) && is_time(text))
        }
        (Value::Array(planned), Value::Array(values)) => {
            planned.len() == values.len()
                && planned.iter().zip(values).all(|(planned, value)| is_same_value(planned, value))
        }
        (Value::Object(planned), Value::Object(fields)) => {
            planned.len() == fields.len()
                && planned.iter().all(|(name, planned)| {
                    fields.get(name).is_some_and(|value| is_same_value(planned, value))
                })
        }
        _ => planned == value,
    }
}

/// Whether a text is the planned one, in which `(new …)` stands for any name.
fn is_same_text(planned: &str, text: &str) -> bool {
    let Some((before, rest)) = planned.split_once("(new ") else { return planned == text };
    let Some((_, after)) = rest.split_once(')') else { return planned == text };
    let Some(text) = text.strip_prefix(before) else { return false };
    let name =
        text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '(' | ')')));
    // Another plan, made now, has a number in its place too.
    if let Some(rest) = text.strip_prefix("(new ") {
        let rest = rest.split_once(')').map_or("", |(_, rest)| rest);
        return is_same_text(after, rest);
    }
    let end = name.unwrap_or(text.len());
    end > 0 && is_same_text(after, &text[end..])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(target: &str, before: Value, after: Value) -> RecordedChange {
        RecordedChange { target: target.into(), before, after }
    }

    #[test]
    fn the_same_changes_in_another_order_are_no_difference() {
        let one = change("nodegroup relay desired", json!(3), json!(6));
        let two = change("node a unschedulable", json!(false), json!(true));
        assert_eq!(differences(&[one.clone(), two.clone()], &[two, one]), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_named() {
        let planned = [
            change("nodegroup relay desired", json!(3), json!(6)),
            change("node a unschedulable", json!(false), json!(true)),
        ];
        let now = [
            change("nodegroup relay desired", json!(4), json!(8)),
            change("node b unschedulable", json!(false), json!(true)),
        ];
        assert_eq!(
            differences(&planned, &now),
            [
                "node a unschedulable: planned false -> true, now nothing to change",
                "node b unschedulable: not planned, now false -> true",
                "nodegroup relay desired: planned 3 -> 6, now 4 -> 8",
            ]
        );
    }

    #[test]
    fn what_did_not_exist_when_the_plan_was_made_may_have_any_name() {
        let planned = [change(
            "instance (new instance 1) protected from scale-in",
            json!(false),
            json!(true),
        )];
        let same = |target: &str| {
            differences(&planned, &[change(target, json!(false), json!(true))]).is_empty()
        };
        assert!(same("instance i-0123 protected from scale-in"));
        assert!(same("instance (new instance 2) protected from scale-in"));
        assert!(!same("instance i-0123 and another"));
        assert!(!same("instance  protected from scale-in"));
    }

    #[test]
    fn a_time_is_that_of_the_run() {
        let at = |time: &str| [change("deployment a/b restartedAt", json!(null), json!(time))];
        assert!(differences(&at("2026-01-01T00:00:00Z"), &at("2026-01-02T03:04:05Z")).is_empty());
        assert!(!differences(&at("2026-01-01T00:00:00Z"), &at("never")).is_empty());
    }
}
