//! Which pods a replica set gives up first when it is scaled down, as its controller documents it.

use std::cmp::Ordering;
use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::simulator::kubernetes::kinds::{DELETION_COST, parse_cost};
use crate::simulator::kubernetes::object::{
    annotation, condition, is_true, list, moment, number, text, uid,
};

/// Sorts pods so that those to be given up stand first. `related` are the pods of the whole
/// deployment, which say how crowded each node is.
pub(super) fn sort<'a>(pods: &mut [&'a Value], related: &[&'a Value], now: Timestamp) {
    let mut crowds: HashMap<&str, usize> = HashMap::new();
    for pod in related {
        *crowds.entry(text(pod, "/spec/nodeName")).or_default() += 1;
    }
    let crowd = |pod: &Value| crowds.get(text(pod, "/spec/nodeName")).copied().unwrap_or(0);
    let compare = |one: &Value, other: &Value| {
        is_assigned(one)
            .cmp(&is_assigned(other))
            .then_with(|| phase(one).cmp(&phase(other)))
            .then_with(|| is_true(one, "Ready").cmp(&is_true(other, "Ready")))
            .then_with(|| cost(one).cmp(&cost(other)))
            .then_with(|| crowd(other).cmp(&crowd(one)))
            .then_with(|| younger(ready_since(one), ready_since(other), (one, other), now))
            .then_with(|| restarts(other).cmp(&restarts(one)))
            .then_with(|| younger(created(one), created(other), (one, other), now))
    };
    insert_sorted(pods, compare);
}

/// Kubernetes' own order has circles: of two equal times other things decide, of two times of one magnitude the UIDs
/// do, so A can go before B, B before C and C before A. Its sort lives with that; the standard library's panics.
fn insert_sorted<'a>(pods: &mut [&'a Value], compare: impl Fn(&'a Value, &'a Value) -> Ordering) {
    for end in 1..pods.len() {
        let place = pods[..end].iter().position(|other| compare(pods[end], other).is_lt());
        pods[place.unwrap_or(end)..=end].rotate_right(1);
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

/// The cost of giving up a pod; one that cannot be read counts as none.
fn cost(pod: &Value) -> i32 {
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

/// The younger goes first, but ages are compared by their magnitude only; of one magnitude the UIDs
/// decide.
fn younger(
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

    struct Sketch {
        name: &'static str,
        node: &'static str,
        phase: &'static str,
        ready: bool,
        cost: Option<&'static str>,
    }

    fn pod(sketch: &Sketch) -> Value {
        let mut pod = json!({
            "metadata": {
                "name": sketch.name,
                "uid": sketch.name,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"nodeName": sketch.node},
            "status": {"phase": sketch.phase},
        });
        if sketch.ready {
            pod["status"]["conditions"] = json!([
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}
            ]);
        }
        if let Some(cost) = sketch.cost {
            pod["metadata"]["annotations"] = json!({DELETION_COST: cost});
        }
        pod
    }

    #[test]
    fn the_order_is_the_documented_one() {
        let sketch = |name, node, phase, ready, cost| Sketch { name, node, phase, ready, cost };
        let pods: Vec<Value> = [
            sketch("kept", "n1", "Running", true, Some("10")),
            sketch("crowded", "n2", "Running", true, None),
            sketch("lonely", "n1", "Running", true, None),
            sketch("neighbour", "n2", "Running", true, Some("1")),
            sketch("cheap", "n3", "Running", true, Some("-5")),
            sketch("unready", "n3", "Running", false, Some("100")),
            sketch("starting", "n3", "Pending", false, Some("100")),
            sketch("unassigned", "", "Pending", false, Some("100")),
            sketch("senseless", "n3", "Running", true, Some("x")),
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

    /// Enough pods with mixed times that a sort which trusts the order would find it out.
    #[test]
    fn an_order_with_circles_is_lived_with() {
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
