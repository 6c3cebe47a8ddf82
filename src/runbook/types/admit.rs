//! Whether a JSON value has a type, and its projection onto it.

use std::fmt;

use serde_json::{Map, Value as Json};

use super::{Lengths, Record, Span, Syntax, Text, Type};
use crate::runbook::duration::Duration;

/// A value that does not have its type.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// The way to it from the value that was judged: `labels.Name`, `nodes[2]`; empty for the value
    /// itself.
    pub path: String,
    /// What is wrong there.
    pub reason: Reason,
}

/// Why a value does not have a type. Says what a value *is*, never what it says, for it may be
/// confidential.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    /// Another kind of value.
    #[error("must be {wanted}, not {found}")]
    Kind {
        /// The type.
        wanted: String,
        /// What came.
        found: &'static str,
    },
    /// Outside its limits.
    #[error("must be {0}")]
    Limit(String),
    /// Not of its form.
    #[error("must be {0}")]
    Form(String),
    /// Not one of the words.
    #[error("must be one of {0}")]
    Word(String),
    /// A field that the record needs.
    #[error("'{0}' is missing")]
    Missing(String),
    /// Not exactly one of a group.
    #[error("needs exactly one of {0}")]
    Group(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}", self.reason)
        } else {
            write!(f, "{}: {}", self.path, self.reason)
        }
    }
}

impl Mismatch {
    fn here(reason: Reason) -> Self {
        Self { path: String::new(), reason }
    }

    /// The same, seen from one level further out.
    fn inside(mut self, step: &str) -> Self {
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{step}{joint}{}", self.path);
        self
    }
}

impl Type {
    /// The value as this type has it: fields that a record does not have are left out, and a number
    /// or boolean becomes text where text is wanted.
    ///
    /// # Errors
    /// The value does not have the type.
    pub fn project(&self, value: Json) -> Result<Json, Mismatch> {
        let wrong = |value: &Json| {
            Err(Mismatch::here(Reason::Kind { wanted: self.noun(), found: kind(value) }))
        };
        match (self, value) {
            (Self::Any, value) => Ok(value),
            (Self::Null | Self::Optional(_), Json::Null) => Ok(Json::Null),
            (Self::Optional(inner), value) => inner.project(value),
            (Self::Boolean, Json::Bool(value)) => Ok(Json::Bool(value)),
            (Self::Integer(span), Json::Number(number)) => match integer(&number) {
                Some(value) => within(span, value).map(|()| Json::Number(number)),
                None => wrong(&Json::Number(number)),
            },
            (Self::Number(span), Json::Number(number)) => {
                let value = number.as_f64().unwrap_or(f64::NAN);
                within(span, value).map(|()| Json::Number(number))
            }
            (Self::String(text), value @ (Json::String(_) | Json::Number(_) | Json::Bool(_))) => {
                let value = as_text(value);
                text.judge(&value).map_err(Mismatch::here)?;
                Ok(Json::String(value))
            }
            (Self::Duration, Json::String(text)) => match text.parse::<Duration>() {
                Ok(_) => Ok(Json::String(text)),
                Err(_) => Err(Mismatch::here(Reason::Form(
                    "a duration, such as 250ms, 5s, 10m or 1h30m".to_owned(),
                ))),
            },
            (Self::Enum(words), Json::String(word)) if words.contains(&word) => {
                Ok(Json::String(word))
            }
            (Self::Enum(words), Json::String(_)) => {
                Err(Mismatch::here(Reason::Word(words.join(", "))))
            }
            (Self::List(of, lengths), Json::Array(items)) => {
                project_list(of, lengths, items).map(Json::Array)
            }
            (Self::Map(of, keys), Json::Object(fields)) => {
                project_map(of, *keys, fields).map(Json::Object)
            }
            (Self::Record(record), Json::Object(fields)) => {
                project_record(record, fields).map(Json::Object)
            }
            (_, value) => wrong(&value),
        }
    }
}

impl Text {
    /// What is wrong with a text, if anything.
    pub(crate) fn judge(&self, text: &str) -> Result<(), Reason> {
        if !self.lengths.holds(text.chars().count()) {
            return Err(Reason::Limit(self.lengths.describe("character")));
        }
        match self.syntax {
            Some(syntax) if !syntax.admits(text) => Err(Reason::Form(syntax.sentence())),
            _ => Ok(()),
        }
    }
}

fn within<N: Copy + PartialOrd + fmt::Display>(span: &Span<N>, value: N) -> Result<(), Mismatch> {
    match span.refuse(value) {
        Some(limits) => Err(Mismatch::here(Reason::Limit(limits))),
        None => Ok(()),
    }
}

fn project_list(of: &Type, lengths: &Lengths, items: Vec<Json>) -> Result<Vec<Json>, Mismatch> {
    if !lengths.holds(items.len()) {
        return Err(Mismatch::here(Reason::Limit(lengths.describe("item"))));
    }
    let project = |(index, item): (usize, Json)| {
        of.project(item).map_err(|wrong: Mismatch| wrong.inside(&format!("[{index}]")))
    };
    items.into_iter().enumerate().map(project).collect()
}

fn project_map(
    of: &Type,
    keys: Option<Syntax>,
    fields: Map<String, Json>,
) -> Result<Map<String, Json>, Mismatch> {
    let project = |(name, value): (String, Json)| {
        if let Some(form) = keys.filter(|keys| !keys.admits(&name)) {
            return Err(Mismatch::here(Reason::Form(form.sentence())).inside(&name));
        }
        match of.project(value) {
            Ok(value) => Ok((name, value)),
            Err(wrong) => Err(wrong.inside(&name)),
        }
    };
    fields.into_iter().map(project).collect()
}

fn project_record(
    record: &Record,
    mut fields: Map<String, Json>,
) -> Result<Map<String, Json>, Mismatch> {
    let mut projected = Map::new();
    for field in &record.fields {
        match fields.remove(&field.name) {
            Some(value) => {
                let value = field.ty.project(value);
                let value = value.map_err(|wrong| wrong.inside(&field.name))?;
                projected.insert(field.name.clone(), value);
            }
            None if field.required => {
                return Err(Mismatch::here(Reason::Missing(field.name.clone())));
            }
            None => {}
        }
    }
    for group in &record.exactly_one_of {
        let given = |name: &&String| projected.get(*name).is_some_and(|value| !value.is_null());
        if group.iter().filter(given).count() != 1 {
            return Err(Mismatch::here(Reason::Group(group.join(", "))));
        }
    }
    Ok(projected)
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

/// What kind of JSON a value is.
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
