//! Accessors for Kubernetes objects in JSON. Knows no kinds.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// Returns a count as an integer of the API.
pub(crate) fn as_count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Returns the same value in less memory: a map that grew field by field has room for twice as many.
pub(crate) fn compact(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (key, compact(value)));
            Value::Object(fields.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(compact).collect()),
        other => other,
    }
}

/// Returns whether a value is nested no deeper than this.
pub(crate) fn is_within_depth(value: &Value, depth: usize) -> bool {
    let is_within = |inner: &Value| depth > 0 && is_within_depth(inner, depth - 1);
    match value {
        Value::Object(fields) => fields.values().all(is_within),
        Value::Array(items) => items.iter().all(is_within),
        _ => true,
    }
}

/// Returns the value at a JSON pointer without escapes. [`Value::pointer`] copies each part of the
/// pointer, and the controllers spend most of their time here.
pub(crate) fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut found = object;
    for part in pointer.split('/').skip(1) {
        found = match found {
            Value::Object(fields) => fields.get(part)?,
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(found)
}

/// Returns the value at a path of keys.
pub(crate) fn at_path<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |found, key| found.get(key))
}

/// Returns the text at a JSON pointer, empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the whole number at a JSON pointer.
pub(crate) fn number(object: &Value, pointer: &str) -> Option<i64> {
    at(object, pointer).and_then(Value::as_i64)
}

/// Returns whether the value at a JSON pointer is `true`.
pub(crate) fn flag(object: &Value, pointer: &str) -> bool {
    at(object, pointer) == Some(&Value::Bool(true))
}

/// Returns the list at a JSON pointer, empty if there is none.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns the map at a JSON pointer.
pub(crate) fn map<'a>(object: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    at(object, pointer).and_then(Value::as_object)
}

/// Puts `value` at a path of keys and creates missing objects on the path.
pub(crate) fn put(object: &mut Value, path: &[&str], value: impl Into<Value>) {
    let mut target = object;
    for key in path {
        if !target.is_object() {
            *target = Value::Object(Map::new());
        }
        target = &mut target[*key];
    }
    *target = value.into();
}

/// Puts `value` at a path of keys if there is no value or null.
pub(crate) fn put_default(object: &mut Value, path: &[&str], value: impl Into<Value>) {
    if at_path(object, path).is_none_or(Value::is_null) {
        put(object, path, value);
    }
}

/// Removes the value at a path of keys.
pub(crate) fn remove(object: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let mut target = object;
    for key in parents {
        target = target.get_mut(key)?;
    }
    target.as_object_mut()?.remove(*last)
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub(crate) fn version(object: &Value) -> &str {
    text(object, "/metadata/resourceVersion")
}

pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    map(object, "/metadata/annotations")?.get(key)?.as_str()
}

pub(crate) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    map(object, "/metadata/labels")?.get(key)?.as_str()
}

/// Returns whether the object is being deleted.
pub(crate) fn is_terminating(object: &Value) -> bool {
    at(object, "/metadata/deletionTimestamp").is_some()
}

/// Returns the owner reference of the object's controller.
pub(crate) fn controller(object: &Value) -> Option<&Value> {
    list(object, "/metadata/ownerReferences").iter().find(|owner| flag(owner, "/controller"))
}

/// Returns whether the owner with this UID controls the object.
pub(crate) fn is_controlled_by(object: &Value, owner: &str) -> bool {
    controller(object).is_some_and(|reference| text(reference, "/uid") == owner)
}

/// Returns the status of a condition, empty if there is none.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").iter().find(|condition| text(condition, "/type") == kind)
}

/// Returns whether a condition is True.
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| text(condition, "/status") == "True")
}

/// Removes a condition of the status, and the list of conditions if that condition was the only one.
pub(crate) fn remove_condition(object: &mut Value, kind: &str) {
    let Some(Value::Array(conditions)) = object.pointer_mut("/status/conditions") else {
        return;
    };
    conditions.retain(|condition| text(condition, "/type") != kind);
    if conditions.is_empty() {
        remove(object, &["status", "conditions"]);
    }
}

/// Sets a condition, whose transition time is kept if its status does not change. Returns whether
/// anything changed.
pub(crate) fn set_condition(object: &mut Value, mut wanted: Value, now: Timestamp) -> bool {
    let kind = text(&wanted, "/type").to_owned();
    let old = condition(object, &kind).cloned();
    let transition_time = match &old {
        Some(old) if text(old, "/status") == text(&wanted, "/status") => {
            old.get("lastTransitionTime").cloned().unwrap_or_else(|| time(now).into())
        }
        _ => time(now).into(),
    };
    wanted["lastTransitionTime"] = transition_time;
    if let Some(old) = &old {
        let same = ["status", "reason", "message", "observedGeneration"]
            .iter()
            .all(|key| old.get(key) == wanted.get(key));
        if same {
            return false;
        }
    }
    if !object.pointer("/status/conditions").is_some_and(Value::is_array) {
        put(object, &["status", "conditions"], Value::Array(Vec::new()));
    }
    if let Some(Value::Array(conditions)) = object.pointer_mut("/status/conditions") {
        match conditions.iter_mut().find(|condition| text(condition, "/type") == kind) {
            Some(target) => *target = wanted,
            None => conditions.push(wanted),
        }
    }
    true
}

/// Formats a time as Kubernetes does: in whole seconds.
pub(crate) fn time(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns the time at a JSON pointer.
pub(crate) fn moment(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}
