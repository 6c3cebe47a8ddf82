//! Names, fields and items: the way from `inputs` or a step to a value.

use std::ops::Range;
use std::sync::Arc;

use minijinja::machinery::ast::{Expr, GetItem};

use super::super::super::types::{Lengths, Record, Type};
use super::super::canonical::canonical;
use super::super::known::Known;
use super::super::{Fault, place};
use super::Walk;

impl Walk<'_> {
    /// A bare name: `inputs`, or a step.
    pub(super) fn name(&mut self, name: &str, known: &Known) -> Type {
        if name == "inputs" {
            self.whole_inputs += 1;
            return Type::Record(Arc::clone(&self.names.inputs));
        }
        let span = place::of_name(self.text, name);
        let Some(&step) = self.names.steps.get(name) else {
            return self.flaw(span, Fault::UnknownName(name.to_owned()));
        };
        if step > self.here {
            return self.flaw(span, Fault::LaterStep(step));
        }
        if step == self.here && !self.own {
            return self.flaw(span, Fault::OwnOutput(step));
        }
        self.steps.insert(step);
        let output = &self.names.outputs[step];
        // A step's own `log` is only written after success, so its own output is there.
        let sure = step == self.here
            || !output.absence.is_possible()
            || self.lenient
            || known.has_output(name, &output.absence);
        if !sure {
            let absence = output.absence.clone();
            self.flaw(span, Fault::MayBeAbsent { step, absence });
        }
        output.record.clone().map_or(Type::Any, Type::Record)
    }

    /// `of.name`, or `of['name']`.
    pub(super) fn attribute(
        &mut self,
        of: &Expr<'_>,
        name: &str,
        span: Range<usize>,
        known: &Known,
    ) -> Type {
        let base = if self.lenient {
            self.expr(of, known).present().clone()
        } else {
            self.value(of, known)
        };
        if matches!(of, Expr::Var(root) if root.id == "inputs") {
            self.inputs.insert(name.to_owned());
            self.whole_inputs -= 1;
        }
        match base {
            Type::Record(record) => match record.field(name) {
                Some(field) if field.required || field.default.is_some() => field.ty.clone(),
                Some(field) => field.ty.clone().or_null(),
                None => {
                    let fault = self.unknown_field(of, name, record);
                    self.flaw(span, fault)
                }
            },
            Type::Map(of, _) => *of,
            Type::Any => Type::Any,
            ty => self.flaw(span, Fault::NoFields { name: name.to_owned(), ty }),
        }
    }

    /// What to say of a field that is not there: an input, an output, or something within.
    pub(super) fn unknown_field(&self, of: &Expr<'_>, name: &str, record: Arc<Record>) -> Fault {
        let root = match of {
            Expr::Var(var) => var.id,
            _ => "",
        };
        if root == "inputs" {
            return Fault::UnknownInput(name.to_owned());
        }
        Fault::UnknownField {
            step: self.names.steps.get(root).copied(),
            path: canonical(of),
            name: name.to_owned(),
            record,
        }
    }

    /// `of[subscript]`.
    pub(super) fn item(&mut self, get: &GetItem<'_>, known: &Known) -> Type {
        if let Expr::Const(constant) = &get.subscript_expr
            && let Some(name) = constant.value.as_str()
        {
            let span = inner_of_quotes(self.text, self.place(&get.subscript_expr), name);
            return self.attribute(&get.expr, name, span, known);
        }
        let lenient = std::mem::take(&mut self.lenient);
        let subscript = self.value(&get.subscript_expr, known);
        self.lenient = lenient;
        let base = if lenient {
            self.expr(&get.expr, known).present().clone()
        } else {
            self.value(&get.expr, known)
        };
        let (wanted, fits, of) = match base {
            Type::List(of, _) => ("an integer", matches!(subscript, Type::Integer(_)), *of),
            Type::Map(of, _) => ("a string", subscript.is_text(), *of),
            Type::Record(_) => ("a string", subscript.is_text(), Type::Any),
            Type::Any => return Type::Any,
            other => {
                let span = self.place(&get.expr);
                return self.flaw(span, Fault::NotSubscriptable(other));
            }
        };
        if fits || subscript == Type::Any {
            return of;
        }
        let span = self.place(&get.subscript_expr);
        let found = subscript;
        self.flaw(span, Fault::Subscript { wanted, found })
    }

    /// `of[1:3]`.
    pub(super) fn sliced(&mut self, of: &Expr<'_>, known: &Known) -> Type {
        match self.value(of, known) {
            Type::List(of, _) => Type::List(of, Lengths::ANY),
            Type::Any => Type::Any,
            text if text.is_text() => Type::built_text(),
            other => {
                let span = self.place(of);
                self.flaw(span, Fault::NotSubscriptable(other))
            }
        }
    }

    /// A path that may lead nowhere.
    pub(super) fn leniently(&mut self, expr: &Expr<'_>, known: &Known) -> Type {
        let before = std::mem::replace(&mut self.lenient, true);
        let ty = self.expr(expr, known);
        self.lenient = before;
        ty
    }
}

/// Inside `'name'`, the name.
fn inner_of_quotes(text: &str, quoted: Range<usize>, name: &str) -> Range<usize> {
    match text.get(quoted.clone()).and_then(|quoted| quoted.find(name)) {
        Some(at) => quoted.start + at..quoted.start + at + name.len(),
        None => quoted,
    }
}
