//! The nodes that a parameter names.

use std::collections::BTreeSet;

use super::{Error, KnownTargets, Result};
use crate::platform::kubernetes::node::Node;
use crate::platform::kubernetes::{KubernetesReader, Selection};
use text::{join_truncated, plural};

/// Returns the nodes of these names, and the names of those that earlier steps listed and that are gone.
///
/// # Errors
/// No node has one of the names, and no earlier step listed it.
pub(super) async fn find(
    names: &[String],
    known: &KnownTargets,
    kubernetes: &KubernetesReader,
) -> Result<(Vec<Node>, Vec<String>)> {
    let mut found = kubernetes.list::<Node>(&Selection::all()).await?;
    let wanted: BTreeSet<&String> = names.iter().collect();
    found.retain(|node| {
        node.metadata.name.as_ref().is_some_and(|name| wanted.contains(name))
            && !known.is_replacement(node)
    });
    let is_there =
        |name: &String| found.iter().any(|node| node.metadata.name.as_ref() == Some(name));
    let missing: Vec<&String> = wanted.into_iter().filter(|name| !is_there(name)).collect();
    let (gone, unknown): (Vec<_>, Vec<_>) =
        missing.into_iter().partition(|name| known.has_node(name));
    if unknown.is_empty() {
        return Ok((found, gone.into_iter().cloned().collect()));
    }
    Err(Error::precondition(format!(
        "{} not found in the cluster: {}",
        plural(unknown.len(), "node"),
        join_truncated(unknown)
    ))
    .with_hint("`kubectl get nodes` lists the names"))
}
