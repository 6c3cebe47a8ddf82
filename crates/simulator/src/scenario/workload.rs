//! The workloads of a scenario in a short form, and the Kubernetes objects made from it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A `ConfigMap`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigMap {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The data.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
}

/// A deployment whose pods have one container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The namespace.
    pub namespace: String,
    /// The name, which is also the value of the pods' label `app`.
    pub name: String,
    /// The number of replicas.
    pub replicas: u32,
    /// The image of the container.
    #[serde(default = "default_image")]
    pub image: String,
    /// The labels that a node must have.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// How the pods are spread over nodes.
    #[serde(default)]
    pub spread: Spread,
    /// The CPU request of each pod.
    #[serde(default = "default_cpu")]
    pub cpu: String,
    /// The pods' termination grace period in seconds.
    #[serde(default = "default_grace")]
    pub grace: u32,
    /// How many seconds a pod must have been ready before it counts as available.
    #[serde(default)]
    pub min_ready_seconds: u32,
    /// The number of seconds within which a rollout must make progress.
    #[serde(default = "default_progress_deadline")]
    pub progress_deadline: u32,
    /// Whether rollouts are paused.
    #[serde(default)]
    pub paused: bool,
}

/// How a deployment's pods are spread over nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// Not spread.
    #[default]
    None,
    /// On different nodes where possible.
    Preferred,
    /// On different nodes; a pod that finds none stays pending.
    Required,
}

impl ConfigMap {
    pub(crate) fn to_object(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": self.namespace, "name": self.name},
            "data": self.data,
        })
    }
}

impl Deployment {
    pub(crate) fn to_object(&self) -> Value {
        let labels = json!({"app": self.name});
        let mut pod = json!({
            "containers": [{
                "name": self.name,
                "image": self.image,
                "resources": {"requests": {"cpu": self.cpu}},
            }],
            "terminationGracePeriodSeconds": self.grace,
        });
        if !self.node_selector.is_empty() {
            pod["nodeSelector"] = json!(self.node_selector);
        }
        if let Some(affinity) = self.affinity() {
            pod["affinity"] = affinity;
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": self.namespace, "name": self.name, "labels": labels},
            "spec": {
                "replicas": self.replicas,
                "minReadySeconds": self.min_ready_seconds,
                "progressDeadlineSeconds": self.progress_deadline,
                "paused": self.paused,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        })
    }

    fn affinity(&self) -> Option<Value> {
        let term = json!({
            "labelSelector": {"matchLabels": {"app": self.name}},
            "topologyKey": "kubernetes.io/hostname",
        });
        let rule = match self.spread {
            Spread::None => return None,
            Spread::Preferred => json!({
                "preferredDuringSchedulingIgnoredDuringExecution":
                    [{"weight": 100, "podAffinityTerm": term}],
            }),
            Spread::Required => json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]}),
        };
        Some(json!({"podAntiAffinity": rule}))
    }
}

fn default_image() -> String {
    "registry.example.com/app:1.0".to_owned()
}

fn default_cpu() -> String {
    "100m".to_owned()
}

fn default_grace() -> u32 {
    30
}

fn default_progress_deadline() -> u32 {
    600
}
