//! The format of a table.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::deployment;

/// A call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableCall {
    /// The name under which the call is compared. A call without a name is not compared, but has to
    /// succeed.
    pub(super) name: Option<String>,
    /// Method and resource, such as `PATCH deployments/web/scale`, or a complete path. `$NAME` is a
    /// value that an earlier call kept.
    #[serde(default)]
    pub(super) call: String,
    /// The body.
    pub(super) body: Option<Value>,
    /// The body, byte by byte.
    pub(super) raw: Option<String>,
    /// The type of a patch.
    pub(super) patch: Option<PatchType>,
    /// Sends a Ready node with this name, with `body` merged into it.
    node: Option<String>,
    /// Sends a deployment with this name and this number of replicas, with `body` merged into it.
    deployment: Option<(String, i32)>,
    /// The parts of the response that are compared, as JSON pointers in which `*` means every item.
    /// If the list is empty, only the status is compared; if it is absent, the whole response.
    pub(super) show: Option<Vec<String>>,
    /// Repeats the call until these parts of the response have these values.
    pub(super) until: Option<BTreeMap<String, Value>>,
    /// Waits until the controllers have nothing more to do for this deployment.
    pub(super) settled: Option<String>,
    /// Keeps parts of the response for later calls.
    #[serde(default)]
    pub(super) keep: BTreeMap<String, String>,
    /// Requests a table, as kubectl does.
    #[serde(default)]
    pub(super) table: bool,
    /// The parts of the response in which the simulator differs, with the reasons.
    #[serde(default)]
    pub(super) known: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PatchType {
    Merge,
    Strategic,
    Json,
    Apply,
    /// A type that no API server knows.
    Plain,
}

impl PatchType {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Json => "application/json-patch+json",
            Self::Apply => "application/apply-patch+yaml",
            Self::Plain => "application/json",
        }
    }
}

/// Parses a table and expands its short forms.
pub(super) fn read(text: &str) -> Vec<TableCall> {
    let mut calls: Vec<TableCall> =
        serde_saphyr::from_str(text).unwrap_or_else(|why| panic!("{why}"));
    for call in &mut calls {
        let extra = || call.body.clone().unwrap_or(json!({}));
        if let Some(name) = &call.node {
            call.body = Some(node(name, &extra()));
            call.call = "POST nodes".into();
        } else if let Some((name, replicas)) = &call.deployment {
            call.body = Some(deployment(name, *replicas, extra()));
            call.call = "POST deployments".into();
        }
    }
    calls
}

fn node(name: &str, extra: &Value) -> Value {
    let capacity = json!({"cpu": "4", "memory": "8Gi", "pods": "50"});
    let mut node = json!({
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name},
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "status": {
            "allocatable": capacity,
            "capacity": capacity,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    });
    json_patch::merge(&mut node, extra);
    node
}
