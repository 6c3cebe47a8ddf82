//! `patch_object`: change fields of an object of any kind.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Action, Change, Error, KnownTargets, Permission, PlannedChange, PlatformReader, PlatformWriter,
    Progress, RestoreCommand, Result, TargetState,
    compare_and_set::{WriteDecision, decide_write},
    objects::{self, ObjectParams},
    optimistic::patch_any_if_unchanged,
};
use crate::platform::kubernetes::{AnyObject, ObjectAddress};
use runbook::{
    Reversibility,
    objects::{ObjectPath, leaf_paths, refusal_to_patch},
};

/// Changes fields of one Kubernetes object of any kind with a merge patch.
///
/// A field that is not in `patch` stays as it is, null removes one, and a list is replaced as a whole. Each field is
/// changed only where it still has the value that this step found. The undo gives each field its value back, or removes
/// it where it was absent, if it still has the value that this step set; one that another client has changed is left
/// and named. The step does not wait for what the change causes: `wait_object` does. A Secret is not changed, because
/// plans and the journal show the values.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-object" = {"patch": "patch"}))]
pub struct Params {
    /// API group and version of the kind, such as `apps/v1`; `v1` for the core group.
    #[schemars(extend("x-literal" = true))]
    pub api_version: String,
    /// The kind, such as `Deployment`.
    #[schemars(extend("x-literal" = true))]
    pub kind: String,
    /// The kind in the plural, as `kubectl api-resources` shows it, such as `certificates`. Required where Kubernetes
    /// itself does not have the kind.
    #[serde(default)]
    #[schemars(extend("x-literal" = true, "x-syntax" = "kubernetes-name"))]
    pub resource: Option<String>,
    /// Namespace of the object; none for a kind without namespaces.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: Option<String>,
    /// Name of the object.
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    pub name: String,
    /// The fields to change, as in the object: `{spec: {replicas: 2}}`. A number or boolean in labels, in annotations
    /// and in the `data` of a ConfigMap is written as a string.
    pub patch: Map<String, Value>,
}

/// The object after the change.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Paths of the fields that this step changed; those that had these values before are left out.
    pub changed: Vec<String>,
}

/// The fields of the object, before and after.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    object: ObjectAddress,
    uid: String,
    fields: Vec<FieldChange>,
}

/// A field before and after the change; null where the object does not have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FieldChange {
    keys: Vec<String>,
    before: Value,
    after: Value,
}

/// The values that the fields got, in the order of the intent: the API server may have written them in another form.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    values: Vec<Value>,
}

pub(super) struct PatchObject;

impl Action for PatchObject {
    const NAME: &'static str = "patch_object";
    const PERMISSIONS: &'static [Permission] = &[Permission::object(&["get", "patch"])];
    type Params = Params;
    type Output = Output;
}

impl Change for PatchObject {
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let planned = |field: &FieldChange| {
            PlannedChange::new(intent.target(field), field.before.clone(), field.after.clone())
        };
        intent.changed().map(planned).collect()
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        _: &Progress,
    ) -> Result<Intent> {
        let Params { api_version, kind, resource, namespace, name, mut patch } = params;
        write_as_strings(&mut patch, &kind);
        let (kind, address) =
            ObjectParams { api_version, kind, resource, namespace, name }.resolve()?;
        let refused = leaf_paths(&patch)
            .into_iter()
            .find_map(|(keys, value)| refusal_to_patch(&kind, &keys, value));
        if let Some(why) = refused {
            return Err(Error::precondition(why));
        }
        let object = objects::read(&reader.kubernetes().await?, &address).await?;
        let object =
            object.ok_or_else(|| Error::precondition(format!("{address} does not exist")))?;
        let fields = changes(&objects::content(&object), &patch);
        let uid = object.metadata.uid.unwrap_or_default();
        Ok(Intent { object: address, uid, fields })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let kubernetes = writer.kubernetes().await?;
        let decide = |found: Option<&AnyObject>| Ok(((), intent.decide(found)?));
        let ((), object) = patch_any_if_unchanged(&kubernetes, &intent.object, decide).await?;
        let object = object.as_ref().map(objects::content).unwrap_or_default();
        Ok(Receipt { values: intent.fields.iter().map(|field| field.now(&object)).collect() })
    }

    async fn settle(
        intent: &Intent,
        _: &Receipt,
        _: &PlatformReader,
        _: &Progress,
    ) -> Result<Output> {
        Ok(Output { changed: intent.changed().map(|field| field.path().to_string()).collect() })
    }

    async fn undo(
        intent: &Intent,
        receipt: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        if intent.changed().next().is_none() {
            return Ok(Vec::new());
        }
        let kubernetes = writer.kubernetes().await?;
        let decide = |found: Option<&AnyObject>| Ok(intent.decide_undo(receipt, found));
        let (not_restored, _) = patch_any_if_unchanged(&kubernetes, &intent.object, decide).await?;
        Ok(not_restored)
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        let found = objects::read(&reader.kubernetes().await?, &intent.object).await?;
        let found = found.filter(|found| intent.is(found)).map(|found| objects::content(&found));
        let state = |field: &FieldChange| {
            let now = found.as_ref().map(|object| field.now(object)).unwrap_or_default();
            let restore = found.as_ref().map(|_| intent.restore(field));
            TargetState::new(intent.target(field), field.before.clone(), now, restore)
        };
        Ok(intent.changed().map(state).collect())
    }
}

impl Intent {
    fn changed(&self) -> impl Iterator<Item = &FieldChange> {
        self.fields.iter().filter(|field| field.before != field.after)
    }

    fn target(&self, field: &FieldChange) -> String {
        format!("{} {}", self.object, field.path())
    }

    fn is(&self, object: &AnyObject) -> bool {
        object.metadata.uid.as_deref() == Some(self.uid.as_str())
    }

    /// Returns the patch that sets the fields which are not set yet.
    fn decide(&self, found: Option<&AnyObject>) -> Result<Option<Value>> {
        let object = found.filter(|object| self.is(object)).map(objects::content);
        let object = object
            .ok_or_else(|| Error::precondition(format!("{} no longer exists", self.object)))?;
        let mut patch = Patch::default();
        for field in self.changed() {
            let (now, before) = (Shown(field.now(&object)), Shown(field.before.clone()));
            let after = Shown(field.after.clone());
            match decide_write(&self.target(field), &now, &before, &after)? {
                WriteDecision::Needed => patch.set(&field.keys, &field.after),
                WriteDecision::NotNeeded => {}
            }
        }
        Ok(patch.into_value())
    }

    /// Returns what is not restored, and the patch that restores the rest.
    fn decide_undo(
        &self,
        receipt: Option<&Receipt>,
        found: Option<&AnyObject>,
    ) -> (Vec<String>, Option<Value>) {
        let Some(object) = found.filter(|object| self.is(object)).map(objects::content) else {
            return (vec![format!("{} no longer exists", self.object)], None);
        };
        let mut patch = Patch::default();
        let mut not_restored = Vec::new();
        for (at, field) in self.fields.iter().enumerate() {
            if field.before == field.after {
                continue;
            }
            let set = receipt.and_then(|receipt| receipt.values.get(at)).unwrap_or(&field.after);
            let now = field.now(&object);
            if now == *set {
                patch.set(&field.keys, &field.before);
            } else if now != field.before {
                not_restored.push(format!(
                    "left {} at {}: another client changed it from {}",
                    self.target(field),
                    Shown(now),
                    Shown(set.clone())
                ));
            }
        }
        (not_restored, patch.into_value())
    }

    fn restore(&self, field: &FieldChange) -> RestoreCommand {
        let mut patch = Patch::default();
        patch.set(&field.keys, &field.before);
        let patch = json!(patch.0).to_string();
        let resource = objects::kind_of(&self.object).to_string();
        let namespace = self.object.namespace.iter().flat_map(|namespace| ["-n", namespace]);
        let name = self.object.name.as_str();
        let command = ["patch", &resource, name, "--type", "merge", "-p", &patch];
        RestoreCommand::Kubectl(namespace.chain(command).map(str::to_owned).collect())
    }
}

impl FieldChange {
    fn path(&self) -> ObjectPath {
        ObjectPath::of_keys(&self.keys)
    }

    /// Returns the value of the field in an object.
    fn now(&self, object: &Value) -> Value {
        self.path().find(object).cloned().unwrap_or_default()
    }
}

/// A value in messages.
#[derive(PartialEq)]
struct Shown(Value);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&objects::shown(&self.0))
    }
}

/// A merge patch.
#[derive(Default)]
struct Patch(Map<String, Value>);

impl Patch {
    fn set(&mut self, keys: &[String], value: &Value) {
        let Some((last, above)) = keys.split_last() else { return };
        let mut map = &mut self.0;
        for key in above {
            let inner = map.entry(key.clone()).or_insert_with(|| json!({}));
            let Value::Object(inner) = inner else { return };
            map = inner;
        }
        map.insert(last.clone(), value.clone());
    }

    fn into_value(self) -> Option<Value> {
        (!self.0.is_empty()).then_some(Value::Object(self.0))
    }
}

/// Writes the numbers and booleans in labels and annotations, and in the data of a ConfigMap, as strings, which
/// Kubernetes requires there.
fn write_as_strings(patch: &mut Map<String, Value>, kind: &str) {
    let of_texts: &[&str] = match kind {
        "ConfigMap" => &["/metadata/labels", "/metadata/annotations", "/data"],
        _ => &["/metadata/labels", "/metadata/annotations"],
    };
    for pointer in of_texts {
        let mut keys = pointer.split('/').skip(1);
        let first = keys.next().and_then(|key| patch.get_mut(key));
        let values = keys.fold(first, |map, key| map?.get_mut(key));
        for value in values.and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
            if value.is_number() || value.is_boolean() {
                *value = Value::String(value.to_string());
            }
        }
    }
}

/// Returns the fields that a merge patch changes in an object. Where the object has a value that is no map in place of
/// a map of the patch, that value is the field.
fn changes(object: &Value, patch: &Map<String, Value>) -> Vec<FieldChange> {
    fn collect(
        now: &Value,
        patch: &Map<String, Value>,
        above: &[String],
        to: &mut Vec<FieldChange>,
    ) {
        for (key, value) in patch {
            let keys = [above, std::slice::from_ref(key)].concat();
            let before = now.get(key).cloned().unwrap_or_default();
            match value {
                Value::Object(inner) if before.is_object() || before.is_null() => {
                    collect(&before, inner, &keys, to);
                }
                Value::Object(inner) => {
                    to.push(FieldChange { keys, before, after: without_nulls(inner) });
                }
                leaf => to.push(FieldChange { keys, before, after: leaf.clone() }),
            }
        }
    }
    let mut fields = Vec::new();
    collect(object, patch, &[], &mut fields);
    fields
}

/// Returns what a merge patch makes of nothing.
fn without_nulls(patch: &Map<String, Value>) -> Value {
    let kept = patch.iter().filter(|(_, value)| !value.is_null());
    let kept = kept.map(|(key, value)| match value {
        Value::Object(inner) => (key.clone(), without_nulls(inner)),
        other => (key.clone(), other.clone()),
    });
    Value::Object(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, spec: &Value) -> AnyObject {
        let object = json!({
            "apiVersion": "example.com/v1", "kind": "Thing",
            "metadata": {"name": "n", "uid": uid}, "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }

    fn intent(before: &Value, patch: &Value) -> Intent {
        let fields = changes(
            &objects::content(&object("1", before)),
            json!({"spec": patch}).as_object().unwrap(),
        );
        let address = ObjectAddress {
            group: "example.com".into(),
            version: "v1".into(),
            kind: "Thing".into(),
            resource: "things".into(),
            namespace: None,
            name: "n".into(),
        };
        Intent { object: address, uid: "1".into(), fields }
    }

    #[test]
    fn a_field_is_set_where_it_is_still_as_it_was() {
        let intent = intent(
            &json!({"kept": 1, "set": 1, "removed": [1], "map": "text"}),
            &json!({"kept": 1, "set": 2, "removed": null, "map": {"a": 1, "b": null}, "new": {"deep": 3}}),
        );
        let decide = |spec: Value| intent.decide(Some(&object("1", &spec)));
        let all = json!({"set": 2, "removed": null, "map": {"a": 1}, "new": {"deep": 3}});
        let patch = decide(json!({"kept": 9, "set": 1, "removed": [1], "map": "text"})).unwrap();
        assert_eq!(patch, Some(json!({"spec": all})));
        let patch = decide(json!({"set": 2, "map": {"a": 1}, "new": {"deep": 3}})).unwrap();
        assert_eq!(patch, None);
        assert_eq!(
            decide(json!({"set": 3, "removed": [1], "map": "text"})).unwrap_err().to_string(),
            "thing n .spec.set was changed by another client: expected 1, found 3"
        );
        assert_eq!(
            intent.decide(Some(&object("2", &json!({})))).unwrap_err().to_string(),
            "thing n no longer exists"
        );
    }

    #[test]
    fn the_undo_restores_each_field_that_is_still_as_it_was_set() {
        let intent = intent(
            &json!({"set": 1, "removed": {"a": [1]}, "theirs": "old"}),
            &json!({"set": 2, "removed": null, "theirs": "new", "added": true}),
        );
        let undo = |receipt: Option<&Receipt>, spec: Value| {
            intent.decide_undo(receipt, Some(&object("1", &spec)))
        };
        let (not_restored, patch) = undo(None, json!({"set": 2, "theirs": "other", "added": true}));
        assert_eq!(
            not_restored,
            ["left thing n .spec.theirs at \"other\": another client changed it from \"new\""]
        );
        let restored = json!({"set": 1, "removed": {"a": [1]}, "added": null});
        assert_eq!(patch, Some(json!({"spec": restored})));
        let before = json!({"set": 1, "removed": {"a": [1]}, "theirs": "old"});
        assert_eq!(undo(None, before), (vec![], None));
        let receipt = Receipt { values: vec![json!("2"), Value::Null, json!("new"), json!(true)] };
        let (not_restored, patch) =
            undo(Some(&receipt), json!({"set": "2", "theirs": "old", "removed": {"a": [1]}}));
        assert_eq!((not_restored, patch), (vec![], Some(json!({"spec": {"set": 1}}))));
    }

    #[test]
    fn a_number_is_written_as_a_string_where_only_those_are_allowed() {
        let patch = json!({"metadata": {"annotations": {"a": 3, "b": null}}, "data": {"c": true}});
        let written = |kind: &str| {
            let mut patch = patch.clone();
            write_as_strings(patch.as_object_mut().unwrap(), kind);
            patch
        };
        let annotations = json!({"annotations": {"a": "3", "b": null}});
        let expected = |data: Value| json!({"metadata": annotations, "data": data});
        assert_eq!(written("ConfigMap"), expected(json!({"c": "true"})));
        assert_eq!(written("Other"), expected(json!({"c": true})));
    }
}
