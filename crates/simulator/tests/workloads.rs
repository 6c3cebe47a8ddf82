//! Stateful sets, daemon sets, priorities and volumes, through the API.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use simulator::{ContainerFailure, FailingImage, Nodegroup, Scenario, Simulator};

use common::wait_until;

/// A cluster with `nodes` nodes of four cores.
fn scenario(nodes: u32) -> Scenario {
    let core = Nodegroup {
        name: "core".to_owned(),
        desired: nodes,
        max: nodes,
        min: 0,
        ..Nodegroup::default()
    };
    Scenario { nodegroups: vec![core], ..Scenario::empty() }
}

async fn start(scenario: Scenario) -> (Simulator, Client) {
    common::start(scenario, 300.0).await
}

fn typed<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

fn template(image: &str) -> Value {
    let container = json!({"name": "c", "image": format!("registry.example.com/{image}")});
    json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [container]}})
}

/// A workload whose pods have the label `app: db`.
fn workload(fields: &Value) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "db"}},
        "template": template("db:1"),
    });
    for (key, value) in fields.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": "db"}, "spec": spec})
}

async fn pods(client: &Client) -> BTreeMap<String, Pod> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let listed = api.list(&ListParams::default()).await.unwrap();
    listed.into_iter().map(|pod| (pod.name_any(), pod)).collect()
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn image(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().containers[0].image.as_deref().unwrap()
}

fn created(pod: &Pod) -> Option<String> {
    pod.metadata.uid.clone()
}

/// Waits until the set has this many ready pods, all of them of its newest revision.
async fn settled_set(api: &Api<StatefulSet>, replicas: i32) -> StatefulSet {
    wait_until("the stateful set", || async {
        let set = api.get("db").await.unwrap();
        let status = set.status.clone()?;
        let counts = [Some(status.replicas), status.ready_replicas, status.updated_replicas];
        let is_new = status.observed_generation == set.metadata.generation;
        (is_new && counts.iter().all(|count| count.unwrap_or(0) == replicas)).then_some(set)
    })
    .await
}

#[tokio::test]
async fn a_stateful_set_has_pods_with_fixed_names_that_are_replaced_from_the_last_one() {
    let (_simulator, client) = start(scenario(2)).await;
    let api: Api<StatefulSet> = Api::default_namespaced(client.clone());
    let claims = json!([{"metadata": {"name": "data"}, "spec": {}}]);
    let fields = json!({"replicas": 3, "serviceName": "db", "volumeClaimTemplates": claims});
    api.create(&PostParams::default(), &typed(workload(&fields))).await.unwrap();
    let set = settled_set(&api, 3).await;
    let status = set.status.unwrap();
    assert_eq!(status.current_revision, status.update_revision);
    assert_eq!((status.current_replicas, status.available_replicas), (Some(3), Some(3)));
    let before = pods(&client).await;
    let names: Vec<&str> = before.keys().map(String::as_str).collect();
    assert_eq!(names, ["db-0", "db-1", "db-2"]);
    let first = &before["db-1"];
    assert_eq!(first.labels()["statefulset.kubernetes.io/pod-name"], "db-1");
    assert_eq!(first.labels()["apps.kubernetes.io/pod-index"], "1");
    let spec = first.spec.as_ref().unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("db-1"));
    let claim = spec.volumes.as_ref().unwrap()[0].persistent_volume_claim.clone().unwrap();
    assert_eq!(claim.claim_name, "data-db-1");

    // A partition keeps the pods below it.
    let rolling = json!({"rollingUpdate": {"partition": 2}});
    let patch = json!({"spec": {"updateStrategy": rolling, "template": template("db:2")}});
    api.patch("db", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    wait_until("the update of the last pod", || async {
        let status = api.get("db").await.unwrap().status?;
        (status.updated_replicas == Some(1) && status.ready_replicas == Some(3)).then_some(())
    })
    .await;
    let partitioned = pods(&client).await;
    assert!(image(&partitioned["db-2"]).ends_with("db:2"));
    assert_eq!(created(&partitioned["db-0"]), created(&before["db-0"]));
    assert_eq!(created(&partitioned["db-1"]), created(&before["db-1"]));
    let params = DeleteParams::default();
    Api::<Pod>::default_namespaced(client.clone()).delete("db-0", &params).await.unwrap();
    let again = wait_until("the first pod again", || async {
        let found = pods(&client).await.remove("db-0")?;
        (created(&found) != created(&before["db-0"])).then_some(found)
    })
    .await;
    assert!(image(&again).ends_with("db:1"), "with the revision that it had");

    // Without it all are replaced, and what is too much is deleted from the end.
    let patch =
        json!({"spec": {"replicas": 1, "updateStrategy": {"rollingUpdate": {"partition": 0}}}});
    api.patch("db", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let set = settled_set(&api, 1).await;
    let left = pods(&client).await;
    assert_eq!(left.keys().collect::<Vec<_>>(), ["db-0"]);
    assert!(image(&left["db-0"]).ends_with("db:2"));
    let status = set.status.unwrap();
    assert_eq!(status.current_revision, status.update_revision);
}

#[tokio::test]
async fn an_ordered_set_waits_for_a_pod_that_is_not_ready_and_a_parallel_one_does_not() {
    for (policy, expected) in [("OrderedReady", 1), ("Parallel", 3)] {
        let broken = FailingImage {
            image: "broken".to_owned(),
            failure: ContainerFailure::NeverReady,
            times: None,
        };
        let (_simulator, client) =
            start(Scenario { failing_images: vec![broken], ..scenario(2) }).await;
        let api: Api<StatefulSet> = Api::default_namespaced(client.clone());
        let fields = json!({
            "replicas": 3, "podManagementPolicy": policy, "template": template("broken:1"),
        });
        api.create(&PostParams::default(), &typed(workload(&fields))).await.unwrap();
        wait_until("running pods", || async {
            let status = api.get("db").await.unwrap().status?;
            let pods = pods(&client).await;
            let is_running =
                |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
            let is_done = pods.len() == expected && pods.values().all(is_running);
            (is_done && status.replicas == i32::try_from(expected).unwrap()).then_some(())
        })
        .await;
        assert_eq!(api.get("db").await.unwrap().status.unwrap().ready_replicas, None);
    }
}

#[tokio::test]
async fn a_budget_counts_the_pods_that_a_stateful_set_wants() {
    let (_simulator, client) = start(scenario(2)).await;
    let api: Api<StatefulSet> = Api::default_namespaced(client.clone());
    api.create(&PostParams::default(), &typed(workload(&json!({"replicas": 3})))).await.unwrap();
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client.clone());
    let budget = json!({
        "metadata": {"name": "db"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "db"}}},
    });
    budgets.create(&PostParams::default(), &typed(budget)).await.unwrap();
    settled_set(&api, 3).await;
    wait_until("the budget", || async {
        let status = budgets.get("db").await.unwrap().status?;
        (status.expected_pods == Some(3) && status.disruptions_allowed == Some(1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_daemon_set_runs_on_every_node_that_it_fits_also_on_a_cordoned_one() {
    let (_simulator, client) = start(scenario(3)).await;
    let nodes: Api<Node> = Api::all(client.clone());
    let names: Vec<String> = nodes
        .list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    let cordon = json!({"spec": {"unschedulable": true}});
    nodes.patch(&names[0], &PatchParams::default(), &Patch::Merge(cordon)).await.unwrap();
    let taint =
        json!({"spec": {"taints": [{"key": "team", "value": "x", "effect": "NoSchedule"}]}});
    nodes.patch(&names[1], &PatchParams::default(), &Patch::Merge(taint)).await.unwrap();
    let api: Api<DaemonSet> = Api::default_namespaced(client.clone());
    api.create(&PostParams::default(), &typed(workload(&json!({})))).await.unwrap();
    let ready = |count: i32| {
        let api = api.clone();
        async move {
            wait_until("the daemon set", || async {
                let set = api.get("db").await.unwrap();
                let status = set.status?;
                let is_new = status.observed_generation == set.metadata.generation;
                let all = [status.desired_number_scheduled, status.number_ready];
                let updated = status.updated_number_scheduled.unwrap_or(0) == count;
                (is_new && updated && all == [count, count]).then_some(())
            })
            .await;
        }
    };
    ready(2).await;
    let on = |pods: &BTreeMap<String, Pod>| -> BTreeSet<String> {
        pods.values().filter_map(|pod| node_of(pod).map(str::to_owned)).collect()
    };
    let first = pods(&client).await;
    assert_eq!(on(&first), [names[0].clone(), names[2].clone()].into());

    // It runs on a node that it fits later, and is replaced one at a time.
    let untaint = json!({"spec": {"taints": []}});
    nodes.patch(&names[1], &PatchParams::default(), &Patch::Merge(untaint)).await.unwrap();
    ready(3).await;
    let patch = json!({"spec": {"template": template("db:2")}});
    api.patch("db", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    ready(3).await;
    let second = pods(&client).await;
    assert_eq!(second.len(), 3);
    assert!(second.values().all(|pod| image(pod).ends_with("db:2")));

    // Its pods go with their node.
    nodes.delete(&names[0], &DeleteParams::default()).await.unwrap();
    ready(2).await;
    wait_until("the end of the pod", || async {
        (!on(&pods(&client).await).contains(&names[0])).then_some(())
    })
    .await;
}

/// A pod of three cores.
fn large_pod(name: &str, more: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{
            "name": "c",
            "image": "registry.example.com/c:1",
            "resources": {"requests": {"cpu": "3"}},
        }]},
    });
    for (key, value) in more.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

#[tokio::test]
async fn a_pod_preempts_the_least_important_ones_where_no_budget_protects_them() {
    let (_simulator, client) = start(scenario(3)).await;
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    for (name, priority) in [("protected", 1), ("low", 2), ("high", 50)] {
        let pod = large_pod(name, &json!({"priority": priority}));
        api.create(&PostParams::default(), &typed(pod)).await.unwrap();
    }
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client.clone());
    let budget = json!({
        "metadata": {"name": "protected"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "protected"}}},
    });
    budgets.create(&PostParams::default(), &typed(budget)).await.unwrap();
    wait_until("three running pods", || async {
        let healthy = budgets.get("protected").await.unwrap().status?.current_healthy;
        let found = pods(&client).await;
        (healthy == Some(1) && found.values().all(|pod| node_of(pod).is_some())).then_some(())
    })
    .await;
    let before = pods(&client).await;
    let never = json!({"priority": 5, "preemptionPolicy": "Never"});
    api.create(&PostParams::default(), &typed(large_pod("patient", &never))).await.unwrap();
    let other = json!({"priority": 200, "schedulerName": "another"});
    api.create(&PostParams::default(), &typed(large_pod("elsewhere", &other))).await.unwrap();
    let urgent = large_pod("urgent", &json!({"priority": 10}));
    api.create(&PostParams::default(), &typed(urgent)).await.unwrap();
    let after = wait_until("the urgent pod's node", || async {
        let found = pods(&client).await;
        node_of(&found["urgent"]).is_some().then_some(found)
    })
    .await;
    assert_eq!(node_of(&after["urgent"]), node_of(&before["low"]));
    let left: Vec<&str> = after.keys().map(String::as_str).collect();
    assert_eq!(left, ["elsewhere", "high", "patient", "protected", "urgent"]);
    assert_eq!(node_of(&after["patient"]).or(node_of(&after["elsewhere"])), None);
}

#[tokio::test]
async fn a_class_gives_a_pod_its_priority() {
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "important"},
        "value": 1000,
    });
    let (_simulator, client) = start(Scenario { objects: vec![class], ..scenario(1) }).await;
    let api: Api<Pod> = Api::default_namespaced(client);
    for (class, priority) in
        [("important", Some(1000)), ("system-node-critical", Some(2_000_001_000))]
    {
        let pod = large_pod(class, &json!({"priorityClassName": class}));
        let pod = api.create(&PostParams::default(), &typed(pod)).await.unwrap();
        assert_eq!(pod.spec.unwrap().priority, priority);
    }
}

#[tokio::test]
async fn a_pod_with_a_volume_runs_where_the_volume_is() {
    let zone = json!([{
        "matchExpressions":
            [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-west-2c"]}],
    }]);
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "pv-1"},
        "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": zone}}},
    });
    let claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"volumeName": "pv-1"},
    });
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    // The first two nodes are in the zones a and b, and the third one is in c.
    for (nodes, expected) in [(3, Some("us-west-2c")), (2, None)] {
        let objects = vec![volume.clone(), claim.clone()];
        let (_simulator, client) = start(Scenario { objects, ..scenario(nodes) }).await;
        let api: Api<Pod> = Api::default_namespaced(client.clone());
        let pod = large_pod("db", &json!({"volumes": volumes}));
        api.create(&PostParams::default(), &typed(pod)).await.unwrap();
        let pod = wait_until("the scheduler", || async {
            let pod = api.get("db").await.unwrap();
            let conditions = pod.status.clone()?.conditions?;
            conditions.iter().any(|condition| condition.type_ == "PodScheduled").then_some(pod)
        })
        .await;
        let node = match node_of(&pod) {
            Some(node) => Some(Api::<Node>::all(client).get(node).await.unwrap()),
            None => None,
        };
        let zone = node.map(|node| node.labels()["topology.kubernetes.io/zone"].clone());
        assert_eq!(zone.as_deref(), expected);
        if expected.is_none() {
            let conditions = pod.status.unwrap().conditions.unwrap();
            let message = conditions[0].message.clone().unwrap();
            let why =
                "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity.";
            assert!(message.starts_with(why), "{message}");
        }
    }
}
