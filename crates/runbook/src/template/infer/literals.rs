//! Inference of constants, lists and maps.

use std::sync::Arc;

use minijinja::machinery::ast::{Expr, Map};
use minijinja::value::{Value, ValueKind};

use super::super::super::types::{Bounds, Field, LengthBounds, RecordType, Type};
use super::super::narrowing::Narrowing;
use super::super::parts;
use super::Inference;

impl Inference<'_> {
    /// Infers a literal list.
    pub(super) fn list(&mut self, items: &[Expr<'_>], narrowing: &Narrowing) -> Type {
        let types = items.iter().map(|item| {
            let ty = self.expr(item, narrowing);
            // A word may be one that a parameter takes.
            parts::word(item).map_or(ty, |word| Type::words(&[word]))
        });
        let of = types.reduce(Type::join).unwrap_or(Type::Any);
        let length = Some(items.len());
        let lengths = LengthBounds { minimum: length, maximum: length };
        Type::List(Box::new(of), lengths)
    }

    /// Infers a literal map: a record, if all keys are constant.
    pub(super) fn map(&mut self, map: &Map<'_>, narrowing: &Narrowing) -> Type {
        let mut fields = Vec::with_capacity(map.keys.len());
        let mut constant = true;
        for (key, value) in map.keys.iter().zip(&map.values) {
            let name = self.field_name(key, narrowing);
            let ty = self.expr(value, narrowing);
            let ty = parts::word(value).map_or(ty, |word| Type::words(&[word]));
            constant &= name.is_some();
            fields.push(Field::required(name.unwrap_or_default(), ty));
        }
        if constant {
            return Type::Record(Arc::new(RecordType {
                name: RecordType::LITERAL.to_owned(),
                fields,
                ..RecordType::default()
            }));
        }
        let of = fields.into_iter().map(|field| field.ty).reduce(Type::join);
        Type::map(of.unwrap_or(Type::Any))
    }

    /// Returns a constant key; any other key is inferred as an expression.
    pub(super) fn field_name(&mut self, key: &Expr<'_>, narrowing: &Narrowing) -> Option<String> {
        match key {
            Expr::Const(constant) => constant.value.as_str().map(str::to_owned),
            other => {
                self.expr(other, narrowing);
                None
            }
        }
    }
}

/// Returns the type of a constant; an integer has itself as both limits.
pub(super) fn constant_type(value: &Value) -> Type {
    match value.kind() {
        ValueKind::Bool => Type::Boolean,
        ValueKind::None => Type::Null,
        ValueKind::String => Type::text(),
        ValueKind::Number if value.is_integer() => {
            let exact = i128::try_from(value.clone()).ok();
            Type::Integer(Bounds { minimum: exact, maximum: exact })
        }
        ValueKind::Number => Type::number(),
        _ => Type::Any,
    }
}
