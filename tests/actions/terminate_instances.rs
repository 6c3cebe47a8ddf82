//! `terminate_instances`.

use rafay_relay_sop::journal::RunState;
use serde_json::json;
use simulator::{Effect, Fault};

use super::{
    GROUP, PLAIN, RELAY, assert_left_alone, end_node, fail_and_roll_back, fail_nth_and_resume,
    runbook_yaml, scenario_with_plain_group,
};
use test_support::{TestCluster, wait_until_async};

const TERMINATE: &str = "autoscaling:TerminateInstanceInAutoScalingGroup";

fn step(with: &str) -> String {
    format!("  - {{id: it, action: terminate_instances, with: {{{with}}}}}\n")
}

fn of_relay(with: &str) -> String {
    step(&format!("nodegroup: {GROUP}, {with}"))
}

/// The instances of the nodegroup, each with its node.
async fn members(cluster: &TestCluster) -> Vec<(String, String)> {
    let state = cluster.simulator.state().await.unwrap();
    let instances = state.nodegroups[RELAY].instances.clone().into_iter();
    instances.map(|(id, instance)| (id, instance.node)).collect()
}

async fn desired(cluster: &TestCluster) -> u32 {
    cluster.simulator.state().await.unwrap().nodegroups[RELAY].group_desired
}

#[tokio::test(flavor = "multi_thread")]
async fn the_named_instance_ends_with_its_node_and_another_one_takes_its_place() {
    let cluster = TestCluster::new().await;
    let before = members(&cluster).await;
    let (id, node) = before[0].clone();
    let ended =
        cluster.run(&runbook_yaml(&of_relay(&format!("instances: [{id}]")))).await.expect_success();
    let output = ended.output("it");
    assert_eq!(output["terminated"], json!([id]));
    assert_eq!(output["nodes"][0]["name"], json!(node));
    let state = cluster.simulator.state().await.unwrap();
    assert!(!state.nodes.contains_key(&node), "the node is gone when the step ends");
    assert_eq!(desired(&cluster).await, 3);
    let after = members(&cluster).await;
    assert!(before[1..].iter().all(|member| after.contains(member)));
    assert!(!after.iter().any(|(other, _)| *other == id));
    assert_eq!(cluster.effective_calls(), [TERMINATE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_can_be_named_by_its_node_and_lower_the_desired_size() {
    let mut scenario = simulator::Scenario::default();
    scenario
        .nodegroups
        .iter_mut()
        .filter(|group| group.name == RELAY)
        .for_each(|group| group.min = 1);
    let cluster = TestCluster::with_scenario(scenario).await;
    let before = members(&cluster).await;
    let with = format!("nodes: [{}, {}], lower_desired: true", before[1].1, before[2].1);
    cluster.run(&runbook_yaml(&of_relay(&with))).await.expect_success();
    assert_eq!(members(&cluster).await, before[..1]);
    assert_eq!(desired(&cluster).await, 1);
    assert_eq!(cluster.effective_calls(), [TERMINATE, TERMINATE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_go_below_the_minimum_is_refused_before_anything_is_ended() {
    let cluster = TestCluster::new().await;
    let (id, _) = members(&cluster).await[0].clone();
    let with = format!("instances: [{id}], lower_desired: true");
    let ended = cluster.run(&runbook_yaml(&of_relay(&with))).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(
        error.ends_with("is to have 3 instances, and at least 3: 1 instance cannot go"),
        "{error}"
    );
    assert!(ended.failure().hint.as_deref().unwrap().contains("lower the minimum first"));
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_another_group_is_not_terminated() {
    let cluster = TestCluster::new().await;
    let state = cluster.simulator.state().await.unwrap();
    let other = state.nodegroups["core-services"].instances.keys().next().unwrap().clone();
    let steps = of_relay(&format!("instances: [{other}]"));
    let ended = cluster.run(&runbook_yaml(&steps)).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("not in nodegroup"), "{}", ended.error());
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

/// The call is not repeated blindly: the desired size goes down once for each instance.
#[tokio::test(flavor = "multi_thread")]
async fn a_termination_whose_response_is_lost_is_not_sent_twice() {
    for before in [true, false] {
        let mut scenario = simulator::Scenario::default();
        for group in scenario.nodegroups.iter_mut().filter(|group| group.name == RELAY) {
            group.min = 0;
        }
        let cluster = TestCluster::with_scenario(scenario).await;
        let members = members(&cluster).await;
        let effect = Effect::Drop { before };
        cluster.simulator.inject(Fault { matching: TERMINATE.into(), nth: 1, times: 1, effect });
        let ids = json!([members[0].0, members[1].0]);
        let steps = of_relay(&format!("instances: {ids}, lower_desired: true"));
        let text = runbook_yaml(&steps).replace("attempts: 1", "attempts: 3");
        cluster.run(&text).await.expect_success();
        assert_eq!(cluster.effective_calls(), [TERMINATE, TERMINATE], "before: {before}");
        assert_eq!(desired(&cluster).await, 1, "before: {before}");
        assert_eq!(cluster.count_calls(TERMINATE), if before { 3 } else { 2 });
    }
}

/// The instance that ended was replaced by another one, which stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_step_ends_only_the_instances_that_it_named() {
    let cluster = TestCluster::new().await;
    let before = members(&cluster).await;
    let ids = json!([before[0].0, before[1].0]);
    let steps = of_relay(&format!("instances: {ids}"));
    fail_nth_and_resume(&cluster, &steps, (TERMINATE, 2), async || {
        wait_until_async("the end of the first node", async || {
            let state = cluster.simulator.state().await.unwrap();
            (!state.nodes.contains_key(&before[0].1)).then_some(())
        })
        .await;
    })
    .await
    .expect_success();
    let after = members(&cluster).await;
    assert_eq!(after.len(), 3);
    assert!(after.contains(&before[2]));
    // One by the step before it failed, one after it was resumed.
    assert_eq!(cluster.effective_calls(), [TERMINATE, TERMINATE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rollback_says_that_ended_instances_cannot_be_restored() {
    let cluster = TestCluster::new().await;
    let (id, _) = members(&cluster).await[0].clone();
    let steps = of_relay(&format!("instances: [{id}]"));
    let ended = fail_and_roll_back(&cluster, &steps, async || {}).await;
    let ended = ended.expect_state(RunState::RolledBack);
    assert_left_alone(&ended, &format!("1 terminated instance cannot be restored: {id}"));
    assert_eq!(cluster.effective_calls(), [TERMINATE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_ended_since_it_was_listed_is_gone() {
    let cluster = TestCluster::new().await;
    let before = members(&cluster).await;
    let steps = format!(
        "  - {{id: group, action: get_protection, with: {{nodegroup: {GROUP}}}}}\n  - {{id: pause, action: sleep, with: {{duration: 1s}}}}\n{}",
        of_relay("instances: \"{{ group.protected }}\"")
    );
    let prepare = ("eks:DescribeNodegroup", 2);
    let ended = fail_nth_and_resume(&cluster, &steps, prepare, async || {
        end_node(&cluster, &before[0].1).await;
    })
    .await
    .expect_success();
    assert_eq!(ended.output("it")["gone"], json!([before[0].0]));
    assert_eq!(ended.output("it")["terminated"], json!([before[1].0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_a_plain_group_is_terminated() {
    let cluster = TestCluster::with_scenario(scenario_with_plain_group()).await;
    let steps = format!(
        "  - {{id: workers, action: find_auto_scaling_group, with: {{region: us-west-2, name: {PLAIN}}}}}\n{}",
        step(
            "auto_scaling_group: '{{ workers }}', instances: ['{{ workers.instances[0] }}'], lower_desired: true"
        )
    );
    let ended = cluster.run(&runbook_yaml(&steps)).await.expect_success();
    assert_eq!(ended.output("it")["terminated"][0], ended.output("workers")["instances"][0]);
    assert_eq!(ended.output("it")["nodes"].as_array().unwrap().len(), 1);
}
