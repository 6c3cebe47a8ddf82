//! What stands in a table.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::deployment;

/// One call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableCall {
    /// By which it is compared; a call without one is not compared, but has to succeed.
    pub(super) name: Option<String>,
    /// Method and resource, as `PATCH deployments/web/scale`, or a whole path; `$NAME` is something kept before.
    #[serde(default)]
    pub(super) call: String,
    /// What is sent.
    pub(super) body: Option<Value>,
    /// What is sent, byte by byte.
    pub(super) raw: Option<String>,
    /// Of which type a patch is.
    pub(super) patch: Option<PatchType>,
    /// Sends a node of that name that is Ready, with `body` merged into it.
    node: Option<String>,
    /// Sends a deployment of that name and so many replicas, with `body` merged into it.
    deployment: Option<(String, i32)>,
    /// The parts of the answer that are compared, as JSON pointers in which `*` means every item; nothing but the
    /// status, if there are none; everything, if it is not said.
    pub(super) show: Option<Vec<String>>,
    /// Repeats the call until these parts of the answer have these values.
    pub(super) until: Option<BTreeMap<String, Value>>,
    /// Waits until the controllers have nothing more to do about that deployment.
    pub(super) settled: Option<String>,
    /// Keeps parts of the answer for later calls.
    #[serde(default)]
    pub(super) keep: BTreeMap<String, String>,
    /// Asks for a table, as kubectl does.
    #[serde(default)]
    pub(super) table: bool,
    /// In which parts of its answer the simulator differs, and why it may.
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
    /// One that no API server knows.
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

/// Reads a table and fills its short forms in.
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
