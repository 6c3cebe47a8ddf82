//! The facts of the world in a form that tests compare: sizes, instances, nodes, replicas, pods.
//! What is read of Kubernetes is read through its API, so that it is the same over a real API
//! server.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};

use super::aws::Cloud;
use super::aws::fleet::Lifecycle;

/// The facts of the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterState {
    /// Nodegroups by name.
    pub nodegroups: BTreeMap<String, NodegroupFacts>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// Deployments by `namespace/name`.
    pub deployments: BTreeMap<String, DeploymentFacts>,
    /// Pods by `namespace/name`.
    pub pods: BTreeMap<String, PodFacts>,
}

/// A nodegroup and its Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodegroupFacts {
    /// Its status.
    pub status: String,
    /// Its own sizes.
    pub min: u32,
    /// Its own largest size.
    pub max: u32,
    /// Its own desired size.
    pub desired: u32,
    /// The name of its Auto Scaling group.
    pub group: String,
    /// The group's smallest size.
    pub group_min: u32,
    /// The group's largest size.
    pub group_max: u32,
    /// The group's desired capacity.
    pub group_desired: u32,
    /// The group's members by id.
    pub instances: BTreeMap<String, InstanceFacts>,
    /// How many EKS updates were accepted.
    pub updates: u32,
}

/// A member of an Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceFacts {
    /// Its lifecycle state.
    pub lifecycle: String,
    /// Whether it is protected from scale-in.
    pub protected: bool,
    /// The name of its Node.
    pub node: String,
}

/// A Node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its UID.
    pub uid: String,
    /// Its nodegroup.
    pub nodegroup: Option<String>,
    /// Its instance.
    pub instance: Option<String>,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A Deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentFacts {
    /// Its UID.
    pub uid: String,
    /// How many pods it wants.
    pub replicas: i32,
    /// How many are ready.
    pub ready: i32,
    /// How many are of the newest template.
    pub updated: i32,
    /// When it was last restarted.
    pub restarted_at: Option<String>,
}

/// A Pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodFacts {
    /// Its UID.
    pub uid: String,
    /// Its node.
    pub node: Option<String>,
    /// Its phase.
    pub phase: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Its label `app`.
    pub app: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Reads the facts.
pub(crate) async fn read(cloud: &Cloud, client: &Client) -> Result<ClusterState, kube::Error> {
    let all = ListParams::default();
    let nodes = Api::<Node>::all(client.clone()).list(&all).await?;
    let deployments = Api::<Deployment>::all(client.clone()).list(&all).await?;
    let pods = Api::<Pod>::all(client.clone()).list(&all).await?;
    Ok(ClusterState {
        nodegroups: nodegroups(cloud),
        nodes: nodes.iter().map(|node| (node.name_any(), node_facts(node))).collect(),
        deployments: deployments
            .iter()
            .map(|deployment| (path(deployment), deployment_facts(deployment)))
            .collect(),
        pods: pods.iter().map(|pod| (path(pod), pod_facts(pod))).collect(),
    })
}

fn path(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

fn nodegroups(cloud: &Cloud) -> BTreeMap<String, NodegroupFacts> {
    let fleet = cloud.fleet();
    let mut facts = BTreeMap::new();
    for nodegroup in fleet.nodegroups.values() {
        let Some(group) = fleet.groups.get(&nodegroup.group) else {
            continue;
        };
        let instances = fleet
            .members(&group.name)
            .filter(|instance| instance.lifecycle != Lifecycle::Terminated)
            .map(|instance| {
                let facts = InstanceFacts {
                    lifecycle: instance.lifecycle.as_str().to_owned(),
                    protected: instance.protected,
                    node: instance.node_name(),
                };
                (instance.id.clone(), facts)
            });
        facts.insert(
            nodegroup.name.clone(),
            NodegroupFacts {
                status: nodegroup.status.clone(),
                min: nodegroup.sizes.min,
                max: nodegroup.sizes.max,
                desired: nodegroup.sizes.desired,
                group: group.name.clone(),
                group_min: group.min,
                group_max: group.max,
                group_desired: group.desired,
                instances: instances.collect(),
                updates: nodegroup.updates,
            },
        );
    }
    facts
}

fn node_facts(node: &Node) -> NodeFacts {
    let spec = node.spec.as_ref();
    let provider = spec.and_then(|spec| spec.provider_id.as_deref());
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    NodeFacts {
        uid: node.uid().unwrap_or_default(),
        nodegroup: node.labels().get("eks.amazonaws.com/nodegroup").cloned(),
        instance: provider.and_then(|id| id.rsplit('/').next()).map(str::to_owned),
        ready: conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
        annotations: node.annotations().clone(),
    }
}

fn deployment_facts(deployment: &Deployment) -> DeploymentFacts {
    let status = deployment.status.clone().unwrap_or_default();
    let template = deployment.spec.template.metadata.as_ref();
    let annotations = template.and_then(|metadata| metadata.annotations.as_ref());
    DeploymentFacts {
        uid: deployment.uid().unwrap_or_default(),
        replicas: deployment.spec.replicas.unwrap_or(1),
        ready: status.ready_replicas.unwrap_or(0),
        updated: status.updated_replicas.unwrap_or(0),
        restarted_at: annotations
            .and_then(|all| all.get("kubectl.kubernetes.io/restartedAt"))
            .cloned(),
    }
}

fn pod_facts(pod: &Pod) -> PodFacts {
    let status = pod.status.clone().unwrap_or_default();
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    PodFacts {
        uid: pod.uid().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        phase: status.phase.unwrap_or_default(),
        ready,
        terminating: pod.metadata.deletion_timestamp.is_some(),
        app: pod.labels().get("app").cloned(),
        annotations: pod.annotations().clone(),
    }
}
