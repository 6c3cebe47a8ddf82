//! The minijinja environment of runbooks: strict, limited by fuel, without functions, and with the
//! filters that the checker knows.

use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Expression, Output, State, Template,
    UndefinedBehavior, Value,
};

use super::membership;
use super::scope::absent;

/// The instructions that a template may execute in the smallest budget.
const SMALLEST_FUEL: u64 = 100_000;
/// The instructions that a template may execute whatever its data.
const BASE_FUEL: u64 = 50_000;
/// The instructions for each value of the inputs and outputs. A filter takes two or three for each item that it reads,
/// and an expression of 256 tokens has at most some 40 filters.
const FUEL_PER_VALUE: u64 = 32;

/// How much work an evaluation may do: an index from 0, each with four times the instructions of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Budget(usize);

impl Budget {
    /// The number of budgets. The largest is that of three million values.
    pub(super) const COUNT: usize = 6;
    /// The budget of small data.
    pub(super) const SMALLEST: Self = Self(0);

    /// Returns the budget for data of a size, as [`EvaluationScope`](super::EvaluationScope) counts.
    pub(super) fn for_data(size: usize) -> Self {
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        let needed = BASE_FUEL.saturating_add(FUEL_PER_VALUE.saturating_mul(size));
        let enough = (0..Self::COUNT).map(Self).find(|budget| budget.fuel() >= needed);
        enough.unwrap_or(Self(Self::COUNT - 1))
    }

    /// Returns the position among the budgets that are larger than the smallest.
    pub(super) fn among_larger(self) -> Option<usize> {
        self.0.checked_sub(1)
    }

    /// Returns the number of instructions.
    pub(super) fn fuel(self) -> u64 {
        SMALLEST_FUEL << (2 * self.0)
    }
}

/// Returns the environment of all templates that are evaluated within a budget, which minijinja keeps in the
/// environment.
pub(super) fn environment(budget: Budget) -> &'static Environment<'static> {
    static ENVIRONMENTS: [OnceLock<Environment<'static>>; Budget::COUNT] =
        [const { OnceLock::new() }; Budget::COUNT];
    ENVIRONMENTS[budget.0].get_or_init(|| build(budget))
}

/// The name under which [`compile_text`] stores its template.
const TEXT_TEMPLATE: &str = "text";

/// Compiles an expression, without its braces.
pub(super) fn compile_expression(
    text: &str,
    budget: Budget,
) -> Result<Expression<'static, 'static>, Error> {
    #[cfg(test)]
    COMPILATIONS.set(COMPILATIONS.get() + 1);
    environment(budget).compile_expression_owned(text.to_owned())
}

/// Compiles a text with expressions in it. minijinja keeps a template that owns its text only in
/// an environment; the filters and tests of the copy are shared with the original.
pub(super) fn compile_text(text: &str, budget: Budget) -> Result<Environment<'static>, Error> {
    #[cfg(test)]
    COMPILATIONS.set(COMPILATIONS.get() + 1);
    let mut copy = environment(budget).clone();
    copy.add_template_owned(TEXT_TEMPLATE, text.to_owned())?;
    Ok(copy)
}

/// Returns the template that [`compile_text`] has stored.
pub(super) fn text_template<'e>(
    environment: &'e Environment<'static>,
) -> Result<Template<'e, 'e>, Error> {
    environment.get_template(TEXT_TEMPLATE)
}

#[cfg(test)]
thread_local! {
    /// How many templates this thread has compiled.
    pub(super) static COMPILATIONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn build(budget: Budget) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(budget.fuel()));
    environment.set_debug(false); // debug would put the values of the scope into errors
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(print);
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    let globals: Vec<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
    for name in globals {
        environment.remove_global(&name);
    }
    for name in UNUSED_FILTERS {
        environment.remove_filter(name);
    }
    for name in ["safe", "escaped", "filter", "test", "sameas", "int"] {
        environment.remove_test(name);
    }
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("string", string);
    environment.add_filter("select", membership::select);
    environment.add_filter("reject", membership::reject);
    environment.add_filter("selectattr", membership::selectattr);
    environment.add_filter("rejectattr", membership::rejectattr);
    environment.add_test("defined", |value: &Value| !is_missing(value));
    environment.add_test("undefined", |value: &Value| is_missing(value));
    environment
}

/// The filters of minijinja that runbooks do not need, or that can allocate gigabytes.
const UNUSED_FILTERS: &[&str] = &[
    "safe", "escape", "e", "dictsort", "items", "attr", "batch", "slice", "indent", "groupby",
    "chain", "zip", "pprint", "format",
];

fn is_missing(value: &Value) -> bool {
    value.is_undefined() || absent(value).is_some()
}

/// Replaces a value that is absent or null; with `true` as second argument, also one that is empty,
/// zero or false.
fn default(value: Value, other: Value, also_falsy: Option<bool>) -> Value {
    let replaced = is_missing(&value) || value.is_none();
    if replaced || also_falsy == Some(true) && !value.is_true() { other } else { value }
}

/// Converts a value to the string that it has inside a text.
fn string(value: &Value) -> Result<String, Error> {
    if let Some(path) = absent(value) {
        return Err(failure(format!("{path} has no value here")));
    }
    match value.kind() {
        ValueKind::Bool if value.is_true() => Ok("true".to_owned()),
        ValueKind::Bool => Ok("false".to_owned()),
        ValueKind::String | ValueKind::Number => Ok(value.to_string()),
        ValueKind::Undefined => Err(failure("a part of the template has no value here".to_owned())),
        kind => Err(failure(format!("a {kind} cannot be part of a string"))),
    }
}

/// Writes a value into a text, if the value has one obvious string form.
fn print(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    out.write_str(&string(value)?).map_err(Error::from)
}

/// How the error details of this module end; they name paths and kinds, never values.
pub(super) const OWN_DETAILS: [&str; 2] = ["has no value here", "cannot be part of a string"];

fn failure(text: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}

#[cfg(test)]
mod tests {
    use super::super::super::template::filters::{self, predicates};
    use super::*;

    /// Evaluates an expression and returns the kind of its error, if any.
    fn failure(expression: &str) -> Option<ErrorKind> {
        let compiled =
            environment(Budget::SMALLEST).compile_expression_owned(expression.to_owned());
        let result = compiled.and_then(|compiled| compiled.eval(()));
        result.err().map(|error| error.kind())
    }

    #[test]
    fn the_budget_grows_with_the_data() {
        assert_eq!(Budget::for_data(0), Budget::SMALLEST);
        assert_eq!(Budget::for_data(1_000), Budget::SMALLEST);
        for size in [10_000, 100_000, 1_000_000, 3_000_000] {
            let fuel = Budget::for_data(size).fuel();
            assert!(fuel >= FUEL_PER_VALUE * u64::try_from(size).unwrap(), "{size}: {fuel}");
        }
        assert_eq!(Budget::for_data(usize::MAX), Budget(Budget::COUNT - 1));
    }

    #[test]
    fn the_environment_has_what_is_checked_and_no_more() {
        for name in filters::names() {
            let found = failure(&format!("[1] | {name}"));
            assert_ne!(found, Some(ErrorKind::UnknownFilter), "{name}");
        }
        for name in predicates::NAMES {
            let found = failure(&format!("1 is {name}"));
            assert_ne!(found, Some(ErrorKind::UnknownTest), "{name}");
        }
        for name in UNUSED_FILTERS {
            assert!(!filters::exists(name), "{name}");
            assert_eq!(failure(&format!("1 | {name}")), Some(ErrorKind::UnknownFilter), "{name}");
        }
        assert_eq!(environment(Budget::SMALLEST).globals().count(), 0);
    }
}
