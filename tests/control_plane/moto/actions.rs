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
