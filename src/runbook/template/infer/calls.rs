//! Filters and tests with their arguments.

use minijinja::machinery::ast::{CallArg, Expr, Filter, Test};

use super::super::super::types::Type;
use super::super::filters::Unfit;
use super::super::filters::{self, Argument, predicates};
use super::super::known::Known;
use super::super::{Fault, place};
use super::Walk;

impl Walk<'_> {
    /// What a filter yields of what stands before it.
    pub(super) fn filter(&mut self, filter: &Filter<'_>, known: &Known) -> Type {
        let name = filter.name;
        let span = place::of_name(self.text, name);
        let input = match &filter.expr {
            Some(expr) if matches!(name, "default" | "d") => self.leniently(expr, known),
            Some(expr) => self.value(expr, known),
            None => Type::text(),
        };
        let args: Vec<Argument> = filter.args.iter().map(|arg| self.argument(arg, known)).collect();
        if !filters::exists(name) {
            return self.flaw(span, Fault::UnknownFilter(name.to_owned()));
        }
        match filters::apply(name, &input, &args) {
            Ok(ty) => ty,
            Err(unfit) => self.flaw(span, unfit_fault("filter", name, unfit)),
        }
    }

    /// An argument of a filter.
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

    /// A test is a boolean, whatever it finds.
    pub(super) fn test(&mut self, test: &Test<'_>, known: &Known) -> Type {
        let input = match test.name {
            "defined" | "undefined" => self.leniently(&test.expr, known),
            "none" => self.expr(&test.expr, known),
            _ => self.value(&test.expr, known),
        };
        let args: Vec<Argument> = test.args.iter().map(|arg| self.argument(arg, known)).collect();
        let span = place::of_name(self.text, test.name);
        if !predicates::NAMES.contains(&test.name) {
            self.flaw(span, Fault::UnknownTest(test.name.to_owned()));
        } else if let Err(unfit) = predicates::judge(test.name, &input, &args) {
            self.flaw(span, unfit_fault("test", test.name, unfit));
        }
        Type::Boolean
    }
}

fn unfit_fault(what: &'static str, name: &str, unfit: Unfit) -> Fault {
    Fault::Argument { what, name: name.to_owned(), wanted: unfit.wanted, found: unfit.found }
}
