//! Reads scalar parameters.

use serde_json::{Number, Value as Json};

use super::super::secrets;
use super::super::types::{Bounds, Type};
use super::super::yaml::{Node, ScalarValue};
use super::argument::{ArgumentReader, DurationLiteral};
use super::issue::ArgumentIssueKind;

impl ArgumentReader<'_> {
    /// Reads a value that is neither a list nor a map.
    pub(super) fn scalar(&mut self, node: &Node, ty: &Type, path: &str) -> Option<Json> {
        match (ty, node.scalar_value()) {
            (Type::Boolean, Some(ScalarValue::Boolean(value))) => Some(Json::Bool(value)),
            (Type::Integer(span), Some(ScalarValue::Integer(value))) => {
                self.check_bounds(node, span, value, path)?;
                self.integer(node, value, path)
            }
            (Type::Number(span), Some(ScalarValue::Integer(value))) => {
                #[expect(clippy::cast_precision_loss, reason = "only compared with a limit")]
                self.check_bounds(node, span, value as f64, path)?;
                self.integer(node, value, path)
            }
            (Type::Number(span), Some(ScalarValue::Number(value))) if value.is_finite() => {
                self.check_bounds(node, span, value, path)?;
                Number::from_f64(value).map(Json::Number)
            }
            (Type::String(_) | Type::Duration | Type::Enum(_), Some(plain))
                if plain != ScalarValue::Null =>
            {
                // The text as written: `version: 1.10` stays `1.10`.
                self.text(node, ty, node.text()?, path)
            }
            _ => {
                self.add_type_mismatch(node, ty, path);
                None
            }
        }
    }

    /// Returns an integer that JSON can represent, or reports that it is out of range.
    fn integer(&mut self, node: &Node, value: i128, path: &str) -> Option<Json> {
        let json = as_json(value);
        if json.is_none() {
            let limits = format!("from {} to {}", i64::MIN, u64::MAX);
            self.add_out_of_range(node, path, limits, value.to_string());
        }
        json
    }

    fn check_bounds<N: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        node: &Node,
        span: &Bounds<N>,
        value: N,
        path: &str,
    ) -> Option<()> {
        let Some(limits) = span.violated_limits(value) else {
            return Some(());
        };
        self.add_out_of_range(node, path, limits, value.to_string());
        None
    }

    fn text(&mut self, node: &Node, ty: &Type, text: &str, path: &str) -> Option<Json> {
        if let (Type::Duration, Ok(duration)) = (ty, text.parse()) {
            self.durations.push(DurationLiteral {
                path: path.to_owned(),
                span: node.span.clone(),
                duration,
            });
        }
        let value = Json::String(text.to_owned());
        let path = path.to_owned();
        let found = match secrets::find(text).is_empty() {
            true => super::super::yaml::quoted(text),
            // It would be in the log of the check, too.
            false => "this one, with a secret in it".to_owned(),
        };
        let kind = match (ty, ty.coerce(value.clone())) {
            (_, Ok(value)) => return Some(value),
            (Type::Enum(values), _) => ArgumentIssueKind::InvalidEnumValue {
                path,
                found: text.to_owned(),
                values: values.to_vec(),
            },
            (Type::String(limits), _) if !limits.lengths.contains(text.chars().count()) => {
                let limits = limits.lengths.describe("character");
                ArgumentIssueKind::OutOfRange { path, limits, found }
            }
            (_, Err(mismatch)) => {
                ArgumentIssueKind::InvalidFormat { path, form: mismatch.reason.to_string(), found }
            }
        };
        self.add_issue(node.span.clone(), kind);
        None
    }
}

fn as_json(value: i128) -> Option<Json> {
    let signed = i64::try_from(value).ok().map(Number::from);
    signed.or_else(|| u64::try_from(value).ok().map(Number::from)).map(Json::Number)
}

/// Returns the value of a scalar of unknown type.
pub(crate) fn untyped_json(node: &Node) -> Json {
    let text = || Json::String(node.text().unwrap_or_default().to_owned());
    match node.scalar_value() {
        Some(ScalarValue::Null) | None => Json::Null,
        Some(ScalarValue::Boolean(value)) => Json::Bool(value),
        Some(ScalarValue::Integer(value)) => as_json(value).unwrap_or_else(text),
        Some(ScalarValue::Number(value)) => Number::from_f64(value).map_or_else(text, Json::Number),
        Some(ScalarValue::Text(_)) => text(),
    }
}
