//! How the work of the simulated controllers grows with the cluster. Objects that controllers look at are counted; no
//! time is measured.

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use simulator::{ControllerWork, Deployment, Nodegroup, Scenario, Simulator, Spread};

use super::{NAMESPACE, RELAY, client, start, wait_until};

/// A world four times as large may have this many times as many changes. Controllers see the changes that came while they
/// were at work as one, so that a pod takes two changes in one run and three in another.
const MAX_MORE_CHANGES: u64 = 8;

/// In a world four times as large, a change may cost this many times as much work. It would be four times where a
/// controller looks at everything after each change.
const MAX_COSTLIER_CHANGE: u64 = 2;

/// Returns a world with a nodegroup of this many nodes and no workloads.
fn nodes(count: u32) -> Scenario {
    let mut scenario = Scenario::default();
    scenario.deployments.clear();
    let group = group_of(&mut scenario);
    (group.min, group.desired, group.max) = (count, count, count);
    group.protected.clear();
    scenario
}

fn group_of(scenario: &mut Scenario) -> &mut Nodegroup {
    scenario.nodegroups.iter_mut().find(|group| group.name == RELAY).unwrap()
}

fn deployment(name: &str, replicas: u32, spread: Spread) -> Deployment {
    let relay = Scenario::default().deployments.remove(0);
    let (name, cpu) = (name.to_owned(), "10m".to_owned());
    Deployment { name, replicas, spread, cpu, ..relay }
}

/// Asserts that the work grows in proportion to the size.
async fn assert_grows_in_proportion(work_of: impl AsyncFn(u32) -> ControllerWork) {
    let (small, large) = (work_of(50).await, work_of(200).await);
    assert!(large.changes > 2 * small.changes, "{small:?} {large:?}");
    assert!(large.changes < MAX_MORE_CHANGES * small.changes, "{small:?} {large:?}");
    let (large_cost, small_cost) = (large.examined * small.changes, small.examined * large.changes);
    assert!(large_cost < MAX_COSTLIER_CHANGE * small_cost, "{small:?} {large:?}");
    assert!(large.examined < 50 * large.changes, "{large:?}");
}

/// Asserts that the work until a world has started grows in proportion to its size.
async fn assert_start_grows_in_proportion(world: impl Fn(u32) -> Scenario) {
    assert_grows_in_proportion(async |size| start(world(size)).await.controller_work()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_ten_pods_each() {
    assert_start_grows_in_proportion(|size| {
        let mut world = nodes(size);
        world.deployments.push(deployment("web", size * 10, Spread::Preferred));
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pod_on_each_node() {
    assert_start_grows_in_proportion(|size| {
        let mut world = nodes(size);
        world.deployments.push(deployment("web", size, Spread::Required));
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_with_many_pods() {
    assert_start_grows_in_proportion(|size| {
        let mut world = nodes(1);
        group_of(&mut world).instance_type = "m5.4xlarge".to_owned();
        world.deployments.push(deployment("web", size, Spread::None));
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deployments_each_with_a_budget() {
    assert_start_grows_in_proportion(|size| {
        let mut world = nodes(10);
        for number in 0..size {
            let name = format!("web-{number}");
            world.deployments.push(deployment(&name, 2, Spread::None));
            world.objects.push(json!({
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"namespace": NAMESPACE, "name": name},
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}},
            }));
        }
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_in_a_namespace_with_a_quota_and_a_budget() {
    assert_start_grows_in_proportion(|size| {
        let mut world = nodes(10);
        world.deployments.push(deployment("web", size, Spread::None));
        world.objects.push(json!({
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"namespace": NAMESPACE, "name": "team"},
            "spec": {"hard": {"pods": "1000", "requests.cpu": "100"}},
        }));
        world.objects.push(json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"namespace": NAMESPACE, "name": "web"},
            "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "web"}}},
        }));
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_no_node_suits() {
    assert_start_grows_in_proportion(|size| {
        let mut world = nodes(size);
        let mut pending = deployment("web", size, Spread::Required);
        pending.node_selector = [("no".to_owned(), "node".to_owned())].into();
        world.deployments.push(pending);
        world
    })
    .await;
}

/// Returns the work of the controllers from now until the namespace has no pods.
async fn work_until_gone(
    simulator: &Simulator,
    delete: impl AsyncFnOnce(&kube::Client),
) -> ControllerWork {
    let client = client(simulator);
    let before = simulator.controller_work();
    delete(&client).await;
    let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
    wait_until("the pods are gone", || async {
        pods.list(&ListParams::default()).await.unwrap().items.is_empty().then_some(())
    })
    .await;
    let after = simulator.controller_work();
    ControllerWork {
        changes: after.changes - before.changes,
        examined: after.examined - before.examined,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deletion_of_a_deployment_in_the_foreground() {
    assert_grows_in_proportion(async |size| {
        let mut world = nodes(10);
        world.deployments.push(deployment("web", size, Spread::None));
        let simulator = start(world).await;
        work_until_gone(&simulator, async |client| {
            let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
                Api::namespaced(client.clone(), NAMESPACE);
            deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deletion_of_a_namespace() {
    assert_grows_in_proportion(async |size| {
        let mut world = nodes(10);
        world.deployments.push(deployment("web", size, Spread::None));
        let simulator = start(world).await;
        work_until_gone(&simulator, async |client| {
            let namespaces: Api<Namespace> = Api::all(client.clone());
            namespaces.delete(NAMESPACE, &DeleteParams::default()).await.unwrap();
        })
        .await
    })
    .await;
}
