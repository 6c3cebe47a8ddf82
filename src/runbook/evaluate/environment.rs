//! minijinja as runbooks have it: strict, fuelled, without functions, with the filters that the checker knows.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
};

use super::super::template::filters::TESTS;
use super::scope::absent;

/// Instructions that one template may take. The longest of relay-scale takes about 100.
const FUEL: u64 = 50_000;

/// The one environment of all templates.
pub(super) fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(build);
    &ENVIRONMENT
}

fn build() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(false); // it would print the values of the scope into errors
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(print);
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    let globals: Vec<String> = environment
        .globals()
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in globals {
        environment.remove_global(&name);
    }
    for name in UNUSED_FILTERS {
        environment.remove_filter(name);
    }
    for name in [
        "safe", "escaped", "filter", "test", "sameas", "float", "int",
    ] {
        if !TESTS.contains(&name) {
            environment.remove_test(name);
        }
    }
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_test("defined", |value: &Value| !is_missing(value));
    environment.add_test("undefined", |value: &Value| is_missing(value));
    environment
}

/// minijinja's filters that a runbook has no use for, or that take memory by the gigabyte.
const UNUSED_FILTERS: &[&str] = &[
    "safe", "escape", "e", "dictsort", "items", "attr", "batch", "slice", "indent", "groupby",
    "chain", "zip", "pprint", "format",
];

fn is_missing(value: &Value) -> bool {
    value.is_undefined() || absent(value).is_some()
}

/// Of what is absent or null, something else; with `true` behind it, also of what is empty, zero or false.
fn default(value: Value, other: Value, also_false: Option<bool>) -> Value {
    let useless = is_missing(&value) || value.is_none();
    if useless || also_false == Some(true) && !value.is_true() {
        other
    } else {
        value
    }
}

/// Puts a value into the middle of a text: only what has one obvious form.
fn print(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if let Some(path) = absent(value) {
        return Err(failure(format!("{path} has no value here")));
    }
    match value.kind() {
        ValueKind::Bool if value.is_true() => out.write_str("true")?,
        ValueKind::Bool => out.write_str("false")?,
        ValueKind::String | ValueKind::Number => write!(out, "{value}")?,
        ValueKind::Undefined => return Err(failure("it has no value here".to_owned())),
        kind => return Err(failure(format!("a {kind} cannot be put into a text"))),
    }
    Ok(())
}

fn failure(text: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}

#[cfg(test)]
mod tests {
    use super::super::super::template::filters::FILTERS;
    use super::*;

    #[test]
    fn the_environment_has_exactly_the_filters_that_are_checked() {
        let environment = environment();
        for name in FILTERS {
            let known = environment
                .compile_expression(&format!("x is filter('{name}')"))
                .is_ok();
            assert!(known, "{name}");
        }
        for name in UNUSED_FILTERS {
            assert!(!FILTERS.contains(name), "{name}");
            let text = format!("1 | {name}");
            let result = environment
                .compile_expression(&text)
                .and_then(|e| e.eval(()));
            assert_eq!(
                result.unwrap_err().kind(),
                ErrorKind::UnknownFilter,
                "{name}"
            );
        }
        assert_eq!(environment.globals().count(), 0);
    }
}
