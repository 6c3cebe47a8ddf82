//! `/openapi.json`: the table of routes as an OpenAPI 3.1 document. Its schemas are JSON Schema 2020-12, as `schemars`
//! makes them.

use std::sync::LazyLock;

use axum::{Json, http::Method};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    api,
    auth::Needs,
    responses::Refused,
    route::{Answer, Content, Operation, Route},
};
use crate::journal::RunId;

/// The document, which never changes while the process runs.
static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi);

/// `GET /openapi.json`.
pub(super) async fn document() -> Json<&'static Value> {
    Json(&DOCUMENT)
}

/// Returns the OpenAPI document of the service.
pub fn openapi() -> Value {
    let mut generator = generator();
    let mut paths = Map::new();
    for route in api::routes() {
        let mut methods = Map::new();
        if route.path.contains("{id}") {
            let schema = generator.subschema_for::<RunId>();
            methods.insert("parameters".into(), json!([{
                "name": "id", "in": "path", "required": true, "description": "The run.", "schema": schema,
            }]));
        }
        for operation in &route.operations {
            let described = describe(&route, operation, &mut generator);
            methods.insert(operation.method.as_str().to_lowercase(), described);
        }
        paths.insert(route.path.to_owned(), Value::Object(methods));
    }
    let refused = refused(&mut generator);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rafay-relay-sop",
            "summary": "Runs runbooks against EKS and Kubernetes",
            "description": "`/run`, `/status` and `/health` are those of the Go service; what else they answer is added to that.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The service that answers this document"}],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": {"Refused": refused},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The token of the service, or of a Kubernetes account"},
                "session": {"type": "apiKey", "in": "cookie", "name": "sop_session", "description": "What the login of the page sets"},
            },
        },
    })
}

/// Returns the generator of the schemas of answers. Types are defined once, and referred to.
fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    settings.into_generator()
}

/// Returns a generator of the schemas of requests: what has a default may be left out of them.
fn request_generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator()
}

fn describe(route: &Route, operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut described = json!({
        "operationId": operation_id(route.path, &operation.method),
        "summary": operation.summary,
        "responses": answers(operation, generator),
        "security": security(route.needs),
    });
    if let Some(query) = operation.query {
        described["parameters"] = parameters(&query(&mut request_generator()).to_value());
    }
    if let Some(body) = &operation.body {
        let content = content(std::slice::from_ref(body), &mut request_generator());
        described["requestBody"] = json!({"required": body.schema.is_none(), "content": content});
    }
    described
}

/// Returns a name of an operation that no other has, such as `getRunsIdEvents`.
fn operation_id(path: &str, method: &Method) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words = words.map(|word| word[..1].to_uppercase() + &word[1..]);
    method.as_str().to_lowercase() + &words.collect::<String>()
}

/// Returns the properties of a query as parameters.
fn parameters(schema: &Value) -> Value {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let required = required.iter().any(|other| *other == name);
        json!({
            "name": name, "in": "query", "required": required, "description": description.unwrap_or_default(),
            "schema": schema,
        })
    };
    properties.into_iter().map(parameter).collect()
}

fn answers(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut answers = Map::new();
    for Answer { status, description, content: contents } in &operation.answers {
        let answer = json!({"description": description, "content": content(contents, generator)});
        answers.insert(status.as_str().to_owned(), answer);
    }
    // What any route may answer: a wrong query, no token, another site's page, a service that is too busy.
    answers.insert("default".into(), json!({"$ref": "#/components/responses/Refused"}));
    Value::Object(answers)
}

fn content(contents: &[Content], generator: &mut SchemaGenerator) -> Value {
    let entry = |content: &Content| {
        let schema = match content.schema {
            Some(schema) => schema(generator).to_value(),
            None if content.media_type == "application/json" => json!({"type": "object"}),
            None => json!({"type": "string"}),
        };
        (content.media_type.to_owned(), json!({ "schema": schema }))
    };
    Value::Object(contents.iter().map(entry).collect())
}

fn refused(generator: &mut SchemaGenerator) -> Value {
    let content = content(&[Content::json::<Refused>()], generator);
    json!({"description": "The request was refused, or failed.", "content": content})
}

/// Returns what a client has to send. An empty entry says that nothing may be enough: that is the choice of the person
/// who starts the service.
fn security(needs: Needs) -> Value {
    let (token, session, nothing) = (json!({"token": []}), json!({"session": []}), json!({}));
    match needs {
        Needs::Nothing => json!([]),
        Needs::Status | Needs::Read | Needs::Private(_) | Needs::Change(_) => {
            json!([token, session, nothing])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_operations_are_words_without_the_marks_of_the_path() {
        let name = |path| operation_id(path, &Method::GET);
        assert_eq!(name("/runs/{id}/events"), "getRunsIdEvents");
        assert_eq!(name("/openapi.json"), "getOpenapiJson");
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = openapi();
        let text = document.to_string();
        let references: Vec<&str> =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 20, "{}", references.len());
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn what_has_a_default_may_be_left_out_of_a_request_and_is_in_an_answer() {
        let document = openapi();
        let body = &document["paths"]["/run"]["post"]["requestBody"]["content"]["application/json"];
        assert_eq!(body["schema"]["required"], Value::Null, "{body:#}");
        assert_eq!(body["schema"]["additionalProperties"], false, "{body:#}");
        let started = &document["components"]["schemas"]["Started"];
        assert_eq!(started["required"], json!(["status", "message", "time", "run", "runbook"]));
    }
}
