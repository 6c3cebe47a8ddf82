//! The representation of objects that the Accept header asks for: the whole objects, only their
//! metadata, or a table.

use std::borrow::Cow;

use axum::http::header;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::gateway::Incoming;
use crate::kubernetes::event_forms::shown;
use crate::kubernetes::kinds::Kind;
use crate::kubernetes::request::Query;

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
    pub(crate) fn object<'a>(
        self,
        resource: &Kind,
        object: &'a Value,
        now: Timestamp,
    ) -> Cow<'a, Value> {
        match self {
            Self::Whole => shown(resource, object),
            Self::Metadata => Cow::Owned(metadata_only(object)),
            Self::Table(include) => {
                let version = &object["metadata"]["resourceVersion"];
                let metadata = json!({"resourceVersion": version});
                Cow::Owned(table(resource, [object].into_iter(), include, &metadata, now))
            }
        }
    }

    /// Represents a list of objects, as JSON.
    pub(crate) fn list<'a>(
        self,
        resource: &Kind,
        objects: impl Iterator<Item = &'a Value>,
        metadata: &Value,
        now: Timestamp,
    ) -> String {
        match self {
            Self::Table(include) => to_text(&table(resource, objects, include, metadata, now)),
            Self::Metadata => to_text(&json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": objects.map(metadata_only).collect::<Vec<_>>(),
            })),
            Self::Whole => to_text(&WholeList {
                kind: format!("{}List", resource.kind),
                api_version: resource.api_version(),
                metadata,
                items: objects.map(|object| ListItem(shown(resource, object))).collect(),
            }),
        }
    }

    /// Represents a bookmark.
    pub(crate) fn bookmark(self, resource: &Kind, metadata: &Value) -> Value {
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

/// A list of whole objects, which are not copied.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WholeList<'a> {
    kind: String,
    api_version: String,
    metadata: &'a Value,
    items: Vec<ListItem<'a>>,
}

/// An element of a list, without the kind, which it does not repeat.
struct ListItem<'a>(Cow<'a, Value>);

impl Serialize for ListItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0.as_object().into_iter().flatten();
        serializer.collect_map(fields.filter(|(key, _)| *key != "kind" && *key != "apiVersion"))
    }
}

/// Returns a body as JSON.
pub(crate) fn to_text(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("maps of JSON have texts as keys")
}

/// Returns only the metadata of an object.
pub(crate) fn metadata_only(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}
