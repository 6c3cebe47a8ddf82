//! What a run is given: the inputs' values, from a command line, a file or a request, held against
//! their declarations.

use serde_json::{Map, Value as Json};

use super::diagnostics::spelling;
use super::types::{Bounds, LengthBounds, Type, ValueMismatch};
use super::yaml;

/// An input of a runbook.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Its name, said as `inputs.NAME`.
    pub name: String,
    /// Its type, with its limits in it.
    pub ty: Type,
    /// What it is when it is not given.
    pub default: Option<Json>,
    /// What it is for.
    pub description: Option<String>,
}

/// An input that cannot be taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputError {
    /// No such input.
    #[error("unknown input '{name}'{}", hint(nearest.as_deref(), known))]
    Unknown {
        /// The name that was given.
        name: String,
        /// The nearest right one.
        nearest: Option<String>,
        /// All of them.
        known: Vec<String>,
    },
    /// It has no default.
    #[error("the input '{name}' is needed: {ty}")]
    Missing {
        /// Its name.
        name: String,
        /// Its type.
        ty: String,
    },
    /// Not of its type or outside its limits.
    #[error("the input '{name}': {mismatch}")]
    Invalid {
        /// Its name.
        name: String,
        /// What is wrong.
        mismatch: ValueMismatch,
    },
    /// A text that is no value of its type.
    #[error("the input '{name}': this is no {ty}{}", example(ty))]
    Unparsable {
        /// Its name.
        name: String,
        /// Its type.
        ty: String,
    },
}

fn hint(nearest: Option<&str>, known: &[String]) -> String {
    match (nearest, known) {
        (Some(name), _) => format!("; did you mean '{name}'?"),
        (None, []) => "; this runbook has no inputs".to_owned(),
        (None, known) => format!("; there are: {}", known.join(", ")),
    }
}

fn example(ty: &str) -> String {
    match ty {
        list if list.starts_with("list of ") => ": write a,b,c or [a, b, c]".to_owned(),
        map if map.starts_with("map of ") => ": write {name: value}".to_owned(),
        _ => String::new(),
    }
}

/// The values that a run takes: those given, and defaults for the rest.
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

/// The value that a text on a command line stands for.
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

/// Text by a type: text as it is, everything else as YAML has it, and a list also as `a,b,c`.
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

/// The type alone, so that a number outside its limits is told from a text that is no number.
fn without_limits(ty: &Type) -> Type {
    match ty {
        Type::Integer(_) => Type::Integer(Bounds::ANY),
        Type::Number(_) => Type::Number(Bounds::ANY),
        Type::List(of, _) => Type::List(Box::new(without_limits(of)), LengthBounds::default()),
        Type::Map(of, names) => Type::Map(Box::new(without_limits(of)), *names),
        other => other.clone(),
    }
}
