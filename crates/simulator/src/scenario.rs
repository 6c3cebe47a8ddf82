//! The initial state of a simulation, as a document: the account, the cluster, its nodegroups and
//! the workloads on them. [`Scenario::default`] is a state in which every step of relay-scale has
//! an effect.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kubernetes::cluster_objects;
use crate::yaml;

use duration::ScenarioDuration;

mod cluster_object;
mod duration;
mod error;
mod nodegroup;
mod snapshot;
mod standard;
mod workload;

pub use cluster_object::ClusterObject;
pub(crate) use duration::serde_duration;
pub use error::ScenarioError;
pub(crate) use nodegroup::PROCESSES;
pub use nodegroup::{
    CapacityType, LaunchFailure, LaunchTemplate, MaxUnavailable, Nodegroup, PlainGroup, SlowLaunch,
    Taint, UpdateFailure,
};
pub(crate) use snapshot::InitialNode;
pub use snapshot::{Instance, InstanceLifecycle, WorkloadTimes};
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
    /// Kubernetes objects as they were read from a cluster, with their UIDs, times and statuses. They are there at the
    /// start as they are: nothing is admitted or started because of them, and what they omit has the defaults of the
    /// API server. With any of them, the instances of every group are those that it lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<serde_json::Map<String, Value>>")]
    pub cluster_objects: Vec<ClusterObject>,
    /// How long the pods of single workloads take to start and to stop, where it is not `times`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workload_times: Vec<WorkloadTimes>,
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
        cluster_objects::check(&self.cluster_objects)?;
        let plain: Vec<Nodegroup> =
            self.auto_scaling_groups.iter().map(PlainGroup::to_nodegroup).collect();
        let (mut names, mut groups, mut ids) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for nodegroup in self.nodegroups.iter().chain(&plain) {
            if !names.insert(&nodegroup.name) {
                return Err(ScenarioError::DuplicateNodegroup(nodegroup.name.clone()));
            }
            nodegroup.validate(self.has_listed_instances(nodegroup))?;
            let own = nodegroup.auto_scaling_group.iter().chain(&nodegroup.more_groups);
            for group in own {
                if !groups.insert(group) {
                    return Err(ScenarioError::DuplicateGroup(group.clone()));
                }
            }
            for instance in &nodegroup.instances {
                if !ids.insert(&instance.id) {
                    return Err(ScenarioError::DuplicateInstance(instance.id.clone()));
                }
            }
        }
        Ok(())
    }

    /// Returns whether the instances of a group at the start are those that it lists, instead of as many as it desires.
    pub(crate) fn has_listed_instances(&self, group: &Nodegroup) -> bool {
        !self.cluster_objects.is_empty() || !group.instances.is_empty()
    }
}

/// Returns the version of the API server and of the kubelets in a cluster of an EKS version. Both
/// halves of the simulator report it.
pub(crate) fn git_version(version: &str) -> String {
    format!("v{version}.0-eks-simulator")
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

    const LIVE: &str = "
workload_times: [{namespace: n, workload: relay, start: 1m 30s, stop: 4}]
cluster_objects:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: ns, uid: u}, data: {a: b}}
nodegroups:
  - name: relay
    max: 2
    desired: 9
    group_min: 1
    group_max: 12
    group_desired: 10
    auto_scaling_group: asg-1
    more_groups: [asg-2]
    group_tags: {k8s.io/cluster-autoscaler/enabled: 'true'}
    suspended_processes: [AZRebalance]
    zones: [us-west-2a]
    capacity_type: SPOT
    launch_template: {id: lt-1, name: relay, version: '7'}
    release_version: 1.35.0-20260301
    ami_type: BOTTLEROCKET_x86_64
    max_unavailable: 33%
    node_capacity: {cpu: '4'}
    node_allocatable: {cpu: 3920m}
    node_labels: {kubernetes.io/arch: arm64}
    boot: 50s
    node_ready: 9s
    terminate: 1m
    instances:
      - id: i-0000000000000000a
        node: node-1
        zone: us-west-2a
        address: 10.0.0.1
        lifecycle: Terminating
        protected: true
        launched: '2026-01-01T00:00:00Z'
        instance_type: m5.large
        version: '1.34'
auto_scaling_groups:
  - name: workers
    max: 1
    desired: 1
    new_instances_protected: true
    taints: [{key: team, value: batch, effect: NoSchedule}]
    instances: [{id: i-0000000000000000b, zone: us-west-2a}]
";

    #[test]
    fn a_live_cluster_survives_a_yaml_round_trip() {
        let scenario = Scenario::from_yaml(LIVE).unwrap();
        let group = &scenario.nodegroups[0];
        assert_eq!(group.capacity_type, CapacityType::Spot);
        assert_eq!(group.max_unavailable, Some(MaxUnavailable::Percentage("33%".to_owned())));
        assert_eq!(group.instances[0].lifecycle, InstanceLifecycle::Terminating);
        assert_eq!(scenario.workload_times[0].start, Some(Duration::from_secs(90)));
        let again = Scenario::from_yaml(&scenario.to_yaml().unwrap()).unwrap();
        assert_eq!(again, scenario);
    }

    /// The values of labels and annotations are texts, whatever YAML takes them for.
    #[test]
    fn texts_of_cluster_objects_stay_texts() {
        let texts = [
            "n",
            "No",
            "on",
            "~",
            "null",
            "1e3",
            "0x1F",
            "0o7",
            "1_000",
            "12:30:45",
            "2026-01-01",
            ".5",
            "-",
            "- a",
            "a: b",
            "#",
            "",
            " ",
            "a\nb\n",
            "\t",
            "{}",
            "*a",
            "&a",
            "!a",
            "%",
            "@",
            "'",
            "\"",
            "\u{1F600}",
            "<<",
        ];
        let labels: serde_json::Map<String, Value> =
            texts.iter().map(|text| ((*text).to_owned(), (*text).into())).collect();
        let object = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "1e3", "uid": "0x1F", "labels": labels},
            "spec": {"list": texts, "number": 1.5, "empty": {}, "none": []},
        });
        let scenario = Scenario { cluster_objects: vec![object.into()], ..Scenario::empty() };
        let again = Scenario::from_yaml(&scenario.to_yaml().unwrap()).unwrap();
        assert_eq!(again, scenario);
    }

    #[test]
    fn a_live_cluster_that_contradicts_itself_is_refused() {
        let group = |extra: &str| format!("nodegroups: [{{name: g, max: 3, desired: 2, {extra}}}]");
        let instance = "{id: i-0000000000000000a, zone: us-west-2a}";
        let cases = [
            (
                group(&format!("protected: [1], instances: [{instance}]")),
                "invalid protected of nodegroup \"g\": expected none, because each of `instances` has a field `protected`",
            ),
            (
                group(&format!("instances: [{instance}, {instance}]")),
                "duplicate instance \"i-0000000000000000a\" in the scenario",
            ),
            (
                group("instances: [{id: i-0000000000000000a, zone: ''}]"),
                "invalid instances of nodegroup \"g\": expected a zone for each",
            ),
            (
                group("auto_scaling_group: a, more_groups: [a]"),
                "duplicate Auto Scaling group \"a\" in the scenario",
            ),
            (
                group("max_unavailable: 101%"),
                "invalid max_unavailable of nodegroup \"g\": expected 1 to 100, or 1% to 100%",
            ),
            (
                group("suspended_processes: [Lunch]"),
                "invalid suspended_processes of nodegroup \"g\": expected some of Launch, Terminate, \
                 AddToLoadBalancer, AlarmNotification, AZRebalance, HealthCheck, InstanceRefresh, ReplaceUnhealthy, \
                 ScheduledActions",
            ),
            (
                group(
                    "launch_template_version: '1', launch_template: {id: a, name: b, version: '1'}",
                ),
                "invalid launch_template_version of nodegroup \"g\": expected none, because `launch_template` has \
                 the version",
            ),
            (
                "cluster_objects: [{apiVersion: example.com/v1, kind: Thing, metadata: {name: t}}]"
                    .to_owned(),
                "the simulator does not know the kind example.com/v1 Thing of cluster object \"t\"",
            ),
            (
                "nodegroups: [{name: g, max: 3, desired: 2, group_max: 1}]".to_owned(),
                "invalid sizes of nodegroup \"g\": min <= desired <= max and max >= 1 must hold",
            ),
        ];
        for (text, error) in cases {
            assert_eq!(Scenario::from_yaml(&text).unwrap_err().to_string(), error);
        }
    }

    /// The objects of a cluster have more values than the reader allows by default.
    #[test]
    fn a_large_cluster_can_be_read() {
        let labels: String = (0..100).map(|n| format!("l{n}: v, ")).collect();
        let object = |n: usize| {
            format!(
                "  - {{apiVersion: v1, kind: ConfigMap, metadata: {{name: c{n}, namespace: ns, uid: u{n}, labels: {{{labels}}}}}}}\n"
            )
        };
        let text: String = (0..1500).map(object).collect();
        let scenario = Scenario::from_yaml(&format!("cluster_objects:\n{text}")).unwrap();
        assert_eq!(scenario.cluster_objects.len(), 1500);
    }
}
