//! The types of the language, as the Rust types of an action's parameters and output give them
//! through JSON Schema. Knows no rule, no runbook and no template: only what a type is, what it
//! admits, and how it is called.

mod assignable;
mod bounds;
mod coerce;
mod parse;
mod schema;
mod syntax;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

pub(crate) use assignable::TypeMismatch;
pub use bounds::{Bounds, LengthBounds};
pub use coerce::{MismatchReason, ValueMismatch};
pub use parse::UnknownType;
pub use schema::UnsupportedSchema;
pub use syntax::Syntax;

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Nothing is known, so nothing is refused.
    Any,
    /// Only null. No declaration has it; an expression can.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer(Bounds<i128>),
    /// Any finite number; an integer is one.
    Number(Bounds<f64>),
    /// Text.
    String(Text),
    /// A length of time, as text.
    Duration,
    /// One of some words.
    Enum(Arc<[String]>),
    /// Values of one type, in order.
    List(Box<Type>, LengthBounds),
    /// Values of one type by name; the names may have a form.
    Map(Box<Type>, Option<Syntax>),
    /// Values of several types by name.
    Record(Arc<RecordType>),
    /// The type, or null.
    Optional(Box<Type>),
}

/// What a text must be like.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Text {
    /// A form of the domain.
    pub syntax: Option<Syntax>,
    /// How many characters.
    pub lengths: LengthBounds,
    /// A regular expression, which is shown but not judged: a judged form is a [`Syntax`].
    pub pattern: Option<String>,
    /// Put together by a template, so that its form is only known when it runs.
    pub(crate) built: bool,
}

/// Named fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RecordType {
    /// What messages call it.
    pub name: String,
    /// Its documentation.
    pub description: String,
    /// In the order of declaration.
    pub fields: Vec<Field>,
    /// Groups of fields of which exactly one is given.
    pub exactly_one_of: Vec<Vec<String>>,
}

/// One field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Whether it must be given.
    pub required: bool,
    /// What it is when it is not given, where the schema says so.
    pub default: Option<Json>,
    /// Its documentation.
    pub description: String,
}

impl RecordType {
    /// The field of a name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The names of all fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }
}

impl Type {
    /// Text of any form.
    pub const fn text() -> Self {
        Self::String(Text { syntax: None, lengths: LengthBounds::ANY, pattern: None, built: false })
    }

    /// Text that a template puts together.
    pub(crate) const fn built_text() -> Self {
        Self::String(Text { syntax: None, lengths: LengthBounds::ANY, pattern: None, built: true })
    }

    /// Any whole number.
    pub const fn integer() -> Self {
        Self::Integer(Bounds::ANY)
    }

    /// Any number.
    pub const fn number() -> Self {
        Self::Number(Bounds::ANY)
    }

    /// A list of any length.
    pub fn list(of: Self) -> Self {
        Self::List(Box::new(of), LengthBounds::ANY)
    }

    /// A map with any names.
    pub fn map(of: Self) -> Self {
        Self::Map(Box::new(of), None)
    }

    /// Its name with an article: "an integer", "a list of string", "one of a, b".
    pub fn with_article(&self) -> String {
        let name = self.to_string();
        match (self, name.chars().next()) {
            (Self::Enum(_) | Self::Any | Self::Null, _) => name,
            (_, Some('a' | 'e' | 'i' | 'o' | 'u')) => format!("an {name}"),
            _ => format!("a {name}"),
        }
    }

    /// The same without `or null`.
    pub fn non_null(&self) -> &Self {
        match self {
            Self::Optional(inner) => inner.non_null(),
            other => other,
        }
    }

    /// The same, or null.
    #[must_use]
    pub fn or_null(self) -> Self {
        match self {
            Self::Any | Self::Null | Self::Optional(_) => self,
            other => Self::Optional(Box::new(other)),
        }
    }

    /// Written as text in JSON.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::String(_) | Self::Duration | Self::Enum(_))
    }

    /// A number of either kind.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Self::Integer(_) | Self::Number(_))
    }

    /// Can be put into the middle of a text.
    pub fn is_printable(&self) -> bool {
        self.is_text() || self.is_numeric() || matches!(self, Self::Boolean | Self::Any)
    }

    /// The type that holds the values of both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        use Type::{Any, Duration, Enum, Integer, List, Map, Null, Number, Optional, String};
        match (self, other) {
            (a, b) if a == b => a,
            (Any, _) | (_, Any) => Any,
            (Null, ty) | (ty, Null) => ty.or_null(),
            (Optional(a), Optional(b)) => a.join(*b).or_null(),
            (Optional(a), b) | (b, Optional(a)) => a.join(b).or_null(),
            (Integer(_), Integer(_)) => Self::integer(),
            (Integer(_) | Number(_), Integer(_) | Number(_)) => Self::number(),
            (String(_) | Duration | Enum(_), String(_) | Duration | Enum(_)) => Self::text(),
            (List(a, _), List(b, _)) => Self::list(a.join(*b)),
            (Map(a, _), Map(b, _)) => Self::map(a.join(*b)),
            _ => Any,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any value"),
            Self::Null => f.write_str("null"),
            Self::Boolean => f.write_str("boolean"),
            Self::Integer(_) => f.write_str("integer"),
            Self::Number(_) => f.write_str("number"),
            Self::String(_) => f.write_str("string"),
            Self::Duration => f.write_str("duration"),
            Self::Enum(words) => write!(f, "one of {}", words.join(", ")),
            Self::List(of, _) => write!(f, "list of {of}"),
            Self::Map(of, _) => write!(f, "map of {of}"),
            // "output of find_nodegroup" says by itself what it is.
            Self::Record(record) if record.name.contains(' ') => f.write_str(&record.name),
            Self::Record(record) => {
                const MAX_SHOWN: usize = 6;
                let names: Vec<&str> = record.names().take(MAX_SHOWN).collect();
                let more = if record.fields.len() > MAX_SHOWN { ", …" } else { "" };
                write!(f, "record of {}{more}", names.join(", "))
            }
            Self::Optional(of) => write!(f, "optional {of}"),
        }
    }
}
