//! The instances of an Auto Scaling group that a parameter names, themselves or by the nodes that they run.

use std::collections::BTreeSet;

use super::{
    Error, KnownTargets, PlatformReader, Progress, Result, group_target::GroupTarget,
    known_targets::report_gone, node_targets, protection::find_instance,
};
use crate::platform::kubernetes::{self, node};
use text::join_truncated;

/// The named instances that are in the group, and the instances or nodes that are gone.
pub(super) struct NamedInstances {
    pub(super) ids: BTreeSet<String>,
    pub(super) gone: Vec<String>,
}

/// Returns the instances that are named, or that run the named nodes, and reports those that have ended since an
/// earlier step listed them.
///
/// # Errors
/// An instance is not in the group, or a node is not found.
pub(super) async fn find(
    instances: Option<&Vec<String>>,
    nodes: Option<&Vec<String>>,
    target: &GroupTarget,
    known: &KnownTargets,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<NamedInstances> {
    // The instance of a node that exists has existed.
    let has_existed = |id: &str| instances.is_none() || known.has_instance(id);
    let (named, gone) = match (instances, nodes) {
        (Some(instances), _) => (instances.clone(), Vec::new()),
        (None, nodes) => {
            let nodes = nodes.map(Vec::as_slice).unwrap_or_default();
            instances_of(nodes, known, &reader.kubernetes().await?).await?
        }
    };
    report_gone(progress, "node", &gone);
    let mut ids: BTreeSet<String> = named.into_iter().collect();
    let ended = ended_instances(&ids, target, has_existed).await?;
    report_gone(progress, "instance", &ended);
    ids.retain(|id| !ended.contains(id));
    reject_foreign_instances(&ids, target)?;
    Ok(NamedInstances { ids, gone: [gone, ended].concat() })
}

/// Returns the instances that these nodes run on, and the nodes that are gone.
async fn instances_of(
    names: &[String],
    known: &KnownTargets,
    kubernetes: &kubernetes::KubernetesReader,
) -> Result<(Vec<String>, Vec<String>)> {
    let (nodes, gone) = node_targets::find(names, known, kubernetes).await?;
    let instances = nodes.iter().map(|node| {
        node::instance_id(node).map(str::to_owned).ok_or_else(|| {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            Error::precondition(format!("node {name} does not run on an EC2 instance"))
        })
    });
    Ok((instances.collect::<Result<_>>()?, gone))
}

/// Returns the instances that have existed, that are not in the group, and that EC2 has ended or forgotten. One that
/// still runs is another group's, or was detached from this one.
async fn ended_instances(
    named: &BTreeSet<String>,
    target: &GroupTarget,
    has_existed: impl Fn(&str) -> bool,
) -> Result<Vec<String>> {
    let is_missing = |id: &&String| find_instance(&target.group, id).is_none() && has_existed(id);
    let missing: Vec<String> = named.iter().filter(is_missing).cloned().collect();
    if missing.is_empty() {
        return Ok(missing);
    }
    let found = target.aws.describe_instances(&missing).await?;
    let runs = |id: &String| {
        found.iter().any(|instance| instance.id == *id && !instance.is_ending_or_ended())
    };
    Ok(missing.into_iter().filter(|id| !runs(id)).collect())
}

fn reject_foreign_instances(named: &BTreeSet<String>, target: &GroupTarget) -> Result<()> {
    let foreign: Vec<&String> =
        named.iter().filter(|id| find_instance(&target.group, id).is_none()).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    Err(Error::precondition(format!(
        "{} of the given instances {} not in {}: {}",
        foreign.len(),
        if foreign.len() == 1 { "is" } else { "are" },
        target.text,
        join_truncated(foreign)
    )))
}
