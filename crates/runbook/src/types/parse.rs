//! Parses types as written in a runbook: `string`, `list of integer`, `map of string`, `optional
//! duration`.

use super::{Bounds, LengthBounds, Type};

/// The most `list of`, `map of` and `optional` in front of a type: no value can be nested deeper than a file.
pub const MAX_TYPE_DEPTH: usize = 16;

/// The error for a text that is not the name of a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTypeError {
    /// The text, or the part after `of`, is not the name of a type.
    #[error("unknown type '{0}'")]
    Unknown(String),
    /// The type has too many parts.
    #[error("the type is nested more than {MAX_TYPE_DEPTH} levels deep")]
    TooDeep,
}

/// A word in front of a type.
#[derive(Debug, Clone, Copy)]
enum Prefix {
    List,
    Map,
    Optional,
}

impl Prefix {
    const ALL: [(&'static str, Self); 3] =
        [("list of ", Self::List), ("map of ", Self::Map), ("optional ", Self::Optional)];

    /// Splits the prefix from a text.
    fn split(text: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|(word, prefix)| Some((prefix, text.strip_prefix(word)?)))
    }

    fn apply(self, ty: Type) -> Type {
        match self {
            Self::List => Type::List(Box::new(ty), LengthBounds::ANY),
            Self::Map => Type::map(ty),
            Self::Optional => ty.or_null(),
        }
    }
}

impl Type {
    /// The names of the types that have no parameter.
    pub const NAMES: [&'static str; 6] =
        ["string", "integer", "number", "boolean", "duration", "enum"];

    /// Parses the name of a type. An `enum` has no values yet. The parser does not recurse, and its limit keeps what
    /// walks through the type from recursing deeply.
    ///
    /// # Errors
    /// The text, or the part after `of`, is not the name of a type, or is nested too deeply.
    pub fn parse(text: &str) -> Result<Self, ParseTypeError> {
        let mut prefixes = Vec::new();
        let mut rest = text.trim();
        while let Some((prefix, of)) = Prefix::split(rest) {
            if prefixes.len() == MAX_TYPE_DEPTH {
                return Err(ParseTypeError::TooDeep);
            }
            prefixes.push(prefix);
            rest = of.trim();
        }
        let ty = match rest {
            "string" => Self::text(),
            "integer" => Self::Integer(Bounds::ANY),
            "number" => Self::Number(Bounds::ANY),
            "boolean" => Self::Boolean,
            "duration" => Self::Duration,
            "enum" => Self::Enum([].into()),
            other => return Err(ParseTypeError::Unknown(other.to_owned())),
        };
        Ok(prefixes.into_iter().rev().fold(ty, |ty, prefix| prefix.apply(ty)))
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
        assert_eq!(Type::parse("list of int"), Err(ParseTypeError::Unknown("int".to_owned())));
    }

    #[test]
    fn a_type_is_nested_to_a_limit() {
        let nested = |depth| format!("{}string", "list of ".repeat(depth));
        assert_eq!(
            Type::parse(&nested(MAX_TYPE_DEPTH)).unwrap().to_string(),
            nested(MAX_TYPE_DEPTH)
        );
        assert_eq!(Type::parse(&nested(MAX_TYPE_DEPTH + 1)), Err(ParseTypeError::TooDeep));
        assert_eq!(Type::parse(&"optional ".repeat(100_000)), Err(ParseTypeError::TooDeep));
    }
}
