//! The whole of relay-scale, in several worlds: what must be true when it is over.

use std::collections::BTreeSet;

use rafay_relay_sop::journal::{ResumeMode, RunState, StepPath};
use serde_json::{Value, json};
use simulator::{ContainerFailure, Deployment, Effect, Fault, Nodegroup, Scenario, Spread};

use super::{
    NAMESPACE, RELAY, autoscaling, cordoned, end_node, image_patch, nodes_of, patch_deployment,
    pods_of, protected, replicas, scenario_with_failing_image, uids_of,
};
use test_support::{FinishedRun, TestCluster, is_bookkeeping, wait_until_async};

const RELAY_SCALE: &str = include_str!("../../runbooks/relay-scale.yaml");

fn relay(scenario: &mut Scenario) -> &mut Deployment {
    scenario.deployments.iter_mut().find(|d| d.name == "rafay-relay").unwrap()
}

fn group(scenario: &mut Scenario) -> &mut Nodegroup {
    scenario.nodegroups.iter_mut().find(|group| group.name == RELAY).unwrap()
}

/// How the world was.
struct Before {
    nodes: BTreeSet<String>,
    relay_nodes: BTreeSet<String>,
    relay_pods: BTreeSet<String>,
    sentry_pods: BTreeSet<String>,
    cordoned: BTreeSet<String>,
    replicas: i32,
    min: u32,
    desired: u32,
}

impl Before {
    async fn of(cluster: &TestCluster) -> Self {
        let state = cluster.simulator.state().await.unwrap();
        let is_relay =
            |(_, node): &(_, simulator::NodeFacts)| node.nodegroup.as_deref() == Some(RELAY);
        Self {
            nodes: state.nodes.into_iter().filter(is_relay).map(|(name, _)| name).collect(),
            relay_nodes: nodes_of(cluster, "rafay-relay").await,
            relay_pods: uids_of(cluster, "rafay-relay").await,
            sentry_pods: uids_of(cluster, "rafay-sentry").await,
            cordoned: cordoned(cluster).await,
            replicas: replicas(cluster, "rafay-relay").await,
            min: state.nodegroups[RELAY].min,
            desired: state.nodegroups[RELAY].desired,
        }
    }
}

/// What issue and procedure promise.
async fn assert_procedure_result(cluster: &TestCluster, before: &Before, factor: u32) {
    let state = cluster.simulator.state().await.unwrap();
    let facts = &state.nodegroups[RELAY];
    assert_eq!((facts.desired, facts.min), (before.desired * factor, before.min));
    assert_eq!(u32::try_from(facts.instances.len()), Ok(before.desired * factor));
    for instance in facts.instances.values() {
        assert!(state.nodes[&instance.node].ready, "{} is Ready", instance.node);
    }
    let sentry = uids_of(cluster, "rafay-sentry").await;
    assert_eq!(sentry.len(), before.sentry_pods.len());
    assert!(sentry.is_disjoint(&before.sentry_pods), "sentry was rolled");
    let newly: BTreeSet<String> =
        cordoned(cluster).await.difference(&before.cordoned).cloned().collect();
    assert_eq!(newly, before.relay_nodes, "exactly the old relay pods' nodes are cordoned");
    assert_eq!(replicas(cluster, "rafay-relay").await, before.replicas);
    let pods = pods_of(cluster, "rafay-relay").await;
    assert_eq!(i32::try_from(pods.len()), Ok(before.replicas));
    for (name, pod) in &pods {
        assert!(pod.ready, "{name} is Ready");
        assert!(!before.relay_pods.contains(&pod.uid), "{name} is new");
        let node = pod.node.as_ref().unwrap();
        assert!(!before.nodes.contains(node), "{name} is on a new node");
        assert!(pod.annotations.keys().all(|key| !key.contains("deletion-cost")), "{name}");
    }
    let relay_nodes = nodes_of(cluster, "rafay-relay").await;
    let instances = facts.instances.iter();
    let with_pods: BTreeSet<String> = instances
        .filter(|(_, instance)| relay_nodes.contains(&instance.node))
        .map(|(id, _)| id.clone())
        .collect();
    assert_eq!(protected(cluster).await, with_pods, "exactly the relay pods' instances");
}

async fn run(scenario: Scenario, factor: u32) -> (TestCluster, FinishedRun) {
    let cluster = TestCluster::with_scenario(scenario).await;
    let before = Before::of(&cluster).await;
    let inputs = json!({"scale_factor": factor});
    let ended = cluster.run_with(RELAY_SCALE, inputs).await.expect_success();
    assert_procedure_result(&cluster, &before, factor).await;
    (cluster, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_succeeds_on_the_default_scenario() {
    let (cluster, ended) = run(Scenario::default(), 2).await;
    let starts = ended.lines().into_iter().filter(|line| line.starts_with("Starting step: "));
    assert_eq!(starts.count(), 23, "the ninth step is two; the others wait, list and check");
    let mut calls = cluster.effective_calls();
    let count = |calls: &[String], what: &str| calls.iter().filter(|c| c.starts_with(what)).count();
    assert_eq!(count(&calls, "patch nodes/"), 3, "one a cordoned node");
    assert_eq!(count(&calls, "delete pods/"), 3, "one a deleted pod");
    assert_eq!(count(&calls, "patch pods/"), 6, "two a kept pod");
    assert_eq!(count(&calls, "autoscaling:SetInstanceProtection"), 2, "fifty at a time");
    assert_eq!(calls.len(), 3 + 3 + 6 + 2 + 4, "and four more: {calls:?}");
    calls.sort();
    let mutating = cluster.simulator.calls().into_iter().filter(|call| call.mutating);
    let mutating = mutating.filter(|call| !is_bookkeeping(&call.operation)).count();
    assert_eq!(mutating, calls.len(), "no call was in vain");
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_succeeds_with_factors_three_and_four() {
    for factor in [3, 4] {
        run(Scenario::default(), factor).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_succeeds_with_fewer_relay_pods_than_nodes() {
    for spread in [Spread::Required, Spread::Preferred, Spread::None] {
        let mut scenario = Scenario::default();
        relay(&mut scenario).replicas = 2;
        relay(&mut scenario).spread = spread;
        run(scenario, 2).await;
    }
}

/// The old node without a relay pod is as empty as the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_succeeds_with_otherwise_empty_nodes() {
    for spread in [Spread::Required, Spread::Preferred, Spread::None] {
        for seed in 1..4 {
            let mut scenario = Scenario { seed, ..Scenario::default() };
            scenario.deployments.retain(|deployment| deployment.name != "relay-cache");
            relay(&mut scenario).replicas = 2;
            relay(&mut scenario).spread = spread;
            run(scenario, 2).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_succeeds_with_more_relay_pods_than_nodes() {
    for spread in [Spread::Preferred, Spread::None] {
        let mut scenario = Scenario::default();
        relay(&mut scenario).replicas = 5;
        relay(&mut scenario).spread = spread;
        run(scenario, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_succeeds_without_protections_and_with_protected_new_instances() {
    let mut scenario = Scenario::default();
    group(&mut scenario).protected.clear();
    run(scenario, 2).await;
    let mut scenario = Scenario::default();
    group(&mut scenario).new_instances_protected = true;
    run(scenario, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_succeeds_twice_in_a_row() {
    let (cluster, _) = run(Scenario::default(), 2).await;
    let before = Before::of(&cluster).await;
    cluster.run(RELAY_SCALE).await.expect_success();
    assert_procedure_result(&cluster, &before, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_the_first_irreversible_step_is_rolled_back_completely() {
    // The relay's pods come up at first and no longer when there are to be more of them.
    let mut scenario = scenario_with_failing_image("no-such-image", ContainerFailure::CrashLoop);
    scenario.nodegroups.iter_mut().for_each(|group| group.slow.clear());
    let cluster = TestCluster::with_scenario(scenario).await;
    let before = Before::of(&cluster).await;
    let protections = protected(&cluster).await;
    // No room: one relay pod a node, and a factor that a person has written into the runbook.
    let text =
        RELAY_SCALE.replace("      factor: 2\n", "      factor: 3\n      give_up_after: 1s\n");
    let ended = cluster.run(&text).await.expect_state(RunState::RolledBack);
    assert!(ended.error().contains("cannot be scheduled"), "{}", ended.error());
    let state = cluster.simulator.state().await.unwrap();
    let facts = &state.nodegroups[RELAY];
    assert_eq!((facts.min, facts.max, facts.desired), (3, 4, 3));
    assert_eq!(protected(&cluster).await, protections);
    assert_eq!(cordoned(&cluster).await, before.cordoned);
    assert_eq!(uids_of(&cluster, "rafay-relay").await, before.relay_pods);
    let nodes: BTreeSet<String> = facts.instances.values().map(|i| i.node.clone()).collect();
    assert_eq!(nodes, before.nodes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_after_an_irreversible_step_stops_and_can_be_rolled_back_by_hand() {
    let cluster = TestCluster::new().await;
    let before = Before::of(&cluster).await;
    let protections = protected(&cluster).await;
    let last = "  - {id: last, action: assert, on_failure: stop, with: {that: false, message: on purpose}}\n";
    let ended = cluster.run(&format!("{RELAY_SCALE}\n{last}")).await.expect_state(RunState::Failed);
    assert_procedure_result(&cluster, &before, 2).await;
    let back = cluster
        .resume(ended.run.id(), ResumeMode::Rollback)
        .await
        .expect_state(RunState::RolledBack);
    let state = cluster.simulator.state().await.unwrap();
    let facts = &state.nodegroups[RELAY];
    assert_eq!((facts.min, facts.max, facts.desired), (3, 4, 3));
    let nodes: BTreeSet<String> = facts.instances.values().map(|i| i.node.clone()).collect();
    assert_eq!(nodes, before.nodes, "the original instances");
    assert_eq!(protected(&cluster).await, protections);
    assert_eq!(cordoned(&cluster).await, before.cordoned);
    assert_eq!(replicas(&cluster, "rafay-relay").await, before.replicas);
    assert_eq!(nodes_of(&cluster, "rafay-relay").await, before.nodes, "and the pods on them again");
    super::assert_left_alone(&back, "3 deleted pods cannot be restored");
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_logs_the_pods_and_instances_that_it_changed() {
    let (_, ended) = run(Scenario::default(), 2).await;
    let lines = ended.lines();
    for line in ["rafay-relay: 3 -> 6 pods, all Ready", "Protected 3 instances from scale-in"] {
        assert!(lines.iter().any(|found| found == line), "{line}\n{}", lines.join("\n"));
    }
    let pods: Vec<&Value> = ended.output("new_relay")["pods"].as_array().unwrap().iter().collect();
    assert!(pods.iter().all(|pod| pod["namespace"] == json!(NAMESPACE)));
}

/// The procedure, which stops where it fails, so that it can be resumed.
fn stopping() -> String {
    RELAY_SCALE.replace("on_failure: rollback", "on_failure: stop")
}

/// Refuses the `nth` call of an operation, once.
fn refuse(cluster: &TestCluster, operation: &str, nth: u32) {
    let effect = Effect::Fail { status: 403, code: "Forbidden".into(), message: "no".into() };
    cluster.simulator.inject(Fault { matching: operation.into(), nth, times: 1, effect });
}

/// The old node's relay pod moves to a new node before the old nodes are cordoned, and the node that replaces the old
/// one is a new node too.
#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_succeeds_when_an_old_node_ends_meanwhile() {
    let cluster = TestCluster::new().await;
    let before = Before::of(&cluster).await;
    refuse(&cluster, "patch nodes/*", 1);
    let ended = cluster.run(&stopping()).await.expect_state(RunState::Failed);
    let lost = before.relay_nodes.first().unwrap();
    end_node(&cluster, lost).await;
    let ended = cluster.resume(ended.run.id(), ResumeMode::Continue).await.expect_success();
    assert_eq!(ended.output("cordon_old")["gone"], json!([lost]));
    let left: BTreeSet<String> =
        before.relay_nodes.iter().filter(|name| *name != lost).cloned().collect();
    assert_eq!(cordoned(&cluster).await, left);
    let state = cluster.simulator.state().await.unwrap();
    let pods = pods_of(&cluster, "rafay-relay").await;
    assert_eq!((pods.len(), replicas(&cluster, "rafay-relay").await), (3, 3));
    let mut instances = BTreeSet::new();
    for (name, pod) in &pods {
        let node = pod.node.as_ref().unwrap();
        assert!(!before.nodes.contains(node), "{name} is on a new node");
        instances.extend(state.nodes[node].instance.clone());
    }
    assert_eq!(protected(&cluster).await, instances);
}

/// Nobody is told that all is well when a relay pod has moved to an instance that is not protected.
#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_names_a_relay_pod_that_is_not_protected_at_the_end() {
    let cluster = TestCluster::new().await;
    // The first call lifts the old protections, the second one protects.
    refuse(&cluster, "autoscaling:SetInstanceProtection", 2);
    let ended = cluster.run(RELAY_SCALE).await.expect_state(RunState::Failed);
    let listed = ended.output("relay_now")["pods"][0].clone();
    let lost = listed["node"].as_str().unwrap();
    end_node(&cluster, lost).await;
    let moved = wait_until_async("the pod on another node", async || {
        let pods = pods_of(&cluster, "rafay-relay").await;
        let known = ended.output("relay_now")["pods"].as_array().unwrap().clone();
        let is_new = |pod: &simulator::PodFacts| known.iter().all(|old| old["uid"] != pod.uid);
        pods.into_iter().find(|(_, pod)| pod.ready && is_new(pod))
    })
    .await;
    let ended =
        cluster.resume(ended.run.id(), ResumeMode::Continue).await.expect_state(RunState::Failed);
    assert_eq!(ended.output("protect")["gone"], json!([listed["instance"]]));
    let expected = format!(
        "relay pods whose instances are not protected from scale-in: {}; old nodes that are not cordoned: none;",
        moved.0
    );
    assert!(ended.error().contains(&expected), "{}", ended.error());

    // A person protects it, and the resumed run sees that.
    let state = cluster.simulator.state().await.unwrap();
    let instance = state.nodes[moved.1.node.as_ref().unwrap()].instance.clone().unwrap();
    autoscaling(&cluster)
        .set_instance_protection()
        .auto_scaling_group_name(&state.nodegroups[RELAY].group)
        .instance_ids(instance)
        .protected_from_scale_in(true)
        .send()
        .await
        .unwrap();
    cluster.resume(ended.run.id(), ResumeMode::Continue).await.expect_success();
}

/// A new relay pod ends after the old ones were deleted: the others are kept, and a replacement takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_succeeds_when_a_new_relay_node_ends_before_the_deployment_is_scaled_back() {
    let cluster = TestCluster::new().await;
    let before = Before::of(&cluster).await;
    refuse(&cluster, "patch deployments/rafay-core/rafay-relay/scale", 2);
    let ended = cluster.run(RELAY_SCALE).await.expect_state(RunState::Failed);
    let listed = ended.output("scale_relay")["new_pods"][0].clone();
    end_node(&cluster, listed["node"].as_str().unwrap()).await;
    let ended = cluster.resume(ended.run.id(), ResumeMode::Continue).await.expect_success();
    assert_eq!(ended.output("scale_back")["gone"], json!([listed["name"]]));
    assert_eq!(cordoned(&cluster).await, before.relay_nodes);
    let pods = pods_of(&cluster, "rafay-relay").await;
    assert_eq!((pods.len(), protected(&cluster).await.len()), (3, 3));
    for (name, pod) in &pods {
        assert!(!before.nodes.contains(pod.node.as_ref().unwrap()), "{name} is on a new node");
        assert!(pod.annotations.keys().all(|key| !key.contains("deletion-cost")), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_rollout_of_the_relay_stops_relay_scale_before_it_changes_anything() {
    let scenario = scenario_with_failing_image("broken", ContainerFailure::ImagePull);
    let cluster = TestCluster::with_scenario(scenario).await;
    let before = Before::of(&cluster).await;
    patch_deployment(&cluster, "rafay-relay", image_patch("rafay-relay", "broken")).await;
    let calls = cluster.effective_calls().len();
    let ended = cluster.run(RELAY_SCALE).await.expect_state(RunState::RolledBack);
    let stuck = "rollout of deployment rafay-core/rafay-relay is stuck: pod rafay-relay-";
    assert!(ended.error().contains(stuck), "{}", ended.error());
    assert_eq!(cluster.effective_calls().len(), calls, "nothing was changed");
    assert_eq!(replicas(&cluster, "rafay-relay").await, before.replicas);
}

/// A rollout that begins while the nodes start is waited for, and the number is doubled, not the pods.
#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_doubles_the_replicas_and_not_the_pods_of_a_rollout() {
    let mut scenario = Scenario::default();
    relay(&mut scenario).spread = Spread::Preferred;
    scenario.times.pod_start = std::time::Duration::from_mins(1);
    let cluster = TestCluster::with_scenario(scenario).await;
    // The restart of the sentry comes right before the relay pods are listed.
    let starting = async {
        wait_until_async("the restart of the sentry", async || {
            let patched = "patch deployments/rafay-core/rafay-sentry";
            cluster.effective_calls().iter().any(|call| call == patched).then_some(())
        })
        .await;
        patch_deployment(&cluster, "rafay-relay", image_patch("rafay-relay", "better")).await;
    };
    let (ended, ()) = tokio::join!(cluster.run(RELAY_SCALE), starting);
    let ended = ended.expect_success();
    assert_eq!(ended.output("scale_relay")["replicas"], json!(6));
    assert_eq!(replicas(&cluster, "rafay-relay").await, 3);
    assert_eq!(pods_of(&cluster, "rafay-relay").await.len(), 3);
}

/// A relay pod moves after step 13 has failed: the resumed run protects it where it is now.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_relay_scale_protects_the_relay_pods_where_they_are_now() {
    let cluster = TestCluster::new().await;
    // The last but one of such calls is step 13's first; the last one reads for the check at the end.
    let (describe, calls) = ("eks:DescribeNodegroup", {
        let (other, _) = run(Scenario::default(), 2).await;
        other.count_calls("eks:DescribeNodegroup")
    });
    refuse(&cluster, describe, u32::try_from(calls).unwrap() - 1);
    let ended = cluster.run(RELAY_SCALE).await.expect_state(RunState::Failed);
    let protect = ended.run.step(&StepPath::top_level("protect")).unwrap();
    assert!(protect.intent.is_none(), "it was not prepared");
    let (name, pod) = pods_of(&cluster, "rafay-relay").await.remove(0);
    end_node(&cluster, pod.node.as_ref().unwrap()).await;
    wait_until_async("all relay pods", async || {
        let pods = pods_of(&cluster, "rafay-relay").await;
        let is_back =
            pods.len() == 3 && pods.iter().all(|(other, pod)| *other != name && pod.ready);
        is_back.then_some(())
    })
    .await;
    cluster.resume(ended.run.id(), ResumeMode::Continue).await.expect_success();
    let state = cluster.simulator.state().await.unwrap();
    let pods = pods_of(&cluster, "rafay-relay").await;
    let instances =
        pods.iter().map(|(_, pod)| state.nodes[pod.node.as_ref().unwrap()].instance.clone());
    assert_eq!(protected(&cluster).await, instances.flatten().collect());
}
