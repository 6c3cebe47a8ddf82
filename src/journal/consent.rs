//! What a person agreed to before a run started: findings that would have stopped it, and a plan that it must keep to.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{RecordedChange, StepPath};

/// The consent of a person before a run started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Consent {
    /// The codes of the findings that would have stopped the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<String>,
    /// The plan that the run must keep to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<ApprovedPlan>,
}

/// The changes of a plan that a person has approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovedPlan {
    /// SHA-256 of the file of the plan, in hexadecimal.
    pub digest: String,
    /// The steps that change something.
    pub steps: Vec<ApprovedStep>,
    /// The names of the nodes, instances and pods that existed when the plan was made: none of them is what the plan
    /// calls new.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub existing: BTreeSet<String>,
}

/// The changes of a step that a person has approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovedStep {
    /// The step.
    pub step: StepPath,
    /// Its changes. What does not exist yet has a number in place of its name, as in `(new node 1)`.
    pub changes: Vec<RecordedChange>,
    /// Whether it may evict whatever pods are on its nodes then, which are not among the changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evicts_any: bool,
}

/// Returns the changes without the ends of pods.
pub fn without_evictions(changes: &[RecordedChange]) -> Vec<RecordedChange> {
    let is_end =
        |change: &&RecordedChange| change.target.starts_with("pod ") && change.after.is_null();
    changes.iter().filter(|change| !is_end(change)).cloned().collect()
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
        let Some(approved) = approved else {
            return differences_from(&[], &self.existing, changes);
        };
        if approved.evicts_any {
            let rest = without_evictions(changes);
            return differences_from(&approved.changes, &self.existing, &rest);
        }
        differences_from(&approved.changes, &self.existing, changes)
    }
}

/// Returns how changes differ from planned ones, a sentence each. The order does not count.
pub fn differences(planned: &[RecordedChange], changes: &[RecordedChange]) -> Vec<String> {
    differences_from(planned, &BTreeSet::new(), changes)
}

/// Returns how changes differ from those of a plan that was made when these names existed.
fn differences_from(
    planned: &[RecordedChange],
    existing: &BTreeSet<String>,
    changes: &[RecordedChange],
) -> Vec<String> {
    let fits_any =
        |planned: &RecordedChange, change: &RecordedChange| is_planned(planned, change, existing);
    let is_named = |planned: &RecordedChange, change: &RecordedChange| {
        planned.target == change.target && fits_any(planned, change)
    };
    let mut left: Vec<&RecordedChange> = planned.iter().collect();
    let mut others: Vec<&RecordedChange> = changes.iter().collect();
    // Whatever a planned change names is not left to one that fits any name.
    take_pairs(&mut left, &mut others, |planned, change| planned == change);
    take_pairs(&mut left, &mut others, is_named);
    take_pairs(&mut left, &mut others, fits_any);
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

/// Removes each change with a planned one that fits it.
fn take_pairs(
    left: &mut Vec<&RecordedChange>,
    changes: &mut Vec<&RecordedChange>,
    fits: impl Fn(&RecordedChange, &RecordedChange) -> bool,
) {
    changes.retain(|change| match left.iter().position(|planned| fits(planned, change)) {
        Some(at) => {
            left.swap_remove(at);
            false
        }
        None => true,
    });
}

fn is_planned(
    planned: &RecordedChange,
    change: &RecordedChange,
    existing: &BTreeSet<String>,
) -> bool {
    is_same_text(&planned.target, &change.target, existing)
        && is_same_value(&planned.before, &change.before, existing)
        && is_same_value(&planned.after, &change.after, existing)
}

/// Whether a value is the planned one: times differ, and so do the names of what did not exist when the plan was made.
fn is_same_value(planned: &Value, value: &Value, existing: &BTreeSet<String>) -> bool {
    match (planned, value) {
        (Value::String(planned), Value::String(text)) => {
            let is_time = |text: &str| text.parse::<Timestamp>().is_ok();
            // The identity of what the target names.
            let is_new =
                planned.starts_with("(new ") && planned.find(')') == Some(planned.len() - 1);
            if is_new && !text.starts_with("(new ") {
                return !existing.contains(text);
            }
            is_same_text(planned, text, existing) || (is_time(planned) && is_time(text))
        }
        (Value::Array(planned), Value::Array(values)) => {
            planned.len() == values.len()
                && planned
                    .iter()
                    .zip(values)
                    .all(|(planned, value)| is_same_value(planned, value, existing))
        }
        (Value::Object(planned), Value::Object(fields)) => {
            planned.len() == fields.len()
                && planned.iter().all(|(name, planned)| {
                    fields.get(name).is_some_and(|value| is_same_value(planned, value, existing))
                })
        }
        _ => planned == value,
    }
}

/// Whether a text is the planned one, in which `(new …)` stands for any name but those that existed.
fn is_same_text(planned: &str, text: &str, existing: &BTreeSet<String>) -> bool {
    let Some((before, rest)) = planned.split_once("(new ") else { return planned == text };
    let Some((label, after)) = rest.split_once(')') else { return planned == text };
    let Some(text) = text.strip_prefix(before) else { return false };
    let name =
        text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '(' | ')')));
    // Another plan, made now, has a number in its place too.
    if let Some(rest) = text.strip_prefix("(new ") {
        let rest = rest.split_once(')').map_or("", |(_, rest)| rest);
        return is_same_text(after, rest, existing);
    }
    let (name, rest) = text.split_at(name.unwrap_or(text.len()));
    // A new pod has the name of its workload at the beginning.
    let of_workload =
        label.split_once(" of ").is_none_or(|(_, workload)| name.starts_with(workload));
    let is_new = !name.is_empty() && !existing.contains(name) && of_workload;
    is_new && is_same_text(after, rest, existing)
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
    fn a_change_that_is_named_is_not_taken_by_one_of_any_name() {
        let cordon = |target: &str| change(target, json!(false), json!(true));
        let planned = [cordon("node (new node 1) unschedulable"), cordon("node a unschedulable")];
        let changes = [cordon("node a unschedulable"), cordon("node b unschedulable")];
        assert_eq!(differences(&planned, &changes), Vec::<String>::new());
        let at = |target: &str, time: &str| change(target, json!(null), json!(time));
        let planned = [
            at("node (new node 1) drained", "2026-01-01T00:00:00Z"),
            at("node a drained", "2026-01-01T00:00:00Z"),
        ];
        let changes = [
            at("node a drained", "2026-01-02T00:00:00Z"),
            at("node b drained", "2026-01-02T00:00:00Z"),
        ];
        assert_eq!(differences(&planned, &changes), Vec::<String>::new());
    }

    #[test]
    fn what_existed_when_the_plan_was_made_is_not_new() {
        let step = StepPath::top_level("cordon");
        let cordon = |target: &str| change(target, json!(false), json!(true));
        let approved = ApprovedPlan {
            digest: "x".into(),
            steps: vec![ApprovedStep {
                step: step.clone(),
                changes: vec![cordon("node (new node 1) unschedulable")],
                evicts_any: false,
            }],
            existing: BTreeSet::from(["a".to_owned()]),
        };
        let differences = |target: &str| approved.differences(&step, &[cordon(target)]);
        assert_eq!(differences("node b unschedulable"), Vec::<String>::new());
        assert_eq!(
            differences("node a unschedulable"),
            [
                "node (new node 1) unschedulable: planned false -> true, now nothing to change",
                "node a unschedulable: not planned, now false -> true",
            ]
        );
    }

    #[test]
    fn a_new_pod_is_one_of_its_workload() {
        let removed = |target: &str| change(target, json!("u"), json!(null));
        let planned = [removed("pod a/(new pod 1 of web)")];
        assert_eq!(differences(&planned, &[removed("pod a/web-12345-abcde")]), [""; 0]);
        assert_eq!(differences(&planned, &[removed("pod a/vault-12345-abcde")]).len(), 2);
    }

    #[test]
    fn the_pods_of_drained_nodes_are_those_that_are_there_then() {
        let step = StepPath::top_level("drain");
        let approved = ApprovedPlan {
            digest: "x".into(),
            steps: vec![ApprovedStep {
                step: step.clone(),
                changes: vec![change("node a unschedulable", json!(false), json!(true))],
                evicts_any: true,
            }],
            existing: BTreeSet::new(),
        };
        let node =
            |name: &str| change(&format!("node {name} unschedulable"), json!(false), json!(true));
        let pod = change("pod a/b", json!("u"), json!(null));
        assert_eq!(approved.differences(&step, &[node("a"), pod.clone()]), [""; 0]);
        assert_eq!(approved.differences(&step, &[node("b"), pod]).len(), 2);
    }

    #[test]
    fn a_plan_that_was_approved_without_the_existing_names_is_read() {
        let approved = json!({"digest": "x", "steps": []});
        let plan: ApprovedPlan = serde_json::from_value(approved.clone()).unwrap();
        assert!(plan.existing.is_empty());
        assert_eq!(json!(plan), approved);
    }

    #[test]
    fn a_time_is_that_of_the_run() {
        let at = |time: &str| [change("deployment a/b restartedAt", json!(null), json!(time))];
        assert!(differences(&at("2026-01-01T00:00:00Z"), &at("2026-01-02T03:04:05Z")).is_empty());
        assert!(!differences(&at("2026-01-01T00:00:00Z"), &at("never")).is_empty());
    }
}
