//! The schemas of parameters. A parameter that is not a string accepts a template that yields its
//! type; a string can always contain templates.

use serde_json::{Map, Value as Json, json};

use super::super::types::{Field, LengthBounds, RecordType, Syntax, Text, Type};

/// Returns the schema of `with`.
pub(super) fn of(record: &RecordType) -> Json {
    let properties: Map<String, Json> =
        record.fields.iter().map(|field| (field.name.clone(), property(field))).collect();
    let required = record.fields.iter().filter(|field| field.required);
    let required: Vec<&str> = required.map(|field| field.name.as_str()).collect();
    let mut schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    let groups = record.exactly_one_of.iter().map(|group| exactly_one(group)).collect::<Vec<_>>();
    if !groups.is_empty() {
        schema["allOf"] = json!(groups);
    }
    schema
}

/// Requires exactly one of the fields; a null field counts as not given.
fn exactly_one(group: &[String]) -> Json {
    let given = |name: &String| {
        json!({
            "required": [name],
            "properties": { name: { "not": { "type": "null" } } },
        })
    };
    json!({ "oneOf": group.iter().map(given).collect::<Vec<_>>() })
}

fn property(field: &Field) -> Json {
    let mut schema = if field.literal { literal(&field.ty) } else { value(&field.ty) };
    if !field.description.is_empty() {
        schema["description"] = json!(field.description);
        schema["markdownDescription"] = json!(field.description); // the field that editors render
    }
    if let Some(default) = field.default.as_ref().filter(|default| !default.is_null()) {
        schema["default"] = default.clone();
    }
    if let Some(examples) = examples(&field.ty) {
        schema["examples"] = examples;
    }
    schema
}

/// Returns the schema of a literal of the type, or a template.
fn value(ty: &Type) -> Json {
    match ty {
        Type::Any => json!({}),
        Type::String(text) if is_free(text) => json!({ "$ref": "#/$defs/text" }),
        Type::Duration => either(&json!({ "$ref": "#/$defs/duration" }), "template"),
        Type::String(_) => either(&literal(ty), "template"),
        Type::Optional(of) => {
            let mut schema = value(of);
            match schema.get_mut("anyOf").and_then(Json::as_array_mut) {
                Some(choices) => choices.push(json!({ "type": "null" })),
                None => schema = json!({ "anyOf": [schema, { "type": "null" }] }),
            }
            schema
        }
        other => either(&literal(other), "whole_template"),
    }
}

fn either(literal: &Json, template: &str) -> Json {
    json!({ "anyOf": [literal, { "$ref": format!("#/$defs/{template}") }] })
}

/// Whether any string is accepted.
fn is_free(text: &Text) -> bool {
    text.syntax.is_none() && text.lengths == LengthBounds::ANY
}

fn literal(ty: &Type) -> Json {
    match ty {
        Type::Any => json!({}),
        Type::Null => json!({ "type": "null" }),
        Type::Boolean => json!({ "type": "boolean" }),
        Type::Integer(bounds) => {
            let chosen = |bound: i128| i64::try_from(bound).ok().filter(|_| is_chosen(bound));
            let bound = |bound: Option<i128>| bound.and_then(chosen).map(|bound| json!(bound));
            bounded("integer", bound(bounds.minimum), bound(bounds.maximum))
        }
        Type::Number(bounds) => {
            bounded("number", bounds.minimum.map(|n| json!(n)), bounds.maximum.map(|n| json!(n)))
        }
        Type::String(text) => string(text),
        Type::Duration => json!({ "$ref": "#/$defs/duration" }),
        Type::Enum(words) => json!({ "enum": **words }),
        Type::List(of, lengths) => {
            let mut schema = json!({ "type": "array", "items": value(of) });
            set(&mut schema, "minItems", lengths.minimum.map(|n| json!(n)));
            set(&mut schema, "maxItems", lengths.maximum.map(|n| json!(n)));
            schema
        }
        Type::Map(of, keys) => {
            let mut schema = json!({ "type": "object", "additionalProperties": value(of) });
            // An empty set of labels would match every object.
            let selects = keys.filter(|keys| *keys == Syntax::LabelKey);
            set(&mut schema, "minProperties", selects.map(|_| json!(1)));
            let keys = keys.map(|keys| json!({ "pattern": keys.pattern() }));
            set(&mut schema, "propertyNames", keys);
            schema
        }
        Type::Record(record) => of(record),
        Type::Optional(of) => json!({ "anyOf": [literal(of), { "type": "null" }] }),
    }
}

/// Whether a bound is declared, and not the limit of a machine integer.
fn is_chosen(bound: i128) -> bool {
    bound.abs() < 1_000_000_000
}

fn bounded(name: &str, minimum: Option<Json>, maximum: Option<Json>) -> Json {
    let mut schema = json!({ "type": name });
    set(&mut schema, "minimum", minimum);
    set(&mut schema, "maximum", maximum);
    schema
}

/// A scalar is accepted as written, so `1.10` and `true` are valid strings.
fn string(text: &Text) -> Json {
    let mut schema = json!({ "type": ["string", "number", "boolean"] });
    set(&mut schema, "pattern", text.syntax.map(|syntax| json!(syntax.pattern())));
    set(&mut schema, "minLength", text.lengths.minimum.map(|n| json!(n)));
    set(&mut schema, "maxLength", text.lengths.maximum.map(|n| json!(n)));
    schema
}

fn set(schema: &mut Json, key: &str, value: Option<Json>) {
    if let Some(value) = value {
        schema[key] = value;
    }
}

fn examples(ty: &Type) -> Option<Json> {
    match ty.non_null() {
        Type::Duration => Some(json!(["30s", "10m"])),
        Type::String(Text { syntax: Some(syntax), .. }) => Some(json!([syntax.example()])),
        Type::Integer(_) => Some(json!(["{{ inputs.count }}"])),
        Type::Record(_) => Some(json!(["{{ step }}"])),
        Type::List(..) => Some(json!(["{{ step.items }}"])),
        _ => None,
    }
}

/// Returns the schema of a duration.
pub(super) fn duration() -> Json {
    json!({
        "description": "A duration: a number with a unit d, h, m, s or ms, the longest unit first.",
        "anyOf": [
            { "type": "string", "pattern": "^(0|(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$" },
            { "const": 0 },
        ],
        "examples": ["30s", "10m", "1h30m"],
    })
}

/// Returns the schema of a string with a template.
pub(super) fn template() -> Json {
    json!({
        "description": "A string with `{{ expression }}` in it.",
        "type": "string",
        "pattern": "\\{\\{",
    })
}

/// Returns the schema of a template that yields a value other than a string.
pub(super) fn whole_template() -> Json {
    json!({
        "description": "One whole `{{ expression }}`, whose value is passed on with its type.",
        "type": "string",
        "pattern": "^\\s*\\{\\{[\\s\\S]*\\}\\}\\s*$",
    })
}
