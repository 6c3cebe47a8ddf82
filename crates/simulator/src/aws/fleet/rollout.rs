//! Updates of a nodegroup's version: its nodes are replaced by nodes of another release, a few at a time. A node is
//! cordoned and its pods are evicted as disruption budgets allow, before its instance ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::update::{MaxUnavailable, UpdateStatus};
use super::{Fleet, Lifecycle, NodeAction, UpdateError};

/// How long EKS tries to evict the pods of a node.
/// <https://docs.aws.amazon.com/eks/latest/userguide/managed-node-update-behavior.html>
const EVICTION_LIMIT: Duration = Duration::from_mins(15);
/// The time between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The dates of the two releases that every version has.
const DATES: [&str; 2] = ["20260101", "20260601"];

/// The release of a node: its Kubernetes version, its image, and the version of the nodegroup's own launch template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) version: String,
    pub(crate) image: String,
    pub(crate) template: Option<String>,
}

impl Release {
    /// Returns the older release of a version.
    pub(super) fn first(version: &str, template: Option<String>) -> Self {
        Self { version: version.to_owned(), image: image(version, DATES[0]), template }
    }
}

fn image(version: &str, date: &str) -> String {
    format!("{version}.0-{date}")
}

/// The parameters of an `UpdateNodegroupVersion` call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VersionChange {
    pub(crate) version: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) template: Option<String>,
    pub(crate) force: bool,
}

/// A version update that replaces nodes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rollout {
    pub(crate) to: Release,
    force: bool,
    /// The instances to replace.
    old: Vec<String>,
    /// The instances whose nodes are being drained, and when that is given up.
    draining: BTreeMap<String, Timestamp>,
    /// Those that have no pods left.
    drained: BTreeSet<String>,
}

/// The state of a rollout.
pub(super) enum RolloutState {
    InProgress,
    Done,
    Failed(String, String),
}

impl Fleet {
    /// Returns the rollout that a call asks for.
    pub(super) fn plan_rollout(
        &self,
        nodegroup: &str,
        change: &VersionChange,
    ) -> Result<Rollout, UpdateError> {
        let nodegroup = self.nodegroups.get(nodegroup).ok_or(UpdateError::NodegroupNotFound)?;
        let now = &nodegroup.release;
        let version = change.version.as_ref().unwrap_or(&now.version);
        let invalid = |message: String| Err(UpdateError::InvalidVersion(message));
        let (Some(wanted), Some(current), Some(most)) =
            (minor(version), minor(&now.version), minor(&self.version))
        else {
            return invalid(format!("Requested Kubernetes version {version} is invalid"));
        };
        if wanted > most {
            return invalid(format!(
                "Nodegroup Kubernetes version {version} can't be greater than cluster version {}",
                self.version
            ));
        }
        if wanted < current {
            return invalid(format!(
                "Nodegroup Kubernetes version can't be lowered from {} to {version}",
                now.version
            ));
        }
        let image = match &change.image {
            None => image(version, DATES[1]),
            Some(wanted) => {
                let known = DATES.map(|date| image(version, date));
                if !known.contains(wanted) {
                    return invalid(format!(
                        "Requested release version {wanted} is not valid for kubernetes version {version}."
                    ));
                }
                wanted.clone()
            }
        };
        if change.template.is_some() && now.template.is_none() {
            return invalid("The nodegroup was not created with a launch template".to_owned());
        }
        let template = change.template.clone().or_else(|| now.template.clone());
        let to = Release { version: version.clone(), image, template };
        let is_old =
            |id: &&String| self.instances.get(*id).is_some_and(|instance| instance.release != to);
        let members = self.groups.get(&nodegroup.group).map(|group| group.members.as_slice());
        let old = members.unwrap_or_default().iter().filter(is_old).cloned().collect();
        Ok(Rollout {
            old,
            to,
            force: change.force,
            draining: BTreeMap::new(),
            drained: BTreeSet::new(),
        })
    }

    /// Continues a rollout, and adds what is to be done with Nodes.
    pub(super) fn advance_rollout(
        &mut self,
        nodegroup: &str,
        rollout: &mut Rollout,
        actions: &mut Vec<NodeAction>,
        now: Timestamp,
    ) -> RolloutState {
        let Some(managed) = self.nodegroups.get(nodegroup) else { return RolloutState::Done };
        let (group, max_unavailable) = (managed.group.clone(), managed.max_unavailable);
        let desired = self.groups.get(&group).map_or(0, |group| group.desired as usize);
        let is_there = |fleet: &Self, id: &String| {
            let instance = fleet.instances.get(id);
            instance.is_some_and(|one| {
                !matches!(one.lifecycle, Lifecycle::Terminating | Lifecycle::Terminated)
            })
        };
        rollout.old.retain(|id| is_there(self, id));
        rollout.draining.retain(|id, _| is_there(self, id));
        let is_available = |id: &String| !rollout.draining.contains_key(id);
        let ready = self
            .members(&group)
            .filter(|member| member.is_ready() && is_available(&member.id))
            .count();
        if rollout.old.is_empty() {
            return if ready >= desired { RolloutState::Done } else { RolloutState::InProgress };
        }
        let most = match max_unavailable {
            MaxUnavailable::Count(count) => count as usize,
            MaxUnavailable::Percentage(percentage) => (desired * percentage as usize / 100).max(1),
        };
        let mut unavailable = desired.saturating_sub(ready);
        let deadline = self.time_after(now, EVICTION_LIMIT);
        for id in &rollout.old {
            if unavailable >= most {
                break;
            }
            if !rollout.draining.contains_key(id) {
                rollout.draining.insert(id.clone(), deadline);
                unavailable += 1;
            }
        }
        let draining: Vec<(String, Timestamp)> =
            rollout.draining.iter().map(|(id, deadline)| (id.clone(), *deadline)).collect();
        for (id, deadline) in draining {
            let is_overdue = deadline <= now;
            if rollout.drained.contains(&id) || is_overdue && rollout.force {
                let cause = format!("At {now} instance {id} was replaced by an update of EKS.");
                self.terminate(&id, &cause, now);
                rollout.draining.remove(&id);
                rollout.old.retain(|old| *old != id);
            } else if is_overdue {
                let message = format!(
                    "Reached max retries while trying to evict pods from nodes in node group {nodegroup}"
                );
                return RolloutState::Failed("PodEvictionFailure".to_owned(), message);
            } else if let Some(instance) = self.instances.get(&id) {
                actions.push(NodeAction::Drain { instance: instance.clone() });
            }
        }
        RolloutState::InProgress
    }

    /// Returns when a rollout is to be continued.
    pub(super) fn next_attempt(&self, now: Timestamp) -> Timestamp {
        self.time_after(now, RETRY_INTERVAL)
    }

    /// Takes note that the node of an instance has no pods left that could be evicted.
    pub(crate) fn mark_drained(&mut self, id: &str) {
        for update in &mut self.updates {
            if update.status == UpdateStatus::InProgress
                && let Some(rollout) = &mut update.rollout
                && rollout.draining.contains_key(id)
            {
                rollout.drained.insert(id.to_owned());
            }
        }
    }
}

/// Returns the minor number of a version such as `1.35`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.parse().ok()
}
