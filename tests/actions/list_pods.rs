//! `list_pods`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use rafay_relay_sop::journal::RunState;
use serde_json::json;

use super::{NAMESPACE, create, nodes_of, runbook_yaml, texts, uids, uids_of};
use test_support::TestCluster;

const RELAY: &str =
    "  - {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_deployments_pods_are_listed_with_their_nodes_and_instances() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&runbook_yaml(RELAY)).await.expect_success();
    let listed = ended.output("relay");
    assert_eq!(listed["count"], json!(3));
    assert_eq!(uids(&listed["pods"]), uids_of(&cluster, "rafay-relay").await);
    assert_eq!(texts(&listed["nodes"]), nodes_of(&cluster, "rafay-relay").await);
    let state = cluster.simulator.state().await.unwrap();
    let instances: BTreeSet<String> =
        state.nodegroups[super::RELAY].instances.keys().cloned().collect();
    assert_eq!(texts(&listed["instances"]), instances);
    for pod in listed["pods"].as_array().unwrap() {
        assert_eq!((&pod["namespace"], &pod["ready"]), (&json!(NAMESPACE), &json!(true)));
        let instance = pod["instance"].as_str().unwrap();
        assert_eq!(state.nodegroups[super::RELAY].instances[instance].node, pod["node"]);
    }
}

/// A pod that merely carries the right labels.
async fn create_pod_with_same_labels(cluster: &TestCluster) {
    create::<Pod>(
        cluster,
        json!({
            "metadata": {"name": "impostor", "namespace": NAMESPACE, "labels": {"app": "rafay-relay"}},
            "spec": {"containers": [{"name": "c", "image": "registry.example.com/app:1.0"}]},
        }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list_pods_excludes_pods_that_only_share_labels() {
    let cluster = TestCluster::new().await;
    create_pod_with_same_labels(&cluster).await;
    let by_selector = "  - {id: all, action: list_pods, with: {namespace: rafay-core, selector: 'app=rafay-relay'}}\n";
    let ended = cluster.run(&runbook_yaml(&format!("{RELAY}{by_selector}"))).await.expect_success();
    assert_eq!(ended.output("relay")["count"], json!(3));
    assert_eq!(ended.output("all")["count"], json!(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_not_there_is_named() {
    let cluster = TestCluster::new().await;
    let ended = cluster
        .run(&runbook_yaml(&RELAY.replace("rafay-relay", "raffay")))
        .await
        .expect_state(RunState::Failed);
    assert!(ended.error().ends_with("deployment rafay-core/raffay not found"), "{}", ended.error());
}
