//! `rollout_undo`.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use rafay_relay_sop::journal::{ResumeMode, RunState};
use serde_json::json;
use simulator::ContainerFailure;

use super::{
    NAMESPACE, assert_left_alone, client, fail_and_resume, fail_and_roll_back,
    failing_runbook_yaml, image_patch, patch_deployment, runbook_yaml, scenario_with_failing_image,
    uids_of,
};
use test_support::{TestCluster, wait_until_async};

const OLD: &str = "registry.example.com/rafay/rafay-sentry:1.0";

fn step(parameters: &str) -> String {
    format!(
        "  - {{id: it, action: rollout_undo, with: {{namespace: {NAMESPACE}, deployment: rafay-sentry, \
         give_up_after: 1s{parameters}}}}}\n"
    )
}

async fn deployment(cluster: &TestCluster) -> Deployment {
    let deployments: Api<Deployment> = Api::namespaced(client(cluster), NAMESPACE);
    deployments.get("rafay-sentry").await.unwrap()
}

async fn image(cluster: &TestCluster) -> String {
    let found = deployment(cluster).await;
    found.spec.template.spec.unwrap().containers[0].image.clone().unwrap()
}

/// Rolls out another image, and waits until the deployment has a number for it.
async fn roll_out(cluster: &TestCluster, image: &str) {
    let before = deployment(cluster).await.metadata.generation;
    patch_deployment(cluster, "rafay-sentry", image_patch("rafay-sentry", image)).await;
    wait_until_async("the rollout", async || {
        let found = deployment(cluster).await;
        let status = found.status.as_ref()?;
        (found.metadata.generation > before
            && status.observed_generation >= found.metadata.generation
            && status.updated_replicas == Some(2)
            && status.replicas == Some(2)
            && status.available_replicas == Some(2))
        .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_returns_to_the_revision_before() {
    let cluster = TestCluster::new().await;
    roll_out(&cluster, "two").await;
    let pods = uids_of(&cluster, "rafay-sentry").await;
    let ended = cluster.run(&runbook_yaml(&step(""))).await.expect_success();
    let output = ended.output("it");
    assert_eq!((&output["revision"], &output["before"]), (&json!(1), &json!(2)));
    assert_eq!(output["replicas"], json!(2));
    assert_eq!(image(&cluster).await, OLD);
    assert!(uids_of(&cluster, "rafay-sentry").await.is_disjoint(&pods));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_returns_to_a_named_revision_and_its_undo_goes_back() {
    let cluster = TestCluster::new().await;
    roll_out(&cluster, "two").await;
    roll_out(&cluster, "three").await;
    let ended = fail_and_roll_back(&cluster, &step(", revision: 1"), async || {
        assert_eq!(image(&cluster).await, OLD);
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_eq!(ended.output("it")["before"], json!(3));
    assert_eq!(image(&cluster).await, "registry.example.com/three:2.0");
    let state = cluster.simulator.state().await.unwrap();
    let facts = &state.deployments[&format!("{NAMESPACE}/rafay-sentry")];
    assert_eq!((facts.ready, facts.updated), (2, 2));
}

/// A rollout that is stuck is the usual reason to undo one.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_is_stuck_is_undone() {
    let failing = scenario_with_failing_image("broken", ContainerFailure::ImagePull);
    let cluster = TestCluster::with_scenario(failing).await;
    patch_deployment(&cluster, "rafay-sentry", image_patch("rafay-sentry", "broken")).await;
    wait_until_async("the new replica set", async || {
        let annotations = deployment(&cluster).await.metadata.annotations?;
        (annotations.get("deployment.kubernetes.io/revision")? == "2").then_some(())
    })
    .await;
    cluster.run(&runbook_yaml(&step(""))).await.expect_success();
    assert_eq!(image(&cluster).await, OLD);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_not_there_is_refused_with_those_that_are() {
    let cluster = TestCluster::new().await;
    for (parameters, why) in
        [("", "has no revision before the current one"), (", revision: 7", "has no revision 7")]
    {
        let ended = cluster.run(&runbook_yaml(&step(parameters))).await;
        let ended = ended.expect_state(RunState::Failed);
        assert_eq!(ended.error(), format!("deployment rafay-core/rafay-sentry {why}"));
        assert_eq!(ended.failure().hint.as_deref(), Some("its revisions are 1"));
        cluster.resume(ended.run.id(), ResumeMode::Rollback).await;
    }
    assert_eq!(cluster.effective_calls(), [""; 0]);

    // The current one is there already.
    let ended = cluster.run(&runbook_yaml(&step(", revision: 1"))).await.expect_success();
    assert_eq!(ended.output("it")["before"], json!(1));
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_another_client_changed_is_left() {
    let cluster = TestCluster::new().await;
    roll_out(&cluster, "two").await;
    let ended = fail_and_roll_back(&cluster, &step(""), async || {
        patch_deployment(&cluster, "rafay-sentry", image_patch("rafay-sentry", "theirs")).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    let left = "left the template of deployment rafay-core/rafay-sentry: another client changed it";
    assert_left_alone(&ended, left);
    assert_eq!(image(&cluster).await, "registry.example.com/theirs:2.0");

    let cluster = TestCluster::new().await;
    roll_out(&cluster, "two").await;
    let ended = fail_and_resume(&cluster, &step(""), "patch deployments/*", async || {
        patch_deployment(&cluster, "rafay-sentry", image_patch("rafay-sentry", "theirs")).await;
    })
    .await
    .expect_state(RunState::Failed);
    assert!(ended.error().contains("was changed by another client"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_revision_is_a_target_with_a_command() {
    let cluster = TestCluster::new().await.as_real();
    roll_out(&cluster, "two").await;
    let ended = cluster.run(&failing_runbook_yaml(&step(""))).await.expect_state(RunState::Failed);
    let found = ended.run.differences();
    assert_eq!(found[0].target, "deployment rafay-core/rafay-sentry revision");
    assert_eq!((&found[0].before, &found[0].now), (&json!(2), &json!(1)));
    let expected = "kubectl -n rafay-core rollout undo deployment/rafay-sentry --to-revision 2";
    assert_eq!(found[0].restore.as_deref(), Some(expected));
}
