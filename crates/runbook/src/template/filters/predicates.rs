//! The tests of templates: `x is even`, `x is startingwith('a')`. A test always yields a boolean.

use super::super::super::diagnostics::spelling;
use super::super::super::habits;
use super::super::super::types::Type;
use super::{ArgumentMismatch, FilterArgument};

/// The names of all tests.
pub(crate) const NAMES: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];

/// Checks that a test accepts a value and its arguments.
pub(crate) fn check(
    name: &str,
    input: &Type,
    args: &[FilterArgument],
) -> Result<(), ArgumentMismatch> {
    let count = match name {
        "divisibleby" | "endingwith" | "startingwith" | "eq" | "equalto" | "ne" | "in" | "ge"
        | "greaterthan" | "gt" | "le" | "lessthan" | "lt" => 1,
        _ => 0,
    };
    if args.len() != count {
        let wanted = if count == 1 { "one argument" } else { "no argument" };
        return Err(ArgumentMismatch::new(wanted, args.len().to_string()));
    }
    let integer = |ty: &Type| matches!(ty, Type::Integer(_) | Type::Any);
    let text = |ty: &Type| ty.is_text() || *ty == Type::Any;
    match name {
        "even" | "odd" | "divisibleby" if !integer(input) => {
            Err(ArgumentMismatch::input("an integer", input))
        }
        "startingwith" | "endingwith" | "lower" | "upper" if !text(input) => {
            Err(ArgumentMismatch::input("a string", input))
        }
        "startingwith" | "endingwith" if !text(&args[0].ty) => {
            Err(ArgumentMismatch::input("a string as argument", &args[0].ty).at(0))
        }
        "divisibleby" if !integer(&args[0].ty) => {
            Err(ArgumentMismatch::input("an integer as argument", &args[0].ty).at(0))
        }
        _ => Ok(()),
    }
}

/// Checks a test that is named in quotes, as in `select`; without a test, the value itself is the
/// condition.
pub(super) fn check_named(
    input: &Type,
    args: &[FilterArgument],
    position: usize,
) -> Result<(), ArgumentMismatch> {
    let Some(first) = args.first() else {
        return Ok(());
    };
    match first.word.as_deref() {
        Some(name) if NAMES.contains(&name) => check(name, input, &args[1..]).map_err(|wrong| {
            let at = wrong.at.map_or(position, |at| position + 1 + at);
            ArgumentMismatch { at: Some(at), ..wrong }
        }),
        Some(name) => {
            let is_in_list = args.get(1).is_some_and(|list| matches!(list.ty, Type::List(..)));
            let contains =
                matches!(name, "contains" | "containing" | "within" | "oneof" | "one_of");
            let meant = (contains && is_in_list).then_some("in");
            let meant = meant.or_else(|| habits::test_name(name));
            let meant = meant.or_else(|| spelling::nearest(name, NAMES.iter().copied()));
            let wanted = match meant {
                Some(meant) => format!("the name of a test, such as '{meant}'"),
                None => "the name of a test".to_owned(),
            };
            Err(ArgumentMismatch::new(&wanted, format!("'{name}'")).at(position))
        }
        None => {
            let found = first.ty.with_article();
            // `reject(none)`: the word without its quotes.
            let wanted = match first.ty {
                Type::Null => "the name of a test in quotes, such as 'none'",
                Type::Boolean => "the name of a test in quotes, such as 'true'",
                _ => "the name of a test",
            };
            Err(ArgumentMismatch::new(wanted, found).at(position))
        }
    }
}
