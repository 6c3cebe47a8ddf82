//! What is kept of an object. Environment values, command lines, most annotations and messages of containers may hold
//! secrets, and are dropped before anything else sees the object.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use simulator::ClusterObject;

use super::fields::Fields;
use super::kinds::{SnapshotKind, is_kept_annotation};
use crate::platform::kubernetes::AnyObject;
use text::hex;

/// An object of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SnapshotObject {
    /// The part of the object that is kept, with its apiVersion and kind.
    pub object: ClusterObject,
    /// The clients that have set `spec.replicas`, by the managed fields of the object.
    pub replicas_managers: Vec<FieldManager>,
    /// The digest of the whole template, which tells two apart that are equal in what is kept of them.
    #[serde(skip)]
    template_digest: Option<String>,
}

/// A client that has set a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldManager {
    /// The name of the client: `kubectl-client-side-apply`, `helm`, `kube-controller-manager`.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// The subresource through which the field was set; empty for the object itself.
    pub subresource: String,
    /// When the client last changed one of its fields.
    pub time: Option<String>,
}

/// The label that tells the pods of one replica set from those of another.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// The annotation of a template that differs from another one only in what is not kept.
const TEMPLATE_MARK: &str = "sop.rafay.dev/template";

/// The places of metadata in an object.
const METADATA: [&str; 3] =
    ["/metadata", "/spec/template/metadata", "/spec/jobTemplate/spec/template/metadata"];
/// The places of the volumes of pods.
const VOLUMES: [&str; 3] = [
    "/spec/volumes",
    "/spec/template/spec/volumes",
    "/spec/jobTemplate/spec/template/spec/volumes",
];

impl SnapshotObject {
    /// Keeps what a snapshot needs of an object.
    pub(super) fn of(kind: &SnapshotKind, fields: &Fields, found: AnyObject) -> Self {
        let replicas_managers = match kind.kind.kind {
            "Deployment" | "StatefulSet" => replicas_managers(&found),
            _ => Vec::new(),
        };
        let template_digest = match kind.kind.kind {
            "Deployment" | "ReplicaSet" => {
                found.data.pointer("/spec/template").map(template_digest)
            }
            _ => None,
        };
        let mut whole = found.data;
        // It has a serialization of its own, which cannot fail: its keys are texts.
        whole["metadata"] = serde_json::to_value(&found.metadata).unwrap_or_default();
        let mut object = fields.keep(whole).unwrap_or_default();
        drop_annotations(&mut object);
        drop_volumes_without_source(&mut object);
        let mut typed = json!({"apiVersion": kind.kind.api_version(), "kind": kind.kind.kind});
        if let (Value::Object(typed), Value::Object(kept)) = (&mut typed, object) {
            typed.extend(kept);
        }
        Self { object: typed.into(), replicas_managers, template_digest }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Returns the namespace; an empty text for an object of the cluster.
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    /// Returns the UID.
    pub fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    /// Returns the owner that controls the object, with its kind, name and UID.
    pub fn controller(&self) -> Option<(&str, &str, &str)> {
        let owners = self.object.pointer("/metadata/ownerReferences")?.as_array()?;
        let owner = owners.iter().find(|owner| owner["controller"] == true)?;
        Some((owner["kind"].as_str()?, owner["name"].as_str()?, owner["uid"].as_str()?))
    }

    /// Returns the text at a JSON pointer; an empty text if the object has none there.
    pub fn text(&self, pointer: &str) -> &str {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns the items of the list at a JSON pointer.
    pub fn list(&self, pointer: &str) -> &[Value] {
        self.object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Returns a condition of the status, if the object has it.
    pub fn condition(&self, kind: &str) -> Option<&Value> {
        self.list("/status/conditions").iter().find(|condition| condition["type"] == kind)
    }
}

/// Marks the templates of deployments and replica sets that are equal in what is kept of them, and were not: the
/// revisions of a deployment may differ in nothing but a variable of the environment, and its controller would take one
/// for the other. The mark is the hash in the name of the replica set.
pub(super) fn mark_templates(
    deployments: &mut [SnapshotObject],
    replica_sets: &mut [SnapshotObject],
) {
    let mut by_owner: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (position, set) in replica_sets.iter().enumerate() {
        if let Some(("Deployment", _, uid)) = set.controller() {
            by_owner.entry(uid.to_owned()).or_default().push(position);
        }
    }
    let kept_of_sets: Vec<Option<String>> = replica_sets.iter().map(kept_template).collect();
    for deployment in deployments {
        let Some(sets) = by_owner.get(deployment.uid()) else { continue };
        let (kept, own) = (kept_template(deployment), deployment.template_digest.clone());
        // What is kept of each template, and what tells it from others that are equal in that.
        let mut templates: Vec<(&Option<String>, &Option<String>)> = sets
            .iter()
            .map(|&set| (&kept_of_sets[set], &replica_sets[set].template_digest))
            .collect();
        templates.push((&kept, &own));
        let is_ambiguous = |one: &(&Option<String>, &Option<String>)| {
            templates.iter().any(|other| other.0 == one.0 && other.1 != one.1)
        };
        let is_own_ambiguous = is_ambiguous(&(&kept, &own));
        let ambiguous: Vec<usize> = sets
            .iter()
            .zip(&templates)
            .filter(|(_, one)| is_ambiguous(one))
            .map(|(set, _)| *set)
            .collect();
        let mut own_mark = "new".to_owned();
        for position in ambiguous {
            let set = &mut replica_sets[position];
            let mark = set.text("/metadata/labels/pod-template-hash").to_owned();
            annotate_template(set.object.make_mut(), &mark);
            if set.template_digest == own {
                own_mark = mark;
            }
        }
        if is_own_ambiguous {
            annotate_template(deployment.object.make_mut(), &own_mark);
        }
    }
}

fn annotate_template(object: &mut Value, mark: &str) {
    object["spec"]["template"]["metadata"]["annotations"][TEMPLATE_MARK] = mark.into();
}

/// Returns the digest of what was kept of a template.
fn kept_template(object: &SnapshotObject) -> Option<String> {
    object.object.pointer("/spec/template").map(template_digest)
}

/// Returns a digest of a template without the hash that the controller adds to its labels. The digest is compared and
/// never written: a short secret could be found from it.
fn template_digest(template: &Value) -> String {
    let mut hasher = Sha256::new();
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    // One has it and the other has not.
    if let Some(metadata) = template.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
    }
    hash_canonically(&template, &mut hasher);
    hex(&hasher.finalize())
}

/// Feeds a value to a hasher with the keys of objects in order.
fn hash_canonically(value: &Value, hasher: &mut Sha256) {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<&String> = object.keys().collect();
            keys.sort();
            hasher.update(b"{");
            for key in keys {
                hasher.update(Value::String(key.clone()).to_string());
                hash_canonically(&object[key], hasher);
            }
            hasher.update(b"}");
        }
        Value::Array(items) => {
            hasher.update(b"[");
            items.iter().for_each(|item| hash_canonically(item, hasher));
            hasher.update(b"]");
        }
        scalar => hasher.update(format!("{scalar},")),
    }
}

/// Returns the clients that have set `spec.replicas`.
fn replicas_managers(object: &AnyObject) -> Vec<FieldManager> {
    let entries = object.metadata.managed_fields.iter().flatten();
    let has_replicas = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| fields.pointer("/f:spec/f:replicas").is_some())
    });
    has_replicas
        .map(|entry| FieldManager {
            manager: entry.manager.clone().unwrap_or_default(),
            operation: entry.operation.clone().unwrap_or_default(),
            subresource: entry.subresource.clone().unwrap_or_default(),
            time: entry.time.as_ref().map(|time| time.0.to_string()),
        })
        .collect()
}

fn drop_annotations(object: &mut Value) {
    for metadata in METADATA {
        let Some(metadata) = object.pointer_mut(metadata).and_then(Value::as_object_mut) else {
            continue;
        };
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.retain(|key, _| is_kept_annotation(key));
            if annotations.is_empty() {
                metadata.shift_remove("annotations");
            }
        }
    }
}

/// Drops the volumes of which only the name is left, which is often the name of a Secret.
fn drop_volumes_without_source(object: &mut Value) {
    for volumes in VOLUMES {
        if let Some(Value::Array(volumes)) = object.pointer_mut(volumes) {
            volumes.retain(|volume| volume.as_object().is_some_and(|volume| volume.len() > 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::OTHER_KINDS;
    use super::*;

    #[test]
    fn the_clients_that_set_the_replicas_are_remembered_and_managed_fields_are_not() {
        let entry = |manager: &str, subresource: &str, fields: Value| {
            json!({
                "manager": manager, "operation": "Update", "subresource": subresource,
                "time": "2026-11-27T07:00:00Z", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields,
            })
        };
        let found = json!({
            "metadata": {
                "name": "relay", "namespace": "n",
                "annotations": {"deployment.kubernetes.io/revision": "3", "example.com/token": "hunter2"},
                "managedFields": [
                    entry("helm", "", json!({"f:spec": {"f:replicas": {}, "f:paused": {}}})),
                    entry("kube-controller-manager", "scale", json!({"f:spec": {"f:replicas": {}}})),
                    entry("kubectl", "", json!({"f:spec": {"f:template": {}}})),
                ],
            },
            "spec": {"replicas": 3},
        });
        let kind = OTHER_KINDS.iter().find(|kind| kind.kind.kind == "Deployment").unwrap();
        let found = serde_json::from_value(found).unwrap();
        let kept = SnapshotObject::of(kind, &kind.fields(), found);
        let managers: Vec<_> = kept
            .replicas_managers
            .iter()
            .map(|one| (one.manager.as_str(), one.subresource.as_str(), one.time.as_deref()))
            .collect();
        let at = Some("2026-11-27T07:00:00Z");
        assert_eq!(managers, [("helm", "", at), ("kube-controller-manager", "scale", at)]);
        assert_eq!(
            kept.object,
            json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {
                    "name": "relay", "namespace": "n",
                    "annotations": {"deployment.kubernetes.io/revision": "3"},
                },
                "spec": {"replicas": 3},
            })
        );
    }
}
