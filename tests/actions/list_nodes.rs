//! `list_nodes`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{GROUP, RELAY, client, patch_node, runbook_yaml, texts};
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

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_selected_by_their_properties() {
    let cluster = TestCluster::new().await;
    let state = cluster.simulator.state().await.unwrap();
    let nodes: Vec<&String> = state.nodes.keys().collect();
    let (old, sick, cordoned) = (nodes[0], nodes[1], nodes[2]);
    let names = |with: &str| {
        let text = runbook_yaml(&step(with));
        let cluster = &cluster;
        async move {
            let ended = cluster.run(&text).await.expect_success();
            assert_eq!(texts(&ended.output("it")["names"]), names(&ended.output("it")["nodes"]));
            texts(&ended.output("it")["names"])
        }
    };
    let all: BTreeSet<String> = state.nodes.keys().cloned().collect();
    let only = |name: &String| BTreeSet::from([name.clone()]);
    let all_but = |name: &String| -> BTreeSet<String> { &all - &only(name) };
    let status = json!({"status": {"nodeInfo": {"kubeletVersion": "v1.31.9-eks-0"}}});
    patch_node_status(&cluster, old, status).await;
    let pressure =
        json!({"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"});
    patch_node_status(&cluster, sick, json!({"status": {"conditions": [pressure]}})).await;
    let taint = json!({"key": "dedicated", "value": "relay", "effect": "NoExecute"});
    let spec = json!({"unschedulable": true, "taints": [taint]});
    patch_node(&cluster, cordoned, json!({"spec": spec})).await;

    assert_eq!(names(&format!("{{nodegroup_name: {RELAY}}}")).await.len(), 3);
    assert_eq!(names("{version: '1.31'}").await, only(old));
    assert_eq!(names("{not_version: '1.31'}").await, all_but(old));
    assert_eq!(names("{conditions: {DiskPressure: true}}").await, only(sick));
    assert_eq!(names("{conditions: {DiskPressure: false}}").await, all_but(sick));
    assert_eq!(names("{cordoned: true}").await, only(cordoned));
    assert_eq!(names("{cordoned: false, version: '1.31'}").await, only(old));
    assert_eq!(names("{ready: true}").await, all);
    assert_eq!(names("{ready: false}").await, BTreeSet::new());
    let zones: BTreeSet<&str> = ["us-west-2a", "us-west-2b", "us-west-2c"].into();
    let mut in_zones = BTreeSet::new();
    for zone in zones {
        in_zones.extend(names(&format!("{{zone: {zone}}}")).await);
    }
    assert_eq!(in_zones, all);

    let ended = cluster.run(&runbook_yaml(&step("{cordoned: true}"))).await.expect_success();
    let node = &ended.output("it")["nodes"][0];
    assert_eq!(node["nodegroup"], json!(state.nodes[cordoned].nodegroup));
    assert_eq!(node["labels"]["topology.kubernetes.io/zone"], node["zone"]);
    assert!(node["version"].as_str().unwrap().starts_with("v1."));
    assert!(node["taints"].as_array().unwrap().contains(&taint), "{node}");
}

async fn patch_node_status(cluster: &TestCluster, name: &str, patch: Value) {
    let nodes: Api<Node> = Api::all(client(cluster));
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
}
