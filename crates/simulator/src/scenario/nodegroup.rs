//! The nodegroups and the Auto Scaling groups of a scenario, and what happens to their launches and updates.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::{ScenarioDuration, serde_duration, serde_optional_duration};
use super::error::ScenarioError;
use super::snapshot::Instance;

/// The processes of a group that can be suspended.
pub(crate) const PROCESSES: [&str; 9] = [
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
];

/// A managed nodegroup and its Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nodegroup {
    /// The name.
    pub name: String,
    /// The labels, which the nodes carry too.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The tags of the nodegroup in EKS, which its group does not have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The taints that the nodegroup declares, which all its nodes carry.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// The taints that a node carries when it registers after the start, until a client removes them.
    #[serde(default)]
    pub startup_taints: Vec<Taint>,
    /// The minimum size.
    #[serde(default)]
    pub min: u32,
    /// The maximum size.
    pub max: u32,
    /// The desired size.
    pub desired: u32,
    /// The Auto Scaling group's desired capacity, if it differs from the nodegroup's because it was
    /// changed without EKS.
    #[serde(default)]
    pub group_desired: Option<u32>,
    /// The instance type.
    #[serde(default = "default_instance_type")]
    pub instance_type: String,
    /// The initial instances, counted from 1, that are protected from scale-in.
    #[serde(default)]
    pub protected: Vec<u32>,
    /// Whether new instances are protected from scale-in when they enter service.
    #[serde(default)]
    pub new_instances_protected: bool,
    /// Launches after the start that take longer than others, by their number from 1.
    #[serde(default)]
    pub slow: Vec<SlowLaunch>,
    /// Launches after the start that fail, in order.
    #[serde(default)]
    pub launch_failures: Vec<LaunchFailure>,
    /// Updates that end as Failed, by their number from 1.
    #[serde(default)]
    pub update_failures: Vec<UpdateFailure>,
    /// The status, `ACTIVE` by default.
    #[serde(default = "default_status")]
    pub status: String,
    /// The Kubernetes version of the nodes, if it is not the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version of the nodegroup's own launch template, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_template_version: Option<String>,
    /// The launch template of the nodegroup, if it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_template: Option<LaunchTemplate>,
    /// The release of the nodes' image, such as `1.35.0-20260101`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_version: Option<String>,
    /// The type of the nodes' image, `AL2023_x86_64_STANDARD` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ami_type: Option<String>,
    /// Whether the instances are on demand or spot instances.
    #[serde(default, skip_serializing_if = "CapacityType::is_on_demand")]
    pub capacity_type: CapacityType,
    /// How many nodes an update of the version may replace at a time, 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<MaxUnavailable>,
    /// The name of the Auto Scaling group, instead of a generated one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_scaling_group: Option<String>,
    /// The further Auto Scaling groups that EKS reports for the nodegroup. They are empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_groups: Vec<String>,
    /// The Auto Scaling group's minimum size, if it is not the nodegroup's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_min: Option<u32>,
    /// The Auto Scaling group's maximum size, if it is not the nodegroup's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_max: Option<u32>,
    /// The tags of the Auto Scaling group, instead of those that EKS sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_tags: Option<BTreeMap<String, String>>,
    /// The processes of the group that are suspended, such as `Launch`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspended_processes: Vec<String>,
    /// The availability zones of the group; `a`, `b` and `c` of the region if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// The capacity of the nodes of later launches, instead of that of the instance type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_capacity: Option<BTreeMap<String, String>>,
    /// The part of it that pods can use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_allocatable: Option<BTreeMap<String, String>>,
    /// Further labels of the nodes of later launches. They have precedence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_labels: BTreeMap<String, String>,
    /// From an instance's launch until its Node is registered, instead of `times.boot`.
    #[serde(default, with = "serde_optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ScenarioDuration>")]
    pub boot: Option<Duration>,
    /// From a Node's registration until it is Ready, instead of `times.node_ready`.
    #[serde(default, with = "serde_optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ScenarioDuration>")]
    pub node_ready: Option<Duration>,
    /// From an instance's termination until its Node is removed, instead of `times.terminate`.
    #[serde(default, with = "serde_optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ScenarioDuration>")]
    pub terminate: Option<Duration>,
    /// The instances at the start, in the order of their launch, instead of `desired` ones that are in service. The
    /// sizes may then be any: the group goes on from here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<Instance>,
}

/// An Auto Scaling group that belongs to no nodegroup. Its instances join the cluster, as self-managed nodes do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlainGroup {
    /// The name.
    pub name: String,
    /// The tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The minimum size.
    #[serde(default)]
    pub min: u32,
    /// The maximum size.
    pub max: u32,
    /// The desired size.
    pub desired: u32,
    /// The instance type.
    #[serde(default = "default_instance_type")]
    pub instance_type: String,
    /// The initial instances, counted from 1, that are protected from scale-in.
    #[serde(default)]
    pub protected: Vec<u32>,
    /// Whether new instances are protected from scale-in when they enter service.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_instances_protected: bool,
    /// The taints with which the nodes of later launches register.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// The processes of the group that are suspended, such as `Launch`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspended_processes: Vec<String>,
    /// The availability zones of the group; `a`, `b` and `c` of the region if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// The capacity of the nodes of later launches, instead of that of the instance type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_capacity: Option<BTreeMap<String, String>>,
    /// The part of it that pods can use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_allocatable: Option<BTreeMap<String, String>>,
    /// Further labels of the nodes of later launches. They have precedence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_labels: BTreeMap<String, String>,
    /// From an instance's launch until its Node is registered, instead of `times.boot`.
    #[serde(default, with = "serde_optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ScenarioDuration>")]
    pub boot: Option<Duration>,
    /// From a Node's registration until it is Ready, instead of `times.node_ready`.
    #[serde(default, with = "serde_optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ScenarioDuration>")]
    pub node_ready: Option<Duration>,
    /// From an instance's termination until its Node is removed, instead of `times.terminate`.
    #[serde(default, with = "serde_optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ScenarioDuration>")]
    pub terminate: Option<Duration>,
    /// The instances at the start, in the order of their launch, instead of `desired` ones that are in service. The
    /// sizes may then be any: the group goes on from here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<Instance>,
}

/// The launch template of a nodegroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LaunchTemplate {
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
}

/// How instances are bought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CapacityType {
    /// On-demand instances.
    #[default]
    OnDemand,
    /// Spot instances.
    Spot,
}

/// A number of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MaxUnavailable {
    /// The number, from 1 to 100.
    Count(u32),
    /// A share of the nodes, such as `33%`.
    Percentage(String),
}

/// A taint of a node, in the words of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value, which may be empty.
    #[serde(default)]
    pub value: String,
    /// `NoSchedule`, `NoExecute` or `PreferNoSchedule`.
    pub effect: String,
}

/// A launch that takes longer than the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowLaunch {
    /// The number of the launch after the start, from 1.
    pub nth: u32,
    /// The boot time, instead of `times.boot`.
    #[serde(with = "serde_duration")]
    #[schemars(with = "ScenarioDuration")]
    pub boot: Duration,
    /// The time from the Node's registration until it is Ready, instead of `times.node_ready`.
    #[serde(default, with = "serde_optional_duration")]
    #[schemars(with = "Option<ScenarioDuration>")]
    pub node_ready: Option<Duration>,
    /// Whether the Node never becomes Ready.
    #[serde(default)]
    pub never_ready: bool,
}

/// A launch that fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LaunchFailure {
    /// How many launches in a row fail in this way.
    #[serde(default = "one")]
    pub times: u32,
    /// The activity's status message.
    #[serde(default = "default_launch_failure")]
    pub message: String,
}

/// An EKS update that fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateFailure {
    /// The number of the nodegroup's update, from 1.
    pub nth: u32,
    /// The error code, such as `NodeCreationFailure`.
    pub code: String,
    /// The error message.
    pub message: String,
}

impl Default for Nodegroup {
    /// Returns a nodegroup of one node, without a name.
    fn default() -> Self {
        Self {
            name: String::new(),
            labels: BTreeMap::new(),
            tags: BTreeMap::new(),
            taints: Vec::new(),
            startup_taints: Vec::new(),
            min: 1,
            max: 3,
            desired: 1,
            group_desired: None,
            instance_type: default_instance_type(),
            protected: Vec::new(),
            new_instances_protected: false,
            slow: Vec::new(),
            launch_failures: Vec::new(),
            update_failures: Vec::new(),
            status: default_status(),
            version: None,
            launch_template_version: None,
            launch_template: None,
            release_version: None,
            ami_type: None,
            capacity_type: CapacityType::OnDemand,
            max_unavailable: None,
            auto_scaling_group: None,
            more_groups: Vec::new(),
            group_min: None,
            group_max: None,
            group_tags: None,
            suspended_processes: Vec::new(),
            zones: Vec::new(),
            node_capacity: None,
            node_allocatable: None,
            node_labels: BTreeMap::new(),
            boot: None,
            node_ready: None,
            terminate: None,
            instances: Vec::new(),
        }
    }
}

impl Default for PlainGroup {
    /// Returns a group of one instance, without a name.
    fn default() -> Self {
        Self {
            name: String::new(),
            tags: BTreeMap::new(),
            min: 1,
            max: 3,
            desired: 1,
            instance_type: default_instance_type(),
            protected: Vec::new(),
            new_instances_protected: false,
            taints: Vec::new(),
            suspended_processes: Vec::new(),
            zones: Vec::new(),
            node_capacity: None,
            node_allocatable: None,
            node_labels: BTreeMap::new(),
            boot: None,
            node_ready: None,
            terminate: None,
            instances: Vec::new(),
        }
    }
}

impl PlainGroup {
    /// Returns the group as that of a nodegroup.
    pub(crate) fn to_nodegroup(&self) -> Nodegroup {
        let group = self.clone();
        Nodegroup {
            auto_scaling_group: Some(group.name.clone()),
            group_tags: Some(group.tags),
            name: group.name,
            min: group.min,
            max: group.max,
            desired: group.desired,
            instance_type: group.instance_type,
            protected: group.protected,
            new_instances_protected: group.new_instances_protected,
            taints: group.taints,
            suspended_processes: group.suspended_processes,
            zones: group.zones,
            node_capacity: group.node_capacity,
            node_allocatable: group.node_allocatable,
            node_labels: group.node_labels,
            boot: group.boot,
            node_ready: group.node_ready,
            terminate: group.terminate,
            instances: group.instances,
            ..Nodegroup::default()
        }
    }
}

impl CapacityType {
    /// Returns the name in EKS.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "ON_DEMAND",
            Self::Spot => "SPOT",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
    fn is_on_demand(&self) -> bool {
        *self == Self::OnDemand
    }
}

impl MaxUnavailable {
    /// Returns the share in percent, if it is one.
    pub(crate) fn percentage(&self) -> Option<u32> {
        match self {
            Self::Count(_) => None,
            Self::Percentage(text) => text.strip_suffix('%')?.parse().ok(),
        }
    }

    fn is_valid(&self) -> bool {
        let number = match self {
            Self::Count(count) => Some(*count),
            Self::Percentage(_) => self.percentage(),
        };
        number.is_some_and(|number| (1..=100).contains(&number))
    }
}

impl Nodegroup {
    /// Checks that the nodegroup is consistent. Its sizes may be any if its instances are listed.
    pub(super) fn validate(&self, is_listed: bool) -> Result<(), ScenarioError> {
        let (min, max) = (self.min, self.max);
        let (group_min, group_max) = (self.group_min.unwrap_or(min), self.group_max.unwrap_or(max));
        let group_desired = self.group_desired.unwrap_or(self.desired);
        let fits = max > 0
            && (min..=max).contains(&self.desired)
            && (group_min..=group_max).contains(&group_desired);
        if !is_listed && !fits {
            return Err(ScenarioError::InvalidSizes(self.name.clone()));
        }
        self.validate_numbers()?;
        self.validate_fields()?;
        let mut taints = self.taints.iter().chain(&self.startup_taints);
        if let Some(taint) = taints.find(|taint| !taint.is_valid()) {
            let (nodegroup, effect) = (self.name.clone(), taint.effect.clone());
            return Err(ScenarioError::InvalidTaint { nodegroup, effect });
        }
        Ok(())
    }

    fn validate_fields(&self) -> Result<(), ScenarioError> {
        let invalid = |field, why: &str| {
            let (nodegroup, why) = (self.name.clone(), why.to_owned());
            Err(ScenarioError::InvalidField { nodegroup, field, why })
        };
        if !self.instances.is_empty() && !self.protected.is_empty() {
            let why = "expected none, because each of `instances` has a field `protected`";
            return invalid("protected", why);
        }
        if self.instances.iter().any(|instance| instance.zone.is_empty()) {
            return invalid("instances", "expected a zone for each");
        }
        if self.launch_template.is_some() && self.launch_template_version.is_some() {
            let why = "expected none, because `launch_template` has the version";
            return invalid("launch_template_version", why);
        }
        if self.max_unavailable.as_ref().is_some_and(|most| !most.is_valid()) {
            return invalid("max_unavailable", "expected 1 to 100, or 1% to 100%");
        }
        let known = |process: &String| PROCESSES.contains(&process.as_str());
        if !self.suspended_processes.iter().all(known) {
            let why = format!("expected some of {}", PROCESSES.join(", "));
            return invalid("suspended_processes", &why);
        }
        Ok(())
    }

    /// Checks the numbers of instances, launches and updates, which count from 1.
    fn validate_numbers(&self) -> Result<(), ScenarioError> {
        let initial = self.group_desired.unwrap_or(self.desired);
        let protected = self.protected.iter().map(|nth| ("protected", *nth, initial));
        let slow = self.slow.iter().map(|slow| ("slow.nth", slow.nth, u32::MAX));
        let failures = self.update_failures.iter();
        let failures = failures.map(|failure| ("update_failures.nth", failure.nth, u32::MAX));
        let outside =
            protected.chain(slow).chain(failures).find(|(_, nth, max)| !(1..=*max).contains(nth));
        let Some((field, number, max)) = outside else { return Ok(()) };
        let limit = match max {
            u32::MAX => "1 or more".to_owned(),
            0 => "none, because there are no instances at the start".to_owned(),
            max => format!("1 to {max}, the instances at the start"),
        };
        Err(ScenarioError::InvalidNumber { nodegroup: self.name.clone(), field, number, limit })
    }
}

impl Taint {
    fn is_valid(&self) -> bool {
        matches!(self.effect.as_str(), "NoSchedule" | "NoExecute" | "PreferNoSchedule")
    }
}

fn one() -> u32 {
    1
}

fn default_instance_type() -> String {
    "m5.xlarge".to_owned()
}

fn default_status() -> String {
    "ACTIVE".to_owned()
}

fn default_launch_failure() -> String {
    "Could not launch On-Demand Instances. InsufficientInstanceCapacity - We currently do not have \
     sufficient m5.xlarge capacity in the Availability Zone you requested (us-west-2a). Launching \
     EC2 instance failed."
        .to_owned()
}
