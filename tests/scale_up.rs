//! Steps 1 to 4 of relay-scale, alone: what they do to the world, and what they say.

use rafay_relay_sop::journal::{ResumeMode, RunState, StepPath};
use serde_json::json;
use simulator::{Effect, Fault, LaunchFailure, Nodegroup, Scenario, UpdateFailure};

use test_support::{SCALE_UP, TestCluster};

/// The default scenario with its relay nodegroup changed.
fn relay(change: impl FnOnce(&mut Nodegroup)) -> Scenario {
    let mut scenario = Scenario::default();
    let relay = scenario
        .nodegroups
        .iter_mut()
        .find(|group| is_relay(group))
        .expect("the default scenario has a relay nodegroup");
    change(relay);
    scenario
}

fn is_relay(group: &Nodegroup) -> bool {
    group.desired > 1
        && group.labels.get("Name").is_some_and(|name| name == "nodegroup-relay-services")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodegroup_is_doubled_once_and_its_new_nodes_are_ready() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(SCALE_UP).await.expect_success();

    let scaled = ended.output("scale_up");
    let before = scaled["before"]["desired"].as_u64().unwrap();
    assert_eq!(scaled["desired"], json!(before * 2));
    let state = cluster.simulator.state().await.unwrap();
    let group = &state.nodegroups[scaled["name"].as_str().unwrap()];
    assert_eq!(u64::from(group.desired), before * 2);
    assert_eq!(group.instances.len() as u64, before * 2);
    assert_eq!(json!(group.min), scaled["before"]["min"], "min is not touched");

    let new_nodes = ended.output("new_nodes");
    assert_eq!(new_nodes["count"], json!(before * 2));
    assert_eq!(new_nodes["new_nodes"].as_array().unwrap().len() as u64, before);
    for node in new_nodes["nodes"].as_array().unwrap() {
        assert!(state.nodes[node["name"].as_str().unwrap()].ready, "{node}");
    }
    assert_eq!(cluster.effective_calls(), ["eks:UpdateNodegroupConfig"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_each_step_and_its_result() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(SCALE_UP).await.expect_success();
    let lines = ended.lines_without_waits();
    let expected = [
        "Starting step: Get AWS region and EKS cluster from configmap",
        "AWS Region: us-west-2, EKS Cluster: rafay-cluster",
        "Completed step: Get AWS region and EKS cluster from configmap",
        "Starting step: Find nodegroup with label Name=nodegroup-relay-services and nodecount > 1",
    ];
    assert_eq!(lines[1..5], expected, "{}", lines.join("\n"));
    assert_eq!(lines.last().unwrap(), "Succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_nodes_watches_and_does_not_poll() {
    let cluster = TestCluster::new().await;
    cluster.run(SCALE_UP).await.expect_success();
    assert_eq!(
        cluster.count_calls("list nodes"),
        2,
        "one look before the change, one before the watch"
    );
    assert_eq!(cluster.count_calls("watch nodes"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_rolled_back_to_the_earlier_sizes() {
    let cluster = TestCluster::new().await;
    let before = cluster.simulator.state().await.unwrap();
    let failing = format!(
        "{SCALE_UP}\n  - id: late\n    action: wait_nodes\n    timeout: 10s\n    with: {{nodegroup: '{{{{ scale_up }}}}', count: 99}}\n"
    );
    let ended = cluster.run(&failing).await.expect_state(RunState::RolledBack);

    let error = ended.error();
    assert!(error.starts_with("timed out after 10s, waiting for "), "{error}");
    assert!(error.contains("6 of 99 nodes"), "{error}");
    let after = cluster.simulator.state().await.unwrap();
    for (name, group) in &before.nodegroups {
        let now = &after.nodegroups[name];
        assert_eq!(
            (now.min, now.max, now.desired, now.group_desired),
            (group.min, group.max, group.desired, group.group_desired),
            "{name}"
        );
    }
    let lines = ended.lines_without_waits();
    let undoing = "Undoing step: Scale nodegroup to 2X its current count".to_owned();
    assert!(lines.contains(&undoing), "{}", lines.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_update_is_sent_again_by_the_resumed_run() {
    let cluster = TestCluster::with_scenario(relay(|group| {
        group.update_failures = vec![UpdateFailure {
            nth: 1,
            code: "AccessDenied".into(),
            message: "not today".into(),
        }];
    }))
    .await;
    let text = SCALE_UP
        .replace("on_failure: rollback", "on_failure: stop")
        .replace("retry: {attempts: 4, backoff: 5s, max_backoff: 1m}", "retry: {attempts: 1}");
    let ended = cluster.run(&text).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("not today"), "{}", ended.error());
    let id = ended.run.id();

    // The same intent is sent again by the resumed run, as a new operation.
    let resumed = cluster.resume(id, ResumeMode::Continue).await.expect_success();
    assert_eq!(resumed.output("scale_up")["desired"], json!(6));
    assert_eq!(resumed.run.step(&StepPath::top_level("scale_up")).unwrap().generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_max_that_is_too_small_is_raised_only_when_the_runbook_says_so() {
    let cluster = TestCluster::with_scenario(relay(|group| group.max = group.desired)).await;
    let strict = SCALE_UP.replace("raise_max: true", "raise_max: false");
    let ended = cluster.run(&strict).await.expect_state(RunState::RolledBack);
    let failure = ended.failure();
    assert!(failure.hint.as_ref().unwrap().contains("raise_max: true"), "{failure:?}");
    assert_eq!(cluster.effective_calls(), [""; 0], "nothing was sent");

    let ended = cluster.run(SCALE_UP).await.expect_success();
    assert_eq!(ended.output("scale_up")["max"], json!(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_nodes_fails_with_the_cause_when_a_group_cannot_launch() {
    let cluster = TestCluster::with_scenario(relay(|group| {
        group.launch_failures = vec![LaunchFailure {
            times: 1000,
            message: "We currently do not have sufficient m5.large capacity".into(),
        }];
    }))
    .await;
    let text = SCALE_UP.replace("on_failure: rollback", "on_failure: stop");
    let ended = cluster.run(&text).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.contains("sufficient m5.large capacity"), "{error}");
    assert!(error.contains("cannot launch instances"), "{error}");
    assert!(error.contains("(for 2m)"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_read_is_retried() {
    let cluster = TestCluster::new().await;
    for operation in ["eks:DescribeNodegroup", "autoscaling:DescribeAutoScalingGroups"] {
        cluster.simulator.inject(Fault {
            matching: operation.into(),
            nth: 1,
            times: 2,
            effect: Effect::Throttle,
        });
    }
    cluster.run(SCALE_UP).await.expect_success();
    assert_eq!(cluster.effective_calls(), ["eks:UpdateNodegroupConfig"]);
}
