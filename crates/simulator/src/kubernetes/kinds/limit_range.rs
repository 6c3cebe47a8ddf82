//! Limit ranges.

use serde_json::Value;

use crate::kubernetes::object::{map, put_default, text};

use super::{Kind, core};

pub(crate) static LIMIT_RANGES: Kind = Kind {
    short_names: &["limits"],
    set_defaults: defaults,
    ..core("limitranges", "LimitRange", true)
};

/// A container's default limit is its maximum, and its default request the default limit or the minimum.
fn defaults(object: &mut Value) {
    let Some(Value::Array(limits)) = object.pointer_mut("/spec/limits") else {
        return;
    };
    for limit in limits.iter_mut().filter(|limit| text(limit, "/type") == "Container") {
        for (field, source) in
            [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")]
        {
            for (name, quantity) in map(limit, &format!("/{source}")).cloned().unwrap_or_default() {
                put_default(limit, &[field, &name], quantity);
            }
        }
    }
}
