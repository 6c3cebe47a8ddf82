//! The types of the language, derived through JSON Schema from the Rust types of the actions'
//! parameters and outputs. Independent of rules, runbooks and templates: a type, the values that it
//! accepts, and its name.

mod assignable;
mod bounds;
mod coerce;
mod parse;
mod relation;
mod schema;
mod syntax;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

pub(crate) use assignable::TypeMismatch;
pub(crate) use bounds::requirement;
pub use bounds::{Bounds, LengthBounds};
pub use coerce::{MismatchReason, ValueMismatch};
pub use parse::{MAX_TYPE_DEPTH, ParseTypeError};
pub use relation::{FieldChecks, FieldRelation, Given, RefusedText};
pub use schema::UnsupportedSchema;
pub use syntax::Syntax;
pub(crate) use syntax::quantity;

/// The type of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// The type is unknown, so any value is accepted.
    Any,
    /// Only null: the type of an expression, never of a declaration.
    Null,
    /// `true` or `false`.
    Boolean,
    /// An integer.
    Integer(Bounds<i128>),
    /// Any finite number, including the integers.
    Number(Bounds<f64>),
    /// A string.
    String(Text),
    /// A duration, written as a string.
    Duration,
    /// One of a fixed set of strings.
    Enum(Arc<[String]>),
    /// A list of values of one type.
    List(Box<Type>, LengthBounds),
    /// A map to values of one type; the keys may have a syntax.
    Map(Box<Type>, Option<Syntax>),
    /// A record: named fields, each with its own type.
    Record(Arc<RecordType>),
    /// A value of the type, or null.
    Optional(Box<Type>),
}

/// The limits of a string.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Text {
    /// The syntax that the string must have.
    pub syntax: Option<Syntax>,
    /// The limits of the number of characters.
    pub lengths: LengthBounds,
    /// A regular expression, which is shown but not checked: a checked format is a [`Syntax`].
    pub pattern: Option<String>,
    /// Whether a template builds the string, so that its format is known only at run time.
    pub(crate) built: bool,
}

/// A record type: named fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RecordType {
    /// The name in messages.
    pub name: String,
    /// The word for a value of it: `pod`.
    pub noun: Option<String>,
    /// The documentation.
    pub description: String,
    /// The fields, in the order of declaration.
    pub fields: Vec<Field>,
    /// Groups of fields of which exactly one is required.
    pub exactly_one_of: Vec<Vec<String>>,
    /// The other relations between fields.
    pub relations: Vec<FieldRelation>,
}

/// One field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The name.
    pub name: String,
    /// The type.
    pub ty: Type,
    /// Whether the field is required.
    pub required: bool,
    /// The default, if the schema declares one.
    pub default: Option<Json>,
    /// The documentation.
    pub description: String,
    /// Whether the value is a literal: something that is known before a run follows from it.
    pub literal: bool,
    /// Whether the value is a duration that the step does not wait for.
    pub outlasts: bool,
    /// The requirements of a literal beyond the type.
    pub checks: FieldChecks,
}

impl Field {
    /// Returns a required field.
    pub(crate) fn required(name: impl Into<String>, ty: Type) -> Self {
        Self {
            name: name.into(),
            ty,
            required: true,
            default: None,
            description: String::new(),
            literal: false,
            outlasts: false,
            checks: FieldChecks::default(),
        }
    }
}

impl RecordType {
    /// The name of the outputs of a loop over a map whose keys are known.
    pub(crate) const BY_KEY: &str = "map of outputs";
    /// The name of the item of a loop over a map.
    pub(crate) const EACH: &str = "each";
    /// The name of a map that is written in a template. One that is written in YAML has no name.
    pub(crate) const LITERAL: &str = "literal";

    /// Whether the record is a map whose keys are written down, and not one of fixed fields.
    pub(crate) fn is_map(&self) -> bool {
        matches!(self.name.as_str(), "" | Self::LITERAL | Self::BY_KEY)
    }

    /// Returns the field with a name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns the record that has the fields of both; one that only one of them has may be missing.
    fn join(&self, other: &Self) -> Self {
        let of_one = |field: &Field| Field { required: false, default: None, ..field.clone() };
        let joined = self.fields.iter().map(|field| match other.field(&field.name) {
            Some(same) => Field {
                ty: field.ty.clone().join(same.ty.clone()),
                required: field.required && same.required,
                ..field.clone()
            },
            None => of_one(field),
        });
        let rest = other.fields.iter().filter(|field| self.field(&field.name).is_none());
        let name = if self.fields.is_empty() { &other.name } else { &self.name };
        Self {
            name: name.clone(),
            noun: None,
            description: String::new(),
            fields: joined.chain(rest.map(of_one)).collect(),
            exactly_one_of: Vec::new(),
            relations: Vec::new(),
        }
    }

    /// Returns the record in which a field is not null.
    pub(crate) fn with_non_null(&self, name: &str) -> Self {
        let mut record = self.clone();
        for field in record.fields.iter_mut().filter(|field| field.name == name) {
            field.ty = field.ty.non_null().clone();
            field.required = true;
        }
        record
    }

    /// Returns the names of all fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }
}

impl Type {
    /// Returns the type of any string.
    pub const fn text() -> Self {
        Self::String(Text { syntax: None, lengths: LengthBounds::ANY, pattern: None, built: false })
    }

    /// Returns the type of a string that a template builds.
    pub(crate) const fn built_text() -> Self {
        Self::String(Text { syntax: None, lengths: LengthBounds::ANY, pattern: None, built: true })
    }

    /// Returns the type of any integer.
    pub const fn integer() -> Self {
        Self::Integer(Bounds::ANY)
    }

    /// Returns the type of any number.
    pub const fn number() -> Self {
        Self::Number(Bounds::ANY)
    }

    /// Returns the type of lists of any length.
    pub fn list(of: Self) -> Self {
        Self::List(Box::new(of), LengthBounds::ANY)
    }

    /// Returns the type of maps with any keys.
    pub fn map(of: Self) -> Self {
        Self::Map(Box::new(of), None)
    }

    /// Returns the name with an article: "an integer", "a list of string", "one of a, b".
    pub fn with_article(&self) -> String {
        if let Some(kind) = self.own_kind() {
            return kind.describe().to_owned();
        }
        match self {
            Self::Optional(of) => return format!("{} or null", of.with_article()),
            Self::List(of, _) => {
                if let Self::Optional(of) = of.as_ref() {
                    return format!("a list of {}, some of which may be null", of.plural());
                }
                return format!("a list of {}", of.plural());
            }
            Self::Map(of, _) => return format!("a map of {}", of.plural()),
            _ => {}
        }
        let mut name = self.to_string();
        if let Some(noun) = self.noun() {
            name = format!("{noun} ({name})");
        }
        match (self, name.chars().next()) {
            (Self::Enum(_) | Self::Any | Self::Null, _) => name,
            (_, Some('A' | 'a' | 'e' | 'i' | 'o' | 'u')) => format!("an {name}"),
            _ => format!("a {name}"),
        }
    }

    /// Returns the name of several values: "strings", "records of name, uid".
    pub(crate) fn plural(&self) -> String {
        if let Some(kind) = self.own_kind() {
            return kind.plural();
        }
        match self {
            Self::String(_) => "strings".to_owned(),
            Self::List(of, _) => format!("lists of {}", of.plural()),
            Self::Map(of, _) => format!("maps of {}", of.plural()),
            Self::Optional(of) => format!("{} or null", of.plural()),
            Self::Record(_) => {
                let name = self.to_string();
                let name = match name.split_once(" of ") {
                    Some((what @ ("record" | "output"), of)) => format!("{what}s of {of}"),
                    _ => name,
                };
                self.noun().map_or_else(|| name.clone(), |noun| format!("{noun}s ({name})"))
            }
            Self::Enum(_) | Self::Null => self.to_string(),
            Self::Any | Self::Boolean | Self::Integer(_) | Self::Number(_) | Self::Duration => {
                format!("{self}s")
            }
        }
    }

    /// Returns the word for what a record is.
    fn noun(&self) -> Option<&str> {
        match self {
            Self::Record(record) => record.noun.as_deref(),
            _ => None,
        }
    }

    /// Returns the kind of a string.
    fn own_kind(&self) -> Option<Syntax> {
        match self {
            Self::String(text) => text.syntax.filter(|syntax| syntax.is_kind()),
            _ => None,
        }
    }

    /// Returns the kind of the strings that a value has or is, if they are all of one.
    pub(crate) fn kind(&self) -> Option<Syntax> {
        match self.non_null() {
            Self::List(of, _) => of.kind(),
            ty => ty.own_kind(),
        }
    }

    /// Returns the type without null.
    pub fn non_null(&self) -> &Self {
        match self {
            Self::Optional(inner) => inner.non_null(),
            other => other,
        }
    }

    /// Returns the type of the values of this type, or null.
    #[must_use]
    pub fn or_null(self) -> Self {
        match self {
            Self::Any | Self::Null | Self::Optional(_) => self,
            other => Self::Optional(Box::new(other)),
        }
    }

    /// Whether values are strings in JSON.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::String(_) | Self::Duration | Self::Enum(_))
    }

    /// Whether values are integers or other numbers.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Self::Integer(_) | Self::Number(_))
    }

    /// Whether values can be part of a string.
    pub fn is_printable(&self) -> bool {
        self.is_text() || self.is_numeric() || matches!(self, Self::Boolean | Self::Any)
    }

    /// Returns the type of what is one of some words.
    pub(crate) fn words(words: &[&str]) -> Self {
        union(words.iter().copied())
    }

    /// Returns the type that accepts the values of this type and a word that is written down.
    #[must_use]
    pub(crate) fn join_word(self, word: &str) -> Self {
        match self {
            Self::Enum(words) => union(texts(&words).chain([word])),
            Self::Duration if word.parse::<super::duration::Duration>().is_ok() => Self::Duration,
            Self::Optional(of) => of.join_word(word).or_null(),
            other => other.join(Self::text()),
        }
    }

    /// Returns the type that accepts the values of both types.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        use Type::{
            Any, Duration, Enum, Integer, List, Map, Null, Number, Optional, Record, String,
        };
        match (self, other) {
            (a, b) if a == b => a,
            (Any, _) | (_, Any) => Any,
            (Null, ty) | (ty, Null) => ty.or_null(),
            (Optional(a), Optional(b)) => a.join(*b).or_null(),
            (Optional(a), b) | (b, Optional(a)) => a.join(b).or_null(),
            (Integer(_), Integer(_)) => Self::integer(),
            (Integer(_) | Number(_), Integer(_) | Number(_)) => Self::number(),
            (Enum(a), Enum(b)) => union(texts(&a).chain(texts(&b))),
            (String(_) | Duration | Enum(_), String(_) | Duration | Enum(_)) => Self::text(),
            // The items of an empty list are of any type.
            (List(of, _), List(_, LengthBounds { maximum: Some(0), .. }))
            | (List(_, LengthBounds { maximum: Some(0), .. }), List(of, _)) => Self::list(*of),
            (List(a, _), List(b, _)) => Self::list(a.join(*b)),
            (Map(a, _), Map(b, _)) => Self::map(a.join(*b)),
            (Map(of, _), Record(record)) | (Record(record), Map(of, _)) => {
                let fields = record.fields.iter().map(|field| field.ty.clone());
                Self::map(fields.fold(*of, Self::join))
            }
            (Record(a), Record(b)) => Record(Arc::new(a.join(&b))),
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
            Self::String(_) => f.write_str(self.own_kind().map_or("string", Syntax::noun)),
            Self::Duration => f.write_str("duration"),
            Self::Enum(words) => write!(f, "one of {}", words.join(", ")),
            Self::List(of, _) => match of.own_kind() {
                Some(kind) => write!(f, "list of {}", kind.plural()),
                None => write!(f, "list of {of}"),
            },
            Self::Map(of, _) => write!(f, "map of {of}"),
            // A name such as "output of find_nodegroup" needs no list of fields.
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

/// The most words of a type that is made of written ones. No parameter has as many, and a long list of words, which is
/// joined item by item, costs no more for each item than this.
const MAX_WORDS: usize = 64;

/// Returns the type of what is one of some words. Too many words may be anything: names, durations.
fn union<'w>(all: impl Iterator<Item = &'w str>) -> Type {
    let mut words: Vec<String> = Vec::new();
    for word in all {
        if words.len() > MAX_WORDS {
            return Type::Any;
        }
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    Type::Enum(words.into())
}

fn texts(words: &[String]) -> impl Iterator<Item = &str> {
    words.iter().map(String::as_str)
}
