//! `get_protection` and `set_protection`.

use std::collections::BTreeSet;

use rafay_relay_sop::journal::RunState;
use serde_json::json;
use simulator::{Effect, Fault, Scenario};

use super::{
    GROUP, RELAY, assert_left_alone, assert_line, end_node, fail_and_resume, fail_and_roll_back,
    fail_nth_and_resume, protected, runbook_yaml, terminate_instance, texts,
};
use test_support::TestCluster;

const SET: &str = "autoscaling:SetInstanceProtection";

async fn instances(cluster: &TestCluster) -> Vec<String> {
    let state = cluster.simulator.state().await.unwrap();
    state.nodegroups[RELAY].instances.keys().cloned().collect()
}

fn set(of: &str, protected: bool) -> String {
    format!(
        "  - {{id: it, action: set_protection, with: {{nodegroup: {GROUP}, {of}, protected: {protected}}}}}\n"
    )
}

fn instances_parameter(instances: &[String]) -> String {
    format!("instances: {}", json!(instances))
}

#[tokio::test(flavor = "multi_thread")]
async fn get_protection_returns_the_groups_protections() {
    let cluster = TestCluster::new().await;
    let steps = format!("  - {{id: it, action: get_protection, with: {{nodegroup: {GROUP}}}}}\n");
    let ended = cluster.run(&runbook_yaml(&steps)).await.expect_success();
    let output = ended.output("it");
    assert_eq!(texts(&output["protected"]), protected(&cluster).await);
    assert_eq!(output["instances"].as_array().unwrap().len(), 3);
    assert_eq!(output["new_instances_protected"], json!(false));
    assert_eq!(output["instances"][0]["lifecycle"], json!("InService"));
}

#[tokio::test(flavor = "multi_thread")]
async fn set_protection_sets_only_differences_and_restores_only_those() {
    let cluster = TestCluster::new().await;
    let all = instances(&cluster).await;
    let before = protected(&cluster).await;
    assert_eq!(before.len(), 2);
    let ended =
        cluster.run(&runbook_yaml(&set(&instances_parameter(&all), true))).await.expect_success();
    assert_eq!(ended.output("it")["changed"].as_array().unwrap().len(), 1);
    assert_eq!(protected(&cluster).await, all.iter().cloned().collect());
    assert_eq!(cluster.effective_calls(), [SET]);

    fail_and_roll_back(&cluster, &set(&instances_parameter(&all), false), async || {})
        .await
        .expect_state(RunState::RolledBack);
    assert_eq!(protected(&cluster).await, all.iter().cloned().collect());
    assert_eq!(cluster.effective_calls(), [SET, SET, SET]);
}

#[tokio::test(flavor = "multi_thread")]
async fn set_protection_accepts_nodes_for_their_instances() {
    let cluster = TestCluster::new().await;
    let state = cluster.simulator.state().await.unwrap();
    let members = &state.nodegroups[RELAY].instances;
    let nodes: Vec<&String> = members.values().map(|instance| &instance.node).collect();
    cluster
        .run(&runbook_yaml(&set(&format!("nodes: {}", json!(nodes)), true)))
        .await
        .expect_success();
    assert_eq!(protected(&cluster).await, members.keys().cloned().collect::<BTreeSet<_>>());

    let steps = set("nodes: [nobody]", true);
    let ended = cluster.run(&runbook_yaml(&steps)).await.expect_state(RunState::Failed);
    assert!(
        ended.error().ends_with("1 node not found in the cluster: nobody"),
        "{}",
        ended.error()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_another_group_is_refused() {
    let cluster = TestCluster::new().await;
    let state = cluster.simulator.state().await.unwrap();
    let other = state.nodegroups["core-services"].instances.keys().next().unwrap().clone();
    let ended = cluster
        .run(&runbook_yaml(&set(&instances_parameter(std::slice::from_ref(&other)), true)))
        .await
        .expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.contains(&other) && error.contains("not in nodegroup"), "{error}");
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn set_protection_sends_fifty_instances_at_a_time() {
    let mut scenario = Scenario::default();
    for group in &mut scenario.nodegroups {
        if group.name == RELAY {
            (group.desired, group.max, group.protected) = (120, 120, Vec::new());
        }
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let all = instances(&cluster).await;
    let ended =
        cluster.run(&runbook_yaml(&set(&instances_parameter(&all), true))).await.expect_success();
    assert_eq!(ended.output("it")["changed"].as_array().unwrap().len(), 120);
    assert_eq!(cluster.effective_calls(), [SET; 3]);
}

/// A group that has just been told to grow.
fn grow_yaml(then: &str) -> String {
    format!(
        "  - {{id: grow, action: scale_nodegroup, with: {{nodegroup: {GROUP}, desired: 6, raise_max: true}}}}\n  \
         - {{id: group, action: get_protection, with: {{nodegroup: {GROUP}}}}}\n{then}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starting_instance_is_skipped_and_logged() {
    let mut scenario = Scenario::default();
    scenario.times.boot = std::time::Duration::from_mins(100);
    scenario.nodegroups.iter_mut().for_each(|group| group.slow.clear());
    let cluster = TestCluster::with_scenario(scenario).await;
    let all = "instances: \"{{ group.instances | map(attribute='id') | list }}\"";
    let ended = cluster.run(&runbook_yaml(&grow_yaml(&set(all, true)))).await.expect_success();
    let output = ended.output("it");
    let skipped = output["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 3, "{output}");
    assert_eq!(skipped[0]["reason"], json!("its state is Pending"));
    let skip_lines = ended
        .lines()
        .into_iter()
        .filter(|line| line.contains("cannot be set: its state is Pending"));
    assert_eq!(skip_lines.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_response_is_lost_is_not_sent_twice() {
    for before in [true, false] {
        let cluster = TestCluster::new().await;
        let all = instances(&cluster).await;
        let effect = Effect::Drop { before };
        cluster.simulator.inject(Fault { matching: SET.into(), nth: 1, times: 1, effect });
        let text = runbook_yaml(&set(&instances_parameter(&all), true))
            .replace("attempts: 1", "attempts: 3");
        let ended = cluster.run(&text).await.expect_success();
        assert_eq!(ended.output("it")["changed"].as_array().unwrap().len(), 1);
        assert_eq!(cluster.effective_calls(), [SET], "before: {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn set_protection_undo_leaves_an_instance_that_left_the_group() {
    let cluster = TestCluster::new().await;
    let all = instances(&cluster).await;
    let open: Vec<String> = {
        let before = protected(&cluster).await;
        all.into_iter().filter(|id| !before.contains(id)).collect()
    };
    let ended = fail_and_roll_back(&cluster, &set(&instances_parameter(&open), true), async || {
        terminate_instance(&cluster, &open[0]).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_left_alone(&ended, &format!("left the protection of instance {} unchanged", open[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_leaves_before_it_is_protected_is_gone() {
    let cluster = TestCluster::new().await;
    let all = instances(&cluster).await;
    let before = protected(&cluster).await;
    let open: Vec<String> = all.into_iter().filter(|id| !before.contains(id)).collect();
    let ended =
        fail_and_resume(&cluster, &set(&instances_parameter(&open), true), SET, async || {
            let state = cluster.simulator.state().await.unwrap();
            end_node(&cluster, &state.nodegroups[RELAY].instances[&open[0]].node).await;
        })
        .await
        .expect_success();
    assert_eq!(ended.output("it")["changed"], json!([]));
    assert_eq!(ended.output("it")["skipped"], json!([]));
    assert_eq!(ended.output("it")["gone"], json!([open[0]]));
    assert_line(&ended, &format!("1 instance is gone: {}", open[0]));
}

const LISTED: &str = "  - {id: group, action: get_protection, with: {nodegroup: GROUP}}\n  - {id: pause, action: sleep, with: {duration: 1s}}\n";
/// The first call of the third step.
const PREPARE: (&str, u32) = ("eks:DescribeNodegroup", 2);

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_instance_that_has_ended_is_gone() {
    let cluster = TestCluster::new().await;
    let all = instances(&cluster).await;
    let of = "instances: \"{{ group.instances | map(attribute='id') | list }}\"";
    let steps = format!("{}{}", LISTED.replace("GROUP", GROUP), set(of, true));
    let ended = fail_nth_and_resume(&cluster, &steps, PREPARE, async || {
        let state = cluster.simulator.state().await.unwrap();
        end_node(&cluster, &state.nodegroups[RELAY].instances[&all[0]].node).await;
    })
    .await
    .expect_success();
    assert_eq!(ended.output("it")["gone"], json!([all[0]]));
    assert_line(&ended, &format!("1 instance is gone: {}", all[0]));
    assert_eq!(protected(&cluster).await, all[1..].iter().cloned().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_node_that_has_ended_is_gone_for_set_protection() {
    let cluster = TestCluster::new().await;
    let list = format!(
        "  - {{id: group, action: list_nodes, with: {{nodegroup: {GROUP}}}}}\n  - {{id: pause, action: sleep, with: {{duration: 1s}}}}\n"
    );
    let of = "nodes: \"{{ group.nodes | map(attribute='name') | list }}\"";
    let steps = format!("{list}{}", set(of, true));
    let node = {
        let state = cluster.simulator.state().await.unwrap();
        state.nodegroups[RELAY].instances.values().next().unwrap().node.clone()
    };
    let ended = fail_nth_and_resume(&cluster, &steps, ("eks:DescribeNodegroup", 1), async || {
        end_node(&cluster, &node).await;
    })
    .await
    .expect_success();
    assert_eq!(ended.output("it")["gone"], json!([node]));
}

/// An instance that a step has listed is not gone as long as it runs somewhere else.
#[tokio::test(flavor = "multi_thread")]
async fn a_listed_instance_of_another_group_is_refused() {
    let cluster = TestCluster::new().await;
    let list = "  - {id: sentry, action: list_pods, with: {namespace: rafay-core, deployment: rafay-sentry}}\n";
    let steps = format!("{list}{}", set("instances: '{{ sentry.instances }}'", true));
    let ended = cluster.run(&runbook_yaml(&steps)).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("not in nodegroup"), "{}", ended.error());
    assert_eq!(cluster.effective_calls(), [""; 0]);
}
