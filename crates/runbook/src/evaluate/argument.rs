//! A step's parameters ready to be evaluated.

use minijinja::ErrorKind;
use serde_json::{Map, Value as Json};

use super::super::template::inside_braces;
use super::super::types::Type;
use super::convert::to_json;
use super::environment::{OWN_DETAILS, environment};
use super::scope::EvaluationScope;
use super::{EvaluationError, EvaluationErrorKind};

/// A parameter: a literal, a template, or a list or map with templates in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Argument {
    Literal(Json),
    Template(Expression),
    List(Vec<Argument>),
    Map(Vec<(String, Argument)>),
}

/// A template and what is wanted of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expression {
    text: String,
    /// One whole expression, whose value is handed on as it is.
    whole: bool,
    wanted: Type,
    location: String,
}

impl Argument {
    /// A list; of literals only, itself a literal.
    pub(crate) fn list(items: Vec<Self>) -> Self {
        if items.iter().all(Self::is_literal) {
            return Self::Literal(items.into_iter().filter_map(Self::into_literal).collect());
        }
        Self::List(items)
    }

    /// A map; of literals only, itself a literal.
    pub(crate) fn map(fields: Vec<(String, Self)>) -> Self {
        if fields.iter().all(|(_, value)| value.is_literal()) {
            let literal = |(name, value): (String, Self)| Some((name, value.into_literal()?));
            let map: Map<String, Json> = fields.into_iter().filter_map(literal).collect();
            return Self::Literal(Json::Object(map));
        }
        Self::Map(fields)
    }

    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    fn into_literal(self) -> Option<Json> {
        match self {
            Self::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Its value.
    pub(crate) fn evaluate(&self, scope: &EvaluationScope) -> Result<Json, EvaluationError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Template(expression) => expression.evaluate(scope),
            Self::List(items) => items.iter().map(|item| item.evaluate(scope)).collect(),
            Self::Map(fields) => fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), value.evaluate(scope)?)))
                .collect(),
        }
    }
}

impl Expression {
    /// A template that stands for a value of a type; `whole` when it is one expression and nothing
    /// else.
    pub(crate) fn new(text: &str, whole: bool, wanted: &Type, location: &str) -> Self {
        Self { text: text.to_owned(), whole, wanted: wanted.clone(), location: location.to_owned() }
    }

    /// A message: always text, blanks around it included.
    pub(crate) fn message(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            whole: false,
            wanted: Type::text(),
            location: "log".to_owned(),
        }
    }

    /// Its value.
    pub(crate) fn evaluate(&self, scope: &EvaluationScope) -> Result<Json, EvaluationError> {
        self.run(scope).map_err(|kind| EvaluationError {
            location: self.location.clone(),
            template: shortened(&self.text),
            kind,
        })
    }

    fn run(&self, scope: &EvaluationScope) -> Result<Json, EvaluationErrorKind> {
        let inside = if self.whole { inside_braces(&self.text) } else { None };
        let value = match inside {
            Some(expression) => {
                let compiled = environment().compile_expression_owned(expression);
                let value = compiled.and_then(|compiled| compiled.eval(scope.value()));
                to_json(&value.map_err(|error| classify(&error))?)?
            }
            None => {
                let text = environment().render_str(&self.text, scope.value());
                Json::String(text.map_err(|error| classify(&error))?)
            }
        };
        self.wanted.coerce(value).map_err(EvaluationErrorKind::ValueMismatch)
    }
}

fn shortened(text: &str) -> String {
    const MAX_SHOWN: usize = 120;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// minijinja's errors in words for the author of a runbook. Some of its details quote values, so
/// only those are passed on that are known not to.
fn classify(error: &minijinja::Error) -> EvaluationErrorKind {
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::OutOfFuel => EvaluationErrorKind::TooLong,
        ErrorKind::UndefinedError => EvaluationErrorKind::Undefined("a part of it".to_owned()),
        _ if detail.contains("cannot convert") || detail.contains("invalid float") => {
            EvaluationErrorKind::Failed("a value cannot be converted".to_owned())
        }
        _ if OWN_DETAILS.iter().any(|own| detail.ends_with(own)) => {
            EvaluationErrorKind::InvalidValue(detail.to_owned())
        }
        kind if detail.starts_with("tried to use") => {
            EvaluationErrorKind::Failed(format!("{kind}: {detail}"))
        }
        kind => EvaluationErrorKind::Failed(kind.to_string()),
    }
}
