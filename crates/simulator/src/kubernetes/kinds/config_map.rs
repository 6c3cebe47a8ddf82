//! Config maps.

use serde_json::Value;

use crate::kubernetes::object::{flag, map};
use crate::kubernetes::status_error::StatusCause;

use super::column::{AGE, NAME, column};
use super::{Kind, core};

pub(crate) static CONFIG_MAPS: Kind = Kind {
    short_names: &["cm"],
    is_counted_by_plural: true,
    omitted_when_empty: &[&["data"], &["binaryData"], &["immutable"]],
    validate_update,
    columns: &[NAME, column("Data", |map, _| entries(map)), AGE],
    ..core("configmaps", "ConfigMap", true)
};

fn validate_update(old: &Value, new: &Value, causes: &mut Vec<StatusCause>) {
    if !flag(old, "/immutable") {
        return;
    }
    for field in ["data", "binaryData", "immutable"] {
        if old.get(field) != new.get(field) {
            let message = "field is immutable when `immutable` is set";
            causes.push(StatusCause::forbidden(field, message));
        }
    }
}

/// Returns the number of entries.
pub(super) fn entries(object: &Value) -> Value {
    map(object, "/data").map_or(0, serde_json::Map::len).into()
}
