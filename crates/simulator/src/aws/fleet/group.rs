//! An Auto Scaling group and its activities.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;

use crate::scenario::{self, SlowLaunch};

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
    /// How many members each zone has that are not being terminated.
    pub(super) zones: BTreeMap<String, usize>,
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

impl AutoScalingGroup {
    pub(super) fn new(
        name: &str,
        wanted: &scenario::Nodegroup,
        desired: u32,
        region: &str,
        cluster: &str,
        now: Timestamp,
    ) -> Self {
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
        Self {
            name: name.to_owned(),
            nodegroup: wanted.name.clone(),
            instance_type: wanted.instance_type.clone(),
            min: wanted.min,
            max: wanted.max,
            desired,
            new_instances_protected: wanted.new_instances_protected,
            created: now,
            members: Vec::new(),
            zones: BTreeMap::new(),
            activities: Vec::new(),
            open_activities: HashMap::new(),
            tags: tags.into_iter().map(|(key, value)| (key, value.to_owned())).collect(),
            suspended: BTreeSet::new(),
            launches: 0,
            slow: wanted.slow.clone(),
            failures: failures.collect(),
            retry_at: None,
            all_protected_reported: false,
        }
    }

    /// Creates a group that belongs to no nodegroup.
    pub(super) fn plain(
        wanted: &scenario::Nodegroup,
        tags: BTreeMap<String, String>,
        now: Timestamp,
    ) -> Self {
        let group = Self::new(&wanted.name, wanted, wanted.desired, "", "", now);
        Self { nodegroup: String::new(), tags, ..group }
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
