//! `list_pods`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use rafay_relay_sop::journal::State;
use serde_json::json;

use super::{SPACE, book, create, nodes_of, texts, uids, uids_of};
use crate::support::World;

const RELAY: &str =
    "  - {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_deployments_pods_are_listed_with_their_nodes_and_instances() {
    let world = World::new().await;
    let ended = world.run(&book(RELAY)).await.succeeded();
    let listed = ended.output("relay");
    assert_eq!(listed["count"], json!(3));
    assert_eq!(uids(&listed["pods"]), uids_of(&world, "rafay-relay").await);
    assert_eq!(texts(&listed["nodes"]), nodes_of(&world, "rafay-relay").await);
    let state = world.simulator.state().await.unwrap();
    let instances: BTreeSet<String> =
        state.nodegroups[super::RELAY].instances.keys().cloned().collect();
    assert_eq!(texts(&listed["instances"]), instances);
    for pod in listed["pods"].as_array().unwrap() {
        assert_eq!((&pod["namespace"], &pod["ready"]), (&json!(SPACE), &json!(true)));
        let instance = pod["instance"].as_str().unwrap();
        assert_eq!(state.nodegroups[super::RELAY].instances[instance].node, pod["node"]);
    }
}

/// A pod that merely carries the right labels.
async fn impostor(world: &World) {
    create::<Pod>(
        world,
        json!({
            "metadata": {"name": "impostor", "namespace": SPACE, "labels": {"app": "rafay-relay"}},
            "spec": {"containers": [{"name": "c", "image": "registry.example.com/app:1.0"}]},
        }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_alone_do_not_make_a_pod_the_deployments() {
    let world = World::new().await;
    impostor(&world).await;
    let by_selector = "  - {id: all, action: list_pods, with: {namespace: rafay-core, selector: 'app=rafay-relay'}}\n";
    let ended = world.run(&book(&format!("{RELAY}{by_selector}"))).await.succeeded();
    assert_eq!(ended.output("relay")["count"], json!(3));
    assert_eq!(ended.output("all")["count"], json!(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_not_there_is_named() {
    let world = World::new().await;
    let ended = world.run(&book(&RELAY.replace("rafay-relay", "raffay"))).await.is(State::Failed);
    assert!(
        ended.error().ends_with("there is no deployment rafay-core/raffay"),
        "{}",
        ended.error()
    );
}
