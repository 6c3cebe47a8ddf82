//! What is said about the keys of the language: the descriptions of the JSON Schema, so that there is one text of each.

use std::sync::OnceLock;

use serde_json::Value as Json;

use super::super::document::MappingKind;
use super::super::json_schema;
use super::super::registry::{ActionRegistry, ActionSignature};
use super::super::types::{Bounds, Field, LengthBounds, Type};

/// Returns the description of a key of the language.
pub(super) fn of_key(mapping: MappingKind, key: &str) -> Option<&'static str> {
    static SCHEMA: OnceLock<Json> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| json_schema::json_schema(&ActionRegistry::default(), &[]));
    if (mapping, key) == (MappingKind::Step, "action") {
        return Some("The name of the action of the step.");
    }
    let place = match mapping {
        MappingKind::Runbook => "/properties",
        MappingKind::Defaults => "/properties/defaults/properties",
        MappingKind::Step => "/$defs/step/properties",
        MappingKind::Input => "/$defs/input/properties",
        MappingKind::Retry => "/$defs/retry/properties",
    };
    schema.pointer(&format!("{place}/{key}/description"))?.as_str()
}

/// Returns the text about an action or a runbook.
pub(super) fn of_action(action: &ActionSignature) -> String {
    json_schema::documentation(action)
}

/// Returns what follows a parameter's name: its type, and whether it must be given.
pub(super) fn detail(field: &Field) -> String {
    let ty = described(&field.ty);
    match (&field.default, field.required) {
        (Some(default), _) if !default.is_null() => format!("{ty} = {default}"),
        (_, true) => format!("{ty} (required)"),
        _ => ty,
    }
}

/// Returns a type with its limits: "integer from 1 to 20".
pub(super) fn described(ty: &Type) -> String {
    let limits = match ty {
        Type::Integer(bounds) => limits(bounds),
        Type::Number(bounds) => limits(bounds),
        Type::String(text) => match text.syntax {
            // A kind is the name of the type already.
            Some(syntax) if syntax.is_kind() => format!(": {}", syntax.explain()),
            Some(syntax) => format!(": {}", syntax.sentence()),
            None => lengths(&text.lengths, "character"),
        },
        Type::List(_, bounds) => lengths(bounds, "item"),
        Type::Optional(of) => return format!("optional {}", described(of)),
        _ => String::new(),
    };
    format!("{ty}{limits}")
}

/// Returns the limits of numbers without those of machine integers, which no author has chosen.
fn limits<N: Copy + PartialOrd + std::fmt::Display>(bounds: &Bounds<N>) -> String {
    const MAX_DIGITS: usize = 9;
    let chosen = |limit: Option<N>| limit.filter(|limit| limit.to_string().len() <= MAX_DIGITS);
    let bounds = Bounds { minimum: chosen(bounds.minimum), maximum: chosen(bounds.maximum) };
    bounds.describe().map_or_else(String::new, |limits| format!(", {limits}"))
}

fn lengths(bounds: &LengthBounds, of: &str) -> String {
    match (bounds.minimum, bounds.maximum) {
        (Some(minimum), Some(maximum)) => format!(", {minimum} to {maximum} {of}s"),
        (Some(minimum), None) => format!(", at least {}", text::plural(minimum, of)),
        (None, Some(maximum)) => format!(", at most {}", text::plural(maximum, of)),
        (None, None) => String::new(),
    }
}
