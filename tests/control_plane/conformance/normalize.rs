//! An answer without what each cluster makes up: ids, versions, times, the random parts of names.

use std::sync::LazyLock;

use serde_json::{Map, Value};

/// Who wrote which field is not the simulator's business, and addresses are kwok's.
const IGNORED_FIELDS: [&str; 8] = [
    "managedFields",
    "podIP",
    "podIPs",
    "hostIP",
    "hostIPs",
    "imageID",
    "containerID",
    "remainingItemCount",
];

/// Made up by the cluster; whether they are there is compared.
const GENERATED_FIELDS: [&str; 12] = [
    "uid",
    "resourceVersion",
    "continue",
    "creationTimestamp",
    "deletionTimestamp",
    "lastTransitionTime",
    "lastUpdateTime",
    "lastHeartbeatTime",
    "lastProbeTime",
    "startTime",
    "startedAt",
    "timeAdded",
];

pub(super) fn normalize(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().filter_map(field).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(normalize).collect()),
        Value::String(text) => Value::String(normalize_text(text)),
        other => other.clone(),
    }
}

/// The same of the part of an answer to which a pointer points.
pub(super) fn normalize_part(pointer: &str, value: &Value) -> Value {
    let key = pointer.rsplit('/').next().expect("splitting gives one part at least");
    field((&key.to_owned(), value)).map_or(Value::Null, |(_, value)| value)
}

fn field((key, value): (&String, &Value)) -> Option<(String, Value)> {
    if IGNORED_FIELDS.contains(&key.as_str()) {
        return None;
    }
    if key == "disruptedPods" {
        return Some((key.clone(), times(value)));
    }
    let is_generated_field = GENERATED_FIELDS.contains(&key.as_str()) && !value.is_null();
    let value = if is_generated_field { Value::String("*".into()) } else { normalize(value) };
    Some((normalize_text(key), value))
}

/// A map whose values are all times.
fn times(value: &Value) -> Value {
    let names = value.as_object().into_iter().flat_map(Map::keys);
    names.map(|name| (normalize_text(name), Value::String("*".into()))).collect()
}

/// Words of the alphabet of generated names, and UUIDs, as `*`.
fn normalize_text(text: &str) -> String {
    static IS_WORD: LazyLock<fn(char) -> bool> =
        LazyLock::new(|| |c| c.is_ascii_alphanumeric() || c == '-');
    let mut normalized = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(*IS_WORD) {
        let end = rest[start..].find(|c| !IS_WORD(c)).map_or(rest.len(), |end| start + end);
        normalized.push_str(&rest[..start]);
        normalized.push_str(&word(&rest[start..end]));
        rest = &rest[end..];
    }
    normalized + rest
}

fn word(word: &str) -> String {
    if uuid::Uuid::parse_str(word).is_ok() {
        return "*".into();
    }
    let parts: Vec<&str> =
        word.split('-').map(|part| if is_generated(part) { "*" } else { part }).collect();
    parts.join("-")
}

/// A hash of eight to ten characters, or a suffix of five, of those that Kubernetes takes for them. Without vowels no
/// word of a message looks like one.
fn is_generated(part: &str) -> bool {
    let alphabet = |c: char| "bcdfghjklmnpqrstvwxz2456789".contains(c);
    matches!(part.len(), 5 | 8..=10) && part.chars().all(alphabet)
}
