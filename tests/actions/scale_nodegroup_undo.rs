//! The undo of `scale_nodegroup`: exactly the new instances go, with their pods moved away first.

use std::collections::BTreeSet;

use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::Api;
use rafay_relay_sop::{
    engine::Direction,
    journal::State,
    simulator::{Effect, Fault, Scenario},
};
use serde_json::json;

use super::{
    RELAY, SPACE, book, budget, client, cordoned, create, failing, left_alone, nodes_of, protected,
    rolled_back, uids_of,
};
use crate::support::{World, until};

/// Grows the group and puts relay pods on its new nodes, as relay-scale does.
const GROW: &str = concat!(
    "  - {id: grow, action: scale_nodegroup, with: {nodegroup: {region: us-west-2, cluster: rafay-cluster, ",
    "name: relay-services-1a2b3c}, desired: 6, raise_max: true}}\n",
    "  - {id: nodes, action: wait_nodes, with: {nodegroup: '{{ grow }}', count: 6, ",
    "previous: '{{ grow.before.nodes }}'}}\n",
);
const UPDATE: &str = "eks:UpdateNodegroupConfig";

/// What must be as it was: sizes, instances, protections, cordons.
async fn facts(world: &World) -> impl PartialEq + std::fmt::Debug {
    let state = world.simulator.state().await.unwrap();
    let group = &state.nodegroups[RELAY];
    let sizes = (group.min, group.max, group.desired, group.group_desired);
    let instances: BTreeSet<String> = group.instances.keys().cloned().collect();
    (sizes, instances, protected(world).await, cordoned(world).await)
}

/// Puts cache pods on the new nodes.
fn moving() -> String {
    format!(
        "{GROW}  - {{id: more, action: scale_deployment, with: {{namespace: rafay-core, deployment: relay-cache, replicas: 12}}}}\n"
    )
}

/// Cache pods on the new nodes that no other step's undo takes away.
async fn crowd(world: &World) {
    super::patch_deployment(world, "relay-cache", json!({"spec": {"replicas": 12}})).await;
    for _ in 0..2000 {
        let pods = super::pods_of(world, "relay-cache").await;
        if pods.len() == 12 && pods.iter().all(|(_, pod)| pod.ready) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the pods do not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_is_as_it_was_instance_by_instance() {
    let world = World::new().await;
    let before = facts(&world).await;
    let relay = uids_of(&world, "rafay-relay").await;
    rolled_back(&world, &moving(), async || {}).await.is(State::RolledBack);
    assert_eq!(facts(&world).await, before);
    assert_eq!(uids_of(&world, "rafay-relay").await, relay, "the old pods were not touched");
    let updates = world.effective().iter().filter(|call| *call == UPDATE).count();
    assert_eq!(updates, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_the_new_nodes_are_moved_before_the_nodes_go() {
    let world = World::new().await;
    create::<PodDisruptionBudget>(&world, budget("relay-cache", 10)).await;
    let before = facts(&world).await;
    let ended = rolled_back(&world, GROW, async || crowd(&world).await).await;
    ended.is(State::RolledBack);
    assert_eq!(facts(&world).await, before);
    let state = world.simulator.state().await.unwrap();
    assert_eq!(uids_of(&world, "relay-cache").await.len(), 12);
    for node in nodes_of(&world, "relay-cache").await {
        assert!(state.nodes.contains_key(&node), "{node} is gone");
    }
    let calls = world.effective();
    let evictions = calls.iter().filter(|call| call.contains("eviction")).count();
    assert!(evictions >= 3, "{calls:?}");
    let last_eviction = calls.iter().rposition(|call| call.contains("eviction"));
    assert!(last_eviction < calls.iter().rposition(|call| call == UPDATE), "{calls:?}");
}

/// Restarted meanwhile, the pod that had no room has a successor of another name.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_had_no_room_before_is_owed_none_afterwards() {
    let mut scenario = Scenario::default();
    let relay = scenario.deployments.iter_mut().find(|one| one.name == "rafay-relay");
    relay.unwrap().replicas = 4;
    let world = World::of(scenario).await;
    let before = facts(&world).await;
    let restart = format!(
        "{GROW}  - {{id: restart, action: rollout_restart, with: {{namespace: rafay-core, deployment: rafay-relay}}}}\n"
    );
    rolled_back(&world, &restart, async || {}).await.is(State::RolledBack);
    assert_eq!(facts(&world).await, before);
    assert_eq!(uids_of(&world, "rafay-relay").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_cannot_be_done_leaves_the_sizes_as_they_are() {
    let world = World::new().await;
    let ended = world.run(&failing(GROW)).await.is(State::Failed);
    let state = world.simulator.state().await.unwrap();
    let new = ended.output("nodes")["new_nodes"][0]["name"].as_str().unwrap();
    create::<Pod>(
        &world,
        json!({
            "metadata": {"name": "bare", "namespace": SPACE},
            "spec": {"nodeName": new, "containers": [{"name": "c", "image": "registry.example.com/a:1"}]},
        }),
    )
    .await;
    let back = world.take_up(&ended.run.id, Direction::Back).await.is(State::RollbackFailed);
    let lines = back.lines().join("\n");
    assert!(lines.contains("so its size was not lowered: 1 pod would be lost"), "{lines}");
    let now = world.simulator.state().await.unwrap();
    assert_eq!(now.nodegroups[RELAY].desired, state.nodegroups[RELAY].desired);
    assert_eq!(now.nodegroups[RELAY].instances.len(), 6);

    // The pod out of the way, the same rollback goes on.
    super::delete_pod(&world, "bare").await;
    world.take_up(&ended.run.id, Direction::Back).await.is(State::RolledBack);
    assert_eq!(world.simulator.state().await.unwrap().nodegroups[RELAY].instances.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_allows_nothing_is_named_and_waited_for() {
    let world = World::new().await;
    let before = facts(&world).await;
    let ended = world.run(&failing(GROW)).await.is(State::Failed);
    crowd(&world).await;
    create::<PodDisruptionBudget>(&world, budget("relay-cache", 12)).await;
    let (id, store) = (&ended.run.id, &world.store);
    let mending = async {
        until("the budget's name", || {
            let text = format!("{:?}", store.read(id).ok()?);
            text.contains("not allowed yet: evict pod").then_some(())
        })
        .await;
        let text = format!("{:?}", store.read(id).unwrap());
        assert!(text.contains("The disruption budget relay-cache-budget needs 12 healthy pods"));
        assert_eq!(world.effective().iter().filter(|call| *call == UPDATE).count(), 1);
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(client(&world), SPACE);
        budgets.delete("relay-cache-budget", &Default::default()).await.unwrap();
    };
    let (back, ()) = tokio::join!(world.take_up(id, Direction::Back), mending);
    back.is(State::RolledBack);
    assert_eq!(facts(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_whose_answers_get_lost_converges() {
    for (matching, before) in [
        ("patch nodes/*", true),
        ("patch nodes/*", false),
        ("autoscaling:SetInstanceProtection", false),
        (UPDATE, true),
        (UPDATE, false),
    ] {
        let world = World::new().await;
        let facts_before = facts(&world).await;
        let ended = world.run(&failing(GROW)).await.is(State::Failed);
        let effect = Effect::Drop { before };
        world.simulator.inject(Fault { matching: matching.into(), nth: 1, times: 1, effect });
        let back = world.take_up(&ended.run.id, Direction::Back).await;
        if back.state == State::RollbackFailed {
            world.take_up(&ended.run.id, Direction::Back).await.is(State::RolledBack);
        }
        assert_eq!(facts(&world).await, facts_before, "{matching}, before: {before}");
        let updates = world.effective().iter().filter(|call| *call == UPDATE).count();
        assert_eq!(updates, 2, "{matching}, before: {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_somebody_else_set_meanwhile_stays() {
    let world = World::new().await;
    let ended = world.run(&failing(GROW)).await.is(State::Failed);
    update(&world, |request| request.max_size(9)).await;
    let back = world.take_up(&ended.run.id, Direction::Back).await.is(State::RolledBack);
    left_alone(&back, "max stays 9: somebody else changed it from 6");
    let state = world.simulator.state().await.unwrap();
    let group = &state.nodegroups[RELAY];
    assert_eq!((group.min, group.desired, group.max), (3, 3, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desired_size_that_somebody_else_set_meanwhile_keeps_its_room() {
    let world = World::new().await;
    let ended = world.run(&failing(GROW)).await.is(State::Failed);
    update(&world, |request| request.desired_size(5)).await;
    let back = world.take_up(&ended.run.id, Direction::Back).await.is(State::RolledBack);
    left_alone(&back, "desired stays 5: somebody else changed it from 6");
    left_alone(&back, "max stays 6: desired is 5");
    let state = world.simulator.state().await.unwrap();
    assert_eq!((state.nodegroups[RELAY].desired, state.nodegroups[RELAY].max), (5, 6));
    assert_eq!(state.nodegroups[RELAY].instances.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_whose_new_instances_are_born_protected_are_undone_too() {
    let mut scenario = Scenario::default();
    scenario.nodegroups.iter_mut().for_each(|group| group.new_instances_protected = true);
    let world = World::of(scenario).await;
    let before = facts(&world).await;
    rolled_back(&world, GROW, async || {}).await.is(State::RolledBack);
    assert_eq!(facts(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_of_fewer_nodes_gives_the_number_back() {
    let world = World::new().await;
    let shrink = GROW
        .replace("desired: 6, raise_max: true", "desired: 2, lower_min: true")
        .replace("count: 6", "count: 2");
    let ended = world.run(&book(&shrink)).await.succeeded();
    assert_eq!(ended.output("grow")["min"], json!(2));
    let world = World::new().await;
    rolled_back(&world, &shrink, async || {}).await.is(State::RolledBack);
    let state = world.simulator.state().await.unwrap();
    let group = &state.nodegroups[RELAY];
    assert_eq!((group.min, group.desired), (3, 3));
}

/// Changes the group's sizes as somebody else would, and waits until that is done.
async fn update(
    world: &World,
    change: impl FnOnce(
        aws_sdk_eks::types::builders::NodegroupScalingConfigBuilder,
    ) -> aws_sdk_eks::types::builders::NodegroupScalingConfigBuilder,
) {
    let config = aws_sdk_eks::Config::builder()
        .behavior_version(aws_sdk_eks::config::BehaviorVersion::latest())
        .region(aws_sdk_eks::config::Region::new("us-west-2"))
        .endpoint_url(world.simulator.aws_url().as_str())
        .credentials_provider(aws_sdk_eks::config::Credentials::new("a", "b", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let scaling = change(aws_sdk_eks::types::NodegroupScalingConfig::builder()).build();
    aws_sdk_eks::Client::from_conf(config)
        .update_nodegroup_config()
        .cluster_name("rafay-cluster")
        .nodegroup_name(RELAY)
        .scaling_config(scaling)
        .send()
        .await
        .unwrap();
    for _ in 0..2000 {
        let state = world.simulator.state().await.unwrap();
        let group = &state.nodegroups[RELAY];
        if group.status == "ACTIVE" && group.instances.len() as u32 == group.group_desired {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the update does not end");
}
