//! Whether the values of one type may stand where another is wanted.

use super::{Record, Type};

/// Why they may not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Misfit {
    /// Another type altogether.
    Type,
    /// It would do, but it may be null.
    Null,
    /// A field is not there.
    Missing(String),
    /// A field does not fit.
    Field(String, Box<Misfit>),
    /// No value of the one lies within the limits of the other.
    Limits(String),
}

impl Type {
    /// Whether what an expression of type `from` yields may be given where `self` is wanted. A
    /// wider record may be given for a narrower one, and what prints as text for a string.
    pub(crate) fn fits(&self, from: &Self) -> Result<(), Misfit> {
        match (self, from) {
            (Self::Any, _) | (_, Self::Any) => Ok(()),
            (Self::Optional(_) | Self::Null, Self::Null) => Ok(()),
            (Self::Optional(to), Self::Optional(from)) => to.fits(from),
            (Self::Optional(to), from) => to.fits(from),
            (to, Self::Optional(from)) => to.fits(from).and(Err(Misfit::Null)),
            (_, Self::Null) => Err(Misfit::Null),
            (Self::Boolean, Self::Boolean) | (Self::Duration, Self::Duration) => Ok(()),
            (Self::Integer(to), Self::Integer(from)) => {
                let below = matches!((to.minimum, from.maximum), (Some(a), Some(b)) if b < a);
                let above = matches!((to.maximum, from.minimum), (Some(a), Some(b)) if b > a);
                match to.describe() {
                    Some(limits) if below || above => Err(Misfit::Limits(limits)),
                    _ => Ok(()),
                }
            }
            (Self::Number(_), from) if from.is_numeric() => Ok(()),
            (Self::String(_), from) if from.is_printable() => Ok(()),
            // A text that was put together, such as `{{ minutes }}m`, is judged when it is there.
            (Self::Duration, Self::String(text)) if text.built => Ok(()),
            (Self::Enum(to), Self::Enum(from)) if from.iter().all(|word| to.contains(word)) => {
                Ok(())
            }
            (Self::List(to, _), Self::List(from, _)) | (Self::Map(to, _), Self::Map(from, _)) => {
                to.fits(from)
            }
            (Self::Map(to, _), Self::Record(from)) => {
                from.fields.iter().try_for_each(|field| inside(&field.name, to.fits(&field.ty)))
            }
            (Self::Record(to), Self::Record(from)) => record_fits(to, from),
            _ => Err(Misfit::Type),
        }
    }
}

fn record_fits(to: &Record, from: &Record) -> Result<(), Misfit> {
    for wanted in &to.fields {
        match from.field(&wanted.name) {
            Some(given) if given.required => inside(&given.name, wanted.ty.fits(&given.ty))?,
            Some(given) if wanted.required => {
                inside(&given.name, wanted.ty.fits(&given.ty.clone().or_null()))?;
            }
            Some(given) => inside(&given.name, wanted.ty.fits(&given.ty))?,
            None if wanted.required => return Err(Misfit::Missing(wanted.name.clone())),
            None => {}
        }
    }
    Ok(())
}

fn inside(field: &str, fits: Result<(), Misfit>) -> Result<(), Misfit> {
    fits.map_err(|misfit| Misfit::Field(field.to_owned(), Box::new(misfit)))
}
