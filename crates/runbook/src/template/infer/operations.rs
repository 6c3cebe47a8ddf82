//! Inference of operators, comparisons and conditional expressions.

use std::ops::Range;
use std::sync::Arc;

use minijinja::Value;
use minijinja::machinery::ast::{
    BinOp, BinOpKind, CompareOpKind, Expr, IfExpr, UnaryOp, UnaryOpKind,
};

use super::super::super::types::Type;
use super::super::narrowing::Narrowing;
use super::super::{TemplateIssueKind, canonical, filters, operators, parts};
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
    pub(super) fn binary(&mut self, op: &BinOp<'_>, narrowing: &Narrowing) -> Type {
        match op.op {
            BinOpKind::ScAnd => return self.both(op, &narrowing.assuming(&op.left), narrowing),
            BinOpKind::ScOr => return self.both(op, &narrowing.assuming_not(&op.left), narrowing),
            _ => {}
        }
        if let Some(comparison) = operators::comparison(op.op) {
            self.compare(&op.left, [(comparison, &op.right)].into_iter(), narrowing);
            return Type::Boolean;
        }
        let before = self.issues.len();
        let (left, right) = (self.value(&op.left, narrowing), self.value(&op.right, narrowing));
        if let Some((span, kind)) = self.hyphen(op, &left, &right, before) {
            self.issues.truncate(before);
            return self.add_issue(span, kind);
        }
        self.divides |= matches!(op.op, BinOpKind::Div);
        let divides = matches!(op.op, BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem);
        if divides && is_zero(&op.right) {
            let span = self.span_of(&op.right);
            return self.add_issue(span, TemplateIssueKind::DivisionByZero);
        }
        if let Some(ty) = operators::binary(op.op, &left, &right) {
            return ty;
        }
        let operator = canonical::binary(op.op);
        let span = self.span_of_operator(&self.span_of(&op.left), &self.span_of(&op.right));
        self.add_issue(span, TemplateIssueKind::Operator { operator, left, right: Some(right) })
    }

    /// Infers `and` and `or`.
    fn both(&mut self, op: &BinOp<'_>, then: &Narrowing, narrowing: &Narrowing) -> Type {
        let issues = self.issues.len();
        let (left, right) = (self.expr(&op.left, narrowing), self.expr(&op.right, then));
        let is_condition = |ty: &Type| matches!(ty, Type::Boolean | Type::Any);
        if self.issues.len() > issues || is_condition(&left) && is_condition(&right) {
            return Type::Boolean;
        }
        match (is_condition(&left), is_condition(&right)) {
            (false, false) => {
                let span = self.span_of_operator(&self.span_of(&op.left), &self.span_of(&op.right));
                let operator = canonical::binary(op.op);
                let kind = TemplateIssueKind::Operator { operator, left, right: Some(right) };
                self.add_issue(span, kind);
            }
            (false, true) => self.not_condition(&op.left, left),
            (true, _) => self.not_condition(&op.right, right),
        }
        Type::Boolean
    }

    /// Returns the span of the operator between two operands.
    pub(super) fn span_of_operator(
        &self,
        left: &Range<usize>,
        right: &Range<usize>,
    ) -> Range<usize> {
        let between = self.text.get(left.end..right.start).unwrap_or_default();
        // A bracket belongs to an operand.
        let is_blank = |c: char| c.is_whitespace() || matches!(c, '(' | ')');
        let start = left.end + (between.len() - between.trim_start_matches(is_blank).len());
        let length = between.trim_matches(is_blank).len();
        match length {
            0 => left.start..right.end,
            length => start..start + length,
        }
    }

    /// Infers a chain such as `a < b <= c`, pair by pair.
    pub(super) fn compare<'e, 't: 'e>(
        &mut self,
        first: &Expr<'t>,
        rest: impl Iterator<Item = (CompareOpKind, &'e Expr<'t>)>,
        narrowing: &Narrowing,
    ) {
        let mut left = (self.expr(first, narrowing), self.span_of(first));
        let mut before = first;
        for (op, expr) in rest {
            let found = self.issues.len();
            let right = match self.word_of_enum(&left.0, expr) {
                Some(issue) => {
                    let span = self.span_of(expr);
                    (self.add_issue(span.clone(), issue), span)
                }
                None => (self.expr(expr, narrowing), self.span_of(expr)),
            };
            if !operators::is_comparable(op, &left.0, &right.0) {
                let present = (left.0.non_null().clone(), right.0.non_null().clone());
                if operators::is_comparable(op, &present.0, &present.1) {
                    // Only null has no order.
                    let is_left = matches!(left.0, Type::Optional(_));
                    let null = if is_left { before } else { expr };
                    let span = self.span_of(null);
                    let path = canonical::canonical(null);
                    self.add_issue(span, TemplateIssueKind::PossiblyNull(path));
                } else {
                    let span = self.span_of_operator(&left.1, &right.1);
                    let kind = TemplateIssueKind::Operator {
                        operator: canonical::comparison(op),
                        left: left.0,
                        right: Some(right.0.clone()),
                    };
                    self.add_issue(span, kind);
                }
            } else if let Some((span, kind)) = never_equal(&left, &right, self.text) {
                self.add_issue(span, kind);
            } else {
                self.compare_words(&left.0, op, expr);
                if let (CompareOpKind::In, Type::List(of, _)) = (op, &right.0) {
                    let right = ((**of).clone(), right.1.clone());
                    if let Some((span, kind)) = never_equal(&left, &right, self.text) {
                        self.add_issue(span, kind);
                    }
                }
            }
            // The operand between two comparisons is one mistake.
            left = if self.issues.len() > found { (Type::Any, right.1) } else { right };
            before = expr;
        }
    }

    /// Returns the issue of a word of an enum that is written without quotes.
    fn word_of_enum(&self, ty: &Type, expr: &Expr<'_>) -> Option<TemplateIssueKind> {
        let (Type::Enum(values), Expr::Var(var)) = (ty.non_null(), expr) else { return None };
        let is_word = values.iter().any(|value| value == var.id);
        let is_name = var.id == "inputs" || self.symbols.steps.contains_key(var.id);
        (is_word && !is_name).then(|| TemplateIssueKind::UnquotedWord(var.id.to_owned()))
    }

    /// Checks the words of a list such as `['a', 'b']` against the enum that is looked for in it.
    fn compare_words(&mut self, left: &Type, op: CompareOpKind, list: &Expr<'_>) {
        if matches!(op, CompareOpKind::In | CompareOpKind::NotIn) {
            self.check_words(left, parts::items(list).unwrap_or_default());
        }
    }

    /// Reports the constant words that an enum does not have.
    pub(super) fn check_words<'e, 't: 'e>(
        &mut self,
        ty: &Type,
        exprs: impl IntoIterator<Item = &'e Expr<'t>>,
    ) {
        let Type::Enum(values) = ty.non_null() else { return };
        for expr in exprs {
            let Some(word) = parts::word(expr) else { continue };
            if values.iter().all(|value| value != word) {
                let (word, values) = (word.to_owned(), Arc::clone(values));
                let span = self.span_of(expr);
                self.add_issue(span, TemplateIssueKind::NeverEqual { word, values });
            }
        }
    }

    /// Infers `a if condition else b`.
    pub(super) fn choice(&mut self, choice: &IfExpr<'_>, narrowing: &Narrowing) -> Type {
        self.condition(&choice.test_expr, narrowing);
        let yes = self.expr(&choice.true_expr, &narrowing.assuming(&choice.test_expr));
        if let Some(other) = &choice.false_expr {
            let no = self.expr(other, &narrowing.assuming_not(&choice.test_expr));
            return match (parts::word(&choice.true_expr), parts::word(other)) {
                (Some(one), Some(two)) => Type::words(&[one, two]),
                (Some(word), None) => no.join_word(word),
                (None, Some(word)) => yes.join_word(word),
                (None, None) => yes.join(no),
            };
        }
        // The word 'if'.
        let (yes, test) = (self.span_of(&choice.true_expr), self.span_of(&choice.test_expr));
        let span = self.span_of_operator(&yes, &test);
        self.add_issue(span, TemplateIssueKind::MissingElse)
    }
}

/// Whether an expression is zero in every run: `0`, `1 - 1`, or the length of something that is written down empty.
fn is_zero(expr: &Expr<'_>) -> bool {
    let number = |value: Value| f64::try_from(value).ok();
    match expr {
        Expr::Filter(filter) if matches!(filter.name, "length" | "count") => {
            let of = filter.expr.as_ref().and_then(Expr::as_const);
            of.is_some_and(|of| of.len() == Some(0))
        }
        other => other.as_const().and_then(number) == Some(0.0),
    }
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
