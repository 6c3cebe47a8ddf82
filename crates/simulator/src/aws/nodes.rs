//! The simulated instances' and the cloud controllers' effect on Nodes: a kubelet registers,
//! becomes ready, and its Node is removed when the instance is gone. All of this goes through the
//! Kubernetes API, so that any API server can be used.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::scenario::{Taint, git_version};

use super::Cloud;
use super::fleet::{Fleet, NodeAction, SimulatedInstance};

/// The time before a call is repeated to an API server that did not answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Advances the account and its Nodes until `stop`.
pub(crate) async fn run(cloud: Arc<Cloud>, client: Client, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let next = advance(&cloud, &client, &stop).await;
        let wait = next.map_or(Duration::from_hours(1), |moment| {
            Duration::try_from(moment.duration_since(cloud.clock.now())).unwrap_or_default()
        });
        tokio::select! {
            () = cloud.changed.notified() => {}
            // One millisecond more, so that the moment has certainly passed.
            () = tokio::time::sleep(wait + Duration::from_millis(1)) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Does what is due now and returns when there will be more to do.
pub(crate) async fn advance(
    cloud: &Cloud,
    client: &Client,
    stop: &CancellationToken,
) -> Option<Timestamp> {
    let (actions, next) = cloud.fleet().advance(cloud.clock.now());
    for action in actions {
        while let Err(error) = execute(cloud, client, &action).await {
            tracing::warn!(%error, "could not reach the Kubernetes API from the simulated cloud");
            tokio::select! {
                () = tokio::time::sleep(RETRY_INTERVAL) => {}
                () = stop.cancelled() => return None,
            }
        }
    }
    next
}

async fn execute(cloud: &Cloud, client: &Client, action: &NodeAction) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    match action {
        NodeAction::Register { instance, ready } => {
            let node = node_object(&cloud.fleet(), instance, *ready, cloud.clock.now());
            let node: Node = serde_json::from_value(node).map_err(kube::Error::SerdeError)?;
            ignore_status(nodes.create(&PostParams::default(), &node).await.map(drop), 409)
        }
        NodeAction::MakeReady { instance } => {
            let patch = json!({"status": {"conditions": node_conditions(true, cloud.clock.now())}});
            let parameters = PatchParams::default();
            let patched = nodes
                .patch_status(&instance.node_name(), &parameters, &Patch::Strategic(patch))
                .await;
            ignore_status(patched.map(drop), 404)
        }
        NodeAction::Remove { instance } => {
            let parameters = DeleteParams::default();
            let deleted = nodes.delete(&instance.node_name(), &parameters).await;
            ignore_status(deleted.map(drop), 404)
        }
        NodeAction::Drain { instance } => {
            if drain(client, &instance.node_name()).await? {
                cloud.fleet().mark_drained(&instance.id);
            }
            Ok(())
        }
    }
}

/// Cordons a node, and asks for the eviction of its pods. Returns whether none is left.
async fn drain(client: &Client, node: &str) -> Result<bool, kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = json!({"spec": {"unschedulable": true}});
    let cordoned = nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await;
    ignore_status(cordoned.map(drop), 404)?;
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let mut pods = Api::<Pod>::all(client.clone()).list(&on_node).await?.items;
    pods.retain(is_evicted_by_a_drain);
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let evicted = api.evict(name, &EvictParams::default()).await.map(drop);
        // Not found: it has ended. Too many requests: a budget does not allow it now.
        ignore_status(ignore_status(evicted, 404), 429)?;
    }
    Ok(pods.is_empty())
}

/// Returns whether a drain evicts a pod: it runs, and is not bound to its node.
fn is_evicted_by_a_drain(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let is_finished = matches!(phase, Some("Succeeded" | "Failed"));
    let owners = pod.metadata.owner_references.iter().flatten();
    let is_bound = owners.clone().any(|owner| matches!(&*owner.kind, "DaemonSet" | "Node"));
    !is_finished && !is_bound
}

/// Ignores an API error with this code. The error means that the Node is already in the wanted
/// state, or that another client has changed it.
fn ignore_status(result: Result<(), kube::Error>, code: u16) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == code => Ok(()),
        other => other,
    }
}

fn node_object(fleet: &Fleet, instance: &SimulatedInstance, ready: bool, now: Timestamp) -> Value {
    let group = fleet.groups.get(&instance.group);
    let nodegroup = group.and_then(|group| fleet.nodegroups.get(&group.nodegroup));
    let name = instance.node_name();
    let capacity_type = nodegroup.map(|nodegroup| nodegroup.capacity_type).unwrap_or_default();
    let template = group.map(|group| &group.node);
    let mut labels = json!({
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/instance-type": instance.instance_type,
        "beta.kubernetes.io/os": "linux",
        "eks.amazonaws.com/capacityType": capacity_type.as_str(),
        "eks.amazonaws.com/nodegroup-image": "ami-0simulated",
        "failure-domain.beta.kubernetes.io/region": fleet.region,
        "failure-domain.beta.kubernetes.io/zone": instance.zone,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": instance.instance_type,
        "topology.kubernetes.io/region": fleet.region,
        "topology.kubernetes.io/zone": instance.zone,
    });
    if let Some(nodegroup) = nodegroup {
        labels["eks.amazonaws.com/nodegroup"] = nodegroup.name.as_str().into();
        for (key, value) in &nodegroup.labels {
            labels[key] = value.as_str().into();
        }
    }
    for (key, value) in template.iter().flat_map(|template| &template.labels) {
        labels[key] = value.as_str().into();
    }
    let taints: Vec<Value> = nodegroup
        .iter()
        .flat_map(|nodegroup| {
            let startup = nodegroup.startup_taints.iter().filter(|_| !ready);
            nodegroup.taints.iter().chain(startup)
        })
        .chain(template.iter().flat_map(|template| &template.taints))
        .map(node_taint)
        .collect();
    let mut spec = json!({"providerID": format!("aws:///{}/{}", instance.zone, instance.id)});
    if !taints.is_empty() {
        spec["taints"] = taints.into();
    }
    let (mut capacity, mut allocatable) = node_resources(&instance.instance_type);
    if let Some(given) = template.and_then(|template| template.capacity.as_ref()) {
        capacity = json!(given);
    }
    if let Some(given) = template.and_then(|template| template.allocatable.as_ref()) {
        allocatable = json!(given);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels,
            // On a real control plane, kwok plays the kubelet of a node with this annotation.
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": spec,
        "status": {
            "capacity": capacity,
            "allocatable": allocatable,
            "addresses": [
                {"type": "InternalIP", "address": instance.address},
                {"type": "InternalDNS", "address": name},
                {"type": "Hostname", "address": name},
            ],
            "conditions": node_conditions(ready, now),
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "containerd://2.1.4",
                "kernelVersion": "6.12.0",
                "kubeProxyVersion": "",
                "kubeletVersion": git_version(&instance.release.version),
                "machineID": instance.id,
                "operatingSystem": "linux",
                "osImage": "Amazon Linux 2023",
                "systemUUID": instance.id,
            },
        },
    })
}

fn node_taint(taint: &Taint) -> Value {
    let mut node_taint = json!({"key": taint.key, "effect": taint.effect});
    if !taint.value.is_empty() {
        node_taint["value"] = taint.value.as_str().into();
    }
    node_taint
}

fn node_conditions(ready: bool, now: Timestamp) -> Value {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    };
    let ready = if ready {
        let message = "kubelet is posting ready status";
        condition("Ready", "True", "KubeletReady", message)
    } else {
        let message = "container runtime network not ready: NetworkReady=false \
                       reason:NetworkPluginNotReady message:Network plugin returns error: cni \
                       plugin not initialized";
        condition("Ready", "False", "KubeletNotReady", message)
    };
    json!([
        condition(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available"
        ),
        condition(
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure"
        ),
        condition(
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available"
        ),
        ready,
    ])
}

/// Returns an instance type's capacity and the part of it that pods may use.
fn node_resources(instance_type: &str) -> (Value, Value) {
    let size = instance_type.rsplit('.').next().unwrap_or_default();
    let (cores, gibibytes, pods) = match size {
        "medium" => (2, 4, 17),
        "large" => (2, 8, 29),
        "2xlarge" => (8, 32, 58),
        "4xlarge" => (16, 64, 234),
        _ => (4, 16, 58),
    };
    let capacity = json!({
        "cpu": cores.to_string(),
        "memory": format!("{gibibytes}Gi"),
        "pods": pods.to_string(),
        "ephemeral-storage": "20Gi",
    });
    let allocatable = json!({
        "cpu": format!("{}m", cores * 1000 - 80),
        "memory": format!("{}Mi", gibibytes * 1024 - 1000),
        "pods": pods.to_string(),
        "ephemeral-storage": "18Gi",
    });
    (capacity, allocatable)
}
