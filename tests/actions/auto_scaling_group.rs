//! `find_auto_scaling_group`, `scale_auto_scaling_group`, and the protection of a plain group.

use std::collections::BTreeSet;

use rafay_relay_sop::journal::RunState;
use serde_json::json;
use simulator::Scenario;

use super::{
    PLAIN, RELAY, assert_left_alone, autoscaling, fail_and_roll_back, runbook_yaml,
    scenario_with_plain_group, texts,
};
use test_support::TestCluster;

const UPDATE: &str = "autoscaling:UpdateAutoScalingGroup";
const TERMINATE: &str = "autoscaling:TerminateInstanceInAutoScalingGroup";
const FIND: &str = "  - {id: workers, action: find_auto_scaling_group, with: {region: us-west-2, tags: {team: batch}}}\n";

fn scale(with: &str) -> String {
    format!(
        "{FIND}  - {{id: it, action: scale_auto_scaling_group, with: {{auto_scaling_group: '{{{{ workers }}}}', {with}}}}}\n"
    )
}

/// The least, greatest and wanted size, and the instances in service.
async fn group(cluster: &TestCluster) -> ((i32, i32, i32), BTreeSet<String>) {
    let call = autoscaling(cluster).describe_auto_scaling_groups().auto_scaling_group_names(PLAIN);
    let found = call.send().await.unwrap().auto_scaling_groups.unwrap().remove(0);
    let instances = found.instances.unwrap_or_default().into_iter();
    let sizes = (found.min_size.unwrap(), found.max_size.unwrap(), found.desired_capacity.unwrap());
    (sizes, instances.map(|instance| instance.instance_id.unwrap()).collect())
}

async fn plain_cluster() -> TestCluster {
    TestCluster::with_scenario(scenario_with_plain_group()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_found_by_name_or_tags() {
    let cluster = plain_cluster().await;
    let by_name = FIND.replace("tags: {team: batch}", &format!("name: {PLAIN}"));
    let (_, instances) = group(&cluster).await;
    for steps in [FIND.to_owned(), by_name] {
        let ended = cluster.run(&runbook_yaml(&steps)).await.expect_success();
        let output = ended.output("workers");
        assert_eq!(output["name"], json!(PLAIN));
        assert_eq!(output["tags"], json!({"team": "batch"}));
        assert_eq!(texts(&output["instances"]), instances);
        assert_eq!((&output["min"], &output["max"]), (&json!(1), &json!(4)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn none_and_several_groups_are_refused() {
    let cluster = plain_cluster().await;
    let find = |by: &str| runbook_yaml(&FIND.replace("tags: {team: batch}", by));
    for (by, expected) in [
        ("name: other", "Auto Scaling group other not found"),
        ("tags: {team: other}", "no Auto Scaling group of region us-west-2 has tag team=other"),
        (
            "tags: {'eks:cluster-name': rafay-cluster}",
            "3 Auto Scaling groups of region us-west-2 have tag eks:cluster-name=rafay-cluster: eks-",
        ),
    ] {
        let ended = cluster.run(&find(by)).await.expect_state(RunState::Failed);
        assert!(ended.error().contains(expected), "{}", ended.error());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_of_a_larger_size_ends_exactly_the_new_instances() {
    let cluster = plain_cluster().await;
    let (_, before) = group(&cluster).await;
    let steps = scale("desired: 6, raise_max: true");
    let ended = fail_and_roll_back(&cluster, &steps, async || {
        let (sizes, instances) = group(&cluster).await;
        assert_eq!((sizes, instances.len()), ((1, 6, 6), 6), "all are in service");
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_eq!(ended.output("it")["before"]["desired"], json!(2));
    assert_eq!(group(&cluster).await, ((1, 4, 2), before));
    let expected = [UPDATE, TERMINATE, TERMINATE, TERMINATE, TERMINATE, UPDATE];
    assert_eq!(cluster.effective_calls(), expected);
    assert!(!ended.lines().iter().any(|line| line.starts_with("Not restored")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_of_a_smaller_size_says_which_instances_are_gone() {
    let cluster = plain_cluster().await;
    let (_, before) = group(&cluster).await;
    let ended = fail_and_roll_back(&cluster, &scale("desired: 0, lower_min: true"), async || {
        assert_eq!(group(&cluster).await, ((0, 4, 0), BTreeSet::new()));
    })
    .await
    .expect_state(RunState::RolledBack);
    let (sizes, after) = group(&cluster).await;
    assert_eq!((sizes, after.len()), ((1, 4, 2), 2));
    assert!(after.is_disjoint(&before));
    assert_left_alone(&ended, &format!("2 instances that {PLAIN} had before are gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_another_client_set_meanwhile_is_left_alone() {
    let cluster = plain_cluster().await;
    let ended = fail_and_roll_back(&cluster, &scale("desired: 3"), async || {
        let call = autoscaling(&cluster).update_auto_scaling_group();
        call.auto_scaling_group_name(PLAIN).desired_capacity(4).send().await.unwrap();
    })
    .await
    .expect_state(RunState::RolledBack);
    let left =
        format!("left Auto Scaling group {PLAIN} desired at 4: another client changed it from 3");
    assert_left_alone(&ended, &left);
    assert_eq!(group(&cluster).await.0, (1, 4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_outside_the_limits_and_the_group_of_a_nodegroup_are_refused() {
    let cluster = plain_cluster().await;
    for (with, expected) in [
        ("desired: 5", "5 instances exceeds the maximum of Auto Scaling group workers, which is 4"),
        (
            "desired: 0",
            "0 instances is below the minimum of Auto Scaling group workers, which is 1",
        ),
    ] {
        let ended = cluster.run(&runbook_yaml(&scale(with))).await.expect_state(RunState::Failed);
        assert!(ended.error().ends_with(expected), "{}", ended.error());
    }
    let state = cluster.simulator.state().await.unwrap();
    let of_relay = &state.nodegroups[RELAY].group;
    let steps = format!(
        "  - {{id: it, action: scale_auto_scaling_group, with: {{auto_scaling_group: {{region: us-west-2, name: {of_relay}}}, desired: 4}}}}\n"
    );
    let ended = cluster.run(&runbook_yaml(&steps)).await.expect_state(RunState::Failed);
    assert!(ended.error().contains(&format!("belongs to nodegroup {RELAY}")), "{}", ended.error());
    assert_eq!(ended.failure().hint.as_deref(), Some("use `scale_nodegroup`"));
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_step_changes_nothing() {
    let cluster = plain_cluster().await;
    cluster.run(&runbook_yaml(&scale("desired: 3"))).await.expect_success();
    cluster.run(&runbook_yaml(&scale("desired: 3"))).await.expect_success();
    assert_eq!(cluster.effective_calls(), [UPDATE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protection_of_a_plain_group_is_read_and_set_and_undone() {
    let mut scenario: Scenario = scenario_with_plain_group();
    scenario.auto_scaling_groups[0].protected = vec![1];
    let cluster = TestCluster::with_scenario(scenario).await;
    let (_, instances) = group(&cluster).await;
    let get = "action: get_protection, with: {auto_scaling_group: '{{ workers }}'}";
    let steps = format!(
        "{FIND}  - {{id: before, {get}}}\n  - {{id: it, action: set_protection, with: {{auto_scaling_group: '{{{{ workers }}}}', instances: '{{{{ workers.instances }}}}', protected: true}}}}\n  - {{id: after, {get}}}\n"
    );
    let ended = fail_and_roll_back(&cluster, &steps, async || {}).await;
    let ended = ended.expect_state(RunState::RolledBack);
    assert_eq!(ended.output("before")["protected"].as_array().unwrap().len(), 1);
    assert_eq!(texts(&ended.output("after")["protected"]), instances);
    assert_eq!(ended.output("it")["changed"].as_array().unwrap().len(), 1);
    let ended = cluster.run(&runbook_yaml(&format!("{FIND}  - {{id: now, {get}}}\n"))).await;
    let ended = ended.expect_success();
    assert_eq!(ended.output("now")["protected"].as_array().unwrap().len(), 1);
}
