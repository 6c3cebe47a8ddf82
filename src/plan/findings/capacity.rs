//! Whether the account and the cluster have room for what is new: launches, addresses, quotas.

use jiff::SignedDuration;

use super::{
    error,
    evidence::{ChangedObject, Evidence, GROUP},
    warning,
};
use crate::{
    plan::{model::Finding, rehearsal::Rehearsed},
    platform::aws::{Activity, AutoScalingGroup},
};

/// The addresses that a new node takes at least: its own and one that is kept warm.
const ADDRESSES_PER_NODE: u64 = 2;

/// How long a failed launch says something about the next one.
const RECENT: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Finding> {
    let growing = growing(evidence);
    let mut findings = Vec::new();
    for (group, changed, _) in &growing {
        findings.extend(failed_launches(evidence, group, changed));
        findings.extend(addresses(evidence, group, changed, &growing));
    }
    findings.extend(quotas(evidence));
    findings
}

/// A group that gets larger, by which change, and by how many nodes.
type Growing<'e> = (&'e AutoScalingGroup, ChangedObject<'e>, u64);

fn growing<'e>(evidence: &Evidence<'e>) -> Vec<Growing<'e>> {
    let mut growing = Vec::new();
    for kind in ["nodegroup", GROUP] {
        for changed in evidence.changed_once(kind) {
            let group = match kind {
                GROUP => evidence.group(changed.name),
                _ => evidence.nodegroup(changed.name).and_then(|found| evidence.group_of(found)),
            };
            let new = match (changed.before.as_u64(), changed.after.as_u64()) {
                (Some(before), Some(after)) if changed.part == "desired" => {
                    after.saturating_sub(before)
                }
                _ => 0,
            };
            growing.extend(group.filter(|_| new > 0).map(|group| (group, changed, new)));
        }
    }
    growing
}

fn failed_launches(
    evidence: &Evidence<'_>,
    group: &AutoScalingGroup,
    changed: &ChangedObject<'_>,
) -> Option<Finding> {
    let is_launch = |activity: &&Activity| activity.description.starts_with("Launching");
    let latest = evidence.activities_of(&group.name).iter().find(is_launch)?;
    let age = evidence.taken_at()?.duration_since(latest.started_at?);
    if !latest.has_failed() || age > RECENT {
        return None;
    }
    let found = warning(
        "launches_fail",
        format!("the last launch of an instance of group {} has failed", group.name),
    )
    .because(latest.message.clone().unwrap_or_else(|| "no reason is given".into()))
    .hint("the new nodes may not come: check the capacity and the quota of the instance type");
    Some(found.at(changed.step))
}

fn addresses(
    evidence: &Evidence<'_>,
    group: &AutoScalingGroup,
    changed: &ChangedObject<'_>,
    growing: &[Growing<'_>],
) -> Option<Finding> {
    let subnets = evidence.subnets_of(group);
    if subnets.is_empty() {
        return None;
    }
    // Groups of one cluster mostly share their subnets.
    let shares = |other: &AutoScalingGroup| {
        other.subnets.iter().any(|subnet| group.subnets.contains(subnet))
    };
    let sharing = growing.iter().filter(|(other, ..)| shares(other));
    let new: u64 = sharing.map(|(_, _, new)| new).sum();
    let free: u64 = subnets.iter().map(|subnet| u64::from(subnet.free_addresses)).sum();
    if free >= new * ADDRESSES_PER_NODE {
        return None;
    }
    let each: Vec<String> = subnets
        .iter()
        .map(|subnet| format!("{} has {}", subnet.id, subnet.free_addresses))
        .collect();
    let found = error(
        "addresses_too_few",
        format!(
            "the subnets of group {} have {free} free addresses, too few for {new} new nodes in them",
            group.name
        ),
    )
    .because(each.join(", "))
    .hint("free addresses, or add a subnet to the group");
    Some(found.at(changed.step))
}

/// Pods that a quota does not allow are never created: the workload has fewer than it wants at the end.
fn quotas(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (namespace, workload, message) in
        evidence.rehearsed.map(Rehearsed::rejected_pods).unwrap_or_default()
    {
        let found =
            error("quota_exceeded", format!("new pods of {namespace}/{workload} are not created"))
                .because(message)
                .hint("raise the quota of the namespace for the time of the run");
        findings.push(found.of_run());
    }
    findings
}
