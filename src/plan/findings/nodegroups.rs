//! Nodegroups and Auto Scaling groups that the run changes: their state, who else sizes them, and what keeps them from
//! changing.

use std::collections::BTreeSet;

use super::{
    error,
    evidence::{ChangedObject, Evidence, GROUP, text},
    warning,
};
use crate::{
    plan::model::Finding,
    platform::aws::{AutoScalingGroup, Nodegroup},
};

/// The tag by which a cluster autoscaler finds the groups that it may size.
const AUTOSCALER_TAG: &str = "k8s.io/cluster-autoscaler/enabled";

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for changed in evidence.changed_once("nodegroup") {
        let Some(nodegroup) = evidence.nodegroup(changed.name) else { continue };
        findings.extend(state(evidence, nodegroup, &changed));
        let Some(group) = evidence.group_of(nodegroup) else { continue };
        findings.extend(of_group(evidence, group, Some(changed.name), &changed));
    }
    for changed in evidence.changed_once(GROUP) {
        let Some(group) = evidence.group(changed.name) else { continue };
        findings.extend(of_group(evidence, group, None, &changed));
    }
    findings
}

fn state(
    evidence: &Evidence<'_>,
    nodegroup: &Nodegroup,
    changed: &ChangedObject<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = &nodegroup.name;
    let updates = evidence.updates_of(name);
    if nodegroup.status == "UPDATING" || !updates.is_empty() {
        let found =
            error("update_in_flight", format!("an update of nodegroup {name} is in progress"))
                .because(format!("its status is {}, updates: {}", nodegroup.status, list(&updates)))
                .hint("start the run when the update has ended");
        findings.push(found.at(changed.step));
    } else if nodegroup.status != "ACTIVE" {
        let health = list(&nodegroup.health.iter().map(String::as_str).collect::<Vec<_>>());
        let found =
            error("nodegroup_unhealthy", format!("nodegroup {name} is {}", nodegroup.status))
                .because(format!("EKS reports these issues: {health}"))
                .hint("repair the nodegroup first");
        findings.push(found.at(changed.step));
    }
    if nodegroup.auto_scaling_groups.len() > 1 {
        let groups: Vec<&str> = nodegroup.auto_scaling_groups.iter().map(String::as_str).collect();
        let found =
            error("several_groups", format!("nodegroup {name} has several Auto Scaling groups"))
                .because(format!("EKS reports {}", list(&groups)))
                .hint("the actions on instances know one group; act on each group by its name");
        findings.push(found.at(changed.step));
    }
    findings
}

fn of_group(
    evidence: &Evidence<'_>,
    group: &AutoScalingGroup,
    nodegroup: Option<&str>,
    changed: &ChangedObject<'_>,
) -> Vec<Finding> {
    let is_size = changed.part == "desired";
    let (before, after) = (changed.before.as_i64(), changed.after.as_i64());
    let grows = is_size && after > before;
    let shrinks = is_size && after < before;
    let mut findings = Vec::new();
    if grows || shrinks {
        let new = evidence.rehearsed.filter(|_| grows);
        let unused = new.map(|all| all.new_nodes_without_pods(nodegroup));
        findings.extend(autoscaler(evidence, group, unused, changed));
    }
    findings.extend(suspended(group, changed, grows, shrinks));
    if shrinks {
        findings.extend(protected(group, changed));
    }
    if grows && group.new_instances_protected {
        let found = warning(
            "born_protected",
            format!("new instances of group {} are protected from scale-in", group.name),
        )
        .because("its NewInstancesProtectedFromScaleIn is true")
        .hint("they stay when the group gets smaller again; remove the protection with set_protection");
        findings.push(found.at(changed.step));
    }
    findings
}

/// A cluster autoscaler removes nodes that have nothing to do, and those are the new ones until pods come to them.
fn autoscaler(
    evidence: &Evidence<'_>,
    group: &AutoScalingGroup,
    unused: Option<usize>,
    changed: &ChangedObject<'_>,
) -> Option<Finding> {
    if !group.tags.contains_key(AUTOSCALER_TAG) {
        return None;
    }
    let running = evidence.objects("Deployment").find(|deployment| {
        let name = text(deployment, "/metadata/name");
        let label = text(deployment, "/metadata/labels/app.kubernetes.io~1name");
        (name.contains("cluster-autoscaler") || label.contains("cluster-autoscaler"))
            && deployment.pointer("/status/readyReplicas").and_then(serde_json::Value::as_i64)
                > Some(0)
    })?;
    let facts = format!(
        "deployment {}/{} runs, and the group has the tag {AUTOSCALER_TAG}",
        text(running, "/metadata/namespace"),
        text(running, "/metadata/name"),
    );
    let found = match unused {
        Some(0) | None => warning(
            "cluster_autoscaler",
            format!(
                "the cluster autoscaler may change the size of group {} during the run",
                group.name
            ),
        )
        .because(facts),
        Some(count) => error(
            "cluster_autoscaler",
            format!(
                "the cluster autoscaler would remove {count} new nodes of group {}",
                group.name
            ),
        )
        .because(format!(
            "{facts}; {count} of the new nodes have no pod at the end but those of daemon sets"
        )),
    };
    Some(
        found
            .hint("scale the autoscaler to 0 for the time of the run, or annotate the nodes with cluster-autoscaler.kubernetes.io/scale-down-disabled")
            .at(changed.step),
    )
}

fn suspended(
    group: &AutoScalingGroup,
    changed: &ChangedObject<'_>,
    grows: bool,
    shrinks: bool,
) -> Option<Finding> {
    let needed: BTreeSet<&str> = match (grows, shrinks) {
        (true, _) => BTreeSet::from(["Launch"]),
        (_, true) => BTreeSet::from(["Terminate"]),
        _ => return None,
    };
    let is_needed = |process: &&String| needed.contains(process.as_str());
    let process = group.suspended_processes.iter().find(is_needed)?;
    let found = error(
        "processes_suspended",
        format!(
            "the process {process} of group {} is suspended, which the new size needs",
            group.name
        ),
    )
    .because(format!(
        "suspended: {}",
        list(&group.suspended_processes.iter().map(String::as_str).collect::<Vec<_>>())
    ))
    .hint("find out who suspended it, then resume it (`aws autoscaling resume-processes`)");
    Some(found.at(changed.step))
}

fn protected(group: &AutoScalingGroup, changed: &ChangedObject<'_>) -> Option<Finding> {
    let mut in_service =
        group.instances.iter().filter(|instance| instance.is_in_service()).peekable();
    in_service.peek()?;
    if !in_service.all(|instance| instance.protected) {
        return None;
    }
    let found = error(
        "all_protected",
        format!(
            "group {} cannot get smaller: all its instances are protected from scale-in",
            group.name
        ),
    )
    .because(format!("{} of {} are protected", group.instances.len(), group.instances.len()))
    .hint("remove the protection of those that may go (set_protection)");
    Some(found.at(changed.step))
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
