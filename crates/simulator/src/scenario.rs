//! The initial state of a simulation, as a document: the account, the cluster, its nodegroups and
//! the workloads on them. [`Scenario::default`] is a state in which every step of relay-scale has
//! an effect.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::yaml;

mod standard;
mod workload;

pub use workload::{ConfigMap, Deployment, Spread};

/// The initial state of the account and the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default = "Scenario::empty")]
pub struct Scenario {
    /// The seed of ids, names and UIDs: equal seeds give equal ids.
    pub seed: u64,
    /// The AWS account.
    pub account: String,
    /// The region of the cluster; the other regions are empty.
    pub region: String,
    /// The name of the EKS cluster.
    pub cluster: String,
    /// The Kubernetes version of the cluster, as EKS reports it (`1.35`).
    pub version: String,
    /// The UID of the namespace kube-system, which identifies a cluster. Without it,
    /// each start generates one.
    pub cluster_uid: Option<String>,
    /// How long operations take.
    pub times: Times,
    /// The nodegroups of the cluster.
    pub nodegroups: Vec<Nodegroup>,
    /// The Auto Scaling groups that belong to no nodegroup.
    pub auto_scaling_groups: Vec<PlainGroup>,
    /// Namespaces besides those that every cluster has.
    pub namespaces: Vec<String>,
    /// The config maps.
    pub config_maps: Vec<ConfigMap>,
    /// The deployments.
    pub deployments: Vec<Deployment>,
    /// Any other Kubernetes objects, as in a manifest.
    #[schemars(with = "Vec<serde_json::Map<String, Value>>")]
    pub objects: Vec<Value>,
    /// Containers whose image contains one of these texts fail.
    pub failing_images: Vec<FailingImage>,
}

/// The duration of each operation, in simulated time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Times {
    /// From an instance's launch until it is in service and its Node is registered.
    #[serde(with = "serde_duration")]
    #[schemars(with = "ScenarioDuration")]
    pub boot: Duration,
    /// From a Node's registration until it is Ready.
    #[serde(with = "serde_duration")]
    #[schemars(with = "ScenarioDuration")]
    pub node_ready: Duration,
    /// From an instance's termination until its Node is removed.
    #[serde(with = "serde_duration")]
    #[schemars(with = "ScenarioDuration")]
    pub terminate: Duration,
    /// How long an EKS update is in progress.
    #[serde(with = "serde_duration")]
    #[schemars(with = "ScenarioDuration")]
    pub update: Duration,
    /// How long an Auto Scaling group waits after a failed launch.
    #[serde(with = "serde_duration")]
    #[schemars(with = "ScenarioDuration")]
    pub relaunch: Duration,
    /// From a pod's binding until it is Ready.
    #[serde(with = "serde_duration")]
    #[schemars(with = "ScenarioDuration")]
    pub pod_start: Duration,
    /// From a pod's deletion until it is removed; never longer than its grace period.
    #[serde(with = "serde_duration")]
    #[schemars(with = "ScenarioDuration")]
    pub pod_stop: Duration,
    /// From the start of a job's pod until its containers end.
    #[serde(with = "serde_duration")]
    #[schemars(with = "ScenarioDuration")]
    pub job: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(40),
            node_ready: Duration::from_secs(8),
            terminate: Duration::from_secs(20),
            update: Duration::from_secs(20),
            relaunch: Duration::from_secs(30),
            pod_start: Duration::from_secs(3),
            pod_stop: Duration::from_secs(2),
            job: Duration::from_secs(5),
        }
    }
}

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
}

impl PlainGroup {
    /// Returns the group as that of a nodegroup.
    pub(crate) fn to_nodegroup(&self) -> Nodegroup {
        Nodegroup {
            name: self.name.clone(),
            min: self.min,
            max: self.max,
            desired: self.desired,
            instance_type: self.instance_type.clone(),
            protected: self.protected.clone(),
            ..standard::plain_nodegroup()
        }
    }
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

/// An image whose containers fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailingImage {
    /// A substring of the image's name.
    pub image: String,
    /// How the containers fail.
    pub failure: ContainerFailure,
    /// How many starts of each pod's container fail before one succeeds. Without it, every start
    /// fails.
    #[serde(default)]
    pub times: Option<u32>,
}

/// How a container fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContainerFailure {
    /// `ErrImagePull`, then `ImagePullBackOff`.
    ImagePull,
    /// The container exits again after each start: `CrashLoopBackOff`.
    CrashLoop,
    /// The container runs and never becomes ready; an init container never ends.
    NeverReady,
    /// No address is left for the pod: it stays in `ContainerCreating`, and only an event
    /// (`FailedCreatePodSandBox`) says why.
    Sandbox,
    /// A volume cannot be mounted: the pod stays in `ContainerCreating`, and only an event
    /// (`FailedMount`) says why.
    Mount,
    /// The containers of a job's pod end with this exit code. Those of any other pod do as with `crash_loop`.
    Exit(u8),
}

/// A duration in a scenario file.
struct ScenarioDuration;

impl JsonSchema for ScenarioDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration such as `40s` or `1m 30s`, or a number of seconds.",
            "anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}],
        })
    }
}

impl Scenario {
    /// Returns the JSON Schema of scenario files.
    pub fn json_schema() -> Value {
        let mut schema = schemars::schema_for!(Self).to_value();
        schema["title"] = "A scenario of the simulator of rafay-relay-sop".into();
        schema
    }

    /// Returns the scenario as YAML, with every field.
    ///
    /// # Errors
    /// An object of the scenario that YAML cannot represent.
    pub fn to_yaml(&self) -> Result<String, ScenarioError> {
        serde_saphyr::to_string(self).map_err(|error| ScenarioError::Write(error.to_string()))
    }

    /// Reads a scenario from YAML. Omitted fields are those of the default account and cluster, but
    /// without nodegroups and objects.
    ///
    /// # Errors
    /// Text that is not YAML, a field that is unknown or of the wrong type (the message says
    /// where), or a scenario that is not consistent.
    pub fn from_yaml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = yaml::read(text).map_err(ScenarioError::Parse)?;
        scenario.validate()?;
        Ok(scenario)
    }

    /// Checks that the scenario is consistent.
    pub(crate) fn validate(&self) -> Result<(), ScenarioError> {
        if self.account.len() != 12 || !self.account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ScenarioError::InvalidAccount(self.account.clone()));
        }
        let mut names = BTreeSet::new();
        let plain: Vec<Nodegroup> =
            self.auto_scaling_groups.iter().map(PlainGroup::to_nodegroup).collect();
        for nodegroup in self.nodegroups.iter().chain(&plain) {
            let Nodegroup { name, min, max, desired, .. } = nodegroup;
            if !names.insert(name) {
                return Err(ScenarioError::DuplicateNodegroup(name.clone()));
            }
            let sizes = [Some(*desired), nodegroup.group_desired];
            if *max == 0 || sizes.into_iter().flatten().any(|size| !(*min..=*max).contains(&size)) {
                return Err(ScenarioError::InvalidSizes(name.clone()));
            }
            nodegroup.validate_numbers()?;
            let taints = nodegroup.taints.iter().chain(&nodegroup.startup_taints);
            if let Some(taint) = taints.into_iter().find(|taint| !taint.is_valid()) {
                let (nodegroup, effect) = (name.clone(), taint.effect.clone());
                return Err(ScenarioError::InvalidTaint { nodegroup, effect });
            }
        }
        Ok(())
    }
}

impl Nodegroup {
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

/// The reason why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The text is not a scenario.
    #[error("scenario is not valid: {0}")]
    Parse(String),
    /// The scenario cannot be written.
    #[error("scenario cannot be written as YAML: {0}")]
    Write(String),
    /// Two nodegroups have the same name.
    #[error("duplicate nodegroup {0:?} in the scenario")]
    DuplicateNodegroup(String),
    /// A nodegroup's sizes contradict each other.
    #[error("invalid sizes of nodegroup {0:?}: min <= desired <= max and max >= 1 must hold")]
    InvalidSizes(String),
    /// The account is not an AWS account id.
    #[error("invalid account {0:?} in the scenario: an account id has 12 digits")]
    InvalidAccount(String),
    /// A number of an instance, a launch or an update that there cannot be.
    #[error("invalid {field} {number} of nodegroup {nodegroup:?}: expected {limit}")]
    InvalidNumber {
        /// The nodegroup.
        nodegroup: String,
        /// The field.
        field: &'static str,
        /// The number in it.
        number: u32,
        /// The numbers that are valid.
        limit: String,
    },
    /// A taint has an effect that Kubernetes does not know.
    #[error(
        "invalid taint effect {effect:?} of nodegroup {nodegroup:?}: expected NoSchedule, NoExecute or PreferNoSchedule"
    )]
    InvalidTaint {
        /// The nodegroup.
        nodegroup: String,
        /// The effect.
        effect: String,
    },
}

/// Returns the version of the API server and of the kubelets in a cluster of an EKS version. Both
/// halves of the simulator report it.
pub(crate) fn git_version(version: &str) -> String {
    format!("v{version}.0-eks-simulator")
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

/// The format of a duration: `40s`, `1m 30s`, or a number of seconds.
pub(super) mod serde_duration {
    use std::time::Duration;

    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum DurationRepr {
        Seconds(f64),
        Text(String),
    }

    pub(crate) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = match duration.as_millis() {
            milliseconds if milliseconds % 1000 == 0 => format!("{}s", duration.as_secs()),
            milliseconds => format!("{milliseconds}ms"),
        };
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        match DurationRepr::deserialize(deserializer)? {
            DurationRepr::Seconds(seconds) => {
                Duration::try_from_secs_f64(seconds).map_err(de::Error::custom)
            }
            DurationRepr::Text(text) => {
                let signed: SignedDuration = text.parse().map_err(de::Error::custom)?;
                Duration::try_from(signed).map_err(de::Error::custom)
            }
        }
    }
}

/// The format of an optional duration.
mod serde_optional_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's `with` passes a reference to the field")]
    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serde_duration::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Wrapped(#[serde(with = "super::serde_duration")] Duration);
        let wrapped = Option::<Wrapped>::deserialize(deserializer)?;
        Ok(wrapped.map(|Wrapped(duration)| duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_scenario_survives_a_yaml_round_trip() {
        let scenario = Scenario::default();
        let text = serde_saphyr::to_string(&scenario).unwrap();
        assert_eq!(Scenario::from_yaml(&text).unwrap(), scenario);
    }

    #[test]
    fn a_small_scenario_gets_defaults() {
        let scenario = Scenario::from_yaml(
            "times: {boot: 1m 30s, update: 5}\nnodegroups: [{name: g, max: 3, desired: 2}]\n",
        )
        .unwrap();
        assert_eq!(scenario.times.boot, Duration::from_secs(90));
        assert_eq!(scenario.times.update, Duration::from_secs(5));
        assert_eq!(scenario.nodegroups[0].instance_type, "m5.xlarge");
        assert_eq!(scenario.account, "123456789012");
        assert!(scenario.deployments.is_empty());
    }

    #[test]
    fn an_inconsistent_scenario_is_rejected() {
        let too_large = "nodegroups: [{name: g, max: 3, desired: 4}]";
        assert!(matches!(Scenario::from_yaml(too_large), Err(ScenarioError::InvalidSizes(_))));
        let twice = "nodegroups: [{name: g, max: 3, desired: 3}, {name: g, max: 1, desired: 1}]";
        assert!(matches!(Scenario::from_yaml(twice), Err(ScenarioError::DuplicateNodegroup(_))));
    }

    #[test]
    fn values_that_cannot_be_are_rejected_with_those_that_can() {
        let group = |extra: &str| format!("nodegroups: [{{name: g, max: 3, desired: 2, {extra}}}]");
        let cases = [
            (
                "account: abc".into(),
                "invalid account \"abc\" in the scenario: an account id has 12 digits",
            ),
            (
                group("protected: [2, 3]"),
                "invalid protected 3 of nodegroup \"g\": expected 1 to 2, the instances at the start",
            ),
            (
                group("slow: [{nth: 0, boot: 1m}]"),
                "invalid slow.nth 0 of nodegroup \"g\": expected 1 or more",
            ),
            (
                group("taints: [{key: a, effect: NoScedule}]"),
                "invalid taint effect \"NoScedule\" of nodegroup \"g\": expected NoSchedule, NoExecute or PreferNoSchedule",
            ),
        ];
        for (text, error) in cases {
            assert_eq!(Scenario::from_yaml(&text).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_misspelled_field_is_rejected() {
        let error = Scenario::from_yaml("nodegroup: []").unwrap_err();
        assert!(error.to_string().contains("nodegroup"), "{error}");
    }
}
