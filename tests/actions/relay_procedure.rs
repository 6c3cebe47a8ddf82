//! The whole of relay-scale, in several worlds: what must be true when it is over.

use std::collections::BTreeSet;

use rafay_relay_sop::{
    engine::Direction,
    journal::State,
    simulator::{ContainerFailure, Deployment, Nodegroup, Scenario, Spread},
};
use serde_json::{Value, json};

use super::{RELAY, SPACE, broken, cordoned, nodes_of, pods_of, protected, replicas, uids_of};
use crate::support::{Ended, World};

const RELAY_SCALE: &str = include_str!("../../runbooks/relay-scale.yaml");

fn relay(scenario: &mut Scenario) -> &mut Deployment {
    scenario.deployments.iter_mut().find(|d| d.name == "rafay-relay").unwrap()
}

fn group(scenario: &mut Scenario) -> &mut Nodegroup {
    scenario.nodegroups.iter_mut().find(|group| group.name == RELAY).unwrap()
}

/// How the world was.
struct Before {
    nodes: BTreeSet<String>,
    relay_nodes: BTreeSet<String>,
    relay_pods: BTreeSet<String>,
    sentry_pods: BTreeSet<String>,
    cordoned: BTreeSet<String>,
    replicas: i32,
    min: u32,
    desired: u32,
}

impl Before {
    async fn of(world: &World) -> Self {
        let state = world.simulator.state().await.unwrap();
        let is_relay = |(_, node): &(_, rafay_relay_sop::simulator::NodeFacts)| {
            node.nodegroup.as_deref() == Some(RELAY)
        };
        Self {
            nodes: state.nodes.into_iter().filter(is_relay).map(|(name, _)| name).collect(),
            relay_nodes: nodes_of(world, "rafay-relay").await,
            relay_pods: uids_of(world, "rafay-relay").await,
            sentry_pods: uids_of(world, "rafay-sentry").await,
            cordoned: cordoned(world).await,
            replicas: replicas(world, "rafay-relay").await,
            min: state.nodegroups[RELAY].min,
            desired: state.nodegroups[RELAY].desired,
        }
    }
}

/// What issue and procedure promise.
async fn holds(world: &World, before: &Before, factor: u32) {
    let state = world.simulator.state().await.unwrap();
    let facts = &state.nodegroups[RELAY];
    assert_eq!((facts.desired, facts.min), (before.desired * factor, before.min));
    assert_eq!(facts.instances.len() as u32, before.desired * factor);
    for instance in facts.instances.values() {
        assert!(state.nodes[&instance.node].ready, "{} is Ready", instance.node);
    }
    let sentry = uids_of(world, "rafay-sentry").await;
    assert_eq!(sentry.len(), before.sentry_pods.len());
    assert!(sentry.is_disjoint(&before.sentry_pods), "sentry was rolled");
    let newly: BTreeSet<String> =
        cordoned(world).await.difference(&before.cordoned).cloned().collect();
    assert_eq!(newly, before.relay_nodes, "exactly the old relay pods' nodes are cordoned");
    assert_eq!(replicas(world, "rafay-relay").await, before.replicas);
    let pods = pods_of(world, "rafay-relay").await;
    assert_eq!(pods.len() as i32, before.replicas);
    for (name, pod) in &pods {
        assert!(pod.ready, "{name} is Ready");
        assert!(!before.relay_pods.contains(&pod.uid), "{name} is new");
        let node = pod.node.as_ref().unwrap();
        assert!(!before.nodes.contains(node), "{name} is on a new node");
        assert!(pod.annotations.keys().all(|key| !key.contains("deletion-cost")), "{name}");
    }
    let relay_nodes = nodes_of(world, "rafay-relay").await;
    let instances = facts.instances.iter();
    let with_pods: BTreeSet<String> = instances
        .filter(|(_, instance)| relay_nodes.contains(&instance.node))
        .map(|(id, _)| id.clone())
        .collect();
    assert_eq!(protected(world).await, with_pods, "exactly the relay pods' instances");
}

async fn run(scenario: Scenario, factor: u32) -> (World, Ended) {
    let world = World::of(scenario).await;
    let before = Before::of(&world).await;
    let inputs = json!({"scale_factor": factor});
    let ended = world.run_with(RELAY_SCALE, inputs).await.succeeded();
    holds(&world, &before, factor).await;
    (world, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_world() {
    let (world, ended) = run(Scenario::default(), 2).await;
    let starts = ended.lines().into_iter().filter(|line| line.starts_with("Starting step: "));
    assert_eq!(starts.count(), 15, "the ninth step is two, and one checks");
    let mut calls = world.effective();
    let count = |calls: &[String], what: &str| calls.iter().filter(|c| c.starts_with(what)).count();
    assert_eq!(count(&calls, "patch nodes/"), 3, "one a cordoned node");
    assert_eq!(count(&calls, "delete pods/"), 3, "one a deleted pod");
    assert_eq!(count(&calls, "patch pods/"), 6, "two a kept pod");
    assert_eq!(count(&calls, "autoscaling:SetInstanceProtection"), 2, "fifty at a time");
    assert_eq!(calls.len(), 3 + 3 + 6 + 2 + 4, "and four more: {calls:?}");
    calls.sort();
    let mutating = world.simulator.calls().iter().filter(|call| call.mutating).count();
    assert_eq!(mutating, calls.len(), "no call was in vain");
}

#[tokio::test(flavor = "multi_thread")]
async fn factors_three_and_four() {
    for factor in [3, 4] {
        run(Scenario::default(), factor).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_relay_pods_than_nodes() {
    for spread in [Spread::Required, Spread::Preferred, Spread::None] {
        let mut scenario = Scenario::default();
        relay(&mut scenario).replicas = 2;
        relay(&mut scenario).spread = spread;
        run(scenario, 2).await;
    }
}

/// The old node without a relay pod is as empty as the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn fewer_relay_pods_than_nodes_and_nothing_else_on_them() {
    for spread in [Spread::Required, Spread::Preferred, Spread::None] {
        for seed in 1..4 {
            let mut scenario = Scenario { seed, ..Scenario::default() };
            scenario.deployments.retain(|deployment| deployment.name != "relay-cache");
            relay(&mut scenario).replicas = 2;
            relay(&mut scenario).spread = spread;
            run(scenario, 2).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_relay_pods_than_nodes() {
    for spread in [Spread::Preferred, Spread::None] {
        let mut scenario = Scenario::default();
        relay(&mut scenario).replicas = 5;
        relay(&mut scenario).spread = spread;
        run(scenario, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_without_protections_and_one_where_instances_are_born_with_them() {
    let mut scenario = Scenario::default();
    group(&mut scenario).protected.clear();
    run(scenario, 2).await;
    let mut scenario = Scenario::default();
    group(&mut scenario).new_instances_protected = true;
    run(scenario, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_in_a_row() {
    let (world, _) = run(Scenario::default(), 2).await;
    let before = Before::of(&world).await;
    world.run(RELAY_SCALE).await.succeeded();
    holds(&world, &before, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_the_point_of_no_return_leaves_nothing_behind() {
    // The relay's pods come up at first and no longer when there are to be more of them.
    let mut scenario = broken("no-such-image", ContainerFailure::CrashLoop);
    scenario.nodegroups.iter_mut().for_each(|group| group.slow.clear());
    let world = World::of(scenario).await;
    let before = Before::of(&world).await;
    let protections = protected(&world).await;
    // No room: one relay pod a node, and a factor that a person has written into the runbook.
    let text = RELAY_SCALE.replace("old_relay.count * 2", "old_relay.count * 3").replace(
        "      replicas: \"{{ old_relay.count * 3 }}\"",
        "      replicas: \"{{ old_relay.count * 3 }}\"\n      give_up_after: 1s",
    );
    let ended = world.run(&text).await.is(State::RolledBack);
    assert!(ended.error().contains("cannot be scheduled"), "{}", ended.error());
    let state = world.simulator.state().await.unwrap();
    let facts = &state.nodegroups[RELAY];
    assert_eq!((facts.min, facts.max, facts.desired), (3, 4, 3));
    assert_eq!(protected(&world).await, protections);
    assert_eq!(cordoned(&world).await, before.cordoned);
    assert_eq!(uids_of(&world, "rafay-relay").await, before.relay_pods);
    let nodes: BTreeSet<String> = facts.instances.values().map(|i| i.node.clone()).collect();
    assert_eq!(nodes, before.nodes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_after_it_stops_and_can_still_be_rolled_back_by_hand() {
    let world = World::new().await;
    let before = Before::of(&world).await;
    let protections = protected(&world).await;
    let last = "  - {id: last, action: assert, on_failure: stop, with: {that: false, message: on purpose}}\n";
    let ended = world.run(&format!("{RELAY_SCALE}\n{last}")).await.is(State::Failed);
    holds(&world, &before, 2).await;
    let back = world.take_up(&ended.run.id, Direction::Back).await.is(State::RolledBack);
    let state = world.simulator.state().await.unwrap();
    let facts = &state.nodegroups[RELAY];
    assert_eq!((facts.min, facts.max, facts.desired), (3, 4, 3));
    let nodes: BTreeSet<String> = facts.instances.values().map(|i| i.node.clone()).collect();
    assert_eq!(nodes, before.nodes, "the original instances");
    assert_eq!(protected(&world).await, protections);
    assert_eq!(cordoned(&world).await, before.cordoned);
    assert_eq!(replicas(&world, "rafay-relay").await, before.replicas);
    assert_eq!(nodes_of(&world, "rafay-relay").await, before.nodes, "and the pods on them again");
    super::left_alone(&back, "3 deleted pods cannot be brought back");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_world_of_the_runbook_is_named_in_its_log() {
    let (_, ended) = run(Scenario::default(), 2).await;
    let lines = ended.lines();
    for line in ["rafay-relay: 3 -> 6 pods, all Ready", "Protected 3 instances from scale-in"] {
        assert!(lines.iter().any(|found| found == line), "{line}\n{}", lines.join("\n"));
    }
    let pods: Vec<&Value> = ended.output("new_relay")["pods"].as_array().unwrap().iter().collect();
    assert!(pods.iter().all(|pod| pod["namespace"] == json!(SPACE)));
}
