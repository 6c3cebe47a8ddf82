//! Whether a value of one type is accepted where another type is required.

use super::super::duration::Duration;
use super::{RecordType, Type};

/// Why a type is not assignable to another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TypeMismatch {
    /// The types are unrelated.
    Incompatible,
    /// The type matches except that the value may be null.
    PossiblyNull,
    /// A required field is missing.
    MissingField(String),
    /// The type of a field does not match.
    Field(String, Box<TypeMismatch>),
    /// No value of the type satisfies the limits of the other.
    OutOfRange(String),
}

impl Type {
    /// Checks that a value of type `from` is accepted where `self` is required. A record is accepted
    /// for a record with fewer fields, and any printable value for a string.
    pub(crate) fn check_assignable(&self, from: &Self) -> Result<(), TypeMismatch> {
        match (self, from) {
            (Self::Any, _)
            | (_, Self::Any)
            | (Self::Optional(_) | Self::Null, Self::Null)
            | (Self::Boolean, Self::Boolean)
            | (Self::Duration, Self::Duration) => Ok(()),
            (Self::Optional(to), Self::Optional(from)) => to.check_assignable(from),
            (Self::Optional(to), from) => to.check_assignable(from),
            (to, Self::Optional(from)) => {
                to.check_assignable(from).and(Err(TypeMismatch::PossiblyNull))
            }
            (_, Self::Null) => Err(TypeMismatch::PossiblyNull),
            (Self::Integer(to), Self::Integer(from)) => {
                let below = matches!((to.minimum, from.maximum), (Some(a), Some(b)) if b < a);
                let above = matches!((to.maximum, from.minimum), (Some(a), Some(b)) if b > a);
                match to.describe() {
                    Some(limits) if below || above => Err(TypeMismatch::OutOfRange(limits)),
                    _ => Ok(()),
                }
            }
            (Self::Number(_), from) if from.is_numeric() => Ok(()),
            (Self::String(to), Self::String(from)) => match (to.syntax, from.syntax) {
                (Some(to), Some(from)) if !to.accepts(from) => Err(TypeMismatch::Incompatible),
                _ => Ok(()),
            },
            (Self::String(_), from) if from.is_printable() => Ok(()),
            // A string built by a template, such as `{{ minutes }}m`, is checked when it is evaluated.
            (Self::Duration, Self::String(text)) if text.built => Ok(()),
            (Self::Duration, Self::Enum(words))
                if words.iter().all(|word| word.parse::<Duration>().is_ok()) =>
            {
                Ok(())
            }
            (Self::Enum(to), Self::Enum(from)) if from.iter().all(|word| to.contains(word)) => {
                Ok(())
            }
            (Self::List(to, _), Self::List(from, _)) | (Self::Map(to, _), Self::Map(from, _)) => {
                to.check_assignable(from)
            }
            (Self::Map(to, _), Self::Record(from)) => from
                .fields
                .iter()
                .try_for_each(|field| in_field(&field.name, to.check_assignable(&field.ty))),
            (Self::Record(to), Self::Record(from)) => check_record_assignable(to, from),
            _ => Err(TypeMismatch::Incompatible),
        }
    }
}

fn check_record_assignable(to: &RecordType, from: &RecordType) -> Result<(), TypeMismatch> {
    for wanted in &to.fields {
        match from.field(&wanted.name) {
            Some(given) if given.required => {
                in_field(&given.name, wanted.ty.check_assignable(&given.ty))?;
            }
            Some(given) if wanted.required => {
                in_field(&given.name, wanted.ty.check_assignable(&given.ty.clone().or_null()))?;
            }
            Some(given) => in_field(&given.name, wanted.ty.check_assignable(&given.ty))?,
            None if wanted.required => return Err(TypeMismatch::MissingField(wanted.name.clone())),
            None => {}
        }
    }
    Ok(())
}

fn in_field(field: &str, fits: Result<(), TypeMismatch>) -> Result<(), TypeMismatch> {
    fits.map_err(|mismatch| TypeMismatch::Field(field.to_owned(), Box::new(mismatch)))
}
