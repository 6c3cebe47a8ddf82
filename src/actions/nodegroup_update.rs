//! Updates of a nodegroup by EKS: whether one can begin, and how it ends.

use std::collections::BTreeSet;

use super::{
    Error, PlatformReader, Progress, Result, nodegroups,
    types::{NodeRecord, NodegroupName},
};
use crate::platform::kubernetes::node::Node;
use crate::platform::{
    aws::{AwsReader, Nodegroup, Update, UpdateStatus},
    kubernetes::{KubernetesReader, Selection, node},
    wait::{self, WaitState},
};
use text::plural;

/// Refuses a nodegroup whose status does not allow an update. A DEGRADED one can be updated: even a group without nodes
/// has that status.
pub(super) fn ensure_can_be_updated(
    nodegroup: &Nodegroup,
    what: &str,
    progress: &Progress,
) -> Result<()> {
    for issue in &nodegroup.health {
        progress.report(&format!("nodegroup {} has an issue: {issue}", nodegroup.name));
    }
    match nodegroup.status.as_str() {
        "ACTIVE" | "DEGRADED" => Ok(()),
        "UPDATING" => Err(busy(&nodegroup.name)),
        status => Err(Error::precondition(format!(
            "nodegroup {} is {status}: only an ACTIVE nodegroup can be {what}",
            nodegroup.name
        ))),
    }
}

/// Returns the error for a nodegroup that another client is updating.
pub(super) fn busy(nodegroup: &str) -> Error {
    Error::busy(format!("nodegroup {nodegroup} is being updated by another client"))
}

/// Waits until an update has ended. A failed one returns the nodegroup to ACTIVE, so its status proves nothing.
/// With `replaced`, the wait says how many nodes are left of those that the update replaces.
pub(super) async fn follow(
    name: &NodegroupName,
    id: &str,
    aws: &AwsReader,
    reader: &PlatformReader,
    progress: &Progress,
    replaced: Option<&[NodeRecord]>,
) -> Result<()> {
    wait::poll(progress, reader.clock(), nodegroups::POLL_BACKOFF, || async {
        let Some(update) = aws.describe_update(&name.cluster, &name.name, id).await? else {
            // The server does not support DescribeUpdate; the nodegroup shows the result.
            return Ok(WaitState::Ready(()));
        };
        match update.status {
            UpdateStatus::Successful => Ok(WaitState::Ready(())),
            UpdateStatus::Failed | UpdateStatus::Cancelled => Err(failure(name, &update)),
            UpdateStatus::InProgress | UpdateStatus::Unknown(_) => {
                let left = match replaced {
                    Some(nodes) => describe_remaining(&name.name, nodes, reader).await?,
                    None => String::new(),
                };
                Ok(WaitState::Pending(format!(
                    "EKS to finish update {id} of nodegroup {}{left}",
                    name.name
                )))
            }
        }
    })
    .await
}

async fn describe_remaining(
    nodegroup: &str,
    old: &[NodeRecord],
    reader: &PlatformReader,
) -> Result<String> {
    let nodes = list_nodes(nodegroup, &reader.kubernetes().await?).await?;
    let now: BTreeSet<&str> = nodes.iter().map(|node| node.uid.as_str()).collect();
    let left = old.iter().filter(|node| now.contains(node.uid.as_str())).count();
    let verb = if left == 1 { "is" } else { "are" };
    Ok(format!(": {left} of {} from before {verb} left", plural(old.len(), "node")))
}

/// Returns the nodes of a nodegroup that run on instances.
pub(super) async fn list_nodes(
    nodegroup: &str,
    kubernetes: &KubernetesReader,
) -> Result<Vec<NodeRecord>> {
    let selection = Selection::all().with_labels(node::nodegroup_selector(nodegroup));
    let nodes = kubernetes.list::<Node>(&selection).await?;
    Ok(nodes.iter().filter_map(NodeRecord::of).collect())
}

/// Returns the error of an update that has not succeeded.
fn failure(name: &NodegroupName, update: &Update) -> Error {
    let errors = if update.errors.is_empty() {
        "no reason given".to_owned()
    } else {
        update.errors.join("; ")
    };
    let error = Error::operation_failed(format!(
        "EKS update {} of nodegroup {} ended as {:?}: {errors}",
        update.id, name.name, update.status
    ));
    match update.errors.iter().find_map(|error| hint_for(error)) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Returns the remedy for an error of an update, which begins with the code of EKS.
/// <https://docs.aws.amazon.com/eks/latest/APIReference/API_ErrorDetail.html>
fn hint_for(error: &str) -> Option<&'static str> {
    let code = error.split(':').next().unwrap_or_default();
    Some(match code {
        "PodEvictionFailure" => {
            "a disruption budget, or a pod that tolerates the drain, keeps pods on the old nodes: `kubectl get pdb -A` lists the budgets; with `force: true` EKS ends such pods all the same"
        }
        "NodeCreationFailure" => {
            "new nodes did not join the cluster: see the launch template, the node role and its access entry, and the network of the subnets"
        }
        "AsgInstanceLaunchFailures"
        | "InsufficientFreeAddresses"
        | "IpNotAvailable"
        | "EniLimitReached" => {
            "new instances could not be launched: see the activities of the Auto Scaling group, the limits of the account and the free addresses of the subnets"
        }
        "InsufficientNumberOfReplicas" => "see the replicas of the workloads on the old nodes",
        "AccessDenied" | "ClusterUnreachable" | "OperationNotPermitted" => {
            "EKS could not reach the cluster: see the node role and its access entry"
        }
        "SubnetNotFound" | "SecurityGroupNotFound" | "VpcIdNotFound" => {
            "something that the nodegroup was made with no longer exists"
        }
        _ => return None,
    })
}
