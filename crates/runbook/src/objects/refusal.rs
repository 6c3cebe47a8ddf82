//! The fields that no action reads or changes: the values of Secrets, which would be in the journal, and what the API
//! server alone decides.

use serde_json::Value as Json;

use super::{ObjectKind, ObjectPath};

/// The annotation in which `kubectl apply` keeps the whole object, the values of a Secret included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Returns why a field is not read; none for one that may be.
pub fn refusal_to_read(kind: &ObjectKind, path: &ObjectPath) -> Option<String> {
    let places: [&[&str]; 3] =
        [&["data"], &["stringData"], &["metadata", "annotations", LAST_APPLIED]];
    let is_secret = kind.is_secret() && places.iter().any(|place| path.meets(place));
    is_secret.then(|| {
        format!("{path} of a Secret is not read: the value would be in the journal and in logs")
    })
}

/// Returns why a field is not changed to a value; none for one that may be.
pub fn refusal_to_patch(kind: &ObjectKind, keys: &[String], value: &Json) -> Option<String> {
    let path = ObjectPath::of_keys(keys);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    if kind.is_secret() {
        let why = "its values would be in the journal and in logs";
        return Some(format!("a Secret is not changed: {why}"));
    }
    if value.as_object().is_some_and(serde_json::Map::is_empty) {
        return Some(format!("{path} is an empty map, which sets nothing"));
    }
    match keys.as_slice() {
        ["apiVersion" | "kind", ..] => Some(format!("{path} says what the object is")),
        ["status", ..] => Some(format!("{path} is written by the object's controller")),
        ["metadata", "labels" | "annotations" | "finalizers", ..] => None,
        ["metadata", ..] => Some(format!(
            "{path} is not changed: of the metadata, only labels, annotations and finalizers can be"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(name: &str) -> ObjectKind {
        ObjectKind::new("v1", name, None, true).unwrap()
    }

    #[test]
    fn no_value_of_a_secret_is_read() {
        let is_refused = |name: &str, path: &str| {
            refusal_to_read(&kind(name), &ObjectPath::parse(path).unwrap()).is_some()
        };
        for path in [
            ".data",
            ".data['tls.key']",
            ".stringData.token",
            ".metadata",
            ".metadata.annotations",
            ".metadata.annotations['kubectl.kubernetes.io/last-applied-configuration']",
        ] {
            assert!(is_refused("Secret", path), "{path}");
            assert!(!is_refused("ConfigMap", path), "{path}");
        }
        for path in [".type", ".metadata.uid", ".metadata.annotations['a/b']", ".metadata.labels"] {
            assert!(!is_refused("Secret", path), "{path}");
        }
    }

    #[test]
    fn only_what_a_client_decides_is_changed() {
        let refused = |name: &str, keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            refusal_to_patch(&kind(name), &keys, &json!("x")).is_some()
        };
        for keys in [
            &["metadata", "name"][..],
            &["metadata", "namespace"],
            &["metadata", "uid"],
            &["metadata", "resourceVersion"],
            &["metadata", "managedFields"],
            &["metadata"],
            &["status", "phase"],
            &["kind"],
        ] {
            assert!(refused("ConfigMap", keys), "{keys:?}");
        }
        assert!(!refused("ConfigMap", &["data", "key"]));
        assert!(!refused("ConfigMap", &["metadata", "annotations", "a/b"]));
        assert!(refused("Secret", &["metadata", "annotations", "a/b"]));
        assert!(refusal_to_patch(&kind("ConfigMap"), &["data".into()], &json!({})).is_some());
    }
}
