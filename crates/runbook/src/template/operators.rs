//! The types of operators. Values are not converted implicitly: a string is not a number, and only a
//! boolean is a condition.

use minijinja::machinery::ast::{BinOpKind, CompareOpKind};

use super::super::types::Type;
use super::filters::unlimited;

/// Returns the type that an arithmetic or string operator yields; `None` when it does not accept the
/// operands.
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

/// Returns the comparison of a binary operator, if any: the parser represents a single comparison as
/// a binary operator, and only a chain as a comparison.
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

/// Returns the operator that a test is, if any.
pub(crate) fn of_test(name: &str) -> Option<(&'static str, CompareOpKind)> {
    Some(match name {
        "eq" | "equalto" => ("==", CompareOpKind::Eq),
        "ne" => ("!=", CompareOpKind::Ne),
        "lt" | "lessthan" => ("<", CompareOpKind::Lt),
        "le" => ("<=", CompareOpKind::Lte),
        "gt" | "greaterthan" => (">", CompareOpKind::Gt),
        "ge" => (">=", CompareOpKind::Gte),
        "in" => ("in", CompareOpKind::In),
        _ => return None,
    })
}

/// Whether comparing two values is meaningful.
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

/// Whether values of the two types can be equal.
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
        // A node is never called like its instance: two things of different kinds are meant.
        (Type::String(a), Type::String(b)) => match (a.syntax, b.syntax) {
            (Some(a), Some(b)) => a.accepts(b),
            _ => true,
        },
        (a, b) => a.is_numeric() && b.is_numeric() || a.is_text() && b.is_text(),
    }
}

/// Whether values of the two types have an order. Durations are strings and would be ordered
/// alphabetically, which is meaningless.
fn is_ordered(left: &Type, right: &Type) -> bool {
    let text = |ty: &Type| matches!(ty, Type::String(_) | Type::Enum(_) | Type::Any);
    is_number(left) && is_number(right) || text(left) && text(right)
}

/// Whether a value can be joined to a string. minijinja would write a boolean as Python does, `True`.
pub(crate) fn is_joinable(ty: &Type) -> bool {
    ty.is_printable() && *ty != Type::Boolean
}

fn is_number(ty: &Type) -> bool {
    ty.is_numeric() || *ty == Type::Any
}
