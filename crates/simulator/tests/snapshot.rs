//! Scenarios with the objects of a cluster as they were read from it: the simulated cluster goes on from there.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::{Client, Discovery, ResourceExt};
use serde_json::{Value, json};
use simulator::{
    ClusterObject, Instance, Nodegroup, Options, Scenario, Simulator, SimulatorError, WorkloadTimes,
};

use common::{start, wait_until};

const NAMESPACE: &str = "rafay-core";

/// Reads every object of the cluster except events, as `kubectl get -o json` does.
async fn read_objects(client: &Client) -> Vec<Value> {
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    let mut objects = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if resource.kind == "Event" || !capabilities.supports_operation("list") {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            for object in api.list(&ListParams::default()).await.unwrap() {
                let mut object = serde_json::to_value(object).unwrap();
                object["apiVersion"] = resource.api_version.as_str().into();
                object["kind"] = resource.kind.as_str().into();
                objects.push(object);
            }
        }
    }
    objects
}

/// Reads the world of a simulator whose cluster is that of `scenario`, as a scenario.
async fn read_scenario(scenario: &Scenario, simulator: &Simulator, client: &Client) -> Scenario {
    let state = simulator.state().await.unwrap();
    let nodes: Api<Node> = Api::all(client.clone());
    let mut nodegroups = Vec::new();
    for authored in &scenario.nodegroups {
        let facts = &state.nodegroups[&authored.name];
        let mut instances = Vec::new();
        for (id, instance) in &facts.instances {
            let node = nodes.get(&instance.node).await.unwrap();
            instances.push(Instance {
                id: id.clone(),
                node: Some(instance.node.clone()),
                zone: node.labels()["topology.kubernetes.io/zone"].clone(),
                address: String::new(),
                lifecycle: Default::default(),
                protected: instance.protected,
                launched: None,
                instance_type: None,
                version: None,
            });
        }
        let auto_scaling_group = Some(facts.group.clone());
        let protected = Vec::new();
        let authored = authored.clone();
        nodegroups.push(Nodegroup { auto_scaling_group, instances, protected, ..authored });
    }
    Scenario {
        nodegroups,
        cluster_objects: cluster_objects(read_objects(client).await),
        ..Scenario::empty()
    }
}

fn cluster_objects(objects: Vec<Value>) -> Vec<ClusterObject> {
    objects.into_iter().map(ClusterObject::from).collect()
}

/// Returns the objects by kind and path, each with what a change of any part of it would alter.
fn versions(objects: &[Value]) -> BTreeMap<String, Value> {
    let key = |object: &Value| {
        let metadata = &object["metadata"];
        format!("{} {}/{}", object["kind"], metadata["namespace"], metadata["name"])
    };
    objects.iter().map(|object| (key(object), object.clone())).collect()
}

/// Lets two minutes pass: a new deployment's pod becomes available when it has been Ready for them.
async fn let_time_pass(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"metadata": {"name": "sentinel"}});
    let namespace = serde_json::from_value(namespace).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let deployment = json!({
        "metadata": {"name": "sentinel"},
        "spec": {
            "minReadySeconds": 120,
            "selector": {"matchLabels": {"app": "sentinel"}},
            "template": {
                "metadata": {"labels": {"app": "sentinel"}},
                "spec": {"containers": [{"name": "c", "image": "registry.example.com/c:1"}]},
            },
        },
    });
    let api: Api<Deployment> = Api::namespaced(client.clone(), "sentinel");
    let deployment = serde_json::from_value(deployment).unwrap();
    api.create(&PostParams::default(), &deployment).await.unwrap();
    wait_until("two minutes", || async {
        let status = api.get("sentinel").await.unwrap().status?;
        (status.available_replicas == Some(1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_settled_cluster_stays_exactly_as_it_was_read() {
    let authored = Scenario::default();
    let (first, client) = start(authored.clone(), 600.0).await;
    let live = read_scenario(&authored, &first, &client).await;
    let before = first.state().await.unwrap();
    first.shutdown().await;

    let text = live.to_yaml().unwrap();
    let (second, client) = start(Scenario::from_yaml(&text).unwrap(), 600.0).await;
    let loaded = versions(&read_objects(&client).await);
    let_time_pass(&client).await;
    let mut later = versions(&read_objects(&client).await);
    later.retain(|key, _| !key.contains("sentinel"));
    assert_eq!(later, loaded);
    assert!(later.len() > 20, "{} objects", later.len());

    let after = second.state().await.unwrap();
    let own = |pods: &BTreeMap<String, _>| -> Vec<String> {
        pods.keys().filter(|path| path.starts_with(NAMESPACE)).cloned().collect()
    };
    assert_eq!(own(&after.pods), own(&before.pods));
    assert_eq!(after.nodes, before.nodes);
    for (name, group) in &before.nodegroups {
        assert_eq!(after.nodegroups[name].instances, group.instances);
        assert_eq!(after.nodegroups[name].group, group.group);
    }
    let events: Api<Event> = Api::namespaced(client, NAMESPACE);
    let events = events.list(&ListParams::default()).await.unwrap();
    assert_eq!(events.items, []);
}

/// A node, and pods of the replica set `relay-1` on it.
fn objects_of_a_cluster() -> Vec<Value> {
    let template = json!({
        "metadata": {"labels": {"app": "relay", "pod-template-hash": "1"}},
        "spec": {"containers": [{"name": "c", "image": "registry.example.com/c:1"}]},
    });
    let owner = |kind: &str, name: &str, uid: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let pod = |name: &str, status: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": name,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": "relay", "pod-template-hash": "1"},
                "ownerReferences": owner("ReplicaSet", "relay-1", "set"),
            },
            "spec": {
                "nodeName": "node-1",
                "containers": [{"name": "c", "image": "registry.example.com/c:1"}],
                "terminationGracePeriodSeconds": 900,
            },
            "status": status,
        })
    };
    let status = |ready: bool, state: Value| {
        let ready_status = if ready { "True" } else { "False" };
        json!({
            "phase": if state.get("running").is_some() { "Running" } else { "Pending" },
            "conditions": [{"type": "Ready", "status": ready_status}],
            "containerStatuses": [{"name": "c", "ready": ready, "restartCount": 7, "state": state}],
        })
    };
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let running = || json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    let mut terminating = pod("terminating", status(true, running()));
    terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z".into();
    terminating["metadata"]["deletionGracePeriodSeconds"] = 900.into();
    let mut rollout = pod("of-another-controller", status(true, running()));
    rollout["metadata"]["labels"] = json!({"app": "other"});
    rollout["metadata"]["ownerReferences"] = owner("Rollout", "other", "not-read");
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "node-1", "uid": "node-1", "labels": {"kubernetes.io/os": "linux"}},
            "spec": {},
            "status": {
                "allocatable": {"cpu": "4", "memory": "16Gi", "pods": "58"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "relay", "namespace": NAMESPACE, "uid": "deployment", "generation": 3},
            "spec": {
                "replicas": 4,
                "selector": {"matchLabels": {"app": "relay"}},
                "template": {
                    "metadata": {"labels": {"app": "relay"}},
                    // The replica set has the default and the deployment does not.
                    "spec": {"containers": template["spec"]["containers"], "restartPolicy": "Always"},
                },
            },
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": "relay-1",
                "namespace": NAMESPACE,
                "uid": "set",
                "ownerReferences": owner("Deployment", "relay", "deployment"),
            },
            "spec": {
                "replicas": 4,
                "selector": {"matchLabels": {"app": "relay", "pod-template-hash": "1"}},
                "template": template,
            },
        }),
        pod("ready", status(true, running())),
        pod("unready", status(false, running())),
        pod("starting", status(false, waiting("ContainerCreating"))),
        pod("broken", status(false, waiting("ImagePullBackOff"))),
        terminating,
        rollout,
    ]
}

#[tokio::test]
async fn pods_go_on_from_where_they_are_in_the_times_of_their_workload() {
    let times = |start, stop| WorkloadTimes {
        namespace: NAMESPACE.to_owned(),
        workload: "relay".to_owned(),
        start: Some(Duration::from_secs(start)),
        stop: Some(Duration::from_secs(stop)),
    };
    let mut scenario = Scenario {
        cluster_objects: cluster_objects(objects_of_a_cluster()),
        workload_times: vec![times(60, 600)],
        ..Scenario::empty()
    };
    // Within the two minutes the starting pod becomes Ready, and the terminating one does not end.
    let (simulator, client) = start(scenario.clone(), 600.0).await;
    let_time_pass(&client).await;
    let pods = simulator.state().await.unwrap().pods;
    let of = |name: &str| &pods[&format!("{NAMESPACE}/{name}")];
    let ready = |name: &str| of(name).ready;
    assert!(ready("ready") && ready("starting") && ready("of-another-controller"));
    assert!(!ready("unready") && !ready("broken"));
    assert!(of("terminating").terminating);
    assert_eq!(of("ready").uid, "ready");
    assert_eq!(pods.keys().filter(|path| path.starts_with(NAMESPACE)).count(), 6, "{pods:?}");
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let unready = api.get("unready").await.unwrap();
    assert_eq!(unready.status.unwrap().container_statuses.unwrap()[0].restart_count, 7);
    simulator.shutdown().await;

    // And the other way around.
    scenario.workload_times = vec![times(600, 60)];
    let (simulator, client) = start(scenario, 600.0).await;
    let_time_pass(&client).await;
    let pods = simulator.state().await.unwrap().pods;
    assert!(!pods[&format!("{NAMESPACE}/starting")].ready);
    assert!(!pods.contains_key(&format!("{NAMESPACE}/terminating")));
}

#[tokio::test]
async fn new_nodes_of_a_group_that_was_read_are_like_the_others() {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let instance = Instance {
        id: "i-0000000000000000a".to_owned(),
        node: Some("node-1".to_owned()),
        zone: "us-west-2c".to_owned(),
        address: "10.0.16.11".to_owned(),
        lifecycle: Default::default(),
        protected: false,
        launched: None,
        instance_type: None,
        version: None,
    };
    let relay = Nodegroup {
        name: "relay".to_owned(),
        labels: map(&[("Name", "relay")]),
        desired: 2,
        zones: vec!["us-west-2c".to_owned()],
        capacity_type: simulator::CapacityType::Spot,
        node_labels: map(&[("kubernetes.io/arch", "arm64")]),
        node_capacity: Some(map(&[("cpu", "2"), ("memory", "8Gi"), ("pods", "29")])),
        node_allocatable: Some(map(&[("cpu", "1930m"), ("memory", "7Gi"), ("pods", "29")])),
        instances: vec![instance],
        ..Nodegroup::default()
    };
    let scenario = Scenario {
        nodegroups: vec![relay],
        cluster_objects: cluster_objects(objects_of_a_cluster()),
        ..Scenario::empty()
    };
    let (_simulator, client) = start(scenario, 600.0).await;
    let nodes: Api<Node> = Api::all(client);
    let new = wait_until("a second node", || async {
        let all = nodes.list(&ListParams::default()).await.unwrap();
        all.into_iter().find(|node| node.name_any() != "node-1")
    })
    .await;
    assert_ne!(new.name_any(), "ip-10-0-16-11.us-west-2.compute.internal");
    let labels = new.labels();
    assert_eq!(labels["topology.kubernetes.io/zone"], "us-west-2c");
    assert_eq!(labels["eks.amazonaws.com/capacityType"], "SPOT");
    assert_eq!(labels["kubernetes.io/arch"], "arm64");
    assert_eq!(labels["Name"], "relay");
    let allocatable = new.status.unwrap().allocatable.unwrap();
    assert_eq!(allocatable["cpu"].0, "1930m");
    let old = nodes.get("node-1").await.unwrap();
    assert_eq!(old.uid().as_deref(), Some("node-1"), "its node was not registered again");
}

#[tokio::test]
async fn cluster_objects_are_refused_with_a_real_api_server() {
    let scenario =
        Scenario { cluster_objects: cluster_objects(objects_of_a_cluster()), ..Scenario::empty() };
    let server = kube::Config::new("http://127.0.0.1:1/".parse().unwrap());
    let options = Options { kubernetes: Some(server), ..Options::default() };
    let refused = Simulator::start(scenario, options).await.err().unwrap();
    assert!(matches!(refused, SimulatorError::ClusterObjects));
    let message = "the cluster objects of the scenario cannot be loaded into a real API server";
    assert_eq!(refused.to_string(), message);
}

#[tokio::test]
async fn the_namespace_kube_system_of_the_objects_identifies_the_cluster() {
    let namespace = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "uid": uid}});
    let scenario = Scenario {
        cluster_uid: Some("from-the-field".to_owned()),
        cluster_objects: vec![namespace("default", "d").into()],
        ..Scenario::empty()
    };
    let uid = |client: Client| async move {
        let namespaces: Api<Namespace> = Api::all(client);
        namespaces.get("kube-system").await.unwrap().uid()
    };
    let (_first, client) = start(scenario.clone(), 600.0).await;
    assert_eq!(uid(client).await.as_deref(), Some("from-the-field"));
    let cluster_objects = vec![namespace("kube-system", "from-the-object").into()];
    let (_second, client) = start(Scenario { cluster_objects, ..scenario }, 600.0).await;
    assert_eq!(uid(client).await.as_deref(), Some("from-the-object"));
}
