//! `list_nodes`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{GROUP, RELAY, patch_node, runbook_yaml, texts};
use test_support::TestCluster;

fn step(with: &str) -> String {
    format!("  - {{id: it, action: list_nodes, with: {with}}}\n")
}

fn names(nodes: &Value) -> BTreeSet<String> {
    let name = |node: &Value| node["name"].as_str().unwrap().to_owned();
    nodes.as_array().unwrap().iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_a_nodegroup_are_listed_with_their_state() {
    let cluster = TestCluster::new().await;
    let state = cluster.simulator.state().await.unwrap();
    let members = &state.nodegroups[RELAY].instances;
    let cordoned = members.values().next().unwrap().node.clone();
    patch_node(&cluster, &cordoned, json!({"spec": {"unschedulable": true}})).await;
    let text = runbook_yaml(&step(&format!("{{nodegroup: {GROUP}}}")));
    let ended = cluster.run(&text).await.expect_success();
    let output = ended.output("it");
    assert_eq!(output["count"], json!(3));
    assert_eq!(names(&output["nodes"]), members.values().map(|i| i.node.clone()).collect());
    assert_eq!(texts(&output["cordoned"]), [cordoned.clone()].into());
    for node in output["nodes"].as_array().unwrap() {
        let facts = &state.nodes[node["name"].as_str().unwrap()];
        assert_eq!((&node["uid"], &node["instance"]), (&json!(facts.uid), &json!(facts.instance)));
        assert_eq!(node["ready"], json!(true));
        assert_eq!(node["cordoned"], json!(node["name"] == json!(cordoned)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_selected_by_label_or_all_listed() {
    let cluster = TestCluster::new().await;
    let state = cluster.simulator.state().await.unwrap();
    let all: BTreeSet<String> = state.nodes.keys().cloned().collect();
    let ended = cluster.run(&runbook_yaml(&step("{}"))).await.expect_success();
    assert_eq!(names(&ended.output("it")["nodes"]), all);
    let of_relay = format!("{{selector: 'eks.amazonaws.com/nodegroup={RELAY}'}}");
    let ended = cluster.run(&runbook_yaml(&step(&of_relay))).await.expect_success();
    assert_eq!(ended.output("it")["count"], json!(3));
    let both = format!("{{nodegroup: {GROUP}, selector: 'track=canary'}}");
    let ended = cluster.run(&runbook_yaml(&step(&both))).await.expect_success();
    assert_eq!(ended.output("it")["nodes"], json!([]));
}
