//! Templates to JSON, when a step runs. What comes out is bounded in work, size and depth, and is
//! of the type that was checked; errors name the place and the template, never a value, which may
//! be confidential.

mod argument;
mod convert;
mod environment;
mod scope;
#[cfg(test)]
mod tests;

pub(crate) use argument::{Argument, CompiledArgument, Expression};
pub use scope::EvaluationScope;

use super::types::ValueMismatch;

/// A template that cannot be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{location}: `{template}`: {kind}")]
pub struct EvaluationError {
    /// The parameter, `when` or `log`.
    pub location: String,
    /// The template as it is written.
    pub template: String,
    /// What went wrong.
    pub kind: EvaluationErrorKind,
}

/// What goes wrong when a template is evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluationErrorKind {
    /// Something that it names has no value.
    #[error("{0} has no value here")]
    Undefined(String),
    /// A value that templates do not have, or cannot have here.
    #[error("{0}")]
    InvalidValue(String),
    /// Too much of it.
    #[error("the result is too large")]
    TooLarge,
    /// Too many lists in lists.
    #[error("the result is nested too deeply")]
    TooDeep,
    /// It ran out of fuel.
    #[error("it takes too long to evaluate")]
    TooLong,
    /// Not of the type that is wanted.
    #[error("{0}")]
    ValueMismatch(ValueMismatch),
    /// minijinja's own words, which name no values.
    #[error("{0}")]
    Failed(String),
}
