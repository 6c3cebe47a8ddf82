//! `scale_deployment`.

use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rafay_relay_sop::{
    journal::State,
    simulator::{ContainerFailure, Scenario, Spread},
};
use serde_json::{Value, json};

use super::{
    SPACE, book, broken, client, create, left_alone, patch_deployment, pods_of, replicas, resumed,
    rolled_back, uids, uids_of,
};
use crate::support::World;

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SCALE: &str = "patch deployments/rafay-core/relay-cache/scale";

fn scale(to: u32, more: &str) -> String {
    format!(
        "  - {{id: it, action: scale_deployment, with: {{namespace: rafay-core, deployment: relay-cache, replicas: {to}, give_up_after: 1s{more}}}}}\n"
    )
}

/// A world in which relay-cache has this many pods.
fn with_cache(replicas: u32) -> Scenario {
    let mut scenario = Scenario::default();
    for deployment in &mut scenario.deployments {
        if deployment.name == "relay-cache" {
            (deployment.replicas, deployment.spread) = (replicas, Spread::None);
        }
    }
    scenario
}

/// Some of the pods, as a parameter: those that would otherwise go first.
async fn some(world: &World, count: usize) -> Vec<Value> {
    let mut pods = pods_of(world, "relay-cache").await;
    pods.sort_by(|a, b| a.1.uid.cmp(&b.1.uid));
    let record = |(name, pod): &(String, _)| {
        let pod: &rafay_relay_sop::simulator::PodFacts = pod;
        json!({"namespace": SPACE, "name": name, "uid": pod.uid})
    };
    pods[..count].iter().map(record).collect()
}

fn keep(pods: &[Value]) -> String {
    format!(", keep: {}", json!(pods))
}

async fn costs(world: &World) -> usize {
    let pods = pods_of(world, "relay-cache").await;
    pods.iter().filter(|(_, pod)| pod.annotations.contains_key(COST)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn more_pods_are_ready_and_told_from_the_old_ones() {
    let world = World::of(with_cache(2)).await;
    let before = uids_of(&world, "relay-cache").await;
    let ended = world.run(&book(&scale(5, ""))).await.succeeded();
    let output = ended.output("it");
    assert_eq!(uids(&output["before"]["pods"]), before);
    assert_eq!((&output["before"]["replicas"], &output["replicas"]), (&json!(2), &json!(5)));
    assert_eq!(uids(&output["pods"]), uids_of(&world, "relay-cache").await);
    assert_eq!(output["new_pods"].as_array().unwrap().len(), 3);
    assert!(uids(&output["new_pods"]).is_disjoint(&before));
    assert_eq!(world.effective(), [SCALE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_pods_are_those_to_keep_with_two_calls_each() {
    for _ in 0..3 {
        let world = World::of(with_cache(6)).await;
        let chosen = some(&world, 2).await;
        let ended = world.run(&book(&scale(2, &keep(&chosen)))).await.succeeded();
        assert_eq!(uids(&ended.output("it")["pods"]), uids(&json!(chosen)));
        assert_eq!(uids_of(&world, "relay-cache").await, uids(&json!(chosen)));
        assert_eq!(costs(&world).await, 0, "the marks are gone");
        let marks = world.effective().iter().filter(|call| call.starts_with("patch pods/")).count();
        assert_eq!(marks, 4);
        assert_eq!(world.effective().len(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_that_somebody_had_given_is_put_back() {
    let world = World::of(with_cache(3)).await;
    let chosen = some(&world, 1).await;
    let pods: Api<Pod> = Api::namespaced(client(&world), SPACE);
    let cost = json!({"metadata": {"annotations": {COST: "7"}}});
    let name = chosen[0]["name"].as_str().unwrap();
    pods.patch(name, &PatchParams::default(), &Patch::Merge(cost)).await.unwrap();
    world.run(&book(&scale(1, &keep(&chosen)))).await.succeeded();
    let left = pods_of(&world, "relay-cache").await;
    assert_eq!(left[0].1.annotations[COST], "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_cut_off_while_pods_were_marked_clears_the_marks() {
    let world = World::of(with_cache(5)).await;
    let chosen = some(&world, 2).await;
    let steps = scale(2, &keep(&chosen));
    let ended = resumed(&world, &steps, SCALE, async || assert_eq!(costs(&world).await, 2)).await;
    ended.succeeded();
    assert_eq!(uids_of(&world, "relay-cache").await, uids(&json!(chosen)));
    assert_eq!(costs(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_of_more_keeps_those_that_stood_before() {
    let world = World::of(with_cache(3)).await;
    let before = uids_of(&world, "relay-cache").await;
    rolled_back(&world, &scale(6, ""), async || {}).await.is(State::RolledBack);
    assert_eq!(uids_of(&world, "relay-cache").await, before);
    assert_eq!(replicas(&world, "relay-cache").await, 3);
    assert_eq!(costs(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_of_fewer_gives_the_number_back() {
    let world = World::of(with_cache(4)).await;
    rolled_back(&world, &scale(1, ""), async || {}).await.is(State::RolledBack);
    assert_eq!(uids_of(&world, "relay-cache").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_somebody_else_wrote_meanwhile_stands() {
    let theirs = json!({"spec": {"replicas": 4}});
    let world = World::of(with_cache(2)).await;
    let ended = resumed(&world, &scale(6, ""), SCALE, async || {
        patch_deployment(&world, "relay-cache", theirs.clone()).await;
    })
    .await
    .is(State::Failed);
    let target = "deployment rafay-core/relay-cache replicas was changed by somebody else meanwhile: expected 2, found 4";
    assert!(ended.error().contains(target), "{}", ended.error());

    let world = World::of(with_cache(2)).await;
    let ended = rolled_back(&world, &scale(6, ""), async || {
        patch_deployment(&world, "relay-cache", theirs.clone()).await;
    })
    .await
    .is(State::RolledBack);
    left_alone(&ended, "expected 6, found 4");
    assert_eq!(replicas(&world, "relay-cache").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_find_no_node_end_the_wait_with_their_names() {
    let mut scenario = Scenario::default();
    for deployment in &mut scenario.deployments {
        if deployment.name == "relay-cache" {
            deployment.spread = Spread::Required;
        }
    }
    let world = World::of(scenario).await;
    let ended = world.run(&book(&scale(4, ""))).await.is(State::Failed);
    let error = ended.error();
    assert!(error.contains("3 of 4 pods of deployment rafay-core/relay-cache Ready"), "{error}");
    assert!(error.contains("cannot be scheduled: 0/"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_crash_end_the_wait_with_the_cause() {
    let world = World::of(broken("relay-cache", ContainerFailure::CrashLoop)).await;
    let ended = world.run(&book(&scale(4, ""))).await.is(State::Failed);
    assert!(ended.error().contains("CrashLoopBackOff"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_to_keep_that_is_not_ready_is_not_hoped_for() {
    let world = World::of(broken("relay-cache", ContainerFailure::CrashLoop)).await;
    let chosen = some(&world, 1).await;
    let ended = world.run(&book(&scale(1, &keep(&chosen)))).await.is(State::Failed);
    assert!(ended.error().contains("a pod to keep is not Ready"), "{}", ended.error());
    assert_eq!(world.effective(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_to_keep_must_be_the_deployments_and_there() {
    let world = World::of(with_cache(3)).await;
    let relay = pods_of(&world, "rafay-relay").await;
    let stranger = json!({"namespace": SPACE, "name": relay[0].0, "uid": relay[0].1.uid});
    let mut chosen = some(&world, 1).await;
    chosen.push(stranger);
    let ended = world.run(&book(&scale(2, &keep(&chosen)))).await.is(State::Failed);
    assert!(ended.error().contains("is not one of the deployment's"), "{}", ended.error());

    let world = World::of(with_cache(3)).await;
    let gone = [json!({"namespace": SPACE, "name": "gone", "uid": "1"})];
    let ended = world.run(&book(&scale(2, &keep(&gone)))).await.is(State::Failed);
    assert!(
        ended.error().ends_with("none of the pods to keep is there: gone"),
        "{}",
        ended.error()
    );
    assert_eq!(world.effective(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaled_deployment_is_refused_with_the_autoscalers_name() {
    let world = World::of(with_cache(2)).await;
    create::<HorizontalPodAutoscaler>(
        &world,
        json!({
            "metadata": {"name": "cache-scaler", "namespace": SPACE},
            "spec": {
                "minReplicas": 2, "maxReplicas": 9,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "relay-cache"},
            },
        }),
    )
    .await;
    let ended = world.run(&book(&scale(4, ""))).await.is(State::Failed);
    assert!(ended.error().contains("HorizontalPodAutoscaler cache-scaler"), "{}", ended.error());
    assert_eq!(replicas(&world, "relay-cache").await, 2);
}
