//! Stateful sets.

use serde_json::{Value, json};

use crate::kubernetes::object::{put_default, text};

use super::check::keep_selector;
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
    validate: validate_workload,
    validate_update: keep_selector,
    ..grouped("apps", "v1", "statefulsets", "StatefulSet")
};

fn defaults(object: &mut Value) {
    put_default(object, &["spec", "replicas"], 1);
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
