//! `limits`: how far the steps of a runbook may go, whatever their parameters say.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use rafay_relay_sop::{
    engine::StartError,
    journal::{Event, FailureKind, ResumeMode, RunState, StepEvent},
};
use serde_json::{Value, json};

use test_support::{FinishedRun, TestCluster};

/// A runbook over the nodes and the pods of the relay and the sentry, with these limits and further steps.
fn runbook(limits: &str, steps: &str) -> String {
    format!(
        "name: limited
inputs:
  most: {{type: integer, default: 5}}
  ready: {{type: string, default: \"2\"}}
defaults: {{timeout: 10m, retry: {{attempts: 1}}, on_failure: stop}}
limits: {limits}
steps:
- id: group
  action: find_nodegroup
  with: {{region: us-west-2, cluster: rafay-cluster, labels: {{Name: nodegroup-relay-services}}, min_nodes: 2}}
- {{id: relay, action: list_pods, with: {{namespace: rafay-core, deployment: rafay-relay}}}}
- {{id: sentry, action: list_pods, with: {{namespace: rafay-core, deployment: rafay-sentry}}}}
{steps}"
    )
}

const KEEP_SENTRY: &str = "{keep_ready: [{namespace: rafay-core, deployment: rafay-sentry, at_least: \"{{ inputs.ready }}\"}]}";

fn client(cluster: &TestCluster) -> Client {
    let uri = cluster.simulator.kubernetes_url().as_str().parse().unwrap();
    Client::try_from(kube::Config::new(uri)).unwrap()
}

/// Another client cordons every node, so that no pod that ends finds another place.
async fn cordon_all(cluster: &TestCluster) {
    let nodes: Api<Node> = Api::all(client(cluster));
    let patch = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    for name in cluster.simulator.state().await.unwrap().nodes.keys() {
        nodes.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }
}

async fn scale_sentry(cluster: &TestCluster, replicas: u32) {
    let deployments: Api<Deployment> = Api::namespaced(client(cluster), "rafay-core");
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch("rafay-sentry", &PatchParams::default(), &patch).await.unwrap();
}

/// Why a run is refused before it starts.
async fn refusal(cluster: &TestCluster, text: &str, inputs: Value) -> (String, Option<String>) {
    match cluster.accept(text, inputs).await {
        Err(error @ StartError::PreviewFailed { .. }) => (error.to_string(), error.hint()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the run is accepted"),
    }
}

#[track_caller]
fn assert_line(ended: &FinishedRun, what: &str) {
    let lines = ended.lines();
    assert!(lines.iter().any(|line| line.contains(what)), "{what}:\n{}", lines.join("\n"));
}

const SCALE: &str = "\
- id: scale
  name: Ask for nodes
  action: scale_nodegroup
  with: {nodegroup: \"{{ group }}\", desired: \"{{ group.desired * 2 }}\", raise_max: true}
";

#[tokio::test(flavor = "multi_thread")]
async fn more_nodes_than_the_limit_are_refused_before_the_run_starts() {
    let cluster = TestCluster::new().await;
    let text = runbook("{nodes_at_most: \"{{ inputs.most }}\"}", SCALE);
    let (message, hint) = refusal(&cluster, &text, json!({})).await;
    assert!(
        message.starts_with(
            "Ask for nodes: limit nodes_at_most is 5, and the run would ask for 6 nodes"
        ),
        "{message}"
    );
    assert!(hint.unwrap().contains("raise `nodes_at_most`"));
    assert_eq!(cluster.effective_calls(), [""; 0]);
    cluster.run_with(&text, json!({"most": 6})).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_known_later_fails_its_step_before_anything_is_sent() {
    let cluster = TestCluster::new().await;
    let steps = "\
- {id: rest, action: sleep, with: {duration: 1s}}
- id: again
  action: list_nodegroups
  with: {region: us-west-2, cluster: rafay-cluster}
- id: scale
  action: scale_nodegroup
  with: {nodegroup: \"{{ group }}\", desired: \"{{ (again.nodegroups | length) + group.desired + 2 }}\", raise_max: true}
";
    let text = runbook("{nodes_at_most: \"{{ inputs.most }}\"}", steps);
    let ended = cluster.run(&text).await.expect_state(RunState::Failed);
    assert_eq!(ended.failure().kind, FailureKind::Precondition);
    assert!(ended.error().contains("limit nodes_at_most is 5"), "{}", ended.error());
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

const CORDON_EACH: &str = "\
- id: close
  for_each: \"{{ relay.nodes }}\"
  action: cordon
  with: {nodes: [\"{{ each }}\"]}
";

#[tokio::test(flavor = "multi_thread")]
async fn no_more_nodes_are_cordoned_than_the_limit_allows() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&runbook("{cordon_at_most: 2}", CORDON_EACH)).await;
    let ended = ended.expect_state(RunState::Failed);
    let message = "item 3 of 3 (";
    assert!(ended.error().contains(message), "{}", ended.error());
    assert!(
        ended
            .error()
            .contains("limit cordon_at_most is 2, which is 2 of 6 nodes, and 3 would be cordoned"),
        "{}",
        ended.error()
    );
    assert_eq!(ended.failure().kind, FailureKind::Precondition);
    assert_eq!(cluster.count_calls("patch nodes"), 2);
    // One step that cordons all of them is refused as a whole.
    let all = "- {id: close, action: cordon, with: {nodes: \"{{ relay.nodes }}\"}}\n";
    cluster.resume(ended.run.id(), ResumeMode::Rollback).await.expect_state(RunState::RolledBack);
    let (message, _) = refusal(&cluster, &runbook("{cordon_at_most: 40%}", all), json!({})).await;
    assert!(message.contains("limit cordon_at_most is 40%, which is 2 of 6 nodes"), "{message}");
}

/// Closes a node for some time.
const CLOSE_NODE: &str = "\
---
name: close-node
inputs:
  node: {type: string}
steps:
- {id: close, action: cordon, with: {nodes: [\"{{ inputs.node }}\"]}}
- {id: rest, action: sleep, with: {duration: 30s}}
- {id: open, action: uncordon, with: {nodes: [\"{{ inputs.node }}\"]}}
";

#[tokio::test(flavor = "multi_thread")]
async fn items_that_are_worked_on_at_the_same_time_wait_for_each_other() {
    let cluster = TestCluster::new().await;
    let steps = format!(
        "- {{id: all, for_each: \"{{{{ relay.nodes }}}}\", at_once: 3, call: close-node, with: {{node: \"{{{{ each }}}}\"}}}}\n{CLOSE_NODE}"
    );
    let ended = cluster.run(&runbook("{cordon_at_most: 1}", &steps)).await.expect_success();
    assert_line(
        &ended,
        "Waiting: limit cordon_at_most is 1, which is 1 of 6 nodes, and 2 would be cordoned",
    );
    let mut closed = 0;
    for record in &ended.records {
        let Event::Step { path, event } = &record.event else { continue };
        let step = path.segments().last().unwrap().step.as_str();
        match (step, event) {
            ("close", StepEvent::StepPrepared { .. }) => closed += 1,
            ("open", StepEvent::StepPrepared { .. }) => closed -= 1,
            _ => {}
        }
        assert!(closed <= 1, "{:#?}", ended.lines());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_runbook_has_its_own_limits_beside_those_of_its_caller() {
    let cluster = TestCluster::new().await;
    let steps = "- {id: call, call: close-all, with: {nodes: \"{{ relay.nodes }}\"}}
---
name: close-all
inputs:
  nodes: {type: list of string}
  most: {type: string, syntax: amount, default: 20%}
limits: {cordon_at_most: \"{{ inputs.most }}\"}
steps:
- {id: close, action: cordon, with: {nodes: \"{{ inputs.nodes }}\"}}
";
    let ended =
        cluster.run(&runbook("{cordon_at_most: 3}", steps)).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("limit cordon_at_most is 20%"), "{}", ended.error());
    assert!(ended.error().contains("(a limit of runbook close-all)"), "{}", ended.error());
    let own = steps.replace("default: 20%", "default: 100%");
    let ended =
        cluster.run(&runbook("{cordon_at_most: 2}", &own)).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("limit cordon_at_most is 2,"), "{}", ended.error());
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

const DELETE_SENTRY: &str = "\
- id: delete
  timeout: 30s
  action: delete_pods
  with: {pods: \"{{ sentry.pods }}\"}
";

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_kept_workload_go_one_after_another() {
    let cluster = TestCluster::new().await;
    let text = runbook(KEEP_SENTRY, DELETE_SENTRY);
    let ended = cluster.run_with(&text, json!({"ready": "1"})).await.expect_success();
    assert_eq!(ended.output("delete")["deleted"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_a_kept_workload_stays_until_the_one_before_it_is_replaced() {
    let cluster = TestCluster::new().await;
    cordon_all(&cluster).await;
    let text = runbook(KEEP_SENTRY, DELETE_SENTRY);
    let ended = cluster.run_with(&text, json!({"ready": "1"})).await;
    let ended = ended.expect_state(RunState::Failed);
    let expected = "timed out after 30s, waiting for limit keep_ready: 1 of 2 pods of deployment \
                    rafay-core/rafay-sentry are Ready, and 1 must be after 1 is taken away";
    assert_eq!(ended.error(), expected);
    assert_eq!(removals(&cluster), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_take_pods_at_the_same_time_keep_them_together() {
    let cluster = TestCluster::new().await;
    cordon_all(&cluster).await;
    let steps = "\
- id: delete
  timeout: 30s
  for_each: \"{{ sentry.pods }}\"
  at_once: 2
  action: delete_pods
  with: {pods: [\"{{ each }}\"], evict: true}
";
    let text = runbook(KEEP_SENTRY, steps);
    let ended = cluster.run_with(&text, json!({"ready": "50%"})).await;
    let ended = ended.expect_state(RunState::Failed);
    let expected = "rafay-core/rafay-sentry are Ready, and 1 (50%) must be after 1 is taken away";
    assert!(ended.error().contains(expected), "{}", ended.error());
    assert_eq!(removals(&cluster), 1);
}

/// How many pods were deleted or evicted.
fn removals(cluster: &TestCluster) -> usize {
    let calls = cluster.effective_calls();
    let is_removal = |call: &&String| call.starts_with("delete pods") || call.contains("eviction");
    calls.iter().filter(is_removal).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_keeps_the_pods_of_a_workload() {
    let cluster = TestCluster::new().await;
    // A third one makes room: all three would fit on one node.
    let steps = "\
- id: more
  action: scale_deployment
  with: {namespace: rafay-core, deployment: rafay-sentry, replicas: 3}
- id: drain
  action: drain
  with: {nodes: [\"{{ sentry.nodes[0] }}\"], max_unavailable: 3}
";
    let ended = cluster.run(&runbook(KEEP_SENTRY, steps)).await.expect_success();
    assert!(!ended.output("drain")["evicted"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_take_too_many_pods_whatever_happens_is_refused_before_the_run_starts() {
    let cluster = TestCluster::new().await;
    let refused = async |steps: &str, ready: &str| {
        refusal(&cluster, &runbook(KEEP_SENTRY, steps), json!({"ready": ready})).await.0
    };
    let message = refused(DELETE_SENTRY, "2").await;
    assert!(message.contains("2 of 2 pods of deployment rafay-core/rafay-sentry are Ready, and 2 must be after 1 is taken away"), "{message}");
    let scale = "- {id: scale, action: scale_deployment, with: {namespace: rafay-core, deployment: rafay-sentry, replicas: 0}}\n";
    let message = refused(scale, "1").await;
    assert!(message.contains("would have 0 pods, and 1 must be Ready"), "{message}");
    let (message, hint) = refusal(
        &cluster,
        &runbook(&KEEP_SENTRY.replace("rafay-sentry", "sentry"), DELETE_SENTRY),
        json!({}),
    )
    .await;
    assert!(
        message.contains("limit keep_ready: deployment rafay-core/sentry not found"),
        "{message}"
    );
    assert!(hint.unwrap().contains("correct the name"));
    let message = refused(DELETE_SENTRY, "many").await;
    assert!(
        message.starts_with("limits: ") && message.contains("a number or a percentage"),
        "{message}"
    );
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_waits_for_the_pods_of_a_workload_for_as_long_as_it_has_time() {
    let cluster = TestCluster::new().await;
    cordon_all(&cluster).await;
    scale_sentry(&cluster, 3).await;
    let steps = "\
- id: shrink
  timeout: 30s
  action: scale_deployment
  with: {namespace: rafay-core, deployment: relay-cache, replicas: 0}
";
    let ended = cluster.run_with(&runbook(KEEP_SENTRY, steps), json!({"ready": "100%"})).await;
    let ended = ended.expect_state(RunState::Failed);
    let expected = "timed out after 30s, waiting for limit keep_ready: 2 of 3 pods of deployment \
                    rafay-core/rafay-sentry are Ready, and 3 (100%) must be";
    assert_eq!(ended.error(), expected);
    assert_eq!(cluster.count_calls("patch deployments/rafay-core/relay-cache/scale"), 0);
    // With two of two the limit holds, and the run goes on.
    scale_sentry(&cluster, 2).await;
    cluster.resume(ended.run.id(), ResumeMode::Continue).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_not_held_by_a_limit() {
    let cluster = TestCluster::new().await;
    let limits = format!("{{cordon_at_most: 3, {}", KEEP_SENTRY.trim_start_matches('{'));
    let steps = "\
- {id: close, action: cordon, with: {nodes: \"{{ relay.nodes }}\"}}
- {id: open, action: uncordon, with: {nodes: \"{{ relay.nodes[:1] }}\"}}
- {id: fail, action: assert, with: {that: false, message: on purpose}}
";
    let ended = cluster.run(&runbook(&limits, steps)).await.expect_state(RunState::Failed);
    scale_sentry(&cluster, 0).await;
    cluster.resume(ended.run.id(), ResumeMode::Rollback).await.expect_state(RunState::RolledBack);
    let state = cluster.simulator.state().await.unwrap();
    assert!(state.nodes.values().all(|node| !node.unschedulable));
}
