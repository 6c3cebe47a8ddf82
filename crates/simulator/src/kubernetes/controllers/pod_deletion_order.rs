//! The order in which a replica set deletes pods when it is scaled down, as its controller
//! documents it.

use std::cmp::Ordering;
use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::kubernetes::kinds::{DELETION_COST, parse_cost};
use crate::kubernetes::object::{annotation, condition, is_true, list, moment, number, text, uid};

/// Sorts pods so that those to be deleted first come first. `related` are the pods of the whole
/// deployment, which show how crowded each node is.
pub(super) fn sort<'a>(pods: &mut [&'a Value], related: &[&'a Value], now: Timestamp) {
    let mut pods_per_node: HashMap<&str, usize> = HashMap::new();
    for pod in related {
        *pods_per_node.entry(text(pod, "/spec/nodeName")).or_default() += 1;
    }
    let pods_on_node =
        |pod: &Value| pods_per_node.get(text(pod, "/spec/nodeName")).copied().unwrap_or(0);
    let compare = |one: &Value, other: &Value| {
        is_assigned(one)
            .cmp(&is_assigned(other))
            .then_with(|| phase(one).cmp(&phase(other)))
            .then_with(|| is_true(one, "Ready").cmp(&is_true(other, "Ready")))
            .then_with(|| deletion_cost(one).cmp(&deletion_cost(other)))
            .then_with(|| pods_on_node(other).cmp(&pods_on_node(one)))
            .then_with(|| compare_age(ready_since(one), ready_since(other), (one, other), now))
            .then_with(|| restarts(other).cmp(&restarts(one)))
            .then_with(|| compare_age(created(one), created(other), (one, other), now))
    };
    insert_sorted(pods, compare);
}

/// How many pods are sorted as Go's sort does it, which makes a difference only where the order has
/// cycles.
const MAX_LINEAR: usize = 12;

/// Sorts pods by insertion. Kubernetes' own order has cycles: equal times are decided by later
/// rules, different times of one magnitude by the UIDs, so A can precede B, B precede C, and C
/// precede A. Go's sort tolerates such an order; the standard library's panics. The place of each
/// pod of a large set is found by bisection.
fn insert_sorted<'a>(pods: &mut [&'a Value], compare: impl Fn(&'a Value, &'a Value) -> Ordering) {
    for end in 1..pods.len() {
        let new = pods[end];
        let precedes = |other: &&'a Value| compare(new, other).is_lt();
        let position = if end < MAX_LINEAR {
            pods[..end].iter().position(precedes).unwrap_or(end)
        } else {
            pods[..end].partition_point(|other| !precedes(other))
        };
        pods[position..=end].rotate_right(1);
    }
}

fn is_assigned(pod: &Value) -> bool {
    !text(pod, "/spec/nodeName").is_empty()
}

fn phase(pod: &Value) -> u8 {
    match text(pod, "/status/phase") {
        "Pending" => 0,
        "Running" => 2,
        _ => 1,
    }
}

/// Returns the deletion cost of a pod, 0 if its annotation cannot be parsed.
fn deletion_cost(pod: &Value) -> i32 {
    annotation(pod, DELETION_COST).and_then(parse_cost).unwrap_or(0)
}

fn ready_since(pod: &Value) -> Option<Timestamp> {
    let ready = condition(pod, "Ready")?;
    (text(ready, "/status") == "True").then(|| moment(ready, "/lastTransitionTime")).flatten()
}

fn created(pod: &Value) -> Option<Timestamp> {
    moment(pod, "/metadata/creationTimestamp")
}

fn restarts(pod: &Value) -> i64 {
    let statuses = list(pod, "/status/containerStatuses").iter();
    statuses.filter_map(|status| number(status, "/restartCount")).max().unwrap_or(0)
}

/// Compares ages: the younger pod comes first, but only the magnitudes of the ages are compared,
/// and equal magnitudes are decided by the UIDs.
fn compare_age(
    one: Option<Timestamp>,
    other: Option<Timestamp>,
    pods: (&Value, &Value),
    now: Timestamp,
) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) if one != other => magnitude(one, now)
            .cmp(&magnitude(other, now))
            .then_with(|| uid(pods.0).cmp(uid(pods.1))),
        _ => Ordering::Equal,
    }
}

fn magnitude(moment: Timestamp, now: Timestamp) -> i64 {
    let age = now.as_nanosecond() - moment.as_nanosecond();
    if age > 0 { i64::from(age.ilog2()) } else { -1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct PodFixture {
        name: &'static str,
        node: &'static str,
        phase: &'static str,
        ready: bool,
        deletion_cost: Option<&'static str>,
    }

    fn pod(fixture: &PodFixture) -> Value {
        let mut pod = json!({
            "metadata": {
                "name": fixture.name,
                "uid": fixture.name,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"nodeName": fixture.node},
            "status": {"phase": fixture.phase},
        });
        if fixture.ready {
            pod["status"]["conditions"] = json!([
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}
            ]);
        }
        if let Some(deletion_cost) = fixture.deletion_cost {
            pod["metadata"]["annotations"] = json!({DELETION_COST: deletion_cost});
        }
        pod
    }

    #[test]
    fn pods_are_sorted_in_the_documented_order() {
        let fixture = |name, node, phase, ready, deletion_cost| PodFixture {
            name,
            node,
            phase,
            ready,
            deletion_cost,
        };
        let pods: Vec<Value> = [
            fixture("kept", "n1", "Running", true, Some("10")),
            fixture("crowded", "n2", "Running", true, None),
            fixture("lonely", "n1", "Running", true, None),
            fixture("neighbour", "n2", "Running", true, Some("1")),
            fixture("cheap", "n3", "Running", true, Some("-5")),
            fixture("unready", "n3", "Running", false, Some("100")),
            fixture("starting", "n3", "Pending", false, Some("100")),
            fixture("unassigned", "", "Pending", false, Some("100")),
            fixture("senseless", "n3", "Running", true, Some("x")),
        ]
        .iter()
        .map(pod)
        .collect();
        let mut order: Vec<&Value> = pods.iter().collect();
        let related = order.clone();
        sort(&mut order, &related, "2026-01-01T01:00:00Z".parse().unwrap());
        let names: Vec<&str> = order.iter().map(|pod| text(pod, "/metadata/name")).collect();
        let expected = [
            "unassigned",
            "starting",
            "unready",
            "cheap",
            "senseless",
            "crowded",
            "lonely",
            "neighbour",
            "kept",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn ages_of_one_magnitude_are_equal() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let at = |seconds: i64| now.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap();
        assert_eq!(magnitude(at(1000), now), magnitude(at(900), now));
        assert!(magnitude(at(2), now) < magnitude(at(1000), now));
        assert_eq!(magnitude(now, now), -1);
    }

    /// The times are mixed and the pods are many enough that a sort which relies on a total order
    /// would panic.
    #[test]
    fn sorting_tolerates_an_order_with_cycles() {
        let pods: Vec<Value> = (0..200)
            .map(|n: u32| {
                let ready = format!("2026-01-01T00:00:0{}Z", n % 3);
                json!({
                    "metadata": {"uid": format!("{:03}", n.wrapping_mul(73) % 200)},
                    "spec": {"nodeName": "n"},
                    "status": {
                        "phase": "Running",
                        "conditions": [
                            {"type": "Ready", "status": "True", "lastTransitionTime": ready},
                        ],
                        "containerStatuses": [{"restartCount": n % 5}],
                    },
                })
            })
            .collect();
        let mut sorted: Vec<&Value> = pods.iter().collect();
        sort(&mut sorted, &[], "2026-01-01T00:01:00Z".parse().unwrap());
        assert_eq!(sorted.len(), 200);
    }
}
