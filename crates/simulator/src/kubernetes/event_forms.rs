//! The two forms of Events. They are kept in that of the core group; clients of `events.k8s.io` see and write the same
//! objects in the other one, and with stricter rules. Pure functions over JSON.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::kinds::{EVENTS, Kind, NEW_EVENTS};
use super::object::{number, text};
use super::status_error::StatusCause;

/// The fields that have another name in `events.k8s.io`, which is the second one.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The fields that clients of `events.k8s.io` cannot change, as they are kept.
const IMMUTABLE: [&str; 13] = [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
];

/// The longest texts, in bytes.
const LIMITS: [(&str, usize); 4] =
    [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)];

/// Returns an object in the form in which it is kept.
pub(crate) fn to_kept(resource: &Kind, object: Value) -> Value {
    if *resource != NEW_EVENTS {
        return object;
    }
    renamed(object, &EVENTS, |(old, new)| (*new, *old))
}

/// Returns a kept object in the form of a kind.
pub(crate) fn shown<'a>(resource: &Kind, object: &'a Value) -> Cow<'a, Value> {
    if *resource != NEW_EVENTS || text(object, "/kind") != EVENTS.kind {
        return Cow::Borrowed(object);
    }
    Cow::Owned(renamed(object.clone(), &NEW_EVENTS, |(old, new)| (*old, *new)))
}

fn renamed(
    object: Value,
    form: &Kind,
    names: impl Fn(&(&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    let Value::Object(fields) = object else { return object };
    let rename = |(field, value): (String, Value)| {
        let new = RENAMED.iter().map(&names).find(|(old, _)| *old == field);
        match field.as_str() {
            "apiVersion" => (field, form.api_version().into()),
            _ => (new.map_or(field, |(_, new)| new.to_owned()), value),
        }
    };
    Value::Object(fields.into_iter().map(rename).collect::<Map<_, _>>())
}

/// Returns the name of a field of a field selector, as the field is kept.
pub(crate) fn kept_field(resource: &Kind, field: &str) -> String {
    match field.split_once('.') {
        _ if *resource != NEW_EVENTS => field.to_owned(),
        Some(("regarding", rest)) => format!("involvedObject.{rest}"),
        None if field == "reportingController" => "reportingComponent".to_owned(),
        _ => field.to_owned(),
    }
}

/// Returns what is invalid in a new event, which is in the form in which it is kept.
pub(crate) fn validate(resource: &Kind, event: &Value) -> Vec<StatusCause> {
    if *resource != NEW_EVENTS {
        return Vec::new();
    }
    let mut causes = Vec::new();
    let is_empty = |field: &str| text(event, &format!("/{field}")).is_empty();
    let invalid = |field: &str, message: &str| StatusCause::invalid(field, &"".into(), message);
    let (own, involved) =
        (text(event, "/metadata/namespace"), text(event, "/involvedObject/namespace"));
    let is_of_another = match (is_empty("eventTime"), involved) {
        (true, "") => !matches!(own, "" | "default"),
        (true, _) => involved != own,
        (false, "") => !matches!(own, "default" | "kube-system"),
        (false, _) => false,
    };
    if is_of_another {
        let (field, message) = ("involvedObject.namespace", "does not match event.namespace");
        causes.push(StatusCause::invalid(field, &involved.into(), message));
    }
    if !is_empty("eventTime") {
        let required = [
            ("reportingComponent", "reportingController"),
            ("reportingInstance", "reportingInstance"),
            ("action", "action"),
            ("reason", "reason"),
        ];
        let missing = required.into_iter().filter(|(field, _)| is_empty(field));
        causes.extend(missing.map(|(_, name)| StatusCause::required(name, "")));
        for (field, limit) in LIMITS {
            if text(event, &format!("/{field}")).len() > limit {
                causes.push(invalid(field, &format!("can have at most {limit} characters")));
            }
        }
    }
    causes.extend(validate_series(event));
    if is_empty("eventTime") {
        causes.push(StatusCause::required("eventTime", ""));
    }
    let kind = text(event, "/type");
    if !matches!(kind, "Normal" | "Warning") {
        causes.push(invalid("type", &format!("has invalid value: {kind}")));
    }
    let unset = ["firstTimestamp", "lastTimestamp", "count", "source"];
    let is_set = |field: &&str| match event.get(*field) {
        None | Some(Value::Null) => false,
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(value) => value.as_i64() != Some(0),
    };
    causes.extend(unset.into_iter().filter(is_set).map(|f| invalid(f, "needs to be unset")));
    causes
}

/// Returns what is invalid in a change of an event; both are in the form in which they are kept.
pub(crate) fn validate_update(resource: &Kind, old: &Value, new: &Value) -> Vec<StatusCause> {
    if *resource != NEW_EVENTS {
        return Vec::new();
    }
    let mut causes = Vec::new();
    if old.get("series") != new.get("series") {
        causes.extend(validate_series(new));
    }
    let changed = IMMUTABLE.into_iter().filter(|field| old.get(*field) != new.get(*field));
    causes.extend(changed.map(|field| {
        StatusCause::invalid(field, new.get(field).unwrap_or(&Value::Null), "field is immutable")
    }));
    causes
}

fn validate_series(event: &Value) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    if event.get("series").is_some_and(Value::is_object) {
        if number(event, "/series/count").unwrap_or(0) < 2 {
            let message = "should be at least 2";
            causes.push(StatusCause::invalid("series.count", &"".into(), message));
        }
        if text(event, "/series/lastObservedTime").is_empty() {
            causes.push(StatusCause::required("series.lastObservedTime", ""));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_reads_back_in_the_form_in_which_it_was_written() {
        let new = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "regarding": {"kind": "Pod"}, "note": "n", "reportingController": "c", "reason": "r",
        });
        let kept = to_kept(&NEW_EVENTS, new.clone());
        assert_eq!(
            kept,
            json!({
                "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
                "involvedObject": {"kind": "Pod"}, "message": "n", "reportingComponent": "c",
                "reason": "r",
            })
        );
        assert_eq!(*shown(&NEW_EVENTS, &kept), new);
        assert_eq!(*shown(&EVENTS, &kept), kept);
        assert_eq!(kept_field(&NEW_EVENTS, "regarding.name"), "involvedObject.name");
        assert_eq!(kept_field(&NEW_EVENTS, "reason"), "reason");
    }
}
