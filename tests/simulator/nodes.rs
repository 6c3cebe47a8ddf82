//! Instances become Nodes and are removed again.

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use aws_sdk_autoscaling as autoscaling;
use simulator::{ClusterState, LaunchFailure, Scenario, Simulator};

use super::{RELAY, aws_client, client, node_is_ready, nodes_of, start, start_at, wait_until};

fn autoscaling(simulator: &Simulator) -> autoscaling::Client {
    aws_client!(aws_sdk_autoscaling, simulator)
}

async fn resize(simulator: &Simulator, min: i32, max: i32, desired: i32) {
    let group = facts(simulator).await.nodegroups[RELAY].group.clone();
    autoscaling(simulator)
        .update_auto_scaling_group()
        .auto_scaling_group_name(group)
        .min_size(min)
        .max_size(max)
        .desired_capacity(desired)
        .send()
        .await
        .unwrap();
}

async fn facts(simulator: &Simulator) -> ClusterState {
    simulator.state().await.unwrap()
}

async fn activities(simulator: &Simulator) -> Vec<autoscaling::types::Activity> {
    let group = facts(simulator).await.nodegroups[RELAY].group.clone();
    let described =
        autoscaling(simulator).describe_scaling_activities().auto_scaling_group_name(group);
    described.send().await.unwrap().activities.unwrap()
}

#[tokio::test]
async fn a_launched_instance_goes_from_pending_to_a_ready_node() {
    let mut scenario = Scenario::default();
    // Long enough to be observed by a test that has to wait for a CPU.
    scenario.times.node_ready = Duration::from_mins(1);
    let simulator = start_at(scenario, 60.0).await;
    let client = client(&simulator);
    let before: BTreeSet<_> =
        nodes_of(&client, RELAY).await.iter().map(kube::ResourceExt::uid).collect();
    resize(&simulator, 3, 6, 6).await;
    let (pending, not_ready) = (Cell::new(false), Cell::new(false));
    wait_until("six ready nodes", || async {
        let instances = facts(&simulator).await.nodegroups[RELAY].instances.clone();
        pending.set(pending.get() || instances.values().any(|i| i.lifecycle == "Pending"));
        let nodes = nodes_of(&client, RELAY).await;
        let ready = nodes.iter().filter(|node| node_is_ready(node)).count();
        not_ready.set(not_ready.get() || ready < nodes.len());
        (ready == 6).then_some(())
    })
    .await;
    assert!(pending.get() && not_ready.get());
    let after: BTreeSet<_> =
        nodes_of(&client, RELAY).await.iter().map(kube::ResourceExt::uid).collect();
    assert!(after.is_superset(&before));
    let launched = activities(&simulator).await;
    assert_eq!(launched.len(), 3);
    let facts = facts(&simulator).await;
    for (id, instance) in &facts.nodegroups[RELAY].instances {
        assert_eq!(facts.nodes[&instance.node].instance.as_ref(), Some(id));
        assert_eq!(facts.nodes[&instance.node].nodegroup.as_deref(), Some(RELAY));
    }
}

#[tokio::test]
async fn a_failed_launch_is_reported_and_retried() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0]
        .launch_failures
        .push(LaunchFailure { times: 1, message: "InsufficientInstanceCapacity".into() });
    let simulator = start_at(scenario, 100.0).await;
    resize(&simulator, 3, 4, 4).await;
    let failed = wait_until("the failure", || async {
        let all = activities(&simulator).await;
        all.into_iter().find(|a| a.status_code.as_ref().unwrap().as_str() == "Failed")
    })
    .await;
    assert_eq!(failed.status_message.as_deref(), Some("InsufficientInstanceCapacity"));
    let client = client(&simulator);
    wait_until("the fourth node", || async {
        (nodes_of(&client, RELAY).await.len() == 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn scale_in_keeps_protected_instances_and_removes_nodes() {
    let simulator = start(Scenario::default()).await;
    let client = client(&simulator);
    let before = facts(&simulator).await.nodegroups[RELAY].instances.clone();
    let spared: BTreeSet<String> =
        before.iter().filter(|(_, i)| i.protected).map(|(id, _)| id.clone()).collect();
    assert_eq!(spared.len(), 2);
    resize(&simulator, 0, 4, 1).await;
    wait_until("two nodes", || async { (nodes_of(&client, RELAY).await.len() == 2).then_some(()) })
        .await;
    let left: BTreeSet<String> =
        facts(&simulator).await.nodegroups[RELAY].instances.keys().cloned().collect();
    assert_eq!(left, spared, "desired is 1, and everything left is protected");
    let refused = wait_until("the note", || async {
        let all = activities(&simulator).await;
        all.into_iter().find(|a| a.status_code.as_ref().unwrap().as_str() == "Failed")
    })
    .await;
    assert!(refused.status_message.unwrap().contains("protected from scale-in"));
}

#[tokio::test]
async fn new_instances_can_be_protected_and_slow() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].new_instances_protected = true;
    scenario.nodegroups[0].slow[0].never_ready = true;
    scenario.times.boot = Duration::from_secs(10);
    let simulator = start(scenario).await;
    let client = client(&simulator);
    resize(&simulator, 3, 5, 5).await;
    wait_until("five nodes", || async {
        (nodes_of(&client, RELAY).await.len() == 5).then_some(())
    })
    .await;
    wait_until("four ready", || async {
        let ready = nodes_of(&client, RELAY).await.iter().filter(|n| node_is_ready(n)).count();
        (ready == 4).then_some(())
    })
    .await;
    assert!(facts(&simulator).await.nodegroups[RELAY].instances.values().all(|i| i.protected));
}

#[tokio::test]
async fn one_scenario_gives_one_cluster() {
    async fn simulate_once() -> ClusterState {
        let simulator = start(Scenario::default()).await;
        facts(&simulator).await
    }
    let (one, other) = (simulate_once().await, simulate_once().await);
    assert_eq!(one, other);
}

#[tokio::test]
async fn three_hundred_nodes_can_be_simulated() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].desired = 300;
    scenario.nodegroups[0].max = 600;
    scenario.deployments[0].replicas = 300;
    let began = std::time::Instant::now();
    let simulator = start_at(scenario, 600.0).await;
    let facts = facts(&simulator).await;
    let ready = facts.pods.values().filter(|pod| pod.ready).count();
    assert_eq!(ready, 304);
    eprintln!("a cluster of 300 nodes in {:?}", began.elapsed());
}
