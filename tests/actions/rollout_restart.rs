//! `rollout_restart`.

use rafay_relay_sop::journal::RunState;
use serde_json::json;
use simulator::{ContainerFailure, Scenario};

use super::{
    NAMESPACE, assert_left_alone, fail_and_resume, fail_and_roll_back, image_patch,
    patch_deployment, patch_node, runbook_yaml, scenario_with_failing_image, uids_of,
};
use test_support::TestCluster;

const RESTART: &str = "  - {id: it, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry, give_up_after: 1s}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_is_replaced_once() {
    let cluster = TestCluster::new().await;
    let before = uids_of(&cluster, "rafay-sentry").await;
    let ended = cluster.run(&runbook_yaml(RESTART)).await.expect_success();
    let after = uids_of(&cluster, "rafay-sentry").await;
    assert_eq!(after.len(), before.len());
    assert!(after.is_disjoint(&before));
    let output = ended.output("it");
    assert_eq!(output["replicas"], json!(2));
    let state = cluster.simulator.state().await.unwrap();
    let stamp = &state.deployments[&format!("{NAMESPACE}/rafay-sentry")].restarted_at;
    assert_eq!(json!(stamp), output["restarted_at"]);
    assert_eq!(cluster.effective_calls(), [format!("patch deployments/{NAMESPACE}/rafay-sentry")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_restart_does_not_restart_again() {
    let cluster = TestCluster::new().await;
    let ended = fail_and_resume(&cluster, RESTART, "patch deployments/*", async || {})
        .await
        .expect_success();
    let first = ended.output("it")["restarted_at"].clone();
    assert_eq!(cluster.effective_calls(), [format!("patch deployments/{NAMESPACE}/rafay-sentry")]);
    assert!(first.as_str().unwrap().ends_with('Z'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_somebody_else_began_meanwhile_is_a_conflict() {
    let cluster = TestCluster::new().await;
    let annotation = json!({"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"});
    let theirs = json!({"spec": {"template": {"metadata": {"annotations": annotation}}}});
    let ended = fail_and_resume(&cluster, RESTART, "patch deployments/*", async || {
        patch_deployment(&cluster, "rafay-sentry", theirs).await;
    })
    .await
    .expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.contains("was changed by another client: expected none"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rollout_restart_undo_logs_that_nothing_is_restored() {
    let cluster = TestCluster::new().await;
    let ended =
        fail_and_roll_back(&cluster, RESTART, async || {}).await.expect_state(RunState::RolledBack);
    assert_left_alone(&ended, "left the new pods of deployment rafay-core/rafay-sentry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_deployment_is_refused() {
    let mut scenario = Scenario::default();
    for deployment in &mut scenario.deployments {
        deployment.paused = true;
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let ended = cluster.run(&runbook_yaml(RESTART)).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("is paused"), "{}", ended.error());
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn crashing_new_pods_fail_rollout_restart_with_the_cause() {
    for (failure, reason) in [
        (ContainerFailure::CrashLoop, "CrashLoopBackOff in container rafay-sentry"),
        (ContainerFailure::ImagePull, "ImagePull"),
    ] {
        let cluster =
            TestCluster::with_scenario(scenario_with_failing_image("broken", failure)).await;
        let image = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "rafay-sentry", "image": "registry.example.com/broken:2.0"},
        ]}}}});
        // Held back until the restart: only its pods are of the broken image.
        patch_deployment(&cluster, "rafay-sentry", json!({"spec": {"paused": true}})).await;
        patch_deployment(&cluster, "rafay-sentry", image).await;
        let steps = RESTART;
        patch_deployment(&cluster, "rafay-sentry", json!({"spec": {"paused": false}})).await;
        let ended = cluster.run(&runbook_yaml(steps)).await.expect_state(RunState::Failed);
        let error = ended.error();
        assert!(
            error.contains("rollout of deployment rafay-core/rafay-sentry is stuck"),
            "{error}"
        );
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_exceeds_its_deadline_has_failed() {
    let mut scenario = scenario_with_failing_image("broken", ContainerFailure::NeverReady);
    for deployment in &mut scenario.deployments {
        deployment.progress_deadline = 5;
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "rafay-sentry", "image": "registry.example.com/broken:2.0"},
    ]}}}});
    patch_deployment(&cluster, "rafay-sentry", image).await;
    let ended = cluster.run(&runbook_yaml(RESTART)).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("ProgressDeadlineExceeded"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_pods_without_a_node_fail_rollout_restart_with_the_cause() {
    let cluster = TestCluster::new().await;
    for name in cluster.simulator.state().await.unwrap().nodes.into_keys() {
        patch_node(&cluster, &name, json!({"spec": {"unschedulable": true}})).await;
    }
    let ended = cluster.run(&runbook_yaml(RESTART)).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.contains("rollout of deployment rafay-core/rafay-sentry is stuck"), "{error}");
    assert!(error.contains("cannot be scheduled"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_in_progress_ends_before_the_restart_or_is_refused() {
    for refuse in [false, true] {
        let mut scenario = Scenario::default();
        scenario.times.pod_start = std::time::Duration::from_mins(1);
        let cluster = TestCluster::with_scenario(scenario).await;
        patch_deployment(&cluster, "rafay-sentry", image_patch("rafay-sentry", "better")).await;
        let restart = format!("patch deployments/{NAMESPACE}/rafay-sentry");
        if !refuse {
            cluster.run(&runbook_yaml(RESTART)).await.expect_success();
            assert_eq!(cluster.effective_calls(), [restart.clone(), restart], "theirs and ours");
            continue;
        }
        let steps = RESTART.replace("1s", "1s, rollout_in_progress: refuse");
        let ended = cluster.run(&runbook_yaml(&steps)).await.expect_state(RunState::Failed);
        assert!(ended.error().contains("is in progress"), "{}", ended.error());
        assert_eq!(cluster.effective_calls(), [restart], "theirs");
    }
}
