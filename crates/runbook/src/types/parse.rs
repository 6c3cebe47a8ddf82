//! Parses types as written in a runbook: `string`, `list of integer`, `map of string`, `optional
//! duration`.

use super::{Bounds, LengthBounds, Type};

/// The error for a text that is not the name of a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown type '{0}'")]
pub struct UnknownType(pub String);

impl Type {
    /// The names of the types that have no parameter.
    pub const NAMES: [&'static str; 6] =
        ["string", "integer", "number", "boolean", "duration", "enum"];

    /// Parses the name of a type. An `enum` has no values yet.
    ///
    /// # Errors
    /// The text, or the part after `of`, is not the name of a type.
    pub fn parse(text: &str) -> Result<Self, UnknownType> {
        let text = text.trim();
        if let Some(of) = text.strip_prefix("list of ") {
            return Ok(Self::List(Box::new(Self::parse(of)?), LengthBounds::ANY));
        }
        if let Some(of) = text.strip_prefix("map of ") {
            return Ok(Self::map(Self::parse(of)?));
        }
        if let Some(of) = text.strip_prefix("optional ") {
            return Ok(Self::parse(of)?.or_null());
        }
        Ok(match text {
            "string" => Self::text(),
            "integer" => Self::Integer(Bounds::ANY),
            "number" => Self::Number(Bounds::ANY),
            "boolean" => Self::Boolean,
            "duration" => Self::Duration,
            "enum" => Self::Enum([].into()),
            other => return Err(UnknownType(other.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_agree() {
        for text in ["string", "list of integer", "map of list of string", "optional duration"] {
            assert_eq!(Type::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Type::parse("list of int"), Err(UnknownType("int".to_owned())));
    }
}
