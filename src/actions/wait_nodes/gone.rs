//! The wait until nodes are gone.

use std::{collections::BTreeSet, sync::Arc};

use super::Output;
use crate::platform::kubernetes::node::Node;
use crate::{
    actions::{PlatformReader, Progress, Result, types::count_u32},
    platform::{
        kubernetes::{Selection, node},
        wait::{self, WaitState},
    },
};
use text::{join_truncated, plural};

/// Waits until the nodes that have these names when the wait begins are gone.
pub(super) async fn wait(
    mut names: Vec<String>,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<Output> {
    names.sort();
    names.dedup();
    let mut nodes = reader.kubernetes().await?.watch::<Node>(&Selection::all());
    let view = nodes.view();
    let mut awaited: Option<BTreeSet<String>> = None;
    wait::until(progress, &mut [&mut nodes], || {
        let nodes = view.objects();
        let awaited = awaited.get_or_insert_with(|| {
            let is_meant = |name: Option<&String>| name.is_some_and(|name| names.contains(name));
            let meant = nodes.iter().filter(|node| is_meant(node.metadata.name.as_ref()));
            meant.filter_map(|node| node.metadata.uid.clone()).collect()
        });
        evaluate(awaited, names.len(), &nodes)
    })
    .await?;
    Ok(Output { count: count_u32(&names), nodes: Vec::new(), new_nodes: Vec::new(), gone: names })
}

/// Returns the state of the wait for the end of the nodes with these UIDs, of `count` that were named.
fn evaluate(awaited: &BTreeSet<String>, count: usize, nodes: &[Arc<Node>]) -> WaitState<()> {
    let is_awaited = |uid: Option<&String>| uid.is_some_and(|uid| awaited.contains(uid));
    let left: Vec<String> = nodes
        .iter()
        .filter(|node| is_awaited(node.metadata.uid.as_ref()))
        .map(|node| {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let state = node::why_not_ready(node).unwrap_or_else(|| "Ready".into());
            let is_deleted = node.metadata.deletion_timestamp.is_some();
            let deleted = if is_deleted { ", being deleted" } else { "" };
            format!("{name} ({state}{deleted})")
        })
        .collect();
    if left.is_empty() {
        return WaitState::Ready(());
    }
    let verb = if left.len() == 1 { "is" } else { "are" };
    WaitState::Pending(format!(
        "{} of {} {verb} still there: {}",
        left.len(),
        plural(count, "node"),
        join_truncated(left)
    ))
}
