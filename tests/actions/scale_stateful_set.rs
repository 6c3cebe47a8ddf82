//! `scale_deployment` of a stateful set.

use std::collections::BTreeSet;

use k8s_openapi::api::{apps::v1::StatefulSet, autoscaling::v2::HorizontalPodAutoscaler};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rafay_relay_sop::{
    engine::Control,
    journal::{ResumeMode, RunState},
};
use serde_json::{Value, json};

use super::{
    NAMESPACE, assert_left_alone, client, codes, create, fail_and_roll_back, runbook_yaml, texts,
};
use test_support::{TestCluster, wait_until_async};

fn step(more: &str) -> String {
    format!(
        "  - {{id: it, action: scale_deployment, with: {{namespace: {NAMESPACE}, stateful_set: db, {more}}}}}\n"
    )
}

fn sets(cluster: &TestCluster) -> Api<StatefulSet> {
    Api::namespaced(client(cluster), NAMESPACE)
}

async fn set(cluster: &TestCluster) -> StatefulSet {
    sets(cluster).get("db").await.unwrap()
}

async fn replicas(cluster: &TestCluster) -> i32 {
    set(cluster).await.spec.replicas.unwrap()
}

/// Makes the set `db` with two pods.
async fn create_set(cluster: &TestCluster) {
    let labels = json!({"app": "db"});
    let container = json!({"name": "db", "image": "registry.example.com/db:1"});
    let spec = json!({
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    });
    let object = json!({"metadata": {"name": "db", "namespace": NAMESPACE}, "spec": spec});
    create::<StatefulSet>(cluster, object).await;
    wait_until_async("the pods", async || {
        let status = set(cluster).await.status?;
        (status.ready_replicas == Some(2)).then_some(())
    })
    .await;
}

fn names(pods: &Value) -> BTreeSet<String> {
    pods.as_array().unwrap().iter().map(|pod| pod["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_is_scaled_up_and_down() {
    let cluster = TestCluster::new().await;
    create_set(&cluster).await;
    let up = cluster.run(&runbook_yaml(&step("factor: 2"))).await.expect_success();
    let output = up.output("it");
    assert_eq!((&output["name"], &output["deployment"]), (&json!("db"), &json!("")));
    assert_eq!((&output["before"]["replicas"], &output["replicas"]), (&json!(2), &json!(4)));
    assert_eq!(names(&output["new_pods"]), texts(&json!(["db-2", "db-3"])));
    let down = cluster.run(&runbook_yaml(&step("replicas: 1"))).await.expect_success();
    assert_eq!(names(&down.output("it")["pods"]), texts(&json!(["db-0"])));
    assert_eq!(names(&down.output("it")["new_pods"]), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_restores_the_number_unless_another_client_has_changed_it() {
    for changed in [false, true] {
        let cluster = TestCluster::new().await;
        create_set(&cluster).await;
        let steps = step("replicas: 2");
        let nothing = fail_and_roll_back(&cluster, &steps, async || {}).await;
        nothing.expect_state(RunState::RolledBack);
        let text = runbook_yaml(&format!(
            "{}  - {{id: last, action: assert, with: {{that: false, message: on purpose}}}}\n",
            step("replicas: 3")
        ));
        let accepted = cluster.accept(&text, json!({})).await.unwrap();
        let driving = cluster.drive(accepted, Control::default());
        let ended = driving.await.expect_state(RunState::Failed);
        if changed {
            let patch = Patch::Merge(json!({"spec": {"replicas": 5}}));
            sets(&cluster).patch("db", &PatchParams::default(), &patch).await.unwrap();
        }
        let back = cluster.resume(ended.run.id(), ResumeMode::Rollback).await;
        if changed {
            assert_left_alone(&back, "was changed by another client: expected 3, found 5");
            assert_eq!(replicas(&cluster).await, 5);
        } else {
            back.expect_state(RunState::RolledBack);
            assert_eq!(replicas(&cluster).await, 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_with_an_autoscaler_and_pods_to_keep_are_refused() {
    let cluster = TestCluster::new().await;
    create_set(&cluster).await;
    let refusal = async |steps: &str| {
        let ended = cluster.run(&runbook_yaml(steps)).await.expect_state(RunState::Failed);
        ended.error().to_owned()
    };
    let keep = "replicas: 1, keep: [{namespace: rafay-core, name: db-1, uid: u}]";
    assert_eq!(codes(&runbook_yaml(&step(keep))), ["RB100"]);
    let target = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"});
    let autoscaler = json!({
        "metadata": {"name": "db", "namespace": NAMESPACE},
        "spec": {"scaleTargetRef": target, "maxReplicas": 4},
    });
    create::<HorizontalPodAutoscaler>(&cluster, autoscaler).await;
    let error = refusal(&step("replicas: 1")).await;
    assert!(error.contains("statefulset rafay-core/db is scaled by"), "{error}");
    assert_eq!(replicas(&cluster).await, 2);
}
