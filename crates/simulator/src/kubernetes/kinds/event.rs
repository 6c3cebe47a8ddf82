//! Events, in the form of the core group and in that of their newer one: see `event_forms`.

use jiff::Timestamp;
use serde_json::Value;

use crate::kubernetes::object::{moment, text};

use super::column::{Column, age, column, text_or_none};
use super::{Kind, core, grouped};

pub(crate) static EVENTS: Kind = Kind {
    short_names: &["ev"],
    is_seldom_read: true,
    fields: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    columns: COLUMNS,
    ..core("events", "Event", true)
};

/// The same objects in the form of their newer group.
pub(crate) static NEW_EVENTS: Kind = Kind {
    short_names: &["ev"],
    fields: &[
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    ],
    columns: COLUMNS,
    kept_as: Some(&EVENTS),
    ..grouped("events.k8s.io", "v1", "events", "Event")
};

const COLUMNS: &[Column] = &[
    column("Last Seen", age_of),
    column("Type", |event, _| text_or_none(event, "/type")),
    column("Reason", |event, _| text_or_none(event, "/reason")),
    column("Object", |event, _| {
        let kind = text(event, "/involvedObject/kind").to_lowercase();
        format!("{kind}/{}", text(event, "/involvedObject/name")).into()
    }),
    column("Message", |event, _| text_or_none(event, "/message")),
];

fn age_of(event: &Value, now: Timestamp) -> Value {
    match moment(event, "/lastTimestamp") {
        Some(_) => age(event, "/lastTimestamp", now),
        None => age(event, "/metadata/creationTimestamp", now),
    }
}
