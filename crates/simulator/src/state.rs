//! The facts of the cluster and the account in a form that tests compare: sizes, instances, nodes,
//! replicas, pods. The Kubernetes facts are read through the API, so that they are the same with a
//! real API server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::aws::Cloud;
use super::aws::fleet::Lifecycle;

/// How many objects are read at once.
const PAGE: u32 = 250;

/// The facts of the cluster and the account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterState {
    /// The nodegroups by name.
    pub nodegroups: BTreeMap<String, NodegroupFacts>,
    /// The nodes by name.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// The deployments by `namespace/name`.
    pub deployments: BTreeMap<String, DeploymentFacts>,
    /// The pods by `namespace/name`.
    pub pods: BTreeMap<String, PodFacts>,
}

/// A nodegroup and its Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodegroupFacts {
    /// The status.
    pub status: String,
    /// The minimum size in EKS.
    pub min: u32,
    /// The maximum size in EKS.
    pub max: u32,
    /// The desired size in EKS.
    pub desired: u32,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The Kubernetes version of the nodes.
    pub version: String,
    /// The name of the Auto Scaling group.
    pub group: String,
    /// The group's minimum size.
    pub group_min: u32,
    /// The group's maximum size.
    pub group_max: u32,
    /// The group's desired capacity.
    pub group_desired: u32,
    /// The group's processes that are suspended.
    pub suspended: BTreeSet<String>,
    /// The group's members by id.
    pub instances: BTreeMap<String, InstanceFacts>,
    /// How many EKS updates have been accepted.
    pub updates: u32,
}

/// A member of an Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceFacts {
    /// The lifecycle state.
    pub lifecycle: String,
    /// Whether the instance is protected from scale-in.
    pub protected: bool,
    /// The name of the instance's Node.
    pub node: String,
}

/// A Node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The UID.
    pub uid: String,
    /// The name of the nodegroup.
    pub nodegroup: Option<String>,
    /// The id of the instance.
    pub instance: Option<String>,
    /// Whether the node is Ready.
    pub ready: bool,
    /// Whether the node is cordoned.
    pub unschedulable: bool,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A Deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentFacts {
    /// The UID.
    pub uid: String,
    /// The number of desired pods.
    pub replicas: i32,
    /// The number of ready pods.
    pub ready: i32,
    /// The number of pods with the newest template.
    pub updated: i32,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// When the deployment was last restarted.
    pub restarted_at: Option<String>,
    /// Why its pods are not created, if they are rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// A Pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodFacts {
    /// The UID.
    pub uid: String,
    /// The name of the node.
    pub node: Option<String>,
    /// The kind of the object that controls the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// The phase.
    pub phase: String,
    /// Whether the pod is Ready.
    pub ready: bool,
    /// Why no node takes the pod, if the scheduler has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unschedulable: Option<String>,
    /// Whether the pod is being deleted.
    pub terminating: bool,
    /// The value of the label `app`.
    pub app: Option<String>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Reads the facts.
pub(crate) async fn read(cloud: &Cloud, client: &Client) -> Result<ClusterState, kube::Error> {
    Ok(ClusterState {
        nodes: each(client, |node: &Node| (node.name_any(), node_facts(node))).await?,
        deployments: each(client, |found: &Deployment| (path(found), deployment_facts(found)))
            .await?,
        pods: each(client, |pod: &Pod| (path(pod), pod_facts(pod))).await?,
        nodegroups: nodegroups(cloud),
    })
}

/// Returns the facts of all objects of a kind. They are read in pages: thousands of whole pods at once are most of the
/// memory of a rehearsal.
async fn each<K, T>(
    client: &Client,
    facts: impl Fn(&K) -> (String, T),
) -> Result<BTreeMap<String, T>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api = Api::<K>::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut found = BTreeMap::new();
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items.iter().map(&facts));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
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
                labels: nodegroup.labels.clone(),
                version: nodegroup.release.version.clone(),
                group: group.name.clone(),
                group_min: group.min,
                group_max: group.max,
                group_desired: group.desired,
                suspended: group.suspended.clone(),
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
        annotations: deployment.annotations().clone(),
        restarted_at: annotations
            .and_then(|all| all.get("kubectl.kubernetes.io/restartedAt"))
            .cloned(),
        rejected: status
            .conditions
            .iter()
            .flatten()
            .find(|found| {
                let has = |field: &Option<String>, text| field.as_deref() == Some(text);
                has(&found.type_, "ReplicaFailure") && has(&found.status, "True")
            })
            .and_then(|condition| condition.message.clone()),
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
        controller: pod
            .owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| owner.kind.clone()),
        phase: status.phase.unwrap_or_default(),
        ready,
        unschedulable: status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
            .and_then(|condition| condition.message.clone()),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        app: pod.labels().get("app").cloned(),
        annotations: pod.annotations().clone(),
    }
}
