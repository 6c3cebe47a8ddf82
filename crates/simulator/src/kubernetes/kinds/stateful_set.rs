//! Stateful sets.

use serde_json::{Value, json};

use crate::kubernetes::object::{number, put_default, remove, text};
use crate::kubernetes::status_error::StatusCause;

use super::column::{AGE, NAME, column, containers, count, wide};
use super::pod_spec::{TEMPLATE, pod_defaults, validate_workload};
use super::{Kind, grouped};

pub(crate) static STATEFUL_SETS: Kind = Kind {
    short_names: &["sts"],
    subresources: &["status", "scale"],
    generation: true,
    common: true,
    set_defaults: defaults,
    admit: |set| put_default(set, &["status"], json!({"replicas": 0, "availableReplicas": 0})),
    integers: &["replicas", "minReadySeconds"],
    validate,
    validate_update: keep_fixed,
    columns: &[
        NAME,
        column("Ready", |set, _| {
            let ready = count(set, "/status/readyReplicas");
            format!("{ready}/{}", count(set, "/spec/replicas")).into()
        }),
        AGE,
        wide("Containers", |set, _| containers(set, "/name")),
        wide("Images", |set, _| containers(set, "/image")),
    ],
    ..grouped("apps", "v1", "statefulsets", "StatefulSet")
};

fn defaults(object: &mut Value) {
    put_default(object, &["spec", "replicas"], 1);
    put_default(object, &["spec", "serviceName"], "");
    put_default(object, &["spec", "revisionHistoryLimit"], 10);
    put_default(object, &["spec", "podManagementPolicy"], "OrderedReady");
    put_default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
    if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        put_default(object, &["spec", "updateStrategy", "rollingUpdate", "partition"], 0);
    }
    for moment in ["whenDeleted", "whenScaled"] {
        let path = ["spec", "persistentVolumeClaimRetentionPolicy", moment];
        put_default(object, &path, "Retain");
    }
    pod_defaults(object, &TEMPLATE);
}

fn validate(object: &Value, causes: &mut Vec<StatusCause>) {
    validate_workload(object, causes);
    let partition = "spec.updateStrategy.rollingUpdate.partition";
    let pointer = format!("/{}", partition.replace('.', "/"));
    if let Some(value) = number(object, &pointer).filter(|partition| *partition < 0) {
        let message = "must be greater than or equal to 0";
        causes.push(StatusCause::invalid(partition, &value.into(), message));
    }
}

/// Checks that only those fields of the spec are changed that can be.
fn keep_fixed(old: &Value, new: &Value, causes: &mut Vec<StatusCause>) {
    let fixed = |set: &Value| {
        let mut spec = set.get("spec").cloned().unwrap_or_default();
        for field in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            remove(&mut spec, &[field]);
        }
        spec
    };
    if fixed(old) != fixed(new) {
        let message = "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
                       'template', 'updateStrategy', 'revisionHistoryLimit', \
                       'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        causes.push(StatusCause::forbidden("spec", message));
    }
}
