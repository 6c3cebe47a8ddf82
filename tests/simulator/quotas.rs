//! Admission by quotas and limit ranges, and the events about pods that do not start.

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, LimitRange, Pod, ResourceQuota},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use simulator::{ContainerFailure, FailingImage, Scenario};

use super::{NAMESPACE, client, deployment, pods_of, refusal, start, wait_until};

fn sentry(replicas: u32) -> Scenario {
    let mut scenario = Scenario::default();
    scenario.deployments.retain(|deployment| deployment.name == "rafay-sentry");
    scenario.deployments[0].replicas = replicas;
    scenario
}

async fn create_quota(client: &Client, hard: Value) {
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), NAMESPACE);
    let quota = json!({"metadata": {"name": "team"}, "spec": {"hard": hard}});
    let quota = serde_json::from_value(quota).unwrap();
    quotas.create(&PostParams::default(), &quota).await.unwrap();
}

async fn set_quota(client: &Client, hard: Value) {
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"hard": hard}}));
    quotas.patch("team", &PatchParams::default(), &patch).await.unwrap();
}

async fn scale(client: &Client, replicas: i32) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch("rafay-sentry", &PatchParams::default(), &patch).await.unwrap();
}

/// The reason and the message of the deployment's condition ReplicaFailure.
async fn replica_failure(client: &Client) -> Option<(String, String)> {
    let conditions = deployment(client, "rafay-sentry").await.status?.conditions?;
    let found = conditions.into_iter().find(|condition| {
        condition.type_.as_deref() == Some("ReplicaFailure")
            && condition.status.as_deref() == Some("True")
    })?;
    Some((found.reason?, found.message?))
}

async fn events(client: &Client) -> Vec<(String, String, String)> {
    let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
    let events = events.list(&ListParams::default()).await.unwrap();
    let of = |text: Option<String>| text.unwrap_or_default();
    events.into_iter().map(|event| (of(event.type_), of(event.reason), of(event.message))).collect()
}

fn pod(resources: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "one"},
        "spec": {"containers": [{"name": "app", "image": "app:1", "resources": resources}]},
    }))
    .unwrap()
}

#[tokio::test]
async fn pods_beyond_a_quota_are_reported_by_set_deployment_and_event() {
    let simulator = start(sentry(2)).await;
    let client = client(&simulator);
    create_quota(&client, json!({"pods": "3"})).await;
    scale(&client, 5).await;
    let (reason, message) =
        wait_until("the failure", || async { replica_failure(&client).await }).await;
    assert_eq!(reason, "FailedCreate");
    let expected =
        " is forbidden: exceeded quota: team, requested: pods=1, used: pods=3, limited: pods=3";
    assert!(message.starts_with("pods \"rafay-sentry-"), "{message}");
    assert!(message.ends_with(expected), "{message}");
    assert_eq!(pods_of(&client, "rafay-sentry").await.len(), 3);
    let seen = events(&client).await;
    let rejected = seen.iter().find(|(_, reason, _)| reason == "FailedCreate").unwrap();
    assert_eq!(rejected.0, "Warning");
    assert!(rejected.2.starts_with("Error creating: pods \"rafay-sentry-"), "{}", rejected.2);

    set_quota(&client, json!({"pods": "5"})).await;
    wait_until("five pods", || async {
        (pods_of(&client, "rafay-sentry").await.len() == 5).then_some(())
    })
    .await;
    wait_until("the end of the failure", || async {
        replica_failure(&client).await.is_none().then_some(())
    })
    .await;
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), NAMESPACE);
    let sets = sets.list(&ListParams::default()).await.unwrap();
    assert!(sets.iter().all(|set| set.status.as_ref().unwrap().conditions.is_none()));
}

#[tokio::test]
async fn a_rejected_pod_does_not_fill_the_store_with_events() {
    let simulator = start(sentry(2)).await;
    let client = client(&simulator);
    create_quota(&client, json!({"pods": "2"})).await;
    scale(&client, 3).await;
    wait_until("combined events", || async {
        let seen = events(&client).await;
        seen.iter()
            .any(|(_, _, message)| message.starts_with("(combined from similar events): "))
            .then_some(())
    })
    .await;
    let seen = events(&client).await;
    let rejections = seen.iter().filter(|(_, reason, _)| reason == "FailedCreate");
    assert_eq!(rejections.count(), 11);
}

#[tokio::test]
async fn a_quota_reports_what_is_used() {
    let simulator = start(sentry(2)).await;
    let client = client(&simulator);
    create_quota(&client, json!({"pods": "4", "requests.cpu": "1", "count/deployments.apps": "1"}))
        .await;
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), NAMESPACE);
    let used =
        wait_until("the status", || async { quotas.get("team").await.unwrap().status?.used }).await;
    let used = serde_json::to_value(used).unwrap();
    let expected = json!({"count/deployments.apps": "1", "pods": "2", "requests.cpu": "400m"});
    assert_eq!(used, expected);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let mut other = deployment(&client, "rafay-sentry").await;
    other.metadata.name = Some("other".into());
    other.metadata.resource_version = None;
    let refused = refusal(deployments.create(&PostParams::default(), &other).await);
    assert_eq!(refused, (403, "Forbidden".into()));
}

#[tokio::test]
async fn a_pod_must_name_what_a_quota_limits() {
    let simulator = start(sentry(0)).await;
    let client = client(&simulator);
    create_quota(&client, json!({"limits.memory": "1Gi"})).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let error = pods.create(&PostParams::default(), &pod(json!({}))).await.unwrap_err();
    let expected =
        "pods \"one\" is forbidden: failed quota: team: must specify limits.memory for: app";
    assert!(error.to_string().contains(expected), "{error}");
}

#[tokio::test]
async fn a_limit_range_sets_defaults_and_bounds() {
    let simulator = start(sentry(0)).await;
    let client = client(&simulator);
    let ranges: Api<LimitRange> = Api::namespaced(client.clone(), NAMESPACE);
    let range = json!({"metadata": {"name": "bounds"}, "spec": {"limits": [{
        "type": "Container",
        "max": {"cpu": "500m"},
        "defaultRequest": {"cpu": "100m"},
    }]}});
    let range = serde_json::from_value(range).unwrap();
    ranges.create(&PostParams::default(), &range).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let large = pod(json!({"limits": {"cpu": "1"}}));
    let error = pods.create(&PostParams::default(), &large).await.unwrap_err();
    let expected =
        "pods \"one\" is forbidden: maximum cpu usage per Container is 500m, but limit is 1";
    assert!(error.to_string().contains(expected), "{error}");
    let made = pods.create(&PostParams::default(), &pod(json!({}))).await.unwrap();
    let resources = made.spec.as_ref().unwrap().containers[0].resources.clone().unwrap();
    let resources = serde_json::to_value(resources).unwrap();
    assert_eq!(resources, json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}));
    assert_eq!(
        made.annotations()["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container app; cpu limit for container app"
    );
}

/// The warnings about a pod whose image, or whose init container's image, fails.
async fn warnings_of(failure: ContainerFailure, in_init: bool) -> (Vec<(String, String)>, Value) {
    let mut scenario = sentry(0);
    scenario.failing_images.push(FailingImage { image: "broken".into(), failure, times: None });
    let simulator = start(scenario).await;
    let client = client(&simulator);
    let containers = if in_init {
        json!({
            "initContainers": [{"name": "setup", "image": "broken:1"}],
            "containers": [{"name": "app", "image": "app:1"}],
        })
    } else {
        json!({"containers": [{"name": "app", "image": "broken:1"}, {"name": "side", "image": "x"}]})
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pod = json!({"metadata": {"name": "one"}, "spec": containers});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let warnings = wait_until("a warning", || async {
        let seen = events(&client).await.into_iter();
        let warnings: Vec<(String, String)> = seen
            .filter(|(kind, ..)| kind == "Warning")
            .map(|(_, reason, message)| (reason, message))
            .collect();
        (!warnings.is_empty()).then_some(warnings)
    })
    .await;
    let status = pods.get("one").await.unwrap().status.unwrap();
    (warnings, serde_json::to_value(status).unwrap())
}

#[tokio::test]
async fn each_failure_of_a_pod_has_its_event() {
    let cases = [
        (ContainerFailure::ImagePull, "Failed", "Failed to pull image \"broken:1\": "),
        (
            ContainerFailure::CrashLoop,
            "BackOff",
            "Back-off restarting failed container app in pod one_",
        ),
        (ContainerFailure::NeverReady, "Unhealthy", "Readiness probe failed: "),
        (ContainerFailure::Sandbox, "FailedCreatePodSandBox", "Failed to create pod sandbox: "),
        (ContainerFailure::Mount, "FailedMount", "MountVolume.SetUp failed for volume "),
    ];
    for (failure, reason, message) in cases {
        let (warnings, status) = warnings_of(failure, false).await;
        let is_expected =
            |warning: &&(String, String)| warning.0 == reason && warning.1.starts_with(message);
        assert!(warnings.iter().any(|warning| is_expected(&warning)), "{failure:?}: {warnings:?}");
        let is_creating = matches!(failure, ContainerFailure::Sandbox | ContainerFailure::Mount);
        let waits_for = &status["containerStatuses"][0]["state"]["waiting"]["reason"];
        assert_eq!(*waits_for == "ContainerCreating", is_creating, "{failure:?}: {status}");
        // The other container does not fail, but shares the sandbox.
        assert_eq!(status["containerStatuses"][1]["ready"], !is_creating, "{failure:?}: {status}");
    }
}

#[tokio::test]
async fn an_init_container_that_fails_keeps_the_others_from_starting() {
    let cases = [
        (ContainerFailure::ImagePull, "Failed", "/waiting/reason", "ImagePull"),
        (ContainerFailure::CrashLoop, "BackOff", "/waiting/reason", "CrashLoopBackOff"),
    ];
    for (failure, reason, pointer, state) in cases {
        let (warnings, status) = warnings_of(failure, true).await;
        assert!(warnings.iter().any(|(found, _)| found == reason), "{failure:?}: {warnings:?}");
        let init = &status["initContainerStatuses"][0];
        assert_eq!(init["name"], "setup");
        let found = init["state"].pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        assert!(found.contains(state), "{failure:?}: {status}");
        assert_eq!(status["phase"], "Pending");
        let waiting = &status["containerStatuses"][0]["state"]["waiting"]["reason"];
        assert_eq!(*waiting, "PodInitializing");
        let conditions = status["conditions"].as_array().unwrap();
        let initialized = conditions.iter().find(|c| c["type"] == "Initialized").unwrap();
        assert_eq!(initialized["status"], "False");
        assert_eq!(initialized["message"], "containers with incomplete status: [setup]");
    }
}

#[tokio::test]
async fn a_pod_starts_after_its_init_containers() {
    let simulator = start(sentry(0)).await;
    let client = client(&simulator);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pod = json!({"metadata": {"name": "one"}, "spec": {
        "initContainers": [{"name": "setup", "image": "setup:1"}],
        "containers": [{"name": "app", "image": "app:1"}],
    }});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let status = wait_until("a ready pod", || async {
        let pod = pods.get("one").await.unwrap();
        super::is_ready(&pod).then(|| serde_json::to_value(pod.status.unwrap()).unwrap())
    })
    .await;
    let state = &status["initContainerStatuses"][0]["state"]["terminated"];
    assert_eq!((&state["exitCode"], &state["reason"]), (&json!(0), &json!("Completed")));
}
