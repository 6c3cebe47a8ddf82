//! The taints that keep a node from its first pod: startup taints, which are removed when it has started.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::Taint;

use super::ready::ReadyParams;
use crate::platform::kubernetes::node::Node;
use crate::platform::{aws::NodegroupTaint, kubernetes::node};

/// Returns why a node is not ready for its first pod: its Ready condition, or a startup taint. A cordon does not count.
pub(super) fn why_not_ready(node: &Node, taints: &TaintRules<'_>) -> Option<String> {
    node::why_not_ready(node).or_else(|| taints.startup_taint(node).map(describe_taint))
}

/// The words before a taint's key in a reason.
pub(super) const TAINT_WORD: &str = "(taint ";

/// Returns the taint as a reason, with what it means where Kubernetes or an autoscaler sets it.
fn describe_taint(taint: &Taint) -> String {
    let meaning = match taint.key.as_str() {
        "node.kubernetes.io/network-unavailable" => "its network is not set up",
        "node.cloudprovider.kubernetes.io/uninitialized" => "its cloud has not initialized it",
        "node.kubernetes.io/memory-pressure" => "it is short of memory",
        "node.kubernetes.io/disk-pressure" => "it is short of disk space",
        "node.kubernetes.io/pid-pressure" => "it is short of process ids",
        "node.kubernetes.io/out-of-service" => "it was marked as out of service",
        "ToBeDeletedByClusterAutoscaler" => "the Cluster Autoscaler is removing it",
        "karpenter.sh/disrupted" => "Karpenter is removing it",
        NOT_READY_TAINT | UNREACHABLE_TAINT => return format!("taint {}", taint.key),
        _ => return format!("taint {}:{}", taint.key, taint.effect),
    };
    format!("taint {}: {meaning}", taint.key)
}

/// The node controller's taint for a Ready condition that is False, and the one for Unknown.
const NOT_READY_TAINT: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE_TAINT: &str = "node.kubernetes.io/unreachable";

/// The rules that tell startup taints from those that stay.
pub(super) struct TaintRules<'a> {
    /// Those that the nodegroup declares and that stay.
    staying: Vec<&'a Taint>,
    ignored: &'a [String],
    previous: BTreeSet<&'a str>,
}

impl<'a> TaintRules<'a> {
    pub(super) fn new(
        params: &'a ReadyParams,
        declared: &'a [Taint],
        nodes: &'a [Arc<Node>],
    ) -> Self {
        let previous: BTreeSet<&str> =
            params.previous.iter().map(|node| node.uid.as_str()).collect();
        let older: Vec<&Arc<Node>> =
            nodes.iter().filter(|node| is_among(&previous, node) && node::is_ready(node)).collect();
        let has = |node: &Arc<Node>, taint: &Taint| {
            taints_of(node).any(|found| node::is_same_taint(found, taint))
        };
        // EKS puts the declared taints on every node of the group. One that no older node has was removed by what it
        // waits for, such as the agent of a network plugin.
        let is_lost =
            |taint: &Taint| !older.is_empty() && !older.iter().any(|node| has(node, taint));
        let stays = |taint: &&Taint| !is_startup_key(&taint.key) && !is_lost(taint);
        let mut staying: Vec<&Taint> = declared.iter().filter(stays).collect();
        // A launch template can have the kubelet register a taint that the nodegroup does not declare. Every older node
        // has it then.
        if let Some((first, others)) = older.split_first() {
            let is_everywhere = |taint: &&Taint| {
                !is_startup_key(&taint.key) && others.iter().all(|node| has(node, taint))
            };
            staying.extend(taints_of(first).filter(is_everywhere));
        }
        Self { staying, ignored: &params.ignore_taints, previous }
    }

    /// Returns the first startup taint of the node.
    fn startup_taint<'n>(&self, node: &'n Node) -> Option<&'n Taint> {
        let is_previous = is_among(&self.previous, node);
        taints_of(node).find(|taint| {
            !self.ignored.contains(&taint.key) && {
                let key = taint.key.as_str();
                let is_declared =
                    self.staying.iter().any(|known| node::is_same_taint(known, taint));
                match taint.effect.as_str() {
                    // Pods tolerate these two for five minutes by default, and a Ready node may carry them for five
                    // more seconds.
                    "NoExecute" if [NOT_READY_TAINT, UNREACHABLE_TAINT].contains(&key) => false,
                    "NoSchedule" | "NoExecute" if key == node::UNSCHEDULABLE_TAINT => false,
                    "NoSchedule" if is_of_cluster(key) => true,
                    // What another client has put on an older node since says nothing about the new ones.
                    "NoSchedule" | "NoExecute" => !is_previous && !is_declared,
                    _ => false,
                }
            }
        })
    }
}

/// Returns whether the taint is the cluster's own sign that a node is not ready yet.
fn is_of_cluster(key: &str) -> bool {
    matches!(
        key,
        NOT_READY_TAINT
            | UNREACHABLE_TAINT
            | "node.kubernetes.io/network-unavailable"
            | "node.cloudprovider.kubernetes.io/uninitialized"
    )
}

/// Returns whether a taint of this key is removed when a node has started. Cilium's documentation has EKS nodegroups
/// declare its taint; the two prefixes are the Cluster Autoscaler's.
fn is_startup_key(key: &str) -> bool {
    key.ends_with("/agent-not-ready")
        || key.starts_with("startup-taint.cluster-autoscaler.kubernetes.io/")
        || key.starts_with("ignore-taint.cluster-autoscaler.kubernetes.io/")
}

fn is_among(uids: &BTreeSet<&str>, node: &Node) -> bool {
    node.metadata.uid.as_deref().is_some_and(|uid| uids.contains(uid))
}

fn taints_of(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
}

pub(super) fn to_kubernetes_taint(declared: &NodegroupTaint) -> Taint {
    Taint {
        key: declared.key.clone(),
        effect: declared.effect.clone(),
        value: (!declared.value.is_empty()).then(|| declared.value.clone()),
        time_added: None,
    }
}
