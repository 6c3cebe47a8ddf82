//! Pods that find no place, and the pod of this process.

use super::{error, evidence::Evidence, warning};
use crate::plan::model::{Finding, Rehearsal};

/// How many pods a finding names.
const MAX_NAMED: usize = 3;

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = not_placed(evidence).into_iter().collect();
    findings.extend(own_pod(evidence));
    findings
}

fn not_placed(evidence: &Evidence<'_>) -> Option<Finding> {
    let Rehearsal::Done { unplaced, .. } = evidence.rehearsal else { return None };
    let first = unplaced.first()?;
    let named: Vec<String> = unplaced
        .iter()
        .take(MAX_NAMED)
        .map(|pod| format!("{}/{}", pod.namespace, pod.pod))
        .collect();
    let more = match unplaced.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!("no node takes {}{more} at the end of the run", named.join(", "));
    let hint = "compare the requests, node selectors, affinities and tolerations of the pods with the nodes";
    let found = match evidence.adds_nodes() {
        None => error("pods_not_placed", message).because(first.reason.clone()).hint(hint),
        // The copy has nothing that does.
        Some(name) => warning("pods_not_placed", message)
            .because(format!("{}; {name} may add nodes for them", first.reason))
            .hint(hint),
    };
    Some(found.of_run())
}

fn own_pod(evidence: &Evidence<'_>) -> Option<Finding> {
    let own = evidence.own_node.filter(|name| !name.is_empty())?;
    let closes = |part: &str| matches!(part, "unschedulable") || part.contains("taint");
    let change = evidence.changes().find(|change| {
        change.kind == "node"
            && change.name == own
            && (closes(change.part) || change.after.is_null())
    })?;
    let found = warning(
        "own_pod",
        format!("this process runs on node {own}, which the run closes or removes"),
    )
    .because("SOP_NODE_NAME names the node")
    .hint("move it to another node, or let another replica continue the run");
    Some(found.at(change.step))
}
