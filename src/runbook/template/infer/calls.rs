//! Filters and tests with their arguments.

use minijinja::machinery::ast::{CallArg, Expr, Filter, Test};

use super::super::super::types::Type;
use super::super::filters::{self, Argument, FILTERS, TESTS};
use super::super::known::Known;
use super::super::{Fault, place};
use super::Walk;

impl Walk<'_> {
    pub(super) fn filter(&mut self, filter: &Filter<'_>, known: &Known) -> Type {
        let name = filter.name;
        let span = place::of_name(self.text, name);
        let input = match &filter.expr {
            Some(expr) if matches!(name, "default" | "d") => self.leniently(expr, known),
            Some(expr) => self.value(expr, known),
            None => Type::text(),
        };
        let args: Vec<Argument> = filter
            .args
            .iter()
            .map(|arg| self.argument(arg, known))
            .collect();
        if !FILTERS.contains(&name) {
            return self.flaw(span, Fault::UnknownFilter(name.to_owned()));
        }
        match filters::apply(name, &input, &args) {
            Ok(ty) => ty,
            Err(unfit) => self.flaw(
                span,
                Fault::Argument {
                    filter: name.to_owned(),
                    wanted: unfit.wanted,
                    found: unfit.found,
                },
            ),
        }
    }

    pub(super) fn argument(&mut self, arg: &CallArg<'_>, known: &Known) -> Argument {
        let expr = place::argument(arg);
        let name = match arg {
            CallArg::Kwarg(name, _) => Some((*name).to_owned()),
            _ => None,
        };
        let word = match expr {
            Expr::Const(constant) => constant.value.as_str().map(str::to_owned),
            _ => None,
        };
        let ty = self.expr(expr, known);
        Argument { name, ty, word }
    }

    pub(super) fn test(&mut self, test: &Test<'_>, known: &Known) -> Type {
        match test.name {
            "defined" | "undefined" => {
                self.leniently(&test.expr, known);
            }
            "none" => {
                self.expr(&test.expr, known);
            }
            _ => {
                self.value(&test.expr, known);
            }
        }
        for arg in &test.args {
            self.expr(place::argument(arg), known);
        }
        if !TESTS.contains(&test.name) {
            let span = place::of_name(self.text, test.name);
            self.flaw(span, Fault::UnknownTest(test.name.to_owned()));
        }
        Type::Boolean
    }
}
