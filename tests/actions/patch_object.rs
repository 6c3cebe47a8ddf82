//! `patch_object`.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use rafay_relay_sop::journal::RunState;
use serde_json::{Value, json};

use super::{
    NAMESPACE, assert_left_alone, client, codes, create, fail_and_resume, fail_and_roll_back,
    runbook_yaml,
};
use test_support::TestCluster;

const MAP: &str = "api_version: v1, kind: ConfigMap, namespace: rafay-core, name: settings";

fn step(object: &str, patch: &str) -> String {
    format!("  - {{id: it, action: patch_object, with: {{{object}, patch: {patch}}}}}\n")
}

const PATCH: &str =
    "{data: {set: new, removed: null, added: '1'}, metadata: {annotations: {example.com/size: 3}}}";

async fn cluster_with_map() -> TestCluster {
    let cluster = TestCluster::new().await;
    let map = json!({
        "metadata": {"name": "settings", "namespace": NAMESPACE},
        "data": {"set": "old", "removed": "r", "kept": "k"},
    });
    create::<ConfigMap>(&cluster, map).await;
    cluster
}

fn maps(cluster: &TestCluster) -> Api<ConfigMap> {
    Api::namespaced(client(cluster), NAMESPACE)
}

async fn data(cluster: &TestCluster) -> Value {
    json!(maps(cluster).get("settings").await.unwrap().data)
}

fn patches(cluster: &TestCluster) -> usize {
    cluster.count_calls("patch configmaps")
}

async fn set(cluster: &TestCluster, data: Value) {
    let patch = Patch::Merge(json!({"data": data}));
    maps(cluster).patch("settings", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_changed_one_by_one_and_their_undo_restores_them() {
    let cluster = cluster_with_map().await;
    let before = data(&cluster).await;
    let ended = fail_and_roll_back(&cluster, &step(MAP, PATCH), async || {
        let after = json!({"set": "new", "kept": "k", "added": "1"});
        assert_eq!(data(&cluster).await, after);
        let annotations = maps(&cluster).get("settings").await.unwrap().metadata.annotations;
        assert_eq!(json!(annotations), json!({"example.com/size": "3"}));
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_eq!(data(&cluster).await, before);
    let annotations = maps(&cluster).get("settings").await.unwrap().metadata.annotations;
    assert_eq!(annotations.unwrap_or_default().len(), 0);
    assert_eq!(patches(&cluster), 2);
    let changed =
        [".data.set", ".data.removed", ".data.added", ".metadata.annotations['example.com/size']"];
    assert_eq!(ended.output("it")["changed"], json!(changed));
    let lines = ended.lines().join("\n");
    assert!(lines.contains("configmap rafay-core/settings .data.set"), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_step_sends_nothing() {
    let cluster = cluster_with_map().await;
    cluster.run(&runbook_yaml(&step(MAP, PATCH))).await.expect_success();
    let ended = cluster.run(&runbook_yaml(&step(MAP, PATCH))).await.expect_success();
    assert_eq!(ended.output("it")["changed"], json!([]));
    assert_eq!(patches(&cluster), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_another_client_has_changed_since_is_left() {
    let cluster = cluster_with_map().await;
    let ended = fail_and_roll_back(&cluster, &step(MAP, PATCH), async || {
        set(&cluster, json!({"set": "theirs"})).await;
    })
    .await
    .expect_state(RunState::RolledBack);
    let left = "configmap rafay-core/settings .data.set at \"theirs\": another client changed it from \"new\"";
    assert_left_alone(&ended, &format!("left {left}"));
    assert_eq!(data(&cluster).await, json!({"set": "theirs", "removed": "r", "kept": "k"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_gone_is_named_by_the_undo() {
    let cluster = cluster_with_map().await;
    let ended = fail_and_roll_back(&cluster, &step(MAP, PATCH), async || {
        maps(&cluster).delete("settings", &DeleteParams::default()).await.unwrap();
    })
    .await
    .expect_state(RunState::RolledBack);
    assert_left_alone(&ended, "configmap rafay-core/settings no longer exists");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_another_client_changes_meanwhile_is_a_conflict() {
    let cluster = cluster_with_map().await;
    let call = "patch configmaps/*";
    let ended = fail_and_resume(&cluster, &step(MAP, PATCH), call, async || {
        set(&cluster, json!({"set": "theirs"})).await;
    })
    .await
    .expect_state(RunState::Failed);
    let message = ".data.set was changed by another client: expected \"old\", found \"theirs\"";
    assert!(ended.error().ends_with(message), "{}", ended.error());
    let theirs = json!({"set": "theirs", "removed": "r", "kept": "k"});
    assert_eq!(data(&cluster).await, theirs, "nothing of the patch is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_without_a_namespace_is_changed() {
    let cluster = TestCluster::new().await;
    let object = "api_version: v1, kind: Namespace, name: rafay-core";
    let patch = "{metadata: {labels: {stage: night}}}";
    cluster.run(&runbook_yaml(&step(object, patch))).await.expect_success();
    let namespaces: Api<Namespace> = Api::all(client(&cluster));
    let labels = namespaces.get(NAMESPACE).await.unwrap().metadata.labels.unwrap();
    assert_eq!(labels.get("stage").map(String::as_str), Some("night"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_after_a_failed_run_is_listed_with_the_command() {
    let cluster = cluster_with_map().await.as_real();
    let steps = step(MAP, "{data: {set: new}}")
        + "  - {id: last, action: assert, with: {that: false, message: on purpose}}\n";
    let ended = cluster.run(&runbook_yaml(&steps)).await.expect_state(RunState::Failed);
    let differences = ended.run.differences();
    let [difference] = differences.as_slice() else { panic!("{differences:?}") };
    assert_eq!(difference.target, "configmap rafay-core/settings .data.set");
    let restore = difference.restore.as_deref().unwrap_or_default();
    let command = r#"patch configmaps settings --type merge -p '{"data":{"set":"old"}}'"#;
    assert!(restore.ends_with(command), "{restore}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_patch_changes_is_refused_before_a_run() {
    for (object, patch) in [
        (MAP, "{metadata: {name: other}}"),
        (MAP, "{metadata: {resourceVersion: '1'}}"),
        (MAP, "{status: {phase: Done}}"),
        (MAP, "{data: {}}"),
        ("api_version: v1, kind: Secret, namespace: rafay-core, name: token", "{data: {a: Yg==}}"),
    ] {
        let text = runbook_yaml(&step(object, patch));
        assert_eq!(codes(&text), ["RB070"], "{patch}");
    }
    // What a template yields is known only in the run.
    let steps = "  - id: read\n    action: get_object\n    with: {api_version: v1, kind: Namespace, name: rafay-core, fields: {labels: {path: .metadata.labels, type: map of string}}}\n".to_owned()
        + &step(MAP, "{status: '{{ read.labels }}'}");
    assert_eq!(codes(&runbook_yaml(&steps)), ["RB070"]);
}
