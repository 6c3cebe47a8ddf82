//! How often the program asks while nothing changes. Every loop that reads again has a pause, and a run in which
//! nothing ever changes is held here to a few calls a second, whatever it waits for. `tests/architecture.rs` lists the
//! loops.

use std::{pin::pin, sync::Arc, time::Duration};

use clock::Clock;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Api, api::PostParams};
use rafay_relay_sop::{
    engine::{AcceptedRun, Control},
    journal::{LogLines, MemoryStore, ResumeMode, RunState},
};
use serde_json::json;
use simulator::{Effect, Fault, Scenario, SlowLaunch};
use test_support::{TestCluster, wait_until_async};

const DAY: Duration = Duration::from_hours(24);
/// How long a run is watched while it waits.
const OBSERVATION: Duration = Duration::from_secs(4);
/// The calls that a run may make meanwhile. The pauses grow from a quarter of a second to five seconds; a loop without
/// a pause makes thousands of calls.
const MAX_CALLS: usize = 24;

const GROW: &str = "  - {id: grow, action: scale_nodegroup, with: {nodegroup: {region: us-west-2, \
                    cluster: rafay-cluster, name: relay-services-1a2b3c}, desired: 6, raise_max: true}}\n";
const WAIT_NODES: &str = "  - {id: nodes, action: wait_nodes, with: {nodegroup: '{{ grow }}', count: 6, \
                          previous: '{{ grow.before.nodes }}'}}\n";
const SCALE_CACHE: &str = "  - {id: more, action: scale_deployment, with: {namespace: rafay-core, \
                           deployment: relay-cache, replicas: 12}}\n";
const FAIL: &str = "  - {id: last, action: assert, with: {that: false, message: on purpose}}\n";

fn runbook(steps: &str) -> String {
    format!(
        "name: test\ndescription: A test\n\
         defaults: {{timeout: 100h, retry: {{attempts: 100, backoff: 0s}}, on_failure: stop}}\nsteps:\n{steps}"
    )
}

/// A program with the clock of the wall on a world that is 600 times as fast.
async fn cluster(scenario: Scenario) -> TestCluster {
    TestCluster::with_clock(scenario, Arc::new(MemoryStore::default()), Clock::real()).await
}

async fn create_budget(cluster: &TestCluster, app: &str, min_available: u32) {
    let uri = cluster.simulator.kubernetes_url().as_str().parse().unwrap();
    let client = kube::Client::try_from(kube::Config::new(uri)).unwrap();
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client, "rafay-core");
    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": {"name": "budget"},
        "spec": {"minAvailable": min_available, "selector": {"matchLabels": {"app": app}}},
    }))
    .unwrap();
    budgets.create(&PostParams::default(), &budget).await.unwrap();
}

/// Drives a run until its journal says `text`, counts its calls for a while, and cancels it.
async fn assert_few_calls(cluster: &TestCluster, accepted: AcceptedRun, text: &str) {
    let id = accepted.run().id().clone();
    let control = Control::default();
    let mut driving = pin!(cluster.drive(accepted, control.clone()));
    let observing = async {
        wait_until_async(text, async || {
            let records = cluster.store.read(&id, 0).await.ok()?;
            LogLines::of(&records).iter().any(|line| line.contains(text)).then_some(())
        })
        .await;
        let earlier = cluster.simulator.calls().len();
        tokio::time::sleep(OBSERVATION).await;
        cluster.simulator.calls().split_off(earlier)
    };
    let calls = tokio::select! {
        ended = &mut driving => panic!("the run ended:\n{}", ended.lines().join("\n")),
        calls = observing => calls,
    };
    control.cancel("test");
    driving.await.expect_state(RunState::Cancelled);
    let operations: Vec<&str> = calls.iter().map(|call| call.operation.as_str()).collect();
    assert!(calls.len() <= MAX_CALLS, "{text}: {} calls: {operations:?}", calls.len());
}

/// Runs steps on a world, and counts the calls while they wait.
async fn assert_few_calls_of(scenario: Scenario, steps: &str, text: &str) {
    let cluster = cluster(scenario).await;
    let accepted = cluster.accept(&runbook(steps), json!({})).await;
    let accepted = accepted.unwrap_or_else(|error| panic!("{error}"));
    assert_few_calls(&cluster, accepted, text).await;
}

/// Runs steps that fail, and counts the calls while their rollback waits.
async fn assert_few_calls_of_rollback(cluster: &TestCluster, steps: &str, text: &str) {
    let ended = cluster.run(&runbook(&format!("{steps}{FAIL}"))).await;
    let ended = ended.expect_state(RunState::Failed);
    assert!(ended.error().ends_with("on purpose"), "{}", ended.error());
    let accepted = cluster.accept_resume(ended.run.id(), ResumeMode::Rollback).await;
    assert_few_calls(cluster, accepted, text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_does_not_end_is_asked_for_seldom() {
    let mut scenario = Scenario::default();
    scenario.times.update = DAY;
    assert_few_calls_of(scenario, GROW, "EKS to finish update").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodegroup_that_another_client_updates_is_asked_for_seldom() {
    let mut scenario = Scenario::default();
    scenario.nodegroups.iter_mut().for_each(|group| group.status = "UPDATING".into());
    assert_few_calls_of(scenario, GROW, "is being updated by another client").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_do_not_come_are_asked_for_seldom() {
    let mut scenario = Scenario::default();
    for group in &mut scenario.nodegroups {
        let boot = scenario.times.boot;
        let slow = |nth| SlowLaunch { nth, boot, node_ready: None, never_ready: true };
        group.slow = (1..=3).map(slow).collect();
    }
    let steps = format!("{GROW}{WAIT_NODES}");
    assert_few_calls_of(scenario, &steps, "3 of 6 nodes of relay-services-1a2b3c Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_do_not_start_are_not_asked_for() {
    let mut scenario = Scenario::default();
    scenario.times.pod_start = DAY;
    assert_few_calls_of(scenario, SCALE_CACHE, "of 12 pods of").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_do_not_end_are_not_asked_for() {
    let mut scenario = Scenario::default();
    scenario.times.pod_stop = DAY;
    let steps = "  - {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n\
                 \x20 - {id: it, action: delete_pods, with: {pods: '{{ relay.pods }}', grace_period: 48h}}\n";
    assert_few_calls_of(scenario, steps, "0 of 3 pods gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_eviction_is_asked_for_seldom() {
    let mut scenario = Scenario::default();
    let relay = scenario.deployments.iter_mut().find(|one| one.name == "rafay-relay");
    relay.unwrap().replicas = 4;
    let cluster = cluster(scenario).await;
    create_budget(&cluster, "rafay-relay", 3).await;
    let steps = "  - {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n\
                 \x20 - {id: it, action: delete_pods, with: {pods: '{{ relay.pods }}', evict: true}}\n";
    let accepted = cluster.accept(&runbook(steps), json!({})).await.unwrap();
    assert_few_calls(&cluster, accepted, "The disruption budget budget needs 3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_drain_is_asked_for_seldom() {
    let cluster = cluster(Scenario::default()).await;
    create_budget(&cluster, "relay-cache", 12).await;
    let steps = format!("{GROW}{WAIT_NODES}{SCALE_CACHE}");
    // The undo of the pods would empty the nodes: it is made to fail.
    let effect = Effect::Fail { status: 403, code: "Forbidden".into(), message: "no".into() };
    let matching = "patch deployments/rafay-core/relay-cache/scale".into();
    cluster.simulator.inject(Fault { matching, nth: 2, times: 9, effect });
    assert_few_calls_of_rollback(&cluster, &steps, "never allows an eviction").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_do_not_end_are_asked_for_seldom() {
    let mut scenario = Scenario::default();
    scenario.times.terminate = DAY;
    let cluster = cluster(scenario).await;
    let steps = format!("{GROW}{WAIT_NODES}");
    assert_few_calls_of_rollback(&cluster, &steps, "to end i-").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_always_fails_is_repeated_seldom() {
    let list =
        "  - {id: it, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n";
    for (matching, steps) in [("list pods*", list), ("eks:*", GROW)] {
        let cluster = cluster(Scenario::default()).await;
        let (code, message) = ("ServerException".into(), "no".into());
        let effect = Effect::Fail { status: 500, code, message };
        let matching = matching.into();
        cluster.simulator.inject(Fault { matching, nth: 1, times: u32::MAX, effect });
        let accepted = cluster.accept(&runbook(steps), json!({})).await.unwrap();
        assert_few_calls(&cluster, accepted, "Attempt 1 failed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_are_cut_are_begun_seldom() {
    let mut scenario = Scenario::default();
    scenario.times.pod_start = DAY;
    let cluster = cluster(scenario).await;
    let matching = "watch *".into();
    let effect = Effect::Drop { before: false };
    cluster.simulator.inject(Fault { matching, nth: 1, times: u32::MAX, effect });
    let accepted = cluster.accept(&runbook(SCALE_CACHE), json!({})).await.unwrap();
    assert_few_calls(&cluster, accepted, "of 12 pods of").await;
}
