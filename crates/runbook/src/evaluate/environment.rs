//! The minijinja environment of runbooks: strict, limited by fuel, without functions, and with the
//! filters that the checker knows.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Expression, Output, State, Template,
    UndefinedBehavior, Value,
};

use super::scope::absent;

/// The most instructions that one template may execute. The longest of relay-scale takes about 100.
const FUEL: u64 = 50_000;

/// Returns the environment of all templates.
fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(build);
    &ENVIRONMENT
}

/// The name under which [`compile_text`] stores its template.
const TEXT_TEMPLATE: &str = "text";

/// Compiles an expression, without its braces.
pub(super) fn compile_expression(text: &str) -> Result<Expression<'static, 'static>, Error> {
    #[cfg(test)]
    COMPILATIONS.set(COMPILATIONS.get() + 1);
    environment().compile_expression_owned(text.to_owned())
}

/// Compiles a text with expressions in it. minijinja keeps a template that owns its text only in
/// an environment; the filters and tests of the copy are shared with the original.
pub(super) fn compile_text(text: &str) -> Result<Environment<'static>, Error> {
    #[cfg(test)]
    COMPILATIONS.set(COMPILATIONS.get() + 1);
    let mut copy = environment().clone();
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

fn build() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
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
        let compiled = environment().compile_expression_owned(expression.to_owned());
        let result = compiled.and_then(|compiled| compiled.eval(()));
        result.err().map(|error| error.kind())
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
        assert_eq!(environment().globals().count(), 0);
    }
}
