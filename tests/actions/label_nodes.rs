//! `label_nodes` and `taint_nodes`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use rafay_relay_sop::journal::RunState;
use serde_json::{Value, json};

use super::{
    assert_left_alone, client, end_node, fail_and_resume, fail_and_roll_back, nodes_of, patch_node,
    runbook_yaml, texts,
};
use test_support::TestCluster;

async fn relay_nodes(cluster: &TestCluster) -> Vec<String> {
    nodes_of(cluster, "rafay-relay").await.into_iter().collect()
}

async fn node(cluster: &TestCluster, name: &str) -> Value {
    let nodes: Api<Node> = Api::all(client(cluster));
    json!(nodes.get(name).await.unwrap())
}

async fn label(cluster: &TestCluster, name: &str, key: &str) -> Value {
    node(cluster, name).await["metadata"]["labels"][key].clone()
}

async fn taints(cluster: &TestCluster, name: &str) -> Value {
    node(cluster, name).await["spec"]["taints"].clone()
}

async fn set_label(cluster: &TestCluster, name: &str, key: &str, value: Value) {
    patch_node(cluster, name, json!({"metadata": {"labels": {key: value}}})).await;
}

fn label_step(nodes: &[String]) -> String {
    let labels = json!({"stage": "new", "old": null});
    format!(
        "  - {{id: it, action: label_nodes, with: {{nodes: {}, labels: {labels}}}}}\n",
        json!(nodes)
    )
}

fn taint_step(nodes: &[String]) -> String {
    let taint = json!({"key": "dedicated", "value": "relay", "effect": "NoSchedule"});
    format!(
        "  - {{id: it, action: taint_nodes, with: {{nodes: {}, taints: [{taint}], remove: [{{key: old}}]}}}}\n",
        json!(nodes)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_set_and_removed_and_their_undo_restores_them() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    set_label(&cluster, &nodes[0], "stage", json!("before")).await;
    set_label(&cluster, &nodes[0], "old", json!("yes")).await;
    set_label(&cluster, &nodes[1], "stage", json!("new")).await;
    let ended = cluster.run(&runbook_yaml(&label_step(&nodes))).await.expect_success();
    let output = ended.output("it");
    assert_eq!(texts(&output["nodes"]), nodes.iter().cloned().collect());
    let changed: BTreeSet<String> = [nodes[0].clone(), nodes[2].clone()].into();
    assert_eq!(texts(&output["changed"]), changed);
    for name in &nodes {
        assert_eq!(label(&cluster, name, "stage").await, json!("new"));
        assert_eq!(label(&cluster, name, "old").await, Value::Null);
    }
    let before = cluster.effective_calls().len();
    let again = cluster.run(&runbook_yaml(&label_step(&nodes))).await.expect_success();
    assert_eq!(again.output("it")["changed"], json!([]));
    assert_eq!(cluster.effective_calls().len(), before);

    let cluster = TestCluster::new().await;
    set_label(&cluster, &nodes[0], "stage", json!("before")).await;
    set_label(&cluster, &nodes[0], "old", json!("yes")).await;
    fail_and_roll_back(&cluster, &label_step(&nodes), async || {})
        .await
        .expect_state(RunState::RolledBack);
    assert_eq!(label(&cluster, &nodes[0], "stage").await, json!("before"));
    assert_eq!(label(&cluster, &nodes[0], "old").await, json!("yes"));
    assert_eq!(label(&cluster, &nodes[1], "stage").await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_another_client_has_set_since_are_left() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    let ended = fail_and_roll_back(&cluster, &label_step(&nodes), async || {
        set_label(&cluster, &nodes[0], "stage", json!("theirs")).await;
        end_node(&cluster, &nodes[1]).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    let left = "label stage at \"theirs\": another client changed it from \"new\"";
    assert_left_alone(&ended, &format!("left node {} {left}", nodes[0]));
    assert_left_alone(&ended, &format!("node {} no longer exists", nodes[1]));
    assert_eq!(label(&cluster, &nodes[0], "stage").await, json!("theirs"));
    assert_eq!(label(&cluster, &nodes[2], "stage").await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_another_client_sets_meanwhile_is_a_conflict() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    let ended = fail_and_resume(&cluster, &label_step(&nodes[..1]), "patch nodes/*", async || {
        set_label(&cluster, &nodes[0], "stage", json!("theirs")).await;
    })
    .await
    .expect_state(RunState::Failed);
    assert!(ended.error().contains("was changed by another client"), "{}", ended.error());
    assert_eq!(label(&cluster, &nodes[0], "stage").await, json!("theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_there_fails_before_anything_is_labeled_or_tainted() {
    let cluster = TestCluster::new().await;
    let mut nodes = relay_nodes(&cluster).await;
    nodes.push("ip-10-9-9-9".into());
    let before = cluster.effective_calls().len();
    for step in [label_step(&nodes), taint_step(&nodes)] {
        let ended = cluster.run(&runbook_yaml(&step)).await.expect_state(RunState::Failed);
        assert!(ended.error().ends_with("1 node not found in the cluster: ip-10-9-9-9"));
        let id = ended.run.id();
        cluster.resume(id, rafay_relay_sop::journal::ResumeMode::Rollback).await;
    }
    assert_eq!(cluster.effective_calls().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_before_its_patch_is_gone() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    let ended = fail_and_resume(&cluster, &taint_step(&nodes), "patch nodes/*", async || {
        end_node(&cluster, &nodes[0]).await;
    })
    .await
    .expect_success();
    assert_eq!(ended.output("it")["gone"], json!([nodes[0]]));
    assert_eq!(texts(&ended.output("it")["nodes"]), nodes[1..].iter().cloned().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn taints_are_set_and_removed_and_their_undo_restores_them() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    let other = json!({"key": "other", "effect": "PreferNoSchedule"});
    let old = json!({"key": "old", "value": "1", "effect": "PreferNoSchedule"});
    let theirs = json!({"spec": {"taints": [other, old]}});
    patch_node(&cluster, &nodes[0], theirs.clone()).await;
    let set = json!({"key": "dedicated", "value": "relay", "effect": "NoSchedule"});
    let ended = cluster.run(&runbook_yaml(&taint_step(&nodes))).await.expect_success();
    assert_eq!(texts(&ended.output("it")["changed"]), nodes.iter().cloned().collect());
    assert_eq!(taints(&cluster, &nodes[0]).await, json!([other, set]));
    assert_eq!(taints(&cluster, &nodes[1]).await, json!([set]));

    let cluster = TestCluster::new().await;
    patch_node(&cluster, &nodes[0], theirs).await;
    let ended = fail_and_roll_back(&cluster, &taint_step(&nodes), async || {
        let theirs = json!({"key": "dedicated", "value": "theirs", "effect": "NoSchedule"});
        patch_node(&cluster, &nodes[1], json!({"spec": {"taints": [theirs]}})).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_eq!(taints(&cluster, &nodes[0]).await, json!([other, old]));
    assert_eq!(taints(&cluster, &nodes[1]).await[0]["value"], json!("theirs"));
    assert_eq!(taints(&cluster, &nodes[2]).await, Value::Null);
    let left = "taint dedicated:NoSchedule at \"theirs\": another client changed it from \"relay\"";
    assert_left_alone(&ended, &format!("left node {} {left}", nodes[1]));
}
