//! `annotate` and `emit_event`.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Node},
    events::v1::Event,
};
use kube::{Api, Resource, api::ListParams};
use rafay_relay_sop::journal::RunState;
use serde_json::{Value, json};
use simulator::{Effect, Fault};

use super::{
    NAMESPACE, assert_left_alone, client, end_node, fail_and_resume, fail_and_roll_back, nodes_of,
    patch_deployment, runbook_yaml, texts,
};
use test_support::TestCluster;

fn step(object: &str, annotations: &Value) -> String {
    format!("  - {{id: it, action: annotate, with: {{{object}, annotations: {annotations}}}}}\n")
}

fn wanted() -> Value {
    json!({"team/owner": "relay", "old": null})
}

const SENTRY: &str = "namespace: rafay-core, deployment: rafay-sentry";

async fn annotation(cluster: &TestCluster, key: &str) -> Value {
    let deployments: Api<Deployment> = Api::namespaced(client(cluster), NAMESPACE);
    json!(deployments.get("rafay-sentry").await.unwrap().meta().annotations)[key].clone()
}

async fn set(cluster: &TestCluster, key: &str, value: Value) {
    let patch = json!({"metadata": {"annotations": {key: value}}});
    patch_deployment(cluster, "rafay-sentry", patch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_are_set_and_removed_and_their_undo_restores_them() {
    let cluster = TestCluster::new().await;
    set(&cluster, "old", json!("yes")).await;
    let pods = super::uids_of(&cluster, "rafay-sentry").await;
    let ended = cluster.run(&runbook_yaml(&step(SENTRY, &wanted()))).await.expect_success();
    let expected = json!({
        "kind": "deployment", "name": "rafay-sentry", "changed": ["old", "team/owner"], "gone": false,
    });
    assert_eq!(*ended.output("it"), expected);
    assert_eq!(annotation(&cluster, "team/owner").await, json!("relay"));
    assert_eq!(annotation(&cluster, "old").await, Value::Null);
    let again = cluster.run(&runbook_yaml(&step(SENTRY, &wanted()))).await.expect_success();
    assert_eq!(again.output("it")["changed"], json!([]), "they are as they are to be");

    set(&cluster, "team/owner", json!("before")).await;
    set(&cluster, "old", json!("yes")).await;
    let back = fail_and_roll_back(&cluster, &step(SENTRY, &wanted()), async || {}).await;
    back.expect_state(RunState::RolledBack);
    assert_eq!(annotation(&cluster, "team/owner").await, json!("before"));
    assert_eq!(annotation(&cluster, "old").await, json!("yes"));
    assert_eq!(super::uids_of(&cluster, "rafay-sentry").await, pods, "no rollout began");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_namespaces_are_annotated_too() {
    let cluster = TestCluster::new().await;
    let node = nodes_of(&cluster, "rafay-relay").await.into_iter().next().unwrap();
    let steps = step(&format!("node: {node}"), &json!({"a": "1"}))
        + &step(&format!("namespace_object: {NAMESPACE}"), &json!({"a": "2"}))
            .replace("id: it", "id: second");
    cluster.run(&runbook_yaml(&steps)).await.expect_success();
    let nodes: Api<Node> = Api::all(client(&cluster));
    assert_eq!(json!(nodes.get(&node).await.unwrap().metadata.annotations)["a"], json!("1"));
    let namespaces: Api<Namespace> = Api::all(client(&cluster));
    let namespace = namespaces.get(NAMESPACE).await.unwrap();
    assert_eq!(json!(namespace.metadata.annotations)["a"], json!("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_that_another_client_changes_meanwhile_is_left_alone() {
    let cluster = TestCluster::new().await;
    let steps = step(SENTRY, &wanted());
    let theirs = async || set(&cluster, "team/owner", json!("theirs")).await;
    let back = fail_and_roll_back(&cluster, &steps, theirs).await;
    assert_left_alone(
        &back,
        "left deployment rafay-core/rafay-sentry annotation team/owner at \"theirs\"",
    );
    assert_eq!(annotation(&cluster, "team/owner").await, json!("theirs"));

    set(&cluster, "team/owner", json!("before")).await;
    let theirs = async || set(&cluster, "team/owner", json!("theirs")).await;
    let ended = fail_and_resume(&cluster, &steps, "patch deployments/*", theirs).await;
    let ended = ended.expect_state(RunState::Failed);
    assert!(ended.error().contains("was changed by another client"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_found_and_an_own_annotation_are_refused() {
    let cluster = TestCluster::new().await;
    for (object, annotations, expected) in [
        ("namespace: rafay-core, deployment: nothing", wanted(), "nothing not found"),
        ("node: nothing", wanted(), "node nothing not found"),
        (
            "namespace: '{{ inputs.none }}', deployment: rafay-sentry",
            wanted(),
            "`namespace` is missing",
        ),
        (SENTRY, json!("{{ inputs.own }}"), "no step sets it"),
    ] {
        // What is written out is refused before a run: values that are known then are checked by the step.
        let text = runbook_yaml(&step(object, &annotations));
        let inputs = "inputs: {none: {type: optional string}, \
                      own: {type: map of string, default: {rafay-relay-sop/cordoned-by: me}}}";
        let text = text.replacen("steps:", &format!("{inputs}\nsteps:"), 1);
        let ended = cluster.run(&text).await;
        let ended = ended.expect_state(RunState::Failed);
        assert!(ended.error().contains(expected), "{}", ended.error());
    }
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_ended_since_it_was_listed_is_gone() {
    let cluster = TestCluster::new().await;
    let node = nodes_of(&cluster, "rafay-relay").await.into_iter().next().unwrap();
    let list = "  - {id: nodes, action: list_nodes, with: {ready: true}}\n";
    let annotate = step(&format!("node: {node}"), &json!({"a": "1"}));
    let steps = format!(
        "{list}  - {{id: stop, action: label_nodes, with: {{nodes: [{node}], labels: {{x: y}}}}}}\n{annotate}"
    );
    let ended = fail_and_resume(&cluster, &steps, "patch nodes/*", async || {
        end_node(&cluster, &node).await;
    })
    .await
    .expect_success();
    assert_eq!(ended.output("it")["gone"], json!(true));
}

async fn events(cluster: &TestCluster, namespace: &str) -> Vec<Event> {
    let events: Api<Event> = Api::namespaced(client(cluster), namespace);
    let mut all = events.list(&ListParams::default()).await.unwrap().items;
    all.retain(|event| event.reporting_controller.as_deref() == Some("rafay-relay-sop"));
    all
}

fn event_step(object: &str, more: &str) -> String {
    format!(
        "  - {{id: it, action: emit_event, with: {{{object}, reason: Maintenance, note: the relay moves{more}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_on_an_object_is_written_once_whether_or_not_its_response_is_lost() {
    for before in [true, false] {
        let cluster = TestCluster::new().await;
        let effect = Effect::Drop { before };
        let matching = "create events*".to_owned();
        cluster.simulator.inject(Fault { matching, nth: 1, times: 1, effect });
        let text = runbook_yaml(&event_step(SENTRY, ", type: Warning"));
        let text = text.replace("attempts: 1", "attempts: 3");
        let ended = cluster.run(&text).await.expect_success();
        let found = events(&cluster, NAMESPACE).await;
        assert_eq!(found.len(), 1, "before: {before}");
        let event = json!(found[0]);
        assert_eq!(event["metadata"]["name"], ended.output("it")["name"]);
        assert_eq!((&event["reason"], &event["type"]), (&json!("Maintenance"), &json!("Warning")));
        assert_eq!(event["note"], json!("the relay moves"));
        let deployments: Api<Deployment> = Api::namespaced(client(&cluster), NAMESPACE);
        let object = deployments.get("rafay-sentry").await.unwrap();
        assert_eq!(event["regarding"]["uid"], json!(object.meta().uid));
        assert_eq!(event["regarding"]["kind"], json!("Deployment"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_on_a_node_is_in_the_default_namespace_and_stays_after_a_rollback() {
    let cluster = TestCluster::new().await;
    let node = nodes_of(&cluster, "rafay-relay").await.into_iter().next().unwrap();
    let steps = event_step(&format!("node: {node}"), "");
    let back = fail_and_roll_back(&cluster, &steps, async || {}).await;
    back.expect_state(RunState::RolledBack);
    let found: BTreeSet<String> = events(&cluster, "default")
        .await
        .iter()
        .map(|event| json!(event)["regarding"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, texts(&json!([node])));
}
