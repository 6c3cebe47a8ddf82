//! Inference of filters and tests.

use std::ops::Range;

use minijinja::machinery::ast::{CallArg, Expr, Filter, Test};

use super::super::super::types::Type;
use super::super::canonical::canonical;
use super::super::filters::ArgumentMismatch;
use super::super::filters::{self, FilterArgument, predicates};
use super::super::narrowing::Narrowing;
use super::super::{SyntaxProblem, TemplateIssueKind, operators, parts, span};
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
        // The other filters take names of fields, of filters and of tests, and signs.
        let takes_values = matches!(name, "default" | "d");
        let before = self.issues.len();
        let args = filter.args.iter().map(|arg| self.argument(arg, takes_values, narrowing));
        let args: Vec<FilterArgument> = args.collect();
        if self.issues.len() > before && filters::exists(name) && !takes_values {
            return Type::Any;
        }
        if !filters::exists(name) {
            return self.add_issue(span, TemplateIssueKind::UnknownFilter(name.to_owned()));
        }
        match filters::apply(name, &input, &args) {
            Ok(ty) => {
                self.check_selection(name, &input, filter, &args);
                ty
            }
            Err(mismatch) => {
                if let Some((span, kind)) = self.null_items(filter, &input, &args) {
                    return self.add_issue(span, kind);
                }
                if let Some((span, problem)) = self.missing_comma(&filter.args) {
                    return self.add_issue(span, TemplateIssueKind::Syntax(Box::new(problem)));
                }
                let help = self.usage(filter, &input, &args, &mismatch);
                let span = self.span_of_argument(&filter.args, &mismatch).unwrap_or(span);
                self.add_issue(span, argument_issue("filter", name, mismatch, help))
            }
        }
    }

    /// Returns the issue of items that may be null, if the filter accepts the others.
    fn null_items(
        &self,
        filter: &Filter<'_>,
        input: &Type,
        args: &[FilterArgument],
    ) -> Option<(Range<usize>, TemplateIssueKind)> {
        let Type::List(of, _) = input else { return None };
        let Type::Optional(of) = &**of else { return None };
        filters::apply(filter.name, &Type::list((**of).clone()), args).ok()?;
        let items = filter.expr.as_ref()?;
        let step = match items {
            Expr::Var(var) => self.symbols.steps.get(var.id),
            _ => None,
        };
        let output = step.and_then(|step| self.symbols.outputs.get(*step));
        let span = self.span_of(items);
        let kind = TemplateIssueKind::NullItems {
            path: canonical(items),
            filter: self.text.get(self.span_of_call(filter)).unwrap_or(filter.name).to_owned(),
            is_loop: output.is_some_and(|output| output.items.is_some()),
        };
        Some((span, kind))
    }

    /// Returns the place between two texts in quotes that follow each other, which minijinja joins to one.
    fn missing_comma(&self, args: &[CallArg<'_>]) -> Option<(Range<usize>, SyntaxProblem)> {
        args.iter().find_map(|arg| {
            let Expr::Const(constant) = span::argument(arg) else { return None };
            constant.value.as_str()?;
            let whole = self.span_of(span::argument(arg));
            let written = self.text.get(whole.clone())?;
            let quote = written.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
            let first =
                written.get(1..)?.split(quote).next().filter(|text| !text.contains('\\'))?;
            let end = first.len() + 2;
            let second = written.get(end..)?.trim_start();
            let shown = |text: &str| text.len() <= 60;
            if !second.starts_with(['\'', '"']) || !shown(written) {
                return None;
            }
            let first = written.get(..end)?;
            let problem = SyntaxProblem {
                message: format!("a comma is missing between {first} and {second}"),
                help: Some(format!("write {first}, {second}")),
                suggestion: Some(format!("{first}, {second}")),
            };
            Some((whole, problem))
        })
    }

    /// Returns the span of a filter with its arguments.
    fn span_of_call(&self, filter: &Filter<'_>) -> Range<usize> {
        let name = span::of_name(self.text, filter.name);
        let after = filter.args.last().map_or(name.end, |last| {
            let end = self.span_of(span::argument(last)).end;
            let rest = self.text.get(end..).unwrap_or_default();
            end + rest.find(')').map_or(0, |at| at + 1)
        });
        name.start..after.max(name.end)
    }

    /// Returns how a filter is written, for an argument that it does not have.
    fn usage(
        &self,
        filter: &Filter<'_>,
        input: &Type,
        args: &[FilterArgument],
        mismatch: &ArgumentMismatch,
    ) -> Option<String> {
        let name = filter.name;
        let is_of_records =
            matches!(input, Type::List(of, _) if matches!(of.non_null(), Type::Record(_)));
        if name == "join" && args.len() == 2 && !is_of_records {
            let separator = args.first().and_then(|arg| arg.word.as_deref()).unwrap_or(", ");
            return Some(format!(
                "write join('{separator}'): the second argument is the name of a field of records"
            ));
        }
        if mismatch.is_fieldless {
            return Some(self.without_field(filter));
        }
        if mismatch.at.is_none() && !mismatch.is_name && !mismatch.is_count {
            return self.conversion(filter, input, args);
        }
        let is_about_arguments = mismatch.is_name || mismatch.at.is_none() && mismatch.is_count;
        if !is_about_arguments {
            return None;
        }
        // `map('name')`: what is wanted is what to write.
        if name == "map" && mismatch.wanted.ends_with('\'') {
            return Some(format!("write map({})", mismatch.wanted));
        }
        // `join(sep=', ')`: the value is right, and has no name.
        let is_only = args.len() == 1 && filters::takes_positional(name);
        let value = filter.args.first().map(|arg| self.span_of(span::argument(arg)));
        let value = value.filter(|_| is_only && mismatch.is_name);
        match value.and_then(|value| self.text.get(value)) {
            Some(value) => Some(format!("write {name}({value})")),
            None => filters::example(name).map(|example| format!("write {example}")),
        }
    }

    /// Returns how a filter is written for items that have no fields.
    fn without_field(&self, filter: &Filter<'_>) -> String {
        let plain = match filter.name {
            "selectattr" => "select",
            "rejectattr" => "reject",
            "map" => return "leave it out: the items themselves have no fields".to_owned(),
            name => return format!("write {name} without 'attribute': the items have no fields"),
        };
        let call = self.text.get(self.span_of_call(filter)).unwrap_or_default();
        // `selectattr('in', …)` is `select('in', …)` under another name.
        let first = filter.args.first().map(span::argument).and_then(parts::word);
        let is_test = first.is_some_and(|word| predicates::NAMES.contains(&word));
        let test = filter.args.get(usize::from(!is_test));
        let test = test.map(|test| self.span_of(span::argument(test)).start);
        let end = self.span_of_call(filter).end;
        let test = test.and_then(|start| self.text.get(start..end)).filter(|_| call.len() <= 80);
        match test {
            Some(test) => format!("write {plain}({test}: the items have no fields"),
            None => format!("write {plain}('eq', …): the items have no fields"),
        }
    }

    /// Returns how a value is converted to one that a filter accepts.
    fn conversion(
        &self,
        filter: &Filter<'_>,
        input: &Type,
        args: &[FilterArgument],
    ) -> Option<String> {
        let name = filter.name;
        let call = self.text.get(self.span_of_call(filter)).unwrap_or(name);
        let accepts = |ty: &Type| filters::apply(name, ty, args).is_ok();
        match input {
            // The number of characters of a number is hardly meant.
            ty if ty.is_numeric() && matches!(name, "length" | "count") => {
                Some(format!("remove '| {name}': the value is the number already"))
            }
            Type::List(of, _) if matches!(**of, Type::Record(_)) => {
                let of_texts = Type::list(Type::text());
                (accepts(&of_texts) || accepts(&Type::list(Type::integer()))).then(|| {
                    format!("name one field of the items: map(attribute='FIELD') | {call}")
                })
            }
            // `names | upper`
            Type::List(of, _) if accepts(of) && args.is_empty() => {
                Some(format!("write map('{name}') | list, to apply it to each item"))
            }
            ty if ty.is_numeric() && accepts(&Type::text()) => {
                Some(format!("convert the number first: string | {call}"))
            }
            ty if ty.is_text() && accepts(&Type::integer()) => {
                Some(format!("convert the string first: int | {call}"))
            }
            _ => None,
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

    /// Infers an argument of a filter or test; `is_value` where it can be any value.
    pub(super) fn argument(
        &mut self,
        arg: &CallArg<'_>,
        is_value: bool,
        narrowing: &Narrowing,
    ) -> FilterArgument {
        let expr = span::argument(arg);
        let name = match arg {
            CallArg::Kwarg(name, _) => Some((*name).to_owned()),
            _ => None,
        };
        let word = match expr {
            Expr::Const(constant) => constant.value.as_str().map(str::to_owned),
            _ => None,
        };
        // `map(attribute=name)`: the name of a field, without its quotes.
        if let Expr::Var(var) = expr
            && !is_value
            && var.id != "inputs"
            && var.id != "each"
            && !self.symbols.steps.contains_key(var.id)
        {
            let (span, word) = (self.span_of(expr), var.id.to_owned());
            let ty = self.add_issue(span, TemplateIssueKind::UnquotedWord(word));
            return FilterArgument { name, ty, word: None };
        }
        let ty = match expr {
            Expr::Const(constant) if !is_value => super::literals::constant_type(&constant.value),
            expr => self.expr(expr, narrowing),
        };
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
        let args = test.args.iter().map(|arg| self.argument(arg, true, narrowing));
        let args: Vec<FilterArgument> = args.collect();
        let span = span::of_name(self.text, test.name);
        if !predicates::NAMES.contains(&test.name) {
            self.add_issue(span, TemplateIssueKind::UnknownTest(test.name.to_owned()));
        } else if let Err(mismatch) = predicates::check(test.name, &input, &args) {
            let span = self.span_of_argument(&test.args, &mismatch).unwrap_or(span);
            self.add_issue(span, argument_issue("test", test.name, mismatch, None));
        } else {
            self.check_test(test.name, &input, test.args.first(), args.first());
        }
        Type::Boolean
    }

    /// Checks what items, or a field of theirs, are compared with, as in `selectattr('status', 'eq', 'x')`.
    fn check_selection(
        &mut self,
        name: &str,
        input: &Type,
        filter: &Filter<'_>,
        types: &[FilterArgument],
    ) {
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
            let position = filter.args.len() - args.len();
            self.check_test(test, &of, args.next(), types.get(position));
        }
    }

    /// Checks what a test compares a value with, as an operator would be.
    fn check_test(
        &mut self,
        name: &str,
        input: &Type,
        arg: Option<&CallArg<'_>>,
        ty: Option<&FilterArgument>,
    ) {
        let Some(expr) = arg.map(span::argument) else { return };
        if let (Some((operator, comparison)), Some(arg)) = (operators::of_test(name), ty)
            && !operators::is_comparable(comparison, input.non_null(), arg.ty.non_null())
        {
            let (left, right) = (input.clone(), Some(arg.ty.clone()));
            let span = self.span_of(expr);
            self.add_issue(span, TemplateIssueKind::Operator { operator, left, right });
            return;
        }
        match name {
            "eq" | "equalto" | "ne" => self.check_words(input, [expr]),
            "in" => self.check_words(input, parts::items(expr).unwrap_or_default()),
            _ => {}
        }
    }
}

fn argument_issue(
    what: &'static str,
    name: &str,
    mismatch: ArgumentMismatch,
    help: Option<String>,
) -> TemplateIssueKind {
    TemplateIssueKind::InvalidArgument {
        what,
        name: name.to_owned(),
        wanted: mismatch.wanted,
        found: mismatch.found,
        help,
    }
}
