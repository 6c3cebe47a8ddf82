//! The account's changes with time: launches, boots, terminations.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::aws::protocol::format_iso8601;

use super::instance::NodeState;
use super::{ActivityStatus, Fleet, Lifecycle, ScalingActivity, SimulatedInstance};

/// An action on a Node. Actions are carried out in the order of the list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NodeAction {
    /// The instance's kubelet registers its Node, which may be Ready at once.
    Register { instance: SimulatedInstance, ready: bool },
    /// The instance's Node becomes Ready.
    MakeReady { instance: SimulatedInstance },
    /// The instance's Node is removed.
    Remove { instance: SimulatedInstance },
    /// The instance's Node is cordoned, and its pods are evicted.
    Drain { instance: SimulatedInstance },
}

impl Fleet {
    /// Does what is due, and returns the actions on Nodes and when there will be more to do.
    pub(crate) fn advance(&mut self, now: Timestamp) -> (Vec<NodeAction>, Option<Timestamp>) {
        let mut actions = Vec::new();
        let mut due = self.advance_updates(now, &mut actions);
        let mut keep_earliest = |moment: Timestamp| {
            due = Some(due.map_or(moment, |due: Timestamp| due.min(moment)));
        };
        let names: Vec<String> = self.groups.keys().cloned().collect();
        for name in &names {
            if let Some(retry) = self.reconcile_size(name, now) {
                keep_earliest(retry);
            }
        }
        let mut shrunk = false;
        let ids: Vec<String> = names
            .iter()
            .filter_map(|name| self.groups.get(name))
            .flat_map(|group| group.members.clone())
            .collect();
        for id in ids {
            let Some(instance) = self.instances.get_mut(&id) else {
                continue;
            };
            let before = instance.lifecycle;
            let (step, next) = instance.advance(now);
            actions.extend(step);
            if let Some(next) = next {
                keep_earliest(next);
            }
            if instance.lifecycle != before
                && let Some(group) = self.groups.get_mut(&instance.group)
            {
                // The instance is in service or terminated.
                group.finish_activity(&id, now);
                shrunk |= instance.lifecycle == Lifecycle::Terminated;
            }
        }
        if shrunk {
            let instances = &self.instances;
            let is_member = |id: &String| {
                instances.get(id).is_some_and(|one| one.lifecycle != Lifecycle::Terminated)
            };
            self.groups.values_mut().for_each(|group| group.members.retain(is_member));
        }
        (actions, due)
    }

    /// Starts the termination of an instance.
    pub(crate) fn terminate(
        &mut self,
        id: &str,
        cause: &str,
        now: Timestamp,
    ) -> Option<ScalingActivity> {
        let of_instance = self.groups.get(&self.instances.get(id)?.group)?;
        let terminated_at = self.time_after(now, of_instance.times.terminate);
        let instance = self.instances.get_mut(id)?;
        let group = self.groups.get_mut(&instance.group)?;
        if instance.lifecycle != Lifecycle::Terminating
            && let Some(count) = group.zone_sizes.get_mut(&instance.zone)
        {
            *count -= 1;
        }
        instance.lifecycle = Lifecycle::Terminating;
        instance.terminated_at = Some(terminated_at);
        instance.protected = false;
        let group = instance.group.clone();
        let description = format!("Terminating EC2 instance: {id}");
        let activity = self.new_activity(Some(id), description, cause, now);
        self.groups.get_mut(&group)?.record_activity(activity.clone());
        Some(activity)
    }

    /// Launches or terminates instances until the group has its desired capacity. Returns when a
    /// failed launch is retried.
    fn reconcile_size(&mut self, name: &str, now: Timestamp) -> Option<Timestamp> {
        let active =
            self.members(name).filter(|member| member.lifecycle != Lifecycle::Terminating).count();
        let group = self.groups.get_mut(name)?;
        let desired = group.desired as usize;
        if active < desired && !group.is_suspended("Launch") {
            group.all_protected_reported = false;
            if group.retry_at.is_some_and(|retry| retry > now) {
                return group.retry_at;
            }
            group.retry_at = None;
            return self.launch(name, active, desired, now);
        }
        if active > desired && !group.is_suspended("Terminate") {
            self.scale_in(name, active, desired, now);
        }
        None
    }

    fn launch(
        &mut self,
        name: &str,
        active: usize,
        desired: usize,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let cause = format!(
            "At {} an instance was started in response to a difference between desired and actual \
             capacity, increasing the capacity from {active} to {desired}.",
            format_iso8601(now)
        );
        for _ in active..desired {
            let group = self.groups.get_mut(name)?;
            group.launches += 1;
            if let Some(message) = group.failures.pop_front() {
                let retry = self.time_after(now, self.times.relaunch);
                let description = "Launching a new EC2 instance".to_owned();
                let failed = self.new_activity(None, description, &cause, now).into_failed(message);
                let group = self.groups.get_mut(name)?;
                group.record_activity(failed);
                group.retry_at = Some(retry);
                return Some(retry);
            }
            let id = self.add_instance(name, now);
            let description = format!("Launching a new EC2 instance: {id}");
            let activity = self.new_activity(Some(&id), description, &cause, now);
            self.groups.get_mut(name)?.record_activity(activity);
        }
        None
    }

    /// Terminates members that are not protected: the oldest of the zone with the most members
    /// first, as the default termination policy does.
    fn scale_in(&mut self, name: &str, active: usize, desired: usize, now: Timestamp) {
        let cause = format!(
            "At {} an instance was taken out of service in response to a difference between \
             desired and actual capacity, shrinking the capacity from {active} to {desired}.",
            format_iso8601(now)
        );
        let mut zones = self.zones(name);
        for _ in desired..active {
            let Some(victim) = scale_in_candidate(&mut zones) else {
                self.report_all_protected(name, &cause, now);
                return;
            };
            self.terminate(&victim, &cause, now);
        }
    }

    /// Returns the members of each zone.
    fn zones(&self, name: &str) -> BTreeMap<String, ZoneMembers> {
        let mut zones: BTreeMap<String, ZoneMembers> = BTreeMap::new();
        let active = self.members(name).filter(|m| m.lifecycle != Lifecycle::Terminating);
        for (position, member) in active.enumerate() {
            let zone = zones.entry(member.zone.clone()).or_default();
            zone.active += 1;
            if !member.protected {
                zone.unprotected.insert((member.launched, position, member.id.clone()));
            }
        }
        zones
    }

    fn report_all_protected(&mut self, name: &str, cause: &str, now: Timestamp) {
        if self.groups.get(name).is_none_or(|group| group.all_protected_reported) {
            return;
        }
        let description = "Terminating EC2 instance".to_owned();
        let message = "Could not scale to desired capacity because all remaining instances are \
                       protected from scale-in.";
        let failed =
            self.new_activity(None, description, cause, now).into_failed(message.to_owned());
        if let Some(group) = self.groups.get_mut(name) {
            group.all_protected_reported = true;
            group.record_activity(failed);
        }
    }

    fn new_activity(
        &mut self,
        instance: Option<&str>,
        description: String,
        cause: &str,
        now: Timestamp,
    ) -> ScalingActivity {
        ScalingActivity {
            id: self.ids.uuid("activity"),
            instance: instance.map(str::to_owned),
            description,
            cause: cause.to_owned(),
            started: now,
            ended: None,
            status: ActivityStatus::InProgress,
            message: None,
        }
    }
}

/// The members of a group in one zone that are not being terminated.
#[derive(Debug, Default)]
struct ZoneMembers {
    active: usize,
    /// Those that are not protected: the time of the launch, the position in the group, the id.
    unprotected: BTreeSet<(Timestamp, usize, String)>,
}

/// Takes the next instance that is terminated.
fn scale_in_candidate(zones: &mut BTreeMap<String, ZoneMembers>) -> Option<String> {
    let zone = zones.values_mut().filter(|zone| !zone.unprotected.is_empty()).min_by(|a, b| {
        b.active.cmp(&a.active).then_with(|| a.unprotected.first().cmp(&b.unprotected.first()))
    })?;
    zone.active -= 1;
    zone.unprotected.pop_first().map(|(_, _, id)| id)
}

impl SimulatedInstance {
    /// Advances the instance to `now`; returns an action on its Node and when there is more to do.
    fn advance(&mut self, now: Timestamp) -> (Option<NodeAction>, Option<Timestamp>) {
        match self.lifecycle {
            Lifecycle::Terminated => (None, None),
            Lifecycle::Terminating => {
                if let Some(later) = self.terminated_at.filter(|moment| *moment > now) {
                    return (None, Some(later));
                }
                self.lifecycle = Lifecycle::Terminated;
                let registered = self.node != NodeState::Absent;
                let instance = self.clone();
                (registered.then_some(NodeAction::Remove { instance }), None)
            }
            Lifecycle::Pending if self.in_service_at > now => (None, Some(self.in_service_at)),
            Lifecycle::Pending | Lifecycle::InService => {
                if self.lifecycle == Lifecycle::Pending {
                    self.lifecycle = Lifecycle::InService;
                    self.protected = self.protect_at_launch;
                }
                self.advance_node(now)
            }
        }
    }

    fn advance_node(&mut self, now: Timestamp) -> (Option<NodeAction>, Option<Timestamp>) {
        let ready = self.ready_at.is_some_and(|moment| moment <= now);
        let later = self.ready_at.filter(|moment| *moment > now);
        match self.node {
            NodeState::Ready => (None, None),
            NodeState::Registered if !ready => (None, later),
            NodeState::Registered => {
                self.node = NodeState::Ready;
                let instance = self.clone();
                (Some(NodeAction::MakeReady { instance }), None)
            }
            NodeState::Absent => {
                self.node = if ready { NodeState::Ready } else { NodeState::Registered };
                let instance = self.clone();
                (Some(NodeAction::Register { instance, ready }), later)
            }
        }
    }
}
