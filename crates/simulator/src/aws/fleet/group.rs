//! An Auto Scaling group and its activities.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use crate::scenario::{self, SlowLaunch, Taint};

use super::Fleet;

/// An Auto Scaling group.
#[derive(Debug, Clone)]
pub(crate) struct AutoScalingGroup {
    pub(crate) name: String,
    /// The nodegroup that it belongs to; empty where it belongs to none.
    pub(crate) nodegroup: String,
    pub(crate) instance_type: String,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) desired: u32,
    pub(crate) new_instances_protected: bool,
    pub(crate) created: Timestamp,
    /// The ids of the instances in the order of their launch.
    pub(crate) members: Vec<String>,
    /// The availability zones in which instances are launched.
    pub(crate) zones: Vec<String>,
    /// How many members each zone has that are not being terminated.
    pub(super) zone_sizes: BTreeMap<String, usize>,
    pub(super) times: LaunchTimes,
    pub(crate) node: NodeTemplate,
    /// The activities, newest last.
    pub(crate) activities: Vec<ScalingActivity>,
    /// The position of each instance's last activity that has not ended.
    open_activities: HashMap<String, usize>,
    pub(crate) tags: BTreeMap<String, String>,
    /// The suspended processes: `Launch`, `Terminate`, ….
    pub(crate) suspended: BTreeSet<String>,
    /// The number of launches since the start, including those that failed.
    pub(super) launches: u32,
    pub(super) slow: Vec<SlowLaunch>,
    /// The messages with which the next launches fail.
    pub(super) failures: VecDeque<String>,
    /// The time before which no launch is retried.
    pub(super) retry_at: Option<Timestamp>,
    /// Whether an activity has reported that every remaining member is protected.
    pub(super) all_protected_reported: bool,
}

/// How long the instances of a group take.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaunchTimes {
    pub(super) boot: Duration,
    pub(super) node_ready: Duration,
    pub(super) terminate: Duration,
}

/// The parts of the group's new Nodes that do not follow from the instance or the nodegroup.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeTemplate {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) capacity: Option<BTreeMap<String, String>>,
    pub(crate) allocatable: Option<BTreeMap<String, String>>,
}

impl AutoScalingGroup {
    /// Creates a nodegroup's group.
    pub(super) fn new(
        name: &str,
        wanted: &scenario::Nodegroup,
        fleet: &Fleet,
        now: Timestamp,
    ) -> Self {
        let (region, cluster) = (fleet.region.as_str(), fleet.cluster.as_str());
        let failures = wanted.launch_failures.iter().flat_map(|failure| {
            (0..failure.times).map(|_| failure.message.replace("us-west-2", region))
        });
        let tags = [
            ("eks:cluster-name".to_owned(), cluster),
            ("eks:nodegroup-name".to_owned(), &wanted.name),
            ("k8s.io/cluster-autoscaler/enabled".to_owned(), "true"),
            (format!("k8s.io/cluster-autoscaler/{cluster}"), "owned"),
            (format!("kubernetes.io/cluster/{cluster}"), "owned"),
        ];
        let tags = || tags.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        let times = LaunchTimes {
            boot: wanted.boot.unwrap_or(fleet.times.boot),
            node_ready: wanted.node_ready.unwrap_or(fleet.times.node_ready),
            terminate: wanted.terminate.unwrap_or(fleet.times.terminate),
        };
        let node = NodeTemplate {
            labels: wanted.node_labels.clone(),
            taints: Vec::new(),
            capacity: wanted.node_capacity.clone(),
            allocatable: wanted.node_allocatable.clone(),
        };
        let zones = match wanted.zones.as_slice() {
            [] => ["a", "b", "c"].map(|letter| format!("{region}{letter}")).to_vec(),
            zones => zones.to_vec(),
        };
        Self {
            name: name.to_owned(),
            nodegroup: wanted.name.clone(),
            instance_type: wanted.instance_type.clone(),
            min: wanted.group_min.unwrap_or(wanted.min),
            max: wanted.group_max.unwrap_or(wanted.max),
            desired: wanted.group_desired.unwrap_or(wanted.desired),
            new_instances_protected: wanted.new_instances_protected,
            created: now,
            members: Vec::new(),
            zones,
            zone_sizes: BTreeMap::new(),
            times,
            node,
            activities: Vec::new(),
            open_activities: HashMap::new(),
            tags: wanted.group_tags.clone().unwrap_or_else(tags),
            suspended: wanted.suspended_processes.iter().cloned().collect(),
            launches: 0,
            slow: wanted.slow.clone(),
            failures: failures.collect(),
            retry_at: None,
            all_protected_reported: false,
        }
    }

    /// Creates a group that belongs to no nodegroup.
    pub(super) fn plain(wanted: &scenario::Nodegroup, fleet: &Fleet, now: Timestamp) -> Self {
        let mut group = Self::new(&wanted.name, wanted, fleet, now);
        group.nodegroup.clear();
        group.node.taints.clone_from(&wanted.taints);
        group
    }

    /// Creates a further group of a nodegroup, which is empty.
    pub(super) fn empty(
        name: &str,
        wanted: &scenario::Nodegroup,
        fleet: &Fleet,
        now: Timestamp,
    ) -> Self {
        Self { min: 0, max: 0, desired: 0, ..Self::new(name, wanted, fleet, now) }
    }

    /// Returns the ids of the subnets in which instances are launched, one of each zone.
    pub(crate) fn subnets(&self) -> Vec<String> {
        let letter = |zone: &String| zone.chars().next_back().unwrap_or('a');
        self.zones.iter().map(|zone| format!("subnet-0{}", letter(zone))).collect()
    }

    /// Lets the group report again that every remaining member is protected, because something has
    /// changed.
    pub(crate) fn reset_protection_report(&mut self) {
        self.all_protected_reported = false;
    }

    pub(super) fn is_suspended(&self, process: &str) -> bool {
        self.suspended.contains(process)
    }

    /// Adds an activity.
    pub(super) fn record_activity(&mut self, activity: ScalingActivity) {
        if let Some(instance) = activity.instance.clone().filter(|_| activity.ended.is_none()) {
            self.open_activities.insert(instance, self.activities.len());
        }
        self.activities.push(activity);
    }

    /// Ends the activity of an instance.
    pub(super) fn finish_activity(&mut self, instance: &str, now: Timestamp) {
        let position = self.open_activities.remove(instance);
        if let Some(activity) = position.and_then(|position| self.activities.get_mut(position)) {
            activity.ended = Some(now);
            activity.status = ActivityStatus::Successful;
        }
    }
}

/// An activity of a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScalingActivity {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) description: String,
    pub(crate) cause: String,
    pub(crate) started: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) status: ActivityStatus,
    pub(crate) message: Option<String>,
}

impl ScalingActivity {
    /// Returns the activity as one that failed at once.
    pub(super) fn into_failed(mut self, message: String) -> Self {
        self.ended = Some(self.started);
        self.status = ActivityStatus::Failed;
        self.message = Some(message);
        self
    }
}

/// The status of an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActivityStatus {
    InProgress,
    Successful,
    Failed,
}

impl ActivityStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "InProgress",
            Self::Successful => "Successful",
            Self::Failed => "Failed",
        }
    }
}
