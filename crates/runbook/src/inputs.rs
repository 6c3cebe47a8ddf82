//! The inputs of a run: the values from a command line, a file or a request, checked against their
//! declarations.

use serde_json::{Map, Value as Json};

use super::analysis::untyped_json;
use super::diagnostics::spelling;
use super::source::{Position, Source};
use super::types::{Bounds, LengthBounds, Type, ValueMismatch};
use super::yaml::{self, Node, NodeKind};

/// An input of a runbook.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The name, as in `inputs.NAME`.
    pub name: String,
    /// The type, with its limits.
    pub ty: Type,
    /// The value when the input is not given.
    pub default: Option<Json>,
    /// The purpose of the input.
    pub description: Option<String>,
}

/// The error for an input that is not valid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputError {
    /// The runbook has no such input.
    #[error("unknown input '{name}'")]
    Unknown {
        /// The given name.
        name: String,
        /// The most similar name of an input.
        nearest: Option<String>,
        /// The names of all inputs.
        known: Vec<String>,
    },
    /// The input is not given and has no default.
    #[error("missing input '{name}' of type {ty}")]
    Missing {
        /// The name of the input.
        name: String,
        /// The type of the input.
        ty: String,
    },
    /// The value does not have the type of the input or is outside its limits.
    #[error("invalid input '{name}': {mismatch}")]
    Invalid {
        /// The name of the input.
        name: String,
        /// The mismatch.
        mismatch: ValueMismatch,
    },
    /// The text cannot be parsed as a value of the type.
    #[error("invalid input '{name}': not a valid {ty}")]
    Unparsable {
        /// The name of the input.
        name: String,
        /// The type of the input.
        ty: String,
    },
}

impl InputError {
    /// Returns the remedy, for a `hint:` line after the error.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { nearest: Some(name), .. } => Some(format!("did you mean '{name}'?")),
            Self::Unknown { known, .. } if known.is_empty() => {
                Some("this runbook has no inputs".to_owned())
            }
            Self::Unknown { known, .. } => Some(format!("available inputs: {}", known.join(", "))),
            Self::Unparsable { ty, .. } if ty.starts_with("list of ") => {
                Some("write a,b,c or [a, b, c]".to_owned())
            }
            Self::Unparsable { ty, .. } if ty.starts_with("map of ") => {
                Some("write {name: value}".to_owned())
            }
            Self::Missing { .. } | Self::Invalid { .. } | Self::Unparsable { .. } => None,
        }
    }
}

/// The error for a file of inputs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputFileError {
    /// The text is not YAML, or uses what the language does not support.
    #[error("line {}, column {}: {message}", position.line, position.column)]
    Unreadable {
        /// The place.
        position: Position,
        /// The cause.
        message: String,
    },
    /// The text is not a mapping.
    #[error("the file is not a mapping of inputs, such as `name: value`")]
    NotAMapping,
    /// Inputs that are not valid.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Inputs(Vec<InputError>),
}

/// Reads a file of inputs: YAML by the rules of the language, each value by the declared type. A string is the text as
/// written: `012` and `1.10` stay what they are.
pub(crate) fn read(inputs: &[Input], text: &str) -> Result<Map<String, Json>, InputFileError> {
    let (root, issues) = yaml::load(text);
    if let Some(issue) = issues.first() {
        let position = Source::new("", text).position(issue.span.start);
        return Err(InputFileError::Unreadable { position, message: issue.kind.to_string() });
    }
    let Some(root) = root.filter(|root| !root.is_null()) else { return Ok(Map::new()) };
    let pairs = root.pairs().ok_or(InputFileError::NotAMapping)?;
    let mut values = Map::new();
    let mut errors = Vec::new();
    for (key, node) in pairs {
        let name = key.text().unwrap_or_default();
        let Some(input) = inputs.iter().find(|input| input.name == name) else {
            errors.push(unknown(inputs, name));
            continue;
        };
        match input.value(Some(&value_of(node, &input.ty))) {
            Ok(value) => {
                values.insert(name.to_owned(), value);
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(InputFileError::Inputs(errors)) }
}

/// Returns the value of a node where a type is wanted. A node that does not fit keeps its own kind, which the check
/// against the type reports.
fn value_of(node: &Node, ty: &Type) -> Json {
    match (ty.non_null(), &node.kind) {
        (Type::String(_) | Type::Duration | Type::Enum(_), NodeKind::Scalar { text, .. })
            if !node.is_null() =>
        {
            Json::String(text.clone())
        }
        (ty, NodeKind::List(items)) => {
            let of = if let Type::List(of, _) = ty { of } else { &Type::Any };
            items.iter().map(|item| value_of(item, of)).collect()
        }
        (ty, NodeKind::Map(pairs)) => {
            let of = if let Type::Map(of, _) = ty { of } else { &Type::Any };
            let field = |(key, value): &(Node, Node)| {
                (key.text().unwrap_or_default().to_owned(), value_of(value, of))
            };
            Json::Object(pairs.iter().map(field).collect())
        }
        (_, NodeKind::Scalar { .. } | NodeKind::Broken) => untyped_json(node),
    }
}

/// Returns the inputs of a run: the given values, and defaults for the rest.
pub(crate) fn bind(
    inputs: &[Input],
    given: &Map<String, Json>,
) -> Result<Map<String, Json>, Vec<InputError>> {
    let mut errors: Vec<InputError> = given
        .keys()
        .filter(|name| !inputs.iter().any(|input| input.name == **name))
        .map(|name| unknown(inputs, name))
        .collect();
    let mut bound = Map::new();
    for input in inputs {
        match input.value(given.get(&input.name)) {
            Ok(value) => {
                bound.insert(input.name.clone(), value);
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(bound) } else { Err(errors) }
}

/// Parses the text of an input on a command line.
pub(crate) fn parse(inputs: &[Input], name: &str, text: &str) -> Result<Json, InputError> {
    let Some(input) = inputs.iter().find(|input| input.name == name) else {
        return Err(unknown(inputs, name));
    };
    let value = from_text(text, &input.ty).ok_or_else(|| InputError::Unparsable {
        name: name.to_owned(),
        ty: input.ty.to_string(),
    })?;
    input.value(Some(&value))
}

/// The questions of a step that waits for persons, and what their answers must be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Questions(Vec<Input>);

impl Questions {
    /// Reads declarations that were checked with their runbook, as JSON. One that is not valid takes any answer.
    pub fn read(declarations: &Json) -> Self {
        // JSON is YAML.
        let (Some(node), _) = yaml::load(&declarations.to_string()) else { return Self::default() };
        let (declared, _) = super::document::declarations(&node, "ask");
        let question = |declared: &super::document::InputDeclaration<'_>| Input {
            name: declared.name.to_owned(),
            ty: declared.ty.clone(),
            default: declared
                .default
                .and_then(|node| super::analysis::literal_value(node, &declared.ty)),
            description: declared.description.map(str::to_owned),
        };
        Self(declared.iter().map(question).collect())
    }

    /// Returns the questions in the order of their names.
    pub fn all(&self) -> &[Input] {
        &self.0
    }

    /// Returns the answers: the given ones, checked against their types and limits, and defaults for the rest.
    ///
    /// # Errors
    /// Every invalid or missing answer.
    pub fn bind(&self, given: &Map<String, Json>) -> Result<Map<String, Json>, Vec<InputError>> {
        bind(&self.0, given)
    }

    /// Parses the text of an answer by the type of the question.
    ///
    /// # Errors
    /// There is no such question, or the text is not a valid value of its type.
    pub fn parse(&self, name: &str, text: &str) -> Result<Json, InputError> {
        parse(&self.0, name, text)
    }
}

impl Input {
    fn value(&self, given: Option<&Json>) -> Result<Json, InputError> {
        let name = self.name.clone();
        let Some(value) = given.or(self.default.as_ref()) else {
            return match self.ty {
                Type::Optional(_) => Ok(Json::Null),
                _ => Err(InputError::Missing { name, ty: self.ty.to_string() }),
            };
        };
        let projected = self.ty.coerce(value.clone());
        projected.map_err(|mismatch| InputError::Invalid { name, mismatch })
    }
}

fn unknown(inputs: &[Input], name: &str) -> InputError {
    let known: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
    let nearest = spelling::nearest(name, known.iter().map(String::as_str));
    InputError::Unknown { name: name.to_owned(), nearest: nearest.map(str::to_owned), known }
}

/// Parses a text by a type: strings as they are, other types as YAML, and lists also as `a,b,c`.
fn from_text(text: &str, ty: &Type) -> Option<Json> {
    match ty {
        Type::Optional(_) if text.is_empty() || text == "null" => Some(Json::Null),
        Type::Optional(inner) => from_text(text, inner),
        Type::String(_) | Type::Duration | Type::Enum(_) => Some(Json::String(text.to_owned())),
        Type::List(of, _) if !text.trim_start().starts_with('[') => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(|item| from_text(item, of)).collect()
        }
        ty => {
            let (node, issues) = yaml::load(text);
            let node = node.filter(|_| issues.is_empty())?;
            super::analysis::literal_value(&node, &without_limits(ty))
        }
    }
}

/// Returns the type without its limits, to distinguish a number outside its limits from a text that
/// is not a number.
fn without_limits(ty: &Type) -> Type {
    match ty {
        Type::Integer(_) => Type::Integer(Bounds::ANY),
        Type::Number(_) => Type::Number(Bounds::ANY),
        Type::List(of, _) => Type::List(Box::new(without_limits(of)), LengthBounds::default()),
        Type::Map(of, names) => Type::Map(Box::new(without_limits(of)), *names),
        other => other.clone(),
    }
}
