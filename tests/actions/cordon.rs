//! `cordon` and `uncordon`.

use std::collections::BTreeSet;

use rafay_relay_sop::journal::{ResumeMode, RunState};
use serde_json::json;
use simulator::Scenario;

use super::{
    GROUP, RELAY, assert_left_alone, assert_line, cordoned, end_node, fail_and_resume,
    fail_and_roll_back, fail_nth_and_resume, patch_node, runbook_yaml, texts,
};
use test_support::TestCluster;

const CORDONED_BY: &str = "rafay-relay-sop/cordoned-by";

async fn relay_nodes(cluster: &TestCluster) -> Vec<String> {
    let state = cluster.simulator.state().await.unwrap();
    let is_relay = |(_, node): &(_, simulator::NodeFacts)| node.nodegroup.as_deref() == Some(RELAY);
    state.nodes.into_iter().filter(is_relay).map(|(name, _)| name).collect()
}

fn step(action: &str, nodes: &[String]) -> String {
    format!("  - {{id: it, action: {action}, with: {{nodes: {}}}}}\n", json!(nodes))
}

async fn cordon_as_other_client(cluster: &TestCluster, node: &str, cordon: bool) {
    patch_node(cluster, node, json!({"spec": {"unschedulable": cordon}})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cordon_is_undone_only_where_the_run_set_it() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    cordon_as_other_client(&cluster, &nodes[0], true).await;
    let before = cluster.effective_calls().len();
    let ended = cluster.run(&runbook_yaml(&step("cordon", &nodes))).await.expect_success();
    assert_eq!(texts(&ended.output("it")["nodes"]), nodes.iter().cloned().collect());
    assert_eq!(texts(&ended.output("it")["changed"]), nodes[1..].iter().cloned().collect());
    assert_eq!(cordoned(&cluster).await, nodes.iter().cloned().collect());
    assert_eq!(cluster.effective_calls().len(), before + 2, "one patch a node");

    let cluster = TestCluster::new().await;
    cordon_as_other_client(&cluster, &nodes[0], true).await;
    let ended = fail_and_roll_back(&cluster, &step("cordon", &nodes), async || {}).await;
    ended.expect_state(RunState::RolledBack);
    assert_eq!(cordoned(&cluster).await, BTreeSet::from([nodes[0].clone()]));
    let state = cluster.simulator.state().await.unwrap();
    assert!(!state.nodes[&nodes[1]].annotations.contains_key(CORDONED_BY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordon_set_by_another_client_is_not_claimed_by_the_run() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    let ended =
        fail_and_resume(&cluster, &step("cordon", &nodes[..1]), "patch nodes/*", async || {
            cordon_as_other_client(&cluster, &nodes[0], true).await;
        })
        .await
        .expect_success();
    assert_eq!(ended.output("it")["changed"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn cordon_undo_leaves_nodes_claimed_by_others() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    let ended = fail_and_roll_back(&cluster, &step("cordon", &nodes), async || {
        let theirs = json!({"metadata": {"annotations": {CORDONED_BY: null}}});
        patch_node(&cluster, &nodes[0], theirs).await;
        cordon_as_other_client(&cluster, &nodes[1], false).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_left_alone(&ended, &format!("left node {} cordoned", nodes[0]));
    assert_eq!(cordoned(&cluster).await, BTreeSet::from([nodes[0].clone()]));
    let state = cluster.simulator.state().await.unwrap();
    assert!(!state.nodes[&nodes[1]].annotations.contains_key(CORDONED_BY), "it says no untruth");
}

#[tokio::test(flavor = "multi_thread")]
async fn uncordon_is_undone_only_where_the_run_cleared_it() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    cordon_as_other_client(&cluster, &nodes[0], true).await;
    let ended = cluster.run(&runbook_yaml(&step("uncordon", &nodes))).await.expect_success();
    assert_eq!(ended.output("it")["changed"], json!([nodes[0]]));
    assert!(cordoned(&cluster).await.is_empty());

    cordon_as_other_client(&cluster, &nodes[0], true).await;
    fail_and_roll_back(&cluster, &step("uncordon", &nodes), async || {})
        .await
        .expect_state(RunState::RolledBack);
    assert_eq!(cordoned(&cluster).await, BTreeSet::from([nodes[0].clone()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_there_is_refused_before_anything_is_cordoned() {
    let cluster = TestCluster::new().await;
    let mut nodes = relay_nodes(&cluster).await;
    nodes.push("ip-10-9-9-9.us-west-2.compute.internal".into());
    let ended =
        cluster.run(&runbook_yaml(&step("cordon", &nodes))).await.expect_state(RunState::Failed);
    assert!(
        ended.error().contains("not found in the cluster: ip-10-9-9-9.us-west-2.compute.internal"),
        "{}",
        ended.error()
    );
    assert!(cordoned(&cluster).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn cordon_reads_many_nodes_by_the_page() {
    let mut scenario = Scenario::default();
    for group in &mut scenario.nodegroups {
        if group.name == RELAY {
            (group.desired, group.max) = (40, 40);
        }
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let nodes = relay_nodes(&cluster).await;
    cluster.run(&runbook_yaml(&step("cordon", &nodes))).await.expect_success();
    assert_eq!(cluster.count_calls("patch nodes/"), 40);
    assert_eq!((cluster.count_calls("list nodes"), cluster.count_calls("get nodes/")), (2, 0));
}

/// Lists the nodegroup's nodes, and hands them and some other names to the action.
fn listed_step(action: &str, more: &str) -> String {
    format!(
        "  - {{id: group, action: list_nodes, with: {{nodegroup: {GROUP}}}}}\n  \
         - {{id: pause, action: sleep, with: {{duration: 1s}}}}\n  \
         - {{id: it, action: {action}, with: {{nodes: \"{{{{ group.nodes | map(attribute='name') | list {more} }}}}\"}}}}\n"
    )
}

/// The call with which `cordon` prepares, after that of `list_nodes`.
const PREPARE: (&str, u32) = ("list nodes", 2);

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_node_that_ends_before_the_step_is_gone() {
    for cordon in [true, false] {
        let cluster = TestCluster::new().await;
        let nodes = relay_nodes(&cluster).await;
        for node in &nodes {
            cordon_as_other_client(&cluster, node, !cordon).await;
        }
        let action = if cordon { "cordon" } else { "uncordon" };
        let ended = fail_nth_and_resume(&cluster, &listed_step(action, ""), PREPARE, async || {
            end_node(&cluster, &nodes[0]).await;
        })
        .await
        .expect_success();
        let output = ended.output("it");
        assert_eq!(output["gone"], json!([nodes[0]]));
        assert_eq!(texts(&output["nodes"]), nodes[1..].iter().cloned().collect());
        assert_eq!(texts(&output["changed"]), nodes[1..].iter().cloned().collect());
        assert_line(&ended, &format!("1 node is gone: {}", nodes[0]));
        let expected: BTreeSet<String> =
            if cordon { nodes[1..].iter().cloned().collect() } else { BTreeSet::new() };
        assert_eq!(cordoned(&cluster).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_between_prepare_and_apply_is_gone_and_stays_so_in_the_undo() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    let ended = fail_and_resume(&cluster, &step("cordon", &nodes), "patch nodes/*", async || {
        end_node(&cluster, &nodes[0]).await;
    })
    .await
    .expect_success();
    assert_eq!(ended.output("it")["gone"], json!([nodes[0]]));
    assert_eq!(texts(&ended.output("it")["nodes"]), nodes[1..].iter().cloned().collect());
    assert_eq!(cordoned(&cluster).await, nodes[1..].iter().cloned().collect());

    let cluster = TestCluster::new().await;
    let ended = fail_and_roll_back(&cluster, &step("cordon", &nodes), async || {
        end_node(&cluster, &nodes[0]).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_left_alone(&ended, &format!("node {} no longer exists", nodes[0]));
    assert!(cordoned(&cluster).await.is_empty());
}

/// What one step listed says nothing about a name that no step listed.
#[tokio::test(flavor = "multi_thread")]
async fn a_misspelled_name_beside_listed_ones_is_an_error() {
    let cluster = TestCluster::new().await;
    let steps = listed_step("cordon", "+ ['ip-10-9-9-9']");
    let nodes = relay_nodes(&cluster).await;
    let ended = fail_nth_and_resume(&cluster, &steps, PREPARE, async || {
        end_node(&cluster, &nodes[0]).await;
    })
    .await
    .expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.ends_with("1 node not found in the cluster: ip-10-9-9-9"), "{error}");
    assert!(cordoned(&cluster).await.is_empty());
}

/// Otherwise the step would fail in the same way for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_run_reads_again_what_the_failed_step_depends_on() {
    let cluster = TestCluster::new().await;
    let nodes = relay_nodes(&cluster).await;
    let list = format!("  - {{id: group, action: list_nodes, with: {{nodegroup: {GROUP}}}}}\n");
    let check = "  - {id: check, action: assert, with: {that: '{{ group.cordoned | length == 1 }}', message: not yet}}\n";
    let ended =
        cluster.run(&runbook_yaml(&format!("{list}{check}"))).await.expect_state(RunState::Failed);
    assert!(ended.error().starts_with("not yet"), "{}", ended.error());
    cordon_as_other_client(&cluster, &nodes[0], true).await;
    let ended = cluster.resume(ended.run.id(), ResumeMode::Continue).await.expect_success();
    assert_eq!(ended.output("group")["cordoned"], json!([nodes[0]]));
}
