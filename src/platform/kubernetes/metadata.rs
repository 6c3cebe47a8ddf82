//! The metadata of objects that are kept in large numbers.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer};

/// The fields of metadata that are read. The record of who manages which field is not among them: it is longer than the
/// rest, and what has no field here is skipped without a value of it being made.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadMetadata {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
}

/// Reads metadata without the record of managed fields.
pub(super) fn without_managed_fields<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ObjectMeta, D::Error> {
    let read = ReadMetadata::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: read.name,
        generate_name: read.generate_name,
        namespace: read.namespace,
        uid: read.uid,
        resource_version: read.resource_version,
        generation: read.generation,
        labels: read.labels,
        annotations: read.annotations,
        owner_references: read.owner_references,
        finalizers: read.finalizers,
        creation_timestamp: read.creation_timestamp,
        deletion_timestamp: read.deletion_timestamp,
        deletion_grace_period_seconds: read.deletion_grace_period_seconds,
        managed_fields: None,
        self_link: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_is_read_but_the_managed_fields() {
        let mut metadata = json!({
            "name": "p", "generateName": "p-", "namespace": "n", "uid": "u", "resourceVersion": "7",
            "generation": 2, "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["e/f"],
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "o", "uid": "v", "controller": true},
            ],
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "deletionTimestamp": "2026-01-02T03:04:06Z", "deletionGracePeriodSeconds": 30,
        });
        let whole: ObjectMeta = serde_json::from_value(metadata.clone()).unwrap();
        metadata["managedFields"] = json!([{"manager": "m", "fieldsV1": {"f:metadata": {}}}]);
        assert_eq!(without_managed_fields(&metadata).unwrap(), whole);
        let nothing = json!({"name": null, "creationTimestamp": null, "managedFields": null});
        assert_eq!(without_managed_fields(&nothing).unwrap(), ObjectMeta::default());
    }
}
