//! `cordon` and `uncordon`.

use std::collections::BTreeSet;

use rafay_relay_sop::{journal::State, simulator::Scenario};
use serde_json::json;

use super::{RELAY, book, cordoned, left_alone, patch_node, resumed, rolled_back, texts};
use crate::support::World;

const CORDONED_BY: &str = "rafay-relay-sop/cordoned-by";

async fn relay_nodes(world: &World) -> Vec<String> {
    let state = world.simulator.state().await.unwrap();
    let is_relay = |(_, node): &(_, rafay_relay_sop::simulator::NodeFacts)| {
        node.nodegroup.as_deref() == Some(RELAY)
    };
    state.nodes.into_iter().filter(is_relay).map(|(name, _)| name).collect()
}

fn step(action: &str, nodes: &[String]) -> String {
    format!("  - {{id: it, action: {action}, with: {{nodes: {}}}}}\n", json!(nodes))
}

async fn by_hand(world: &World, node: &str, cordon: bool) {
    patch_node(world, node, json!({"spec": {"unschedulable": cordon}})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_open_is_cordoned_and_only_that_is_opened_again() {
    let world = World::new().await;
    let nodes = relay_nodes(&world).await;
    by_hand(&world, &nodes[0], true).await;
    let before = world.effective().len();
    let ended = world.run(&book(&step("cordon", &nodes))).await.succeeded();
    assert_eq!(texts(&ended.output("it")["nodes"]), nodes.iter().cloned().collect());
    assert_eq!(texts(&ended.output("it")["changed"]), nodes[1..].iter().cloned().collect());
    assert_eq!(cordoned(&world).await, nodes.iter().cloned().collect());
    assert_eq!(world.effective().len(), before + 2, "one patch a node");

    let world = World::new().await;
    by_hand(&world, &nodes[0], true).await;
    let ended = rolled_back(&world, &step("cordon", &nodes), async || {}).await;
    ended.is(State::RolledBack);
    assert_eq!(cordoned(&world).await, BTreeSet::from([nodes[0].clone()]));
    let state = world.simulator.state().await.unwrap();
    assert!(!state.nodes[&nodes[1]].annotations.contains_key(CORDONED_BY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordon_that_somebody_else_put_there_meanwhile_is_not_ours() {
    let world = World::new().await;
    let nodes = relay_nodes(&world).await;
    let ended = resumed(&world, &step("cordon", &nodes[..1]), "patch nodes/*", async || {
        by_hand(&world, &nodes[0], true).await;
    })
    .await
    .succeeded();
    assert_eq!(ended.output("it")["changed"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_leaves_alone_what_others_have_made_theirs() {
    let world = World::new().await;
    let nodes = relay_nodes(&world).await;
    let ended = rolled_back(&world, &step("cordon", &nodes), async || {
        let theirs = json!({"metadata": {"annotations": {CORDONED_BY: null}}});
        patch_node(&world, &nodes[0], theirs).await;
        by_hand(&world, &nodes[1], false).await;
    })
    .await
    .is(State::RolledBack);
    left_alone(&ended, &format!("node {} stays cordoned", nodes[0]));
    assert_eq!(cordoned(&world).await, BTreeSet::from([nodes[0].clone()]));
    let state = world.simulator.state().await.unwrap();
    assert!(!state.nodes[&nodes[1]].annotations.contains_key(CORDONED_BY), "it says no untruth");
}

#[tokio::test(flavor = "multi_thread")]
async fn uncordon_is_the_same_the_other_way_round() {
    let world = World::new().await;
    let nodes = relay_nodes(&world).await;
    by_hand(&world, &nodes[0], true).await;
    let ended = world.run(&book(&step("uncordon", &nodes))).await.succeeded();
    assert_eq!(ended.output("it")["changed"], json!([nodes[0]]));
    assert!(cordoned(&world).await.is_empty());

    by_hand(&world, &nodes[0], true).await;
    rolled_back(&world, &step("uncordon", &nodes), async || {}).await.is(State::RolledBack);
    assert_eq!(cordoned(&world).await, BTreeSet::from([nodes[0].clone()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_there_is_refused_before_anything_is_cordoned() {
    let world = World::new().await;
    let mut nodes = relay_nodes(&world).await;
    nodes.push("ip-10-9-9-9.us-west-2.compute.internal".into());
    let ended = world.run(&book(&step("cordon", &nodes))).await.is(State::Failed);
    assert!(
        ended.error().ends_with("the cluster has no node ip-10-9-9-9.us-west-2.compute.internal"),
        "{}",
        ended.error()
    );
    assert!(cordoned(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_are_read_by_the_page() {
    let mut scenario = Scenario::default();
    for group in &mut scenario.nodegroups {
        if group.name == RELAY {
            (group.desired, group.max) = (40, 40);
        }
    }
    let world = World::of(scenario).await;
    let nodes = relay_nodes(&world).await;
    world.run(&book(&step("cordon", &nodes))).await.succeeded();
    assert_eq!(world.count("patch nodes/"), 40);
    assert_eq!((world.count("list nodes"), world.count("get nodes/")), (2, 0));
}
