//! The runbooks of `runbooks/`, each in a world in which every step does something.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use simulator::{NodegroupFacts, Scenario, Spread};

use super::{Outcome, PARKED_REPLICAS, Subject, assert_promise, is_staying};

const GROUP: &str = "relay-services-1a2b3c";
/// A node of that group, the only one of its zone.
const RELAY_NODE: &str = "ip-10-0-16-13.us-west-2.compute.internal";
/// A node of another group, where pods have room on the other node.
const CORE_NODE: &str = "ip-10-0-16-15.us-west-2.compute.internal";

/// Returns every subject.
pub(super) fn all() -> Vec<Subject> {
    vec![
        relay_scale(),
        park(),
        unpark(),
        restart_deployments(),
        scale_up(),
        scale_down(),
        drain_node(),
        evacuate_zone(),
        rotate_nodegroup(),
        upgrade_nodegroup(),
    ]
}

pub(super) fn relay_scale() -> Subject {
    Subject {
        name: "relay-scale",
        schedules: 80,
        length: Duration::from_secs(110),
        scenario: Scenario::default(),
        first: None,
        inputs: json!({}),
        succeeds: |outcome| {
            expect_size(outcome, 6)?;
            let replicas = |state: &simulator::ClusterState| {
                state.deployments["rafay-core/rafay-relay"].replicas
            };
            equal("replicas", replicas(&outcome.after), replicas(&outcome.before))
        },
    }
}

fn park() -> Subject {
    Subject {
        name: "park",
        schedules: 120,
        length: Duration::from_secs(48),
        scenario: Scenario::default(),
        first: None,
        inputs: parked(),
        succeeds: |outcome| {
            expect_size(outcome, 0)?;
            let (_, after) = group(outcome);
            let note = |key: &str| after.labels.get(key).cloned().unwrap_or_default();
            equal("parked-desired", note("sop.rafay.dev/parked-desired").as_str(), "3")?;
            equal("parked-min", note("sop.rafay.dev/parked-min").as_str(), "3")?;
            expect_replicas(outcome, 0, "3", "2")
        },
    }
}

fn unpark() -> Subject {
    Subject {
        name: "unpark",
        schedules: 50,
        length: Duration::from_secs(125),
        scenario: Scenario::default(),
        first: Some("park"),
        inputs: parked(),
        succeeds: |outcome| {
            expect_size(outcome, 3)?;
            let (_, after) = group(outcome);
            equal("min", after.min, 3)?;
            let notes = after.labels.keys().filter(|key| key.contains("parked")).count();
            equal("notes", notes, 0)?;
            expect_replicas(outcome, 3, "", "")
        },
    }
}

fn restart_deployments() -> Subject {
    Subject {
        name: "restart-deployments",
        schedules: 240,
        length: Duration::from_secs(12),
        scenario: Scenario::default(),
        first: None,
        inputs: json!({"deployments": ["rafay-sentry", "relay-cache"]}),
        succeeds: |outcome| {
            for path in ["rafay-core/rafay-sentry", "rafay-core/relay-cache"] {
                let deployment = &outcome.after.deployments[path];
                if deployment.restarted_at == outcome.before.deployments[path].restarted_at {
                    return Err(format!("{path} was not restarted: {deployment:?}"));
                }
            }
            Ok(())
        },
    }
}

fn scale_up() -> Subject {
    Subject {
        name: "scale-nodegroup",
        schedules: 70,
        length: Duration::from_secs(100),
        scenario: Scenario::default(),
        first: None,
        inputs: of_group(json!({"desired": 5})),
        succeeds: |outcome| {
            expect_size(outcome, 5)?;
            equal("kept", kept(outcome).len(), 3)
        },
    }
}

fn scale_down() -> Subject {
    Subject {
        name: "scale-nodegroup",
        schedules: 360,
        length: Duration::from_secs(24),
        scenario: without_spread(),
        first: None,
        inputs: of_group(json!({"desired": 2})),
        succeeds: |outcome| {
            expect_size(outcome, 2)?;
            equal("kept", kept(outcome).len(), 2)
        },
    }
}

fn drain_node() -> Subject {
    Subject {
        name: "drain-node",
        schedules: 480,
        length: Duration::from_secs(3),
        scenario: Scenario::default(),
        first: None,
        inputs: json!({"node": CORE_NODE}),
        succeeds: |outcome| expect_empty(outcome, CORE_NODE),
    }
}

fn evacuate_zone() -> Subject {
    Subject {
        name: "evacuate-zone",
        schedules: 480,
        length: Duration::from_secs(3),
        scenario: without_spread(),
        first: None,
        inputs: json!({"zone": "us-west-2c"}),
        succeeds: |outcome| expect_empty(outcome, RELAY_NODE),
    }
}

fn rotate_nodegroup() -> Subject {
    Subject {
        name: "rotate-nodegroup",
        schedules: 50,
        length: Duration::from_secs(155),
        scenario: Scenario::default(),
        first: None,
        inputs: of_group(json!({"at_once": 2})),
        succeeds: |outcome| {
            expect_size(outcome, 3)?;
            equal("kept", kept(outcome).len(), 0)
        },
    }
}

fn upgrade_nodegroup() -> Subject {
    let mut scenario = Scenario::default();
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == GROUP) {
        group.version = Some("1.34".into());
    }
    Subject {
        name: "upgrade-nodegroup",
        schedules: 100,
        length: Duration::from_secs(300),
        scenario,
        first: None,
        inputs: of_group(json!({"version": "1.35"})),
        succeeds: |outcome| {
            expect_size(outcome, 3)?;
            let (before, after) = group(outcome);
            equal("version", after.version.as_str(), "1.35")?;
            equal("updates", after.updates, before.updates + 1)?;
            equal("kept", kept(outcome).len(), 0)
        },
    }
}

/// The inputs of a runbook about the nodegroup of the relay.
fn of_group(more: Value) -> Value {
    let mut inputs = json!({"region": "us-west-2", "cluster": "rafay-cluster", "nodegroup": GROUP});
    let more = more.as_object().into_iter().flatten();
    more.for_each(|(name, value)| inputs[name] = value.clone());
    inputs
}

/// The inputs of park and unpark.
fn parked() -> Value {
    json!({
        "region": "us-west-2",
        "cluster": "rafay-cluster",
        "nodegroups": [GROUP],
        "deployments": ["rafay-relay", "rafay-sentry"],
    })
}

/// A world in which pods of a deployment can be on one node: there are as many relay nodes as relay pods.
fn without_spread() -> Scenario {
    let mut scenario = Scenario::default();
    scenario.deployments.iter_mut().for_each(|deployment| deployment.spread = Spread::None);
    scenario
}

/// The nodegroup of the relay at the start and at the end.
fn group(outcome: &Outcome) -> (&NodegroupFacts, &NodegroupFacts) {
    (&outcome.before.nodegroups[GROUP], &outcome.after.nodegroups[GROUP])
}

/// The instances of the start that are still there.
fn kept(outcome: &Outcome) -> BTreeSet<&String> {
    let (before, after) = group(outcome);
    let staying = after.instances.iter().filter(|(_, instance)| is_staying(instance));
    staying.map(|(id, _)| id).filter(|id| before.instances.contains_key(*id)).collect()
}

/// The nodegroup and its group are to have so many instances, and do.
fn expect_size(outcome: &Outcome, size: u32) -> Result<(), String> {
    let (_, after) = group(outcome);
    equal("desired", after.desired, size)?;
    equal("desired of the group", after.group_desired, size)?;
    let staying = after.instances.values().filter(|instance| is_staying(instance)).count();
    equal("instances", staying, size as usize)
}

/// The two parked deployments are to have so many pods, or as many as they had, and these notes.
fn expect_replicas(
    outcome: &Outcome,
    relay: i32,
    notes: &str,
    sentry_note: &str,
) -> Result<(), String> {
    let sentry = if relay == 0 { 0 } else { 2 };
    for (name, replicas, note) in
        [("rafay-relay", relay, notes), ("rafay-sentry", sentry, sentry_note)]
    {
        let deployment = &outcome.after.deployments[&format!("rafay-core/{name}")];
        equal(name, deployment.replicas, replicas)?;
        let found = deployment.annotations.get(PARKED_REPLICAS).map_or("", String::as_str);
        equal(name, found, note)?;
    }
    Ok(())
}

/// A node is cordoned and has no pods, where nobody has opened it again.
fn expect_empty(outcome: &Outcome, node: &str) -> Result<(), String> {
    if outcome.has_others {
        return Ok(());
    }
    equal("cordoned", outcome.after.nodes[node].unschedulable, true)?;
    let pods = outcome.after.pods.values().filter(|pod| pod.node.as_deref() == Some(node));
    equal("pods", pods.count(), 0)
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?}, and it should be {expected:?}"))
}

#[test]
fn relay_scale_keeps_its_promise_under_any_schedule() {
    assert_promise(
        &relay_scale(),
        &["succeeded", "rolled_back", "cancelled", "in several processes"],
    );
}

#[test]
fn park_keeps_its_promise_under_any_schedule() {
    assert_promise(&park(), &["succeeded", "cancelled", "in several processes"]);
}

#[test]
fn unpark_keeps_its_promise_under_any_schedule() {
    assert_promise(&unpark(), &["succeeded", "cancelled", "in several processes"]);
}

#[test]
fn restart_deployments_keeps_its_promise_under_any_schedule() {
    assert_promise(&restart_deployments(), &["succeeded", "cancelled", "in several processes"]);
}

#[test]
fn scale_nodegroup_up_keeps_its_promise_under_any_schedule() {
    assert_promise(&scale_up(), &["succeeded", "cancelled", "in several processes"]);
}

#[test]
fn scale_nodegroup_down_keeps_its_promise_under_any_schedule() {
    assert_promise(&scale_down(), &["succeeded", "cancelled", "in several processes"]);
}

#[test]
fn drain_node_keeps_its_promise_under_any_schedule() {
    assert_promise(&drain_node(), &["succeeded", "cancelled", "in several processes"]);
}

#[test]
fn evacuate_zone_keeps_its_promise_under_any_schedule() {
    assert_promise(&evacuate_zone(), &["succeeded", "cancelled", "in several processes"]);
}

#[test]
fn rotate_nodegroup_keeps_its_promise_under_any_schedule() {
    assert_promise(&rotate_nodegroup(), &["succeeded", "failed", "in several processes"]);
}

#[test]
fn upgrade_nodegroup_keeps_its_promise_under_any_schedule() {
    assert_promise(&upgrade_nodegroup(), &["succeeded", "cancelled", "in several processes"]);
}
