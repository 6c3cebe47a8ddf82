//! What a run that did not succeed has left different from its start: every target, with the command that restores it.

use k8s_openapi::api::core::v1::Pod;
use rafay_relay_sop::{
    engine::Control,
    journal::{Event, RecordedDifference, ResumeMode, RunState, StepEvent, difference_texts},
};
use serde_json::json;

use super::{
    NAMESPACE, RELAY, create, fail_and_roll_back, failing_runbook_yaml, patch_deployment,
    patch_node, runbook_yaml, scale_nodegroup_undo::GROW,
};
use test_support::{FinishedRun, TestCluster};

/// Every action that changes something, on the default world.
const STEPS: &[(&str, &str)] = &[
    ("scale_nodegroup", GROW),
    (
        "rollout_restart",
        "  - {id: a, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry}}\n",
    ),
    (
        "scale_deployment",
        "  - {id: a, action: scale_deployment, with: {namespace: rafay-core, deployment: rafay-relay, replicas: 2}}\n",
    ),
    (
        "delete_pods",
        "  - {id: pods, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n  \
         - {id: a, action: delete_pods, with: {pods: '{{ pods.pods }}'}}\n",
    ),
    (
        "cordon",
        "  - {id: pods, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n  \
         - {id: a, action: cordon, with: {nodes: '{{ pods.nodes }}'}}\n",
    ),
    (
        "label_nodes",
        "  - {id: pods, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n  \
         - {id: a, action: label_nodes, with: {nodes: '{{ pods.nodes }}', labels: {stage: new}}}\n",
    ),
    (
        "taint_nodes",
        "  - {id: pods, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n  \
         - {id: a, action: taint_nodes, with: {nodes: '{{ pods.nodes }}', taints: [{key: a, effect: NoSchedule}]}}\n",
    ),
    (
        "set_image",
        "  - {id: a, action: set_image, with: {namespace: rafay-core, deployment: rafay-sentry, images: {rafay-sentry: 'a:2'}}}\n",
    ),
    (
        "patch_object",
        "  - {id: a, action: patch_object, with: {api_version: apps/v1, kind: Deployment, namespace: rafay-core, name: rafay-sentry, patch: {metadata: {annotations: {a: b}}}}}\n",
    ),
    (
        "drain",
        "  - {id: pods, action: list_pods, with: {namespace: rafay-core, deployment: rafay-sentry}}\n  \
         - {id: a, action: drain, with: {nodes: '{{ pods.nodes }}', max_unavailable: 2, wait_for_replacements: false}}\n",
    ),
];

fn differences(ended: &FinishedRun) -> Vec<RecordedDifference> {
    ended.run.differences()
}

fn targets(differences: &[RecordedDifference]) -> Vec<String> {
    let mut targets: Vec<String> = differences.iter().map(|found| found.target.clone()).collect();
    targets.sort();
    targets
}

/// The targets of the changes that the steps decided on.
fn changed_targets(ended: &FinishedRun) -> Vec<String> {
    let intents = ended.run.steps().iter().filter_map(|step| step.intent.as_ref());
    let mut targets: Vec<String> =
        intents.flat_map(|intent| intent.changes.iter().map(|c| c.target.clone())).collect();
    targets.sort();
    targets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stops_names_everything_that_it_changed() {
    for (action, steps) in STEPS {
        let cluster = TestCluster::new().await.as_real();
        let ended = cluster.run(&failing_runbook_yaml(steps)).await.expect_state(RunState::Failed);
        let found = differences(&ended);
        assert!(!found.is_empty(), "{action}");
        assert_eq!(targets(&found), changed_targets(&ended), "{action}");
        assert!(found.iter().all(|difference| !difference.unverified), "{action}: {found:#?}");
        // Pods that were deleted, and new ones after a restart, no command restores. Nor is one offered that would let
        // the Auto Scaling group choose which nodes go.
        let is_reversible = matches!(
            *action,
            "scale_deployment"
                | "set_image"
                | "cordon"
                | "drain"
                | "label_nodes"
                | "taint_nodes"
                | "patch_object"
        );
        for difference in &found {
            let is_pod = difference.target.starts_with("pod ");
            let has_command = is_reversible && !is_pod;
            assert_eq!(difference.restore.is_some(), has_command, "{action}: {difference:?}");
        }
        let lines = ended.lines();
        for line in difference_texts(&found) {
            assert!(lines.contains(&line), "{action}: {line}\n{}", lines.join("\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_rolled_back_names_only_what_cannot_be_restored() {
    for (action, steps) in STEPS {
        let cluster = TestCluster::new().await;
        let back = fail_and_roll_back(&cluster, steps, async || {})
            .await
            .expect_state(RunState::RolledBack);
        let is_reversible = !matches!(*action, "delete_pods" | "drain" | "rollout_restart");
        let found = differences(&back);
        assert_eq!(found.is_empty(), is_reversible, "{action}: {found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_failed_names_the_cordoned_nodes_too() {
    let cluster = TestCluster::new().await.as_real();
    let ended = cluster.run(&failing_runbook_yaml(GROW)).await.expect_state(RunState::Failed);
    let new: Vec<String> = ended.output("nodes")["new_nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["name"].as_str().unwrap().to_owned())
        .collect();
    // A pod without a controller would be lost, so the drain stops before the sizes are lowered.
    let bare = json!({
        "metadata": {"name": "bare", "namespace": NAMESPACE},
        "spec": {"nodeName": new[0], "containers": [{"name": "c", "image": "registry.example.com/a:1"}]},
    });
    create::<Pod>(&cluster, bare).await;
    let back = cluster
        .resume(ended.run.id(), ResumeMode::Rollback)
        .await
        .expect_state(RunState::RollbackFailed);
    let found = differences(&back);
    for name in &new {
        let uncordon = format!("kubectl uncordon {name}");
        let restores = |difference: &&RecordedDifference| {
            difference.target == format!("node {name} unschedulable")
                && difference.now == json!(true)
                && difference.restore.as_ref() == Some(&uncordon)
        };
        assert!(found.iter().any(|difference| restores(&difference)), "{found:#?}");
    }
    // The nodes were not lowered, and no command is offered that lets the group choose which go.
    let of_sizes = |difference: &&RecordedDifference| difference.target.starts_with("nodegroup ");
    let sizes: Vec<_> = found.iter().filter(of_sizes).collect();
    assert_eq!(sizes.len(), 2, "{found:#?}");
    assert!(sizes.iter().all(|difference| difference.restore.is_none()), "{sizes:#?}");
    // The last change comes first.
    assert!(found[0].target.starts_with("node "), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_two_steps_changed_is_compared_with_its_first_state() {
    let there_and_back = runbook_yaml(
        "  - {id: down, action: scale_deployment, with: {namespace: rafay-core, deployment: rafay-relay, replicas: 2}}\n  \
         - {id: up, action: scale_deployment, with: {namespace: rafay-core, deployment: rafay-relay, replicas: 3}}\n  \
         - {id: last, action: assert, with: {that: false, message: on purpose}}\n",
    );
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&there_and_back).await.expect_state(RunState::Failed);
    assert_eq!(differences(&ended), [], "{:#?}", ended.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_restored_is_not_a_difference() {
    let cluster = TestCluster::new().await;
    let (_, steps) = STEPS.iter().find(|(action, _)| *action == "cordon").unwrap();
    let ended = cluster.run(&failing_runbook_yaml(steps)).await.expect_state(RunState::Failed);
    let first = ended.output("a")["changed"][0].as_str().unwrap().to_owned();
    assert_eq!(differences(&ended).len(), 3);
    patch_node(&cluster, &first, json!({"spec": {"unschedulable": null}})).await;
    // It fails at the same assertion again, and looks again.
    let again =
        cluster.resume(ended.run.id(), ResumeMode::Continue).await.expect_state(RunState::Failed);
    let found = differences(&again);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|difference| !difference.target.contains(&first)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_process_died_has_its_changes_as_unverified_differences() {
    let cluster = TestCluster::new().await;
    let accepted = cluster.accept(&runbook_yaml(GROW), json!({})).await.unwrap();
    let id = accepted.run().id().clone();
    let mut events = accepted.subscribe();
    let driving = cluster.drive(accepted, Control::default());
    let applied = async {
        loop {
            let recorded = events.recv().await.unwrap();
            if matches!(recorded.event, Event::Step { event: StepEvent::StepApplied { .. }, .. }) {
                return;
            }
        }
    };
    // The dropped future is the process that died.
    tokio::select! {
        _ = driving => panic!("the run ended first"),
        () = applied => {}
    }
    let run = rafay_relay_sop::journal::Run::read(&*cluster.store, &id).await.unwrap();
    let found = run.differences();
    assert_eq!(
        found.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            format!("nodegroup {RELAY} desired: 3 -> 6 (not verified)"),
            format!("nodegroup {RELAY} max: 4 -> 6 (not verified)"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_is_offered_for_a_simulation_nor_against_another_client() {
    let (_, cordon) = STEPS.iter().find(|(action, _)| *action == "cordon").unwrap();
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&failing_runbook_yaml(cordon)).await.expect_state(RunState::Failed);
    assert!(differences(&ended).iter().all(|difference| difference.restore.is_none()));

    let (_, scale) = STEPS.iter().find(|(action, _)| *action == "scale_deployment").unwrap();
    let cluster = TestCluster::new().await.as_real();
    let ended = cluster.run(&failing_runbook_yaml(scale)).await.expect_state(RunState::Failed);
    patch_deployment(&cluster, "rafay-relay", json!({"spec": {"replicas": 1}})).await;
    let again =
        cluster.resume(ended.run.id(), ResumeMode::Continue).await.expect_state(RunState::Failed);
    let found = differences(&again);
    assert_eq!((found.len(), &found[0].now), (1, &json!(1)), "{found:#?}");
    assert_eq!(found[0].restore, None);
}
