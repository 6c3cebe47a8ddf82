//! Events: what the controllers tell about objects. An occurrence that repeats is counted, not
//! repeated.

use serde_json::{Value, json};

use crate::simulator::kubernetes::failure::Failure;
use crate::simulator::kubernetes::object::{
    name, namespace, number, put, text, time, uid, version,
};
use crate::simulator::kubernetes::resources::EVENTS;
use crate::simulator::kubernetes::write::{Part, Writer};

/// Something worth telling.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Occurrence {
    about: Value,
    space: String,
    warning: bool,
    reason: &'static str,
    message: String,
    component: &'static str,
}

/// A normal occurrence.
pub(crate) fn normal(
    component: &'static str,
    object: &Value,
    reason: &'static str,
    message: String,
) -> Occurrence {
    occurrence(component, object, false, reason, message)
}

/// An occurrence that somebody should look at.
pub(crate) fn warning(
    component: &'static str,
    object: &Value,
    reason: &'static str,
    message: String,
) -> Occurrence {
    occurrence(component, object, true, reason, message)
}

fn occurrence(
    component: &'static str,
    object: &Value,
    warning: bool,
    reason: &'static str,
    message: String,
) -> Occurrence {
    let space = match namespace(object) {
        "" => "default",
        space => space,
    };
    Occurrence {
        about: json!({
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "name": name(object),
            "namespace": namespace(object),
            "uid": uid(object),
            "resourceVersion": version(object),
        }),
        space: space.to_owned(),
        warning,
        reason,
        message,
        component,
    }
}

/// Enters an occurrence.
pub(super) fn record(writer: &mut Writer<'_>, occurrence: Occurrence) -> Result<(), Failure> {
    let now = time(writer.now);
    let known = writer
        .store
        .list(&EVENTS, Some(&occurrence.space))
        .find(|event| {
            text(event, "/involvedObject/uid") == text(&occurrence.about, "/uid")
                && text(event, "/reason") == occurrence.reason
                && text(event, "/message") == occurrence.message
        })
        .map(|event| name(event).to_owned());
    if let Some(known) = known {
        writer.update(&EVENTS, &occurrence.space, &known, Part::Whole, |event| {
            let mut event = event.clone();
            let count = number(&event, "/count").unwrap_or(1) + 1;
            put(&mut event, &["count"], count);
            put(&mut event, &["lastTimestamp"], now);
            Ok(event)
        })?;
        return Ok(());
    }
    let about = text(&occurrence.about, "/name").to_owned();
    let called = format!("{about}.{}", writer.store.ids.hex(&about, 16));
    let event = json!({
        "metadata": {"name": called, "namespace": occurrence.space},
        "involvedObject": occurrence.about,
        "reason": occurrence.reason,
        "message": occurrence.message,
        "type": if occurrence.warning { "Warning" } else { "Normal" },
        "source": {"component": occurrence.component},
        "reportingComponent": occurrence.component,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    });
    writer.create(&EVENTS, &occurrence.space, event)?;
    Ok(())
}
