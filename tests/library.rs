//! The runbooks of `runbooks/`, each with what it does on the simulated cluster and with its undo. relay-scale has tests
//! of its own (`relay_scale.rs`).

use std::collections::BTreeSet;

use rafay_relay_sop::journal::{ResumeMode, RunState};
use serde_json::{Value, json};
use simulator::{ClusterState, Effect, Fault, Scenario, Spread};

use test_support::{FinishedRun, TestCluster};

const GROUP: &str = "relay-services-1a2b3c";

/// Returns the text of a runbook with those that it can call.
pub(crate) fn runbook(name: &str) -> String {
    let texts = [
        include_str!("../runbooks/drain-node.yaml"),
        include_str!("../runbooks/evacuate-zone.yaml"),
        include_str!("../runbooks/park.yaml"),
        include_str!("../runbooks/replace-node.yaml"),
        include_str!("../runbooks/restart-deployments.yaml"),
        include_str!("../runbooks/rotate-nodegroup.yaml"),
        include_str!("../runbooks/scale-nodegroup.yaml"),
        include_str!("../runbooks/unpark.yaml"),
        include_str!("../runbooks/upgrade-nodegroup.yaml"),
    ];
    let is_it = |text: &&str| text.contains(&format!("\nname: {name}\n"));
    let (own, others): (Vec<&str>, Vec<&str>) = texts.into_iter().partition(is_it);
    own.into_iter().chain(others).collect::<Vec<_>>().join("\n---\n")
}

/// The inputs of a runbook about the nodegroup of the relay.
fn group(more: Value) -> Value {
    let mut inputs = json!({"region": "us-west-2", "cluster": "rafay-cluster", "nodegroup": GROUP});
    for (name, value) in more.as_object().unwrap() {
        inputs[name] = value.clone();
    }
    inputs
}

async fn state(cluster: &TestCluster) -> ClusterState {
    cluster.simulator.state().await.unwrap()
}

fn cordoned(state: &ClusterState) -> BTreeSet<&str> {
    let nodes = state.nodes.iter().filter(|(_, node)| node.unschedulable);
    nodes.map(|(name, _)| name.as_str()).collect()
}

/// The nodes on which Ready pods of a deployment run.
fn nodes_of(state: &ClusterState, app: &str) -> BTreeSet<String> {
    let pods = state.pods.values().filter(|pod| pod.app.as_deref() == Some(app) && pod.ready);
    pods.filter_map(|pod| pod.node.clone()).collect()
}

/// Every deployment has as many Ready pods as it is to have.
fn assert_complete(state: &ClusterState) {
    for (name, deployment) in &state.deployments {
        assert_eq!(deployment.ready, deployment.replicas, "{name}");
    }
}

/// Lets a runbook fail after its last step.
fn failing(text: &str) -> String {
    let step = "  - {id: no, on_failure: stop, action: assert, with: {that: false, message: no}}\noutputs:\n";
    text.replacen("outputs:\n", step, 1)
}

async fn rolled_back(cluster: &TestCluster, run: &FinishedRun) -> FinishedRun {
    let back = cluster.resume(run.run.id(), ResumeMode::Rollback).await;
    back.expect_state(RunState::RolledBack)
}

/// A node of the nodegroup of the relay.
const RELAY_NODE: &str = "ip-10-0-16-11.us-west-2.compute.internal";

const NODE: &str = "ip-10-0-16-15.us-west-2.compute.internal";

#[tokio::test(flavor = "multi_thread")]
async fn drain_node_empties_a_node() {
    let cluster = TestCluster::new().await;
    cluster.run_with(&runbook("drain-node"), json!({"node": NODE})).await.expect_success();
    let state = state(&cluster).await;
    assert_eq!(cordoned(&state), BTreeSet::from([NODE]));
    let used = state.pods.values().filter_map(|pod| pod.node.as_deref());
    assert!(used.into_iter().all(|node| node != NODE));
    assert_complete(&state);
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_node_is_undone_when_a_later_step_fails() {
    let cluster = TestCluster::new().await;
    let text = failing(&runbook("drain-node"));
    let failed = cluster.run_with(&text, json!({"node": NODE})).await;
    let failed = failed.expect_state(RunState::Failed);
    rolled_back(&cluster, &failed).await;
    assert_eq!(cordoned(&state(&cluster).await), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn rotate_nodegroup_replaces_every_node() {
    let cluster = TestCluster::new().await;
    let before = state(&cluster).await;
    let old: BTreeSet<String> = before.nodegroups[GROUP].instances.keys().cloned().collect();
    let ended = cluster.run_with(&runbook("rotate-nodegroup"), group(json!({}))).await;
    let ended = ended.expect_success();
    let after = state(&cluster).await;
    let new: BTreeSet<String> = after.nodegroups[GROUP].instances.keys().cloned().collect();
    assert_eq!(new.len(), old.len());
    assert!(new.is_disjoint(&old), "{new:?} {old:?}");
    assert_complete(&after);
    assert_eq!(ended.output("replace").as_array().unwrap().len(), old.len());
    // What was held for the time of the run is as before, and no instance of another group was touched.
    let resumed = cluster.effective_calls().into_iter().filter(|call| call.contains("Processes"));
    assert_eq!(
        resumed.collect::<Vec<_>>(),
        ["autoscaling:SuspendProcesses", "autoscaling:ResumeProcesses"]
    );
    assert_eq!(cordoned(&after), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn rotate_nodegroup_replaces_several_nodes_at_a_time() {
    let cluster = TestCluster::new().await;
    let before = state(&cluster).await;
    let inputs = group(json!({"at_once": 2}));
    let ended = cluster.run_with(&runbook("rotate-nodegroup"), inputs).await.expect_success();
    let after = state(&cluster).await;
    let instances = |state: &ClusterState| -> BTreeSet<String> {
        state.nodegroups[GROUP].instances.keys().cloned().collect()
    };
    assert!(instances(&after).is_disjoint(&instances(&before)));
    assert_complete(&after);
    let lines = ended.lines();
    let at = |line: &str| lines.iter().position(|other| other.starts_with(line)).unwrap();
    assert!(at("replace[1]: Starting step") < at("replace[0]: Completed step"));
}

/// The nodes that were replaced stay so, and one that was about to be is opened again.
#[tokio::test(flavor = "multi_thread")]
async fn rotate_nodegroup_that_stops_halfway_is_rolled_back() {
    let cluster = TestCluster::new().await;
    let effect = Effect::Fail { status: 400, code: "ValidationError".into(), message: "no".into() };
    let matching = "autoscaling:TerminateInstanceInAutoScalingGroup".to_owned();
    cluster.simulator.inject(Fault { matching, nth: 2, times: 1, effect });
    let failed = cluster.run_with(&runbook("rotate-nodegroup"), group(json!({}))).await;
    let failed = failed.expect_state(RunState::Failed);
    let held = cluster.effective_calls().into_iter().filter(|call| call.contains("Processes"));
    let expected = ["autoscaling:SuspendProcesses", "autoscaling:ResumeProcesses"];
    assert_eq!(held.collect::<Vec<_>>(), expected);
    assert_eq!(cordoned(&state(&cluster).await).len(), 1, "{:#?}", failed.lines());
    rolled_back(&cluster, &failed).await;
    let after = state(&cluster).await;
    assert_eq!(cordoned(&after), BTreeSet::new());
    assert_complete(&after);
}

/// An instance that has ended stays so; nothing else is left of the run.
#[tokio::test(flavor = "multi_thread")]
async fn replace_node_is_rolled_back_as_far_as_it_can_be() {
    let cluster = TestCluster::new().await;
    let before = state(&cluster).await;
    let inputs = group(json!({"node": RELAY_NODE}));
    let failed = cluster.run_with(&failing(&runbook("replace-node")), inputs).await;
    rolled_back(&cluster, &failed.expect_state(RunState::Failed)).await;
    let after = state(&cluster).await;
    assert_eq!(cordoned(&after), BTreeSet::new());
    assert!(!after.nodes.contains_key(RELAY_NODE));
    let sizes = |state: &ClusterState| {
        (state.nodegroups[GROUP].desired, state.nodegroups[GROUP].instances.len())
    };
    assert_eq!(sizes(&after), sizes(&before));
    assert_complete(&after);
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_deployments_restarts_them_in_order() {
    let cluster = TestCluster::new().await;
    let inputs = json!({"deployments": ["rafay-sentry", "relay-cache"]});
    let ended = cluster.run_with(&runbook("restart-deployments"), inputs).await.expect_success();
    let patched: Vec<String> = cluster
        .effective_calls()
        .into_iter()
        .filter(|call| call.starts_with("patch deployments"))
        .collect();
    assert_eq!(
        patched,
        ["patch deployments/rafay-core/rafay-sentry", "patch deployments/rafay-core/relay-cache"]
    );
    assert_eq!(ended.output("restart").as_array().unwrap().len(), 2);
    assert_complete(&state(&cluster).await);
}

/// A restart cannot be undone, and its pods are as good as those before.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_restart_deployments_changes_nothing() {
    let cluster = TestCluster::new().await;
    let inputs = json!({"deployments": ["rafay-sentry"]});
    let failed = cluster.run_with(&failing(&runbook("restart-deployments")), inputs).await;
    let before = cluster.effective_calls();
    rolled_back(&cluster, &failed.expect_state(RunState::Failed)).await;
    assert_eq!(cluster.effective_calls(), before);
    assert_complete(&state(&cluster).await);
}

/// One that does not exist is found before any is restarted.
#[tokio::test(flavor = "multi_thread")]
async fn restart_deployments_restarts_none_where_one_is_missing() {
    let cluster = TestCluster::new().await;
    let inputs = json!({"deployments": ["rafay-sentry", "rafay-setnry"]});
    let ended = cluster.run_with(&runbook("restart-deployments"), inputs).await;
    let ended = ended.expect_state(RunState::Failed);
    assert!(ended.error().contains("rafay-setnry"), "{}", ended.error());
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_nodegroup_changes_the_size_and_is_rolled_back() {
    let cluster = TestCluster::new().await;
    let sizes = |state: &ClusterState| {
        let group = &state.nodegroups[GROUP];
        (group.min, group.max, group.desired)
    };
    let before = sizes(&state(&cluster).await);
    let text = runbook("scale-nodegroup");
    cluster.run_with(&text, group(json!({"desired": 5}))).await.expect_success();
    assert_eq!(sizes(&state(&cluster).await).2, 5);

    let other = TestCluster::new().await;
    let failed = other.run_with(&failing(&text), group(json!({"desired": 5}))).await;
    rolled_back(&other, &failed.expect_state(RunState::Failed)).await;
    assert_eq!(sizes(&state(&other).await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_nodegroup_replaces_the_nodes() {
    let mut scenario = Scenario::default();
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == GROUP) {
        group.version = Some("1.34".into());
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let before = state(&cluster).await;
    let inputs = group(json!({"version": "1.35"}));
    let ended = cluster.run_with(&runbook("upgrade-nodegroup"), inputs).await.expect_success();
    let (after, upgrade) = (state(&cluster).await, ended.output("upgrade"));
    assert_eq!(
        (&upgrade["before"]["version"], &upgrade["version"]),
        (&json!("1.34"), &json!("1.35"))
    );
    let instances = |state: &ClusterState| -> BTreeSet<String> {
        state.nodegroups[GROUP].instances.keys().cloned().collect()
    };
    assert!(instances(&after).is_disjoint(&instances(&before)));
    assert_complete(&after);
}

/// EKS has no way back: what could be read as undone is not, and the rollback says nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_upgrade_nodegroup_keeps_the_new_version() {
    let mut scenario = Scenario::default();
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == GROUP) {
        group.version = Some("1.34".into());
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let inputs = group(json!({"version": "1.35"}));
    let failed = cluster.run_with(&failing(&runbook("upgrade-nodegroup")), inputs).await;
    let before = cluster.effective_calls();
    rolled_back(&cluster, &failed.expect_state(RunState::Failed)).await;
    assert_eq!(cluster.effective_calls(), before);
    assert_complete(&state(&cluster).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn evacuate_zone_leaves_no_pod_there() {
    let mut scenario = Scenario::default();
    // There are as many relay nodes as relay pods, and no two pods may be on one.
    scenario.deployments.iter_mut().for_each(|deployment| deployment.spread = Spread::None);
    let cluster = TestCluster::with_scenario(scenario).await;
    let inputs = json!({"zone": "us-west-2c"});
    cluster.run_with(&runbook("evacuate-zone"), inputs).await.expect_success();
    let state = state(&cluster).await;
    let zone = BTreeSet::from(["ip-10-0-16-13.us-west-2.compute.internal"]);
    assert_eq!(cordoned(&state), zone);
    let used: BTreeSet<String> = nodes_of(&state, "rafay-relay");
    assert!(used.iter().all(|node| !zone.contains(node.as_str())), "{used:?}");
    assert_complete(&state);
}

#[tokio::test(flavor = "multi_thread")]
async fn evacuate_zone_is_rolled_back() {
    let mut scenario = Scenario::default();
    scenario.deployments.iter_mut().for_each(|deployment| deployment.spread = Spread::None);
    let cluster = TestCluster::with_scenario(scenario).await;
    let inputs = json!({"zone": "us-west-2c"});
    let failed = cluster.run_with(&failing(&runbook("evacuate-zone")), inputs).await;
    rolled_back(&cluster, &failed.expect_state(RunState::Failed)).await;
    let after = state(&cluster).await;
    assert_eq!(cordoned(&after), BTreeSet::new());
    assert_complete(&after);
}

#[tokio::test(flavor = "multi_thread")]
async fn evacuate_zone_changes_nothing_where_there_is_no_node() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run_with(&runbook("evacuate-zone"), json!({"zone": "us-west-2x"})).await;
    let ended = ended.expect_state(RunState::Failed);
    assert!(ended.error().contains("there is no node in us-west-2x"), "{}", ended.error());
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

/// The inputs of park and unpark.
fn parked() -> Value {
    json!({
        "region": "us-west-2", "cluster": "rafay-cluster", "nodegroups": [GROUP],
        "deployments": ["rafay-relay", "relay-cache"],
    })
}

/// The sizes of the parked deployments, and the desired and the least size of the nodegroup.
fn sizes(state: &ClusterState) -> (Vec<i32>, u32, u32) {
    let names = ["rafay-core/rafay-relay", "rafay-core/relay-cache"];
    let replicas = names.iter().map(|name| state.deployments[*name].replicas).collect();
    let group = &state.nodegroups[GROUP];
    (replicas, group.desired, group.min)
}

#[tokio::test(flavor = "multi_thread")]
async fn unpark_restores_what_park_has_remembered() {
    let cluster = TestCluster::new().await;
    let before = sizes(&state(&cluster).await);
    let ended = cluster.run_with(&runbook("park"), parked()).await.expect_success();
    assert_eq!(ended.output("stop_pods").as_array().unwrap().len(), 2);
    assert_eq!(sizes(&state(&cluster).await), (vec![0, 0], 0, 0));
    // Parking what is parked changes nothing, and so loses no size.
    let calls = cluster.effective_calls().len();
    cluster.run_with(&runbook("park"), parked()).await.expect_success();
    assert_eq!(cluster.effective_calls().len(), calls);
    cluster.run_with(&runbook("unpark"), parked()).await.expect_success();
    assert_eq!(sizes(&state(&cluster).await), before);
    // Nothing is remembered any more.
    let calls = cluster.effective_calls().len();
    cluster.run_with(&runbook("unpark"), parked()).await.expect_success();
    assert_eq!(cluster.effective_calls().len(), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn park_and_unpark_are_rolled_back() {
    let failing = |name: &str| {
        let no = "  - {id: no, on_failure: rollback, action: assert, with: {that: false, message: no}}\n";
        runbook(name).replacen("outputs:\n", &format!("{no}outputs:\n"), 1)
    };
    let cluster = TestCluster::new().await;
    let before = sizes(&state(&cluster).await);
    let ended = cluster.run_with(&failing("park"), parked()).await;
    ended.expect_state(RunState::RolledBack);
    assert_eq!(sizes(&state(&cluster).await), before);

    cluster.run_with(&runbook("park"), parked()).await.expect_success();
    let ended = cluster.run_with(&failing("unpark"), parked()).await;
    ended.expect_state(RunState::RolledBack);
    assert_eq!(sizes(&state(&cluster).await), (vec![0, 0], 0, 0));
    cluster.run_with(&runbook("unpark"), parked()).await.expect_success();
    assert_eq!(sizes(&state(&cluster).await), before, "the notes are still there");
}
