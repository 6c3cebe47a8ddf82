//! Waits that cannot end well end early, and say why; what a runbook should not touch is refused.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod,
};
use rafay_relay_sop::journal::State;
use serde_json::json;

use crate::{
    actions::budget,
    cluster::{deployment, one_a_node, playing, until},
    desk::{book, run},
    fixture::ControlPlane,
    harness::{Test, test},
    outcome::{Errand, NAMESPACE, over_scenario},
    support::{Program, SCALE_UP},
};

const SPACE: &str = "actions";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("hopeless::a_pod_that_finds_no_node", unschedulable),
        test("hopeless::an_image_that_is_missing", missing_image),
        test("hopeless::a_restart_whose_pods_crash", crash_loop),
        test("hopeless::a_rollout_past_its_deadline", progress_deadline),
        test("hopeless::a_paused_deployment_is_not_restarted", paused),
        test("hopeless::a_deployment_of_an_autoscaler_is_not_scaled", autoscaled),
        test("hopeless::a_budget_that_allows_nothing", budget_blocks),
        test("hopeless::a_pod_that_has_another_uid_stays", another_uid),
        test("hopeless::a_node_that_never_gets_ready", node_never_ready),
    ]
}

const SCALE: &str = "  - {id: scale, action: scale_deployment, with: {namespace: actions, deployment: relay, replicas: 3, give_up_after: 2s}}\n";
const RESTART: &str = "  - {id: restart, action: rollout_restart, with: {namespace: actions, deployment: relay, give_up_after: 2s}}\n";

/// Fails unless the text has each of these parts.
#[track_caller]
fn names_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

async fn unschedulable(plane: Arc<ControlPlane>) {
    plane.namespace(SPACE).await;
    plane.node("one", json!({})).await;
    plane.node("two", json!({})).await;
    plane.deployment(SPACE, "relay", 2, one_a_node("relay")).await;
    let ended = run(&plane, SPACE, &book(SCALE)).await.is(State::RolledBack);
    names_all(ended.error(), &["relay-", "anti-affinity"]);
    // What was sent is undone all the same.
    plane.until_ready(SPACE, "relay", 2).await;
}

async fn missing_image(plane: Arc<ControlPlane>) {
    plane.namespace(SPACE).await;
    plane.node("one", json!({})).await;
    plane
        .create::<Deployment>(SPACE, deployment("relay", 1, playing("missing-image", false)))
        .await;
    let text = book(
        "  - {id: pods, action: wait_pods, with: {namespace: actions, deployment: relay, give_up_after: 2s}}\n",
    );
    let ended = run(&plane, SPACE, &text).await;
    names_all(ended.error(), &["relay-", "ImagePullBackOff"]);
}

async fn crash_loop(plane: Arc<ControlPlane>) {
    plane.namespace(SPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(SPACE, "relay", 2, playing("crash-loop", true)).await;
    let ended = run(&plane, SPACE, &book(RESTART)).await;
    names_all(ended.error(), &["relay-", "CrashLoopBackOff"]);
}

async fn progress_deadline(plane: Arc<ControlPlane>) {
    plane.namespace(SPACE).await;
    plane.node("one", json!({})).await;
    let mut late = playing("never-ready", true);
    late["spec"]["progressDeadlineSeconds"] = json!(1);
    plane.deployment(SPACE, "relay", 2, late).await;
    let ended = run(&plane, SPACE, &book(RESTART)).await;
    names_all(ended.error(), &["relay", "progress"]);
}

async fn paused(plane: Arc<ControlPlane>) {
    plane.namespace(SPACE).await;
    plane
        .create::<Deployment>(SPACE, deployment("relay", 0, json!({"spec": {"paused": true}})))
        .await;
    let ended = run(&plane, SPACE, &book(RESTART)).await;
    names_all(ended.error(), &["relay", "paused"]);
    let deployment = plane.api::<Deployment>(SPACE).get("relay").await.unwrap();
    assert_eq!(deployment.spec.template.metadata.unwrap().annotations, None);
}

async fn autoscaled(plane: Arc<ControlPlane>) {
    plane.namespace(SPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(SPACE, "relay", 1, json!({})).await;
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "relay"});
    let spec = json!({"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5});
    plane
        .create::<HorizontalPodAutoscaler>(
            SPACE,
            json!({"metadata": {"name": "relay-hpa"}, "spec": spec}),
        )
        .await;
    let ended = run(&plane, SPACE, &book(SCALE)).await;
    names_all(ended.error(), &["relay-hpa"]);
    let deployment = plane.api::<Deployment>(SPACE).get("relay").await.unwrap();
    assert_eq!(deployment.spec.replicas, Some(1));
}

async fn budget_blocks(plane: Arc<ControlPlane>) {
    plane.namespace(SPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(SPACE, "relay", 2, json!({})).await;
    budget(&plane, json!({"maxUnavailable": 0})).await;
    let text = book(
        "  - {id: pods, action: list_pods, with: {namespace: actions, deployment: relay}}\n  \
           - {id: delete, action: delete_pods, timeout: 3s, with: {pods: '{{ pods.pods }}', evict: true}}\n",
    );
    let before = plane.pods(SPACE, "relay").await;
    let ended = run(&plane, SPACE, &text).await;
    names_all(ended.error(), &["relay-budget"]);
    let after = plane.pods(SPACE, "relay").await;
    let uids = |pods: &[Pod]| pods.iter().map(|pod| pod.metadata.uid.clone()).collect::<Vec<_>>();
    assert_eq!(uids(&after), uids(&before));
}

async fn another_uid(plane: Arc<ControlPlane>) {
    plane.namespace(SPACE).await;
    plane.node("one", json!({})).await;
    let pod = json!({
        "metadata": {"name": "relay"},
        "spec": {"containers": [{"name": "app", "image": "registry.example.com/app:1.0"}]},
    });
    plane.create::<Pod>(SPACE, pod).await;
    let text = book(
        "  - {id: delete, action: delete_pods, with: {pods: [{namespace: actions, name: relay, uid: 0f0f0f0f-0000-4000-a000-000000000000, ready: true}]}}\n",
    );
    let ended = run(&plane, SPACE, &text).await.succeeded();
    assert_eq!(ended.output("delete")["deleted"], json!([]));
    let pod = plane.api::<Pod>(SPACE).get("relay").await.unwrap();
    assert_eq!(pod.metadata.deletion_timestamp, None);
}

async fn node_never_ready(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let simulate = over_scenario(
        &plane,
        "nodegroups:\n- {name: relay, labels: {Name: nodegroup-relay-services}, max: 4, desired: 2, slow: [{nth: 2, boot: 10s, never_ready: true}]}\nnamespaces: [rafay-core]\nconfig_maps:\n- {namespace: rafay-core, name: rafay-relay-sop-config, data: {aws-region: us-west-2, eks-cluster: rafay-cluster}}\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let late = SCALE_UP
        .replace("timeout: 15m", "timeout: 2m")
        .replace("name: scale-up", "name: relay-scale");
    let mut command = Errand::of(&late.replace("on_failure: rollback", "on_failure: stop"))
        .command(&simulate, folder.path());
    let ended = Program::of(&mut command).ends_with(4);
    names_all(&ended.stderr, &["timed out", "3 of 4", "ip-10-0-"]);
    until("the other new node", async || {
        simulate.state().await.nodes.values().filter(|node| node.ready).count() == 3
    })
    .await;
}
