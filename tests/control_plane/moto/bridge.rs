//! A bridge between moto and the control plane, in place of EKS, the instances and their kubelets. The bridge copies the
//! sizes of a nodegroup to its Auto Scaling group, and makes a Node for each instance, which it removes with the instance.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::json;

use rafay_relay_sop::platform::kubernetes::node::NODEGROUP_LABEL;

use super::aws_account::{AwsAccount, Sizes};
use crate::fixture::ControlPlane;

/// The interval of synchronization. An EC2 instance takes half a minute to become a node; the tests need not wait that
/// long.
const SYNC_INTERVAL: Duration = Duration::from_millis(50);

/// The bridge for one nodegroup.
pub(crate) struct Bridge<'a> {
    pub(crate) plane: &'a ControlPlane,
    pub(crate) account: &'a AwsAccount,
    pub(crate) nodegroup: &'a str,
    pub(crate) group: &'a str,
    /// Whether new instances become nodes.
    pub(crate) instances_boot: bool,
}

impl Bridge<'_> {
    /// Does its work for as long as `work` takes.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            // What it panics with is what the test fails with.
            () = self.run() => unreachable!("it has no end"),
            done = work => done,
        }
    }

    async fn run(&self) {
        loop {
            self.sync_group_sizes().await;
            self.sync_nodes().await;
            tokio::time::sleep(SYNC_INTERVAL).await;
        }
    }

    async fn sync_group_sizes(&self) {
        let wanted = self.account.sizes(self.nodegroup).await;
        if sizes_of_group(self.account, self.group).await == wanted {
            return;
        }
        let Sizes(min, max, desired) = wanted;
        let call = self.account.autoscaling.update_auto_scaling_group();
        let call = call.auto_scaling_group_name(self.group).min_size(min).max_size(max);
        call.desired_capacity(desired).send().await.unwrap();
    }

    async fn sync_nodes(&self) {
        let instances = self.instances().await;
        let nodes = Api::<Node>::all(self.plane.client.clone());
        let selected = ListParams::default().labels(&label(self.nodegroup));
        let existing = nodes.list(&selected).await.unwrap().items;
        let existing: BTreeSet<String> = existing.iter().map(kube::ResourceExt::name_any).collect();
        for name in &existing {
            if !instances.contains_key(name) {
                nodes.delete(name, &DeleteParams::default()).await.unwrap();
            }
        }
        if self.instances_boot {
            let new = instances.iter().filter(|(name, _)| !existing.contains(*name));
            join_all(new.map(|(name, provider)| self.boot_node(name, provider))).await;
        }
    }

    async fn boot_node(&self, name: &str, provider: &str) {
        let labels = json!({NODEGROUP_LABEL: self.nodegroup});
        let node = json!({"metadata": {"labels": labels}, "spec": {"providerID": provider}});
        self.plane.node(name, node).await;
    }

    /// The group's instances as nodes: their names, and where they say they run.
    async fn instances(&self) -> BTreeMap<String, String> {
        let members = self.account.describe_group(self.group).await.instances.unwrap_or_default();
        let ids: Vec<String> = members.into_iter().filter_map(|it| it.instance_id).collect();
        let found = self.account.instances(&ids).await;
        found
            .into_iter()
            .map(|instance| {
                let zone = instance.placement.unwrap().availability_zone.unwrap();
                let provider = format!("aws:///{zone}/{}", instance.instance_id.unwrap());
                (instance.private_dns_name.unwrap(), provider)
            })
            .collect()
    }
}

/// The sizes of an Auto Scaling group.
pub(crate) async fn sizes_of_group(account: &AwsAccount, group: &str) -> Sizes {
    let group = account.describe_group(group).await;
    Sizes(group.min_size.unwrap(), group.max_size.unwrap(), group.desired_capacity.unwrap())
}

/// Selects a nodegroup's nodes.
pub(crate) fn label(nodegroup: &str) -> String {
    format!("{NODEGROUP_LABEL}={nodegroup}")
}
