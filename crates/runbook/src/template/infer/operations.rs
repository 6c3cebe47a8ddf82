//! Inference of operators, comparisons and conditional expressions.

use std::ops::Range;
use std::sync::Arc;

use minijinja::Value;
use minijinja::machinery::ast::{
    BinOp, BinOpKind, CompareOpKind, Expr, IfExpr, UnaryOp, UnaryOpKind,
};

use super::super::super::types::Type;
use super::super::narrowing::Narrowing;
use super::super::{TemplateIssueKind, canonical, filters, operators};
use super::Inference;

impl Inference<'_> {
    /// Infers `not` and `-`.
    pub(super) fn unary(&mut self, op: &UnaryOp<'_>, narrowing: &Narrowing) -> Type {
        if matches!(op.op, UnaryOpKind::Not) {
            self.condition(&op.expr, narrowing);
            return Type::Boolean;
        }
        let ty = self.value(&op.expr, narrowing);
        if ty.is_numeric() || ty == Type::Any {
            return filters::unlimited(&ty);
        }
        let span = self.span_of(&op.expr);
        self.add_issue(span, TemplateIssueKind::Operator { operator: "-", left: ty, right: None })
    }

    /// Infers a binary operator.
    pub(super) fn binary(
        &mut self,
        whole: &Expr<'_>,
        op: &BinOp<'_>,
        narrowing: &Narrowing,
    ) -> Type {
        match op.op {
            BinOpKind::ScAnd => {
                self.condition(&op.left, narrowing);
                self.condition(&op.right, &narrowing.assuming(&op.left));
                return Type::Boolean;
            }
            BinOpKind::ScOr => {
                self.condition(&op.left, narrowing);
                self.condition(&op.right, &narrowing.assuming_not(&op.left));
                return Type::Boolean;
            }
            _ => {}
        }
        if let Some(comparison) = operators::comparison(op.op) {
            self.compare(&op.left, [(comparison, &op.right)].into_iter(), narrowing);
            return Type::Boolean;
        }
        let (left, right) = (self.value(&op.left, narrowing), self.value(&op.right, narrowing));
        self.divides |= matches!(op.op, BinOpKind::Div);
        let divides = matches!(op.op, BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem);
        if divides && is_zero(&op.right) {
            let span = self.span_of(&op.right);
            return self.add_issue(span, TemplateIssueKind::DivisionByZero);
        }
        if let Some(ty) = operators::binary(op.op, &left, &right) {
            return ty;
        }
        let span = self.span_of(whole);
        let operator = canonical::binary(op.op);
        self.add_issue(span, TemplateIssueKind::Operator { operator, left, right: Some(right) })
    }

    /// Infers a chain such as `a < b <= c`, pair by pair.
    pub(super) fn compare<'e, 't: 'e>(
        &mut self,
        first: &Expr<'t>,
        rest: impl Iterator<Item = (CompareOpKind, &'e Expr<'t>)>,
        narrowing: &Narrowing,
    ) {
        let mut left = (self.expr(first, narrowing), self.span_of(first));
        for (op, expr) in rest {
            let right = (self.expr(expr, narrowing), self.span_of(expr));
            if !operators::is_comparable(op, &left.0, &right.0) {
                let kind = TemplateIssueKind::Operator {
                    operator: canonical::comparison(op),
                    left: left.0,
                    right: Some(right.0.clone()),
                };
                self.add_issue(left.1.start..right.1.end, kind);
            } else if let Some((span, kind)) = never_equal(&left, &right, self.text) {
                self.add_issue(span, kind);
            }
            left = right;
        }
    }

    /// Infers `a if condition else b`.
    pub(super) fn choice(
        &mut self,
        whole: &Expr<'_>,
        choice: &IfExpr<'_>,
        narrowing: &Narrowing,
    ) -> Type {
        self.condition(&choice.test_expr, narrowing);
        let yes = self.expr(&choice.true_expr, &narrowing.assuming(&choice.test_expr));
        if let Some(other) = &choice.false_expr {
            return yes.join(self.expr(other, &narrowing.assuming_not(&choice.test_expr)));
        }
        let span = self.span_of(whole);
        self.add_issue(span, TemplateIssueKind::MissingElse)
    }
}

/// Whether an expression is the constant zero.
fn is_zero(expr: &Expr<'_>) -> bool {
    let number = |value: &Value| f64::try_from(value.clone()).ok();
    matches!(expr, Expr::Const(constant) if number(&constant.value) == Some(0.0))
}

/// A type with the span of its expression.
type Spanned = (Type, Range<usize>);

/// Returns the issue of comparing an enum with a constant string that is not one of its values.
fn never_equal(
    left: &Spanned,
    right: &Spanned,
    text: &str,
) -> Option<(Range<usize>, TemplateIssueKind)> {
    let (values, span) = match (left.0.non_null(), right.0.non_null()) {
        (Type::Enum(values), Type::String(_)) => (values, right.1.clone()),
        (Type::String(_), Type::Enum(values)) => (values, left.1.clone()),
        _ => return None,
    };
    let quoted = text.get(span.clone())?;
    let word = quoted.strip_prefix(['\'', '"'])?.strip_suffix(['\'', '"'])?;
    let is_member = word.contains(['\'', '"', '\\']) || values.iter().any(|member| member == word);
    let kind = TemplateIssueKind::NeverEqual { word: word.to_owned(), values: Arc::clone(values) };
    (!is_member).then_some((span, kind))
}
