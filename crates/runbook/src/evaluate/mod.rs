//! Evaluates templates to JSON when a step runs. The result is limited in work, size and depth, and
//! has the type that was checked. Errors name the parameter and the template, never a value, which
//! may be confidential.

mod argument;
mod convert;
mod environment;
mod known;
mod membership;
mod range;
mod scope;
#[cfg(test)]
mod tests;
mod trace;

pub(crate) use argument::{Argument, CompiledArgument, Expression};
pub(crate) use known::{Fault, FaultKind, Known};
pub use scope::EvaluationScope;
pub use trace::TracedValue;
pub(crate) use trace::{trace, trace_item};

use super::types::ValueMismatch;

/// The error for a template that cannot be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{location}: `{template}`: {kind}")]
pub struct EvaluationError {
    /// The parameter, `when` or `log`.
    pub location: String,
    /// The template as written.
    pub template: String,
    /// The cause.
    pub kind: EvaluationErrorKind,
}

/// Why a template cannot be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluationErrorKind {
    /// A name in the template has no value.
    #[error("{0} has no value here")]
    Undefined(String),
    /// The value is not supported in templates, or not at this place.
    #[error("{0}")]
    InvalidValue(String),
    /// The result exceeds the size limit.
    #[error("the result is too large")]
    TooLarge,
    /// The result exceeds the nesting limit.
    #[error("the result is nested too deeply")]
    TooDeep,
    /// The template ran out of fuel.
    #[error("the evaluation takes too many instructions for the size of its data")]
    TooLong,
    /// The result does not have the required type.
    #[error("{0}")]
    ValueMismatch(ValueMismatch),
    /// Another error of minijinja, without values.
    #[error("{0}")]
    Failed(String),
}

impl EvaluationErrorKind {
    /// Whether the evaluation exceeds a limit on work, size or depth.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::TooLarge | Self::TooDeep | Self::TooLong)
    }
}
