//! `wait_pods`.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rafay_relay_sop::{engine::Control, journal::RunState};
use serde_json::{Value, json};
use simulator::{ContainerFailure, Effect, Fault, Scenario};

use super::{
    NAMESPACE, client, create, delete_pod, patch_deployment, pods_of, runbook_yaml,
    scenario_with_failing_image, uids, uids_of,
};
use test_support::{TestCluster, wait_until, wait_until_async};

fn step(with: &str) -> String {
    format!("  - {{id: it, action: wait_pods, with: {{namespace: rafay-core, {with}}}}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_pods_waits_for_all_replicas_of_a_deployment() {
    let cluster = TestCluster::new().await;
    patch_deployment(&cluster, "relay-cache", json!({"spec": {"replicas": 5}})).await;
    let ended = cluster.run(&runbook_yaml(&step("deployment: relay-cache"))).await.expect_success();
    assert_eq!(ended.output("it")["count"], json!(5));
    assert_eq!(uids(&ended.output("it")["pods"]), uids_of(&cluster, "relay-cache").await);
    let all_ready = |pod: &serde_json::Value| pod["ready"] == json!(true);
    assert!(ended.output("it")["pods"].as_array().unwrap().iter().all(all_ready));
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_pods_counts_all_pods_that_match_a_selector() {
    let cluster = TestCluster::new().await;
    let ended = cluster
        .run(&runbook_yaml(&step("selector: 'app=rafay-relay', count: 2")))
        .await
        .expect_success();
    assert_eq!(ended.output("it")["count"], json!(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_pods_waits_until_listed_pods_are_gone() {
    let cluster = TestCluster::new().await;
    let list = "  - {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n";
    let steps = format!("{list}{}", step("pods: '{{ relay.pods }}', until: gone, count: 1"));
    let gone = pods_of(&cluster, "rafay-relay").await.remove(0);
    let deleting = async {
        wait_until("the wait", || (cluster.count_calls("watch pods") > 0).then_some(())).await;
        delete_pod(&cluster, &gone.0).await;
    };
    let text = runbook_yaml(&steps);
    let (ended, ()) = tokio::join!(cluster.run(&text), deleting);
    let ended = ended.expect_success();
    assert_eq!(uids(&ended.output("it")["pods"]), [gone.1.uid].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_pod_that_is_gone_fails_wait_pods() {
    let cluster = TestCluster::new().await;
    let lost = "pods: [{namespace: rafay-core, name: lost, uid: '1'}]";
    let ended = cluster.run(&runbook_yaml(&step(lost))).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("gone are lost"), "{}", ended.error());
}

/// The deployment has another in its place, which the list does not have.
#[tokio::test(flavor = "multi_thread")]
async fn a_listed_pod_that_has_ended_is_gone_unless_all_are_counted() {
    let list = "  - {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n  \
        - {id: end, action: delete_pods, with: {pods: '{{ relay.pods[:1] }}'}}\n";
    let cluster = TestCluster::new().await;
    let (first, _) = pods_of(&cluster, "rafay-relay").await.remove(0);
    let text = runbook_yaml(&format!("{list}{}", step("pods: '{{ relay.pods }}'")));
    let ended = cluster.run(&text).await.expect_success();
    assert_eq!(ended.output("it")["gone"], json!([first]));
    assert_eq!(ended.output("it")["count"], json!(2));

    let enough = step("pods: '{{ relay.pods }}', count: 1");
    let ended = cluster.run(&runbook_yaml(&format!("{list}{enough}"))).await.expect_success();
    assert_eq!(ended.output("it")["gone"].as_array().unwrap().len(), 1, "only the deleted one");

    let counted = step("pods: '{{ relay.pods }}', count: '{{ relay.count }}'");
    let text = runbook_yaml(&format!("{list}{counted}"));
    let ended = cluster.run(&text).await.expect_state(RunState::Failed);
    assert!(
        ended.error().contains("and 3 can no longer be reached: gone are "),
        "{}",
        ended.error()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_pod_fails_wait_pods_with_the_cause() {
    let cluster = TestCluster::with_scenario(scenario_with_failing_image(
        "broken",
        ContainerFailure::CrashLoop,
    ))
    .await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "sick", "namespace": NAMESPACE, "labels": {"app": "sick"}},
        "spec": {"containers": [{"name": "c", "image": "registry.example.com/broken:1"}]},
    });
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(client(&cluster), NAMESPACE);
    pods.create(&Default::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let ended = cluster
        .run(&runbook_yaml(&step("selector: 'app=sick', give_up_after: 1s")))
        .await
        .expect_state(RunState::Failed);
    assert!(ended.error().contains("pod sick: CrashLoopBackOff"), "{}", ended.error());
    assert!(ended.error().contains("(for 1s)"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_deployment_fails_wait_pods() {
    let cluster = TestCluster::new().await;
    patch_deployment(&cluster, "relay-cache", json!({"spec": {"replicas": 500}})).await;
    let deleting = async {
        wait_until("the wait", || (cluster.count_calls("watch pods") > 0).then_some(())).await;
        let deployments: kube::Api<k8s_openapi::api::apps::v1::Deployment> =
            kube::Api::namespaced(client(&cluster), NAMESPACE);
        deployments.delete("relay-cache", &Default::default()).await.unwrap();
    };
    let text = runbook_yaml(&step("deployment: relay-cache"));
    let (ended, ()) = tokio::join!(cluster.run(&text), deleting);
    let ended = ended.expect_state(RunState::Failed);
    assert!(ended.error().contains("the deployment no longer exists"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_without_pods_is_named() {
    let cluster = TestCluster::new().await;
    let step = "  - {id: it, action: wait_pods, timeout: 1s, with: {namespace: rafay-core, selector: 'app=none'}}\n";
    let ended = cluster.run(&runbook_yaml(step)).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(
        error.ends_with("waiting for 0 of 0 pods with app=none in rafay-core Ready"),
        "{error}"
    );
}

/// A world in which a new pod stays in `ContainerCreating`, with the pod `sick`.
async fn cluster_with_stuck_pod() -> TestCluster {
    let mut scenario = Scenario::default();
    scenario.times.pod_start = Duration::from_hours(10_000);
    let cluster = TestCluster::with_scenario(scenario).await;
    let pod = json!({
        "metadata": {"name": "sick", "namespace": NAMESPACE, "labels": {"app": "sick"}},
        "spec": {"containers": [{"name": "c", "image": "registry.example.com/good:1"}]},
    });
    create::<Pod>(&cluster, pod).await;
    cluster
}

/// Reports a Warning event about the pod `sick`, as its kubelet does.
async fn report_sandbox_failure(cluster: &TestCluster) {
    let pods: Api<Pod> = Api::namespaced(client(cluster), NAMESPACE);
    let pod = pods.get("sick").await.unwrap();
    let event = json!({
        "metadata": {"name": "sick.1", "namespace": NAMESPACE},
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "namespace": NAMESPACE, "name": "sick", "uid": pod.metadata.uid,
        },
        "type": "Warning",
        "reason": "FailedCreatePodSandBox",
        "message": "failed to assign an IP address to container",
        "source": {"component": "kubelet"},
    });
    create::<Event>(cluster, event).await;
}

/// Waits for the pod `sick`.
const WAIT_FOR_SICK: &str = "  - {id: it, action: wait_pods, timeout: 1h, with: {namespace: rafay-core, selector: 'app=sick', give_up_after: 1s}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_event_of_a_pod_that_stays_in_container_creating_is_named() {
    let cluster = cluster_with_stuck_pod().await;
    report_sandbox_failure(&cluster).await;
    let ended = cluster.run(&runbook_yaml(WAIT_FOR_SICK)).await.expect_state(RunState::Failed);
    assert_eq!(
        ended.error(),
        "0 of 1 pod with app=sick in rafay-core Ready, and pod sick: FailedCreatePodSandBox: failed to assign an IP \
         address to container (for 1s)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_may_not_be_read_do_not_fail_wait_pods() {
    let cluster = cluster_with_stuck_pod().await;
    report_sandbox_failure(&cluster).await;
    let effect = Effect::Fail { status: 403, code: "Forbidden".into(), message: "no".into() };
    cluster.simulator.inject(Fault {
        matching: "list events*".into(),
        nth: 1,
        times: 1_000_000,
        effect,
    });
    let accepted = cluster.accept(&runbook_yaml(WAIT_FOR_SICK), json!({})).await.unwrap();
    let id = accepted.run().id().clone();
    let control = Control::default();
    let driving = cluster.drive(accepted, control.clone());
    let cancelling = async {
        wait_until_async("the report", async || {
            let records = format!("{:?}", cluster.store.read(&id, 0).await.ok()?);
            records.contains("the wait goes on without them").then_some(())
        })
        .await;
        control.cancel("me");
    };
    let (ended, ()) = tokio::join!(driving, cancelling);
    ended.expect_state(RunState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_init_container_is_named_as_one() {
    let cluster = cluster_with_stuck_pod().await;
    let pods: Api<Pod> = Api::namespaced(client(&cluster), NAMESPACE);
    // The kubelet writes a status once, when it begins with the pod.
    wait_until_async("the pod on its node", async || {
        let pod = pods.get("sick").await.unwrap();
        pod.status?.container_statuses.filter(|statuses| !statuses.is_empty()).map(drop)
    })
    .await;
    let waiting: Value = json!({"reason": "ImagePullBackOff", "message": "Back-off pulling image"});
    let status = json!({
        "name": "migrate", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": waiting},
    });
    let patch = Patch::Merge(json!({"status": {"initContainerStatuses": [status]}}));
    pods.patch_status("sick", &PatchParams::default(), &patch).await.unwrap();
    let ended = cluster.run(&runbook_yaml(WAIT_FOR_SICK)).await.expect_state(RunState::Failed);
    let error = ended.error();
    let why =
        "pod sick: ImagePullBackOff in init container migrate: Back-off pulling image (for 1s)";
    assert!(error.ends_with(why), "{error}");
}
