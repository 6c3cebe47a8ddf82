//! Infers the type of an expression, and collects its issues.

mod calls;
mod hyphen;
mod literals;
mod operations;
mod paths;

use std::collections::BTreeSet;
use std::ops::Range;

use minijinja::Value;
use minijinja::machinery::ast::Expr;

use super::super::types::Type;
use super::canonical::canonical;
use super::narrowing::Narrowing;
use super::symbols::SymbolTable;
use super::{Inferred, Template, TemplateIssue, TemplateIssueKind, span};

/// The names that a template can use, besides the inputs and the outputs of earlier steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// None.
    Earlier,
    /// `each`, as in `with`.
    Each,
    /// `each`, and the step's own output, as in `log`.
    EachAndOwn,
}

/// Infers the type of a template at step `current_step`.
pub(crate) fn infer(
    template: &Template<'_>,
    symbols: &SymbolTable<'_>,
    current_step: usize,
    names: Names,
    narrowing: &Narrowing,
) -> Inferred {
    let mut inference = Inference::new(template.text(), symbols, current_step, names);
    if let Some(expr) = template.whole() {
        let ty = inference.expr(expr, narrowing);
        let span = span::with_bracket(template.text(), span::of_expr(template.text(), expr));
        return inference.finish(ty, expr.as_const(), span);
    }
    let expressions = template.expressions();
    let parts = expressions.map(|expr| inference.check_printable(expr, narrowing)).collect();
    let inferred = inference.finish(Type::built_text(), None, 0..template.text().len());
    Inferred { parts, ..inferred }
}

/// Returns the type of a part of a template at step `current_step`, where every value is taken to be there.
pub(crate) fn type_of(
    text: &str,
    expr: &Expr<'_>,
    symbols: &SymbolTable<'_>,
    current_step: usize,
    names: Names,
) -> Type {
    let mut inference = Inference::new(text, symbols, current_step, names);
    inference.infer_lenient(expr, &Narrowing::default())
}

struct Inference<'w> {
    text: &'w str,
    symbols: &'w SymbolTable<'w>,
    current_step: usize,
    names: Names,
    /// Whether the expression is an operand of `is defined` or `default`, where a value may be absent or
    /// null.
    lenient: bool,
    divides: bool,
    issues: Vec<TemplateIssue>,
    steps: BTreeSet<usize>,
    /// Those of `steps` without whose output the expression has no value.
    required_steps: BTreeSet<usize>,
    inputs: BTreeSet<String>,
    /// How often `inputs` is used without a field.
    whole_inputs: usize,
}

impl<'w> Inference<'w> {
    fn new(text: &'w str, symbols: &'w SymbolTable<'w>, current_step: usize, names: Names) -> Self {
        Self {
            text,
            symbols,
            current_step,
            names,
            lenient: false,
            divides: false,
            issues: Vec::new(),
            steps: BTreeSet::new(),
            required_steps: BTreeSet::new(),
            inputs: BTreeSet::new(),
            whole_inputs: 0,
        }
    }

    /// Returns the result of the inference.
    fn finish(self, ty: Type, constant: Option<Value>, span: Range<usize>) -> Inferred {
        Inferred {
            divides: self.divides && matches!(ty.non_null(), Type::Number(_)),
            ty,
            constant,
            parts: Vec::new(),
            span,
            issues: self.issues,
            steps: self.steps,
            required_steps: self.required_steps,
            inputs: self.inputs,
            all_inputs: self.whole_inputs > 0,
        }
    }

    /// Records an issue; an expression with an issue has the type `Any`.
    fn add_issue(&mut self, span: Range<usize>, kind: TemplateIssueKind) -> Type {
        self.issues.push(TemplateIssue { span, kind });
        Type::Any
    }

    fn span_of(&self, expr: &Expr<'_>) -> Range<usize> {
        span::of_expr(self.text, expr)
    }

    /// Infers the type of an expression inside a text.
    fn check_printable(&mut self, expr: &Expr<'_>, narrowing: &Narrowing) -> Type {
        let before = self.issues.len();
        let ty = self.value(expr, narrowing);
        // The type of what has an issue is not known.
        if ty.is_printable() || self.issues.len() > before {
            return ty;
        }
        let span = self.span_of(expr);
        self.add_issue(span, TemplateIssueKind::NotPrintable(ty))
    }

    /// Infers an expression that must not be null.
    fn value(&mut self, expr: &Expr<'_>, narrowing: &Narrowing) -> Type {
        let ty = self.expr(expr, narrowing);
        if !matches!(ty, Type::Optional(_) | Type::Null) {
            return ty;
        }
        let (span, path) = (self.span_of(expr), canonical(expr));
        let present = match ty.non_null() {
            Type::Null => Type::Any,
            present => present.clone(),
        };
        match span::of_null_default(self.text, expr) {
            Some(none) => self.add_issue(none, TemplateIssueKind::NullDefault),
            None => self.add_issue(span, TemplateIssueKind::PossiblyNull(path)),
        };
        present
    }

    /// Infers an expression that must be a boolean.
    fn condition(&mut self, expr: &Expr<'_>, narrowing: &Narrowing) {
        match self.expr(expr, narrowing) {
            Type::Boolean | Type::Any => {}
            Type::Optional(of) if *of == Type::Boolean => {
                let (span, path) = (self.span_of(expr), canonical(expr));
                self.add_issue(span, TemplateIssueKind::PossiblyNull(path));
            }
            ty => self.not_condition(expr, ty),
        }
    }

    fn not_condition(&mut self, expr: &Expr<'_>, ty: Type) {
        let span = self.span_of(expr);
        self.add_issue(span, TemplateIssueKind::NotCondition(ty));
    }

    /// Infers the type of an expression. Leniency applies to the path only.
    fn expr(&mut self, expr: &Expr<'_>, narrowing: &Narrowing) -> Type {
        let lenient = self.lenient;
        if !matches!(expr, Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_)) {
            self.lenient = false;
        }
        let ty = self.infer_variant(expr, narrowing);
        self.lenient = lenient;
        match ty {
            Type::Optional(inner) if narrowing.is_present(&canonical(expr)) => *inner,
            ty => ty,
        }
    }

    fn infer_variant(&mut self, expr: &Expr<'_>, narrowing: &Narrowing) -> Type {
        match expr {
            Expr::Var(var) => self.name(var.id, narrowing),
            Expr::Const(constant) => match constant.value.as_str().and_then(|text| self.path(text))
            {
                Some(path) => {
                    let span = self.span_of(expr);
                    self.add_issue(span, TemplateIssueKind::QuotedPath(path))
                }
                None => literals::constant_type(&constant.value),
            },
            Expr::GetAttr(get) => {
                let span = span::of_name(self.text, get.name);
                self.attribute(&get.expr, get.name, span, narrowing)
            }
            Expr::GetItem(get) => self.item(expr, get, narrowing),
            Expr::Slice(slice) => {
                for bound in [&slice.start, &slice.stop, &slice.step].into_iter().flatten() {
                    self.expr(bound, narrowing);
                }
                self.sliced(&slice.expr, narrowing)
            }
            Expr::UnaryOp(op) => self.unary(op, narrowing),
            Expr::BinOp(op) => self.binary(op, narrowing),
            Expr::Compare(compare) => {
                let rest = compare.ops.iter().map(|op| (op.op, &op.expr));
                self.compare(&compare.expr, rest, narrowing);
                Type::Boolean
            }
            Expr::IfExpr(choice) => self.choice(choice, narrowing),
            Expr::Filter(filter) => self.filter(filter, narrowing),
            Expr::Test(test) => self.test(test, narrowing),
            Expr::Call(call) => {
                let end = self.span_of(expr).end;
                let start = match &call.expr {
                    // The method, and not what it is called on.
                    Expr::GetAttr(get) => span::of_name(self.text, get.name).start,
                    other => self.span_of(other).start,
                };
                let whole = self.span_of(&call.expr).start..end;
                let text = self.text.get(whole).unwrap_or_default().to_owned();
                self.add_issue(start..end.max(start), TemplateIssueKind::FunctionCall(text))
            }
            Expr::List(list) => self.list(&list.items, narrowing),
            Expr::Tuple(tuple) => self.list(&tuple.items, narrowing),
            Expr::Map(map) => self.map(map, narrowing),
        }
    }
}
