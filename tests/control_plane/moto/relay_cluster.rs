//! A relay cluster without the simulator: nodes of a nodegroup in moto, and the two deployments on them.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Node, Pod},
};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;

use super::{
    Moto, REGION,
    aws_account::{AwsAccount, Sizes},
    bridge::{Bridge, label, sizes_of_group},
};
use crate::{
    accounts::{self, Grant},
    cluster::{one_pod_per_node, wait_until},
    fixture::ControlPlane,
};

pub(crate) const NAMESPACE: &str = "rafay-core";
pub(crate) const CLUSTER: &str = "prod";
pub(crate) const NODEGROUP: &str = "relay-services";
/// The label by which the procedure finds the nodegroup.
pub(crate) const LABEL: &str = "nodegroup-relay-services";

/// A relay cluster between moto and the control plane.
pub(crate) struct RelayCluster {
    pub(crate) plane: Arc<ControlPlane>,
    pub(crate) moto: Arc<Moto>,
    pub(crate) account: AwsAccount,
    pub(crate) group: String,
    /// Whether new instances become nodes.
    pub(crate) instances_boot: bool,
    /// The instances that were there from the beginning.
    old_instances: BTreeSet<String>,
}

impl RelayCluster {
    /// With `count` nodes, each with a relay pod, and two of them protected from scale-in.
    pub(crate) async fn new(plane: Arc<ControlPlane>, moto: Arc<Moto>, count: i32) -> Self {
        plane.namespace(NAMESPACE).await;
        let account = AwsAccount::new(&moto, CLUSTER).await;
        let sizes = Sizes(1, count + 1, count);
        let labels = [("Name", LABEL)];
        let group = account.nodegroup(NODEGROUP, &labels, sizes).await;
        account.nodegroup("others", &[("Name", "nodegroup-others")], Sizes(0, 9, 2)).await;
        let instances: Vec<String> = account.protections(&group).await.into_keys().collect();
        account.protect(&group, &instances[..2]).await;
        let old_instances = instances.into_iter().collect();
        let cluster = Self { plane, moto, account, group, instances_boot: true, old_instances };
        cluster.during(cluster.populate(count)).await;
        cluster
    }

    async fn populate(&self, count: i32) {
        self.wait_for_nodes(usize::try_from(count).unwrap()).await;
        let data = json!({"aws-region": REGION, "eks-cluster": CLUSTER});
        let map = json!({"metadata": {"name": "rafay-relay-sop-config"}, "data": data});
        self.plane.create::<ConfigMap>(NAMESPACE, map).await;
        let relay = one_pod_per_node("rafay-relay");
        self.plane.deployment(NAMESPACE, "rafay-relay", count, relay).await;
        self.plane.deployment(NAMESPACE, "rafay-sentry", 2, json!({})).await;
    }

    /// Lets the world go on for as long as `work` takes.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let bridge = Bridge {
            plane: &self.plane,
            account: &self.account,
            nodegroup: NODEGROUP,
            group: &self.group,
            instances_boot: self.instances_boot,
        };
        bridge.during(work).await
    }

    /// Lets the world go on until it has that many nodes: an instance's goes some time after the instance.
    pub(crate) async fn run_until_nodes(&self, count: usize) {
        self.during(self.wait_for_nodes(count)).await;
    }

    async fn wait_for_nodes(&self, count: usize) {
        wait_until("the nodes", async || self.nodes().await.len() == count).await;
    }

    /// A `ServiceAccount` that may do what the runbook needs.
    pub(crate) async fn service_account(&self, runbook: &str) -> accounts::TestServiceAccount {
        let grant = Grant::for_runbook(runbook).and_object_events();
        accounts::TestServiceAccount::new(&self.plane, NAMESPACE, "relay-sop", grant).await
    }

    pub(crate) async fn nodes(&self) -> Vec<Node> {
        let nodes = Api::<Node>::all(self.plane.client.clone());
        nodes.list(&ListParams::default().labels(&label(NODEGROUP))).await.unwrap().items
    }

    /// Returns the facts of the cluster, each with whether it is old or new; sorted.
    pub(crate) async fn facts(&self) -> Vec<String> {
        let mut facts = vec![
            format!("EKS: {:?}", self.account.sizes(NODEGROUP).await),
            format!("Auto Scaling: {:?}", sizes_of_group(&self.account, &self.group).await),
        ];
        for (instance, protected) in self.account.protections(&self.group).await {
            facts.push(format!("{} instance, protected: {protected}", self.age(&instance)));
        }
        let nodes = self.nodes().await;
        for node in &nodes {
            let marked = node.annotations().keys().any(|key| key.starts_with("rafay-relay-sop"));
            let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
            let age = self.age(&instance_of(node));
            facts.push(format!("{age} node, cordoned: {cordoned}, marked: {marked}"));
        }
        for app in ["rafay-relay", "rafay-sentry"] {
            let deployment = self.plane.api::<Deployment>(NAMESPACE).get(app).await.unwrap();
            facts.push(deployment_facts(app, deployment));
        }
        for pod in self.plane.pods(NAMESPACE, "rafay-relay").await {
            facts.push(self.relay_facts(&pod, &nodes).await);
        }
        facts.sort();
        facts
    }

    async fn relay_facts(&self, pod: &Pod, nodes: &[Node]) -> String {
        let slot = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let node = nodes.iter().find(|node| Some(node.name_any().as_str()) == slot);
        let (age, protected) = match node.map(instance_of) {
            None => ("no", false),
            Some(instance) => {
                let protections = self.account.protections(&self.group).await;
                (self.age(&instance), protections[&instance])
            }
        };
        let marks = pod.annotations().keys().filter(|key| key.contains("deletion-cost")).count();
        format!("relay pod on {age} node, whose instance is protected: {protected}, marks: {marks}")
    }

    fn age(&self, instance: &str) -> &'static str {
        if self.old_instances.contains(instance) { "an old" } else { "a new" }
    }
}

fn deployment_facts(name: &str, deployment: Deployment) -> String {
    let status = deployment.status.unwrap_or_default();
    let annotations = deployment.spec.template.metadata.unwrap_or_default().annotations;
    let restarted = annotations.unwrap_or_default().keys().any(|key| key.contains("restartedAt"));
    format!(
        "{name}: {:?} wanted, {:?} there, {:?} ready, restarted: {restarted}",
        deployment.spec.replicas, status.replicas, status.ready_replicas
    )
}

fn instance_of(node: &Node) -> String {
    let provider = node.spec.as_ref().and_then(|spec| spec.provider_id.clone()).unwrap_or_default();
    provider.rsplit('/').next().unwrap_or_default().to_owned()
}
