//! Inference of filters and tests.

use minijinja::machinery::ast::{CallArg, Expr, Filter, Test};

use super::super::super::types::Type;
use super::super::filters::ArgumentMismatch;
use super::super::filters::{self, FilterArgument, predicates};
use super::super::narrowing::Narrowing;
use super::super::{TemplateIssueKind, span};
use super::Inference;

impl Inference<'_> {
    /// Infers the type of a filter applied to a value.
    pub(super) fn filter(&mut self, filter: &Filter<'_>, narrowing: &Narrowing) -> Type {
        let name = filter.name;
        let span = span::of_name(self.text, name);
        let input = match &filter.expr {
            Some(expr) if matches!(name, "default" | "d") => self.infer_lenient(expr, narrowing),
            Some(expr) => self.value(expr, narrowing),
            None => Type::text(),
        };
        let args: Vec<FilterArgument> =
            filter.args.iter().map(|arg| self.argument(arg, narrowing)).collect();
        if !filters::exists(name) {
            return self.add_issue(span, TemplateIssueKind::UnknownFilter(name.to_owned()));
        }
        match filters::apply(name, &input, &args) {
            Ok(ty) => ty,
            Err(mismatch) => self.add_issue(span, argument_issue("filter", name, mismatch)),
        }
    }

    /// Infers an argument of a filter.
    pub(super) fn argument(&mut self, arg: &CallArg<'_>, narrowing: &Narrowing) -> FilterArgument {
        let expr = span::argument(arg);
        let name = match arg {
            CallArg::Kwarg(name, _) => Some((*name).to_owned()),
            _ => None,
        };
        let word = match expr {
            Expr::Const(constant) => constant.value.as_str().map(str::to_owned),
            _ => None,
        };
        let ty = self.expr(expr, narrowing);
        FilterArgument { name, ty, word }
    }

    /// Infers a test, which is always a boolean.
    pub(super) fn test(&mut self, test: &Test<'_>, narrowing: &Narrowing) -> Type {
        let input = match test.name {
            "defined" | "undefined" => self.infer_lenient(&test.expr, narrowing),
            "none" => self.expr(&test.expr, narrowing),
            _ => self.value(&test.expr, narrowing),
        };
        let args: Vec<FilterArgument> =
            test.args.iter().map(|arg| self.argument(arg, narrowing)).collect();
        let span = span::of_name(self.text, test.name);
        if !predicates::NAMES.contains(&test.name) {
            self.add_issue(span, TemplateIssueKind::UnknownTest(test.name.to_owned()));
        } else if let Err(mismatch) = predicates::check(test.name, &input, &args) {
            self.add_issue(span, argument_issue("test", test.name, mismatch));
        }
        Type::Boolean
    }
}

fn argument_issue(what: &'static str, name: &str, mismatch: ArgumentMismatch) -> TemplateIssueKind {
    TemplateIssueKind::InvalidArgument {
        what,
        name: name.to_owned(),
        wanted: mismatch.wanted,
        found: mismatch.found,
    }
}
