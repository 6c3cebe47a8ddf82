//! `wait_pods`.

use rafay_relay_sop::{journal::State, simulator::ContainerFailure};
use serde_json::json;

use super::{SPACE, book, broken, client, delete_pod, patch_deployment, pods_of, uids, uids_of};
use crate::support::{World, until};

fn step(with: &str) -> String {
    format!("  - {{id: it, action: wait_pods, with: {{namespace: rafay-core, {with}}}}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_deployment_are_as_many_as_it_is_to_have() {
    let world = World::new().await;
    patch_deployment(&world, "relay-cache", json!({"spec": {"replicas": 5}})).await;
    let ended = world.run(&book(&step("deployment: relay-cache"))).await.succeeded();
    assert_eq!(ended.output("it")["count"], json!(5));
    assert_eq!(uids(&ended.output("it")["pods"]), uids_of(&world, "relay-cache").await);
    let all_ready = |pod: &serde_json::Value| pod["ready"] == json!(true);
    assert!(ended.output("it")["pods"].as_array().unwrap().iter().all(all_ready));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_counts_whatever_matches() {
    let world = World::new().await;
    let ended = world.run(&book(&step("selector: 'app=rafay-relay', count: 2"))).await.succeeded();
    assert_eq!(ended.output("it")["count"], json!(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_pods_are_waited_for_until_they_are_gone() {
    let world = World::new().await;
    let list = "  - {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n";
    let steps = format!("{list}{}", step("pods: '{{ relay.pods }}', until: gone, count: 1"));
    let gone = pods_of(&world, "rafay-relay").await.remove(0);
    let deleting = async {
        until("the wait", || (world.count("watch pods") > 0).then_some(())).await;
        delete_pod(&world, &gone.0).await;
    };
    let text = book(&steps);
    let (ended, ()) = tokio::join!(world.run(&text), deleting);
    let ended = ended.succeeded();
    assert_eq!(uids(&ended.output("it")["pods"]), [gone.1.uid].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_pod_that_is_gone_can_never_be_ready() {
    let world = World::new().await;
    let lost = "pods: [{namespace: rafay-core, name: lost, uid: '1'}]";
    let ended = world.run(&book(&step(lost))).await.is(State::Failed);
    assert!(ended.error().contains("gone are lost"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_crashes_ends_the_wait_with_the_cause() {
    let world = World::of(broken("broken", ContainerFailure::CrashLoop)).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "sick", "namespace": SPACE, "labels": {"app": "sick"}},
        "spec": {"containers": [{"name": "c", "image": "registry.example.com/broken:1"}]},
    });
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(client(&world), SPACE);
    pods.create(&Default::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let ended =
        world.run(&book(&step("selector: 'app=sick', give_up_after: 1s"))).await.is(State::Failed);
    assert!(ended.error().contains("pod sick: CrashLoopBackOff"), "{}", ended.error());
    assert!(ended.error().contains("(for 1s)"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_goes_away_ends_the_wait() {
    let world = World::new().await;
    patch_deployment(&world, "relay-cache", json!({"spec": {"replicas": 500}})).await;
    let deleting = async {
        until("the wait", || (world.count("watch pods") > 0).then_some(())).await;
        let deployments: kube::Api<k8s_openapi::api::apps::v1::Deployment> =
            kube::Api::namespaced(client(&world), SPACE);
        deployments.delete("relay-cache", &Default::default()).await.unwrap();
    };
    let text = book(&step("deployment: relay-cache"));
    let (ended, ()) = tokio::join!(world.run(&text), deleting);
    let ended = ended.is(State::Failed);
    assert!(ended.error().contains("the deployment is not there any more"), "{}", ended.error());
}
