//! How the account moves on with time: launches, boots, terminations.

use jiff::Timestamp;

use crate::simulator::aws::protocol::iso;

use super::instance::NodeState;
use super::{Activity, ActivityStatus, Fleet, Instance, Lifecycle};

/// Something to be done about a Node, in the order of the list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Work {
    /// The instance's kubelet registers; it may be Ready at once.
    Register { instance: Instance, ready: bool },
    /// Its Node gets Ready.
    MakeReady { instance: Instance },
    /// Its Node goes.
    Remove { instance: Instance },
}

impl Fleet {
    /// Does what is due, and says what is to be done about Nodes and when there will be more to do.
    pub(crate) fn advance(&mut self, now: Timestamp) -> (Vec<Work>, Option<Timestamp>) {
        let mut due = self.advance_updates(now);
        let mut soonest = |moment: Timestamp| {
            due = Some(due.map_or(moment, |due: Timestamp| due.min(moment)));
        };
        let names: Vec<String> = self.groups.keys().cloned().collect();
        for name in &names {
            if let Some(retry) = self.size(name, now) {
                soonest(retry);
            }
        }
        let mut work = Vec::new();
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
            work.extend(step);
            if let Some(next) = next {
                soonest(next);
            }
            let (group, lifecycle) = (instance.group.clone(), instance.lifecycle);
            self.note_progress(&group, &id, lifecycle, now);
        }
        (work, due)
    }

    /// Begins the termination of an instance.
    pub(crate) fn terminate(&mut self, id: &str, cause: &str, now: Timestamp) -> Option<Activity> {
        let gone_at = self.after(now, self.times.terminate);
        let instance = self.instances.get_mut(id)?;
        instance.lifecycle = Lifecycle::Terminating;
        instance.gone_at = Some(gone_at);
        instance.protected = false;
        let group = instance.group.clone();
        let description = format!("Terminating EC2 instance: {id}");
        let begun = self.activity(Some(id), description, cause, now);
        self.groups.get_mut(&group)?.activities.push(begun.clone());
        Some(begun)
    }

    /// Launches or terminates until the group has its size; returns when a failed launch is tried
    /// again.
    fn size(&mut self, name: &str, now: Timestamp) -> Option<Timestamp> {
        let living =
            self.members(name).filter(|member| member.lifecycle != Lifecycle::Terminating).count();
        let group = self.groups.get_mut(name)?;
        let desired = group.desired as usize;
        if living < desired && !group.suspends("Launch") {
            group.noted_protected = false;
            if group.retry_at.is_some_and(|retry| retry > now) {
                return group.retry_at;
            }
            group.retry_at = None;
            return self.launch(name, living, desired, now);
        }
        if living > desired && !group.suspends("Terminate") {
            self.shrink(name, living, desired, now);
        }
        None
    }

    fn launch(
        &mut self,
        name: &str,
        living: usize,
        desired: usize,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let cause = format!(
            "At {} an instance was started in response to a difference between desired and actual \
             capacity, increasing the capacity from {living} to {desired}.",
            iso(now)
        );
        for _ in living..desired {
            let group = self.groups.get_mut(name)?;
            group.launches += 1;
            if let Some(message) = group.failures.pop_front() {
                let retry = self.after(now, self.times.relaunch);
                let description = "Launching a new EC2 instance".to_owned();
                let failed = self.activity(None, description, &cause, now).failed(message);
                let group = self.groups.get_mut(name)?;
                group.activities.push(failed);
                group.retry_at = Some(retry);
                return Some(retry);
            }
            let id = self.add_instance(name, now);
            let description = format!("Launching a new EC2 instance: {id}");
            let begun = self.activity(Some(&id), description, &cause, now);
            self.groups.get_mut(name)?.activities.push(begun);
        }
        None
    }

    /// Terminates members that are not protected: from the fullest zone, the oldest first, as the
    /// default termination policy has it.
    fn shrink(&mut self, name: &str, living: usize, desired: usize, now: Timestamp) {
        let cause = format!(
            "At {} an instance was taken out of service in response to a difference between \
             desired and actual capacity, shrinking the capacity from {living} to {desired}.",
            iso(now)
        );
        for _ in desired..living {
            let Some(victim) = self.victim(name) else {
                self.note_all_protected(name, &cause, now);
                return;
            };
            self.terminate(&victim, &cause, now);
        }
    }

    fn victim(&self, name: &str) -> Option<String> {
        let living: Vec<&Instance> = self
            .members(name)
            .filter(|member| member.lifecycle != Lifecycle::Terminating)
            .collect();
        let population = |zone: &str| living.iter().filter(|member| member.zone == zone).count();
        let mut free: Vec<&&Instance> = living.iter().filter(|member| !member.protected).collect();
        free.sort_by_key(|member| (std::cmp::Reverse(population(&member.zone)), member.launched));
        free.first().map(|member| member.id.clone())
    }

    fn note_all_protected(&mut self, name: &str, cause: &str, now: Timestamp) {
        if self.groups.get(name).is_none_or(|group| group.noted_protected) {
            return;
        }
        let description = "Terminating EC2 instance".to_owned();
        let message = "Could not scale to desired capacity because all remaining instances are \
                       protected from scale-in.";
        let failed = self.activity(None, description, cause, now).failed(message.to_owned());
        if let Some(group) = self.groups.get_mut(name) {
            group.noted_protected = true;
            group.activities.push(failed);
        }
    }

    fn activity(
        &mut self,
        instance: Option<&str>,
        description: String,
        cause: &str,
        now: Timestamp,
    ) -> Activity {
        Activity {
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

    /// Ends the activity of an instance that is in service or gone; one that is gone leaves the
    /// group.
    fn note_progress(&mut self, group: &str, id: &str, lifecycle: Lifecycle, now: Timestamp) {
        let Some(group) = self.groups.get_mut(group) else {
            return;
        };
        match lifecycle {
            Lifecycle::InService => {
                group.finish(id, now);
            }
            Lifecycle::Terminated => {
                group.finish(id, now);
                group.members.retain(|member| member != id);
            }
            Lifecycle::Pending | Lifecycle::Terminating => {}
        }
    }
}

impl Instance {
    /// Moves on as far as the time allows.
    fn advance(&mut self, now: Timestamp) -> (Option<Work>, Option<Timestamp>) {
        match self.lifecycle {
            Lifecycle::Terminated => (None, None),
            Lifecycle::Terminating => match self.gone_at.filter(|moment| *moment > now) {
                Some(later) => (None, Some(later)),
                None => {
                    self.lifecycle = Lifecycle::Terminated;
                    let registered = self.node != NodeState::Absent;
                    let instance = self.clone();
                    (registered.then_some(Work::Remove { instance }), None)
                }
            },
            Lifecycle::Pending if self.in_service_at > now => (None, Some(self.in_service_at)),
            Lifecycle::Pending | Lifecycle::InService => {
                if self.lifecycle == Lifecycle::Pending {
                    self.lifecycle = Lifecycle::InService;
                    self.protected = self.born_protected;
                }
                self.advance_node(now)
            }
        }
    }

    fn advance_node(&mut self, now: Timestamp) -> (Option<Work>, Option<Timestamp>) {
        let ready = self.ready_at.is_some_and(|moment| moment <= now);
        let later = self.ready_at.filter(|moment| *moment > now);
        match self.node {
            NodeState::Ready => (None, None),
            NodeState::Registered if !ready => (None, later),
            NodeState::Registered => {
                self.node = NodeState::Ready;
                let instance = self.clone();
                (Some(Work::MakeReady { instance }), None)
            }
            NodeState::Absent => {
                self.node = if ready { NodeState::Ready } else { NodeState::Registered };
                let instance = self.clone();
                (Some(Work::Register { instance, ready }), later)
            }
        }
    }
}
