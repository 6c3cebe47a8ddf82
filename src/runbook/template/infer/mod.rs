//! The type of an expression, and everything in it that cannot be right.

mod calls;
mod literals;
mod operations;
mod paths;

use std::collections::BTreeSet;
use std::ops::Range;

use minijinja::Value;
use minijinja::machinery::ast::Expr;

use super::super::types::Type;
use super::canonical::canonical;
use super::known::Known;
use super::names::Names;
use super::{Fault, Flaw, Inferred, Template, place};

/// Infers what a template yields at step `here`. `own` allows the step's own output, as in `log`.
pub(crate) fn infer(
    template: &Template<'_>,
    names: &Names<'_>,
    here: usize,
    own: bool,
    known: &Known,
) -> Inferred {
    let mut walk = Walk::new(template.text(), names, here, own);
    if let Some(expr) = template.whole() {
        let ty = walk.expr(expr, known);
        let span = place::of(template.text(), expr);
        return walk.finish(ty, expr.as_const(), span);
    }
    for expr in template.expressions() {
        walk.printed(expr, known);
    }
    walk.finish(Type::built_text(), None, 0..template.text().len())
}

struct Walk<'w> {
    text: &'w str,
    names: &'w Names<'w>,
    here: usize,
    own: bool,
    /// Inside the operand of `is defined` or `default`: what may be absent or null is allowed.
    lenient: bool,
    divides: bool,
    flaws: Vec<Flaw>,
    steps: BTreeSet<usize>,
    inputs: BTreeSet<String>,
    /// How often `inputs` is named without a field behind it.
    whole_inputs: usize,
}

impl<'w> Walk<'w> {
    fn new(text: &'w str, names: &'w Names<'w>, here: usize, own: bool) -> Self {
        Self {
            text,
            names,
            here,
            own,
            lenient: false,
            divides: false,
            flaws: Vec::new(),
            steps: BTreeSet::new(),
            inputs: BTreeSet::new(),
            whole_inputs: 0,
        }
    }

    /// What has been learnt, as a whole.
    fn finish(self, ty: Type, constant: Option<Value>, span: Range<usize>) -> Inferred {
        Inferred {
            divides: self.divides && matches!(ty.present(), Type::Number(_)),
            ty,
            constant,
            span,
            flaws: self.flaws,
            steps: self.steps,
            inputs: self.inputs,
            all_inputs: self.whole_inputs > 0,
        }
    }

    /// Records a flaw; what has one can be anything.
    fn flaw(&mut self, span: Range<usize>, fault: Fault) -> Type {
        self.flaws.push(Flaw { span, fault });
        Type::Any
    }

    fn place(&self, expr: &Expr<'_>) -> Range<usize> {
        place::of(self.text, expr)
    }

    /// An expression in the middle of a text.
    fn printed(&mut self, expr: &Expr<'_>, known: &Known) {
        let ty = self.value(expr, known);
        if !ty.is_printable() {
            let span = self.place(expr);
            self.flaw(span, Fault::NotPrintable(ty));
        }
    }

    /// An expression that must have a value here: null will not do.
    fn value(&mut self, expr: &Expr<'_>, known: &Known) -> Type {
        let ty = self.expr(expr, known);
        if !matches!(ty, Type::Optional(_) | Type::Null) {
            return ty;
        }
        let (span, path) = (self.place(expr), canonical(expr));
        let present = match ty.present() {
            Type::Null => Type::Any,
            present => present.clone(),
        };
        self.flaw(span, Fault::MayBeNull(path));
        present
    }

    /// An expression that must be a boolean.
    fn condition(&mut self, expr: &Expr<'_>, known: &Known) {
        let ty = self.value(expr, known);
        if !matches!(ty, Type::Boolean | Type::Any) {
            let span = self.place(expr);
            self.flaw(span, Fault::NotCondition(ty));
        }
    }

    /// The type of an expression. What is lenient ends where a path ends.
    fn expr(&mut self, expr: &Expr<'_>, known: &Known) -> Type {
        let lenient = self.lenient;
        if !matches!(expr, Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_)) {
            self.lenient = false;
        }
        let ty = self.expr_of_any_kind(expr, known);
        self.lenient = lenient;
        match ty {
            Type::Optional(inner) if known.is_present(&canonical(expr)) => *inner,
            ty => ty,
        }
    }

    fn expr_of_any_kind(&mut self, expr: &Expr<'_>, known: &Known) -> Type {
        match expr {
            Expr::Var(var) => self.name(var.id, known),
            Expr::Const(constant) => literals::constant_type(&constant.value),
            Expr::GetAttr(get) => {
                let span = place::of_name(self.text, get.name);
                self.attribute(&get.expr, get.name, span, known)
            }
            Expr::GetItem(get) => self.item(get, known),
            Expr::Slice(slice) => {
                for bound in [&slice.start, &slice.stop, &slice.step].into_iter().flatten() {
                    self.expr(bound, known);
                }
                self.sliced(&slice.expr, known)
            }
            Expr::UnaryOp(op) => self.unary(op, known),
            Expr::BinOp(op) => self.binary(expr, op, known),
            Expr::Compare(compare) => {
                let rest = compare.ops.iter().map(|op| (op.op, &op.expr));
                self.compare(&compare.expr, rest, known);
                Type::Boolean
            }
            Expr::IfExpr(choice) => self.choice(expr, choice, known),
            Expr::Filter(filter) => self.filter(filter, known),
            Expr::Test(test) => self.test(test, known),
            Expr::Call(call) => {
                let start = self.place(&call.expr).start;
                let end = self.place(expr).end;
                self.flaw(start..end, Fault::FunctionCall)
            }
            Expr::List(list) => self.list(&list.items, known),
            Expr::Tuple(tuple) => self.list(&tuple.items, known),
            Expr::Map(map) => self.map(map, known),
        }
    }
}
