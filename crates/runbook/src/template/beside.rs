//! The record that an expression takes its value from: when the value is of the wrong kind, the right one is often in
//! the field beside it.

use std::ops::Range;
use std::sync::Arc;

use minijinja::machinery::ast::{CallArg, Expr, Filter};

use super::infer::{Names, type_of};
use super::symbols::SymbolTable;
use super::{Template, span};
use crate::types::{RecordType, Type};

/// The filters that keep the items of a list as they are.
const KEEPING: [&str; 8] =
    ["list", "unique", "sort", "reverse", "first", "last", "reject", "select"];

/// A record, and how its fields are reached.
#[derive(Debug)]
pub(crate) struct Beside {
    /// The record.
    pub(crate) record: Arc<RecordType>,
    before: String,
    after: String,
    /// Whether the expression is `map(attribute='…')`, which yields the field of each item.
    pub(crate) is_map: bool,
    /// Whether one item is taken of a list at the end.
    pub(crate) takes_one: bool,
}

impl Beside {
    /// Returns the record itself; none where the expression goes on after the field.
    pub(crate) fn whole(&self) -> Option<String> {
        let record = self.before.strip_suffix('.').filter(|_| self.after.is_empty())?;
        Some(record.to_owned())
    }

    /// Returns the expression with another field.
    pub(crate) fn with_field(&self, name: &str) -> String {
        format!("{}{name}{}", self.before, self.after)
    }
}

/// Returns the record beside a template that is one whole expression.
pub(crate) fn beside(
    template: &Template<'_>,
    symbols: &SymbolTable<'_>,
    step: usize,
    names: Names,
) -> Option<Beside> {
    let expr = template.whole()?;
    let finder = Finder { text: template.text(), symbols, step, names };
    finder.record_itself(expr).or_else(|| {
        let (record, field, is_map) = finder.last_field(expr)?;
        let whole = span::with_bracket(finder.text, span::of_expr(finder.text, expr));
        let before = finder.text.get(whole.start..field.start)?.to_owned();
        let after = finder.text.get(field.end..whole.end)?.to_owned();
        let takes_one = ["first", "last"].iter().any(|filter| after.ends_with(filter));
        Some(Beside { record, before, after, is_map, takes_one })
    })
}

struct Finder<'f> {
    text: &'f str,
    symbols: &'f SymbolTable<'f>,
    step: usize,
    names: Names,
}

impl Finder<'_> {
    fn type_of(&self, expr: &Expr<'_>) -> Type {
        type_of(self.text, expr, self.symbols, self.step, self.names)
    }

    /// Returns a record, or a list of records, of which a field is meant.
    fn record_itself(&self, expr: &Expr<'_>) -> Option<Beside> {
        let own = self.text.get(span::of_expr(self.text, expr))?;
        let is_path = matches!(expr, Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_));
        let (record, before, after, is_map) = match self.type_of(expr).non_null() {
            Type::Record(record) if is_path => {
                (Arc::clone(record), format!("{own}."), String::new(), false)
            }
            Type::List(of, _) => {
                let Type::Record(record) = of.non_null() else { return None };
                let before = format!("{own} | map(attribute='");
                (Arc::clone(record), before, "') | list".to_owned(), true)
            }
            _ => return None,
        };
        Some(Beside { record, before, after, is_map, takes_one: false })
    }

    /// Finds the last field that an expression reads: the record that has it, the span of its name, and whether it is
    /// that of each item.
    fn last_field(&self, expr: &Expr<'_>) -> Option<(Arc<RecordType>, Range<usize>, bool)> {
        match expr {
            Expr::GetAttr(get) => match self.type_of(&get.expr).non_null() {
                Type::Record(record) => {
                    Some((Arc::clone(record), span::of_name(self.text, get.name), false))
                }
                _ => None,
            },
            Expr::Filter(filter) if filter.name == "map" => {
                let field = self.mapped_field(filter)?;
                let Type::List(of, _) = self.type_of(filter.expr.as_ref()?) else { return None };
                let Type::Record(record) = of.non_null() else { return None };
                Some((Arc::clone(record), field, true))
            }
            Expr::Filter(filter) if KEEPING.contains(&filter.name) => {
                self.last_field(filter.expr.as_ref()?)
            }
            _ => None,
        }
    }

    /// Returns the span of the field's name in `map(attribute='field')`.
    fn mapped_field(&self, filter: &Filter<'_>) -> Option<Range<usize>> {
        filter.args.iter().find_map(|arg| {
            let CallArg::Kwarg("attribute", Expr::Const(constant)) = arg else { return None };
            let name = constant.value.as_str()?;
            let quoted = span::of_expr(self.text, span::argument(arg));
            let at = quoted.start + self.text.get(quoted.clone())?.find(name)?;
            Some(at..at + name.len())
        })
    }
}
