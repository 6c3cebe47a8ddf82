//! Replica sets.

use serde_json::{Value, json};

use crate::kubernetes::object::put_default;

use super::check::keep_selector;
use super::column::{AGE, NAME, column, count};
use super::pod_spec::{TEMPLATE, pod_defaults, validate_workload};
use super::{Kind, grouped};

pub(crate) static REPLICA_SETS: Kind = Kind {
    short_names: &["rs"],
    subresources: &["status", "scale"],
    generation: true,
    common: true,
    set_defaults: defaults,
    admit: |set| put_default(set, &["status"], json!({"replicas": 0})),
    omitted_when_empty: &[&["spec", "minReadySeconds"]],
    integers: &["replicas", "minReadySeconds"],
    validate: validate_workload,
    validate_update: keep_selector,
    fields: &["status.replicas"],
    columns: &[
        NAME,
        column("Desired", |set, _| count(set, "/spec/replicas").into()),
        column("Current", |set, _| count(set, "/status/replicas").into()),
        column("Ready", |set, _| count(set, "/status/readyReplicas").into()),
        AGE,
    ],
    ..grouped("apps", "v1", "replicasets", "ReplicaSet")
};

fn defaults(object: &mut Value) {
    put_default(object, &["spec", "replicas"], 1);
    pod_defaults(object, &TEMPLATE);
}
