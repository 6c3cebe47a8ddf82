//! The parts of a scenario that come from a live cluster: the instances that were there, and how long the pods of each
//! workload took.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Scenario;
use super::duration::{ScenarioDuration, serde_optional_duration};

/// An instance of an Auto Scaling group at the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// The id.
    pub id: String,
    /// The name of its Node, if it has one. A Node that is among `cluster_objects` stays as it is there; the instance
    /// registers one that is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The availability zone.
    pub zone: String,
    /// The private address, instead of a generated one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The lifecycle state, `InService` by default.
    #[serde(default)]
    pub lifecycle: InstanceLifecycle,
    /// Whether the instance is protected from scale-in.
    #[serde(default)]
    pub protected: bool,
    /// When the instance was launched; at the start by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub launched: Option<Timestamp>,
    /// The instance type, if it is not that of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// The Kubernetes version of its Node, if it is not that of the nodegroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The lifecycle state of an instance, as Auto Scaling names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InstanceLifecycle {
    /// The instance boots.
    Pending,
    /// The instance is in service.
    #[default]
    InService,
    /// The instance is being terminated.
    Terminating,
}

/// How long the pods of a workload take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadTimes {
    /// The namespace.
    pub namespace: String,
    /// The name of the deployment, the stateful set or the daemon set, or of another owner.
    pub workload: String,
    /// From a pod's binding until it is Ready, instead of `times.pod_start`.
    #[serde(default, with = "serde_optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ScenarioDuration>")]
    pub start: Option<Duration>,
    /// From a pod's deletion until it is removed, instead of `times.pod_stop`; never longer than its grace period.
    #[serde(default, with = "serde_optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ScenarioDuration>")]
    pub stop: Option<Duration>,
}

/// A Node that is there at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InitialNode {
    pub(crate) addresses: Vec<String>,
    /// The status of the condition Ready: `True`, `False` or `Unknown`.
    pub(crate) ready: String,
}

impl Scenario {
    /// Returns the Nodes among the cluster objects, by name.
    pub(crate) fn initial_nodes(&self) -> BTreeMap<String, InitialNode> {
        let nodes = self.cluster_objects.iter().filter(|object| object["kind"] == "Node");
        nodes
            .filter_map(|node| Some((node["metadata"]["name"].as_str()?.to_owned(), facts(node))))
            .collect()
    }
}

fn facts(node: &Value) -> InitialNode {
    let list = |field: &str| node["status"][field].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let ready = list("conditions").find(|condition| condition["type"] == "Ready");
    InitialNode {
        addresses: list("addresses").filter_map(|address| text(&address["address"])).collect(),
        ready: ready.and_then(|ready| text(&ready["status"])).unwrap_or_default(),
    }
}
