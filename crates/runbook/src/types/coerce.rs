//! Checks JSON values against types and converts them.

use std::fmt;

use serde_json::{Map, Value as Json};

use super::{Bounds, LengthBounds, RecordType, Syntax, Text, Type};
use crate::duration::Duration;

/// The error for a value that does not have the required type.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueMismatch {
    /// The path from the checked value, such as `labels.Name` or `nodes[2]`; empty for the value
    /// itself.
    pub path: String,
    /// The cause.
    pub reason: MismatchReason,
}

/// Why a value does not have a type. The message has the kind of the value, never the value itself,
/// which may be confidential.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MismatchReason {
    /// The value is of another kind.
    #[error("must be {wanted}, not {found}")]
    TypeMismatch {
        /// The required type.
        wanted: String,
        /// The kind of the value.
        found: &'static str,
    },
    /// The value is outside the limits.
    #[error("{}", super::requirement(.0))]
    OutOfRange(String),
    /// The string does not have the required format.
    #[error("must be {0}")]
    InvalidFormat(String),
    /// The string is not one of the values of the enum.
    #[error("must be one of {0}")]
    InvalidEnumValue(String),
    /// A required field is missing.
    #[error("'{0}' is missing")]
    MissingField(String),
    /// Not exactly one field of a group is given.
    #[error("requires exactly one of {0}")]
    ExactlyOneOf(String),
}

impl fmt::Display for ValueMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}", self.reason)
        } else {
            write!(f, "{}: {}", self.path, self.reason)
        }
    }
}

impl ValueMismatch {
    fn at_root(reason: MismatchReason) -> Self {
        Self { path: String::new(), reason }
    }

    /// Returns the mismatch with `step` in front of its path.
    fn nested_in(mut self, step: &str) -> Self {
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{step}{joint}{}", self.path);
        self
    }
}

impl Type {
    /// Converts a value to this type: fields that the record does not have are removed, and a number
    /// or boolean becomes a string where a string is required.
    ///
    /// # Errors
    /// The value does not have the type.
    pub fn coerce(&self, value: Json) -> Result<Json, ValueMismatch> {
        let wrong = |value: &Json| {
            Err(ValueMismatch::at_root(MismatchReason::TypeMismatch {
                wanted: self.with_article(),
                found: kind(value),
            }))
        };
        match (self, value) {
            (Self::Any, value) => Ok(value),
            (Self::Null | Self::Optional(_), Json::Null) => Ok(Json::Null),
            (Self::Optional(inner), value) => inner.coerce(value),
            (Self::Boolean, Json::Bool(value)) => Ok(Json::Bool(value)),
            (Self::Integer(bounds), Json::Number(number)) => match integer(&number) {
                Some(value) => check_bounds(bounds, value).map(|()| Json::Number(number)),
                None => wrong(&Json::Number(number)),
            },
            (Self::Number(bounds), Json::Number(number)) => {
                let value = number.as_f64().unwrap_or(f64::NAN);
                check_bounds(bounds, value).map(|()| Json::Number(number))
            }
            (Self::String(text), value @ (Json::String(_) | Json::Number(_) | Json::Bool(_))) => {
                let value = as_text(value);
                text.check(&value).map_err(ValueMismatch::at_root)?;
                Ok(Json::String(value))
            }
            (Self::Duration, Json::String(text)) => match text.parse::<Duration>() {
                Ok(_) => Ok(Json::String(text)),
                Err(_) => Err(ValueMismatch::at_root(MismatchReason::InvalidFormat(
                    "a duration, such as 250ms, 5s, 10m or 1h30m".to_owned(),
                ))),
            },
            (Self::Enum(words), Json::String(word)) if words.contains(&word) => {
                Ok(Json::String(word))
            }
            (Self::Enum(words), Json::String(_)) => {
                Err(ValueMismatch::at_root(MismatchReason::InvalidEnumValue(words.join(", "))))
            }
            (Self::List(of, lengths), Json::Array(items)) => {
                coerce_list(of, lengths, items).map(Json::Array)
            }
            (Self::Map(of, keys), Json::Object(fields)) => {
                coerce_map(of, *keys, fields).map(Json::Object)
            }
            (Self::Record(record), Json::Object(fields)) => {
                coerce_record(record, fields).map(Json::Object)
            }
            (_, value) => wrong(&value),
        }
    }
}

impl Text {
    /// Checks a string against the limits and the syntax.
    pub(crate) fn check(&self, text: &str) -> Result<(), MismatchReason> {
        if !self.lengths.contains(text.chars().count()) {
            return Err(MismatchReason::OutOfRange(self.lengths.describe("character")));
        }
        match self.syntax {
            Some(syntax) if !syntax.matches(text) => {
                Err(MismatchReason::InvalidFormat(syntax.sentence()))
            }
            _ => Ok(()),
        }
    }
}

fn check_bounds<N: Copy + PartialOrd + fmt::Display>(
    bounds: &Bounds<N>,
    value: N,
) -> Result<(), ValueMismatch> {
    match bounds.violated_limits(value) {
        Some(limits) => Err(ValueMismatch::at_root(MismatchReason::OutOfRange(limits))),
        None => Ok(()),
    }
}

fn coerce_list(
    of: &Type,
    lengths: &LengthBounds,
    items: Vec<Json>,
) -> Result<Vec<Json>, ValueMismatch> {
    if !lengths.contains(items.len()) {
        return Err(ValueMismatch::at_root(MismatchReason::OutOfRange(lengths.describe("item"))));
    }
    let coerce_item = |(index, item): (usize, Json)| {
        of.coerce(item).map_err(|wrong: ValueMismatch| wrong.nested_in(&format!("[{index}]")))
    };
    items.into_iter().enumerate().map(coerce_item).collect()
}

fn coerce_map(
    of: &Type,
    keys: Option<Syntax>,
    fields: Map<String, Json>,
) -> Result<Map<String, Json>, ValueMismatch> {
    let coerce_item = |(name, value): (String, Json)| {
        if let Some(form) = keys.filter(|keys| !keys.matches(&name)) {
            return Err(ValueMismatch::at_root(MismatchReason::InvalidFormat(form.sentence()))
                .nested_in(&name));
        }
        match of.coerce(value) {
            Ok(value) => Ok((name, value)),
            Err(wrong) => Err(wrong.nested_in(&name)),
        }
    };
    fields.into_iter().map(coerce_item).collect()
}

fn coerce_record(
    record: &RecordType,
    mut fields: Map<String, Json>,
) -> Result<Map<String, Json>, ValueMismatch> {
    let mut coerced = Map::new();
    for field in &record.fields {
        match fields.remove(&field.name) {
            Some(value) => {
                let value = field.ty.coerce(value);
                let value = value.map_err(|wrong| wrong.nested_in(&field.name))?;
                coerced.insert(field.name.clone(), value);
            }
            None if field.required => {
                return Err(ValueMismatch::at_root(MismatchReason::MissingField(
                    field.name.clone(),
                )));
            }
            None => {}
        }
    }
    for group in &record.exactly_one_of {
        let given = |name: &&String| coerced.get(*name).is_some_and(|value| !value.is_null());
        if group.iter().filter(given).count() != 1 {
            return Err(ValueMismatch::at_root(MismatchReason::ExactlyOneOf(group.join(", "))));
        }
    }
    Ok(coerced)
}

fn integer(number: &serde_json::Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or_else(|| number.as_u64().map(i128::from))
}

fn as_text(value: Json) -> String {
    match value {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

/// Returns the kind of a JSON value.
pub(crate) fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(number) if number.is_f64() => "a fractional number",
        Json::Number(_) => "an integer",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "a map",
    }
}
