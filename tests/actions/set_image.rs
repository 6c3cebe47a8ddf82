//! `set_image`.

use rafay_relay_sop::journal::{ResumeMode, RunState};
use serde_json::{Value, json};
use simulator::ContainerFailure;

use super::{
    NAMESPACE, assert_left_alone, fail_and_resume, fail_and_roll_back, failing_runbook_yaml,
    image_patch, patch_deployment, rollout_restart::OTHER_SETS, runbook_yaml,
    scenario_with_failing_image, uids_of,
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use test_support::TestCluster;

const OLD: &str = "registry.example.com/rafay/rafay-sentry:1.0";
const NEW: &str = "registry.example.com/rafay/rafay-sentry:2.0";

fn step(images: &Value) -> String {
    format!(
        "  - {{id: it, action: set_image, with: {{namespace: {NAMESPACE}, deployment: rafay-sentry, \
         give_up_after: 1s, images: {images}}}}}\n"
    )
}

fn to_new() -> String {
    step(&json!({"rafay-sentry": NEW}))
}

async fn image(cluster: &TestCluster) -> String {
    let deployments: Api<Deployment> = Api::namespaced(super::client(cluster), NAMESPACE);
    let found = deployments.get("rafay-sentry").await.unwrap();
    found.spec.template.spec.unwrap().containers[0].image.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_set_and_rolled_out() {
    let cluster = TestCluster::new().await;
    let before = uids_of(&cluster, "rafay-sentry").await;
    let ended = cluster.run(&runbook_yaml(&to_new())).await.expect_success();
    let output = ended.output("it");
    assert_eq!(output["images"], json!({"rafay-sentry": NEW}));
    assert_eq!(output["before"], json!({"rafay-sentry": OLD}));
    assert_eq!((&output["name"], &output["replicas"]), (&json!("rafay-sentry"), &json!(2)));
    assert_eq!(image(&cluster).await, NEW);
    assert!(uids_of(&cluster, "rafay-sentry").await.is_disjoint(&before));

    // The same again changes nothing.
    let calls = cluster.effective_calls();
    cluster.run(&runbook_yaml(&to_new())).await.expect_success();
    assert_eq!(cluster.effective_calls(), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn set_image_undo_restores_the_former_image_and_waits_for_its_pods() {
    let cluster = TestCluster::new().await;
    fail_and_roll_back(&cluster, &to_new(), async || {}).await.expect_state(RunState::RolledBack);
    assert_eq!(image(&cluster).await, OLD);
    let state = cluster.simulator.state().await.unwrap();
    let facts = &state.deployments[&format!("{NAMESPACE}/rafay-sentry")];
    assert_eq!((facts.ready, facts.updated), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_start_fails_set_image_and_is_undone() {
    let failing = scenario_with_failing_image("broken", ContainerFailure::ImagePull);
    let cluster = TestCluster::with_scenario(failing).await;
    let broken = step(&json!({"rafay-sentry": "registry.example.com/broken:2.0"}));
    let ended = cluster.run(&runbook_yaml(&broken)).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(
        error.starts_with("rollout of deployment rafay-core/rafay-sentry is stuck: pod "),
        "{error}"
    );
    assert!(error.contains("ImagePull"), "{error}");
    let id = ended.run.id();
    cluster.resume(id, ResumeMode::Rollback).await.expect_state(RunState::RolledBack);
    assert_eq!(image(&cluster).await, OLD);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_another_client_set_is_left() {
    let cluster = TestCluster::new().await;
    let ended = fail_and_roll_back(&cluster, &to_new(), async || {
        patch_deployment(&cluster, "rafay-sentry", image_patch("rafay-sentry", "theirs")).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_left_alone(
        &ended,
        &format!(
            "image of container rafay-sentry at registry.example.com/theirs:2.0: another client changed it from {NEW}"
        ),
    );
    assert_eq!(image(&cluster).await, "registry.example.com/theirs:2.0");

    let cluster = TestCluster::new().await;
    let ended = fail_and_resume(&cluster, &to_new(), "patch deployments/*", async || {
        patch_deployment(&cluster, "rafay-sentry", image_patch("rafay-sentry", "theirs")).await;
    })
    .await
    .expect_state(RunState::Failed);
    assert!(ended.error().contains("was changed by another client"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_not_there_is_refused_with_the_names() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&runbook_yaml(&step(&json!({"sidecar": NEW})))).await;
    let ended = ended.expect_state(RunState::Failed);
    let error = "deployment rafay-core/rafay-sentry has no container with the name sidecar";
    assert_eq!(ended.error(), error);
    assert_eq!(ended.failure().hint.as_deref(), Some("it has: rafay-sentry"));
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_sets_and_daemon_sets_get_images_and_keep_their_other_containers() {
    for workload in OTHER_SETS {
        let cluster = TestCluster::new().await;
        workload.create(&cluster, "RollingUpdate").await;
        let with = format!("{}, images: {{db: 'registry.example.com/db:2'}}", workload.parameter);
        let step = format!(
            "  - {{id: it, action: set_image, with: {{namespace: {NAMESPACE}, {with}}}}}\n"
        );
        let ended = cluster.run(&runbook_yaml(&step)).await.expect_success();
        assert_eq!(ended.output("it")["name"], json!("db"));
        let now = workload.get(&cluster).await;
        let containers = &now.data["spec"]["template"]["spec"]["containers"];
        let images: Vec<&Value> =
            containers.as_array().unwrap().iter().map(|container| &container["image"]).collect();
        let expected = ["registry.example.com/db:2", "registry.example.com/agent:1"];
        assert_eq!(images, expected);
    }
}

/// The last step fails, so the undo is planned: a plan names each container.
#[tokio::test(flavor = "multi_thread")]
async fn the_changed_containers_are_targets() {
    let cluster = TestCluster::new().await.as_real();
    let ended = cluster.run(&failing_runbook_yaml(&to_new())).await.expect_state(RunState::Failed);
    let found = ended.run.differences();
    assert_eq!(found.len(), 1);
    let target = "deployment rafay-core/rafay-sentry image of container rafay-sentry";
    assert_eq!((found[0].target.as_str(), &found[0].now), (target, &json!(NEW)));
    let restore = found[0].restore.as_ref().unwrap();
    let command = "kubectl -n rafay-core set image deployment/rafay-sentry";
    let expected = format!("{command} 'rafay-sentry={OLD}'");
    assert_eq!(restore, &expected);
}
