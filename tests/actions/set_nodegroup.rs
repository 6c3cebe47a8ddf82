//! `set_nodegroup`.

use std::time::Duration;

use aws_sdk_eks::types::{Nodegroup, NodegroupScalingConfig, UpdateLabelsPayload};
use rafay_relay_sop::journal::RunState;
use serde_json::json;
use simulator::{Effect, Fault, Scenario, UpdateFailure};

use super::{
    GROUP, RELAY, assert_left_alone, assert_line, codes, eks, fail_and_roll_back, runbook_yaml,
};
use test_support::TestCluster;

const UPDATE: &str = "eks:UpdateNodegroupConfig";

fn step(with: &str) -> String {
    format!("  - {{id: it, action: set_nodegroup, with: {{nodegroup: {GROUP}, {with}}}}}\n")
}

/// Another client reads the nodegroup.
async fn nodegroup(cluster: &TestCluster) -> Nodegroup {
    let call =
        eks(cluster).describe_nodegroup().cluster_name("rafay-cluster").nodegroup_name(RELAY);
    call.send().await.unwrap().nodegroup.unwrap()
}

/// The limits, labels, taints and update config, as text.
async fn config(cluster: &TestCluster) -> String {
    let found = nodegroup(cluster).await;
    let scaling = found.scaling_config.unwrap();
    let mut labels: Vec<(String, String)> = found.labels.unwrap_or_default().into_iter().collect();
    labels.sort();
    let taints: Vec<String> = found
        .taints
        .unwrap_or_default()
        .iter()
        .map(|it| {
            let effect = it.effect.as_ref().unwrap().as_str();
            format!("{}={}:{effect}", it.key().unwrap(), it.value().unwrap_or_default())
        })
        .collect();
    let update = found.update_config.unwrap();
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!(
        "{}..{} [{}] [{}] {:?}/{:?}",
        scaling.min_size.unwrap(),
        scaling.max_size.unwrap(),
        labels.join(","),
        taints.join(","),
        update.max_unavailable,
        update.max_unavailable_percentage,
    )
}

const BEFORE: &str = "3..4 [Name=nodegroup-relay-services] [] Some(1)/None";
const ALL: &str = "min: 2, max: 9, labels: {track: stable, Name: other}, taints: [{key: dedicated, value: relay, effect: NoSchedule}], max_unavailable_percentage: 50";

#[tokio::test(flavor = "multi_thread")]
async fn every_value_is_set_in_one_update_and_restored_in_one() {
    let cluster = TestCluster::new().await;
    assert_eq!(config(&cluster).await, BEFORE);
    let ended = fail_and_roll_back(&cluster, &step(ALL), async || {
        let expected = "2..9 [Name=other,track=stable] [dedicated=relay:NO_SCHEDULE] None/Some(50)";
        assert_eq!(config(&cluster).await, expected);
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_eq!(config(&cluster).await, BEFORE);
    assert_eq!(cluster.effective_calls(), [UPDATE, UPDATE]);
    let output = ended.output("it");
    assert_eq!((&output["min"], &output["max"]), (&json!(2), &json!(9)));
    assert_eq!(output["changed"].as_array().unwrap().len(), 6);
    assert_eq!(output["changed"][0], json!(format!("nodegroup {RELAY} min")));
}

#[tokio::test(flavor = "multi_thread")]
async fn null_removes_a_label_and_remove_taints_a_taint() {
    let cluster = TestCluster::new().await;
    cluster.run(&runbook_yaml(&step(ALL))).await.expect_success();
    let with = "labels: {Name: null, missing: null}, remove_taints: [{key: dedicated, effect: NoSchedule}], max_unavailable: 2";
    let before = config(&cluster).await;
    fail_and_roll_back(&cluster, &step(with), async || {
        assert_eq!(config(&cluster).await, "2..9 [track=stable] [] Some(2)/None");
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_eq!(config(&cluster).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_step_sends_nothing() {
    let cluster = TestCluster::new().await;
    cluster.run(&runbook_yaml(&step(ALL))).await.expect_success();
    let ended = cluster.run(&runbook_yaml(&step(ALL))).await.expect_success();
    assert_eq!(ended.output("it")["changed"], json!([]));
    assert_eq!(cluster.effective_calls(), [UPDATE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_leaves_what_another_client_set_meanwhile() {
    let cluster = TestCluster::new().await;
    let ended =
        fail_and_roll_back(&cluster, &step("max: 9, labels: {track: stable}"), async || {
            let labels =
                UpdateLabelsPayload::builder().add_or_update_labels("track", "beta").build();
            let call = eks(&cluster).update_nodegroup_config().cluster_name("rafay-cluster");
            call.nodegroup_name(RELAY).labels(labels).send().await.unwrap();
            settled(&cluster).await;
        })
        .await
        .expect_state(RunState::RolledBack);
    let left = format!(
        "left nodegroup {RELAY} label track at \"beta\": another client changed it from \"stable\""
    );
    assert_left_alone(&ended, &left);
    let expected = "3..4 [Name=nodegroup-relay-services,track=beta] [] Some(1)/None";
    assert_eq!(config(&cluster).await, expected, "the maximum is restored");
}

/// Waits until no update is in progress.
async fn settled(cluster: &TestCluster) {
    test_support::wait_until_async("the end of the update", async || {
        let status = nodegroup(cluster).await.status.unwrap();
        (status.as_str() == "ACTIVE").then_some(())
    })
    .await;
}

/// The size has grown beyond the maximum that the nodegroup had.
#[tokio::test(flavor = "multi_thread")]
async fn the_undo_leaves_a_limit_that_the_size_needs() {
    let cluster = TestCluster::new().await;
    let ended = fail_and_roll_back(&cluster, &step("max: 9"), async || {
        let scaling = NodegroupScalingConfig::builder().desired_size(6).build();
        let call = eks(&cluster).update_nodegroup_config().cluster_name("rafay-cluster");
        call.nodegroup_name(RELAY).scaling_config(scaling).send().await.unwrap();
        settled(&cluster).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_left_alone(&ended, &format!("left nodegroup {RELAY} max at 9: desired is 6"));
    assert!(config(&cluster).await.starts_with("3..9 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_the_size_does_not_fit_into_are_refused() {
    let cluster = TestCluster::new().await;
    for (with, expected) in [
        ("max: 2", "would have a minimum of 3 and a maximum of 2"),
        ("min: 1, max: 2", "is to have 3 nodes, which is not between 1 and 2"),
        ("min: 4", "is to have 3 nodes, which is not between 4 and 4"),
        (
            "taints: [{key: a, effect: NoSchedule}], \
             remove_taints: [{key: '{{ inputs.key }}', effect: NoSchedule}]",
            "taint a:NoSchedule is given twice",
        ),
        ("labels: '{{ inputs.none }}'", "no value to set is given"),
    ] {
        // What is written out is refused before a run: values that are known then are checked by the step.
        let inputs =
            "inputs: {key: {type: string, default: a}, none: {type: map of string, default: {}}}";
        let text = runbook_yaml(&step(with)).replacen("steps:", &format!("{inputs}\nsteps:"), 1);
        let ended = cluster.run(&text).await.expect_state(RunState::Failed);
        assert!(ended.error().ends_with(expected), "{with}: {}", ended.error());
    }
    assert_eq!(cluster.effective_calls(), [""; 0]);
    for with in [
        "taints: [{key: a, effect: NoSchedule}], remove_taints: [{key: a, effect: NoSchedule}]",
        "taints: []",
    ] {
        assert_eq!(codes(&runbook_yaml(&step(with))), ["RB100"], "{with}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_response_leads_to_one_update() {
    for before in [true, false] {
        let cluster = TestCluster::new().await;
        let effect = Effect::Drop { before };
        cluster.simulator.inject(Fault { matching: UPDATE.into(), nth: 1, times: 1, effect });
        let text = runbook_yaml(&step(ALL)).replace("attempts: 1", "attempts: 3");
        cluster.run(&text).await.expect_success();
        assert_eq!(cluster.effective_calls(), [UPDATE], "before: {before}");
        let state = cluster.simulator.state().await.unwrap();
        assert_eq!(state.nodegroups[RELAY].updates, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_another_client_is_waited_for() {
    let mut scenario = Scenario::default();
    // Longer than it takes to start the run, on any machine.
    scenario.times.update = Duration::from_hours(1);
    let cluster = TestCluster::with_scenario(scenario).await;
    let labels = UpdateLabelsPayload::builder().add_or_update_labels("track", "beta").build();
    let call = eks(&cluster).update_nodegroup_config().cluster_name("rafay-cluster");
    call.nodegroup_name(RELAY).labels(labels).send().await.unwrap();
    let text = runbook_yaml(&step("max: 9")).replace("timeout: 5m", "timeout: 9h");
    let ended = cluster.run(&text).await.expect_success();
    assert_line(&ended, "is being updated by another client");
    assert!(config(&cluster).await.starts_with("3..9 [Name=nodegroup-relay-services,track=beta]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_update_fails_the_step_with_the_reason_of_eks() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].update_failures.push(UpdateFailure {
        nth: 1,
        code: "AccessDenied".into(),
        message: "not now".into(),
    });
    let cluster = TestCluster::with_scenario(scenario).await;
    let ended = cluster.run(&runbook_yaml(&step("max: 9"))).await.expect_state(RunState::Failed);
    let expected = format!("of nodegroup {RELAY} ended as Failed: AccessDenied: not now");
    assert!(ended.error().contains(&expected), "{}", ended.error());
    assert_eq!(config(&cluster).await, BEFORE);
}
