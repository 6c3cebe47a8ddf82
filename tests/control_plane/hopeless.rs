//! Waits that cannot end well end early, and say why; what a runbook should not touch is refused.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod,
};
use rafay_relay_sop::journal::State;
use serde_json::json;

use crate::{
    actions::budget,
    cluster::{deployment, one_a_node, playing},
    desk::{book, run},
    fixture::ControlPlane,
    harness::{Test, test},
    outcome::{Errand, NAMESPACE, over_scenario},
    support::{Program, SCALE_UP, SimulateProcess},
};

const SPACE: &str = "actions";

pub(crate) fn tests() -> Vec<Test> {
    let single = vec![
        test("hopeless::a_pod_that_finds_no_node", unschedulable),
        test("hopeless::a_rollout_past_its_deadline", progress_deadline),
        test("hopeless::a_paused_deployment_is_not_restarted", paused),
        test("hopeless::a_deployment_of_an_autoscaler_is_not_scaled", autoscaled),
        test("hopeless::a_budget_that_allows_nothing", budget_blocks),
        test("hopeless::a_budget_that_allows_no_way_back", budget_blocks_the_way_back),
        test("hopeless::a_pod_that_has_another_uid_stays", another_uid),
        test("hopeless::a_node_that_never_gets_ready", node_never_ready),
    ];
    single.into_iter().chain(giving_up()).collect()
}

const SCALE: &str = "  - {id: scale, action: scale_deployment, with: {namespace: actions, deployment: relay, replicas: 3, give_up_after: 2s}}\n";
const RESTART: &str =
    "  - {id: restart, action: rollout_restart, with: {namespace: actions, deployment: relay}}\n";

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
    names_all(ended.error(), &["relay-", "anti-affinity", "(for 2s)"]);
    // What was sent is undone all the same.
    plane.until_ready(SPACE, "relay", 2).await;
}

/// A step that is given two seconds for pods that fail, and how its deployment begins.
struct GivingUp {
    action: &'static str,
    replicas: i32,
    /// Whether only the pods fail that the step brings about.
    restarted: bool,
}

const GIVING_UP: [GivingUp; 3] = [
    GivingUp { action: "scale_deployment", replicas: 0, restarted: false },
    GivingUp { action: "rollout_restart", replicas: 2, restarted: true },
    GivingUp { action: "wait_pods", replicas: 1, restarted: false },
];

const NO_NODE: &str = "no-node";

/// What ails the pods, and the word for it in the end.
const AILMENTS: [(&str, &str); 3] = [
    ("missing-image", "ImagePullBackOff"),
    ("crash-loop", "CrashLoopBackOff"),
    (NO_NODE, "nodes are available"),
];

/// A test of each action for each ailment.
fn giving_up() -> impl Iterator<Item = Test> {
    GIVING_UP.iter().flat_map(|step| {
        AILMENTS.iter().map(move |(ailment, word)| {
            let name = format!("hopeless::{}_of_pods_with_{ailment}", step.action);
            test(name, async move |plane: Arc<ControlPlane>| {
                gives_up(&plane, step, ailment, word).await;
            })
        })
    })
}

async fn gives_up(plane: &ControlPlane, step: &GivingUp, ailment: &str, word: &str) {
    plane.namespace(SPACE).await;
    plane.node("one", json!({})).await;
    let relay = deployment("relay", step.replicas, playing(ailment, step.restarted));
    if step.restarted {
        plane.create::<Deployment>(SPACE, relay).await;
        plane.until_ready(SPACE, "relay", step.replicas).await;
        plane.close(ailment == NO_NODE).await;
    } else {
        plane.close(ailment == NO_NODE).await;
        plane.create::<Deployment>(SPACE, relay).await;
    }
    let more = if step.action == "scale_deployment" { ", replicas: 2" } else { "" };
    let text = book(&format!(
        "  - {{id: it, action: {}, with: {{namespace: actions, deployment: relay, give_up_after: 2s{more}}}}}\n",
        step.action
    ));
    let ended = run(plane, SPACE, &text).await.is(State::RolledBack);
    names_all(ended.error(), &["pod relay-", word, "(for 2s)"]);
}

async fn progress_deadline(plane: Arc<ControlPlane>) {
    plane.namespace(SPACE).await;
    plane.node("one", json!({})).await;
    let mut late = playing("never-ready", true);
    late["spec"]["progressDeadlineSeconds"] = json!(1);
    plane.deployment(SPACE, "relay", 2, late).await;
    let ended = run(&plane, SPACE, &book(RESTART)).await.is(State::RolledBack);
    names_all(ended.error(), &["relay", "timed out progressing"]);
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
    budget(&plane, SPACE, json!({"maxUnavailable": 0})).await;
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

/// A nodegroup of two nodes, before a real control plane, of which the next does not get Ready if it is said.
fn small_world(plane: &ControlPlane, slow: &str) -> SimulateProcess {
    let group = "name: relay, labels: {Name: nodegroup-relay-services}, max: 4, desired: 2";
    let map = "namespace: rafay-core, name: rafay-relay-sop-config, data: {aws-region: us-west-2, eks-cluster: rafay-cluster}";
    over_scenario(
        plane,
        &format!(
            "nodegroups:\n- {{{group}{slow}}}\nnamespaces: [rafay-core]\nconfig_maps:\n- {{{map}}}\n"
        ),
    )
}

/// The first four steps, called as an errand's runbook is.
fn first_steps() -> String {
    SCALE_UP.replace("name: scale-up", "name: relay-scale")
}

async fn node_never_ready(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let simulate = small_world(&plane, ", slow: [{nth: 2, boot: 10s, never_ready: true}]");
    let folder = tempfile::tempdir().unwrap();
    let book = first_steps()
        .replace("on_failure: rollback", "on_failure: stop")
        .replace("count: ", "ready_within: 6s\n      count: ");
    let mut command = Errand::of(&book).command(&simulate, folder.path());
    let ended = Program::beside(&mut command).await.ends_with(4);
    names_all(
        &ended.stderr,
        &["node ip-10-0-", "does not get Ready (in service for 6s); 3 of 4 nodes are Ready"],
    );
}

/// The way back empties the new nodes first, and keeps them where a budget does not let it.
async fn budget_blocks_the_way_back(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let simulate = small_world(&plane, "");
    plane.deployment(NAMESPACE, "relay", 2, json!({})).await;
    budget(&plane, NAMESPACE, json!({"maxUnavailable": 0})).await;
    let book = first_steps()
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
    let folder = tempfile::tempdir().unwrap();
    let mut command = Errand::of(&book).command(&simulate, folder.path());
    let ended = Program::beside(&mut command).await.ends_with(4);
    names_all(&ended.stderr, &["not today", "could not undo Scale nodegroup", "relay-budget"]);
    names_all(&ended.stderr, &["is not wholly rolled back", "runs rollback ", "runs abandon "]);
    assert!(!ended.stderr.contains("runs resume "), "it would go back too: {}", ended.stderr);
    let state = simulate.state().await;
    let group = &state.nodegroups["relay"];
    assert_eq!((group.desired, group.instances.len()), (4, 4), "nothing was taken away");
    let cordoned = state.nodes.values().filter(|node| node.unschedulable).count();
    assert_eq!(cordoned, 2, "the old nodes are open again, and the new ones are closed");
    plane.until_ready(NAMESPACE, "relay", 2).await;
}
