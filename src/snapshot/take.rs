//! Reads a cluster and its account: the nodes first, because the cluster may be known by them, and then everything else
//! at the same time.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use serde_json::Value;

use super::aws;
use super::keep::mark_templates;
use super::kinds::{CONFIG_MAP, NODES, OTHER_KINDS, PODS, SnapshotKind, WEBHOOKS};
use super::locate::{instance_id, locate};
use super::{ClusterScope, Gap, ReadCount, Snapshot, SnapshotError, SnapshotObject, Wanted};
use crate::platform::aws::AutoScalingGroup;
use crate::platform::kubernetes::{Collected, KubernetesReader, ObjectAddress};
use crate::platform::{Error, PlatformReader, Progress};
use text::{join_truncated, plural};

/// How many kinds are read at the same time.
const MAX_CONCURRENT: usize = 8;

/// The webhooks that every EKS cluster has. They add credentials and addresses to pods.
const WEBHOOKS_OF_EKS: [&str; 3] =
    ["pod-identity-webhook", "vpc-resource-mutating-webhook", "vpc-resource-validating-webhook"];

/// The resources for which an admission webhook matters.
const CHECKED_RESOURCES: [&str; 6] =
    ["*", "pods", "deployments", "replicasets", "statefulsets", "daemonsets"];

/// The kinds whose objects own pods in a way that the simulator knows.
const KNOWN_CONTROLLERS: [&str; 5] = ["ReplicaSet", "StatefulSet", "DaemonSet", "Job", "Node"];

/// Reads the state of a cluster and of its account. Reads that are denied, or not served, become gaps.
///
/// # Errors
/// Nodes or pods cannot be read, or the EKS cluster is another one than that of the kubeconfig.
pub async fn take(
    reader: &PlatformReader,
    scope: &ClusterScope,
    wanted: &Wanted,
    progress: &Progress,
) -> Result<Snapshot, SnapshotError> {
    let taken_at = reader.clock().now();
    let kubernetes = reader.kubernetes().await?;
    let mut found = Found::default();
    progress.report("reading nodes");
    found.add(&NODES, list(&kubernetes, &NODES).await?);
    let nodes = found.objects.get("Node").cloned().unwrap_or_default();
    let located = locate(scope, kubernetes.context(), kubernetes.server(), &nodes);
    let ids: Vec<String> = nodes.iter().filter_map(instance_id).map(str::to_owned).collect();
    progress.report(&format!(
        "{}; reading pods, workloads and the account",
        plural(nodes.len(), "node")
    ));
    let (rest, account) = tokio::join!(
        read_rest(&kubernetes, wanted),
        aws::read(reader, &located, &ids, kubernetes.server()),
    );
    let (rest, account) = (rest?, account?);
    found.objects.extend(rest.objects);
    found.reads.extend(rest.reads);
    found.reads.extend(account.reads);
    found.gaps.extend(rest.gaps.into_iter().chain(account.gaps));
    found.mark_templates();
    found.gaps.extend(unknown_controllers(&found.objects));
    found.gaps.extend(nodes_of_no_group(&nodes, &account.groups));
    found.gaps.sort();
    Ok(Snapshot {
        taken_at,
        account: account.id,
        region: account.region,
        cluster: account.cluster,
        version: account.version,
        objects: found.objects,
        nodegroups: account.nodegroups,
        groups: account.groups,
        instances: account.instances,
        activities: account.activities,
        updates: account.updates,
        subnets: account.subnets,
        reads: found.reads,
        gaps: found.gaps,
    })
}

/// The state of the Kubernetes cluster as far as it was read.
#[derive(Default)]
struct Found {
    objects: BTreeMap<&'static str, Vec<SnapshotObject>>,
    reads: ReadCount,
    gaps: Vec<Gap>,
}

impl Found {
    fn add(&mut self, kind: &SnapshotKind, listed: Collected<SnapshotObject>) {
        self.reads.add(kind.kind.resource, listed.pages);
        let objects = self.objects.entry(kind.kind.kind).or_default();
        objects.extend(listed.items);
        objects.sort_by(|one, other| {
            (one.namespace(), one.name()).cmp(&(other.namespace(), other.name()))
        });
    }

    /// Adds what a read returned, or why there is nothing.
    fn add_or_explain(
        &mut self,
        kind: &'static SnapshotKind,
        listed: Result<Collected<SnapshotObject>, Error>,
    ) {
        match listed {
            Ok(listed) => self.add(kind, listed),
            Err(error) => {
                self.reads.add(kind.kind.resource, 1);
                let is_not_served = matches!(error.code(), "404" | "NotFound");
                // A kind that is not served has no objects.
                if !is_not_served || kind.has_other_versions {
                    let what = format!("list {}", kind.kind.resource);
                    self.gaps.push(Gap::of(&what, &error, kind.unpredicted));
                }
            }
        }
    }

    fn mark_templates(&mut self) {
        let mut deployments = self.objects.remove("Deployment").unwrap_or_default();
        let mut sets = self.objects.remove("ReplicaSet").unwrap_or_default();
        mark_templates(&mut deployments, &mut sets);
        let of_kinds = [("Deployment", deployments), ("ReplicaSet", sets)];
        self.objects.extend(of_kinds.into_iter().filter(|(_, objects)| !objects.is_empty()));
    }
}

/// Reads everything but the nodes.
async fn read_rest(kubernetes: &KubernetesReader, wanted: &Wanted) -> Result<Found, Error> {
    let mut found = Found::default();
    let others = async {
        let kinds = OTHER_KINDS.iter().chain(&WEBHOOKS);
        // Made before they are streamed: a closure that borrows could not be sent between threads.
        let reads: Vec<_> =
            kinds.map(|kind| async move { (kind, list(kubernetes, kind).await) }).collect();
        futures::stream::iter(reads).buffered(MAX_CONCURRENT).collect::<Vec<_>>().await
    };
    let (pods, others, config_maps) =
        tokio::join!(list(kubernetes, &PODS), others, read_config_maps(kubernetes, wanted));
    found.add(&PODS, pods?);
    for (kind, listed) in others {
        found.add_or_explain(kind, listed);
    }
    for (address, config_map) in config_maps {
        found.reads.add("configmaps", 1);
        match config_map {
            Ok(config_map) => {
                found.objects.entry("ConfigMap").or_default().extend(config_map);
            }
            Err(error) => {
                let what = format!("get {address}");
                found.gaps.push(Gap::of(&what, &error, CONFIG_MAP.unpredicted));
            }
        }
    }
    for kind in &WEBHOOKS {
        let configurations = found.objects.remove(kind.kind.kind).unwrap_or_default();
        found.gaps.extend(webhooks_of_pods(kind, &configurations));
    }
    Ok(found)
}

async fn list(
    kubernetes: &KubernetesReader,
    kind: &SnapshotKind,
) -> Result<Collected<SnapshotObject>, Error> {
    let fields = kind.fields();
    kubernetes.collect(&kind.kind, |object| SnapshotObject::of(kind, &fields, object)).await
}

async fn read_config_maps(
    kubernetes: &KubernetesReader,
    wanted: &Wanted,
) -> Vec<(ObjectAddress, Result<Option<SnapshotObject>, Error>)> {
    let mut found = Vec::new();
    let fields = CONFIG_MAP.fields();
    for (namespace, name) in &wanted.config_maps {
        let address = ObjectAddress {
            group: String::new(),
            version: CONFIG_MAP.kind.version.to_owned(),
            kind: CONFIG_MAP.kind.kind.to_owned(),
            resource: CONFIG_MAP.kind.resource.to_owned(),
            namespace: Some(namespace.clone()),
            name: name.clone(),
        };
        let config_map = kubernetes.get_any(&address).await;
        let keep = |object| SnapshotObject::of(&CONFIG_MAP, &fields, object);
        found.push((address, config_map.map(|config_map| config_map.map(keep))));
    }
    found
}

/// Returns the gap that admission webhooks are, where some are called for pods or for workloads.
fn webhooks_of_pods(kind: &SnapshotKind, configurations: &[SnapshotObject]) -> Option<Gap> {
    let is_called = |configuration: &&SnapshotObject| {
        let webhooks = configuration.list("/webhooks").iter();
        let rules = webhooks.flat_map(|webhook| webhook["rules"].as_array().into_iter().flatten());
        !WEBHOOKS_OF_EKS.contains(&configuration.name()) && rules.into_iter().any(is_rule_of_pods)
    };
    let names: Vec<&str> =
        configurations.iter().filter(is_called).map(SnapshotObject::name).collect();
    (!names.is_empty()).then(|| Gap {
        what: format!("what {} {} do", kind.kind.resource, join_truncated(names)),
        why: "they are called for pods or workloads, and are not simulated".into(),
        unpredicted: kind.unpredicted.to_owned(),
    })
}

/// Returns whether a webhook with this rule is called for pods, their eviction, or what makes pods.
fn is_rule_of_pods(rule: &Value) -> bool {
    let texts = |field: &str| {
        rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let is_of_pods = |resource: &&str| {
        let (kind, below) = resource.split_once('/').unwrap_or((resource, ""));
        CHECKED_RESOURCES.contains(&kind) && matches!(below, "" | "*" | "eviction" | "scale")
    };
    let groups = texts("apiGroups");
    groups.iter().any(|group| matches!(*group, "*" | "" | "apps"))
        && texts("resources").iter().any(is_of_pods)
}

/// Returns the gap that nodes are whose instances belong to none of the groups, where there are groups at all.
fn nodes_of_no_group(nodes: &[SnapshotObject], groups: &[AutoScalingGroup]) -> Option<Gap> {
    let members: BTreeSet<&str> =
        groups.iter().flat_map(|group| &group.instances).map(|one| one.id.as_str()).collect();
    let is_alone = |node: &&SnapshotObject| {
        instance_id(node).is_none_or(|instance| !members.contains(instance))
    };
    let alone: Vec<&str> = nodes.iter().filter(is_alone).map(SnapshotObject::name).collect();
    (!groups.is_empty() && !alone.is_empty()).then(|| Gap {
        what: format!("what launched node {}", join_truncated(alone)),
        why: "no Auto Scaling group has its instance".into(),
        unpredicted: "whether such nodes are added or removed".into(),
    })
}

/// Returns a gap for each kind of objects that own pods and that the simulator does not know.
fn unknown_controllers(objects: &BTreeMap<&'static str, Vec<SnapshotObject>>) -> Vec<Gap> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for pod in objects.get("Pod").into_iter().flatten() {
        let kind = pod.controller().map(|(kind, ..)| kind);
        if let Some(kind) = kind.filter(|kind| !KNOWN_CONTROLLERS.contains(kind)) {
            *counts.entry(kind.to_owned()).or_default() += 1;
        }
    }
    let gaps = counts.into_iter().map(|(kind, count)| Gap {
        what: format!("the controller of {} of a {kind}", plural(count, "pod")),
        why: format!("{kind} is not simulated"),
        unpredicted: "what replaces these pods".into(),
    });
    gaps.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn webhooks_that_are_called_for_pods_are_a_gap_unless_they_are_those_of_eks() {
        let configuration = |name: &str, group: &str, resource: &str| {
            let kind = &WEBHOOKS[0];
            let rule = json!({"apiGroups": [group], "resources": [resource]});
            let object = json!({
                "metadata": {"name": name},
                "webhooks": [{"name": "w", "clientConfig": {"caBundle": "x"}, "rules": [rule]}],
            });
            let object = serde_json::from_value(object).unwrap();
            SnapshotObject::of(kind, &kind.fields(), object)
        };
        let configurations = [
            configuration("pod-identity-webhook", "", "pods"),
            configuration("certificates", "cert-manager.io", "certificates"),
            configuration("istio", "", "pods"),
            configuration("kyverno", "*", "*/*"),
            configuration("images", "apps", "deployments"),
            configuration("evictions", "", "pods/eviction"),
            configuration("shells", "", "pods/exec"),
        ];
        let gap = webhooks_of_pods(&WEBHOOKS[0], &configurations).unwrap();
        assert_eq!(
            gap.what,
            "what mutatingwebhookconfigurations istio, kyverno, images, evictions do"
        );
        assert_eq!(webhooks_of_pods(&WEBHOOKS[0], &configurations[..2]), None);
    }
}
