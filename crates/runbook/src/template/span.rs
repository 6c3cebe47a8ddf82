//! The spans of expressions. minijinja's spans are wrong for chains of three or more attributes, but
//! its names borrow from the text, so their addresses give their positions.

use std::ops::Range;

use minijinja::machinery::ast::{CallArg, Expr};

use super::parse::bytes;

/// Returns the span of a whole expression, from the bracket on with which it begins.
pub(crate) fn with_bracket(text: &str, span: Range<usize>) -> Range<usize> {
    let before = text.get(..span.start).unwrap_or_default();
    let inside = before.rfind("{{").map_or(0, |at| at + 2);
    let between = before.get(inside..).unwrap_or_default();
    let only_brackets = between.chars().all(|c| c == '(' || c.is_whitespace());
    match between.find('(').filter(|_| only_brackets) {
        Some(at) => inside + at..span.end,
        None => span,
    }
}

/// Returns the span of a name that borrows from the text.
pub(crate) fn of_name(text: &str, name: &str) -> Range<usize> {
    let offset = (name.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    match offset.checked_add(name.len()) {
        Some(end) if end <= text.len() => offset..end,
        _ => 0..text.len(), // the name does not borrow from the text
    }
}

/// Returns the span of an expression, from its first token to its last.
pub(crate) fn of_expr(text: &str, expr: &Expr<'_>) -> Range<usize> {
    match expr {
        Expr::Var(var) => of_name(text, var.id),
        Expr::GetAttr(get) => of_expr(text, &get.expr).start..of_name(text, get.name).end,
        Expr::GetItem(get) => {
            let start = of_expr(text, &get.expr).start;
            start..past(text, of_expr(text, &get.subscript_expr).end, ']')
        }
        Expr::BinOp(op) => of_expr(text, &op.left).start..of_expr(text, &op.right).end,
        Expr::Compare(compare) => {
            let start = of_expr(text, &compare.expr);
            let end = compare.ops.last().map_or(start.end, |op| of_expr(text, &op.expr).end);
            start.start..end
        }
        Expr::UnaryOp(op) => {
            // The `not` of `a is not none` and of `a not in b` is inside of what it negates.
            let of = of_expr(text, &op.expr);
            bytes(text, expr.span()).start.min(of.start)..of.end
        }
        Expr::IfExpr(choice) => {
            let last = choice.false_expr.as_ref().unwrap_or(&choice.test_expr);
            of_expr(text, &choice.true_expr).start..of_expr(text, last).end
        }
        Expr::Filter(filter) => {
            let name = of_name(text, filter.name);
            let start = filter.expr.as_ref().map_or(name.start, |e| of_expr(text, e).start);
            start..after_arguments(text, name.end, &filter.args)
        }
        Expr::Test(predicate) => {
            let name = of_name(text, predicate.name);
            of_expr(text, &predicate.expr).start..after_arguments(text, name.end, &predicate.args)
        }
        other => bytes(text, other.span()),
    }
    .normalized()
}

/// Returns the span of the argument of `default(none)`, with which an expression ends.
pub(crate) fn of_null_default(text: &str, expr: &Expr<'_>) -> Option<Range<usize>> {
    let Expr::Filter(filter) = expr else { return None };
    let fallback = filter.args.first().map(argument)?;
    let is_null = matches!(fallback, Expr::Const(constant) if constant.value.is_none());
    let is_default = matches!(filter.name, "default" | "d");
    (is_default && is_null).then(|| of_expr(text, fallback))
}

/// Returns the end of the arguments of a call, including the bracket.
fn after_arguments(text: &str, name_end: usize, args: &[CallArg<'_>]) -> usize {
    match args.last() {
        Some(last) => past(text, of_expr(text, argument(last)).end, ')'),
        None => name_end,
    }
}

/// Returns the expression of an argument.
pub(crate) fn argument<'e, 't>(arg: &'e CallArg<'t>) -> &'e Expr<'t> {
    match arg {
        CallArg::Pos(expr)
        | CallArg::Kwarg(_, expr)
        | CallArg::PosSplat(expr)
        | CallArg::KwargSplat(expr) => expr,
    }
}

/// Returns the position after a closing bracket, skipping whitespace; `at` if there is no bracket.
fn past(text: &str, at: usize, bracket: char) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let blanks = rest.len() - rest.trim_start().len();
    if rest[blanks..].starts_with(bracket) { at + blanks + bracket.len_utf8() } else { at }
}

trait Normalized {
    fn normalized(self) -> Self;
}

impl Normalized for Range<usize> {
    /// Returns the range with an end that is not before its start.
    fn normalized(self) -> Self {
        self.start..self.end.max(self.start)
    }
}
