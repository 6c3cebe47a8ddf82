//! Runbooks of `runbooks/` on the real control plane, with the simulator's account behind it.

use std::{collections::BTreeSet, sync::Arc};

use futures::StreamExt as _;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};
use kube::{
    api::ListParams,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use simulator::ClusterState;
use tokio::task::JoinHandle;

use crate::{
    accounts::{Grant, TestServiceAccount},
    actions::budget,
    audit,
    cli_run::{NAMESPACE, SPEED, simulate_scenario_over},
    cluster::wait_until,
    fixture::ControlPlane,
    harness::{Test, test},
};
use test_support::{ProgramOutput, SimulateProcess, program};

const ROTATE: &str = include_str!("../../runbooks/rotate-nodegroup.yaml");
const REPLACE: &str = include_str!("../../runbooks/replace-node.yaml");

const NODES: usize = 30;
const BATCH: usize = 5;
const PODS: i32 = 60;
/// How many pods the budget lets be missing.
const MAX_UNAVAILABLE: i32 = 4;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("library::thirty_nodes_are_rotated_in_batches_under_a_budget", rotate),
        test("library::nodes_are_drained_before_a_nodegroup_is_smaller", scale_in),
    ]
}

/// Runs the first of these runbooks, which may call the others, with the program and as an account that has exactly the
/// permissions that are derived from them, and returns the account.
async fn run(
    plane: &ControlPlane,
    simulate: &SimulateProcess,
    texts: &[&str],
    inputs: &[&str],
) -> TestServiceAccount {
    let grant = Grant::for_runbook(&texts.join("\n---\n"));
    let account = TestServiceAccount::new(plane, NAMESPACE, "runner", grant).await;
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for text in texts {
        let name = text.lines().find_map(|line| line.strip_prefix("name: ")).unwrap();
        files.push(dir.path().join(format!("{name}.yaml")));
        std::fs::write(files.last().unwrap(), text).unwrap();
    }
    let mut command = program();
    command.envs(simulate.environment.iter().cloned()).env("KUBECONFIG", &account.kubeconfig);
    command.arg("--state-dir").arg(dir.path().join("state"));
    command.args(["run", "--yes", "--speed", SPEED]).arg(&files[0]);
    for input in inputs {
        command.args(["--input", input]);
    }
    let ended = ProgramOutput::run_async(&mut command).await.expect_exit_code(0);
    assert_eq!(audit::denied_calls(plane, &account).await, [""; 0], "{}", ended.stdout);
    account
}

/// The API server decides about each eviction; the scheduler places the pods that come instead.
async fn rotate(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let scenario = format!(
        "nodegroups:\n- {{name: relay, min: 1, max: {}, desired: {NODES}}}\n",
        NODES + BATCH
    );
    let simulate = simulate_scenario_over(&plane, &scenario);
    plane.deployment(NAMESPACE, "relay", PODS, json!({})).await;
    budget(&plane, NAMESPACE, json!({"maxUnavailable": MAX_UNAVAILABLE})).await;
    let before = simulate.state().await;
    let (fewest, most) = (watch_available(&plane), watch_cordoned(&plane));

    let at_once = format!("at_once={BATCH}");
    let inputs = ["region=us-west-2", "cluster=rafay-cluster", "nodegroup=relay", &at_once];
    let account = run(&plane, &simulate, &[ROTATE, REPLACE], &inputs).await;
    let after = simulate.state().await;
    let instances = |state: &ClusterState| -> BTreeSet<String> {
        state.nodegroups["relay"].instances.keys().cloned().collect()
    };
    assert_eq!(instances(&after).len(), NODES);
    assert!(instances(&after).is_disjoint(&instances(&before)));
    plane.wait_until_ready(NAMESPACE, "relay", PODS).await;
    let (fewest, most) = (stop(fewest).await, stop(most).await);
    assert!(fewest >= PODS - MAX_UNAVAILABLE, "{fewest} of {PODS} pods were available");
    assert!(most <= BATCH, "{most} nodes were cordoned at a time");
    assert!(most > 1, "several nodes are replaced at a time");
    let changes = audit::mutations(&plane, &account).await;
    let deleted = changes.iter().filter(|change| change.starts_with("delete pods"));
    assert_eq!(deleted.count(), 0, "pods are evicted, and not deleted");
}

/// The pods of the nodes that go run elsewhere before their instances end.
async fn scale_in(plane: Arc<ControlPlane>) {
    const RUNBOOK: &str = "\
name: smaller
defaults: {timeout: 2h, on_failure: stop}
steps:
- id: smaller
  action: scale_nodegroup
  with: {nodegroup: {region: us-west-2, cluster: rafay-cluster, name: relay}, desired: 2, drain: true}
";
    plane.namespace(NAMESPACE).await;
    let scenario = "nodegroups:\n- {name: relay, min: 1, max: 4, desired: 4}\n";
    let simulate = simulate_scenario_over(&plane, scenario);
    // The scheduler spreads the pods over all of them.
    let nodes = kube::Api::<Node>::all(plane.client.clone());
    wait_until("the nodes", async || {
        let found = nodes.list(&ListParams::default()).await.unwrap().items;
        let taints = |node: &Node| node.spec.iter().flat_map(|spec| &spec.taints).flatten().count();
        found.iter().filter(|node| taints(node) == 0).count() >= 4
    })
    .await;
    plane.deployment(NAMESPACE, "relay", 8, json!({})).await;
    budget(&plane, NAMESPACE, json!({"maxUnavailable": 2})).await;
    let account = run(&plane, &simulate, &[RUNBOOK], &[]).await;
    let after = simulate.state().await;
    assert_eq!(after.nodegroups["relay"].instances.len(), 2);
    assert_eq!(after.nodegroups["relay"].desired, 2);
    plane.wait_until_ready(NAMESPACE, "relay", 8).await;
    let changes = audit::mutations(&plane, &account).await;
    let evicted = changes.iter().filter(|change| change.ends_with("/eviction"));
    assert!(evicted.count() >= 2, "{changes:?}");
    assert!(!changes.iter().any(|change| change.starts_with("delete pods")), "{changes:?}");
}

/// A value that is observed until it is asked for.
struct Observed<T> {
    value: Arc<std::sync::Mutex<T>>,
    task: JoinHandle<()>,
}

async fn stop<T: Copy>(observed: Observed<T>) -> T {
    observed.task.abort();
    let _ = observed.task.await;
    *observed.value.lock().unwrap()
}

/// Watches how few pods of the deployment are available.
fn watch_available(plane: &ControlPlane) -> Observed<i32> {
    let value = Arc::new(std::sync::Mutex::new(PODS));
    let (deployments, seen) = (plane.api::<Deployment>(NAMESPACE), Arc::clone(&value));
    let task = tokio::spawn(async move {
        let mut objects =
            Box::pin(watcher(deployments, watcher::Config::default()).applied_objects());
        while let Some(object) = objects.next().await {
            let available = object.ok().and_then(|object| object.status?.available_replicas);
            let mut fewest = seen.lock().unwrap();
            *fewest = (*fewest).min(available.unwrap_or(*fewest));
        }
    });
    Observed { value, task }
}

/// Watches how many nodes are cordoned at a time.
fn watch_cordoned(plane: &ControlPlane) -> Observed<usize> {
    let value = Arc::new(std::sync::Mutex::new(0));
    let (nodes, seen) = (kube::Api::<Node>::all(plane.client.clone()), Arc::clone(&value));
    let task = tokio::spawn(async move {
        let mut cordoned = BTreeSet::new();
        let mut events = Box::pin(watcher(nodes, watcher::Config::default()));
        while let Some(event) = events.next().await {
            let (node, is_there) = match event {
                Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) => (node, true),
                Ok(watcher::Event::Delete(node)) => (node, false),
                Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => continue,
            };
            let is_cordoned = node.spec.and_then(|spec| spec.unschedulable) == Some(true);
            let name = node.metadata.name.unwrap_or_default();
            match is_there && is_cordoned {
                true => cordoned.insert(name),
                false => cordoned.remove(&name),
            };
            let mut most = seen.lock().unwrap();
            *most = (*most).max(cordoned.len());
        }
    });
    Observed { value, task }
}
