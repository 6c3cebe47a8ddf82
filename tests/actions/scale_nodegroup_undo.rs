//! The undo of `scale_nodegroup`: exactly the new instances go, with their pods moved away first.

use std::collections::BTreeSet;

use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::Api;
use rafay_relay_sop::journal::{ResumeMode, RunState};
use serde_json::json;
use simulator::{Effect, Fault, Scenario};

use super::{
    NAMESPACE, RELAY, assert_left_alone, budget, client, cordoned, create, fail_and_roll_back,
    failing_runbook_yaml, nodes_of, protected, runbook_yaml, uids_of,
};
use test_support::{TestCluster, wait_until_async};

/// Grows the group and puts relay pods on its new nodes, as relay-scale does.
pub(super) const GROW: &str = concat!(
    "  - {id: grow, action: scale_nodegroup, with: {nodegroup: {region: us-west-2, cluster: rafay-cluster, ",
    "name: relay-services-1a2b3c}, desired: 6, raise_max: true}}\n",
    "  - {id: nodes, action: wait_nodes, with: {nodegroup: '{{ grow }}', count: 6, ",
    "previous: '{{ grow.before.nodes }}'}}\n",
);
const UPDATE: &str = "eks:UpdateNodegroupConfig";

/// What must be as it was: sizes, instances, protections, cordons.
async fn facts(cluster: &TestCluster) -> impl PartialEq + std::fmt::Debug {
    let state = cluster.simulator.state().await.unwrap();
    let group = &state.nodegroups[RELAY];
    let sizes = (group.min, group.max, group.desired, group.group_desired);
    let instances: BTreeSet<String> = group.instances.keys().cloned().collect();
    (sizes, instances, protected(cluster).await, cordoned(cluster).await)
}

/// Puts cache pods on the new nodes.
fn grow_and_move() -> String {
    format!(
        "{GROW}  - {{id: more, action: scale_deployment, with: {{namespace: rafay-core, deployment: relay-cache, replicas: 12}}}}\n"
    )
}

/// Cache pods on the new nodes that no other step's undo takes away.
async fn fill_new_nodes(cluster: &TestCluster) {
    super::patch_deployment(cluster, "relay-cache", json!({"spec": {"replicas": 12}})).await;
    for _ in 0..2000 {
        let pods = super::pods_of(cluster, "relay-cache").await;
        if pods.len() == 12 && pods.iter().all(|(_, pod)| pod.ready) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the pods do not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_nodegroup_undo_restores_every_instance() {
    let cluster = TestCluster::new().await;
    let before = facts(&cluster).await;
    let relay = uids_of(&cluster, "rafay-relay").await;
    fail_and_roll_back(&cluster, &grow_and_move(), async || {})
        .await
        .expect_state(RunState::RolledBack);
    assert_eq!(facts(&cluster).await, before);
    assert_eq!(uids_of(&cluster, "rafay-relay").await, relay, "the old pods were not touched");
    let updates = cluster.effective_calls().iter().filter(|call| *call == UPDATE).count();
    assert_eq!(updates, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_nodegroup_undo_moves_pods_before_it_removes_their_nodes() {
    let cluster = TestCluster::new().await;
    create::<PodDisruptionBudget>(&cluster, budget("relay-cache", 10)).await;
    let before = facts(&cluster).await;
    let ended = fail_and_roll_back(&cluster, GROW, async || fill_new_nodes(&cluster).await).await;
    ended.expect_state(RunState::RolledBack);
    assert_eq!(facts(&cluster).await, before);
    let state = cluster.simulator.state().await.unwrap();
    assert_eq!(uids_of(&cluster, "relay-cache").await.len(), 12);
    for node in nodes_of(&cluster, "relay-cache").await {
        assert!(state.nodes.contains_key(&node), "{node} is gone");
    }
    let calls = cluster.effective_calls();
    let evictions = calls.iter().filter(|call| call.contains("eviction")).count();
    assert!(evictions >= 3, "{calls:?}");
    let last_eviction = calls.iter().rposition(|call| call.contains("eviction"));
    assert!(last_eviction < calls.iter().rposition(|call| call == UPDATE), "{calls:?}");
}

/// Restarted meanwhile, the pod that had no room has a successor of another name.
#[tokio::test(flavor = "multi_thread")]
async fn scale_nodegroup_undo_does_not_wait_for_pods_that_were_pending_before() {
    let mut scenario = Scenario::default();
    let relay = scenario.deployments.iter_mut().find(|one| one.name == "rafay-relay");
    relay.unwrap().replicas = 4;
    let cluster = TestCluster::with_scenario(scenario).await;
    let before = facts(&cluster).await;
    let restart = format!(
        "{GROW}  - {{id: restart, action: rollout_restart, with: {{namespace: rafay-core, deployment: rafay-relay}}}}\n"
    );
    fail_and_roll_back(&cluster, &restart, async || {}).await.expect_state(RunState::RolledBack);
    assert_eq!(facts(&cluster).await, before);
    assert_eq!(uids_of(&cluster, "rafay-relay").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_drain_leaves_the_sizes_unchanged() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&failing_runbook_yaml(GROW)).await.expect_state(RunState::Failed);
    let state = cluster.simulator.state().await.unwrap();
    let new = ended.output("nodes")["new_nodes"][0]["name"].as_str().unwrap();
    create::<Pod>(
        &cluster,
        json!({
            "metadata": {"name": "bare", "namespace": NAMESPACE},
            "spec": {"nodeName": new, "containers": [{"name": "c", "image": "registry.example.com/a:1"}]},
        }),
    )
    .await;
    let back = cluster
        .resume(ended.run.id(), ResumeMode::Rollback)
        .await
        .expect_state(RunState::RollbackFailed);
    let lines = back.lines().join("\n");
    assert!(lines.contains("1 pod without a controller would be lost"), "{lines}");
    let now = cluster.simulator.state().await.unwrap();
    assert_eq!(now.nodegroups[RELAY].desired, state.nodegroups[RELAY].desired);
    assert_eq!(now.nodegroups[RELAY].instances.len(), 6);

    // The pod out of the way, the same rollback goes on.
    super::delete_pod(&cluster, "bare").await;
    cluster.resume(ended.run.id(), ResumeMode::Rollback).await.expect_state(RunState::RolledBack);
    assert_eq!(cluster.simulator.state().await.unwrap().nodegroups[RELAY].instances.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_forbids_a_drain_is_named_and_waited_for() {
    let cluster = TestCluster::new().await;
    let before = facts(&cluster).await;
    let ended = cluster.run(&failing_runbook_yaml(GROW)).await.expect_state(RunState::Failed);
    fill_new_nodes(&cluster).await;
    create::<PodDisruptionBudget>(&cluster, budget("relay-cache", 12)).await;
    let (id, store) = (ended.run.id(), &cluster.store);
    let mending = async {
        wait_until_async("the budget's name", async || {
            let text = format!("{:?}", store.read(id, 0).await.ok()?);
            let named = "disruption budget rafay-core/relay-cache-budget never allows an eviction: \
                         it requires 12 healthy pods of 12";
            text.contains(named).then_some(())
        })
        .await;
        assert_eq!(cluster.effective_calls().iter().filter(|call| *call == UPDATE).count(), 1);
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(client(&cluster), NAMESPACE);
        budgets.delete("relay-cache-budget", &Default::default()).await.unwrap();
    };
    let (back, ()) = tokio::join!(cluster.resume(id, ResumeMode::Rollback), mending);
    back.expect_state(RunState::RolledBack);
    assert_eq!(facts(&cluster).await, before);
}

/// A node that somebody else cordoned is cordoned: it is drained and removed like the others.
#[tokio::test(flavor = "multi_thread")]
async fn scale_nodegroup_undo_ends_although_another_client_cordoned_new_nodes() {
    let cluster = TestCluster::new().await;
    let before = facts(&cluster).await;
    let ended = cluster.run(&failing_runbook_yaml(GROW)).await.expect_state(RunState::Failed);
    fill_new_nodes(&cluster).await;
    let new_nodes = ended.output("nodes")["new_nodes"].as_array().unwrap().clone();
    for node in &new_nodes[..2] {
        let cordon = json!({"spec": {"unschedulable": true}});
        super::patch_node(&cluster, node["name"].as_str().unwrap(), cordon).await;
    }
    let earlier = cluster.count_calls("autoscaling:DescribeAutoScalingGroups");
    cluster.resume(ended.run.id(), ResumeMode::Rollback).await.expect_state(RunState::RolledBack);
    assert_eq!(facts(&cluster).await, before);
    assert_eq!(uids_of(&cluster, "relay-cache").await.len(), 12);
    let reads = cluster.count_calls("autoscaling:DescribeAutoScalingGroups") - earlier;
    assert!(reads < 200, "{reads}");
}

/// An undo that was interrupted after a cordon drains the node; one that another client uncordons meanwhile may have
/// pods again.
#[tokio::test(flavor = "multi_thread")]
async fn scale_nodegroup_undo_drains_nodes_that_another_client_uncordoned() {
    let cluster = TestCluster::new().await;
    let before = facts(&cluster).await;
    let ended = cluster.run(&failing_runbook_yaml(GROW)).await.expect_state(RunState::Failed);
    let effect = Effect::Fail {
        status: 400,
        code: "InvalidParameterException".into(),
        message: "no".into(),
    };
    cluster.simulator.inject(Fault { matching: UPDATE.into(), nth: 1, times: 1, effect });
    cluster
        .resume(ended.run.id(), ResumeMode::Rollback)
        .await
        .expect_state(RunState::RollbackFailed);
    let drained = cordoned(&cluster).await;
    assert_eq!(drained.len(), 3);
    for node in &drained {
        let uncordon = json!({"spec": {"unschedulable": null}});
        super::patch_node(&cluster, node, uncordon).await;
    }
    fill_new_nodes(&cluster).await;
    cluster.resume(ended.run.id(), ResumeMode::Rollback).await.expect_state(RunState::RolledBack);
    assert_eq!(facts(&cluster).await, before);
    assert_eq!(uids_of(&cluster, "relay-cache").await.len(), 12);
    let evicted = cluster.effective_calls().iter().filter(|call| call.contains("eviction")).count();
    assert!(evicted >= 3, "{evicted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_whose_responses_are_lost_converges() {
    for (matching, before) in [
        ("patch nodes/*", true),
        ("patch nodes/*", false),
        ("autoscaling:SetInstanceProtection", false),
        (UPDATE, true),
        (UPDATE, false),
    ] {
        let cluster = TestCluster::new().await;
        let facts_before = facts(&cluster).await;
        let ended = cluster.run(&failing_runbook_yaml(GROW)).await.expect_state(RunState::Failed);
        let effect = Effect::Drop { before };
        cluster.simulator.inject(Fault { matching: matching.into(), nth: 1, times: 1, effect });
        let back = cluster.resume(ended.run.id(), ResumeMode::Rollback).await;
        if back.state == RunState::RollbackFailed {
            cluster
                .resume(ended.run.id(), ResumeMode::Rollback)
                .await
                .expect_state(RunState::RolledBack);
        }
        assert_eq!(facts(&cluster).await, facts_before, "{matching}, before: {before}");
        let updates = cluster.effective_calls().iter().filter(|call| *call == UPDATE).count();
        assert_eq!(updates, 2, "{matching}, before: {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_set_by_another_client_is_kept() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&failing_runbook_yaml(GROW)).await.expect_state(RunState::Failed);
    update(&cluster, |request| request.max_size(9)).await;
    let back = cluster
        .resume(ended.run.id(), ResumeMode::Rollback)
        .await
        .expect_state(RunState::RolledBack);
    assert_left_alone(&back, "max at 9: another client changed it from 6");
    let state = cluster.simulator.state().await.unwrap();
    let group = &state.nodegroups[RELAY];
    assert_eq!((group.min, group.desired, group.max), (3, 3, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desired_size_set_by_another_client_keeps_its_max() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&failing_runbook_yaml(GROW)).await.expect_state(RunState::Failed);
    update(&cluster, |request| request.desired_size(5)).await;
    let back = cluster
        .resume(ended.run.id(), ResumeMode::Rollback)
        .await
        .expect_state(RunState::RolledBack);
    assert_left_alone(&back, "desired at 5: another client changed it from 6");
    assert_left_alone(&back, "max at 6: desired is 5");
    let state = cluster.simulator.state().await.unwrap();
    assert_eq!((state.nodegroups[RELAY].desired, state.nodegroups[RELAY].max), (5, 6));
    assert_eq!(state.nodegroups[RELAY].instances.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_nodegroup_undo_handles_protected_new_instances() {
    let mut scenario = Scenario::default();
    scenario.nodegroups.iter_mut().for_each(|group| group.new_instances_protected = true);
    let cluster = TestCluster::with_scenario(scenario).await;
    let before = facts(&cluster).await;
    fail_and_roll_back(&cluster, GROW, async || {}).await.expect_state(RunState::RolledBack);
    assert_eq!(facts(&cluster).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_nodegroup_undo_restores_the_node_count() {
    let cluster = TestCluster::new().await;
    let shrink = GROW
        .replace("desired: 6, raise_max: true", "desired: 2, lower_min: true")
        .replace("count: 6", "count: 2");
    let ended = cluster.run(&runbook_yaml(&shrink)).await.expect_success();
    assert_eq!(ended.output("grow")["min"], json!(2));
    let cluster = TestCluster::new().await;
    fail_and_roll_back(&cluster, &shrink, async || {}).await.expect_state(RunState::RolledBack);
    let state = cluster.simulator.state().await.unwrap();
    let group = &state.nodegroups[RELAY];
    assert_eq!((group.min, group.desired), (3, 3));
}

/// Changes the group's sizes as somebody else would, and waits until that is done.
async fn update(
    cluster: &TestCluster,
    change: impl FnOnce(
        aws_sdk_eks::types::builders::NodegroupScalingConfigBuilder,
    ) -> aws_sdk_eks::types::builders::NodegroupScalingConfigBuilder,
) {
    let config = aws_sdk_eks::Config::builder()
        .behavior_version(aws_sdk_eks::config::BehaviorVersion::latest())
        .region(aws_sdk_eks::config::Region::new("us-west-2"))
        .endpoint_url(cluster.simulator.aws_url().as_str())
        .credentials_provider(aws_sdk_eks::config::Credentials::new("a", "b", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let scaling = change(aws_sdk_eks::types::NodegroupScalingConfig::builder()).build();
    aws_sdk_eks::Client::from_conf(config)
        .update_nodegroup_config()
        .cluster_name("rafay-cluster")
        .nodegroup_name(RELAY)
        .scaling_config(scaling)
        .send()
        .await
        .unwrap();
    for _ in 0..2000 {
        let state = cluster.simulator.state().await.unwrap();
        let group = &state.nodegroups[RELAY];
        if group.status == "ACTIVE"
            && u32::try_from(group.instances.len()) == Ok(group.group_desired)
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the update does not end");
}
