//! `drain`.

use std::collections::BTreeSet;

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use rafay_relay_sop::journal::{ResumeMode, RunState};
use serde_json::{Value, json};
use simulator::{Effect, Fault, PodFacts};

use super::{
    NAMESPACE, assert_left_alone, assert_line, budget, client, cordoned, create, end_node,
    fail_and_resume, fail_and_roll_back, nodes_of, patch_deployment, patch_node, pods_of,
    runbook_yaml, texts, uids_of,
};
use test_support::{FinishedRun, TestCluster, wait_until_async};

fn step(nodes: &BTreeSet<String>, parameters: &str) -> String {
    format!("  - {{id: it, action: drain, with: {{nodes: {}{parameters}}}}}\n", json!(nodes))
}

/// The nodes of the two pods of rafay-sentry, which can run on both.
async fn core_nodes(cluster: &TestCluster) -> BTreeSet<String> {
    nodes_of(cluster, "rafay-sentry").await
}

fn first(nodes: &BTreeSet<String>) -> BTreeSet<String> {
    nodes.iter().take(1).cloned().collect()
}

fn evictions(cluster: &TestCluster) -> usize {
    let calls = cluster.effective_calls();
    calls.iter().filter(|call| call.contains("eviction")).count()
}

/// Full names of the evicted pods.
fn evicted(ended: &FinishedRun) -> BTreeSet<String> {
    let name = |pod: &Value| {
        format!("{}/{}", pod["namespace"].as_str().unwrap(), pod["name"].as_str().unwrap())
    };
    ended.output("it")["evicted"].as_array().unwrap().iter().map(name).collect()
}

/// A pod that is on a node from the start.
fn pod_on(node: &str, name: &str, more: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "registry.example.com/main:1"}],
            "terminationGracePeriodSeconds": 1,
        },
    });
    for (path, value) in more.as_object().unwrap() {
        let (part, field) = path.split_once('.').unwrap();
        pod[part][field] = value.clone();
    }
    pod
}

async fn wait_until_running(cluster: &TestCluster, name: &str) {
    wait_until_async("the pod to run", async || {
        let state = cluster.simulator.state().await.unwrap();
        state.pods[&format!("{NAMESPACE}/{name}")].ready.then_some(())
    })
    .await;
}

async fn wait_until_budget_is_observed(cluster: &TestCluster, name: &str) {
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client(cluster), NAMESPACE);
    wait_until_async("the budget to be observed", async || {
        let status = budgets.get(name).await.unwrap().status;
        status.is_some_and(|status| status.observed_generation.is_some()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_evicts_the_pods_of_a_node_and_waits_for_their_replacements() {
    let cluster = TestCluster::new().await;
    let nodes = core_nodes(&cluster).await;
    let drained = first(&nodes);
    let gone = pods_of(&cluster, "rafay-sentry").await;
    let gone = gone.into_iter().find(|(_, pod)| pod.node.as_ref() == drained.first()).unwrap().0;
    let ended = cluster.run(&runbook_yaml(&step(&drained, ""))).await.expect_success();
    assert_eq!(texts(&ended.output("it")["nodes"]), drained);
    assert_eq!(texts(&ended.output("it")["changed"]), drained);
    assert_eq!(evicted(&ended), BTreeSet::from([format!("{NAMESPACE}/{gone}")]));
    assert_eq!(cordoned(&cluster).await, drained);
    let pods = pods_of(&cluster, "rafay-sentry").await;
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|(_, pod)| pod.ready && pod.node.as_ref() != drained.first()));

    let again = cluster.run(&runbook_yaml(&step(&drained, ""))).await.expect_success();
    assert_eq!((again.output("it")["changed"].clone(), evicted(&again).len()), (json!([]), 0));
    assert_eq!(evictions(&cluster), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_undo_uncordons_only_what_this_step_cordoned() {
    let cluster = TestCluster::new().await;
    let nodes = core_nodes(&cluster).await;
    let theirs = first(&nodes);
    let node = theirs.first().unwrap();
    patch_node(&cluster, node, json!({"spec": {"unschedulable": true}})).await;
    let both = step(&nodes, ", max_unavailable: 2, wait_for_replacements: false");
    let ended = fail_and_roll_back(&cluster, &both, async || {}).await;
    assert_line(&ended, "2 evicted pods: their replacements stay where they are");
    let ended = ended.expect_state(RunState::RolledBack);
    assert_eq!(cordoned(&cluster).await, theirs);
    assert!(!ended.lines().iter().any(|line| line.starts_with("Not restored: ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_undo_leaves_a_node_that_another_client_has_cordoned_since() {
    let cluster = TestCluster::new().await;
    let drained = first(&core_nodes(&cluster).await);
    let node = drained.first().unwrap();
    let ended = fail_and_roll_back(&cluster, &step(&drained, ""), async || {
        let theirs = json!({"metadata": {"annotations": {"rafay-relay-sop/cordoned-by": null}}});
        patch_node(&cluster, node, theirs).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_left_alone(&ended, &format!("left node {node} cordoned"));
    assert_eq!(cordoned(&cluster).await, drained);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_belong_to_the_node_stay_and_finished_ones_are_removed() {
    let cluster = TestCluster::new().await;
    let drained = first(&core_nodes(&cluster).await);
    let node = drained.first().unwrap();
    let daemon = json!({
        "metadata": {"name": "agent", "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "agent", "image": "registry.example.com/agent:1"}]},
            },
        },
    });
    let daemons: Api<DaemonSet> = Api::namespaced(client(&cluster), NAMESPACE);
    let daemon = serde_json::from_value(daemon).unwrap();
    daemons.create(&PostParams::default(), &daemon).await.unwrap();
    let agent = wait_until_async("the daemon pod", async || {
        let pods = pods_of(&cluster, "agent").await;
        let is_here = |pod: &PodFacts| pod.ready && pod.node.as_ref() == Some(node);
        pods.into_iter().find(|(_, pod)| is_here(pod)).map(|(name, _)| name)
    })
    .await;
    let mirror = json!({"kubernetes.io/config.mirror": "hash"});
    for (name, more) in
        [("static-1", json!({"metadata.annotations": mirror})), ("done-1", json!({}))]
    {
        create::<Pod>(&cluster, pod_on(node, name, more)).await;
        wait_until_running(&cluster, name).await;
    }
    let pods: Api<Pod> = Api::namespaced(client(&cluster), NAMESPACE);
    let done = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    pods.patch_status("done-1", &PatchParams::default(), &done).await.unwrap();

    let ended = cluster.run(&runbook_yaml(&step(&drained, ""))).await.expect_success();
    assert!(evicted(&ended).contains(&format!("{NAMESPACE}/done-1")));
    assert_eq!(evicted(&ended).len(), 2, "and the pod of rafay-sentry");
    let state = cluster.simulator.state().await.unwrap();
    let is_there = |name: &str| state.pods.contains_key(&format!("{NAMESPACE}/{name}"));
    assert!(is_there(&agent) && is_there("static-1") && !is_there("done-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_would_be_lost_fails_drain_before_anything_is_changed() {
    let cluster = TestCluster::new().await;
    let drained = first(&core_nodes(&cluster).await);
    let node = drained.first().unwrap();
    let volume = json!([{"name": "scratch", "emptyDir": {}}]);
    create::<Pod>(&cluster, pod_on(node, "alone", json!({"spec.volumes": volume}))).await;
    wait_until_running(&cluster, "alone").await;
    let before = cluster.effective_calls().len();
    for (parameters, expected, hint) in [
        (
            "",
            "1 pod without a controller would be lost: rafay-core/alone; the emptyDir data of 1 pod would be lost: \
             rafay-core/alone",
            "`force: true` evicts pods without a controller; `delete_emptydir_data: true` evicts pods with emptyDir \
             volumes",
        ),
        (
            ", force: true",
            "the emptyDir data of 1 pod would be lost: rafay-core/alone",
            "`delete_emptydir_data: true` evicts pods with emptyDir volumes",
        ),
    ] {
        let ended = cluster.run(&runbook_yaml(&step(&drained, parameters))).await;
        let ended = ended.expect_state(RunState::Failed);
        assert_eq!(ended.error(), format!("cannot drain node {node}: {expected}"));
        assert_eq!(ended.failure().hint.as_deref(), Some(hint));
        let id = ended.run.id();
        cluster.resume(id, ResumeMode::Rollback).await.expect_state(RunState::RolledBack);
    }
    assert_eq!(cluster.effective_calls().len(), before);

    let both = step(&drained, ", force: true, delete_emptydir_data: true, grace_period: 2s");
    let ended = fail_and_roll_back(&cluster, &both, async || {}).await;
    let ended = ended.expect_state(RunState::RolledBack);
    assert_left_alone(&ended, "1 evicted pod without a controller cannot be restored: alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_never_allows_an_eviction_fails_drain_before_anything_is_changed() {
    let cluster = TestCluster::new().await;
    create::<PodDisruptionBudget>(&cluster, budget("rafay-sentry", 2)).await;
    wait_until_budget_is_observed(&cluster, "rafay-sentry-budget").await;
    let drained = first(&core_nodes(&cluster).await);
    let before = cluster.effective_calls().len();
    let ended =
        cluster.run(&runbook_yaml(&step(&drained, ""))).await.expect_state(RunState::Failed);
    let expected = "disruption budget rafay-core/rafay-sentry-budget never allows an eviction: it requires 2 healthy \
                    pods of 2; 1 pod cannot be evicted: rafay-sentry-";
    assert!(ended.error().starts_with(expected), "{}", ended.error());
    assert!(ended.failure().hint.as_ref().unwrap().contains("minAvailable"));
    assert_eq!(cluster.effective_calls().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_evicts_as_far_as_a_budget_allows() {
    let cluster = TestCluster::new().await;
    patch_deployment(&cluster, "rafay-sentry", json!({"spec": {"replicas": 6}})).await;
    wait_until_async("the pods", async || {
        let pods = pods_of(&cluster, "rafay-sentry").await;
        (pods.len() == 6 && pods.iter().all(|(_, pod)| pod.ready)).then_some(())
    })
    .await;
    create::<PodDisruptionBudget>(&cluster, budget("rafay-sentry", 5)).await;
    wait_until_budget_is_observed(&cluster, "rafay-sentry-budget").await;
    let drained = first(&core_nodes(&cluster).await);
    let pods = pods_of(&cluster, "rafay-sentry").await;
    let here = pods.iter().filter(|(_, pod)| pod.node.as_ref() == drained.first()).count();
    assert!(here > 1, "{pods:?}");
    // More may be missing than the budget allows: the budget decides.
    let ended = cluster.run(&runbook_yaml(&step(&drained, ", max_unavailable: 6"))).await;
    assert_eq!(evicted(&ended.expect_success()).len(), here);
    assert_eq!(evictions(&cluster), here);
    assert_eq!(uids_of(&cluster, "rafay-sentry").await.len(), 6);
}

/// Relay pods run one on a node: the replacement of the first one has no node, so the second one is never evicted.
#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_does_not_start_fails_drain() {
    let cluster = TestCluster::new().await;
    let nodes: BTreeSet<String> =
        nodes_of(&cluster, "rafay-relay").await.into_iter().take(2).collect();
    let ended = cluster.run(&runbook_yaml(&step(&nodes, ", give_up_after: 10s"))).await;
    let ended = ended.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.starts_with("pod rafay-core/rafay-relay-"), "{error}");
    assert!(error.contains("did not become Ready: cannot be scheduled: "), "{error}");
    assert!(error.contains(" (for 10s); 1 pod to leave 2 nodes: rafay-relay-"), "{error}");
    let relay = pods_of(&cluster, "rafay-relay").await;
    assert_eq!(relay.iter().filter(|(_, pod)| pod.ready).count(), 2);

    // One at a time is not what the caller wants.
    let id = ended.run.id();
    cluster.resume(id, ResumeMode::Rollback).await.expect_state(RunState::RolledBack);
    let all = step(&nodes, ", max_unavailable: 3, wait_for_replacements: false");
    cluster.run(&runbook_yaml(&all)).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_names_the_replacement_that_it_waits_for_at_its_end() {
    let cluster = TestCluster::new().await;
    let node: BTreeSet<String> =
        nodes_of(&cluster, "rafay-relay").await.into_iter().take(1).collect();
    let ended = cluster.run(&runbook_yaml(&step(&node, ", give_up_after: 10s"))).await;
    let ended = ended.expect_state(RunState::Failed);
    let expected = "a replacement did not become Ready: pod rafay-relay-";
    assert!(ended.error().starts_with(expected), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_drain_continues_where_it_stopped() {
    let cluster = TestCluster::new().await;
    let drained = first(&core_nodes(&cluster).await);
    let ended = fail_and_resume(&cluster, &step(&drained, ""), "create pods/*", async || {
        assert_eq!(cordoned(&cluster).await, drained);
    })
    .await
    .expect_success();
    assert_eq!(texts(&ended.output("it")["changed"]), drained);
    assert_eq!((evicted(&ended).len(), evictions(&cluster)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_before_drain_evicts_is_gone() {
    let cluster = TestCluster::new().await;
    let nodes = core_nodes(&cluster).await;
    let ended_node = first(&nodes);
    let both = step(&nodes, ", max_unavailable: 2, wait_for_replacements: false");
    let ended = fail_and_resume(&cluster, &both, "create pods/*", async || {
        end_node(&cluster, ended_node.first().unwrap()).await;
    })
    .await
    .expect_success();
    assert_eq!(texts(&ended.output("it")["gone"]), ended_node);
    assert_eq!(evicted(&ended).len(), 1);
    assert!(!texts(&ended.output("it")["nodes"]).contains(ended_node.first().unwrap()));
}

/// The response of an eviction is lost: the pod is not evicted twice, and the step has not failed.
#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_whose_response_is_lost_is_not_repeated() {
    let cluster = TestCluster::new().await;
    let drained = first(&core_nodes(&cluster).await);
    let effect = Effect::Drop { before: false };
    cluster.simulator.inject(Fault { matching: "create pods/*".into(), nth: 1, times: 1, effect });
    let text = runbook_yaml(&step(&drained, "")).replace("attempts: 1", "attempts: 3");
    let ended = cluster.run(&text).await.expect_success();
    assert_eq!((evicted(&ended).len(), evictions(&cluster)), (1, 1));
}
