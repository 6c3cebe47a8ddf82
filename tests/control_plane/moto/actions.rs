//! The actions that look at and change nothing but AWS, each run whole.

use std::{collections::BTreeMap, sync::Arc};

use rafay_relay_sop::journal::RunState;
use serde_json::{Value, json};

use super::{
    Moto,
    aws_account::{AwsAccount, Sizes},
    request_log::RequestLog,
};
use crate::{
    accounts::{self, Grant},
    audit,
    fixture::ControlPlane,
    harness::{Test, test},
    run_as::{EngineRunner, FAILING_STEP, RunAs, runbook_yaml},
};
use test_support::FinishedRun;

type PlaneAndMoto = (Arc<ControlPlane>, Arc<Moto>);

const TEST_NAMESPACE: &str = "actions";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("moto::actions::find_nodegroup_finds_one_among_many", find_nodegroup),
        test("moto::actions::find_nodegroup_reports_why_none_matches", find_none),
        test("moto::actions::set_protection_handles_more_than_a_page", protections),
        test("moto::actions::set_protection_undo_restores_each_protection", protections_undone),
        test("moto::actions::nodegroups_are_listed_and_found_by_name", list_nodegroups),
        test("moto::actions::processes_are_suspended_and_resumed_by_the_undo", processes),
        test("moto::actions::instances_are_terminated_by_id", terminated),
        test("moto::actions::a_plain_group_is_found_scaled_and_restored", plain_group),
        test("moto::actions::a_nodegroup_is_set_and_restored", nodegroup_set),
    ]
}

const FIND: &str = "  - {id: relay, action: find_nodegroup, with: {region: us-west-2, cluster: prod, labels: {Name: relay}, min_nodes: 2}}\n";
const PROTECT: &str = "  - {id: found, action: get_protection, with: {nodegroup: '{{ relay }}'}}\n  \
                         - {id: unprotect, action: set_protection, with: {nodegroup: '{{ relay }}', instances: '{{ found.protected }}', protected: false}}\n  \
                         - {id: protect, action: set_protection, with: {nodegroup: '{{ relay }}', instances: '{{ found.instances | map(attribute=\"id\") | list }}', protected: true}}\n";

async fn run(moto: &Moto, steps: &str) -> FinishedRun {
    EngineRunner::of_aws(&moto.url).run(&runbook_yaml(steps)).await
}

/// Runs these steps, which may ask Kubernetes for a node's instance, with exactly the permissions that they declare.
async fn run_on((plane, moto): &PlaneAndMoto, steps: &str) -> FinishedRun {
    let text = runbook_yaml(steps);
    plane.namespace(TEST_NAMESPACE).await;
    let account = accounts::TestServiceAccount::new(
        plane,
        TEST_NAMESPACE,
        "run-as",
        Grant::for_runbook(&text),
    )
    .await;
    let run_as = RunAs::of(account, &moto.url);
    let ended = run_as.run(&text).await;
    assert_eq!(audit::denied_calls(plane, &run_as.account).await, [""; 0]);
    ended
}

/// On the third page of names, beside one of the same label with too few nodes.
async fn find_nodegroup(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    for number in 0..203 {
        account
            .bare_nodegroup(&format!("a-{number:03}"), &[("Name", "other")], Sizes(0, 1, 0))
            .await;
    }
    account.nodegroup("y-small", &[("Name", "relay")], Sizes(0, 9, 1)).await;
    let group =
        account.nodegroup("z-relay", &[("Name", "relay"), ("x", "y")], Sizes(1, 9, 3)).await;
    let ended = run(&moto, FIND).await.expect_success();
    let found = ended.output("relay");
    assert_eq!(found["name"], "z-relay");
    assert_eq!(found["auto_scaling_group"], json!(group));
    assert_eq!(
        (&found["min"], &found["max"], &found["desired"]),
        (&json!(1), &json!(9), &json!(3))
    );
    let members: Vec<String> = account.protections(&group).await.into_keys().collect();
    let mut instances: Vec<String> = serde_json::from_value(found["instances"].clone()).unwrap();
    instances.sort();
    assert_eq!(instances, members);
}

async fn find_none(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    account.nodegroup("a", &[("Name", "other")], Sizes(0, 9, 2)).await;
    let ended = run(&moto, FIND).await.expect_state(RunState::RolledBack);
    assert!(
        ended.error().contains("has label Name=relay; the cluster has: a (Name=other)"),
        "{}",
        ended.error()
    );
    // As one that EKS has only begun to make.
    account.bare_nodegroup("e", &[("Name", "relay")], Sizes(0, 9, 2)).await;
    let ended = run(&moto, FIND).await.expect_state(RunState::RolledBack);
    let none = "has 2 nodes or more: e (ACTIVE) has no Auto Scaling group";
    assert!(ended.error().contains(none), "{}", ended.error());
    account.nodegroup("b", &[("Name", "relay")], Sizes(0, 9, 1)).await;
    let ended = run(&moto, FIND).await.expect_state(RunState::RolledBack);
    assert!(
        ended.error().contains("has 2 nodes or more: b has 1, e (ACTIVE) has"),
        "{}",
        ended.error()
    );
    account.nodegroup("c", &[("Name", "relay")], Sizes(0, 9, 2)).await;
    let ended = run(&moto, FIND).await.expect_success();
    assert_eq!(ended.output("relay")["name"], "c");
    account.nodegroup("d", &[("Name", "relay")], Sizes(0, 9, 2)).await;
    let ended = run(&moto, FIND).await.expect_state(RunState::RolledBack);
    assert!(ended.error().contains("2 nodegroups of cluster prod"), "{}", ended.error());
    assert!(ended.error().ends_with(": c, d"), "{}", ended.error());
}

/// A group of 120 instances, of which 70 are protected.
async fn large_group(moto: &Moto) -> (AwsAccount, String, BTreeMap<String, bool>) {
    let account = AwsAccount::new(moto, "prod").await;
    let group = account.nodegroup("relay", &[("Name", "relay")], Sizes(0, 200, 120)).await;
    let members: Vec<String> = account.protections(&group).await.into_keys().collect();
    account.protect(&group, &members[..70]).await;
    let before = account.protections(&group).await;
    (account, group, before)
}

async fn protections(plane_and_moto: PlaneAndMoto) {
    let (account, group, before) = large_group(&plane_and_moto.1).await;
    let requests = RequestLog::start(&plane_and_moto.1);
    let ended = run_on(&plane_and_moto, &format!("{FIND}{PROTECT}")).await.expect_success();
    let found = ended.output("found");
    let protected: Vec<&String> =
        before.iter().filter(|(_, protected)| **protected).map(|(id, _)| id).collect();
    assert_eq!(sorted(&found["protected"]), protected);
    assert_eq!(found["instances"].as_array().unwrap().len(), 120);
    assert_eq!(ended.output("unprotect")["changed"].as_array().unwrap().len(), 70);
    assert_eq!(ended.output("protect")["changed"].as_array().unwrap().len(), 120);
    assert!(account.protections(&group).await.values().all(|protected| *protected));
    // 70 to unprotect and 120 to protect.
    let sizes: Vec<usize> = requests.calls("SetInstanceProtection").iter().map(ids).collect();
    assert_eq!(sizes, [50, 20, 50, 50, 20]);
}

async fn protections_undone(plane_and_moto: PlaneAndMoto) {
    let (account, group, before) = large_group(&plane_and_moto.1).await;
    run_on(&plane_and_moto, &format!("{FIND}{PROTECT}{FAILING_STEP}"))
        .await
        .expect_state(RunState::RolledBack);
    assert_eq!(account.protections(&group).await, before);
}

/// Counts the instances that a call names.
fn ids(call: &BTreeMap<String, String>) -> usize {
    call.keys().filter(|name| name.starts_with("InstanceIds.member.")).count()
}

fn sorted(list: &Value) -> Vec<&str> {
    let mut items: Vec<&str> =
        list.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    items.sort_unstable();
    items
}

async fn list_nodegroups(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    for number in 0..103 {
        account.bare_nodegroup(&format!("b-{number:03}"), &[("Name", "b")], Sizes(0, 1, 0)).await;
    }
    account.nodegroup("z", &[("Name", "z")], Sizes(0, 9, 2)).await;
    account.nodegroup("a", &[("Name", "z")], Sizes(0, 9, 1)).await;
    let ended = run(
        &moto,
        "  - {id: all, action: list_nodegroups, with: {region: us-west-2, cluster: prod, labels: {Name: z}}}\n  \
           - {id: one, action: find_nodegroup, with: {region: us-west-2, cluster: prod, name: z}}\n",
    )
    .await
    .expect_success();
    let records = ended.output("all")["nodegroups"].as_array().unwrap();
    let names: Vec<&str> = records.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "z"]);
    assert_eq!(records[1], *ended.output("one"));
}

async fn processes(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    let group = account.nodegroup("relay", &[("Name", "relay")], Sizes(0, 9, 2)).await;
    let suspend = account.autoscaling.suspend_processes().auto_scaling_group_name(&group);
    suspend.scaling_processes("HealthCheck").send().await.unwrap();
    let steps = format!(
        "{FIND}  - {{id: it, action: suspend_processes, with: {{nodegroup: '{{{{ relay }}}}', processes: [AZRebalance, HealthCheck]}}}}\n"
    );
    let ended = run(&moto, &steps).await.expect_success();
    assert_eq!(ended.output("it")["changed"], json!(["AZRebalance"]));
    assert_eq!(sorted(&ended.output("it")["suspended"]), ["AZRebalance", "HealthCheck"]);
    let resume = account.autoscaling.resume_processes().auto_scaling_group_name(&group);
    resume.scaling_processes("AZRebalance").send().await.unwrap();
    let ended = run(&moto, &format!("{steps}{FAILING_STEP}")).await;
    ended.expect_state(RunState::RolledBack);
    let left = account.describe_group(&group).await.suspended_processes.unwrap();
    let left: Vec<String> = left.into_iter().filter_map(|process| process.process_name).collect();
    assert_eq!(left, ["HealthCheck"]);
}

async fn terminated(plane_and_moto: PlaneAndMoto) {
    let account = AwsAccount::new(&plane_and_moto.1, "prod").await;
    let group = account.nodegroup("relay", &[("Name", "relay")], Sizes(1, 9, 3)).await;
    let before: Vec<String> = account.protections(&group).await.into_keys().collect();
    let steps = |with: &str| {
        format!(
            "{FIND}  - {{id: it, action: terminate_instances, with: {{nodegroup: '{{{{ relay }}}}', instances: [{}], {with}}}}}\n",
            before[0]
        )
    };
    let ended = run_on(&plane_and_moto, &steps("lower_desired: true")).await.expect_success();
    assert_eq!(ended.output("it")["terminated"], json!([before[0]]));
    let after: Vec<String> = account.protections(&group).await.into_keys().collect();
    assert_eq!(after, before[1..]);
    assert_eq!(account.describe_group(&group).await.desired_capacity, Some(2));
    let ended = run_on(&plane_and_moto, &steps("lower_desired: false")).await;
    let ended = ended.expect_state(RunState::RolledBack);
    assert!(ended.error().contains("not in nodegroup relay"), "{}", ended.error());
}

async fn plain_group(plane_and_moto: PlaneAndMoto) {
    let account = AwsAccount::new(&plane_and_moto.1, "prod").await;
    account.group("workers", Sizes(1, 3, 2)).await;
    let before = account.protections("workers").await;
    let steps = "  - {id: workers, action: find_auto_scaling_group, with: {region: us-west-2, tags: {'eks:cluster-name': prod}}}\n  \
                   - {id: up, action: scale_auto_scaling_group, with: {auto_scaling_group: '{{ workers }}', desired: 5, raise_max: true}}\n  \
                   - {id: it, action: set_protection, with: {auto_scaling_group: '{{ workers }}', instances: '{{ up.instances }}', protected: true}}\n";
    let ended = run_on(&plane_and_moto, steps).await.expect_success();
    assert_eq!(ended.output("up")["instances"].as_array().unwrap().len(), 5);
    assert_eq!(ended.output("it")["changed"].as_array().unwrap().len(), 5);
    let account = AwsAccount::new(&plane_and_moto.1, "prod").await;
    account.group("workers", Sizes(1, 3, 2)).await;
    let instances = account.protections("workers").await;
    assert_eq!(instances.len(), before.len());
    let ended = run_on(&plane_and_moto, &format!("{steps}{FAILING_STEP}")).await;
    ended.expect_state(RunState::RolledBack);
    assert_eq!(account.protections("workers").await, instances);
    let group = account.describe_group("workers").await;
    assert_eq!((group.max_size, group.desired_capacity), (Some(3), Some(2)));
}

async fn nodegroup_set(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    account.nodegroup("relay", &[("Name", "relay"), ("old", "1")], Sizes(1, 4, 2)).await;
    let before = account.describe_nodegroup("relay").await;
    let steps = format!(
        "{FIND}  - {{id: it, action: set_nodegroup, with: {{nodegroup: '{{{{ relay }}}}', min: 0, max: 9, labels: {{track: a, old: null}}, taints: [{{key: a, value: b, effect: NoSchedule}}]}}}}\n"
    );
    let ended = run(&moto, &steps).await.expect_success();
    assert_eq!(ended.output("it")["changed"].as_array().unwrap().len(), 5);
    let after = account.describe_nodegroup("relay").await;
    assert_eq!(account.sizes("relay").await, Sizes(0, 9, 2));
    assert_eq!(
        after.labels.unwrap(),
        [("Name".into(), "relay".into()), ("track".into(), "a".into())].into()
    );
    assert_eq!(after.taints.unwrap()[0].key(), Some("a"));
    let account = AwsAccount::new(&moto, "prod").await;
    account.nodegroup("relay", &[("Name", "relay"), ("old", "1")], Sizes(1, 4, 2)).await;
    run(&moto, &format!("{steps}{FAILING_STEP}")).await.expect_state(RunState::RolledBack);
    let restored = account.describe_nodegroup("relay").await;
    assert_eq!(account.sizes("relay").await, Sizes(1, 4, 2));
    assert_eq!(restored.labels, before.labels);
    assert!(restored.taints.unwrap_or_default().is_empty());
}
