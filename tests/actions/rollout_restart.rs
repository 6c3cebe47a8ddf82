//! `rollout_restart`.

use rafay_relay_sop::{
    journal::State,
    simulator::{ContainerFailure, Scenario},
};
use serde_json::json;

use super::{SPACE, book, broken, left_alone, patch_deployment, resumed, rolled_back, uids_of};
use crate::support::World;

const RESTART: &str = "  - {id: it, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry, give_up_after: 1s}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_is_replaced_once() {
    let world = World::new().await;
    let before = uids_of(&world, "rafay-sentry").await;
    let ended = world.run(&book(RESTART)).await.succeeded();
    let after = uids_of(&world, "rafay-sentry").await;
    assert_eq!(after.len(), before.len());
    assert!(after.is_disjoint(&before));
    let output = ended.output("it");
    assert_eq!(output["replicas"], json!(2));
    let state = world.simulator.state().await.unwrap();
    let stamp = &state.deployments[&format!("{SPACE}/rafay-sentry")].restarted_at;
    assert_eq!(json!(stamp), output["restarted_at"]);
    assert_eq!(world.effective(), [format!("patch deployments/{SPACE}/rafay-sentry")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_restart_does_not_restart_again() {
    let world = World::new().await;
    let ended = resumed(&world, RESTART, "patch deployments/*", async || {}).await.succeeded();
    let first = ended.output("it")["restarted_at"].clone();
    assert_eq!(world.effective(), [format!("patch deployments/{SPACE}/rafay-sentry")]);
    assert!(first.as_str().unwrap().ends_with('Z'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_somebody_else_began_meanwhile_is_a_conflict() {
    let world = World::new().await;
    let annotation = json!({"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"});
    let theirs = json!({"spec": {"template": {"metadata": {"annotations": annotation}}}});
    let ended = resumed(&world, RESTART, "patch deployments/*", async || {
        patch_deployment(&world, "rafay-sentry", theirs).await;
    })
    .await
    .is(State::Failed);
    let error = ended.error();
    assert!(error.contains("was changed by somebody else meanwhile: expected none"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_undo_says_that_there_is_none() {
    let world = World::new().await;
    let ended = rolled_back(&world, RESTART, async || {}).await.is(State::RolledBack);
    left_alone(&ended, "deployment rafay-core/rafay-sentry keeps its new pods");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_deployment_is_refused() {
    let mut scenario = Scenario::default();
    for deployment in &mut scenario.deployments {
        deployment.paused = true;
    }
    let world = World::of(scenario).await;
    let ended = world.run(&book(RESTART)).await.is(State::Failed);
    assert!(ended.error().contains("is paused"), "{}", ended.error());
    assert_eq!(world.effective(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_pods_that_crash_end_the_wait_with_the_cause() {
    for (failure, reason) in [
        (ContainerFailure::CrashLoop, "CrashLoopBackOff in container rafay-sentry"),
        (ContainerFailure::ImagePull, "ImagePull"),
    ] {
        let world = World::of(broken("broken", failure)).await;
        let image = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "rafay-sentry", "image": "registry.example.com/broken:2.0"},
        ]}}}});
        // Held back until the restart: only its pods are of the broken image.
        patch_deployment(&world, "rafay-sentry", json!({"spec": {"paused": true}})).await;
        patch_deployment(&world, "rafay-sentry", image).await;
        let steps = RESTART;
        patch_deployment(&world, "rafay-sentry", json!({"spec": {"paused": false}})).await;
        let ended = world.run(&book(steps)).await.is(State::Failed);
        let error = ended.error();
        assert!(error.contains("the rollout of deployment rafay-core/rafay-sentry"), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_exceeds_its_deadline_has_failed() {
    let mut scenario = broken("broken", ContainerFailure::NeverReady);
    for deployment in &mut scenario.deployments {
        deployment.progress_deadline = 5;
    }
    let world = World::of(scenario).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "rafay-sentry", "image": "registry.example.com/broken:2.0"},
    ]}}}});
    patch_deployment(&world, "rafay-sentry", image).await;
    let ended = world.run(&book(RESTART)).await.is(State::Failed);
    assert!(ended.error().contains("ProgressDeadlineExceeded"), "{}", ended.error());
}
