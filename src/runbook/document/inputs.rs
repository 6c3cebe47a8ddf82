//! `inputs:`: each with a type, limits, and perhaps a default.

use std::ops::Range;

use super::super::types::{Lengths, Span, Syntax, Text, Type};
use super::super::yaml::{Node, Plain};
use super::read::Reader;
use super::{Fault, Place};

/// An input as it is declared.
#[derive(Debug)]
pub(crate) struct DeclaredInput<'t> {
    pub(crate) key: &'t Node,
    pub(crate) name: &'t str,
    /// Its type with its limits in it; of a wrong declaration, any.
    pub(crate) ty: Type,
    pub(crate) default: Option<&'t Node>,
    pub(crate) description: Option<&'t str>,
}

/// What is wrong with a declaration.
#[derive(Debug, Clone)]
pub(crate) enum InputFault {
    Name(String),
    UnknownType(String),
    /// A limit that says nothing about values of the type.
    ForeignLimit {
        limit: &'static str,
        ty: String,
    },
    /// Limits between which there is nothing.
    EmptyRange,
    NoValues,
    UnknownSyntax(String),
}

/// Reads the declarations.
pub(crate) fn read<'t>(node: &'t Node, reader: &mut Reader) -> Vec<DeclaredInput<'t>> {
    let pairs = reader.map(node, "inputs").unwrap_or_default();
    pairs.iter().filter_map(|(key, value)| input(key, value, reader)).collect()
}

fn input<'t>(key: &'t Node, value: &'t Node, reader: &mut Reader) -> Option<DeclaredInput<'t>> {
    let name = key.text()?;
    if !is_name(name) {
        let fault = Fault::Input(InputFault::Name(name.to_owned()));
        reader.flaw(key.span.clone(), fault);
    }
    let mut input = DeclaredInput { key, name, ty: Type::Any, default: None, description: None };
    let Some(pairs) = value.pairs() else {
        reader.shape(value, &format!("the input '{name}'"), "a mapping with its type");
        return Some(input);
    };
    let mut limits = Limits::default();
    let mut typed = None;
    for (key, value) in pairs {
        match key.text() {
            Some("type") => typed = Some(value),
            Some("default") => input.default = Some(value),
            Some("description") => input.description = reader.literal(value, "description", "text"),
            _ => limits.accept(key, value, reader),
        }
    }
    match typed {
        Some(node) => {
            limits.at = node.span.clone();
            input.ty = limits.apply(named(node, reader), reader);
        }
        None => {
            let place = Place::Input;
            reader.flaw(key.span.clone(), Fault::MissingKey { key: "type", place });
        }
    }
    Some(input)
}

/// A name that a template can say behind `inputs.`.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn named(node: &Node, reader: &mut Reader) -> Type {
    let Some(text) = reader.literal(node, "type", "a type such as string or integer") else {
        return Type::Any;
    };
    Type::named(text).unwrap_or_else(|unknown| {
        let fault = Fault::Input(InputFault::UnknownType(unknown.0));
        reader.flaw(node.span.clone(), fault);
        Type::Any
    })
}

/// A limit and where its key stands.
type Written<T> = Option<(T, Range<usize>)>;

#[derive(Default)]
struct Limits {
    /// Where the type stands.
    at: Range<usize>,
    minimum: Written<f64>,
    maximum: Written<f64>,
    min_length: Written<usize>,
    max_length: Written<usize>,
    values: Written<Vec<String>>,
    syntax: Written<Syntax>,
}

impl Limits {
    fn accept(&mut self, key: &Node, value: &Node, reader: &mut Reader) {
        let at = key.span.clone();
        match key.text() {
            Some("minimum") => self.minimum = number(value, "minimum", reader).map(|n| (n, at)),
            Some("maximum") => self.maximum = number(value, "maximum", reader).map(|n| (n, at)),
            Some("min_length") => {
                self.min_length = length(value, "min_length", reader).map(|n| (n, at));
            }
            Some("max_length") => {
                self.max_length = length(value, "max_length", reader).map(|n| (n, at));
            }
            Some("values") => self.values = words(value, reader).map(|words| (words, at)),
            Some("syntax") => self.syntax = syntax(value, reader).map(|syntax| (syntax, at)),
            _ => reader.unknown(key, Place::Input),
        }
    }

    /// The type within these limits; a limit that the type cannot have is reported.
    fn apply(mut self, ty: Type, reader: &mut Reader) -> Type {
        let limited = self.take(&ty, reader);
        if ty != Type::Any {
            self.refuse_rest(&ty, reader);
        }
        limited
    }

    fn take(&mut self, ty: &Type, reader: &mut Reader) -> Type {
        match ty {
            Type::Optional(inner) => self.take(inner, reader).or_null(),
            Type::Integer(_) => Type::Integer(self.span(as_integer, reader)),
            Type::Number(_) => Type::Number(self.span(|n| n, reader)),
            Type::String(_) => Type::String(Text {
                syntax: self.syntax.take().map(|(syntax, _)| syntax),
                lengths: self.lengths(reader),
                ..Text::default()
            }),
            Type::List(of, _) => {
                let lengths = self.lengths(reader);
                // What else is said of a list is said of its items.
                Type::List(Box::new(self.take(of, reader)), lengths)
            }
            Type::Map(of, _) => Type::map(self.take(of, reader)),
            Type::Enum(_) => match self.values.take() {
                Some((words, _)) if words.is_empty() => Type::Any, // reported where they are read
                Some((words, _)) => Type::Enum(words.into()),
                None => {
                    reader.flaw(self.at.clone(), Fault::Input(InputFault::NoValues));
                    Type::Any
                }
            },
            other => other.clone(),
        }
    }

    fn span<N: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        convert: impl Fn(f64) -> N,
        reader: &mut Reader,
    ) -> Span<N> {
        let (minimum, maximum) = (self.minimum.take(), self.maximum.take());
        let span = Span {
            minimum: minimum.as_ref().map(|(n, _)| convert(*n)),
            maximum: maximum.as_ref().map(|(n, _)| convert(*n)),
        };
        match maximum.filter(|_| span.is_empty()) {
            Some((_, at)) => {
                reader.flaw(at, Fault::Input(InputFault::EmptyRange));
                Span::ANY
            }
            None => span,
        }
    }

    fn lengths(&mut self, reader: &mut Reader) -> Lengths {
        let (minimum, maximum) = (self.min_length.take(), self.max_length.take());
        if let (Some((least, _)), Some((most, at))) = (&minimum, &maximum)
            && least > most
        {
            reader.flaw(at.clone(), Fault::Input(InputFault::EmptyRange));
        }
        Lengths { minimum: minimum.map(|(n, _)| n), maximum: maximum.map(|(n, _)| n) }
    }

    fn refuse_rest(self, ty: &Type, reader: &mut Reader) {
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
            reader.flaw(at, Fault::Input(InputFault::ForeignLimit { limit, ty }));
        }
    }
}

// A limit beyond 2^53 is rounded, and far from any count of this domain.
#[allow(clippy::cast_possible_truncation)]
fn as_integer(number: f64) -> i128 {
    number as i128
}

fn number(node: &Node, what: &str, reader: &mut Reader) -> Option<f64> {
    match node.plain() {
        #[allow(clippy::cast_precision_loss)] // as above
        Some(Plain::Integer(value)) => Some(value as f64),
        Some(Plain::Number(value)) => Some(value),
        _ => {
            reader.shape(node, what, "a number");
            None
        }
    }
}

fn length(node: &Node, what: &str, reader: &mut Reader) -> Option<usize> {
    let length = match node.plain() {
        Some(Plain::Integer(value)) => usize::try_from(value).ok(),
        _ => None,
    };
    if length.is_none() {
        reader.shape(node, what, "a whole number, 0 or more");
    }
    length
}

fn words(node: &Node, reader: &mut Reader) -> Option<Vec<String>> {
    let Some(items) = node.items() else {
        reader.shape(node, "values", "a list of words");
        return None;
    };
    if items.is_empty() {
        reader.flaw(node.span.clone(), Fault::Input(InputFault::NoValues));
    }
    let mut words = Vec::with_capacity(items.len());
    for item in items {
        words.push(reader.literal(item, "values", "a list of words")?.to_owned());
    }
    Some(words)
}

fn syntax(node: &Node, reader: &mut Reader) -> Option<Syntax> {
    let name = reader.literal(node, "syntax", "a syntax such as kubernetes-name")?;
    let syntax = Syntax::named(name);
    if syntax.is_none() {
        let fault = Fault::Input(InputFault::UnknownSyntax(name.to_owned()));
        reader.flaw(node.span.clone(), fault);
    }
    syntax
}
