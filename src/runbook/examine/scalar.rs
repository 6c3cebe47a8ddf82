//! Scalars among the parameters.

use serde_json::{Number, Value as Json};

use super::super::types::{Span, Type};
use super::super::yaml::{Node, Plain};
use super::argument::{Reading, WrittenDuration};
use super::flaw::ArgumentFault;

impl Reading<'_> {
    /// A value that is neither list nor map.
    pub(super) fn scalar(&mut self, node: &Node, ty: &Type, path: &str) -> Option<Json> {
        match (ty, node.plain()) {
            (Type::Boolean, Some(Plain::Boolean(value))) => Some(Json::Bool(value)),
            (Type::Integer(span), Some(Plain::Integer(value))) => {
                self.within(node, span, value, path)?;
                self.integer(node, value, path)
            }
            (Type::Number(span), Some(Plain::Integer(value))) => {
                #[allow(clippy::cast_precision_loss)] // only to compare it with a limit
                self.within(node, span, value as f64, path)?;
                self.integer(node, value, path)
            }
            (Type::Number(span), Some(Plain::Number(value))) if value.is_finite() => {
                self.within(node, span, value, path)?;
                Number::from_f64(value).map(Json::Number)
            }
            (Type::String(_) | Type::Duration | Type::Enum(_), Some(plain))
                if plain != Plain::Null =>
            {
                // As written: `version: 1.10` stays `1.10`.
                self.text(node, ty, node.text()?, path)
            }
            _ => {
                self.kind(node, ty, path);
                None
            }
        }
    }

    /// An integer that JSON and every part of the program can hold.
    fn integer(&mut self, node: &Node, value: i128, path: &str) -> Option<Json> {
        let json = as_json(value);
        if json.is_none() {
            let limits = format!("from {} to {}", i64::MIN, u64::MAX);
            self.limit(node, path, limits, value.to_string());
        }
        json
    }

    fn within<N: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        node: &Node,
        span: &Span<N>,
        value: N,
        path: &str,
    ) -> Option<()> {
        let Some(limits) = span.refuse(value) else {
            return Some(());
        };
        self.limit(node, path, limits, value.to_string());
        None
    }

    fn text(&mut self, node: &Node, ty: &Type, text: &str, path: &str) -> Option<Json> {
        if let (Type::Duration, Ok(duration)) = (ty, text.parse()) {
            self.durations.push(WrittenDuration {
                path: path.to_owned(),
                span: node.span.clone(),
                duration,
            });
        }
        let value = Json::String(text.to_owned());
        let path = path.to_owned();
        let found = super::super::yaml::quoted(text);
        let fault = match (ty, ty.project(value.clone())) {
            (_, Ok(value)) => return Some(value),
            (Type::Enum(words), _) => {
                ArgumentFault::Word { path, found: text.to_owned(), words: words.to_vec() }
            }
            (Type::String(limits), _) if !limits.lengths.holds(text.chars().count()) => {
                let limits = limits.lengths.describe("character");
                ArgumentFault::Limit { path, limits, found }
            }
            (_, Err(mismatch)) => {
                ArgumentFault::Form { path, form: mismatch.reason.to_string(), found }
            }
        };
        self.flaw(node.span.clone(), fault);
        None
    }
}

fn as_json(value: i128) -> Option<Json> {
    let signed = i64::try_from(value).ok().map(Number::from);
    signed.or_else(|| u64::try_from(value).ok().map(Number::from)).map(Json::Number)
}

/// What a scalar means where nothing is known of it.
pub(super) fn plain_json(node: &Node) -> Json {
    let text = || Json::String(node.text().unwrap_or_default().to_owned());
    match node.plain() {
        Some(Plain::Null) | None => Json::Null,
        Some(Plain::Boolean(value)) => Json::Bool(value),
        Some(Plain::Integer(value)) => as_json(value).unwrap_or_else(text),
        Some(Plain::Number(value)) => Number::from_f64(value).map_or_else(text, Json::Number),
        Some(Plain::Text(_)) => text(),
    }
}
