//! The representation of objects that the Accept header asks for: the whole objects, only their
//! metadata, or a table.

use axum::http::header;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::gateway::Incoming;
use crate::kubernetes::object::remove;
use crate::kubernetes::request::Query;
use crate::kubernetes::resources::Resource;

use super::table::{IncludeObject, table};

/// A representation of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Representation {
    Whole,
    Metadata,
    Table(IncludeObject),
}

impl Representation {
    pub(crate) fn from_request(incoming: &Incoming, query: &Query) -> Self {
        let accept = incoming.header(header::ACCEPT);
        let include = match query.get("includeObject") {
            "None" => IncludeObject::Nothing,
            "Object" => IncludeObject::Object,
            _ => IncludeObject::Metadata,
        };
        for range in accept.split(',') {
            let parts: Vec<&str> = range.split(';').map(str::trim).collect();
            if parts.contains(&"as=Table") {
                return Self::Table(include);
            }
            if parts.contains(&"as=PartialObjectMetadata")
                || parts.contains(&"as=PartialObjectMetadataList")
            {
                return Self::Metadata;
            }
            if parts == ["application/json"] {
                break;
            }
        }
        Self::Whole
    }

    /// Represents one object.
    pub(crate) fn object(self, resource: &Resource, object: &Value, now: Timestamp) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => metadata_only(object),
            Self::Table(include) => {
                let version = &object["metadata"]["resourceVersion"];
                let metadata = json!({"resourceVersion": version});
                table(resource, [object].into_iter(), include, &metadata, now)
            }
        }
    }

    /// Represents a list of objects.
    pub(crate) fn list<'a>(
        self,
        resource: &Resource,
        objects: impl Iterator<Item = &'a Value>,
        metadata: &Value,
        now: Timestamp,
    ) -> Value {
        match self {
            Self::Table(include) => table(resource, objects, include, metadata, now),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": objects.map(metadata_only).collect::<Vec<_>>(),
            }),
            Self::Whole => json!({
                "kind": format!("{}List", resource.kind),
                "apiVersion": resource.api_version(),
                "metadata": metadata,
                "items": objects.map(without_kind).collect::<Vec<_>>(),
            }),
        }
    }

    /// Represents a bookmark.
    pub(crate) fn bookmark(self, resource: &Resource, metadata: &Value) -> Value {
        match self {
            Self::Whole => json!({
                "kind": resource.kind,
                "apiVersion": resource.api_version(),
                "metadata": metadata,
            }),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
            }),
            Self::Table(_) => json!({
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "columnDefinitions": [],
                "rows": [],
            }),
        }
    }
}

/// Removes the kind, which the elements of a list do not repeat.
fn without_kind(object: &Value) -> Value {
    let mut object = object.clone();
    remove(&mut object, &["kind"]);
    remove(&mut object, &["apiVersion"]);
    object
}

/// Returns only the metadata of an object.
pub(crate) fn metadata_only(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}
