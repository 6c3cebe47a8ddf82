//! `update_nodegroup_version`.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::{core::v1::Node, policy::v1::PodDisruptionBudget};
use kube::{Api, api::ListParams};
use rafay_relay_sop::{engine::Control, journal::RunState};
use serde_json::{Value, json};
use simulator::{Effect, Fault, Scenario, SlowLaunch, UpdateFailure};

use super::{
    GROUP, RELAY, assert_left_alone, budget, client, codes, create, eks, fail_and_roll_back,
    pods_of, runbook_yaml,
};
use test_support::TestCluster;

const UPDATE: &str = "eks:UpdateNodegroupVersion";

fn step(with: &str) -> String {
    format!(
        "  - {{id: it, action: update_nodegroup_version, timeout: 3h, with: {{nodegroup: {GROUP}{with}}}}}\n"
    )
}

/// The default world, with nodes of the version before the cluster's.
fn older_nodes() -> Scenario {
    let mut scenario = Scenario::default();
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == RELAY) {
        group.version = Some("1.34".into());
    }
    scenario
}

/// The nodes of the nodegroup with their versions.
async fn nodes(cluster: &TestCluster) -> Vec<(String, String)> {
    let nodes: Api<Node> = Api::all(client(cluster));
    let of_relay = ListParams::default().labels(&format!("eks.amazonaws.com/nodegroup={RELAY}"));
    let found = nodes.list(&of_relay).await.unwrap().items.into_iter();
    let version = |node: &Node| {
        let status = node.status.as_ref().unwrap();
        status.node_info.as_ref().unwrap().kubelet_version.clone()
    };
    found.map(|node| (node.metadata.uid.clone().unwrap(), version(&node))).collect()
}

async fn uids(cluster: &TestCluster) -> BTreeSet<String> {
    nodes(cluster).await.into_iter().map(|(uid, _)| uid).collect()
}

fn has_versions(nodes: &[(String, String)], version: &str) -> bool {
    nodes.iter().all(|(_, found)| found.starts_with(&format!("v{version}.")))
}

fn record_uids(records: &Value) -> BTreeSet<String> {
    let records = records.as_array().unwrap().iter();
    records.map(|node| node["uid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_is_replaced_by_one_of_the_new_version() {
    let cluster = TestCluster::with_scenario(older_nodes()).await;
    let before = nodes(&cluster).await;
    assert!(has_versions(&before, "1.34"));
    let ended = cluster.run(&runbook_yaml(&step(", version: '1.35'"))).await.expect_success();
    let after = nodes(&cluster).await;
    assert!(after.len() == 3 && has_versions(&after, "1.35"), "{after:?}");
    assert!(uids(&cluster).await.is_disjoint(&before.into_iter().map(|(uid, _)| uid).collect()));
    let output = ended.output("it");
    assert_eq!(
        (&output["version"], &output["release_version"]),
        (&json!("1.35"), &json!("1.35.0-20260601"))
    );
    assert_eq!(output["before"]["version"], json!("1.34"));
    assert_eq!(record_uids(&output["nodes"]), uids(&cluster).await);
    assert_eq!(cluster.effective_calls(), [UPDATE]);
    // The pods have moved.
    let running = pods_of(&cluster, "rafay-relay").await;
    assert!(running.iter().filter(|(_, pod)| pod.ready).count() >= 2, "{running:?}");
    let progress = ended.lines().into_iter().any(|line| line.contains("of 3 nodes from before"));
    assert!(progress, "{}", ended.lines().join("\n"));
}

/// Only one node at a time is not Ready, or takes no pods.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_nodes_are_unavailable_than_the_update_config_allows() {
    let cluster = TestCluster::with_scenario(older_nodes()).await;
    let text = runbook_yaml(&step(", version: '1.35'"));
    let accepted = cluster.accept(&text, json!({})).await.unwrap();
    let run = cluster.drive(accepted, Control::default());
    let observe = async {
        let mut least = usize::MAX;
        loop {
            let state = cluster.simulator.state().await.unwrap();
            let available = state.nodes.values().filter(|node| {
                node.nodegroup.as_deref() == Some(RELAY) && node.ready && !node.unschedulable
            });
            least = least.min(available.count());
            if has_versions(&nodes(&cluster).await, "1.35")
                && state.nodegroups[RELAY].status == "ACTIVE"
            {
                return least;
            }
        }
    };
    let (ended, least) = tokio::join!(run, observe);
    ended.expect_success();
    assert_eq!(least, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_version_the_nodes_get_the_latest_release_of_theirs() {
    let cluster = TestCluster::with_scenario(older_nodes()).await;
    let ended = cluster.run(&runbook_yaml(&step(""))).await.expect_success();
    let output = ended.output("it");
    assert_eq!(output["release_version"], json!("1.34.0-20260601"));
    assert_eq!(output["before"]["release_version"], json!("1.34.0-20260101"));
    // The same release once more is nothing to do; EKS is not asked.
    let same = step(", release_version: 1.34.0-20260601");
    let ended = cluster.run(&runbook_yaml(&same)).await.expect_success();
    assert_eq!(ended.output("it")["nodes"], ended.output("it")["before"]["nodes"]);
    assert_eq!(cluster.effective_calls(), [UPDATE]);
}

/// The rollback reports, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_rollback_says_that_the_version_is_not_restored() {
    let cluster = TestCluster::with_scenario(older_nodes()).await;
    let ended = fail_and_roll_back(&cluster, &step(", version: '1.35'"), async || {}).await;
    let ended = ended.expect_state(RunState::RolledBack);
    assert_left_alone(
        &ended,
        &format!(
            "left nodegroup {RELAY} release version at 1.35.0-20260601: EKS does not restore 1.34.0-20260101"
        ),
    );
    assert_left_alone(&ended, &format!("3 nodes of nodegroup {RELAY} cannot be restored"));
    assert_eq!(cluster.effective_calls(), [UPDATE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_never_allows_an_eviction_fails_the_update_with_a_hint() {
    let cluster = TestCluster::with_scenario(older_nodes()).await;
    create::<PodDisruptionBudget>(&cluster, budget("rafay-relay", 3)).await;
    let ended =
        cluster.run(&runbook_yaml(&step(", version: '1.35'"))).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("ended as Failed: PodEvictionFailure: "), "{}", ended.error());
    let hint = ended.failure().hint.as_deref().unwrap();
    assert!(hint.contains("disruption budget") && hint.contains("force: true"), "{hint}");
    assert!(has_versions(&nodes(&cluster).await, "1.34"));
    let mode = rafay_relay_sop::journal::ResumeMode::Rollback;
    cluster.resume(ended.run.id(), mode).await.expect_state(RunState::RolledBack);
    // By force, EKS ends the pods all the same.
    let forced = step(", version: '1.35', force: true");
    cluster.run(&runbook_yaml(&forced)).await.expect_success();
    assert!(has_versions(&nodes(&cluster).await, "1.35"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_eks_fails_is_sent_again_as_a_new_one() {
    let mut scenario = older_nodes();
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == RELAY) {
        group.update_failures.push(UpdateFailure {
            nth: 1,
            code: "NodeCreationFailure".into(),
            message: "Instances failed to join the kubernetes cluster".into(),
        });
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let text = runbook_yaml(&step(", version: '1.35'")).replace("attempts: 1", "attempts: 2");
    cluster.run(&text).await.expect_success();
    assert_eq!(cluster.effective_calls(), [UPDATE, UPDATE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_response_leads_to_one_update() {
    for before in [true, false] {
        let cluster = TestCluster::with_scenario(older_nodes()).await;
        let effect = Effect::Drop { before };
        cluster.simulator.inject(Fault { matching: UPDATE.into(), nth: 1, times: 1, effect });
        let text = runbook_yaml(&step(", version: '1.35'")).replace("attempts: 1", "attempts: 3");
        cluster.run(&text).await.expect_success();
        assert_eq!(cluster.effective_calls(), [UPDATE], "before: {before}");
    }
}

/// EKS goes on after the end of the run.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_outlasts_the_run_is_a_difference() {
    let mut scenario = older_nodes();
    let slow =
        SlowLaunch { nth: 1, boot: Duration::from_hours(2), node_ready: None, never_ready: false };
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == RELAY) {
        group.slow = vec![slow.clone()];
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let text = runbook_yaml(&step(", version: '1.35'")).replace("timeout: 3h", "timeout: 20s");
    let ended = cluster.run(&text).await.expect_state(RunState::Failed);
    let target = format!("nodegroup {RELAY} update in progress");
    let found = ended.run.differences();
    let update = found.iter().find(|found| found.target == target);
    assert!(
        update.is_some_and(|found| found.before.is_null() && found.now.is_string()),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_another_client_set_meanwhile_is_a_conflict() {
    let cluster = TestCluster::with_scenario(older_nodes()).await;
    let steps = step(", version: '1.35', release_version: 1.35.0-20260601");
    let effect = Effect::Fail { status: 403, code: "Forbidden".into(), message: "no".into() };
    cluster.simulator.inject(Fault { matching: UPDATE.into(), nth: 1, times: 1, effect });
    let ended = cluster.run(&runbook_yaml(&steps)).await.expect_state(RunState::Failed);
    let call = eks(&cluster).update_nodegroup_version().cluster_name("rafay-cluster");
    call.nodegroup_name(RELAY).send().await.unwrap();
    test_support::wait_until_async("the end of the other update", async || {
        let state = cluster.simulator.state().await.unwrap();
        (state.nodegroups[RELAY].status == "ACTIVE").then_some(())
    })
    .await;
    let mode = rafay_relay_sop::journal::ResumeMode::Continue;
    let ended = cluster.resume(ended.run.id(), mode).await.expect_state(RunState::Failed);
    let expected = format!(
        "nodegroup {RELAY} release version was changed by another client: expected 1.34.0-20260101, found 1.34.0-20260601"
    );
    assert!(ended.error().contains(&expected), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_eks_would_refuse_is_refused_before_anything_is_sent() {
    assert_eq!(codes(&runbook_yaml(&step(", version: latest"))), ["RB017"]);
    let cluster = TestCluster::new().await;
    for (with, expected) in [
        (", version: '1.33'", "has Kubernetes version 1.35, which EKS does not lower to 1.33"),
        (", launch_template_version: '2'", "so there is no version to choose"),
    ] {
        let ended = cluster.run(&runbook_yaml(&step(with))).await.expect_state(RunState::Failed);
        assert!(ended.error().ends_with(expected), "{}", ended.error());
    }
    assert_eq!(cluster.effective_calls(), [""; 0]);
    let too_new = runbook_yaml(&step(", version: '1.36'"));
    let ended = cluster.run(&too_new).await.expect_state(RunState::Failed);
    assert!(
        ended.error().contains("can't be greater than cluster version 1.35"),
        "{}",
        ended.error()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_template_version_replaces_the_nodes_too() {
    let mut scenario = Scenario::default();
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == RELAY) {
        group.launch_template_version = Some("1".into());
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let before = uids(&cluster).await;
    let steps = step(", launch_template_version: '2'");
    cluster.run(&runbook_yaml(&steps)).await.expect_success();
    assert!(uids(&cluster).await.is_disjoint(&before));
    let call = eks(&cluster).describe_nodegroup().cluster_name("rafay-cluster");
    let found = call.nodegroup_name(RELAY).send().await.unwrap().nodegroup.unwrap();
    assert_eq!(found.launch_template.unwrap().version.as_deref(), Some("2"));
}
