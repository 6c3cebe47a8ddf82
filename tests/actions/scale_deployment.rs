//! `scale_deployment`.

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Pod, ResourceQuota},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rafay_relay_sop::journal::RunState;
use serde_json::{Value, json};
use simulator::{ContainerFailure, Scenario, Spread};

use super::{
    NAMESPACE, assert_left_alone, assert_line, client, create, delete_pod, fail_and_resume,
    fail_and_roll_back, fail_nth_and_resume, image_patch, patch_deployment, pods_of, replicas,
    runbook_yaml, scenario_with_failing_image, uids, uids_of,
};
use test_support::{TestCluster, wait_until_async};

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SCALE: &str = "patch deployments/rafay-core/relay-cache/scale";

fn scale(to: u32, more: &str) -> String {
    format!(
        "  - {{id: it, action: scale_deployment, with: {{namespace: rafay-core, deployment: relay-cache, replicas: {to}, give_up_after: 1s{more}}}}}\n"
    )
}

/// A world in which relay-cache has this many pods.
fn scenario_with_cache_pods(replicas: u32) -> Scenario {
    let mut scenario = Scenario::default();
    for deployment in &mut scenario.deployments {
        if deployment.name == "relay-cache" {
            (deployment.replicas, deployment.spread) = (replicas, Spread::None);
        }
    }
    scenario
}

/// Some of the pods, as a parameter: those that would otherwise go first.
async fn pods_to_keep(cluster: &TestCluster, count: usize) -> Vec<Value> {
    let mut pods = pods_of(cluster, "relay-cache").await;
    pods.sort_by(|a, b| a.1.uid.cmp(&b.1.uid));
    let record = |(name, pod): &(String, _)| {
        let pod: &simulator::PodFacts = pod;
        json!({"namespace": NAMESPACE, "name": name, "uid": pod.uid})
    };
    pods[..count].iter().map(record).collect()
}

fn keep(pods: &[Value]) -> String {
    format!(", keep: {}", json!(pods))
}

async fn count_pods_with_cost(cluster: &TestCluster) -> usize {
    let pods = pods_of(cluster, "relay-cache").await;
    pods.iter().filter(|(_, pod)| pod.annotations.contains_key(COST)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_deployment_returns_the_new_pods_once_ready() {
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(2)).await;
    let before = uids_of(&cluster, "relay-cache").await;
    let ended = cluster.run(&runbook_yaml(&scale(5, ""))).await.expect_success();
    let output = ended.output("it");
    assert_eq!(uids(&output["before"]["pods"]), before);
    assert_eq!((&output["before"]["replicas"], &output["replicas"]), (&json!(2), &json!(5)));
    assert_eq!(uids(&output["pods"]), uids_of(&cluster, "relay-cache").await);
    assert_eq!(output["new_pods"].as_array().unwrap().len(), 3);
    assert!(uids(&output["new_pods"]).is_disjoint(&before));
    assert_eq!(cluster.effective_calls(), [SCALE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_deployment_keeps_the_listed_pods_with_two_calls_each() {
    for _ in 0..3 {
        let cluster = TestCluster::with_scenario(scenario_with_cache_pods(6)).await;
        let chosen = pods_to_keep(&cluster, 2).await;
        let ended = cluster.run(&runbook_yaml(&scale(2, &keep(&chosen)))).await.expect_success();
        assert_eq!(uids(&ended.output("it")["pods"]), uids(&json!(chosen)));
        assert_eq!(uids_of(&cluster, "relay-cache").await, uids(&json!(chosen)));
        assert_eq!(count_pods_with_cost(&cluster).await, 0, "the marks are gone");
        let marks =
            cluster.effective_calls().iter().filter(|call| call.starts_with("patch pods/")).count();
        assert_eq!(marks, 4);
        assert_eq!(cluster.effective_calls().len(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_cost_set_by_another_client_is_restored() {
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(3)).await;
    let chosen = pods_to_keep(&cluster, 1).await;
    let pods: Api<Pod> = Api::namespaced(client(&cluster), NAMESPACE);
    let cost = json!({"metadata": {"annotations": {COST: "7"}}});
    let name = chosen[0]["name"].as_str().unwrap();
    pods.patch(name, &PatchParams::default(), &Patch::Merge(cost)).await.unwrap();
    cluster.run(&runbook_yaml(&scale(1, &keep(&chosen)))).await.expect_success();
    let left = pods_of(&cluster, "relay-cache").await;
    assert_eq!(left[0].1.annotations[COST], "7");
    assert!(!left[0].1.annotations.contains_key("rafay-relay-sop/deletion-cost-before"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_leaves_no_deletion_cost_and_a_resumed_run_sets_it_again() {
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(5)).await;
    let chosen = pods_to_keep(&cluster, 2).await;
    let steps = scale(2, &keep(&chosen));
    let ended = fail_and_resume(&cluster, &steps, SCALE, async || {
        assert_eq!(count_pods_with_cost(&cluster).await, 0);
    })
    .await;
    ended.expect_success();
    assert_eq!(uids_of(&cluster, "relay-cache").await, uids(&json!(chosen)));
    assert_eq!(count_pods_with_cost(&cluster).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_deployment_undo_keeps_the_original_pods() {
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(3)).await;
    let before = uids_of(&cluster, "relay-cache").await;
    fail_and_roll_back(&cluster, &scale(6, ""), async || {})
        .await
        .expect_state(RunState::RolledBack);
    assert_eq!(uids_of(&cluster, "relay-cache").await, before);
    assert_eq!(replicas(&cluster, "relay-cache").await, 3);
    assert_eq!(count_pods_with_cost(&cluster).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_deployment_undo_restores_the_replica_count() {
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(4)).await;
    fail_and_roll_back(&cluster, &scale(1, ""), async || {})
        .await
        .expect_state(RunState::RolledBack);
    assert_eq!(uids_of(&cluster, "relay-cache").await.len(), 4);
}

/// The number is restored; what the quota refuses is told.
#[tokio::test(flavor = "multi_thread")]
async fn scale_deployment_undo_does_not_wait_for_pods_that_a_quota_refuses() {
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(4)).await;
    let uids = uids_of(&cluster, "relay-cache").await;
    let ended = fail_and_roll_back(&cluster, &scale(1, ""), async || {
        let quota = json!({
            "metadata": {"name": "small", "namespace": NAMESPACE},
            "spec": {"hard": {"count/pods": "0"}},
        });
        create::<ResourceQuota>(&cluster, quota).await;
        wait_until_async("the quota", async || {
            let quotas: Api<ResourceQuota> = Api::namespaced(client(&cluster), NAMESPACE);
            let used = quotas.get("small").await.unwrap().status?.used?;
            used.contains_key("count/pods").then_some(())
        })
        .await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_left_alone(&ended, "to have 4 pods: it has 1, and pods cannot be created: ");
    assert_eq!(replicas(&cluster, "relay-cache").await, 4);
    assert!(uids_of(&cluster, "relay-cache").await.is_subset(&uids));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_count_set_by_another_client_is_kept() {
    let theirs = json!({"spec": {"replicas": 4}});
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(2)).await;
    let ended = fail_and_resume(&cluster, &scale(6, ""), SCALE, async || {
        patch_deployment(&cluster, "relay-cache", theirs.clone()).await;
    })
    .await
    .expect_state(RunState::Failed);
    let target = "deployment rafay-core/relay-cache replicas was changed by another client: expected 2, found 4";
    assert!(ended.error().contains(target), "{}", ended.error());

    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(2)).await;
    let ended = fail_and_roll_back(&cluster, &scale(6, ""), async || {
        patch_deployment(&cluster, "relay-cache", theirs.clone()).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_left_alone(&ended, "expected 6, found 4");
    assert_eq!(replicas(&cluster, "relay-cache").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn unschedulable_pods_fail_scale_deployment_with_their_names() {
    let mut scenario = Scenario::default();
    for deployment in &mut scenario.deployments {
        if deployment.name == "relay-cache" {
            deployment.spread = Spread::Required;
        }
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let ended = cluster.run(&runbook_yaml(&scale(4, ""))).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.contains(" of 4 pods of deployment rafay-core/relay-cache Ready"), "{error}");
    assert!(error.contains("cannot be scheduled: 0/"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn crashing_pods_fail_scale_deployment_with_the_cause() {
    let cluster = TestCluster::with_scenario(scenario_with_failing_image(
        "relay-cache",
        ContainerFailure::CrashLoop,
    ))
    .await;
    let ended = cluster.run(&runbook_yaml(&scale(4, ""))).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("CrashLoopBackOff"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_to_keep_that_is_not_ready_fails_scale_deployment() {
    let cluster = TestCluster::with_scenario(scenario_with_failing_image(
        "relay-cache",
        ContainerFailure::CrashLoop,
    ))
    .await;
    let chosen = pods_to_keep(&cluster, 1).await;
    let ended =
        cluster.run(&runbook_yaml(&scale(1, &keep(&chosen)))).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("a pod to keep is not Ready"), "{}", ended.error());
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_to_keep_must_be_the_deployments_and_there() {
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(3)).await;
    let relay = pods_of(&cluster, "rafay-relay").await;
    let stranger = json!({"namespace": NAMESPACE, "name": relay[0].0, "uid": relay[0].1.uid});
    let mut chosen = pods_to_keep(&cluster, 1).await;
    chosen.push(stranger);
    let ended =
        cluster.run(&runbook_yaml(&scale(2, &keep(&chosen)))).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("does not belong to the deployment"), "{}", ended.error());

    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(3)).await;
    let gone = [json!({"namespace": NAMESPACE, "name": "gone", "uid": "1"})];
    let ended =
        cluster.run(&runbook_yaml(&scale(2, &keep(&gone)))).await.expect_state(RunState::Failed);
    assert!(ended.error().ends_with("none of the pods to keep exists: gone"), "{}", ended.error());
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaled_deployment_is_refused_with_the_autoscalers_name() {
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(2)).await;
    create::<HorizontalPodAutoscaler>(
        &cluster,
        json!({
            "metadata": {"name": "cache-scaler", "namespace": NAMESPACE},
            "spec": {
                "minReplicas": 2, "maxReplicas": 9,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "relay-cache"},
            },
        }),
    )
    .await;
    let ended = cluster.run(&runbook_yaml(&scale(4, ""))).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("HorizontalPodAutoscaler cache-scaler"), "{}", ended.error());
    assert_eq!(replicas(&cluster, "relay-cache").await, 2);
    // An autoscaler does nothing while the number is 0, and takes over from there.
    cluster.run(&runbook_yaml(&scale(0, ""))).await.expect_success();
    let ended = cluster.run(&runbook_yaml(&scale(1, ""))).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("HorizontalPodAutoscaler cache-scaler"), "{}", ended.error());
    cluster.run(&runbook_yaml(&scale(3, ""))).await.expect_success();
    assert_eq!(replicas(&cluster, "relay-cache").await, 3);
}

fn multiply(by: u32, more: &str) -> String {
    format!(
        "  - {{id: it, action: scale_deployment, with: {{namespace: rafay-core, deployment: relay-cache, factor: {by}, give_up_after: 1s{more}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factor_multiplies_the_number_that_the_deployment_is_to_have() {
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(2)).await;
    let ended = cluster.run(&runbook_yaml(&multiply(3, ""))).await.expect_success();
    let output = ended.output("it");
    assert_eq!((&output["before"]["replicas"], &output["replicas"]), (&json!(2), &json!(6)));
    assert_eq!(replicas(&cluster, "relay-cache").await, 6);
}

/// While a rollout is in progress there is one pod more than the deployment is to have.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_in_progress_ends_before_the_deployment_is_scaled() {
    let mut scenario = scenario_with_cache_pods(3);
    scenario.times.pod_start = std::time::Duration::from_mins(1);
    let cluster = TestCluster::with_scenario(scenario).await;
    let old = uids_of(&cluster, "relay-cache").await;
    patch_deployment(&cluster, "relay-cache", image_patch("relay-cache", "better")).await;
    let ended = cluster.run(&runbook_yaml(&multiply(2, ""))).await.expect_success();
    let output = ended.output("it");
    assert_eq!(output["replicas"], json!(6));
    let before = uids(&output["before"]["pods"]);
    assert!(before.is_disjoint(&old), "{output}");
    assert_eq!((before.len(), uids_of(&cluster, "relay-cache").await.len()), (3, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_or_refused_rollout_fails_before_anything_is_scaled() {
    for (more, expected) in [
        ("", "rollout of deployment rafay-core/relay-cache is stuck: pod relay-cache-"),
        (
            ", rollout_in_progress: refuse",
            "a rollout of deployment rafay-core/relay-cache is in progress: ",
        ),
    ] {
        let mut scenario = scenario_with_failing_image("broken", ContainerFailure::ImagePull);
        scenario.deployments = scenario_with_cache_pods(3).deployments;
        let cluster = TestCluster::with_scenario(scenario).await;
        patch_deployment(&cluster, "relay-cache", image_patch("relay-cache", "broken")).await;
        wait_until_async("the pod of the new revision", async || {
            (uids_of(&cluster, "relay-cache").await.len() == 4).then_some(())
        })
        .await;
        let text = runbook_yaml(&multiply(2, more));
        let ended = cluster.run(&text).await.expect_state(RunState::Failed);
        assert!(ended.error().contains(expected), "{}", ended.error());
        assert!(ended.failure().hint.as_ref().unwrap().contains("kubectl rollout undo"));
        assert_eq!(replicas(&cluster, "relay-cache").await, 3);
        assert!(!cluster.effective_calls().contains(&SCALE.to_owned()));
    }
}

/// The controllers keep one pod more than wanted for as long as the rollout is stuck.
#[tokio::test(flavor = "multi_thread")]
async fn scale_deployment_undo_ends_in_the_middle_of_a_rollout() {
    let mut scenario = scenario_with_failing_image("broken", ContainerFailure::ImagePull);
    scenario.deployments = scenario_with_cache_pods(3).deployments;
    let cluster = TestCluster::with_scenario(scenario).await;
    fail_and_roll_back(&cluster, &scale(6, ""), async || {
        patch_deployment(&cluster, "relay-cache", image_patch("relay-cache", "broken")).await;
        wait_until_async("a pod of the new revision", async || {
            (uids_of(&cluster, "relay-cache").await.len() > 6).then_some(())
        })
        .await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_eq!(replicas(&cluster, "relay-cache").await, 3);
    assert_eq!(count_pods_with_cost(&cluster).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_to_keep_that_was_replaced_meanwhile_is_gone() {
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(5)).await;
    let chosen = pods_to_keep(&cluster, 2).await;
    let lost = chosen[0]["name"].as_str().unwrap();
    let ended = fail_and_resume(&cluster, &scale(2, &keep(&chosen)), SCALE, async || {
        delete_pod(&cluster, lost).await;
    })
    .await
    .expect_success();
    let output = ended.output("it");
    assert_eq!(output["gone"], json!([lost]));
    assert_line(&ended, &format!("1 pod is gone: {lost}"));
    assert!(uids(&output["pods"]).is_superset(&uids(&json!(chosen[1..]))), "{output}");
    assert_eq!(uids_of(&cluster, "relay-cache").await.len(), 2);
    assert_eq!(count_pods_with_cost(&cluster).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_pods_to_keep_may_all_be_gone() {
    let cluster = TestCluster::with_scenario(scenario_with_cache_pods(3)).await;
    let list = "  - {id: pods, action: list_pods, with: {namespace: rafay-core, deployment: relay-cache}}\n  - {id: pause, action: sleep, with: {duration: 1s}}\n";
    let steps = format!("{list}{}", scale(1, ", keep: '{{ pods.pods }}'"));
    let prepare = ("get deployments/rafay-core/relay-cache", 2);
    let ended = fail_nth_and_resume(&cluster, &steps, prepare, async || {
        for (name, _) in pods_of(&cluster, "relay-cache").await {
            delete_pod(&cluster, &name).await;
        }
    })
    .await
    .expect_success();
    assert_eq!(ended.output("it")["gone"].as_array().unwrap().len(), 3);
    assert_eq!(uids_of(&cluster, "relay-cache").await.len(), 1);
}
