//! `suspend_processes` and `resume_processes`.

use std::collections::BTreeSet;

use rafay_relay_sop::journal::RunState;
use serde_json::json;

use super::{
    GROUP, PLAIN, RELAY, autoscaling, fail_and_roll_back, runbook_yaml, scenario_with_plain_group,
    texts,
};
use test_support::TestCluster;

const SUSPEND: &str = "autoscaling:SuspendProcesses";
const RESUME: &str = "autoscaling:ResumeProcesses";

fn step(action: &str, of: &str, processes: &str) -> String {
    format!("  - {{id: it, action: {action}, with: {{{of}, processes: [{processes}]}}}}\n")
}

fn of_relay(action: &str, processes: &str) -> String {
    step(action, &format!("nodegroup: {GROUP}"), processes)
}

async fn group_name(cluster: &TestCluster) -> String {
    let state = cluster.simulator.state().await.unwrap();
    state.nodegroups[RELAY].group.clone()
}

async fn suspended(cluster: &TestCluster, group: &str) -> BTreeSet<String> {
    let call = autoscaling(cluster).describe_auto_scaling_groups().auto_scaling_group_names(group);
    let found = call.send().await.unwrap().auto_scaling_groups.unwrap().remove(0);
    let suspended = found.suspended_processes.unwrap_or_default().into_iter();
    suspended.filter_map(|process| process.process_name).collect()
}

/// Another client suspends or resumes a process.
async fn set(cluster: &TestCluster, group: &str, process: &str, suspend: bool) {
    let client = autoscaling(cluster);
    if suspend {
        let call = client.suspend_processes().auto_scaling_group_name(group);
        call.scaling_processes(process).send().await.unwrap();
    } else {
        let call = client.resume_processes().auto_scaling_group_name(group);
        call.scaling_processes(process).send().await.unwrap();
    }
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_not_suspended_is_suspended_and_resumed_by_the_undo() {
    let cluster = TestCluster::new().await;
    let group = group_name(&cluster).await;
    set(&cluster, &group, "Launch", true).await;
    let steps = of_relay("suspend_processes", "AZRebalance, Launch, ReplaceUnhealthy");
    let ended = fail_and_roll_back(&cluster, &steps, async || {
        let all = names(["AZRebalance", "Launch", "ReplaceUnhealthy"]);
        assert_eq!(suspended(&cluster, &group).await, all);
    })
    .await
    .expect_state(RunState::RolledBack);
    let output = ended.output("it");
    assert_eq!(texts(&output["changed"]), names(["AZRebalance", "ReplaceUnhealthy"]));
    assert_eq!(suspended(&cluster, &group).await, names(["Launch"]));
    assert_eq!(cluster.effective_calls(), [SUSPEND, SUSPEND, RESUME]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_has_resumed_meanwhile_needs_no_undo() {
    let cluster = TestCluster::new().await;
    let group = group_name(&cluster).await;
    let steps = of_relay("suspend_processes", "AZRebalance");
    fail_and_roll_back(&cluster, &steps, async || {
        set(&cluster, &group, "AZRebalance", false).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_eq!(cluster.effective_calls(), [SUSPEND, RESUME]);
    assert_eq!(suspended(&cluster, &group).await, names([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_processes_resumes_and_its_undo_suspends_again() {
    let cluster = TestCluster::new().await;
    let group = group_name(&cluster).await;
    set(&cluster, &group, "Terminate", true).await;
    let steps = of_relay("resume_processes", "Terminate, HealthCheck");
    fail_and_roll_back(&cluster, &steps, async || {
        assert_eq!(suspended(&cluster, &group).await, names([]));
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_eq!(suspended(&cluster, &group).await, names(["Terminate"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_step_sends_nothing() {
    let cluster = TestCluster::new().await;
    let steps = of_relay("suspend_processes", "AZRebalance");
    cluster.run(&runbook_yaml(&steps)).await.expect_success();
    let ended = cluster.run(&runbook_yaml(&steps)).await.expect_success();
    assert_eq!(ended.output("it")["changed"], json!([]));
    assert_eq!(ended.output("it")["suspended"], json!(["AZRebalance"]));
    assert_eq!(cluster.effective_calls(), [SUSPEND]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_group_is_suspended_too() {
    let cluster = TestCluster::with_scenario(scenario_with_plain_group()).await;
    let group = format!("auto_scaling_group: {{region: us-west-2, name: {PLAIN}}}");
    let steps = step("suspend_processes", &group, "Terminate");
    cluster.run(&runbook_yaml(&steps)).await.expect_success();
    assert_eq!(suspended(&cluster, PLAIN).await, names(["Terminate"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_does_not_exist_and_two_groups_are_refused_before_the_run() {
    let cluster = TestCluster::new().await;
    let both = format!("nodegroup: {GROUP}, auto_scaling_group: {{region: us-west-2, name: a}}");
    for steps in [
        of_relay("suspend_processes", "Relaunch"),
        of_relay("suspend_processes", ""),
        step("suspend_processes", &both, "Launch"),
    ] {
        assert!(cluster.accept(&runbook_yaml(&steps), json!({})).await.is_err(), "{steps}");
    }
}
