//! The tests that a runbook may use: `x is even`, `x is startingwith('a')`. What they take; they
//! always give a boolean.

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

/// Whether a test can be asked of a value with these arguments.
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
            Err(ArgumentMismatch::input("a string in its brackets", &args[0].ty))
        }
        "divisibleby" if !integer(&args[0].ty) => {
            Err(ArgumentMismatch::input("an integer in its brackets", &args[0].ty))
        }
        _ => Ok(()),
    }
}

/// A test by its name in quotes, as `select` has it; without one, the value itself is the answer.
pub(super) fn check_named(input: &Type, args: &[FilterArgument]) -> Result<(), ArgumentMismatch> {
    let Some(first) = args.first() else {
        return Ok(());
    };
    match first.word.as_deref() {
        Some(name) if NAMES.contains(&name) => check(name, input, &args[1..]),
        Some(name) => Err(ArgumentMismatch::new("the name of a test", format!("'{name}'"))),
        None => Err(ArgumentMismatch::new("the name of a test", first.ty.with_article())),
    }
}
