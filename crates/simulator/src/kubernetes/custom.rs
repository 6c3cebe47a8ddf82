//! The kinds that definitions add to the API: `k8s/crds.yaml` of the program, as if it had been applied. Their objects
//! are pruned, defaulted and validated by their schemas. Of the rules, those that compare members with what they were
//! before are enforced; admission policies are not.

use std::{collections::BTreeMap, sync::LazyLock};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::yaml;

use super::kinds::Kind;
use super::status_error::StatusCause;

const DEFINITIONS_TEXT: &str = include_str!("../../../../k8s/crds.yaml");

static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    let documents = DEFINITIONS_TEXT.split("\n---\n").filter(|text| text.contains(DEFINITION));
    documents
        .map(|text| yaml::read(text).unwrap_or_else(|why| panic!("k8s/crds.yaml: {why}")))
        .collect()
});

/// The line by which the documents of kinds are told from others.
const DEFINITION: &str = "kind: CustomResourceDefinition\n";

/// The field of an error in a whole object.
const WHOLE: &str = "<nil>";

/// The message beside an error because of which the rules cannot be evaluated.
const NOT_CHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing \
                           errors to complete validation";

/// The definition of a kind.
#[derive(Debug, Deserialize)]
struct Definition {
    spec: DefinitionSpec,
}

#[derive(Debug, Deserialize)]
struct DefinitionSpec {
    group: String,
    names: Names,
    versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
struct Names {
    plural: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    name: String,
    #[serde(default)]
    additional_printer_columns: Vec<PrinterColumn>,
    #[serde(default)]
    selectable_fields: Vec<SelectableField>,
    schema: VersionSchema,
}

/// A column of the tables that `kubectl get` prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PrinterColumn {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) type_: String,
    #[serde(default)]
    pub(crate) priority: i32,
    json_path: String,
}

impl PrinterColumn {
    /// Returns the column's value in an object, if the object has one.
    pub(crate) fn value<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        object.pointer(&self.json_path.replace('.', "/"))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SelectableField {
    json_path: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionSchema {
    #[serde(rename = "openAPIV3Schema")]
    open_api: Schema,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Schema {
    #[serde(rename = "type")]
    type_: String,
    properties: BTreeMap<String, Schema>,
    required: Vec<String>,
    items: Option<Box<Schema>>,
    nullable: bool,
    default: Option<Value>,
    format: String,
    minimum: Option<f64>,
    max_length: Option<usize>,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    preserves_unknown: bool,
    #[serde(rename = "x-kubernetes-validations")]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    rule: String,
    message: String,
}

/// The forms of the rule for the name of an object: a label of RFC 1123.
const SHORT_NAME: &str = "size(self.metadata.name) <= 63";
const LABEL_NAME: &str = "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')";

impl Rule {
    /// Whether the rule allows the object by itself, where it is about the name.
    fn allows_name(&self, object: &Value) -> bool {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        self.rule.split(" && ").all(|condition| match condition {
            SHORT_NAME => name.len() <= 63,
            LABEL_NAME => {
                !name.is_empty()
                    && name.chars().all(is_inner)
                    && !name.starts_with('-')
                    && !name.ends_with('-')
            }
            _ => true,
        })
    }

    fn cause(&self) -> StatusCause {
        StatusCause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {}", self.message),
            field: WHOLE.to_owned(),
        }
    }

    /// Whether the rule allows the change, where it is of the form `self.a == oldSelf.a && self.b == oldSelf.b`.
    fn allows(&self, old: &Value, new: &Value) -> bool {
        self.rule.split(" && ").all(|comparison| {
            let paths = comparison.trim().split_once(" == ").and_then(|(new, old)| {
                let path = new.strip_prefix("self")?;
                (old.strip_prefix("oldSelf")? == path).then(|| path.replace('.', "/"))
            });
            paths.is_none_or(|path| old.pointer(&path) == new.pointer(&path))
        })
    }
}

/// Whether a kind is one that a definition adds.
pub(crate) fn is_custom(resource: &Kind) -> bool {
    version_of(resource).is_some()
}

fn version_of(resource: &Kind) -> Option<&'static Version> {
    let is_it = |spec: &&DefinitionSpec| {
        spec.group == resource.group && spec.names.plural == resource.plural
    };
    let spec = DEFINITIONS.iter().map(|definition| &definition.spec).find(is_it)?;
    spec.versions.iter().find(|version| version.name == resource.version)
}

/// Returns the columns of a custom kind.
pub(crate) fn columns(resource: &Kind) -> Option<&'static [PrinterColumn]> {
    version_of(resource).map(|version| version.additional_printer_columns.as_slice())
}

/// Returns whether the objects of a custom kind can be selected by a field.
pub(crate) fn is_selectable(resource: &Kind, field: &str) -> bool {
    let fields = version_of(resource).into_iter().flat_map(|version| &version.selectable_fields);
    fields.into_iter().any(|selectable| selectable.json_path.strip_prefix('.') == Some(field))
}

/// Removes the members of a custom object that its definition does not have, and sets the defaults.
pub(crate) fn prune_and_default(resource: &Kind, object: &mut Value) {
    let (Some(version), Value::Object(members)) = (version_of(resource), object) else { return };
    let schema = &version.schema.open_api;
    members.retain(|name, _| is_of_every_object(name) || schema.properties.contains_key(name));
    for (name, schema) in &schema.properties {
        schema.complete(members, name);
    }
}

fn is_of_every_object(member: &str) -> bool {
    matches!(member, "apiVersion" | "kind" | "metadata")
}

/// Returns what is invalid in a custom object by itself.
pub(crate) fn validate(resource: &Kind, object: &Value) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    if let Some(version) = version_of(resource) {
        version.schema.open_api.validate_members("", object, &mut causes);
        let prevents_rules = |cause: &StatusCause| {
            cause.reason != "FieldValueInvalid" && cause.field != "metadata.name"
        };
        let rules = &version.schema.open_api.rules;
        if causes.iter().any(prevents_rules) {
            causes.push(StatusCause::invalid(WHOLE, &Value::Null, NOT_CHECKED));
        } else {
            causes.extend(rules.iter().filter(|rule| !rule.allows_name(object)).map(Rule::cause));
        }
    }
    causes
}

/// Returns what is invalid in a change of a custom object.
pub(crate) fn validate_update(resource: &Kind, old: &Value, new: &Value) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    if let Some(version) = version_of(resource) {
        version.schema.open_api.check_rules("", old, new, &mut causes);
    }
    causes
}

impl Schema {
    /// Sets the default of a member that is absent, and prunes one that is present.
    fn complete(&self, members: &mut serde_json::Map<String, Value>, name: &str) {
        match (members.get_mut(name), &self.default) {
            (Some(value), _) => self.prune(value),
            (None, Some(default)) => {
                members.insert(name.to_owned(), default.clone());
            }
            (None, None) => {}
        }
    }

    fn prune(&self, value: &mut Value) {
        match value {
            Value::Object(members) => {
                if !self.preserves_unknown {
                    members.retain(|name, _| self.properties.contains_key(name));
                }
                for (name, schema) in &self.properties {
                    schema.complete(members, name);
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.prune(item));
                }
            }
            _ => {}
        }
    }

    fn validate(&self, path: &str, value: &Value, causes: &mut Vec<StatusCause>) {
        if value.is_null() && self.nullable {
            return;
        }
        // The status is validated by itself.
        let shown = path.strip_prefix("status.").unwrap_or(path);
        let type_cause = |wanted: &str, found: &str| StatusCause {
            reason: "FieldValueTypeInvalid",
            message: format!(
                "Invalid value: {found:?}: {shown} in body must be of type {wanted}: {found:?}"
            ),
            field: path.to_owned(),
        };
        let found = type_name(value);
        if found != self.type_ && !(found == "integer" && self.type_ == "number") {
            causes.push(type_cause(&self.type_, found));
            return;
        }
        match value {
            Value::Object(_) => self.validate_members(&format!("{path}."), value, causes),
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    if let Some(schema) = &self.items {
                        schema.validate(&format!("{path}[{at}]"), item, causes);
                    }
                }
            }
            Value::String(text) => {
                if let Some(max) = self.max_length.filter(|max| text.chars().count() > *max) {
                    causes.push(StatusCause {
                        reason: "FieldValueTooLong",
                        message: format!("Too long: may not be more than {max} bytes"),
                        field: path.to_owned(),
                    });
                }
                if self.format == "date-time" && text.parse::<Timestamp>().is_err() {
                    causes.push(type_cause("date-time", text));
                }
            }
            Value::Number(number) => {
                let least =
                    self.minimum.filter(|least| number.as_f64().is_some_and(|n| n < *least));
                if let Some(least) = least {
                    let message =
                        format!("{shown} in body should be greater than or equal to {least}");
                    causes.push(StatusCause::invalid(path, value, &message));
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Validates the members of an object, whose paths begin like this.
    fn validate_members(&self, prefix: &str, object: &Value, causes: &mut Vec<StatusCause>) {
        for (name, schema) in &self.properties {
            match object.get(name) {
                Some(value) => schema.validate(&format!("{prefix}{name}"), value, causes),
                None if self.required.contains(name) => {
                    causes.push(StatusCause::required(&format!("{prefix}{name}"), ""));
                }
                None => {}
            }
        }
    }

    fn check_rules(&self, path: &str, old: &Value, new: &Value, causes: &mut Vec<StatusCause>) {
        for rule in self.rules.iter().filter(|rule| !rule.allows(old, new)) {
            let field = if path.is_empty() { WHOLE } else { path }.to_owned();
            causes.push(StatusCause { field, ..rule.cause() });
        }
        for (name, schema) in &self.properties {
            if let (Some(old), Some(new)) = (old.get(name), new.get(name)) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                schema.check_rules(&path, old, new, causes);
            }
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::{CONFIG_MAPS, RUN_EVENTS, RUNBOOK_RUNS};
    use super::*;

    #[test]
    fn each_kind_of_the_definitions_is_served_and_no_other_is_custom() {
        assert_eq!(DEFINITIONS.len(), 2);
        assert!(is_custom(&RUNBOOK_RUNS) && is_custom(&RUN_EVENTS) && !is_custom(&CONFIG_MAPS));
    }

    #[test]
    fn the_rules_are_of_the_form_that_is_enforced() {
        let schemas = DEFINITIONS.iter().map(|one| &one.spec.versions[0].schema.open_api);
        for schema in schemas {
            let of_members = schema.properties.values().flat_map(|member| &member.rules);
            for Rule { rule, .. } in schema.rules.iter().chain(of_members) {
                let of_changes = |one: &&str| ![SHORT_NAME, LABEL_NAME].contains(one);
                for comparison in rule.split(" && ").filter(of_changes) {
                    let (new, old) = comparison.split_once(" == ").unwrap();
                    assert_eq!(new.replacen("self", "oldSelf", 1), old, "{rule}");
                }
            }
        }
    }
}
