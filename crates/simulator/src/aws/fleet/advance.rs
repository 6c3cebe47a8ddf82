//! The account's changes with time: launches, boots, terminations.

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
}

impl Fleet {
    /// Does what is due, and returns the actions on Nodes and when there will be more to do.
    pub(crate) fn advance(&mut self, now: Timestamp) -> (Vec<NodeAction>, Option<Timestamp>) {
        let mut due = self.advance_updates(now);
        let mut keep_earliest = |moment: Timestamp| {
            due = Some(due.map_or(moment, |due: Timestamp| due.min(moment)));
        };
        let names: Vec<String> = self.groups.keys().cloned().collect();
        for name in &names {
            if let Some(retry) = self.reconcile_size(name, now) {
                keep_earliest(retry);
            }
        }
        let mut actions = Vec::new();
        let ids: Vec<String> = names
            .iter()
            .filter_map(|name| self.groups.get(name))
            .flat_map(|group| group.members.clone())
            .collect();
        for id in ids {
            let Some(instance) = self.instances.get_mut(&id) else {
                continue;
            };
            let (step, next) = instance.advance(now);
            actions.extend(step);
            if let Some(next) = next {
                keep_earliest(next);
            }
            let (group, lifecycle) = (instance.group.clone(), instance.lifecycle);
            self.update_activity(&group, &id, lifecycle, now);
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
        let terminated_at = self.time_after(now, self.times.terminate);
        let instance = self.instances.get_mut(id)?;
        instance.lifecycle = Lifecycle::Terminating;
        instance.terminated_at = Some(terminated_at);
        instance.protected = false;
        let group = instance.group.clone();
        let description = format!("Terminating EC2 instance: {id}");
        let activity = self.new_activity(Some(id), description, cause, now);
        self.groups.get_mut(&group)?.activities.push(activity.clone());
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
                group.activities.push(failed);
                group.retry_at = Some(retry);
                return Some(retry);
            }
            let id = self.add_instance(name, now);
            let description = format!("Launching a new EC2 instance: {id}");
            let activity = self.new_activity(Some(&id), description, &cause, now);
            self.groups.get_mut(name)?.activities.push(activity);
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
        for _ in desired..active {
            let Some(scale_in_candidate) = self.scale_in_candidate(name) else {
                self.report_all_protected(name, &cause, now);
                return;
            };
            self.terminate(&scale_in_candidate, &cause, now);
        }
    }

    fn scale_in_candidate(&self, name: &str) -> Option<String> {
        let active: Vec<&SimulatedInstance> = self
            .members(name)
            .filter(|member| member.lifecycle != Lifecycle::Terminating)
            .collect();
        let count_in_zone = |zone: &str| active.iter().filter(|member| member.zone == zone).count();
        let mut unprotected: Vec<&&SimulatedInstance> =
            active.iter().filter(|member| !member.protected).collect();
        unprotected.sort_by_key(|member| {
            (std::cmp::Reverse(count_in_zone(&member.zone)), member.launched)
        });
        unprotected.first().map(|member| member.id.clone())
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
            group.activities.push(failed);
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

    /// Ends the activity of an instance that is in service or terminated, and removes a terminated
    /// instance from the group.
    fn update_activity(&mut self, group: &str, id: &str, lifecycle: Lifecycle, now: Timestamp) {
        let Some(group) = self.groups.get_mut(group) else {
            return;
        };
        match lifecycle {
            Lifecycle::InService => {
                group.finish_activity(id, now);
            }
            Lifecycle::Terminated => {
                group.finish_activity(id, now);
                group.members.retain(|member| member != id);
            }
            Lifecycle::Pending | Lifecycle::Terminating => {}
        }
    }
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
