//! The `OpenAPI` documents: that the server validates fields and supports dry runs, so that kubectl leaves validation
//! to the server, and the types of the kinds for `kubectl explain`. Knows the kinds from the table.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::kubernetes::kinds::{KINDS, Kind};
use crate::kubernetes::wire_types::{self, Field, Form, Message};

/// Returns the document at a path under `/openapi/v3`, if there is one.
pub(crate) fn document(path: &str) -> Option<Value> {
    let rest = path.strip_prefix("/openapi/v3")?;
    match rest.trim_matches('/') {
        "" => Some(index()),
        group => schema(group),
    }
}

/// Returns the path of a kind's group: `api/v1` or `apis/apps/v1`.
fn group_path(resource: &Kind) -> String {
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", resource.api_version())
}

fn index() -> Value {
    let paths: Map<String, Value> = KINDS
        .iter()
        .map(|resource| {
            let path = group_path(resource);
            let url = format!("/openapi/v3/{path}");
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

fn schema(group: &str) -> Option<Value> {
    let paths: Map<String, Value> = KINDS
        .iter()
        .filter(|resource| group_path(resource) == group)
        .flat_map(|resource| operations(resource, group))
        .collect();
    (!paths.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "simulator"},
            "paths": paths,
            "components": {"schemas": components(group)},
        })
    })
}

/// Returns the schemas of a group's kinds, and of everything in them.
fn components(group: &str) -> Map<String, Value> {
    let mut schemas = BTreeMap::new();
    for resource in KINDS.iter().filter(|resource| group_path(resource) == group) {
        let name = wire_types::message_name(&resource.api_version(), resource.kind);
        add_schema(&name, &mut schemas);
        let Some(kind) = schemas.get_mut(&schema_name(&name)) else {
            continue;
        };
        kind["x-kubernetes-group-version-kind"] = json!([{
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        }]);
        kind["properties"]["apiVersion"] =
            json!({"type": "string", "description": "The version of the type of the object."});
        kind["properties"]["kind"] =
            json!({"type": "string", "description": "The type of the object."});
    }
    schemas.into_iter().collect()
}

/// Adds a message and those in it.
fn add_schema(name: &str, schemas: &mut BTreeMap<String, Value>) {
    let Some(message) = wire_types::message(name) else {
        return;
    };
    if schemas.contains_key(&schema_name(name)) {
        return;
    }
    // Before its fields: a message can be in itself.
    schemas.insert(schema_name(name), Value::Null);
    let mut properties = Map::new();
    add_properties(message, &mut properties, schemas);
    let schema = json!({
        "type": "object",
        "description": message.description,
        "properties": properties,
    });
    schemas.insert(schema_name(name), schema);
}

fn add_properties(
    message: &Message,
    properties: &mut Map<String, Value>,
    schemas: &mut BTreeMap<String, Value>,
) {
    for field in &message.fields {
        match wire_types::message(field.type_name) {
            Some(inner) if field.form == Form::Inline => add_properties(inner, properties, schemas),
            _ => {
                add_schema(field.type_name, schemas);
                properties.insert(field.name.to_owned(), property(field));
            }
        }
    }
}

fn property(field: &Field) -> Value {
    let one = match field.type_name {
        "string" | "bytes" | "Quantity" | "Duration" => json!({"type": "string"}),
        "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
        "int32" | "int64" => json!({"type": "integer", "format": field.type_name}),
        "double" => json!({"type": "number", "format": "double"}),
        "bool" => json!({"type": "boolean"}),
        "IntOrString" => json!({"type": "string", "format": "int-or-string"}),
        "FieldsV1" | "RawExtension" => json!({"type": "object"}),
        "Verbs" => json!({"type": "array", "items": {"type": "string"}}),
        message => json!({"$ref": format!("#/components/schemas/{}", schema_name(message))}),
    };
    let mut property = match field.form {
        Form::One | Form::Inline if one.get("$ref").is_some() => json!({"allOf": [one]}),
        Form::One | Form::Inline => one,
        Form::List => json!({"type": "array", "items": one}),
        Form::Map => json!({"type": "object", "additionalProperties": one}),
    };
    property["description"] = field.description.into();
    property
}

/// Returns the name under which Kubernetes publishes the schema of a message.
fn schema_name(message: &str) -> String {
    message.replacen("k8s.io.", "io.k8s.", 1)
}

fn operations(resource: &Kind, group: &str) -> [(String, Value); 2] {
    let namespace_segment = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
    let collection = format!("/{group}/{namespace_segment}{}", resource.plural);
    let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"]
        .iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
        .collect();
    let operation = json!({
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    });
    let one = json!({"put": operation, "patch": operation});
    [(format!("{collection}/{{name}}"), one), (collection, json!({"post": operation}))]
}
