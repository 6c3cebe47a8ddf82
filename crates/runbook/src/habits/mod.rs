//! The habits that people bring from other tools: a table of words and forms, each with what a runbook has for it.
//! Meaning comes before spelling: 'restart' is `rollout_restart`, however different it is spelled.

mod actions;
mod expressions;
mod keys;
mod parameters;
mod values;

pub(crate) use actions::action;
pub(crate) use expressions::{Rewrite, call, filter, name, test, test_name};
pub(crate) use keys::{Key, key};
pub(crate) use parameters::{not_needed, parameter};
pub(crate) use values::{boolean, duration, enum_value, on_failure, type_name};

/// Returns a word without the signs between its parts, in lower case: `onFailure`, `on-failure` and `on_failure` are
/// the same word.
fn folded(word: &str) -> String {
    let letters = word.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.' | '/' | ':'));
    letters.flat_map(char::to_lowercase).collect()
}
