//! Inference of filters and tests.

use std::ops::Range;

use minijinja::machinery::ast::{CallArg, Expr, Filter, Test};

use super::super::super::types::Type;
use super::super::filters::ArgumentMismatch;
use super::super::filters::{self, FilterArgument, predicates};
use super::super::narrowing::Narrowing;
use super::super::{TemplateIssueKind, parts, span};
use super::Inference;

impl Inference<'_> {
    /// Infers the type of a filter applied to a value.
    pub(super) fn filter(&mut self, filter: &Filter<'_>, narrowing: &Narrowing) -> Type {
        let name = filter.name;
        let span = span::of_name(self.text, name);
        let input = match &filter.expr {
            // One that does not exist can be a misspelled `default`.
            Some(expr) if matches!(name, "default" | "d") || !filters::exists(name) => {
                self.infer_lenient(expr, narrowing)
            }
            Some(expr) => self.value(expr, narrowing),
            None => Type::text(),
        };
        let args: Vec<FilterArgument> =
            filter.args.iter().map(|arg| self.argument(arg, narrowing)).collect();
        if !filters::exists(name) {
            return self.add_issue(span, TemplateIssueKind::UnknownFilter(name.to_owned()));
        }
        match filters::apply(name, &input, &args) {
            Ok(ty) => {
                self.check_selection(name, &input, filter);
                ty
            }
            Err(mismatch) => {
                let span = self.span_of_argument(&filter.args, &mismatch).unwrap_or(span);
                self.add_issue(span, argument_issue("filter", name, mismatch))
            }
        }
    }

    /// Returns the span of an argument; of a string, without its quotes.
    fn span_of_argument(
        &self,
        args: &[CallArg<'_>],
        mismatch: &ArgumentMismatch,
    ) -> Option<Range<usize>> {
        let arg = args.get(mismatch.at?)?;
        let expr = span::argument(arg);
        let whole = self.span_of(expr);
        if mismatch.is_name {
            return Some(match arg {
                CallArg::Kwarg(name, _) => span::of_name(self.text, name),
                // The whole argument is to be replaced: it has no name.
                _ => whole,
            });
        }
        Some(match expr {
            Expr::Const(constant) => match constant.value.as_str() {
                Some(text) => super::paths::inner_of_quotes(self.text, whole, text),
                None => whole,
            },
            _ => whole,
        })
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
            name if !predicates::NAMES.contains(&name) => self.infer_lenient(&test.expr, narrowing),
            _ => self.value(&test.expr, narrowing),
        };
        let args: Vec<FilterArgument> =
            test.args.iter().map(|arg| self.argument(arg, narrowing)).collect();
        let span = span::of_name(self.text, test.name);
        if !predicates::NAMES.contains(&test.name) {
            self.add_issue(span, TemplateIssueKind::UnknownTest(test.name.to_owned()));
        } else if let Err(mismatch) = predicates::check(test.name, &input, &args) {
            let span = self.span_of_argument(&test.args, &mismatch).unwrap_or(span);
            self.add_issue(span, argument_issue("test", test.name, mismatch));
        } else {
            self.check_test(test.name, &input, test.args.first());
        }
        Type::Boolean
    }

    /// Checks the words that items, or a field of theirs, are compared with, as in `selectattr('status', 'eq', 'x')`.
    fn check_selection(&mut self, name: &str, input: &Type, filter: &Filter<'_>) {
        let Type::List(of, _) = input else { return };
        let mut args = filter.args.iter();
        let of = match name {
            "select" | "reject" => (**of).clone(),
            "selectattr" | "rejectattr" => {
                let field = args.next().map(span::argument).and_then(parts::word);
                match (of.non_null(), field) {
                    (Type::Record(record), Some(field)) => match record.field(field) {
                        Some(field) => field.ty.clone(),
                        None => return,
                    },
                    (Type::Map(of, _), _) => (**of).clone(),
                    _ => return,
                }
            }
            _ => return,
        };
        if let Some(test) = args.next().map(span::argument).and_then(parts::word) {
            self.check_test(test, &of, args.next());
        }
    }

    /// Checks the words that a test compares an enum with.
    fn check_test(&mut self, name: &str, input: &Type, arg: Option<&CallArg<'_>>) {
        let Some(expr) = arg.map(span::argument) else { return };
        match name {
            "eq" | "equalto" | "ne" => self.check_words(input, [expr]),
            "in" => self.check_words(input, parts::items(expr).unwrap_or_default()),
            _ => {}
        }
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
