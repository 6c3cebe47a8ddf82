//! `scale_nodegroup` to fewer nodes: the surplus is gone when the step ends, and with `drain` the step chooses it.

use std::collections::BTreeSet;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use rafay_relay_sop::journal::{ResumeMode, RunState};
use serde_json::json;
use simulator::{Effect, Fault, Scenario};

use super::{budget, cordoned, create, fail_and_roll_back, runbook_yaml, texts, uids_of};
use test_support::{TestCluster, wait_until_async};

const CORE: &str = "core-services";
const TERMINATE: &str = "autoscaling:TerminateInstanceInAutoScalingGroup";
const UPDATE: &str = "eks:UpdateNodegroupConfig";

/// A cluster whose nodegroup of core services has three nodes and may have one. Two of them have a pod of rafay-sentry.
async fn cluster(protected: &[u32]) -> TestCluster {
    let mut scenario = Scenario::default();
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == CORE) {
        (group.min, group.desired) = (1, 3);
        group.protected = protected.to_vec();
    }
    TestCluster::with_scenario(scenario).await
}

fn shrink(desired: u32, more: &str) -> String {
    format!(
        "  - {{id: it, action: scale_nodegroup, with: {{nodegroup: {{region: us-west-2, cluster: rafay-cluster, \
         name: {CORE}}}, desired: {desired}{more}}}}}\n"
    )
}

/// The sizes in EKS and of the group, and how many instances there are.
async fn sizes(cluster: &TestCluster) -> (u32, u32, usize) {
    let state = cluster.simulator.state().await.unwrap();
    let group = &state.nodegroups[CORE];
    (group.desired, group.group_desired, group.instances.len())
}

/// Those of the nodegroup's instances, each with its node.
async fn members(cluster: &TestCluster) -> BTreeSet<(String, String)> {
    let state = cluster.simulator.state().await.unwrap();
    let instances = state.nodegroups[CORE].instances.clone().into_iter();
    instances.map(|(id, instance)| (id, instance.node)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_nodegroup_waits_until_the_surplus_instances_are_gone() {
    let cluster = cluster(&[]).await;
    let before = members(&cluster).await;
    let ended = cluster.run(&runbook_yaml(&shrink(1, ""))).await.expect_success();
    assert_eq!(sizes(&cluster).await, (1, 1, 1));
    let left = members(&cluster).await;
    let gone = before.difference(&left).map(|(id, _)| id.clone()).collect();
    assert_eq!(texts(&ended.output("it")["removed"]), gone);
    assert_eq!(ended.output("it")["drained"], json!([]));
    assert_eq!(cluster.effective_calls(), [UPDATE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_nodegroup_drains_the_nodes_that_it_chooses_and_ends_exactly_these() {
    let cluster = cluster(&[]).await;
    create::<PodDisruptionBudget>(&cluster, budget("rafay-sentry", 1)).await;
    let before = members(&cluster).await;
    let pods = uids_of(&cluster, "rafay-sentry").await;
    let ended = cluster.run(&runbook_yaml(&shrink(1, ", drain: true"))).await.expect_success();
    assert_eq!(sizes(&cluster).await, (1, 1, 1));
    let left = members(&cluster).await;
    let (ids, nodes): (BTreeSet<_>, BTreeSet<_>) = before.difference(&left).cloned().unzip();
    assert_eq!(texts(&ended.output("it")["removed"]), ids);
    assert_eq!(texts(&ended.output("it")["drained"]), nodes);
    let after = super::pods_of(&cluster, "rafay-sentry").await;
    assert!(after.len() == 2 && after.iter().all(|(_, pod)| pod.ready), "{after:?}");
    assert!(!uids_of(&cluster, "rafay-sentry").await.is_disjoint(&pods), "one pod has stayed");
    wait_until_async("the nodes to go with their cordons", async || {
        cordoned(&cluster).await.is_empty().then_some(())
    })
    .await;
    let calls = cluster.effective_calls();
    let position = |what: &str| calls.iter().position(|call| call.contains(what)).unwrap();
    assert!(position("eviction") < position(TERMINATE) && position(TERMINATE) < position(UPDATE));
    assert_eq!(calls.iter().filter(|call| *call == TERMINATE).count(), 2, "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_nodegroup_drains_no_node_that_is_protected_from_scale_in() {
    let cluster = cluster(&[1, 2]).await;
    let state = cluster.simulator.state().await.unwrap();
    let instances = state.nodegroups[CORE].instances.iter();
    let protected: BTreeSet<String> =
        instances.filter(|(_, facts)| facts.protected).map(|(id, _)| id.clone()).collect();
    cluster.run(&runbook_yaml(&shrink(2, ", drain: true"))).await.expect_success();
    let ids: BTreeSet<String> = members(&cluster).await.into_iter().map(|(id, _)| id).collect();
    assert!(ids.len() == 2 && ids.is_subset(&protected), "{ids:?}");
    let before = cluster.effective_calls().len();
    let ended = cluster.run(&runbook_yaml(&shrink(1, ", drain: true"))).await;
    let ended = ended.expect_state(RunState::Failed);
    assert!(ended.error().contains("0 of 2 are not protected from scale-in"), "{}", ended.error());
    assert_eq!(cluster.effective_calls().len(), before, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_cannot_succeed_and_a_lower_minimum_are_refused_before_anything_is_changed() {
    let cluster = cluster(&[]).await;
    let refusal = async |steps: &str| {
        let ended = cluster.run(&runbook_yaml(steps)).await.expect_state(RunState::Failed);
        ended.error().to_owned()
    };
    let error = refusal(&shrink(0, ", lower_min: true, drain: true")).await;
    assert!(error.contains("cannot lower the minimum"), "{error}");
    create::<PodDisruptionBudget>(&cluster, budget("rafay-sentry", 2)).await;
    let error = refusal(&shrink(1, ", drain: true")).await;
    assert!(error.contains("never allows an eviction"), "{error}");
    assert_eq!(cluster.effective_calls(), ["create poddisruptionbudgets/rafay-core"]);
}

/// The call is not repeated blindly: the desired size goes down once for each instance.
#[tokio::test(flavor = "multi_thread")]
async fn a_drained_scale_down_whose_responses_are_lost_converges() {
    for (matching, before) in [(TERMINATE, true), (TERMINATE, false), (UPDATE, true)] {
        let cluster = cluster(&[]).await;
        let effect = Effect::Drop { before };
        cluster.simulator.inject(Fault { matching: matching.into(), nth: 1, times: 1, effect });
        let text = runbook_yaml(&shrink(1, ", drain: true")).replace("attempts: 1", "attempts: 3");
        cluster.run(&text).await.expect_success();
        assert_eq!(sizes(&cluster).await, (1, 1, 1), "{matching}, before: {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_of_a_drained_scale_down_restores_the_sizes() {
    let cluster = cluster(&[]).await;
    let back = fail_and_roll_back(&cluster, &shrink(1, ", drain: true"), async || {}).await;
    back.expect_state(RunState::RolledBack);
    let (desired, group_desired, _) = sizes(&cluster).await;
    assert_eq!((desired, group_desired), (3, 3));
    assert!(cordoned(&cluster).await.is_empty());
}

/// Two instances were to go, and only one has gone.
#[tokio::test(flavor = "multi_thread")]
async fn the_undo_of_half_a_scale_down_restores_the_sizes_and_uncordons_what_is_left() {
    let cluster = cluster(&[]).await;
    let effect = Effect::Fail { status: 403, code: "AccessDenied".into(), message: "no".into() };
    cluster.simulator.inject(Fault { matching: TERMINATE.into(), nth: 2, times: 1, effect });
    let steps = runbook_yaml(&shrink(1, ", drain: true"));
    let ended = cluster.run(&steps).await.expect_state(RunState::Failed);
    assert!(!cordoned(&cluster).await.is_empty());
    let back = cluster.resume(ended.run.id(), ResumeMode::Rollback).await;
    back.expect_state(RunState::RolledBack);
    let (desired, group_desired, _) = sizes(&cluster).await;
    assert_eq!((desired, group_desired), (3, 3));
    assert_eq!(cordoned(&cluster).await, BTreeSet::new());
}
