//! The parts of expressions.

use minijinja::machinery::ast::{CompareOpKind, Expr, UnaryOpKind};

use super::{operators, span};

/// Returns the direct parts of an expression, in the order of the text.
pub(crate) fn children<'e, 't>(expr: &'e Expr<'t>) -> Vec<&'e Expr<'t>> {
    match expr {
        Expr::Var(_) | Expr::Const(_) => Vec::new(),
        Expr::Slice(slice) => {
            let bounds = [&slice.start, &slice.stop, &slice.step].into_iter().flatten();
            std::iter::once(&slice.expr).chain(bounds).collect()
        }
        Expr::UnaryOp(op) => vec![&op.expr],
        Expr::BinOp(op) => vec![&op.left, &op.right],
        Expr::Compare(compare) => {
            let rest = compare.ops.iter().map(|op| &op.expr);
            std::iter::once(&compare.expr).chain(rest).collect()
        }
        Expr::IfExpr(choice) => {
            let parts = [&choice.true_expr, &choice.test_expr];
            parts.into_iter().chain(&choice.false_expr).collect()
        }
        Expr::Filter(filter) => {
            filter.expr.iter().chain(filter.args.iter().map(span::argument)).collect()
        }
        Expr::Test(test) => {
            std::iter::once(&test.expr).chain(test.args.iter().map(span::argument)).collect()
        }
        Expr::GetAttr(get) => vec![&get.expr],
        Expr::GetItem(get) => vec![&get.expr, &get.subscript_expr],
        Expr::Call(call) => {
            std::iter::once(&call.expr).chain(call.args.iter().map(span::argument)).collect()
        }
        Expr::List(list) => list.items.iter().collect(),
        Expr::Tuple(tuple) => tuple.items.iter().collect(),
        Expr::Map(map) => map.keys.iter().chain(&map.values).collect(),
    }
}

/// Whether a name is in an expression.
pub(crate) fn uses(expr: &Expr<'_>, name: &str) -> bool {
    matches!(expr, Expr::Var(var) if var.id == name)
        || children(expr).into_iter().any(|part| uses(part, name))
}

/// Returns the comparisons of an expression, each with its two sides: one, or those of a chain such as `1 < a < 3`. The
/// parser writes `a not in b` as `not (a in b)`, which is one too.
pub(crate) fn comparisons<'e, 't>(
    expr: &'e Expr<'t>,
) -> Vec<(&'e Expr<'t>, CompareOpKind, &'e Expr<'t>)> {
    match expr {
        Expr::BinOp(op) => match operators::comparison(op.op) {
            Some(comparison) => vec![(&op.left, comparison, &op.right)],
            None => Vec::new(),
        },
        Expr::Compare(compare) => {
            let mut left = &compare.expr;
            let pair = |op: &'e minijinja::machinery::ast::CompareOp<'t>| {
                let before = std::mem::replace(&mut left, &op.expr);
                (before, op.op, &op.expr)
            };
            compare.ops.iter().map(pair).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns what is negated, if the expression is `not …`.
pub(crate) fn negated<'e, 't>(expr: &'e Expr<'t>) -> Option<&'e Expr<'t>> {
    match expr {
        Expr::UnaryOp(op) if matches!(op.op, UnaryOpKind::Not) => Some(&op.expr),
        _ => None,
    }
}

/// Returns the value of a constant string.
pub(crate) fn word<'e>(expr: &'e Expr<'_>) -> Option<&'e str> {
    match expr {
        Expr::Const(constant) => constant.value.as_str(),
        _ => None,
    }
}

/// Returns the items of a list that is written down.
pub(crate) fn items<'e, 't>(expr: &'e Expr<'t>) -> Option<&'e [Expr<'t>]> {
    match expr {
        Expr::List(list) => Some(&list.items),
        Expr::Tuple(tuple) => Some(&tuple.items),
        _ => None,
    }
}
