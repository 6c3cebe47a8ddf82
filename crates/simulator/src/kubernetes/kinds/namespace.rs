//! Namespaces.

use serde_json::{Value, json};

use crate::kubernetes::object::{is_terminating, map, put, put_default, text};

use super::column::{AGE, NAME, column, text_or_none};
use super::{Kind, core};

pub(crate) static NAMESPACES: Kind = Kind {
    short_names: &["ns"],
    subresources: &["status"],
    name_is_label: true,
    set_defaults: defaults,
    mark_deleted: |namespace| put(namespace, &["status", "phase"], "Terminating"),
    has_content: |namespace| {
        map(namespace, "/spec").is_some_and(|spec| spec.contains_key("finalizers"))
    },
    fields: &["status.phase"],
    columns: &[
        NAME,
        column("Status", |namespace, _| text_or_none(namespace, "/status/phase")),
        AGE,
    ],
    ..core("namespaces", "Namespace", false)
};

fn defaults(object: &mut Value) {
    // A terminating namespace loses its finalizer when it is empty, and must not get it again.
    if !is_terminating(object) {
        put_default(object, &["spec", "finalizers"], json!(["kubernetes"]));
    }
    put_default(object, &["status", "phase"], "Active");
    let name = text(object, "/metadata/name").to_owned();
    put(object, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
}
