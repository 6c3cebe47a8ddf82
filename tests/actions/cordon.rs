//! `cordon` and `uncordon`.

use std::collections::BTreeSet;

use rafay_relay_sop::journal::RunState;
use serde_json::json;
use simulator::Scenario;

use super::{
    RELAY, assert_left_alone, cordoned, fail_and_resume, fail_and_roll_back, patch_node,
    runbook_yaml, texts,
};
use test_support::TestCluster;

const CORDONED_BY: &str = "rafay-relay-sop/cordoned-by";

async fn relay_nodes(cluster: &TestCluster) -> Vec<String> {
    let state = cluster.simulator.state().await.unwrap();
    let is_relay = |(_, node): &(_, simulator::NodeFacts)| node.nodegroup.as_deref() == Some(RELAY);
    state.nodes.into_iter().filter(is_relay).map(|(name, _)| name).collect()
}

fn step(action: &str, nodes: &[String]) -> String {
    format!("  - {{id: it, action: {action}, with: {{nodes: {}}}}}\n", json!(nodes))
}

async fn cordon_as_other_client(cluster: &TestCluster, node: &str, cordon: bool) {
    patch_node(cluster, node, json!({"spec": {"unschedulable": cordon}})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cordon_is_undone_only_where_the_run_set_it() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    cordon_as_other_client(&cluster, &nodes[0], true).await;
    let before = cluster.effective_calls().len();
    let ended = cluster.run(&runbook_yaml(&step("cordon", &nodes))).await.expect_success();
    assert_eq!(texts(&ended.output("it")["nodes"]), nodes.iter().cloned().collect());
    assert_eq!(texts(&ended.output("it")["changed"]), nodes[1..].iter().cloned().collect());
    assert_eq!(cordoned(&cluster).await, nodes.iter().cloned().collect());
    assert_eq!(cluster.effective_calls().len(), before + 2, "one patch a node");

    let cluster = TestCluster::new().await;
    cordon_as_other_client(&cluster, &nodes[0], true).await;
    let ended = fail_and_roll_back(&cluster, &step("cordon", &nodes), async || {}).await;
    ended.expect_state(RunState::RolledBack);
    assert_eq!(cordoned(&cluster).await, BTreeSet::from([nodes[0].clone()]));
    let state = cluster.simulator.state().await.unwrap();
    assert!(!state.nodes[&nodes[1]].annotations.contains_key(CORDONED_BY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordon_set_by_another_client_is_not_claimed_by_the_run() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    let ended =
        fail_and_resume(&cluster, &step("cordon", &nodes[..1]), "patch nodes/*", async || {
            cordon_as_other_client(&cluster, &nodes[0], true).await;
        })
        .await
        .expect_success();
    assert_eq!(ended.output("it")["changed"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn cordon_undo_leaves_nodes_claimed_by_others() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    let ended = fail_and_roll_back(&cluster, &step("cordon", &nodes), async || {
        let theirs = json!({"metadata": {"annotations": {CORDONED_BY: null}}});
        patch_node(&cluster, &nodes[0], theirs).await;
        cordon_as_other_client(&cluster, &nodes[1], false).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_left_alone(&ended, &format!("left node {} cordoned", nodes[0]));
    assert_eq!(cordoned(&cluster).await, BTreeSet::from([nodes[0].clone()]));
    let state = cluster.simulator.state().await.unwrap();
    assert!(!state.nodes[&nodes[1]].annotations.contains_key(CORDONED_BY), "it says no untruth");
}

#[tokio::test(flavor = "multi_thread")]
async fn uncordon_is_undone_only_where_the_run_cleared_it() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    cordon_as_other_client(&cluster, &nodes[0], true).await;
    let ended = cluster.run(&runbook_yaml(&step("uncordon", &nodes))).await.expect_success();
    assert_eq!(ended.output("it")["changed"], json!([nodes[0]]));
    assert!(cordoned(&cluster).await.is_empty());

    cordon_as_other_client(&cluster, &nodes[0], true).await;
    fail_and_roll_back(&cluster, &step("uncordon", &nodes), async || {})
        .await
        .expect_state(RunState::RolledBack);
    assert_eq!(cordoned(&cluster).await, BTreeSet::from([nodes[0].clone()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_there_is_refused_before_anything_is_cordoned() {
    let cluster = TestCluster::new().await;
    let mut nodes = relay_nodes(&cluster).await;
    nodes.push("ip-10-9-9-9.us-west-2.compute.internal".into());
    let ended =
        cluster.run(&runbook_yaml(&step("cordon", &nodes))).await.expect_state(RunState::Failed);
    assert!(
        ended.error().contains("not found in the cluster: ip-10-9-9-9.us-west-2.compute.internal"),
        "{}",
        ended.error()
    );
    assert!(cordoned(&cluster).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn cordon_reads_many_nodes_by_the_page() {
    let mut scenario = Scenario::default();
    for group in &mut scenario.nodegroups {
        if group.name == RELAY {
            (group.desired, group.max) = (40, 40);
        }
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let nodes = relay_nodes(&cluster).await;
    cluster.run(&runbook_yaml(&step("cordon", &nodes))).await.expect_success();
    assert_eq!(cluster.count_calls("patch nodes/"), 40);
    assert_eq!((cluster.count_calls("list nodes"), cluster.count_calls("get nodes/")), (2, 0));
}
