//! Events: the controllers' reports about objects. A repeated occurrence increments the count of
//! its event.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::kubernetes::index::{Index, event_subject};
use crate::kubernetes::kinds::EVENTS;
use crate::kubernetes::object::{self, number, put, text, time, uid, version};
use crate::kubernetes::status_error::StatusError;
use crate::kubernetes::write::{ObjectPart, ObjectWriter};

/// How many events about one object with one reason and different messages are kept. Further ones are combined.
const MAX_SIMILAR: usize = 10;

/// The beginning of the message of an event that stands for several ones.
const COMBINED: &str = "(combined from similar events): ";

/// A new occurrence of an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ObjectEvent {
    involved_object: Value,
    namespace: String,
    warning: bool,
    reason: &'static str,
    message: String,
    component: &'static str,
}

/// Creates a normal event.
pub(crate) fn normal(
    component: &'static str,
    object: &Value,
    reason: &'static str,
    message: String,
) -> ObjectEvent {
    object_event(component, object, false, reason, message)
}

/// Creates a warning.
pub(crate) fn warning(
    component: &'static str,
    object: &Value,
    reason: &'static str,
    message: String,
) -> ObjectEvent {
    object_event(component, object, true, reason, message)
}

fn object_event(
    component: &'static str,
    object: &Value,
    warning: bool,
    reason: &'static str,
    message: String,
) -> ObjectEvent {
    let namespace = match object::namespace(object) {
        "" => "default",
        namespace => namespace,
    };
    ObjectEvent {
        involved_object: json!({
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "name": object::name(object),
            "namespace": object::namespace(object),
            "uid": uid(object),
            "resourceVersion": version(object),
        }),
        namespace: namespace.to_owned(),
        warning,
        reason,
        message,
        component,
    }
}

/// Records an occurrence.
pub(super) fn record(writer: &mut ObjectWriter<'_>, new: &ObjectEvent) -> Result<(), StatusError> {
    let now = time(writer.now);
    let subject = event_subject(text(&new.involved_object, "/uid"), new.reason);
    let similar: Vec<Arc<Value>> = writer
        .store
        .read_found(Index::Subject, &subject)
        .filter(|event| object::namespace(event) == new.namespace)
        .collect();
    let same = similar.iter().find(|event| text(event, "/message") == new.message);
    let combined = similar.iter().find(|event| text(event, "/message").starts_with(COMBINED));
    let is_combined = same.is_none() && similar.len() >= MAX_SIMILAR;
    let message =
        if is_combined { format!("{COMBINED}{}", new.message) } else { new.message.clone() };
    let existing = same.or_else(|| combined.filter(|_| is_combined));
    let existing = existing.map(|event| object::name(event).to_owned());
    if let Some(existing) = existing {
        writer.update(&EVENTS, &new.namespace, &existing, ObjectPart::Whole, |event| {
            let mut event = event.clone();
            let count = number(&event, "/count").unwrap_or(1) + 1;
            put(&mut event, &["count"], count);
            put(&mut event, &["message"], message);
            put(&mut event, &["lastTimestamp"], now);
            Ok(event)
        })?;
        return Ok(());
    }
    let object_name = text(&new.involved_object, "/name").to_owned();
    let name = format!("{object_name}.{}", writer.store.ids.hex(&object_name, 16));
    let event = json!({
        "metadata": {"name": name, "namespace": new.namespace},
        "involvedObject": new.involved_object,
        "reason": new.reason,
        "message": message,
        "type": if new.warning { "Warning" } else { "Normal" },
        "source": {"component": new.component},
        "reportingComponent": new.component,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    });
    writer.create(&EVENTS, &new.namespace, event)?;
    Ok(())
}
