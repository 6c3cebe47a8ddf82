//! Objects that tests create in the cluster (namespaces, nodes that are Ready, deployments), and their removal.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::Job,
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace, Node, Pod, ResourceQuota},
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use rafay_relay_sop::platform::kubernetes::{LEASE_NAME, LEASE_NAMESPACE};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::fixture::{ControlPlane, has_default_account};

/// The time-out of waits for what a healthy cluster does in a second.
const WAIT_TIMEOUT: Duration = Duration::from_mins(1);

/// The label that makes the API server hold the pods of a namespace to a Pod Security Standard.
pub(crate) const POD_SECURITY_LABEL: &str = "pod-security.kubernetes.io/enforce";

/// Waits until `holds`.
pub(crate) async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + WAIT_TIMEOUT;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

impl ControlPlane {
    /// Every object of a kind in a namespace.
    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Makes a namespace in which pods can be made. What earlier tests have left, there and elsewhere, and every node,
    /// is removed: a test clears nothing away itself, for one that fails would not.
    pub(crate) async fn namespace(&self, name: &str) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        for other in namespaces.list(&ListParams::default()).await.unwrap() {
            let other = other.name_any();
            if other != "default" && !other.starts_with("kube-") {
                self.empty(&other).await;
            }
        }
        if namespaces.get_opt(name).await.unwrap().is_none() {
            let namespace = object(json!({"metadata": {"name": name}}));
            namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        }
        // Any pod can be made there, whatever an earlier test has restricted it to.
        let unrestricted = json!({"metadata": {"labels": {POD_SECURITY_LABEL: null}}});
        let unrestricted = Patch::Merge(unrestricted);
        namespaces.patch(name, &PatchParams::default(), &unrestricted).await.unwrap();
        let leases = self.api::<Lease>(LEASE_NAMESPACE);
        // One that no test has made is fine.
        let _ = leases.delete(LEASE_NAME, &DeleteParams::default()).await;
        let nodes = Api::<Node>::all(self.client.clone());
        let all = ListParams::default();
        nodes.delete_collection(&DeleteParams::default(), &all).await.unwrap();
        wait_until("the nodes' end", async || nodes.list(&all).await.unwrap().items.is_empty())
            .await;
        wait_until("the namespace's account", async || {
            has_default_account(&self.client, name).await
        })
        .await;
    }

    async fn empty(&self, namespace: &str) {
        self.remove_all::<ResourceQuota>(namespace).await;
        self.remove_all::<HorizontalPodAutoscaler>(namespace).await;
        self.remove_all::<PodDisruptionBudget>(namespace).await;
        self.remove_all::<Job>(namespace).await;
        self.remove_all::<Deployment>(namespace).await;
        self.remove_all::<StatefulSet>(namespace).await;
        self.remove_all::<DaemonSet>(namespace).await;
        self.remove_all::<ReplicaSet>(namespace).await;
        self.remove_all::<Pod>(namespace).await;
        self.remove_all::<ConfigMap>(namespace).await;
        let (sets, pods) = (self.api::<ReplicaSet>(namespace), self.api::<Pod>(namespace));
        let all = ListParams::default();
        wait_until("the end of replicasets and pods", async || {
            let left = sets.list(&all).await.unwrap().items.len();
            // A controller that has not seen the deletion yet may have created one more.
            self.remove_all::<Pod>(namespace).await;
            left + pods.list(&all).await.unwrap().items.len() == 0
        })
        .await;
    }

    async fn remove_all<K>(&self, namespace: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        // In the background, so that a deployment does not wait for its pods.
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::background() };
        let api = self.api::<K>(namespace);
        api.delete_collection(&now, &ListParams::default()).await.unwrap();
    }

    /// A node that is Ready, whose kubelet kwok plays, with the labels and anything else that `extra` has.
    pub(crate) async fn node(&self, name: &str, extra: Value) -> Node {
        let mut node = json!({
            "metadata": {
                "name": name,
                "labels": {"kubernetes.io/hostname": name},
                "annotations": {"kwok.x-k8s.io/node": "fake"},
            },
            "spec": {"providerID": format!("aws:///us-west-2a/i-0{:0>16}", hex(name))},
        });
        json_patch::merge(&mut node, &extra);
        let nodes = Api::<Node>::all(self.client.clone());
        let node = nodes.create(&PostParams::default(), &object(node)).await.unwrap();
        self.node_condition(name, "True").await;
        wait_until("the node to lose its taint", async || {
            let node = nodes.get(name).await.unwrap();
            let taints = node.spec.unwrap_or_default().taints.unwrap_or_default();
            !taints.iter().any(|taint| taint.key == "node.kubernetes.io/not-ready")
        })
        .await;
        node
    }

    /// Cordons every node, if it is said.
    pub(crate) async fn cordon_all(&self, cordoned: bool) {
        let nodes = Api::<Node>::all(self.client.clone());
        let cordon = Patch::Merge(json!({"spec": {"unschedulable": cordoned}}));
        for node in nodes.list(&ListParams::default()).await.unwrap() {
            nodes.patch(&node.name_any(), &PatchParams::default(), &cordon).await.unwrap();
        }
    }

    /// Lets a node say whether it is Ready.
    pub(crate) async fn node_condition(&self, name: &str, ready: &str) {
        let capacity = json!({"cpu": "4", "memory": "16Gi", "pods": "50"});
        let status = json!({"status": {
            "capacity": capacity, "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": ready, "reason": "AsTheTestSays"}],
        }});
        let nodes = Api::<Node>::all(self.client.clone());
        let parameters = PatchParams::default();
        nodes.patch_status(name, &parameters, &Patch::Strategic(status)).await.unwrap();
    }

    /// Makes an object in a namespace.
    pub(crate) async fn create<K>(&self, namespace: &str, value: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Serialize,
    {
        self.api::<K>(namespace).create(&PostParams::default(), &object(value)).await.unwrap()
    }

    /// Makes a deployment, `extra` merged into it, and waits until all its pods are ready.
    pub(crate) async fn deployment(
        &self,
        namespace: &str,
        name: &str,
        replicas: i32,
        extra: Value,
    ) {
        self.create::<Deployment>(namespace, deployment(name, replicas, extra)).await;
        self.wait_until_ready(namespace, name, replicas).await;
    }

    /// Waits until a deployment has that many ready pods and no others.
    pub(crate) async fn wait_until_ready(&self, namespace: &str, name: &str, replicas: i32) {
        let deployments = self.api::<Deployment>(namespace);
        wait_until("the deployment's pods", async || {
            let status = deployments.get(name).await.unwrap().status.unwrap_or_default();
            status.ready_replicas.unwrap_or(0) == replicas
                && status.replicas.unwrap_or(0) == replicas
        })
        .await;
    }

    /// Returns the pods of a deployment that are not being deleted, by name.
    pub(crate) async fn pods(&self, namespace: &str, app: &str) -> Vec<Pod> {
        let selected = ListParams::default().labels(&format!("app={app}"));
        let mut pods = self.api::<Pod>(namespace).list(&selected).await.unwrap().items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.sort_by_key(kube::ResourceExt::name_any);
        pods
    }
}

/// A deployment of one container a pod, with anything else that `extra` has.
pub(crate) fn deployment(name: &str, replicas: i32, extra: Value) -> Value {
    let mut deployment = json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "registry.example.com/app:1.0"}]},
            },
        },
    });
    json_patch::merge(&mut deployment, &extra);
    deployment
}

/// A typed object from what a manifest would have.
pub(crate) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap_or_else(|why| panic!("not an object of its kind: {why}"))
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(16).collect()
}

/// For a deployment whose pods do not share a node.
pub(crate) fn one_pod_per_node(app: &str) -> Value {
    let term = json!({
        "labelSelector": {"matchLabels": {"app": app}},
        "topologyKey": "kubernetes.io/hostname",
    });
    let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    json!({"spec": {"template": {"spec": {"affinity": {"podAntiAffinity": rule}}}}})
}

/// For a deployment whose pods fail in a way that `stages.yaml` knows; `after_restart`, only those of a restart.
pub(crate) fn with_pod_failure(what: &str, after_restart: bool) -> Value {
    let mut labels = json!({"plays": what});
    if after_restart {
        labels["plays-when"] = json!("restarted");
    }
    let first = json!([{"name": "first", "image": "registry.example.com/first:1.0"}]);
    let init = if what.starts_with("init-") { first } else { json!([]) };
    json!({"spec": {"template": {
        "metadata": {"labels": labels},
        "spec": {"initContainers": init},
    }}})
}
