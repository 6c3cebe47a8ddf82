//! `wait_object`.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::DeleteParams};
use rafay_relay_sop::{engine::Control, journal::RunState};
use serde_json::{Value, json};

use super::{NAMESPACE, client, codes, create, patch_deployment, runbook_yaml};
use test_support::{FinishedRun, TestCluster, wait_until_async};

const DEPLOYMENT: &str =
    "api_version: apps/v1, kind: Deployment, namespace: rafay-core, name: relay-cache";
const MAP: &str = "api_version: v1, kind: ConfigMap, namespace: rafay-core, name: settings";

fn step(object: &str, until: &str) -> String {
    runbook_yaml(&format!("  - {{id: it, action: wait_object, with: {{{object}, {until}}}}}\n"))
}

fn map(data: Value) -> Value {
    json!({"metadata": {"name": "settings", "namespace": NAMESPACE}, "data": data})
}

/// Runs a wait, and lets another client act as soon as the object is watched.
async fn wait_meanwhile(
    cluster: &TestCluster,
    text: &str,
    watched: &str,
    meanwhile: impl AsyncFnOnce(),
) -> FinishedRun {
    let before = cluster.count_calls(watched);
    let accepted = cluster.accept(text, json!({})).await.unwrap();
    let act = async {
        wait_until_async("the watch", async || {
            (cluster.count_calls(watched) > before).then_some(())
        })
        .await;
        meanwhile().await;
    };
    let (ended, ()) = tokio::join!(cluster.drive(accepted, Control::default()), act);
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_and_fields_are_waited_for() {
    let cluster = TestCluster::new().await;
    let replicas = json!({"spec": {"replicas": 4}});
    patch_deployment(&cluster, "relay-cache", replicas).await;
    let until = "until: [{condition: Available}, {path: .status.readyReplicas, at_least: 4}, \
        {path: .spec.replicas, equals: 4}, {path: .metadata.deletionTimestamp, exists: false}]";
    let ended = cluster.run(&step(DEPLOYMENT, until)).await.expect_success();
    assert!(ended.output("it")["uid"].is_string());
    let state = cluster.simulator.state().await.unwrap();
    assert_eq!(state.deployments["rafay-core/relay-cache"].ready, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_does_not_exist_yet_is_waited_for() {
    let cluster = TestCluster::new().await;
    let text = step(MAP, "until: [{path: .data.phase, equals: done}]");
    let ended = wait_meanwhile(&cluster, &text, "watch configmaps/rafay-core", async || {
        create::<ConfigMap>(&cluster, map(json!({"phase": "started"}))).await;
        let maps: Api<ConfigMap> = Api::namespaced(client(&cluster), NAMESPACE);
        let done = kube::api::Patch::Merge(json!({"data": {"phase": "done"}}));
        maps.patch("settings", &kube::api::PatchParams::default(), &done).await.unwrap();
    })
    .await
    .expect_success();
    let lists = cluster.count_calls("list configmaps/rafay-core");
    assert_eq!(lists, 1, "it watches, and does not poll: {:?}", ended.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_waits_for_the_object_that_was_there() {
    let cluster = TestCluster::new().await;
    create::<ConfigMap>(&cluster, map(json!({}))).await;
    let text = step(MAP, "gone: true");
    let ended = wait_meanwhile(&cluster, &text, "watch configmaps/rafay-core", async || {
        let maps: Api<ConfigMap> = Api::namespaced(client(&cluster), NAMESPACE);
        maps.delete("settings", &DeleteParams::default()).await.unwrap();
        create::<ConfigMap>(&cluster, map(json!({"a": "successor"}))).await;
    })
    .await
    .expect_success();
    assert_eq!(ended.output("it"), &json!({"uid": null}));
    let absent = MAP.replace("settings", "absent");
    cluster.run(&step(&absent, "gone: true")).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_until_the_time_is_up() {
    let cluster = TestCluster::new().await;
    create::<ConfigMap>(&cluster, map(json!({"phase": "started"}))).await;
    let until = "until: [{path: .data.phase, equals: done}, {condition: Ready}]";
    let text = step(MAP, until).replace("timeout: 5m", "timeout: 3s");
    let ended = cluster.run(&text).await.expect_state(RunState::Failed);
    let missing = "configmap rafay-core/settings: .data.phase is \"started\", not done; it has no condition Ready yet";
    assert!(ended.error().contains(missing), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expectation_is_checked_before_a_run() {
    for (until, found) in [
        ("until: []", vec!["RB016"]),
        ("until: [{condition: Ready, equals: a}]", vec!["RB019"]),
        ("until: [{path: .a}]", vec!["RB019"]),
        ("until: [{path: a/b, exists: true}]", vec!["RB017"]),
        ("until: [{path: .a, at_least: many}]", vec!["RB015"]),
        ("until: [{condition: Ready, status: Maybe}]", vec!["RB018"]),
        ("until: [{condition: Ready}], gone: true", vec!["RB019"]),
        ("gone: true", vec![]),
    ] {
        assert_eq!(codes(&step(MAP, until)), found, "{until}");
    }
    let secret = "api_version: v1, kind: Secret, namespace: rafay-core, name: token";
    assert_eq!(codes(&step(secret, "until: [{path: .data.a, equals: b}]")), ["RB070"]);
}
