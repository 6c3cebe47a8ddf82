//! `delete_pods`.

use k8s_openapi::api::{core::v1::Node, policy::v1::PodDisruptionBudget};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rafay_relay_sop::{
    engine::Control,
    journal::{ResumeMode, RunState},
};
use serde_json::json;
use simulator::{Effect, Fault, Scenario};

use super::{
    NAMESPACE, assert_left_alone, budget, client, create, delete_pod, fail_and_resume,
    fail_and_roll_back, pods_of, runbook_yaml, uids, uids_of,
};
use test_support::{TestCluster, wait_until, wait_until_async};

const DELETE: &str = "  - {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n  - {id: it, action: delete_pods, with: {pods: '{{ relay.pods }}'}}\n";

fn evict_yaml() -> String {
    DELETE.replace("relay.pods }}'", "relay.pods }}', evict: true")
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_pods_deletes_the_listed_pods_with_one_call_each() {
    let cluster = TestCluster::new().await;
    let before = uids_of(&cluster, "rafay-relay").await;
    let ended = cluster.run(&runbook_yaml(DELETE)).await.expect_success();
    assert_eq!(uids(&ended.output("it")["deleted"]), before);
    assert!(uids_of(&cluster, "rafay-relay").await.is_disjoint(&before));
    assert_eq!(cluster.count_calls(&format!("delete pods/{NAMESPACE}/")), 3);
    assert_eq!(cluster.effective_calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_another_client_deleted_needs_no_call() {
    let cluster = TestCluster::new().await;
    // All three calls are refused: they are sent together.
    for nth in [2, 3] {
        let effect = Effect::Fail { status: 403, code: "Forbidden".into(), message: "no".into() };
        cluster.simulator.inject(Fault { matching: "delete pods/*".into(), nth, times: 1, effect });
    }
    let ended = fail_and_resume(&cluster, DELETE, "delete pods/*", async || {
        let (name, _) = pods_of(&cluster, "rafay-relay").await.remove(0);
        delete_pod(&cluster, &name).await;
    })
    .await
    .expect_success();
    assert_eq!(ended.output("it")["deleted"].as_array().unwrap().len(), 3);
    let deleted =
        cluster.effective_calls().into_iter().filter(|call| call.starts_with("delete pods/"));
    assert_eq!(deleted.count(), 3, "one by somebody else, two by the run");
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_pods_undo_logs_that_nothing_is_restored() {
    let cluster = TestCluster::new().await;
    let ended =
        fail_and_roll_back(&cluster, DELETE, async || {}).await.expect_state(RunState::RolledBack);
    assert_left_alone(&ended, "3 deleted pods cannot be restored");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_goes_as_far_as_the_budget_allows() {
    let cluster = TestCluster::new().await;
    create::<PodDisruptionBudget>(&cluster, budget("rafay-relay", 2)).await;
    wait_until_budget_is_observed(&cluster).await;
    let before = uids_of(&cluster, "rafay-relay").await;
    let ended = cluster.run(&runbook_yaml(&evict_yaml())).await.expect_success();
    assert_eq!(uids(&ended.output("it")["deleted"]), before);
    assert_eq!(
        cluster.effective_calls().iter().filter(|call| call.contains("eviction")).count(),
        3
    );
}

/// Until then every eviction is turned away.
async fn wait_until_budget_is_observed(cluster: &TestCluster) {
    let budgets: kube::Api<PodDisruptionBudget> =
        kube::Api::namespaced(super::client(cluster), NAMESPACE);
    for _ in 0..1000 {
        let found = budgets.get("rafay-relay-budget").await.unwrap();
        if found.status.is_some_and(|status| status.observed_generation.is_some()) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the disruption controller has not seen the budget");
}

/// One pod has no room, so the budget allows no eviction now, and may allow one later.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_forbids_an_eviction_is_named_once_while_delete_pods_waits() {
    let mut scenario = Scenario::default();
    let relay = scenario.deployments.iter_mut().find(|one| one.name == "rafay-relay");
    relay.unwrap().replicas = 4;
    let cluster = TestCluster::with_scenario(scenario).await;
    create::<PodDisruptionBudget>(&cluster, budget("rafay-relay", 3)).await;
    wait_until_budget_is_observed(&cluster).await;
    let accepted = cluster.accept(&runbook_yaml(&evict_yaml()), json!({})).await.unwrap();
    let control = Control::default();
    let driving = cluster.drive(accepted, control.clone());
    let cancelling = async {
        // The three Ready pods are asked for every five seconds.
        wait_until("fifty evictions", || {
            let asked = cluster.simulator.calls();
            let asked = asked.iter().filter(|call| call.operation.contains("eviction"));
            (asked.count() > 50).then_some(())
        })
        .await;
        control.cancel("me");
    };
    let (ended, ()) = tokio::join!(driving, cancelling);
    let ended = ended.expect_state(RunState::Cancelled);
    let lines = ended.lines();
    let named = "The disruption budget rafay-relay-budget needs 3 healthy pods and has 3 currently; \
                 3 pods cannot be evicted yet: ";
    let named: Vec<_> = lines.iter().filter(|line| line.contains(named)).collect();
    let waits = lines.iter().filter(|line| line.starts_with("Waiting: ")).count();
    assert_eq!((named.len(), waits), (1, 1), "{}", lines.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_never_allows_an_eviction_fails_delete_pods_at_once() {
    for min_available in [3, 4] {
        let cluster = TestCluster::new().await;
        create::<PodDisruptionBudget>(&cluster, budget("rafay-relay", min_available)).await;
        wait_until_budget_is_observed(&cluster).await;
        let ended = cluster.run(&runbook_yaml(&evict_yaml())).await.expect_state(RunState::Failed);
        let expected = format!(
            "disruption budget rafay-core/rafay-relay-budget never allows an eviction: it requires \
             {min_available} healthy pods of 3; 3 pods cannot be evicted: "
        );
        assert!(ended.error().starts_with(&expected), "{}", ended.error());
        let hint = ended.failure().hint.as_deref();
        assert!(hint.is_some_and(|hint| hint.contains("minAvailable")), "{hint:?}");
        assert!(!cluster.effective_calls().iter().any(|call| call.contains("eviction")));

        // The budget out of the way, the same run continues.
        let budgets: kube::Api<PodDisruptionBudget> =
            kube::Api::namespaced(super::client(&cluster), NAMESPACE);
        budgets.delete("rafay-relay-budget", &Default::default()).await.unwrap();
        cluster.resume(ended.run.id(), ResumeMode::Continue).await.expect_success();
    }
}

/// Who may evict pods and not list budgets waits, because the answer to an eviction does not say that it is final.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_list_budgets_waits_for_one() {
    let cluster = TestCluster::new().await;
    create::<PodDisruptionBudget>(&cluster, budget("rafay-relay", 3)).await;
    wait_until_budget_is_observed(&cluster).await;
    let effect = Effect::Fail { status: 403, code: "Forbidden".into(), message: "no".into() };
    let matching = "list poddisruptionbudgets*".into();
    cluster.simulator.inject(Fault { matching, nth: 1, times: u32::MAX, effect });
    let accepted = cluster.accept(&runbook_yaml(&evict_yaml()), json!({})).await.unwrap();
    let id = accepted.run().id().clone();
    let control = Control::default();
    let driving = cluster.drive(accepted, control.clone());
    let cancelling = async {
        wait_until_async("the wait", async || {
            let records = cluster.store.read(&id, 0).await.ok()?;
            let text = format!("{records:?}");
            text.contains("The disruption budget rafay-relay-budget needs 3").then_some(())
        })
        .await;
        control.cancel("me");
    };
    let (ended, ()) = tokio::join!(driving, cancelling);
    ended.expect_state(RunState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_budgets_over_one_pod_fail_delete_pods_at_once() {
    let cluster = TestCluster::new().await;
    create::<PodDisruptionBudget>(&cluster, budget("rafay-relay", 1)).await;
    let mut second = budget("rafay-relay", 1);
    second["metadata"]["name"] = json!("another");
    create::<PodDisruptionBudget>(&cluster, second).await;
    let ended = cluster.run(&runbook_yaml(&evict_yaml())).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("more than one PodDisruptionBudget"), "{}", ended.error());
}

/// Stops the kubelet under a relay pod, and returns the pod's name and a step that deletes it.
async fn pod_on_dead_node(cluster: &TestCluster, parameters: &str) -> (String, String) {
    let (name, pod) = pods_of(cluster, "rafay-relay").await.remove(0);
    let nodes: Api<Node> = Api::all(client(cluster));
    let message = "Kubelet stopped posting node status.";
    let unknown = json!({
        "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": message,
    });
    let patch = Patch::Strategic(json!({"status": {"conditions": [unknown]}}));
    let node = pod.node.unwrap();
    nodes.patch_status(&node, &PatchParams::default(), &patch).await.unwrap();
    let pods = format!("[{{namespace: {NAMESPACE}, name: {name}, uid: {}}}]", pod.uid);
    let with = format!("{{pods: {pods}, grace_period: 1s, {parameters}}}");
    (name, format!("  - {{id: it, action: delete_pods, timeout: 1h, with: {with}}}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_dead_node_fails_delete_pods_with_the_remedy() {
    let cluster = TestCluster::new().await;
    let (name, step) = pod_on_dead_node(&cluster, "give_up_after: 1s").await;
    let ended = cluster.run(&runbook_yaml(&step)).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.starts_with(&format!("pod {name} cannot end: its node ")), "{error}");
    assert!(error.ends_with("Kubelet stopped posting node status. (for 1s)"), "{error}");
    let hint = ended.failure().hint.as_ref().unwrap();
    assert!(hint.contains("--grace-period=0 --force") && hint.contains("`force_after`"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_dead_node_is_deleted_by_force_where_the_runbook_says_so() {
    let cluster = TestCluster::new().await;
    let (name, step) = pod_on_dead_node(&cluster, "force_after: 1s").await;
    let ended = cluster.run(&runbook_yaml(&step)).await.expect_success();
    assert_eq!(ended.output("it")["deleted"][0]["name"], json!(name));
    let deletions = cluster.effective_calls();
    let deletions = deletions.iter().filter(|call| call.starts_with("delete pods/")).count();
    assert_eq!(deletions, 2, "the second one by force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_living_node_is_never_deleted_by_force() {
    let cluster = TestCluster::new().await;
    let forced = DELETE.replace("relay.pods }}'", "relay.pods }}', force_after: 1s");
    cluster.run(&runbook_yaml(&forced)).await.expect_success();
    assert_eq!(cluster.effective_calls().len(), 3);
}
