//! What a wait says about pods that neither become ready nor end, beyond their status.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, Pod, ResourceQuota};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rafay_relay_sop::journal::RunState;
use serde_json::json;
use simulator::{ContainerFailure, Effect, Fault, Scenario, Times};

use super::{
    NAMESPACE, client, create, patch_deployment, pods_of, runbook_yaml, scenario_with_failing_image,
};
use test_support::{FinishedRun, TestCluster, wait_until_async};

const WAIT: &str = "  - {id: it, action: wait_pods, with: {namespace: rafay-core, selector: 'app=sick', give_up_after: 1s}}\n";

/// A cluster in which the containers of the pod `sick` are being created for a long time.
async fn cluster_with_slow_pod() -> TestCluster {
    let slow = Times { pod_start: Duration::from_hours(100), ..Times::default() };
    let scenario = Scenario { times: slow, deployments: Vec::new(), ..Scenario::default() };
    let cluster = TestCluster::with_scenario(scenario).await;
    create::<Pod>(
        &cluster,
        json!({
            "metadata": {"name": "sick", "namespace": NAMESPACE, "labels": {"app": "sick"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }),
    )
    .await;
    cluster
}

async fn report(cluster: &TestCluster, kind: &str, reason: &str, message: &str) {
    let pods: Api<Pod> = Api::namespaced(client(cluster), NAMESPACE);
    let pod = pods.get("sick").await.unwrap();
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    create::<Event>(
        cluster,
        json!({
            "metadata": {"name": format!("sick.{}", reason.to_lowercase()), "namespace": NAMESPACE},
            "involvedObject": {
                "kind": "Pod", "name": "sick", "namespace": NAMESPACE, "uid": pod.metadata.uid,
            },
            "type": kind, "reason": reason, "message": message,
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_lasts_fails_a_wait_and_another_is_named_when_its_time_is_up() {
    let timeout = WAIT.replace("action", "timeout: 20s, action");
    for (reason, message, error) in [
        (
            "FailedCreatePodSandBox",
            "plugin type=\"aws-cni\" failed (add): failed to assign an IP address",
            "0 of 1 pod with app=sick in rafay-core Ready, and pod sick: FailedCreatePodSandBox: plugin \
             type=\"aws-cni\" failed (add): failed to assign an IP address (for 1s)",
        ),
        (
            "FailedMount",
            "secret \"tls\" not found",
            "0 of 1 pod with app=sick in rafay-core Ready, and pod sick: FailedMount: secret \"tls\" not \
             found (for 1s)",
        ),
        (
            "FailedAttachVolume",
            "Multi-Attach error for volume \"data\"",
            "timed out after 20s, waiting for 0 of 1 pod with app=sick in rafay-core Ready: sick (starting; \
             FailedAttachVolume: Multi-Attach error for volume \"data\")",
        ),
    ] {
        let cluster = cluster_with_slow_pod().await;
        report(&cluster, "Warning", reason, message).await;
        let ended = cluster.run(&runbook_yaml(&timeout)).await.expect_state(RunState::Failed);
        assert_eq!(ended.error(), error);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_does_not_start_fails_a_wait_with_its_cause() {
    for (failure, field, cause) in [
        (
            ContainerFailure::Sandbox,
            "containers",
            "FailedCreatePodSandBox: Failed to create pod sandbox",
        ),
        (ContainerFailure::Mount, "containers", "FailedMount: MountVolume.SetUp failed"),
        (ContainerFailure::ImagePull, "initContainers", "ImagePullBackOff in init container first"),
        (ContainerFailure::CrashLoop, "initContainers", "CrashLoopBackOff in init container first"),
    ] {
        let scenario = scenario_with_failing_image("broken", failure);
        let scenario = Scenario { deployments: Vec::new(), ..scenario };
        let cluster = TestCluster::with_scenario(scenario).await;
        let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
        spec[field] = json!([{"name": "first", "image": "broken:1"}]);
        let metadata = json!({"name": "sick", "namespace": NAMESPACE, "labels": {"app": "sick"}});
        create::<Pod>(&cluster, json!({"metadata": metadata, "spec": spec})).await;
        let ended = cluster.run(&runbook_yaml(WAIT)).await.expect_state(RunState::Failed);
        assert!(ended.error().contains(cause), "{}", ended.error());
        assert!(ended.error().ends_with("(for 1s)"), "{}", ended.error());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_refuses_pods_fails_each_wait_for_a_deployment() {
    let waits = [
        "wait_pods, with: {namespace: rafay-core, deployment: relay-cache, give_up_after: 1s}",
        "scale_deployment, with: {namespace: rafay-core, deployment: relay-cache, replicas: 9, give_up_after: 1s}",
        "rollout_restart, with: {namespace: rafay-core, deployment: relay-cache, give_up_after: 1s}",
    ];
    for wait in waits {
        let cluster = TestCluster::new().await;
        create::<ResourceQuota>(
            &cluster,
            json!({
                "metadata": {"name": "small", "namespace": NAMESPACE},
                "spec": {"hard": {"pods": "1"}},
            }),
        )
        .await;
        let quotas: Api<ResourceQuota> = Api::namespaced(client(&cluster), NAMESPACE);
        wait_until_async("the quota", async || {
            let used = quotas.get("small").await.unwrap().status?.used?;
            used.contains_key("pods").then_some(())
        })
        .await;
        if wait.starts_with("wait_pods") {
            patch_deployment(&cluster, "relay-cache", json!({"spec": {"replicas": 9}})).await;
        }
        let text = runbook_yaml(&format!("  - {{id: it, action: {wait}}}\n"));
        let ended = cluster.run(&text).await.expect_state(RunState::Failed);
        let error = ended.error();
        assert!(error.contains("pods cannot be created: pods \"relay-cache-"), "{error}");
        assert!(error.contains("exceeded quota: small"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_may_not_be_read_do_not_fail_a_wait() {
    let cluster = cluster_with_slow_pod().await;
    cluster.simulator.inject(Fault {
        matching: "list events*".into(),
        nth: 1,
        times: 1_000,
        effect: Effect::Fail { status: 403, code: "Forbidden".into(), message: "no".into() },
    });
    let timeout = WAIT.replace("action", "timeout: 30s, action");
    let ended = cluster.run(&runbook_yaml(&timeout)).await.expect_state(RunState::Failed);
    assert!(ended.error().ends_with("in rafay-core Ready: sick (starting)"), "{}", ended.error());
    assert!(cluster.count_calls("list events") > 1);
    assert_eq!(count_lines(&ended, "causes that events name cannot be read"), 1);
}

fn count_lines(ended: &FinishedRun, words: &str) -> usize {
    ended.lines().iter().filter(|line| line.contains(words)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_selector_that_matches_nothing_names_the_selector() {
    let cluster = TestCluster::new().await;
    let step = WAIT.replace("app=sick", "app=typo").replace("action", "timeout: 5s, action");
    let ended = cluster.run(&runbook_yaml(&step)).await.expect_state(RunState::Failed);
    let error = "timed out after 5s, waiting for 0 of 0 pods with app=typo in rafay-core Ready";
    assert_eq!(ended.error(), error);
}

/// A cluster with a pod of relay-cache whose node has a dead kubelet. Returns the pod and the node's name.
async fn cluster_with_dead_node() -> (TestCluster, PodRef, String) {
    let cluster = TestCluster::new().await;
    let (name, facts) = pods_of(&cluster, "relay-cache").await.remove(0);
    let node = facts.node.unwrap();
    let nodes: Api<Node> = Api::all(client(&cluster));
    let condition = json!({
        "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
    });
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    nodes.patch_status(&node, &PatchParams::default(), &patch).await.unwrap();
    wait_until_async("the dead node", async || {
        let state = cluster.simulator.state().await.unwrap();
        (!state.nodes[&node].ready).then_some(())
    })
    .await;
    (cluster, PodRef { name, uid: facts.uid }, node)
}

struct PodRef {
    name: String,
    uid: String,
}

fn delete(pod: &PodRef, with: &str) -> String {
    let PodRef { name, uid } = pod;
    runbook_yaml(&format!(
        "  - id: it
    action: delete_pods
    with:
      pods: [{{namespace: rafay-core, name: {name}, uid: {uid}}}]
      grace_period: 1s
      {with}
"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_dead_node_fails_delete_pods_with_the_remedy() {
    let (cluster, pod, node) = cluster_with_dead_node().await;
    let text = delete(&pod, "give_up_after: 1s");
    let ended = cluster.run(&text).await.expect_state(RunState::Failed);
    let name = &pod.name;
    assert_eq!(
        ended.error(),
        format!(
            "pod {name} cannot end: its node {node} is not Ready: NodeStatusUnknown: Kubelet stopped posting node \
             status. (for 1s)"
        )
    );
    let hint = ended.failure().hint.as_deref().unwrap();
    assert!(hint.contains(&format!("kubectl delete pod {name} --namespace rafay-core")), "{hint}");
    assert!(hint.contains("`force_after`"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_dead_node_is_deleted_by_force_where_the_runbook_says_so() {
    let (cluster, pod, node) = cluster_with_dead_node().await;
    let ended = cluster.run(&delete(&pod, "force_after: 1s")).await.expect_success();
    assert_eq!(ended.output("it")["deleted"][0]["uid"], json!(pod.uid));
    let waited = format!("{} (terminating; its node {node} is not Ready", pod.name);
    assert!(count_lines(&ended, &waited) > 0, "{}", ended.lines().join("\n"));
    let deletions = format!("delete pods/{NAMESPACE}/{}", pod.name);
    assert_eq!(cluster.count_calls(&deletions), 2, "once with its grace period, once by force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_live_node_is_never_deleted_by_force() {
    let cluster = TestCluster::new().await;
    let (name, facts) = pods_of(&cluster, "relay-cache").await.remove(0);
    let pod = PodRef { name, uid: facts.uid };
    cluster.run(&delete(&pod, "force_after: 0s")).await.expect_success();
    assert_eq!(cluster.count_calls(&format!("delete pods/{NAMESPACE}/{}", pod.name)), 1);
}
