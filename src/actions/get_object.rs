//! `get_object`: fields of an object of any kind.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Action, Error, Permission, PlatformReader, Progress, Read, Result,
    objects::{self, ObjectParams},
};
use crate::platform::kubernetes::ObjectAddress;
use runbook::{
    objects::{ObjectPath, refusal_to_read},
    types::Type,
};

/// The types that a field may have.
const TYPES: [&str; 12] = [
    "string",
    "integer",
    "number",
    "boolean",
    "list of string",
    "map of string",
    "optional string",
    "optional integer",
    "optional number",
    "optional boolean",
    "optional list of string",
    "optional map of string",
];

/// Reads fields of one Kubernetes object of any kind.
///
/// `fields` declares what is read, and the output has these fields with the declared types: with
/// `fields: {replicas: {path: .spec.replicas, type: integer}}`, `{{ step.replicas + 1 }}` is checked before the run. A
/// value of another type is an error, and so is a field that the object does not have, unless its type is optional: it
/// is then null. The values of Secrets are not read, because outputs are in the journal.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-object" = {"fields": "fields", "nullable_if": "may_be_missing"}))]
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
    /// The fields of the output, by name.
    #[schemars(extend("x-literal" = true))]
    pub fields: BTreeMap<String, FieldDeclaration>,
    /// Whether the object may be missing. Every field of the output is then null, and its type optional.
    #[serde(default)]
    #[schemars(extend("x-literal" = true))]
    pub may_be_missing: bool,
}

/// The declaration of a field.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldDeclaration {
    /// The path to the field, such as `.spec.replicas` or `.metadata.annotations['example.com/note']`.
    #[schemars(extend("x-literal" = true, "x-syntax" = "object-path"))]
    pub path: String,
    /// The type of its value.
    #[serde(rename = "type")]
    #[schemars(extend("x-literal" = true, "enum" = TYPES))]
    pub value_type: String,
}

/// The declared fields.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Output(Map<String, Value>);

/// The fields follow from the parameters of a step, and not from this type.
impl JsonSchema for Output {
    fn schema_name() -> Cow<'static, str> {
        "Output".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "The declared fields.",
            "properties": {},
            "additionalProperties": true,
        })
    }
}

pub(super) struct GetObject;

impl Action for GetObject {
    const NAME: &'static str = "get_object";
    const PERMISSIONS: &'static [Permission] = &[Permission::object(&["get"])];
    type Params = Params;
    type Output = Output;
}

impl Read for GetObject {
    async fn read(params: Params, reader: &PlatformReader, progress: &Progress) -> Result<Output> {
        let Params { api_version, kind, resource, namespace, name, fields, may_be_missing } =
            params;
        let (kind, address) =
            ObjectParams { api_version, kind, resource, namespace, name }.resolve()?;
        let fields = fields.into_iter().map(|(name, field)| Ok((name, Field::new(field)?)));
        let fields: BTreeMap<String, Field> = fields.collect::<Result<_>>()?;
        let refused = fields.values().find_map(|field| refusal_to_read(&kind, &field.path));
        if let Some(why) = refused {
            return Err(Error::precondition(why));
        }
        let object = match objects::read(&reader.kubernetes().await?, &address).await? {
            Some(object) => objects::content(&object),
            None if may_be_missing => {
                progress.report(&format!("{address} does not exist"));
                return Ok(Output(fields.into_keys().map(|name| (name, Value::Null)).collect()));
            }
            None => {
                let hint = "with `may_be_missing: true`, every field is null then";
                let message = format!("{address} does not exist");
                return Err(Error::precondition(message).with_hint(hint));
            }
        };
        let values =
            fields.into_iter().map(|(name, field)| Ok((name, field.of(&object, &address)?)));
        Ok(Output(values.collect::<Result<_>>()?))
    }
}

/// A declared field.
struct Field {
    path: ObjectPath,
    value_type: Type,
}

impl Field {
    fn new(FieldDeclaration { path, value_type }: FieldDeclaration) -> Result<Self> {
        let parsed = ObjectPath::parse(&path);
        let path = parsed
            .ok_or_else(|| Error::precondition(format!("'{path}' is not a path to a field")))?;
        let value_type =
            Type::parse(&value_type).map_err(|error| Error::precondition(error.to_string()))?;
        Ok(Self { path, value_type })
    }

    /// Returns the value in an object, with the declared type.
    fn of(&self, object: &Value, address: &ObjectAddress) -> Result<Value> {
        let Self { path, value_type } = self;
        let found = path.find(object).cloned().unwrap_or_default();
        if found.is_null() && !matches!(value_type, Type::Optional(_)) {
            let hint = format!("`type: optional {value_type}` makes it null then");
            return Err(Error::precondition(format!("{address} has no {path}")).with_hint(hint));
        }
        value_type.coerce(read_text(found, value_type)).map_err(|mismatch| {
            let joint =
                if mismatch.path.is_empty() || mismatch.path.starts_with('[') { "" } else { "." };
            let inside = &mismatch.path;
            Error::precondition(format!("{path}{joint}{inside} of {address} {}", mismatch.reason))
        })
    }
}

/// Returns the number or boolean that a text has, where one is declared: labels and annotations are always texts.
fn read_text(found: Value, declared: &Type) -> Value {
    let is_scalar =
        matches!(declared.non_null(), Type::Integer(_) | Type::Number(_) | Type::Boolean);
    match found {
        Value::String(text) if is_scalar => match serde_json::from_str(&text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
            _ => Value::String(text),
        },
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(path: &str, value_type: &str) -> Result<Value> {
        let address = ObjectAddress {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            resource: "deployments".into(),
            namespace: Some("a".into()),
            name: "b".into(),
        };
        let object = json!({"spec": {
            "replicas": 3, "paused": true, "args": ["x", 2, {}], "labels": {"a": "1", "b": []},
        }});
        let field = FieldDeclaration { path: path.into(), value_type: value_type.into() };
        Field::new(field)?.of(&object, &address)
    }

    #[test]
    fn a_value_has_the_declared_type() {
        assert_eq!(read(".spec.replicas", "integer").unwrap(), json!(3));
        assert_eq!(read(".spec.replicas", "string").unwrap(), json!("3"));
        assert_eq!(read(".spec.paused", "optional boolean").unwrap(), json!(true));
        assert_eq!(read(".spec.labels.a", "optional integer").unwrap(), json!(1));
        assert!(read(".spec.args[0]", "integer").is_err());
        assert_eq!(read(".spec.absent.deeper", "optional integer").unwrap(), Value::Null);
    }

    #[test]
    fn another_type_is_an_error_with_path_and_both_types() {
        for (path, value_type, message) in [
            (
                ".spec.paused",
                "integer",
                ".spec.paused of deployment a/b must be an integer, not a boolean",
            ),
            (
                ".spec.args",
                "list of string",
                ".spec.args[2] of deployment a/b must be a string, not a map",
            ),
            (
                ".spec.labels",
                "map of string",
                ".spec.labels.b of deployment a/b must be a string, not a list",
            ),
            (".spec.absent", "integer", "deployment a/b has no .spec.absent"),
        ] {
            assert_eq!(read(path, value_type).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn every_type_of_a_field_is_a_type_of_the_language() {
        for name in TYPES {
            assert_eq!(Type::parse(name).unwrap().to_string(), name);
        }
    }
}
