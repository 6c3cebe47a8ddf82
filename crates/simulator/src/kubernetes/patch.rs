//! The patch types of the Kubernetes API: JSON patch, merge patch and strategic merge patch. Pure
//! functions over JSON.

use serde_json::{Map, Value};

use super::custom;
use super::kinds::Kind;
use super::status_error::StatusError;

/// The type of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchType {
    pub(crate) fn of(content_type: &str) -> Result<Self, StatusError> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => Err(StatusError::unknown_patch_type()),
        }
    }
}

/// Returns `current` with the patch applied.
pub(crate) fn apply(
    resource: &Kind,
    kind: PatchType,
    current: &Value,
    patch: &Value,
) -> Result<Value, StatusError> {
    let mut object = current.clone();
    match kind {
        PatchType::Json => {
            let operations: json_patch::Patch =
                serde_json::from_value(patch.clone()).map_err(|error| {
                    StatusError::bad_request(format!("error decoding patch: {error}"))
                })?;
            json_patch::patch(&mut object, &operations).map_err(|_| StatusError::rejected())?;
        }
        PatchType::Merge => {
            require_object("error decoding patch: ", patch)?;
            json_patch::merge(&mut object, patch);
        }
        PatchType::Strategic if custom::is_custom(resource) => {
            return Err(StatusError::unaccepted_patch_type());
        }
        PatchType::Strategic | PatchType::Apply => {
            require_object("", patch)?;
            merge_objects(resource, &mut object, patch);
        }
    }
    Ok(object)
}

fn require_object(before: &str, patch: &Value) -> Result<(), StatusError> {
    if patch.is_object() {
        return Ok(());
    }
    let kind = if patch.is_array() { "array" } else { "value" };
    Err(StatusError::bad_request(format!(
        "{before}json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
    )))
}

fn merge_objects(resource: &Kind, target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if fields.get("$patch").and_then(Value::as_str) == Some("replace") {
        *target = without_directives(patch);
        return;
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Some(kept) = fields.get("$retainKeys").and_then(Value::as_array)
        && let Value::Object(old) = target
    {
        old.retain(|key, _| kept.iter().any(|k| k.as_str() == Some(key)));
    }
    for (key, change) in fields {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            delete_primitives(target, list, change);
        } else if !key.starts_with('$') {
            merge_field(resource, target, key, change);
        }
    }
    for (key, order) in fields {
        if let Some(list) = key.strip_prefix("$setElementOrder/")
            && let (Some(Value::Array(list)), Value::Array(order)) = (target.get_mut(list), order)
        {
            let before = list.clone();
            arrange(list, &before, order, merge_key(resource, &key["$setElementOrder/".len()..]));
        }
    }
}

fn merge_field(resource: &Kind, target: &mut Value, key: &str, change: &Value) {
    let Value::Object(object) = target else {
        return;
    };
    match change {
        Value::Null => {
            object.remove(key);
        }
        Value::Object(fields) if fields.get("$patch").and_then(Value::as_str) == Some("delete") => {
            object.remove(key);
        }
        Value::Object(_) => {
            let place = object.entry(key).or_insert_with(|| Value::Object(Map::new()));
            merge_objects(resource, place, change);
        }
        Value::Array(items) => {
            let place = object.entry(key).or_insert_with(|| Value::Array(Vec::new()));
            merge_lists(resource, place, key, items);
        }
        scalar => {
            object.insert(key.to_owned(), scalar.clone());
        }
    }
}

fn merge_lists(resource: &Kind, place: &mut Value, field: &str, items: &[Value]) {
    let replace =
        items.iter().any(|item| item.get("$patch").and_then(Value::as_str) == Some("replace"));
    let merge_key = merge_key(resource, field);
    let Value::Array(list) = place else {
        *place = Value::Array(items.iter().map(without_directives).collect());
        return;
    };
    if merges_primitives(field) {
        for item in items {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
        return;
    }
    let Some(merge_key) = merge_key.filter(|_| !replace) else {
        *list = items
            .iter()
            .filter(|item| item.get("$patch").is_none())
            .map(without_directives)
            .collect();
        return;
    };
    let before = list.clone();
    for item in items {
        let wanted = item.get(merge_key);
        let found = list.iter().position(|old| old.get(merge_key) == wanted);
        let delete = item.get("$patch").and_then(Value::as_str) == Some("delete");
        match (found, delete) {
            (Some(at), true) => {
                list.remove(at);
            }
            (None, true) => {}
            (Some(at), false) => merge_objects(resource, &mut list[at], item),
            (None, false) => list.push(without_directives(item)),
        }
    }
    arrange(list, &before, items, Some(merge_key));
}

fn delete_primitives(target: &mut Value, list: &str, gone: &Value) {
    if let (Some(Value::Array(list)), Value::Array(gone)) = (target.get_mut(list), gone) {
        list.retain(|item| !gone.contains(item));
    }
}

/// Puts the elements that `order` names in that order. The others keep their order among themselves
/// and precede a named element only if they preceded it in `before`.
fn arrange(list: &mut Vec<Value>, before: &[Value], order: &[Value], key: Option<&str>) {
    let same = |one: &Value, other: &Value| match key {
        Some(key) => one.get(key).is_some() && one.get(key) == other.get(key),
        None => one == other,
    };
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        list.drain(..).partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    let mut others = others.into_iter().peekable();
    for item in named {
        let limit = place(before, &item);
        while let Some(other) = others.next_if(|other| {
            matches!((place(before, other), limit), (Some(other), Some(limit)) if other < limit)
        }) {
            list.push(other);
        }
        list.push(item);
    }
    list.extend(others);
}

fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, field)| !key.starts_with('$') && !field.is_null())
            .map(|(key, field)| (key.clone(), without_directives(field)))
            .collect(),
        Value::Array(items) => items.iter().map(without_directives).collect(),
        scalar => scalar.clone(),
    }
}

/// Returns the merge key of a list's elements, as the API's types declare it. Lists without a merge
/// key are replaced as a whole.
fn merge_key(resource: &Kind, field: &str) -> Option<&'static str> {
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets"
        | "resourceClaims" => Some("name"),
        "ports" => Some(resource.port_key),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "topologySpreadConstraints" => Some("topologyKey"),
        "hostAliases" | "podIPs" | "hostIPs" => Some("ip"),
        "conditions" | "addresses" => Some("type"),
        "ownerReferences" => Some("uid"),
        _ => None,
    }
}

fn merges_primitives(field: &str) -> bool {
    matches!(field, "finalizers" | "podCIDRs")
}

#[cfg(test)]
mod tests {
    use super::super::kinds::DEPLOYMENTS;
    use super::*;
    use serde_json::json;

    fn strategic(target: &Value, patch: &Value) -> Value {
        apply(&DEPLOYMENTS, PatchType::Strategic, target, patch).unwrap()
    }

    #[test]
    fn strategic_lists_merge_by_their_key() {
        let target = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]});
        let patch = json!({
            "containers": [
                {"name": "a", "image": "2"},
                {"name": "c"},
                {"name": "b", "$patch": "delete"},
            ],
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
        });
        assert_eq!(
            strategic(&target, &patch),
            json!({"containers": [{"name": "c"}, {"name": "a", "image": "2"}]})
        );
    }

    #[test]
    fn new_elements_precede_those_that_the_patch_does_not_name() {
        let target = json!({"env": [{"name": "a"}, {"name": "b"}, {"name": "c"}]});
        let patch = json!({"env": [{"name": "new"}, {"name": "b", "value": "1"}]});
        let merged = strategic(&target, &patch);
        let names: Vec<&str> =
            merged["env"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["new", "a", "b", "c"]);
    }

    #[test]
    fn strategic_lists_without_a_key_are_replaced() {
        let target = json!({"taints": [{"key": "a"}], "finalizers": ["x", "y"]});
        let patch = json!({
            "taints": [{"key": "b"}],
            "finalizers": ["z"],
            "$deleteFromPrimitiveList/finalizers": ["x"],
        });
        let merged = strategic(&target, &patch);
        assert_eq!(merged["taints"], json!([{"key": "b"}]));
        assert_eq!(merged["finalizers"], json!(["y", "z"]));
    }

    #[test]
    fn strategic_maps_can_be_replaced_trimmed_and_deleted() {
        let target =
            json!({"strategy": {"type": "R", "rollingUpdate": {"x": 1}}, "gone": {"a": 1}});
        let patch = json!({
            "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
            "gone": {"$patch": "delete"},
        });
        assert_eq!(strategic(&target, &patch), json!({"strategy": {"type": "Recreate"}}));
    }

    #[test]
    fn a_json_patch_whose_test_fails_is_invalid() {
        let patch = json!([{"op": "test", "path": "/a", "value": 2}]);
        let error = apply(&DEPLOYMENTS, PatchType::Json, &json!({"a": 1}), &patch).unwrap_err();
        assert_eq!((error.code, error.reason.as_str()), (422, "Invalid"));
        let patch = json!([{"op": "replace", "path": "/a", "value": 2}]);
        let patched = apply(&DEPLOYMENTS, PatchType::Json, &json!({"a": 1}), &patch).unwrap();
        assert_eq!(patched, json!({"a": 2}));
    }
}
