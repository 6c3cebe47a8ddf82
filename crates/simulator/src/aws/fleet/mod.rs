//! The state of the simulated account: nodegroups, Auto Scaling groups, instances and EKS updates,
//! and their changes with time. No I/O: the actions on Nodes are returned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::ids::{IdGenerator, mixed_seed};
use crate::scenario::{self, CapacityType, Scenario, SlowLaunch, Times};
use clock::Clock;

mod advance;
mod group;
mod instance;
mod listed;
mod rollout;
#[cfg(test)]
mod tests;
mod update;

pub(crate) use advance::NodeAction;
pub(crate) use group::{ActivityStatus, AutoScalingGroup, ScalingActivity};
pub(crate) use instance::{Lifecycle, SimulatedInstance};
pub(crate) use rollout::{Release, VersionChange};
pub(crate) use update::{ConfigChange, ConfigUpdate, MaxUnavailable, Sizes, UpdateError};

/// The role of every client, and the session in which they all act.
const ROLE: &str = "rafay-relay-sop-role";
const SESSION: &str = "simulator";

/// The id of that session: that of the role, and the name of the session.
pub(crate) const CALLER_ID: &str = "AROASIMULATOR:simulator";

/// A managed nodegroup, as EKS describes it.
#[derive(Debug, Clone)]
pub(crate) struct ManagedNodegroup {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) group: String,
    /// The further groups, which are empty.
    pub(crate) more_groups: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) taints: Vec<scenario::Taint>,
    pub(crate) startup_taints: Vec<scenario::Taint>,
    pub(crate) sizes: Sizes,
    pub(crate) max_unavailable: MaxUnavailable,
    /// The release that the nodegroup is described with.
    pub(crate) release: Release,
    /// The release of the instances that are launched.
    launched_release: Release,
    pub(crate) status: String,
    pub(crate) instance_type: String,
    pub(crate) ami_type: String,
    pub(crate) capacity_type: CapacityType,
    /// The id and the name of the launch template, if there is one.
    pub(crate) launch_template: (String, String),
    pub(crate) created: Timestamp,
    pub(crate) modified: Timestamp,
    pub(crate) updates: u32,
    failures: Vec<scenario::UpdateFailure>,
    /// The status of the nodegroup while no update is in progress.
    steady_status: String,
}

/// The simulated account.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) cluster: String,
    pub(crate) version: String,
    /// The address of the API server.
    pub(crate) endpoint: String,
    /// The certificate authority of the API server, in PEM.
    pub(crate) authority: String,
    pub(crate) created: Timestamp,
    pub(crate) nodegroups: BTreeMap<String, ManagedNodegroup>,
    pub(crate) groups: BTreeMap<String, AutoScalingGroup>,
    /// Every instance, including terminated ones.
    pub(crate) instances: BTreeMap<String, SimulatedInstance>,
    pub(crate) updates: Vec<ConfigUpdate>,
    tokens: BTreeMap<String, (ConfigChange, Option<VersionChange>, String)>,
    times: Times,
    clock: Clock,
    ids: IdGenerator,
    host_count: u32,
    /// The names and the addresses that new instances do not get.
    reserved: BTreeSet<String>,
}

impl Fleet {
    /// Creates the account that the scenario describes. Every initial instance is in service, and
    /// its Node is not registered yet.
    pub(crate) fn new(scenario: &Scenario, clock: Clock, now: Timestamp) -> Self {
        let plain: Vec<scenario::Nodegroup> =
            scenario.auto_scaling_groups.iter().map(scenario::PlainGroup::to_nodegroup).collect();
        let listed = scenario.nodegroups.iter().chain(&plain).flat_map(|group| &group.instances);
        let seed = mixed_seed(scenario.seed, listed.map(|instance| instance.id.as_str()));
        let nodes = scenario.initial_nodes();
        let mut fleet = Self {
            account: scenario.account.clone(),
            region: scenario.region.clone(),
            cluster: scenario.cluster.clone(),
            version: scenario.version.clone(),
            endpoint: String::new(),
            authority: String::new(),
            created: now,
            nodegroups: BTreeMap::new(),
            groups: BTreeMap::new(),
            instances: BTreeMap::new(),
            updates: Vec::new(),
            tokens: BTreeMap::new(),
            times: scenario.times.clone(),
            clock,
            // The two halves have separate series of ids, so that neither depends on the calls to
            // the other.
            ids: IdGenerator::new(seed ^ 0x5EED),
            host_count: 0,
            reserved: BTreeSet::new(),
        };
        for (name, node) in &nodes {
            fleet.reserved.insert(name.clone());
            fleet.reserved.extend(node.addresses.iter().cloned());
        }
        for wanted in &scenario.nodegroups {
            let group = fleet.add_nodegroup(wanted, now);
            if scenario.has_listed_instances(wanted) {
                fleet.add_listed(&group, &wanted.instances, &nodes, now);
            } else {
                fleet.add_desired(&group, wanted, now);
            }
        }
        for wanted in &plain {
            let group = AutoScalingGroup::plain(wanted, &fleet, now);
            fleet.groups.insert(wanted.name.clone(), group);
            if scenario.has_listed_instances(wanted) {
                fleet.add_listed(&wanted.name, &wanted.instances, &nodes, now);
            } else {
                fleet.add_desired(&wanted.name, wanted, now);
            }
        }
        fleet
    }

    /// Adds a nodegroup and its groups without instances, and returns the name of its group.
    fn add_nodegroup(&mut self, wanted: &scenario::Nodegroup, now: Timestamp) -> String {
        let id = self.ids.uuid(&wanted.name);
        let generated = || format!("eks-{}-{id}", wanted.name);
        let group = wanted.auto_scaling_group.clone().unwrap_or_else(generated);
        let arn = format!(
            "arn:aws:eks:{}:{}:nodegroup/{}/{}/{id}",
            self.region, self.account, self.cluster, wanted.name
        );
        let version = wanted.version.clone().unwrap_or_else(|| self.version.clone());
        let template = wanted.launch_template.as_ref();
        let template_version = template.map(|template| template.version.clone());
        let mut release = Release::first(
            &version,
            template_version.or_else(|| wanted.launch_template_version.clone()),
        );
        if let Some(image) = &wanted.release_version {
            release.image.clone_from(image);
        }
        let launch_template = match template {
            Some(template) => (template.id.clone(), template.name.clone()),
            None => (format!("lt-0{}", wanted.name), wanted.name.clone()),
        };
        let max_unavailable = match &wanted.max_unavailable {
            Some(scenario::MaxUnavailable::Count(count)) => MaxUnavailable::Count(*count),
            Some(share) => MaxUnavailable::Percentage(share.percentage().unwrap_or(1)),
            None => MaxUnavailable::Count(1),
        };
        let ami_type = wanted.ami_type.clone();
        self.nodegroups.insert(
            wanted.name.clone(),
            ManagedNodegroup {
                name: wanted.name.clone(),
                arn,
                group: group.clone(),
                more_groups: wanted.more_groups.clone(),
                labels: wanted.labels.clone(),
                tags: wanted.tags.clone(),
                taints: wanted.taints.clone(),
                startup_taints: wanted.startup_taints.clone(),
                sizes: Sizes { min: wanted.min, max: wanted.max, desired: wanted.desired },
                max_unavailable,
                launched_release: release.clone(),
                release,
                status: wanted.status.clone(),
                steady_status: wanted.status.clone(),
                instance_type: wanted.instance_type.clone(),
                ami_type: ami_type.unwrap_or_else(|| "AL2023_x86_64_STANDARD".to_owned()),
                capacity_type: wanted.capacity_type,
                launch_template,
                created: now,
                modified: now,
                updates: 0,
                failures: wanted.update_failures.clone(),
            },
        );
        for name in &wanted.more_groups {
            self.groups.insert(name.clone(), AutoScalingGroup::empty(name, wanted, self, now));
        }
        self.groups.insert(group.clone(), AutoScalingGroup::new(&group, wanted, self, now));
        group
    }

    /// Adds as many instances to a group as it desires, all of them in service.
    fn add_desired(&mut self, group: &str, wanted: &scenario::Nodegroup, now: Timestamp) {
        let desired = self.groups.get(group).map_or(0, |group| group.desired);
        for number in 1..=desired {
            let id = self.add_instance(group, now);
            let protected = wanted.protected.contains(&number) || wanted.new_instances_protected;
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.lifecycle = Lifecycle::InService;
                instance.protected = protected;
                instance.in_service_at = now;
                instance.ready_at = Some(now);
            }
        }
    }

    /// Returns the ARN of the role whose policies decide what a client may do.
    pub(crate) fn role_arn(&self) -> String {
        format!("arn:aws:iam::{}:role/{ROLE}", self.account)
    }

    /// Returns the ARN of a client: a session of the role.
    pub(crate) fn caller_arn(&self) -> String {
        format!("arn:aws:sts::{}:assumed-role/{ROLE}/{SESSION}", self.account)
    }

    /// Returns the members of a group in the order of their launch.
    pub(crate) fn members<'a>(
        &'a self,
        group: &'a str,
    ) -> impl Iterator<Item = &'a SimulatedInstance> {
        self.groups
            .get(group)
            .into_iter()
            .flat_map(|group| &group.members)
            .filter_map(|id| self.instances.get(id))
    }

    /// Returns the time at which something that takes `nominal` and starts now ends.
    fn time_after(&self, now: Timestamp, nominal: Duration) -> Timestamp {
        let delay = SignedDuration::try_from(self.clock.delay(nominal));
        delay.ok().and_then(|delay| now.checked_add(delay).ok()).unwrap_or(Timestamp::MAX)
    }

    /// Launches an instance into a group. The instance is Pending until it has booted.
    fn add_instance(&mut self, group: &str, now: Timestamp) -> String {
        let mut id = format!("i-0{}", self.ids.hex(group, 16));
        while self.instances.contains_key(&id) {
            id = format!("i-0{}", self.ids.hex(group, 16));
        }
        let zone = self.emptiest_zone(group);
        let address = self.free_address(&zone);
        let slow = self.slow_launch(group);
        let times = self.groups.get(group).map(|group| group.times);
        let (boot, node_ready) =
            times.map_or((self.times.boot, self.times.node_ready), |t| (t.boot, t.node_ready));
        let boot = slow.as_ref().map_or(boot, |slow| slow.boot);
        let time_to_ready = slow.as_ref().and_then(|slow| slow.node_ready).unwrap_or(node_ready);
        let never = slow.is_some_and(|slow| slow.never_ready);
        let instance = SimulatedInstance {
            id: id.clone(),
            group: group.to_owned(),
            node_name: instance::private_name(&zone, &address),
            zone,
            address,
            instance_type: self
                .groups
                .get(group)
                .map_or(String::new(), |g| g.instance_type.clone()),
            release: self.launched_release(group),
            lifecycle: Lifecycle::Pending,
            protected: false,
            protect_at_launch: self.groups.get(group).is_some_and(|g| g.new_instances_protected),
            launched: now,
            in_service_at: self.time_after(now, boot),
            ready_at: (!never).then(|| self.time_after(now, boot + time_to_ready)),
            terminated_at: None,
            node: instance::NodeState::Absent,
        };
        self.insert_instance(instance);
        id
    }

    /// Adds an instance to its group.
    fn insert_instance(&mut self, instance: SimulatedInstance) {
        if let Some(group) = self.groups.get_mut(&instance.group) {
            if instance.lifecycle != Lifecycle::Terminating {
                *group.zone_sizes.entry(instance.zone.clone()).or_default() += 1;
            }
            group.members.push(instance.id.clone());
        }
        self.instances.insert(instance.id.clone(), instance);
    }

    /// Returns the release of the instances that a group launches now.
    fn launched_release(&self, group: &str) -> Release {
        let nodegroup = self.groups.get(group).and_then(|g| self.nodegroups.get(&g.nodegroup));
        nodegroup.map_or_else(
            || Release::first(&self.version, None),
            |nodegroup| nodegroup.launched_release.clone(),
        )
    }

    /// Returns the next address that no Node has.
    fn free_address(&mut self, zone: &str) -> String {
        loop {
            self.host_count += 1;
            let host = self.host_count;
            let address = format!("10.0.{}.{}", 16 + host / 200, 10 + host % 200);
            let name = instance::private_name(zone, &address);
            if !self.reserved.contains(&address) && !self.reserved.contains(&name) {
                return address;
            }
        }
    }

    fn slow_launch(&self, group: &str) -> Option<SlowLaunch> {
        let group = self.groups.get(group)?;
        let slow = group.slow.iter().find(|slow| slow.nth == group.launches);
        slow.cloned()
    }

    /// Returns the zone in which the group has the fewest members, the first one of several.
    fn emptiest_zone(&self, group: &str) -> String {
        let Some(group) = self.groups.get(group) else { return String::new() };
        let count_in = |zone: &String| group.zone_sizes.get(zone).copied().unwrap_or(0);
        group.zones.iter().min_by_key(|zone| count_in(zone)).cloned().unwrap_or_default()
    }
}
