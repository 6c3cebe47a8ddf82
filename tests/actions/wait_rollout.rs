//! `wait_rollout`.

use std::time::Duration;

use rafay_relay_sop::journal::RunState;
use serde_json::json;
use simulator::{ContainerFailure, Scenario, Spread};

use super::{
    image_patch, patch_deployment, runbook_yaml, scenario_with_failing_image, uids, uids_of,
};
use test_support::TestCluster;

const WAIT: &str = "  - {id: it, action: wait_rollout, with: {namespace: rafay-core, deployment: relay-cache, give_up_after: 1s}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn wait_rollout_waits_for_its_end_and_not_for_ready_pods() {
    // More pods than fit are no rollout.
    let mut scenario = Scenario::default();
    for deployment in &mut scenario.deployments {
        deployment.spread = Spread::Required;
    }
    scenario.times.pod_start = Duration::from_mins(1);
    let cluster = TestCluster::with_scenario(scenario).await;
    patch_deployment(&cluster, "relay-cache", json!({"spec": {"replicas": 9}})).await;
    let ended = cluster.run(&runbook_yaml(WAIT)).await.expect_success();
    assert_eq!(ended.output("it")["replicas"], json!(9));

    let cluster = TestCluster::new().await;
    let before = uids_of(&cluster, "relay-cache").await;
    patch_deployment(&cluster, "relay-cache", image_patch("relay-cache", "better")).await;
    let ended = cluster.run(&runbook_yaml(WAIT)).await.expect_success();
    let after = uids(&ended.output("it")["pods"]);
    assert_eq!(after.len(), before.len());
    assert!(after.is_disjoint(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_or_paused_rollout_fails_wait_rollout_with_the_cause() {
    let scenario = || scenario_with_failing_image("broken", ContainerFailure::CrashLoop);
    let cluster = TestCluster::with_scenario(scenario()).await;
    patch_deployment(&cluster, "relay-cache", image_patch("relay-cache", "broken")).await;
    let ended = cluster.run(&runbook_yaml(WAIT)).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.contains("rollout of deployment rafay-core/relay-cache is stuck"), "{error}");
    assert!(error.contains("CrashLoopBackOff"), "{error}");

    let cluster = TestCluster::with_scenario(scenario()).await;
    patch_deployment(&cluster, "relay-cache", image_patch("relay-cache", "broken")).await;
    test_support::wait_until_async("a pod of the new revision", async || {
        let state = cluster.simulator.state().await.unwrap();
        (state.deployments["rafay-core/relay-cache"].updated > 0).then_some(())
    })
    .await;
    patch_deployment(&cluster, "relay-cache", json!({"spec": {"paused": true}})).await;
    let patient = WAIT.replace("1s", "4m");
    let ended = cluster.run(&runbook_yaml(&patient)).await.expect_state(RunState::Failed);
    assert!(
        ended.error().contains("relay-cache is paused: there are pods of 2"),
        "{}",
        ended.error()
    );
}
