//! Deployments, their pods, and evictions.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Event, Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use simulator::{ContainerFailure, FailingImage, Scenario};

use super::{
    NAMESPACE, RELAY, client, deployment, is_ready, names, node_of, nodes_of, pods_of, refusal,
    start, start_at, wait_until,
};

async fn patch(client: &Client, name: &str, patch: Value) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    deployments.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
}

async fn scale(client: &Client, name: &str, replicas: i32) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch_scale(name, &PatchParams::default(), &scale).await.unwrap();
}

/// Returns whether a rollout is complete, as kubectl decides it.
fn is_rolled_out(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    deployment.metadata.generation <= status.observed_generation
        && updated >= wanted
        && status.replicas.unwrap_or(0) <= updated
        && status.available_replicas.unwrap_or(0) >= updated
}

async fn rolled_out(client: &Client, name: &str) -> Deployment {
    wait_until("the end of the rollout", || async {
        Some(deployment(client, name).await).filter(is_rolled_out)
    })
    .await
}

fn condition<'a>(deployment: &'a Deployment, kind: &str) -> (&'a str, &'a str) {
    let conditions = deployment.status.as_ref().unwrap().conditions.as_ref().unwrap();
    let found =
        conditions.iter().find(|condition| condition.type_.as_deref() == Some(kind)).unwrap();
    (found.status.as_deref().unwrap(), found.reason.as_deref().unwrap())
}

fn one_deployment(replicas: u32) -> Scenario {
    let mut scenario = Scenario::default();
    scenario.deployments.retain(|deployment| deployment.name == "rafay-sentry");
    scenario.deployments[0].replicas = replicas;
    scenario
}

#[tokio::test]
async fn the_default_scenario_is_ready_when_the_simulator_starts() {
    let simulator = start(Scenario::default()).await;
    let client = client(&simulator);
    for (name, count) in [("rafay-relay", 3), ("rafay-sentry", 2), ("relay-cache", 2)] {
        let pods = pods_of(&client, name).await;
        assert_eq!(pods.len(), count, "{name}");
        assert!(pods.iter().all(is_ready), "{name}");
        assert!(is_rolled_out(&deployment(&client, name).await), "{name}");
    }
    let relay: BTreeSet<String> =
        pods_of(&client, "rafay-relay").await.iter().map(|p| node_of(p).unwrap().into()).collect();
    let nodes: BTreeSet<String> = names(&nodes_of(&client, RELAY).await).into_iter().collect();
    assert_eq!(relay, nodes, "one relay pod on each node of the group");
}

#[tokio::test]
async fn a_restart_rolls_through_a_new_replica_set() {
    let simulator = start(Scenario::default()).await;
    let client = client(&simulator);
    let before: BTreeSet<_> =
        pods_of(&client, "rafay-sentry").await.iter().map(kube::ResourceExt::uid).collect();
    let stamp = json!({"spec": {"template": {"metadata": {"annotations":
        {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}}}}});
    patch(&client, "rafay-sentry", stamp).await;
    let after = rolled_out(&client, "rafay-sentry").await;
    assert_eq!(after.metadata.generation, Some(2));
    assert_eq!(after.annotations()["deployment.kubernetes.io/revision"], "2");
    wait_until("the condition", || async {
        let now = deployment(&client, "rafay-sentry").await;
        (condition(&now, "Progressing") == ("True", "NewReplicaSetAvailable")).then_some(())
    })
    .await;
    let pods = wait_until("the old pods' end", || async {
        Some(pods_of(&client, "rafay-sentry").await).filter(|pods| pods.len() == 2)
    })
    .await;
    assert!(pods.iter().all(|pod| !before.contains(&pod.uid())));
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), NAMESPACE);
    let selected = ListParams::default().labels("app=rafay-sentry");
    let mut sizes: Vec<_> =
        sets.list(&selected).await.unwrap().iter().map(|set| set.spec.replicas.unwrap()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 2]);
}

#[tokio::test]
async fn a_rollout_never_has_too_few_or_too_many_pods() {
    let simulator = start_at(one_deployment(8), 30.0).await;
    let client = client(&simulator);
    patch(
        &client,
        "rafay-sentry",
        json!({"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}),
    )
    .await;
    loop {
        let now = deployment(&client, "rafay-sentry").await;
        let pods = pods_of(&client, "rafay-sentry").await;
        let standing = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        // A quarter of eight in both directions.
        assert!(standing.count() <= 10);
        assert!(now.status.as_ref().unwrap().available_replicas.unwrap_or(0) >= 6);
        if is_rolled_out(&now) {
            break;
        }
    }
}

#[tokio::test]
async fn the_deletion_cost_decides_which_pods_are_deleted() {
    let simulator = start(one_deployment(5)).await;
    let client = client(&simulator);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let kept = names(&pods_of(&client, "rafay-sentry").await)[3..].to_vec();
    for name in &kept {
        let cost = json!({"metadata": {"annotations":
            {"controller.kubernetes.io/pod-deletion-cost": "100"}}});
        pods.patch(name, &PatchParams::default(), &Patch::Merge(cost)).await.unwrap();
    }
    scale(&client, "rafay-sentry", 2).await;
    let left = wait_until("two pods", || async {
        Some(pods_of(&client, "rafay-sentry").await).filter(|pods| pods.len() == 2)
    })
    .await;
    assert_eq!(names(&left), kept);
}

#[tokio::test]
async fn pods_wait_for_a_node_with_a_reason() {
    let simulator = start(Scenario::default()).await;
    let client = client(&simulator);
    scale(&client, "rafay-relay", 4).await;
    let message = wait_until("the reason", || async {
        let pods = pods_of(&client, "rafay-relay").await;
        let pending = pods.iter().find(|pod| node_of(pod).is_none())?;
        let conditions = pending.status.as_ref()?.conditions.as_ref()?;
        let scheduled = conditions.iter().find(|c| c.type_ == "PodScheduled")?;
        assert_eq!(scheduled.reason.as_deref(), Some("Unschedulable"));
        scheduled.message.clone()
    })
    .await;
    assert!(message.starts_with("0/6 nodes are available: 3 node(s) didn't match"), "{message}");
    assert!(message.contains("3 node(s) didn't match pod anti-affinity rules"), "{message}");
}

#[tokio::test]
async fn a_cordoned_node_gets_no_new_pods() {
    let simulator = start(Scenario::default()).await;
    let client = client(&simulator);
    let nodes: Api<Node> = Api::all(client.clone());
    let deleted_pod = pods_of(&client, "rafay-relay").await.remove(0);
    let node = node_of(&deleted_pod).unwrap().to_owned();
    let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    nodes.patch(&node, &PatchParams::default(), &cordon).await.unwrap();
    wait_until("the taint", || async {
        let node = nodes.get(&node).await.unwrap();
        let taints = node.spec?.taints?;
        taints.iter().any(|t| t.key == "node.kubernetes.io/unschedulable").then_some(())
    })
    .await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    pods.delete(&deleted_pod.name_any(), &DeleteParams::default()).await.unwrap();
    let replacement = wait_until("a pending replacement", || async {
        let pods = pods_of(&client, "rafay-relay").await;
        pods.into_iter().find(|pod| node_of(pod).is_none())
    })
    .await;
    let uncordon = Patch::Merge(json!({"spec": {"unschedulable": null}}));
    nodes.patch(&node, &PatchParams::default(), &uncordon).await.unwrap();
    wait_until("its place", || async {
        let pod = pods.get(&replacement.name_any()).await.unwrap();
        (is_ready(&pod) && node_of(&pod) == Some(&*node)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_budget_refuses_an_eviction_that_it_does_not_allow() {
    let mut scenario = Scenario::default();
    scenario.objects.push(json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "relay", "namespace": NAMESPACE},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "rafay-relay"}}},
    }));
    let simulator = start(scenario).await;
    let client = client(&simulator);
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), NAMESPACE);
    wait_until("the budget's status", || async {
        let budget = budgets.get("relay").await.unwrap();
        (budget.status?.disruptions_allowed == Some(1)).then_some(())
    })
    .await;
    let nodes: Api<Node> = Api::all(client.clone());
    let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    for node in names(&nodes_of(&client, RELAY).await) {
        nodes.patch(&node, &PatchParams::default(), &cordon).await.unwrap();
    }
    let pods = names(&pods_of(&client, "rafay-relay").await);
    evict(&client, &pods[0]).await.unwrap();
    let refused = evict(&client, &pods[1]).await;
    let Err(kube::Error::Api(status)) = &refused else { panic!("{refused:?}") };
    assert_eq!(status.code, 429);
    let cause = &status.details.as_ref().unwrap().causes[0];
    assert_eq!(cause.reason, "DisruptionBudget");
    assert!(cause.message.contains("relay needs 2 healthy pods"), "{}", cause.message);
    assert_eq!(refusal(evict(&client, "missing").await).0, 404);
}

async fn evict(client: &Client, pod: &str) -> Result<Value, kube::Error> {
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    let request = http_post(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"), &body);
    client.request(request).await
}

fn http_post(path: &str, body: &Value) -> axum::http::Request<Vec<u8>> {
    axum::http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(body).unwrap())
        .unwrap()
}

#[tokio::test]
async fn a_failing_rollout_exceeds_its_progress_deadline() {
    let mut scenario = one_deployment(2);
    scenario.deployments[0].progress_deadline = 60;
    scenario.failing_images.push(FailingImage {
        image: "broken".into(),
        failure: ContainerFailure::CrashLoop,
        times: None,
    });
    let simulator = start(scenario).await;
    let client = client(&simulator);
    let image = json!({"spec": {"template": {"spec": {"containers":
        [{"name": "rafay-sentry", "image": "broken:1"}]}}}});
    patch(&client, "rafay-sentry", image).await;
    wait_until("the crash loop", || async {
        let pods = pods_of(&client, "rafay-sentry").await;
        pods.iter().any(|pod| waits_for(pod) == Some("CrashLoopBackOff")).then_some(())
    })
    .await;
    let late = wait_until("the deadline", || async {
        let now = deployment(&client, "rafay-sentry").await;
        (condition(&now, "Progressing") == ("False", "ProgressDeadlineExceeded")).then_some(now)
    })
    .await;
    assert_eq!(condition(&late, "Available").0, "True", "the old pods still serve");
}

fn waits_for(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

#[tokio::test]
async fn a_failing_image_recovers_after_its_failures() {
    let mut scenario = one_deployment(1);
    scenario.failing_images.push(FailingImage {
        image: "late".into(),
        failure: ContainerFailure::ImagePull,
        times: Some(2),
    });
    let simulator = start_at(scenario, 60.0).await;
    let client = client(&simulator);
    let image = json!({"spec": {"template": {"spec": {"containers":
        [{"name": "rafay-sentry", "image": "late:1"}]}}}});
    patch(&client, "rafay-sentry", image).await;
    rolled_out(&client, "rafay-sentry").await;
    let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
    let events_seen = events.list(&ListParams::default()).await.unwrap();
    let failures = events_seen.iter().filter(|event| event.type_.as_deref() == Some("Warning"));
    let reasons: BTreeSet<&str> = failures.filter_map(|event| event.reason.as_deref()).collect();
    assert!(!reasons.is_empty() && reasons.is_subset(&["Failed", "BackOff"].into()), "{reasons:?}");
}

#[tokio::test]
async fn a_paused_deployment_is_scaled_but_not_rolled_out() {
    let simulator = start(one_deployment(2)).await;
    let client = client(&simulator);
    patch(&client, "rafay-sentry", json!({"spec": {"paused": true}})).await;
    patch(
        &client,
        "rafay-sentry",
        json!({"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}),
    )
    .await;
    scale(&client, "rafay-sentry", 3).await;
    let pods = wait_until("three pods", || async {
        Some(pods_of(&client, "rafay-sentry").await).filter(|pods| pods.len() == 3)
    })
    .await;
    assert!(pods.iter().all(|pod| !pod.labels().contains_key("v")));
    patch(&client, "rafay-sentry", json!({"spec": {"paused": false}})).await;
    rolled_out(&client, "rafay-sentry").await;
}

#[tokio::test]
async fn an_autoscaler_holds_a_deployment_within_its_bounds() {
    let simulator = start(one_deployment(2)).await;
    let client = client(&simulator);
    let autoscaler: HorizontalPodAutoscaler = serde_json::from_value(json!({
        "metadata": {"name": "sentry"},
        "spec": {
            "minReplicas": 3,
            "maxReplicas": 4,
            "scaleTargetRef":
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "rafay-sentry"},
        },
    }))
    .unwrap();
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), NAMESPACE);
    autoscalers.create(&PostParams::default(), &autoscaler).await.unwrap();
    wait_until("three replicas", || async {
        (deployment(&client, "rafay-sentry").await.spec.replicas == Some(3)).then_some(())
    })
    .await;
    scale(&client, "rafay-sentry", 9).await;
    wait_until("four replicas", || async {
        (deployment(&client, "rafay-sentry").await.spec.replicas == Some(4)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn deleting_a_deployment_deletes_what_it_owns() {
    let simulator = start(one_deployment(2)).await;
    let client = client(&simulator);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), NAMESPACE);
    deployments.delete("rafay-sentry", &DeleteParams::foreground()).await.unwrap();
    wait_until("the end", || async {
        let gone = deployments.get_opt("rafay-sentry").await.unwrap().is_none();
        gone.then_some(())
    })
    .await;
    assert!(sets.list(&ListParams::default()).await.unwrap().items.is_empty());
    wait_until("the pods' end", || async {
        pods_of(&client, "rafay-sentry").await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deleted_pod_stays_for_its_grace_period() {
    let mut scenario = one_deployment(1);
    scenario.times.pod_stop = std::time::Duration::from_hours(1);
    let simulator = start_at(scenario, 15.0).await;
    let client = client(&simulator);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pod = pods_of(&client, "rafay-sentry").await.remove(0);
    let name = pod.name_any();
    pods.delete(&name, &DeleteParams::default()).await.unwrap();
    let leaving = pods.get(&name).await.unwrap();
    assert_eq!(leaving.metadata.deletion_grace_period_seconds, Some(30));
    // Thirty seconds at speed 15.
    wait_until("its end", || async { pods.get_opt(&name).await.unwrap().is_none().then_some(()) })
        .await;
}
