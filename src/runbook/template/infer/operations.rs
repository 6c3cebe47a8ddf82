//! Operators, comparisons and choices.

use std::ops::Range;
use std::sync::Arc;

use minijinja::Value;
use minijinja::machinery::ast::{
    BinOp, BinOpKind, CompareOpKind, Expr, IfExpr, UnaryOp, UnaryOpKind,
};

use super::super::super::types::Type;
use super::super::known::Known;
use super::super::{Fault, canonical, filters, operators};
use super::Walk;

impl Walk<'_> {
    /// `not` and `-`.
    pub(super) fn unary(&mut self, op: &UnaryOp<'_>, known: &Known) -> Type {
        if matches!(op.op, UnaryOpKind::Not) {
            self.condition(&op.expr, known);
            return Type::Boolean;
        }
        let ty = self.value(&op.expr, known);
        if ty.is_numeric() || ty == Type::Any {
            return filters::unlimited(&ty);
        }
        let span = self.place(&op.expr);
        self.flaw(span, Fault::Operator { operator: "-", left: ty, right: None })
    }

    /// An operator between two expressions.
    pub(super) fn binary(&mut self, whole: &Expr<'_>, op: &BinOp<'_>, known: &Known) -> Type {
        match op.op {
            BinOpKind::ScAnd => {
                self.condition(&op.left, known);
                self.condition(&op.right, &known.when(&op.left));
                return Type::Boolean;
            }
            BinOpKind::ScOr => {
                self.condition(&op.left, known);
                self.condition(&op.right, &known.unless(&op.left));
                return Type::Boolean;
            }
            _ => {}
        }
        if let Some(comparison) = operators::comparison(op.op) {
            self.compare(&op.left, [(comparison, &op.right)].into_iter(), known);
            return Type::Boolean;
        }
        let (left, right) = (self.value(&op.left, known), self.value(&op.right, known));
        self.divides |= matches!(op.op, BinOpKind::Div);
        let divides = matches!(op.op, BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem);
        if divides && is_zero(&op.right) {
            let span = self.place(&op.right);
            return self.flaw(span, Fault::DivisionByZero);
        }
        match operators::binary(op.op, &left, &right) {
            Some(ty) => ty,
            None => {
                let span = self.place(whole);
                let fault = Fault::Operator {
                    operator: canonical::binary(op.op),
                    left,
                    right: Some(right),
                };
                self.flaw(span, fault)
            }
        }
    }

    /// `a < b <= c`: each neighbouring pair.
    pub(super) fn compare<'e, 't: 'e>(
        &mut self,
        first: &Expr<'t>,
        rest: impl Iterator<Item = (CompareOpKind, &'e Expr<'t>)>,
        known: &Known,
    ) {
        let mut left = (self.expr(first, known), self.place(first));
        for (op, expr) in rest {
            let right = (self.expr(expr, known), self.place(expr));
            if !operators::comparable(op, &left.0, &right.0) {
                let fault = Fault::Operator {
                    operator: canonical::comparison(op),
                    left: left.0,
                    right: Some(right.0.clone()),
                };
                self.flaw(left.1.start..right.1.end, fault);
            } else if let Some((span, fault)) = never_equal(&left, &right, self.text) {
                self.flaw(span, fault);
            }
            left = right;
        }
    }

    /// `a if condition else b`.
    pub(super) fn choice(&mut self, whole: &Expr<'_>, choice: &IfExpr<'_>, known: &Known) -> Type {
        self.condition(&choice.test_expr, known);
        let yes = self.expr(&choice.true_expr, &known.when(&choice.test_expr));
        match &choice.false_expr {
            Some(other) => yes.join(self.expr(other, &known.unless(&choice.test_expr))),
            None => {
                let span = self.place(whole);
                self.flaw(span, Fault::MissingElse)
            }
        }
    }
}

/// A constant nothing.
fn is_zero(expr: &Expr<'_>) -> bool {
    let number = |value: &Value| f64::try_from(value.clone()).ok();
    matches!(expr, Expr::Const(constant) if number(&constant.value) == Some(0.0))
}

/// A value with its place.
type Placed = (Type, Range<usize>);

/// An enum beside a constant text that is none of its words.
fn never_equal(left: &Placed, right: &Placed, text: &str) -> Option<(Range<usize>, Fault)> {
    let (words, span) = match (left.0.present(), right.0.present()) {
        (Type::Enum(words), Type::String(_)) => (words, right.1.clone()),
        (Type::String(_), Type::Enum(words)) => (words, left.1.clone()),
        _ => return None,
    };
    let quoted = text.get(span.clone())?;
    let word = quoted.strip_prefix(['\'', '"'])?.strip_suffix(['\'', '"'])?;
    let known = word.contains(['\'', '"', '\\']) || words.iter().any(|known| known == word);
    let fault = Fault::NeverEqual { word: word.to_owned(), words: Arc::clone(words) };
    (!known).then_some((span, fault))
}
