//! EKS updates of a nodegroup's configuration: which updates are accepted, how they are applied and
//! how they end.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::scenario::Taint;

use super::rollout::{Release, Rollout, RolloutState, VersionChange};
use super::{Fleet, NodeAction};

/// The time between EKS accepting an update and changing the Auto Scaling group; until then the old
/// sizes are described.
const APPLY_DELAY: Duration = Duration::from_secs(3);

/// The sizes of a nodegroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) desired: u32,
}

/// The parameters of an `UpdateNodegroupConfig` call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConfigChange {
    pub(crate) nodegroup: String,
    pub(crate) min: Option<u32>,
    pub(crate) max: Option<u32>,
    pub(crate) desired: Option<u32>,
    pub(crate) add_labels: BTreeMap<String, String>,
    pub(crate) remove_labels: Vec<String>,
    pub(crate) add_taints: Vec<Taint>,
    pub(crate) remove_taints: Vec<Taint>,
    pub(crate) max_unavailable: Option<MaxUnavailable>,
}

/// How many nodes a version update may replace at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxUnavailable {
    Count(u32),
    Percentage(u32),
}

/// An update of a nodegroup's configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConfigUpdate {
    pub(crate) id: String,
    pub(crate) change: ConfigChange,
    /// The change of the version, if the update is one.
    pub(crate) version: Option<VersionChange>,
    pub(super) rollout: Option<Rollout>,
    pub(crate) status: UpdateStatus,
    pub(crate) created: Timestamp,
    /// The code and the message of each error.
    pub(crate) errors: Vec<(String, String)>,
    pub(super) apply_at: Option<Timestamp>,
    pub(super) end_at: Timestamp,
    pub(super) failure: Option<(String, String)>,
}

/// The status of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpdateStatus {
    InProgress,
    Successful,
    Failed,
}

impl UpdateStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "InProgress",
            Self::Successful => "Successful",
            Self::Failed => "Failed",
        }
    }
}

/// The reason why an update was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UpdateError {
    NodegroupNotFound,
    InUse,
    InvalidSizes(String),
    InvalidVersion(String),
    TokenReused,
}

impl Fleet {
    /// Accepts an update, or returns the update that an earlier call with the same token started.
    /// The flag is whether the update is new.
    pub(crate) fn start_update(
        &mut self,
        change: ConfigChange,
        version: Option<VersionChange>,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<(ConfigUpdate, bool), UpdateError> {
        let known = token.and_then(|token| self.tokens.get(token));
        if let Some((before, version_before, id)) = known {
            let earlier = self.updates.iter().find(|update| update.id == *id);
            return match earlier.filter(|_| *before == change && *version_before == version) {
                Some(earlier) => Ok((earlier.clone(), false)),
                None => Err(UpdateError::TokenReused),
            };
        }
        let id = self.ids.uuid("update");
        let (apply_at, end_at) = (
            self.time_after(now, APPLY_DELAY.min(self.times.update)),
            self.time_after(now, self.times.update),
        );
        let rollout = match &version {
            Some(version) => Some(self.plan_rollout(&change.nodegroup, version)?),
            None => None,
        };
        let nodegroup =
            self.nodegroups.get_mut(&change.nodegroup).ok_or(UpdateError::NodegroupNotFound)?;
        if !matches!(nodegroup.status.as_str(), "ACTIVE" | "DEGRADED") {
            return Err(UpdateError::InUse);
        }
        check_sizes(change.apply_to(nodegroup.sizes))?;
        nodegroup.updates += 1;
        "UPDATING".clone_into(&mut nodegroup.status);
        let failure = nodegroup
            .failures
            .iter()
            .find(|failure| failure.nth == nodegroup.updates)
            .map(|failure| (failure.code.clone(), failure.message.clone()));
        let rollout = rollout.filter(|_| failure.is_none());
        if let Some(rollout) = &rollout {
            nodegroup.launched_release = rollout.to.clone();
        }
        let update = ConfigUpdate {
            id: id.clone(),
            change: change.clone(),
            version: version.clone(),
            rollout,
            status: UpdateStatus::InProgress,
            created: now,
            errors: Vec::new(),
            apply_at: failure.is_none().then_some(apply_at),
            end_at,
            failure,
        };
        self.updates.push(update.clone());
        if let Some(token) = token {
            self.tokens.insert(token.to_owned(), (change, version, id));
        }
        Ok((update, true))
    }

    /// Advances the updates to `now`, and adds what is to be done with Nodes; returns when there is more to do.
    pub(super) fn advance_updates(
        &mut self,
        now: Timestamp,
        actions: &mut Vec<NodeAction>,
    ) -> Option<Timestamp> {
        let mut due = None;
        for index in 0..self.updates.len() {
            let update = &mut self.updates[index];
            if update.status != UpdateStatus::InProgress {
                continue;
            }
            if let Some(mut rollout) = update.rollout.take() {
                let name = update.change.nodegroup.clone();
                let state = self.advance_rollout(&name, &mut rollout, actions, now);
                if matches!(state, RolloutState::InProgress) {
                    let next = self.next_attempt(now);
                    due = Some(due.map_or(next, |due: Timestamp| due.min(next)));
                    self.updates[index].rollout = Some(rollout);
                } else {
                    self.end_rollout(index, rollout.to, state, now);
                }
                continue;
            }
            if update.apply_at.is_some_and(|moment| moment <= now) {
                update.apply_at = None;
                let change = update.change.clone();
                self.apply_change(&change, now);
            }
            let update = &mut self.updates[index];
            if update.end_at <= now {
                update.status = match update.failure.take() {
                    Some(error) => {
                        update.errors.push(error);
                        UpdateStatus::Failed
                    }
                    None => UpdateStatus::Successful,
                };
                let name = update.change.nodegroup.clone();
                if let Some(nodegroup) = self.nodegroups.get_mut(&name) {
                    nodegroup.status = nodegroup.steady_status.clone();
                }
            } else {
                let next = update.apply_at.unwrap_or(update.end_at);
                due = Some(due.map_or(next, |due: Timestamp| due.min(next)));
            }
        }
        due
    }

    fn end_rollout(&mut self, index: usize, to: Release, state: RolloutState, now: Timestamp) {
        let update = &mut self.updates[index];
        let Some(nodegroup) = self.nodegroups.get_mut(&update.change.nodegroup) else { return };
        nodegroup.status = nodegroup.steady_status.clone();
        if let RolloutState::Failed(code, message) = state {
            update.status = UpdateStatus::Failed;
            update.errors.push((code, message));
            nodegroup.launched_release = nodegroup.release.clone();
        } else {
            update.status = UpdateStatus::Successful;
            nodegroup.release = to;
            nodegroup.modified = now;
        }
    }

    fn apply_change(&mut self, change: &ConfigChange, now: Timestamp) {
        let Some(nodegroup) = self.nodegroups.get_mut(&change.nodegroup) else {
            return;
        };
        nodegroup.sizes = change.apply_to(nodegroup.sizes);
        nodegroup.modified = now;
        nodegroup.labels.extend(change.add_labels.clone());
        for label in &change.remove_labels {
            nodegroup.labels.remove(label);
        }
        let is_same = |a: &Taint, b: &Taint| a.key == b.key && a.effect == b.effect;
        for taint in change.add_taints.iter().chain(&change.remove_taints) {
            nodegroup.taints.retain(|other| !is_same(other, taint));
        }
        nodegroup.taints.extend(change.add_taints.clone());
        if let Some(max_unavailable) = change.max_unavailable {
            nodegroup.max_unavailable = max_unavailable;
        }
        let resized = change.min.is_some() || change.max.is_some() || change.desired.is_some();
        let sizes = nodegroup.sizes;
        if resized && let Some(group) = self.groups.get_mut(&nodegroup.group) {
            group.min = sizes.min;
            group.max = sizes.max;
            group.desired = match change.desired {
                Some(desired) => desired,
                // If no desired size is given, the group keeps its own within the new bounds.
                None => group.desired.clamp(sizes.min, sizes.max),
            };
            group.all_protected_reported = false;
        }
    }
}

impl ConfigChange {
    /// Returns `sizes` with this change.
    fn apply_to(&self, sizes: Sizes) -> Sizes {
        Sizes {
            min: self.min.unwrap_or(sizes.min),
            max: self.max.unwrap_or(sizes.max),
            desired: self.desired.unwrap_or(sizes.desired),
        }
    }
}

fn check_sizes(sizes: Sizes) -> Result<(), UpdateError> {
    let Sizes { min, max, desired } = sizes;
    let message = if max == 0 {
        "Maximum capacity must be at least 1".to_owned()
    } else if min > max {
        format!("Minimum capacity {min} can't be greater than maximum capacity {max}")
    } else if min > desired {
        format!("Minimum capacity {min} can't be greater than desired size {desired}")
    } else if desired > max {
        format!("Desired capacity {desired} can't be greater than max size {max}")
    } else {
        return Ok(());
    };
    Err(UpdateError::InvalidSizes(message))
}
