//! The part of an `OpenAPI` document that kubectl needs to see that the server validates fields and
//! supports dry runs; kubectl then leaves validation to the server. Knows the kinds from the table.

use serde_json::{Map, Value, json};

use crate::kubernetes::resources::{RESOURCES, Resource};

/// Returns the document at a path under `/openapi/v3`, if there is one.
pub(crate) fn document(path: &str) -> Option<Value> {
    let rest = path.strip_prefix("/openapi/v3")?;
    match rest.trim_matches('/') {
        "" => Some(index()),
        group => schema(group),
    }
}

/// Returns the path of a kind's group: `api/v1` or `apis/apps/v1`.
fn group_path(resource: &Resource) -> String {
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", resource.api_version())
}

fn index() -> Value {
    let paths: Map<String, Value> = RESOURCES
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
    let paths: Map<String, Value> = RESOURCES
        .iter()
        .filter(|resource| group_path(resource) == group)
        .flat_map(|resource| operations(resource, group))
        .collect();
    (!paths.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "simulator"},
            "paths": paths,
            "components": {"schemas": {}},
        })
    })
}

fn operations(resource: &Resource, group: &str) -> [(String, Value); 2] {
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
