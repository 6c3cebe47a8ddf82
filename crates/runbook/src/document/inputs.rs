//! Reads `inputs:`: declarations with a type, limits, and an optional default.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use super::super::types::{Bounds, LengthBounds, ParseTypeError, Syntax, Text, Type};
use super::super::yaml::{Node, ScalarValue};
use super::read::DocumentReader;
use super::{DocumentIssueKind, MappingKind};

/// The declaration of an input.
#[derive(Debug)]
pub(crate) struct InputDeclaration<'t> {
    pub(crate) key: &'t Node,
    pub(crate) name: &'t str,
    /// The type with its limits; `Any` when the declaration is invalid.
    pub(crate) ty: Type,
    pub(crate) default: Option<&'t Node>,
    pub(crate) description: Option<&'t str>,
}

/// The kind of an issue in a declaration.
#[derive(Debug, Clone)]
pub(crate) enum InputIssueKind {
    InvalidName(String),
    UnknownType(String),
    TypeTooDeep,
    /// A limit that does not apply to the type.
    InapplicableLimit {
        limit: &'static str,
        ty: String,
    },
    /// Limits that no value satisfies.
    EmptyRange,
    NoValues,
    /// A value that the enum has already, with the span of the first.
    DuplicateValue(Range<usize>),
    UnknownSyntax(String),
}

/// Reads the declarations under a key.
pub(crate) fn read<'t>(
    node: &'t Node,
    what: &str,
    reader: &mut DocumentReader,
) -> Vec<InputDeclaration<'t>> {
    let pairs = reader.map(node, what).unwrap_or_default();
    pairs.iter().filter_map(|(key, value)| input(key, value, reader)).collect()
}

fn input<'t>(
    key: &'t Node,
    value: &'t Node,
    reader: &mut DocumentReader,
) -> Option<InputDeclaration<'t>> {
    let name = key.text()?;
    if !is_name(name) {
        let kind = DocumentIssueKind::Input(InputIssueKind::InvalidName(name.to_owned()));
        reader.add_issue(key.span.clone(), kind);
    }
    let mut input = InputDeclaration { key, name, ty: Type::Any, default: None, description: None };
    let Some(pairs) = value.pairs() else {
        reader.add_type_issue(value, &format!("the input '{name}'"), "a mapping with its type");
        return Some(input);
    };
    let mut limits = Limits::default();
    let mut type_node = None;
    for (key, value) in pairs {
        let Some(name) = reader.resolve(key, value, MappingKind::Input, pairs) else { continue };
        match name {
            "type" => type_node = Some(value),
            "default" => input.default = Some(value),
            "description" => {
                input.description = reader.literal(value, "description", "a string");
            }
            _ => limits.accept(name, key, value, reader),
        }
    }
    if let Some(node) = type_node {
        limits.at = node.span.clone();
        input.ty = limits.apply(&parse_type(node, reader), reader);
    } else {
        let mapping = MappingKind::Input;
        reader.add_issue(key.span.clone(), DocumentIssueKind::MissingKey { key: "type", mapping });
    }
    Some(input)
}

/// Whether a template can use the name after `inputs.`.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn parse_type(node: &Node, reader: &mut DocumentReader) -> Type {
    let Some(text) = reader.literal(node, "type", "a type such as string or integer") else {
        return Type::Any;
    };
    Type::parse(text).unwrap_or_else(|error| {
        let kind = match error {
            ParseTypeError::Unknown(name) => InputIssueKind::UnknownType(name),
            ParseTypeError::TooDeep => InputIssueKind::TypeTooDeep,
        };
        reader.add_issue(node.span.clone(), DocumentIssueKind::Input(kind));
        Type::Any
    })
}

/// A limit with the span of its key.
type Spanned<T> = Option<(T, Range<usize>)>;

#[derive(Default)]
struct Limits {
    /// The span of the type.
    at: Range<usize>,
    minimum: Spanned<f64>,
    maximum: Spanned<f64>,
    min_length: Spanned<usize>,
    max_length: Spanned<usize>,
    values: Spanned<Vec<String>>,
    syntax: Spanned<Syntax>,
}

impl Limits {
    fn accept(&mut self, name: &str, key: &Node, value: &Node, reader: &mut DocumentReader) {
        let at = key.span.clone();
        match name {
            "minimum" => self.minimum = number(value, "minimum", reader).map(|n| (n, at)),
            "maximum" => self.maximum = number(value, "maximum", reader).map(|n| (n, at)),
            "min_length" => {
                self.min_length = length(value, "min_length", reader).map(|n| (n, at));
            }
            "max_length" => {
                self.max_length = length(value, "max_length", reader).map(|n| (n, at));
            }
            "values" => self.values = enum_values(value, reader).map(|values| (values, at)),
            "syntax" => self.syntax = syntax(value, reader).map(|syntax| (syntax, at)),
            _ => {}
        }
    }

    /// Returns the type with these limits, and reports each limit that does not apply to the type.
    fn apply(mut self, ty: &Type, reader: &mut DocumentReader) -> Type {
        let limited = self.take(ty, reader);
        if *ty != Type::Any {
            self.reject_inapplicable(ty, reader);
        }
        limited
    }

    fn take(&mut self, ty: &Type, reader: &mut DocumentReader) -> Type {
        match ty {
            Type::Optional(inner) => self.take(inner, reader).or_null(),
            Type::Integer(_) => Type::Integer(self.bounds(as_integer, reader)),
            Type::Number(_) => Type::Number(self.bounds(|n| n, reader)),
            Type::String(_) => Type::String(Text {
                syntax: self.syntax.take().map(|(syntax, _)| syntax),
                lengths: self.lengths(reader),
                ..Text::default()
            }),
            Type::List(of, _) => {
                let lengths = self.lengths(reader);
                // Other limits of a list apply to its items.
                Type::List(Box::new(self.take(of, reader)), lengths)
            }
            Type::Map(of, _) => Type::map(self.take(of, reader)),
            Type::Enum(_) => match self.values.take() {
                Some((words, _)) if words.is_empty() => Type::Any, // reported by `enum_values`
                Some((words, _)) => Type::Enum(words.into()),
                None => {
                    reader.add_issue(
                        self.at.clone(),
                        DocumentIssueKind::Input(InputIssueKind::NoValues),
                    );
                    Type::Any
                }
            },
            other => other.clone(),
        }
    }

    fn bounds<N: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        convert: impl Fn(f64) -> N,
        reader: &mut DocumentReader,
    ) -> Bounds<N> {
        let (minimum, maximum) = (self.minimum.take(), self.maximum.take());
        let span = Bounds {
            minimum: minimum.as_ref().map(|(n, _)| convert(*n)),
            maximum: maximum.as_ref().map(|(n, _)| convert(*n)),
        };
        match maximum.filter(|_| span.is_empty()) {
            Some((_, at)) => {
                reader.add_issue(at, DocumentIssueKind::Input(InputIssueKind::EmptyRange));
                Bounds::ANY
            }
            None => span,
        }
    }

    fn lengths(&mut self, reader: &mut DocumentReader) -> LengthBounds {
        let (minimum, maximum) = (self.min_length.take(), self.max_length.take());
        if let (Some((least, _)), Some((most, at))) = (&minimum, &maximum)
            && least > most
        {
            reader.add_issue(at.clone(), DocumentIssueKind::Input(InputIssueKind::EmptyRange));
        }
        LengthBounds { minimum: minimum.map(|(n, _)| n), maximum: maximum.map(|(n, _)| n) }
    }

    fn reject_inapplicable(self, ty: &Type, reader: &mut DocumentReader) {
        let rest = [
            ("minimum", self.minimum.map(|(_, at)| at)),
            ("maximum", self.maximum.map(|(_, at)| at)),
            ("min_length", self.min_length.map(|(_, at)| at)),
            ("max_length", self.max_length.map(|(_, at)| at)),
            ("values", self.values.map(|(_, at)| at)),
            ("syntax", self.syntax.map(|(_, at)| at)),
        ];
        for (limit, at) in rest {
            let Some(at) = at else { continue };
            let ty = ty.to_string();
            reader.add_issue(
                at,
                DocumentIssueKind::Input(InputIssueKind::InapplicableLimit { limit, ty }),
            );
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a limit beyond 2^53 is rounded, which is far from any count of this domain"
)]
fn as_integer(number: f64) -> i128 {
    number as i128
}

fn number(node: &Node, what: &str, reader: &mut DocumentReader) -> Option<f64> {
    match node.scalar_value() {
        #[expect(clippy::cast_precision_loss, reason = "no limit of this domain is beyond 2^53")]
        Some(ScalarValue::Integer(value)) => Some(value as f64),
        Some(ScalarValue::Number(value)) => Some(value),
        _ => {
            reader.add_type_issue(node, what, "a number");
            None
        }
    }
}

fn length(node: &Node, what: &str, reader: &mut DocumentReader) -> Option<usize> {
    let length = match node.scalar_value() {
        Some(ScalarValue::Integer(value)) => usize::try_from(value).ok(),
        _ => None,
    };
    if length.is_none() {
        reader.add_type_issue(node, what, "an integer of at least 0");
    }
    length
}

fn enum_values(node: &Node, reader: &mut DocumentReader) -> Option<Vec<String>> {
    let Some(items) = node.items() else {
        reader.add_type_issue(node, "values", "a list of strings");
        return None;
    };
    if items.is_empty() {
        reader.add_issue(node.span.clone(), DocumentIssueKind::Input(InputIssueKind::NoValues));
    }
    let mut words = Vec::with_capacity(items.len());
    let mut places = HashMap::with_capacity(items.len());
    for item in items {
        let word = reader.literal(item, "values", "a list of strings")?;
        match places.entry(word) {
            Entry::Vacant(place) => {
                place.insert(item.span.clone());
            }
            Entry::Occupied(first) => {
                let kind = InputIssueKind::DuplicateValue(first.get().clone());
                reader.add_issue(item.span.clone(), DocumentIssueKind::Input(kind));
            }
        }
        words.push(word.to_owned());
    }
    Some(words)
}

fn syntax(node: &Node, reader: &mut DocumentReader) -> Option<Syntax> {
    let name = reader.literal(node, "syntax", "a syntax such as kubernetes-name")?;
    let syntax = Syntax::from_name(name);
    if syntax.is_none() {
        let kind = DocumentIssueKind::Input(InputIssueKind::UnknownSyntax(name.to_owned()));
        reader.add_issue(node.span.clone(), kind);
    }
    syntax
}
