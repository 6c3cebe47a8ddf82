//! The instances that a scenario lists: they are there at the start, each in its state.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::scenario::{self, InitialNode, InstanceLifecycle};

use super::instance::{NodeState, private_name};
use super::rollout::Release;
use super::{Fleet, Lifecycle, SimulatedInstance};

/// How long after the launch a Node that is not Ready is expected to become it. One that is older stays as it is.
const JOIN_LIMIT: Duration = Duration::from_mins(10);

impl Fleet {
    /// Adds the listed instances of a group. `nodes` are those that are there already.
    pub(super) fn add_listed(
        &mut self,
        group: &str,
        instances: &[scenario::Instance],
        nodes: &BTreeMap<String, InitialNode>,
        now: Timestamp,
    ) {
        for listed in instances {
            self.reserved.insert(listed.address.clone());
            self.reserved.extend(listed.node.clone());
        }
        for listed in instances {
            let node = listed.node.as_ref().and_then(|name| nodes.get(name));
            if let Some(instance) = self.listed_instance(group, listed, node, now) {
                self.insert_instance(instance);
            }
        }
    }

    fn listed_instance(
        &mut self,
        group: &str,
        listed: &scenario::Instance,
        node: Option<&InitialNode>,
        now: Timestamp,
    ) -> Option<SimulatedInstance> {
        let address = match listed.address.as_str() {
            "" => self.free_address(&listed.zone),
            address => address.to_owned(),
        };
        let managed = self.groups.get(group)?;
        let (times, new_protected) = (managed.times, managed.new_instances_protected);
        let launched = listed.launched.unwrap_or(now);
        let age = Duration::try_from(now.duration_since(launched)).unwrap_or_default();
        let left = |nominal: Duration| self.time_after(now, nominal.saturating_sub(age));
        let is_pending = listed.lifecycle == InstanceLifecycle::Pending;
        let ready_at = match node.map(|node| node.ready.as_str()) {
            Some("True") => Some(now),
            Some("False") if age < JOIN_LIMIT => Some(left(times.boot + times.node_ready)),
            Some(_) => None,
            None if is_pending => Some(left(times.boot + times.node_ready)),
            None => Some(self.time_after(now, times.node_ready)),
        };
        let release = self.launched_release(group);
        let release = match &listed.version {
            Some(version) if *version != release.version => {
                Release::first(version, release.template)
            }
            _ => release,
        };
        let is_terminating = listed.lifecycle == InstanceLifecycle::Terminating;
        Some(SimulatedInstance {
            id: listed.id.clone(),
            group: group.to_owned(),
            node_name: listed.node.clone().unwrap_or_else(|| private_name(&listed.zone, &address)),
            zone: listed.zone.clone(),
            address,
            instance_type: listed
                .instance_type
                .clone()
                .unwrap_or_else(|| managed.instance_type.clone()),
            release,
            lifecycle: match listed.lifecycle {
                InstanceLifecycle::Pending => Lifecycle::Pending,
                InstanceLifecycle::InService => Lifecycle::InService,
                InstanceLifecycle::Terminating => Lifecycle::Terminating,
            },
            protected: listed.protected,
            protect_at_launch: listed.protected || new_protected,
            launched,
            in_service_at: if is_pending { left(times.boot) } else { now },
            ready_at,
            terminated_at: is_terminating.then(|| self.time_after(now, times.terminate)),
            node: match node.map(|node| node.ready.as_str()) {
                Some("True") => NodeState::Ready,
                Some(_) => NodeState::Registered,
                None => NodeState::Absent,
            },
        })
    }
}
