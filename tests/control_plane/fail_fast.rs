//! Waits that cannot end well end early, and say why; what a runbook should not touch is refused.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Event, Pod, ResourceQuota},
};
use kube::api::{Patch, PatchParams};
use rafay_relay_sop::journal::RunState;
use serde_json::json;

use crate::{
    actions::budget,
    cli_run::{CliRun, NAMESPACE, simulate_scenario_over},
    cluster::{deployment, one_pod_per_node, with_pod_failure},
    fixture::ControlPlane,
    harness::{Test, test},
    run_as::{run, runbook_yaml},
};
use test_support::{ProgramOutput, SCALE_UP, SimulateProcess, wait_until_async};

const TEST_NAMESPACE: &str = "actions";

pub(crate) fn tests() -> Vec<Test> {
    let single = vec![
        test("fail_fast::scale_deployment_fails_when_a_pod_is_unschedulable", unschedulable),
        test("fail_fast::rollout_restart_fails_past_its_progress_deadline", progress_deadline),
        test("fail_fast::a_paused_deployment_is_not_restarted", paused),
        test("fail_fast::an_autoscaled_deployment_is_not_scaled", autoscaled),
        test("fail_fast::an_eviction_names_the_budget_that_forbids_it", budget_blocks),
        test(
            "fail_fast::a_rollback_keeps_nodes_that_a_budget_forbids_to_drain",
            budget_blocks_rollback,
        ),
        test("fail_fast::delete_pods_keeps_a_pod_with_another_uid", another_uid),
        test("fail_fast::wait_nodes_fails_when_a_node_never_gets_ready", node_never_ready),
        test("fail_fast::wait_pods_fails_for_the_cause_that_an_event_names", sandbox_event),
        test("fail_fast::wait_pods_names_the_selector_that_matches_nothing", selects_nothing),
        test("fail_fast::delete_pods_fails_for_a_pod_on_a_dead_node", dead_kubelet),
    ];
    single.into_iter().chain(pod_failure_tests()).chain(quota_tests()).collect()
}

const SCALE: &str = "  - {id: scale, action: scale_deployment, with: {namespace: actions, deployment: relay, replicas: 3, give_up_after: 2s}}\n";
const RESTART: &str =
    "  - {id: restart, action: rollout_restart, with: {namespace: actions, deployment: relay}}\n";

/// Fails unless the text has each of these parts.
#[track_caller]
fn assert_contains_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

async fn unschedulable(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.node("two", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 2, one_pod_per_node("relay")).await;
    let ended =
        run(&plane, TEST_NAMESPACE, &runbook_yaml(SCALE)).await.expect_state(RunState::RolledBack);
    assert_contains_all(ended.error(), &["relay-", "anti-affinity", "(for 2s)"]);
    // What was sent is undone all the same.
    plane.wait_until_ready(TEST_NAMESPACE, "relay", 2).await;
}

/// A step that is given two seconds for pods that fail, and how its deployment begins.
struct PodWaitStep {
    action: &'static str,
    replicas: i32,
    /// Whether only the pods that the step creates fail.
    restarted: bool,
}

const POD_WAIT_STEPS: [PodWaitStep; 3] = [
    PodWaitStep { action: "scale_deployment", replicas: 0, restarted: false },
    PodWaitStep { action: "rollout_restart", replicas: 2, restarted: true },
    PodWaitStep { action: "wait_pods", replicas: 1, restarted: false },
];

const NO_NODE: &str = "no-node";

/// The failures of pods, each with the text that the error must contain.
const POD_FAILURES: [(&str, &str); 4] = [
    ("missing-image", "ImagePullBackOff"),
    ("init-missing-image", "ImagePullBackOff in init container first"),
    ("crash-loop", "CrashLoopBackOff"),
    (NO_NODE, "nodes are available"),
];

/// A test of each action for each ailment.
fn pod_failure_tests() -> impl Iterator<Item = Test> {
    POD_WAIT_STEPS.iter().flat_map(|step| {
        POD_FAILURES.iter().map(move |(failure, reason)| {
            let name = format!("fail_fast::{}_fails_for_pods_with_{failure}", step.action);
            test(name, async move |plane: Arc<ControlPlane>| {
                assert_fails_early(&plane, step, failure, reason).await;
            })
        })
    })
}

async fn assert_fails_early(plane: &ControlPlane, step: &PodWaitStep, failure: &str, reason: &str) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    let relay = deployment("relay", step.replicas, with_pod_failure(failure, step.restarted));
    if step.restarted {
        plane.create::<Deployment>(TEST_NAMESPACE, relay).await;
        plane.wait_until_ready(TEST_NAMESPACE, "relay", step.replicas).await;
        plane.cordon_all(failure == NO_NODE).await;
    } else {
        plane.cordon_all(failure == NO_NODE).await;
        plane.create::<Deployment>(TEST_NAMESPACE, relay).await;
    }
    let more = if step.action == "scale_deployment" { ", replicas: 2" } else { "" };
    let text = runbook_yaml(&format!(
        "  - {{id: it, action: {}, with: {{namespace: actions, deployment: relay, give_up_after: 2s{more}}}}}\n",
        step.action
    ));
    let ended = run(plane, TEST_NAMESPACE, &text).await.expect_state(RunState::RolledBack);
    assert_contains_all(ended.error(), &["pod relay-", reason, "(for 2s)"]);
}

/// A test of each action with a quota that refuses pods.
fn quota_tests() -> impl Iterator<Item = Test> {
    POD_WAIT_STEPS.iter().map(|step| {
        let name = format!("fail_fast::{}_fails_for_pods_that_a_quota_refuses", step.action);
        test(name, async move |plane: Arc<ControlPlane>| {
            assert_quota_is_named(&plane, step).await;
        })
    })
}

async fn assert_quota_is_named(plane: &ControlPlane, step: &PodWaitStep) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    let replicas = step.replicas.max(1);
    plane.deployment(TEST_NAMESPACE, "relay", replicas, json!({})).await;
    let hard = json!({"pods": replicas.to_string()});
    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": hard}});
    plane.create::<ResourceQuota>(TEST_NAMESPACE, quota).await;
    wait_until_async("the quota", async || {
        let quota = plane.api::<ResourceQuota>(TEST_NAMESPACE).get("small").await.unwrap();
        quota.status?.used?.contains_key("pods").then_some(())
    })
    .await;
    if step.action == "wait_pods" {
        let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
        let relay = plane.api::<Deployment>(TEST_NAMESPACE);
        relay.patch("relay", &PatchParams::default(), &patch).await.unwrap();
    }
    let more = if step.action == "scale_deployment" { ", replicas: 3" } else { "" };
    let text = runbook_yaml(&format!(
        "  - {{id: it, action: {}, with: {{namespace: actions, deployment: relay, give_up_after: 2s{more}}}}}\n",
        step.action
    ));
    let ended = run(plane, TEST_NAMESPACE, &text).await.expect_state(RunState::RolledBack);
    assert_contains_all(ended.error(), &["pods cannot be created", "exceeded quota: small"]);
}

/// A pod whose container does not start, as the API has it: only an event says why.
async fn sandbox_event(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    // No stage plays it: the pod stays as the scheduler left it.
    let pod = json!({
        "metadata": {"name": "sick", "labels": {"app": "sick", "plays": "nothing"}},
        "spec": {
            "nodeName": "one",
            "containers": [{"name": "app", "image": "registry.example.com/app:1.0"}],
        },
    });
    let pod = plane.create::<Pod>(TEST_NAMESPACE, pod).await;
    let now = jiff::Timestamp::now().to_string();
    let event = json!({
        "metadata": {"name": "sick.1"},
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "namespace": TEST_NAMESPACE, "name": "sick",
            "uid": pod.metadata.uid,
        },
        "type": "Warning",
        "reason": "FailedCreatePodSandBox",
        "message": "failed to assign an IP address",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": "kubelet"},
    });
    plane.create::<Event>(TEST_NAMESPACE, event).await;
    let text = runbook_yaml(
        "  - {id: it, action: wait_pods, with: {namespace: actions, selector: app=sick, give_up_after: 2s}}\n",
    );
    let ended = run(&plane, TEST_NAMESPACE, &text).await;
    assert_contains_all(
        ended.error(),
        &["pod sick: FailedCreatePodSandBox: failed to assign an IP address", "(for 2s)"],
    );
}

async fn selects_nothing(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    let text = runbook_yaml(
        "  - {id: it, action: wait_pods, timeout: 3s, with: {namespace: actions, selector: app=typo}}\n",
    );
    let ended = run(&plane, TEST_NAMESPACE, &text).await;
    assert_contains_all(ended.error(), &["0 of 0 pods with app=typo in actions Ready"]);
}

/// A node that no kubelet answers for: a pod on it is deleted, and stays.
async fn dead_kubelet(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    let no_kubelet = json!({"metadata": {"annotations": {"kwok.x-k8s.io/node": null}}});
    plane.node("dead", no_kubelet).await;
    let pod = json!({
        "metadata": {"name": "stuck"},
        "spec": {
            "nodeName": "dead",
            "containers": [{"name": "app", "image": "registry.example.com/app:1.0"}],
        },
    });
    let pod = plane.create::<Pod>(TEST_NAMESPACE, pod).await;
    plane.node_condition("dead", "False").await;
    let uid = pod.metadata.uid.unwrap();
    let delete = |parameters: &str| {
        runbook_yaml(&format!(
            "  - {{id: it, action: delete_pods, with: {{pods: [{{namespace: actions, name: stuck, uid: {uid}, ready: false}}], grace_period: 1s, {parameters}}}}}\n"
        ))
    };
    let ended = run(&plane, TEST_NAMESPACE, &delete("give_up_after: 2s")).await;
    assert_contains_all(ended.error(), &["pod stuck cannot end: its node dead is not Ready"]);
    let hint = ended.failure().hint.clone().unwrap_or_default();
    assert_contains_all(&hint, &["--grace-period=0 --force", "`force_after`"]);
    run(&plane, TEST_NAMESPACE, &delete("force_after: 1s")).await.expect_success();
    assert!(plane.api::<Pod>(TEST_NAMESPACE).get_opt("stuck").await.unwrap().is_none());
}

async fn progress_deadline(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    let mut late = with_pod_failure("never-ready", true);
    late["spec"]["progressDeadlineSeconds"] = json!(1);
    plane.deployment(TEST_NAMESPACE, "relay", 2, late).await;
    let ended = run(&plane, TEST_NAMESPACE, &runbook_yaml(RESTART))
        .await
        .expect_state(RunState::RolledBack);
    assert_contains_all(ended.error(), &["relay", "timed out progressing"]);
}

async fn paused(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane
        .create::<Deployment>(
            TEST_NAMESPACE,
            deployment("relay", 0, json!({"spec": {"paused": true}})),
        )
        .await;
    let ended = run(&plane, TEST_NAMESPACE, &runbook_yaml(RESTART)).await;
    assert_contains_all(ended.error(), &["relay", "paused"]);
    let deployment = plane.api::<Deployment>(TEST_NAMESPACE).get("relay").await.unwrap();
    assert_eq!(deployment.spec.template.metadata.unwrap().annotations, None);
}

async fn autoscaled(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 1, json!({})).await;
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "relay"});
    let spec = json!({"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5});
    plane
        .create::<HorizontalPodAutoscaler>(
            TEST_NAMESPACE,
            json!({"metadata": {"name": "relay-hpa"}, "spec": spec}),
        )
        .await;
    let ended = run(&plane, TEST_NAMESPACE, &runbook_yaml(SCALE)).await;
    assert_contains_all(ended.error(), &["relay-hpa"]);
    let deployment = plane.api::<Deployment>(TEST_NAMESPACE).get("relay").await.unwrap();
    assert_eq!(deployment.spec.replicas, Some(1));
}

async fn budget_blocks(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 2, json!({})).await;
    budget(&plane, TEST_NAMESPACE, json!({"maxUnavailable": 0})).await;
    let text = runbook_yaml(
        "  - {id: pods, action: list_pods, with: {namespace: actions, deployment: relay}}\n  \
           - {id: delete, action: delete_pods, timeout: 3s, with: {pods: '{{ pods.pods }}', evict: true}}\n",
    );
    let before = plane.pods(TEST_NAMESPACE, "relay").await;
    let ended = run(&plane, TEST_NAMESPACE, &text).await;
    assert_contains_all(ended.error(), &["relay-budget"]);
    let after = plane.pods(TEST_NAMESPACE, "relay").await;
    let uids = |pods: &[Pod]| pods.iter().map(|pod| pod.metadata.uid.clone()).collect::<Vec<_>>();
    assert_eq!(uids(&after), uids(&before));
}

async fn another_uid(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    let pod = json!({
        "metadata": {"name": "relay"},
        "spec": {"containers": [{"name": "app", "image": "registry.example.com/app:1.0"}]},
    });
    plane.create::<Pod>(TEST_NAMESPACE, pod).await;
    let text = runbook_yaml(
        "  - {id: delete, action: delete_pods, with: {pods: [{namespace: actions, name: relay, uid: 0f0f0f0f-0000-4000-a000-000000000000, ready: true}]}}\n",
    );
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_success();
    assert_eq!(ended.output("delete")["deleted"], json!([]));
    let pod = plane.api::<Pod>(TEST_NAMESPACE).get("relay").await.unwrap();
    assert_eq!(pod.metadata.deletion_timestamp, None);
}

/// A nodegroup of two nodes, before a real control plane, of which the next does not get Ready if it is said.
fn simulate_small_nodegroup(plane: &ControlPlane, slow: &str) -> SimulateProcess {
    let group = "name: relay, labels: {Name: nodegroup-relay-services}, max: 4, desired: 2";
    let map = "namespace: rafay-core, name: rafay-relay-sop-config, data: {aws-region: us-west-2, eks-cluster: rafay-cluster}";
    simulate_scenario_over(
        plane,
        &format!(
            "nodegroups:\n- {{{group}{slow}}}\nnamespaces: [rafay-core]\nconfig_maps:\n- {{{map}}}\n"
        ),
    )
}

/// The first four steps, called as an errand's runbook is.
fn scale_up_as_relay_scale() -> String {
    SCALE_UP.replace("name: scale-up", "name: relay-scale")
}

async fn node_never_ready(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let simulate =
        simulate_small_nodegroup(&plane, ", slow: [{nth: 2, boot: 10s, never_ready: true}]");
    let dir = tempfile::tempdir().unwrap();
    let runbook = scale_up_as_relay_scale()
        .replace("on_failure: rollback", "on_failure: stop")
        .replace("count: ", "ready_within: 1m\n      count: ");
    let mut command = CliRun::of(&runbook).command(&simulate, dir.path());
    let ended = ProgramOutput::run_async(&mut command).await.expect_exit_code(4);
    assert_contains_all(
        &ended.stderr,
        &["node ip-10-0-", "did not become Ready (in service for 1m); 3 of 4 nodes are Ready"],
    );
}

/// The rollback drains the new nodes first, and keeps them where a disruption budget blocks that.
async fn budget_blocks_rollback(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let simulate = simulate_small_nodegroup(&plane, "");
    plane.deployment(NAMESPACE, "relay", 2, json!({})).await;
    budget(&plane, NAMESPACE, json!({"maxUnavailable": 0})).await;
    let runbook = scale_up_as_relay_scale()
        + "
  - id: close_old
    action: cordon
    with: {nodes: \"{{ scale_up.before.nodes | map(attribute='name') | list }}\"}
  - id: to_new
    action: rollout_restart
    with: {namespace: rafay-core, deployment: relay}
  - id: doubt
    action: assert
    with: {that: \"{{ new_nodes.count == 0 }}\", message: not today}
";
    let dir = tempfile::tempdir().unwrap();
    let mut command = CliRun::of(&runbook).command(&simulate, dir.path());
    let refused = ProgramOutput::run_async(&mut command).await.expect_exit_code(3);
    assert_contains_all(&refused.stderr, &["budget_blocks: ", "relay-budget never allows"]);
    let accepting = CliRun::of(&runbook).with(&["--accept", "budget_blocks"]);
    let mut command = accepting.command(&simulate, dir.path());
    let ended = ProgramOutput::run_async(&mut command).await.expect_exit_code(4);
    assert_contains_all(&ended.stderr, &["could not undo Scale nodegroup", "relay-budget"]);
    assert_contains_all(
        &ended.stderr,
        &["is only partly rolled back", "runs rollback ", "runs abandon "],
    );
    assert!(!ended.stderr.contains("runs resume "), "it would go back too: {}", ended.stderr);
    let state = simulate.state().await;
    let group = &state.nodegroups["relay"];
    assert_eq!((group.desired, group.instances.len()), (4, 4), "nothing was taken away");
    let cordoned = state.nodes.values().filter(|node| node.unschedulable).count();
    assert_eq!(cordoned, 2, "the old nodes are open again, and the new ones are closed");
    plane.wait_until_ready(NAMESPACE, "relay", 2).await;
}
