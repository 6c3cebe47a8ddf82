//! `find_nodegroup` and `list_nodegroups`.

use rafay_relay_sop::journal::RunState;
use serde_json::{Value, json};
use simulator::Scenario;

use super::{RELAY, failing_runbook_yaml, runbook_yaml};
use test_support::TestCluster;

fn find(with: &str) -> String {
    let with = format!("region: us-west-2, cluster: rafay-cluster, {with}");
    runbook_yaml(&format!("  - {{id: it, action: find_nodegroup, with: {{{with}}}}}\n"))
}

fn list(with: &str) -> String {
    format!(
        "  - {{id: all, action: list_nodegroups, with: {{region: us-west-2, cluster: rafay-cluster{with}}}}}\n"
    )
}

fn names(output: &Value) -> Vec<&str> {
    let records = output["nodegroups"].as_array().unwrap().iter();
    records.map(|record| record["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodegroup_is_found_by_name_and_no_other_is_read() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&find(&format!("name: {RELAY}"))).await.expect_success();
    let by_name = ended.output("it").clone();
    assert_eq!((&by_name["name"], &by_name["desired"]), (&json!(RELAY), &json!(3)));
    assert_eq!(cluster.count_calls("eks:ListNodegroups"), 0);
    assert_eq!(cluster.count_calls("eks:DescribeNodegroup"), 1);
    // The same record as by its labels.
    let ended = cluster
        .run(&find("labels: {Name: nodegroup-relay-services}, min_nodes: 2"))
        .await
        .expect_success();
    assert_eq!(*ended.output("it"), by_name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodegroup_that_is_not_found_by_name_or_too_small_is_refused() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&find("name: other")).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.ends_with("nodegroup other not found in cluster rafay-cluster"), "{error}");
    let hint =
        "`aws eks list-nodegroups --region us-west-2 --cluster-name rafay-cluster` lists the names";
    assert_eq!(ended.failure().hint.as_deref(), Some(hint));
    let with = format!("name: {RELAY}, min_nodes: 9");
    let ended = cluster.run(&find(&with)).await.expect_state(RunState::Failed);
    assert!(
        ended.error().ends_with(&format!(
            "no nodegroup of cluster rafay-cluster has 9 nodes or more: {RELAY} has 3"
        )),
        "{}",
        ended.error()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_labels_together_are_refused_before_the_run() {
    let cluster = TestCluster::new().await;
    for with in [format!("name: {RELAY}, labels: {{a: b}}"), "min_nodes: 1".to_owned()] {
        let refused = cluster.accept(&find(&with), json!({})).await;
        assert!(refused.is_err(), "{with}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodegroups_are_listed_all_or_by_labels_and_tags() {
    let mut scenario = Scenario::default();
    let relay = scenario.nodegroups.iter_mut().find(|group| group.name == RELAY).unwrap();
    relay.tags = [("team".to_owned(), "edge".to_owned())].into();
    let mut expected: Vec<String> =
        scenario.nodegroups.iter().map(|group| group.name.clone()).collect();
    expected.sort();
    let cluster = TestCluster::with_scenario(scenario).await;
    let ended = cluster.run(&runbook_yaml(&list(""))).await.expect_success();
    let output = ended.output("all");
    assert_eq!(names(output), expected);
    assert_eq!(output["count"], json!(expected.len()));
    for (with, expected) in
        [(", labels: {track: canary}", "relay-services-canary"), (", tags: {team: edge}", RELAY)]
    {
        let ended = cluster.run(&runbook_yaml(&list(with))).await.expect_success();
        assert_eq!(names(ended.output("all")), [expected], "{with}");
    }
    let none = list(", labels: {track: canary}, tags: {team: edge}");
    let ended = cluster.run(&runbook_yaml(&none)).await.expect_success();
    assert_eq!(*ended.output("all"), json!({"count": 0, "nodegroups": []}));
}

/// A listed record is what `scale_nodegroup` takes, and its undo too.
#[tokio::test(flavor = "multi_thread")]
async fn a_listed_nodegroup_can_be_handed_to_scale_nodegroup() {
    let cluster = TestCluster::new().await;
    let steps = format!(
        "{}  - {{id: up, action: scale_nodegroup, with: {{nodegroup: '{{{{ all.nodegroups[0] }}}}', desired: 2, raise_max: true}}}}\n",
        list(", labels: {track: canary}")
    );
    let ended = cluster.run(&failing_runbook_yaml(&steps)).await.expect_state(RunState::Failed);
    assert_eq!(ended.output("up")["name"], json!("relay-services-canary"));
    assert_eq!(cluster.effective_calls(), ["eks:UpdateNodegroupConfig"]);
}
