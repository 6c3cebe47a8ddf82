//! What operators take and give. Nothing is converted silently: a text is not a number, and only a
//! boolean is true.

use minijinja::machinery::ast::{BinOpKind, CompareOpKind};

use super::super::types::Type;
use super::filters::unlimited;

/// What an arithmetic or text operator yields; `None` when it cannot take these.
pub(crate) fn binary(op: BinOpKind, left: &Type, right: &Type) -> Option<Type> {
    use BinOpKind::{Add, Concat, Div};
    match (op, left, right) {
        (Concat, a, b) => (is_joinable(a) && is_joinable(b)).then(Type::built_text),
        (Div, a, b) => (is_number(a) && is_number(b)).then(Type::number),
        (Add, a, b) if a.is_text() && b.is_text() => Some(Type::built_text()),
        (Add, Type::List(a, _), Type::List(b, _)) => {
            Some(Type::list((**a).clone().join((**b).clone())))
        }
        (Add, Type::Any, _) | (Add, _, Type::Any) => Some(Type::Any),
        (_, a, b) if is_number(a) && is_number(b) => Some(unlimited(a).join(unlimited(b))),
        _ => None,
    }
}

/// The comparison that a binary operator is, if it is one: the parser writes a single one so, and
/// only a chain of them as a comparison.
pub(crate) fn comparison(op: BinOpKind) -> Option<CompareOpKind> {
    Some(match op {
        BinOpKind::Eq => CompareOpKind::Eq,
        BinOpKind::Ne => CompareOpKind::Ne,
        BinOpKind::Lt => CompareOpKind::Lt,
        BinOpKind::Lte => CompareOpKind::Lte,
        BinOpKind::Gt => CompareOpKind::Gt,
        BinOpKind::Gte => CompareOpKind::Gte,
        BinOpKind::In => CompareOpKind::In,
        _ => return None,
    })
}

/// Whether two values can be compared so that the answer says something.
pub(crate) fn is_comparable(op: CompareOpKind, left: &Type, right: &Type) -> bool {
    use CompareOpKind::{Eq, Gt, Gte, In, Lt, Lte, Ne, NotIn};
    match op {
        Eq | Ne => may_be_equal(left, right),
        Lt | Lte | Gt | Gte => is_ordered(left, right),
        In | NotIn => match right {
            Type::List(of, _) => may_be_equal(left, of),
            Type::Any => true,
            text if text.is_text() => left.is_text() || *left == Type::Any,
            Type::Map(..) | Type::Record(_) => left.is_text() || *left == Type::Any,
            _ => false,
        },
    }
}

/// May be equal.
fn may_be_equal(left: &Type, right: &Type) -> bool {
    match (left.non_null(), right.non_null()) {
        (Type::Any | Type::Null, _)
        | (_, Type::Any | Type::Null)
        | (Type::Boolean, Type::Boolean)
        | (Type::Record(_), Type::Record(_) | Type::Map(..))
        | (Type::Map(..), Type::Record(_)) => true,
        (Type::List(a, _), Type::List(b, _)) | (Type::Map(a, _), Type::Map(b, _)) => {
            may_be_equal(a, b)
        }
        (a, b) => a.is_numeric() && b.is_numeric() || a.is_text() && b.is_text(),
    }
}

/// Have an order. Durations are text and would be ordered by their letters, which means nothing.
fn is_ordered(left: &Type, right: &Type) -> bool {
    let text = |ty: &Type| matches!(ty, Type::String(_) | Type::Enum(_) | Type::Any);
    is_number(left) && is_number(right) || text(left) && text(right)
}

/// Can be joined to a text. minijinja would write a boolean as Python does, `True`.
pub(crate) fn is_joinable(ty: &Type) -> bool {
    ty.is_printable() && *ty != Type::Boolean
}

fn is_number(ty: &Type) -> bool {
    ty.is_numeric() || *ty == Type::Any
}
