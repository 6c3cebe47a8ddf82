//! Priority classes.

use serde_json::Value;

use crate::kubernetes::object::put_default;
use crate::kubernetes::status_error::StatusCause;

use super::{Kind, grouped};

pub(crate) static PRIORITY_CLASSES: Kind = Kind {
    short_names: &["pc"],
    generation: true,
    namespaced: false,
    set_defaults: |class| put_default(class, &["preemptionPolicy"], "PreemptLowerPriority"),
    validate_update: keep_value,

    ..grouped("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
};

fn keep_value(old: &Value, new: &Value, causes: &mut Vec<StatusCause>) {
    for field in ["value", "preemptionPolicy"] {
        if old.get(field) != new.get(field) {
            causes.push(StatusCause::forbidden(field, "may not be changed in an update."));
        }
    }
}
