//! The actions, each on a simulated cluster: what it does, what its undo puts back, what it does when somebody else was
//! at it meanwhile, and how it fails early.

mod annotate;
mod assert_and_sleep;
mod auto_scaling_group;
mod cluster_identity;
mod cordon;
mod delete_pods;
mod differences;
mod drain;
mod get_object;
mod http_probe;
mod label_nodes;
mod list_nodes;
mod list_pods;
mod nodegroups;
mod patch_object;
mod pod_causes;
mod protection;
mod relay_procedure;
mod rollout_restart;
mod rollout_undo;
mod run_job;
mod scale_deployment;
mod scale_nodegroup_drain;
mod scale_nodegroup_undo;
mod scale_stateful_set;
mod set_image;
mod set_nodegroup;
mod suspend_processes;
mod terminate_instances;
mod update_nodegroup_version;
mod wait_nodes;
mod wait_object;
mod wait_pods;
mod wait_rollout;

use std::collections::BTreeSet;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{Node, Pod},
    },
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use rafay_relay_sop::{
    engine::StartError,
    journal::{ResumeMode, RunState},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use simulator::{ContainerFailure, Effect, FailingImage, Fault, PlainGroup, PodFacts, Scenario};

use test_support::{FinishedRun, TestCluster, wait_until_async};

/// The namespace of the default world's workloads.
const NAMESPACE: &str = "rafay-core";
/// The nodegroup that relay-scale is about.
const RELAY: &str = "relay-services-1a2b3c";
/// The nodegroup, as a parameter.
const GROUP: &str = "{region: us-west-2, cluster: rafay-cluster, name: relay-services-1a2b3c}";

/// A group that belongs to no nodegroup.
const PLAIN: &str = "workers";

/// The default world with such a group.
fn scenario_with_plain_group() -> Scenario {
    let group = PlainGroup {
        name: PLAIN.into(),
        tags: [("team".to_owned(), "batch".to_owned())].into(),
        min: 1,
        max: 4,
        desired: 2,
        instance_type: "m5.large".into(),
        ..PlainGroup::default()
    };
    Scenario { auto_scaling_groups: vec![group], ..Scenario::default() }
}

/// A runbook of these steps that stops where it fails and tries nothing twice.
fn runbook_yaml(steps: &str) -> String {
    format!(
        "name: test\ndescription: A test\n\
         defaults: {{timeout: 5m, retry: {{attempts: 1}}, on_failure: stop}}\nsteps:\n{steps}"
    )
}

/// The same, with a last step that fails, so that there is something to roll back.
fn failing_runbook_yaml(steps: &str) -> String {
    runbook_yaml(&format!(
        "{steps}\n  - id: last\n    action: assert\n    with: {{that: false, message: on purpose}}\n"
    ))
}

/// Runs the steps, fails, and lets somebody else act before it is rolled back.
async fn fail_and_roll_back(
    cluster: &TestCluster,
    steps: &str,
    meanwhile: impl AsyncFnOnce(),
) -> FinishedRun {
    let ended = cluster.run(&failing_runbook_yaml(steps)).await.expect_state(RunState::Failed);
    assert!(ended.error().ends_with("on purpose"), "{}", ended.error());
    meanwhile().await;
    cluster.resume(ended.run.id(), ResumeMode::Rollback).await
}

/// Runs the steps up to the `nth` call of that operation, which is not allowed, and lets somebody else act before the run
/// is resumed.
async fn fail_nth_and_resume(
    cluster: &TestCluster,
    steps: &str,
    (operation, nth): (&str, u32),
    meanwhile: impl AsyncFnOnce(),
) -> FinishedRun {
    let effect = Effect::Fail { status: 403, code: "Forbidden".into(), message: "no".into() };
    cluster.simulator.inject(Fault { matching: operation.into(), nth, times: 1, effect });
    let ended = cluster.run(&runbook_yaml(steps)).await.expect_state(RunState::Failed);
    meanwhile().await;
    cluster.resume(ended.run.id(), ResumeMode::Continue).await
}

/// Runs the steps up to the first call of that operation, which is not allowed, and lets somebody else act before the
/// run is resumed.
async fn fail_and_resume(
    cluster: &TestCluster,
    steps: &str,
    operation: &str,
    meanwhile: impl AsyncFnOnce(),
) -> FinishedRun {
    fail_nth_and_resume(cluster, steps, (operation, 1), meanwhile).await
}

/// Ends the instance of a node without any client of the run knowing, and waits until the node is gone.
async fn end_node(cluster: &TestCluster, name: &str) {
    let state = cluster.simulator.state().await.unwrap();
    let facts = &state.nodes[name];
    let is_here = |pod: &&PodFacts| pod.node.as_deref() == Some(name);
    let pods: BTreeSet<&str> =
        state.pods.values().filter(is_here).map(|pod| pod.uid.as_str()).collect();
    terminate_instance(cluster, facts.instance.as_deref().unwrap()).await;
    // Its pods are removed after the node.
    wait_until_async("the end of the node and its pods", async || {
        let state = cluster.simulator.state().await.unwrap();
        let is_left = state.nodes.get(name).is_some_and(|node| node.uid == facts.uid);
        let has_pods = state.pods.values().any(|pod| pods.contains(pod.uid.as_str()));
        (!is_left && !has_pods).then_some(())
    })
    .await;
}

async fn terminate_instance(cluster: &TestCluster, id: &str) {
    autoscaling(cluster)
        .terminate_instance_in_auto_scaling_group()
        .instance_id(id)
        .should_decrement_desired_capacity(false)
        .send()
        .await
        .unwrap();
}

/// Another client of the account.
fn autoscaling(cluster: &TestCluster) -> aws_sdk_autoscaling::Client {
    let config = aws_sdk_autoscaling::Config::builder()
        .behavior_version(aws_sdk_autoscaling::config::BehaviorVersion::latest())
        .region(aws_sdk_autoscaling::config::Region::new("us-west-2"))
        .endpoint_url(cluster.simulator.aws_url().as_str())
        .credentials_provider(aws_sdk_autoscaling::config::Credentials::new(
            "a", "b", None, None, "test",
        ))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_autoscaling::Client::from_conf(config)
}

fn eks(cluster: &TestCluster) -> aws_sdk_eks::Client {
    let config = aws_sdk_eks::Config::builder()
        .behavior_version(aws_sdk_eks::config::BehaviorVersion::latest())
        .region(aws_sdk_eks::config::Region::new("us-west-2"))
        .endpoint_url(cluster.simulator.aws_url().as_str())
        .credentials_provider(aws_sdk_eks::config::Credentials::new("a", "b", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_eks::Client::from_conf(config)
}

/// The codes of the diagnostics of a runbook that is refused before a run.
#[track_caller]
fn codes(text: &str) -> Vec<&'static str> {
    match test_support::checked(text) {
        Err(StartError::InvalidRunbook { diagnostics, .. }) => {
            diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
        }
        Err(other) => panic!("{other}"),
        Ok(_) => Vec::new(),
    }
}

#[track_caller]
fn assert_line(ended: &FinishedRun, what: &str) {
    let lines = ended.lines();
    let found = lines.iter().any(|line| line.contains(what));
    assert!(found, "no line says {what:?}:\n{}", lines.join("\n"));
}

#[track_caller]
fn assert_left_alone(ended: &FinishedRun, what: &str) {
    let lines = ended.lines();
    let found = lines.iter().any(|line| line.starts_with("Not restored: ") && line.contains(what));
    assert!(found, "no target that was not restored says {what:?}:\n{}", lines.join("\n"));
}

fn client(cluster: &TestCluster) -> Client {
    let uri = cluster.simulator.kubernetes_url().as_str().parse().unwrap();
    Client::try_from(kube::Config::new(uri)).unwrap()
}

async fn patch_node(cluster: &TestCluster, name: &str, patch: Value) {
    let nodes: Api<Node> = Api::all(client(cluster));
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn patch_deployment(cluster: &TestCluster, name: &str, patch: Value) {
    let deployments: Api<Deployment> = Api::namespaced(client(cluster), NAMESPACE);
    deployments.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn create<K>(cluster: &TestCluster, object: Value)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let objects: Api<K> = Api::namespaced(client(cluster), NAMESPACE);
    let object: K = serde_json::from_value(object).unwrap();
    objects.create(&PostParams::default(), &object).await.unwrap();
}

async fn delete_pod(cluster: &TestCluster, name: &str) {
    let pods: Api<Pod> = Api::namespaced(client(cluster), NAMESPACE);
    let now = kube::api::DeleteParams::default().grace_period(0);
    pods.delete(name, &now).await.unwrap();
}

/// The standing pods of an app with their names.
async fn pods_of(cluster: &TestCluster, app: &str) -> Vec<(String, PodFacts)> {
    let state = cluster.simulator.state().await.unwrap();
    let name = |path: &str| path.split_once('/').unwrap().1.to_owned();
    state
        .pods
        .into_iter()
        .filter(|(_, pod)| pod.app.as_deref() == Some(app) && !pod.terminating)
        .map(|(path, pod)| (name(&path), pod))
        .collect()
}

async fn uids_of(cluster: &TestCluster, app: &str) -> BTreeSet<String> {
    pods_of(cluster, app).await.into_iter().map(|(_, pod)| pod.uid).collect()
}

async fn nodes_of(cluster: &TestCluster, app: &str) -> BTreeSet<String> {
    pods_of(cluster, app).await.into_iter().filter_map(|(_, pod)| pod.node).collect()
}

async fn cordoned(cluster: &TestCluster) -> BTreeSet<String> {
    let state = cluster.simulator.state().await.unwrap();
    state.nodes.into_iter().filter(|(_, node)| node.unschedulable).map(|(name, _)| name).collect()
}

async fn protected(cluster: &TestCluster) -> BTreeSet<String> {
    let state = cluster.simulator.state().await.unwrap();
    let instances = state.nodegroups[RELAY].instances.clone().into_iter();
    instances.filter(|(_, instance)| instance.protected).map(|(id, _)| id).collect()
}

async fn replicas(cluster: &TestCluster, name: &str) -> i32 {
    let state = cluster.simulator.state().await.unwrap();
    state.deployments[&format!("{NAMESPACE}/{name}")].replicas
}

/// A patch that gives a deployment another image, which starts a rollout.
fn image_patch(container: &str, image: &str) -> Value {
    let container =
        json!({"name": container, "image": format!("registry.example.com/{image}:2.0")});
    json!({"spec": {"template": {"spec": {"containers": [container]}}}})
}

/// The default world with images that hold this text failing.
fn scenario_with_failing_image(image: &str, failure: ContainerFailure) -> Scenario {
    let failing_images = vec![FailingImage { image: image.into(), failure, times: None }];
    Scenario { failing_images, ..Scenario::default() }
}

/// The uids in a list of pod records.
fn uids(pods: &Value) -> BTreeSet<String> {
    let uid = |pod: &Value| pod["uid"].as_str().unwrap().to_owned();
    pods.as_array().unwrap().iter().map(uid).collect()
}

/// The texts in a list.
fn texts(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// A disruption budget over an app.
fn budget(app: &str, min_available: u32) -> Value {
    json!({
        "metadata": {"name": format!("{app}-budget"), "namespace": NAMESPACE},
        "spec": {"minAvailable": min_available, "selector": {"matchLabels": {"app": app}}},
    })
}
