//! The runbook language. Parses and checks the text of a runbook before a run starts, and evaluates
//! its templates during the run. Pure: no clients, no clock, no other part of the program, and no
//! I/O except in `validator` and `language_server`, which are a feature.
//!
//! From the text to the checked runbook:
//!
//! ```text
//! Source ─yaml─> tree with spans ─document─> header, inputs, steps ─analysis─> Analysis ─rules─> diagnostics
//!                                              registry (actions' types) ──────┘   └─(no error)─> Runbook
//! ```
//!
//! - [`types`]: the types of values, from the JSON Schema of the actions' Rust structs. Independent
//!   of the rules.
//! - `template`: parses `{{ expression }}` within limits and infers its type. Independent of the
//!   rules.
//! - [`objects`]: the kinds of objects and the paths in them, as the rules and the actions read them.
//! - `rules`: one file per rule, each with its code, its messages and its fixtures under
//!   `tests/fixtures/invalid`.
//! - [`render`]: diagnostics as text and JSON.
//! - [`json_schema`]: the JSON Schema of runbooks, for editors.
//! - `evaluate`: evaluates templates to JSON, within limits, when a step runs.
//! - [`editor`]: what can be written at a place of a text, what is there, and where it is declared.
//! - `validator`: `validate` as a library, behind the feature `validator`.
//! - `language_server`: `editor` and the diagnostics in the protocol of editors, behind the same
//!   feature. The two are the only modules that do I/O.

mod analysis;
mod built_in;
mod callables;
mod checked;
mod diagnostics;
mod document;
mod duration;
pub mod editor;
#[cfg(test)]
mod editor_tests;
mod evaluate;
mod fixes;
mod habits;
mod inputs;
mod json_schema;
mod key_slips;
#[cfg(feature = "validator")]
pub mod language_server;
mod library;
mod limits;
mod misleading;
pub mod objects;
mod registry;
mod rules;
mod secrets;
mod source;
mod template;
pub mod types;
#[cfg(feature = "validator")]
pub mod validator;
mod yaml;

pub use built_in::{BUILT_IN_RUNBOOKS, BuiltInLibrary};
pub use checked::{CalledRunbook, MAX_ITEMS, Retry, Runbook, Step, each_of};
pub use diagnostics::spelling::nearest;
pub use diagnostics::{Diagnostic, Label, MAX_DIAGNOSTICS, Severity, render};
pub use document::OnFailure;
pub use duration::{Duration, ParseDurationError};
pub use evaluate::{EvaluationError, EvaluationErrorKind, EvaluationScope, TracedValue};
pub use fixes::{AppliedFix, Fix, FixedText, fix};
pub use inputs::{Input, InputError, InputFileError, Questions};
pub use json_schema::json_schema;
pub use library::{EmptyLibrary, Library, MissingRunbook};
pub use limits::{Amount, InvalidAmount, KeptWorkload, LimitKind, Limits, Workload, WorkloadKind};
pub use registry::{
    ActionKind, ActionRegistry, ActionSignature, ObjectUse, RegistryError, Reversibility,
};
pub use rules::{Rule, find_rule, rules};
pub use source::{NotUtf8, Position, Source};
pub use yaml::MAX_BYTES;

/// The result of checking a text.
#[derive(Debug, Clone)]
pub struct CheckResult {
    /// The runbook; present exactly when no diagnostic is an error.
    pub runbook: Option<Runbook>,
    /// The diagnostics in source order: at most [`MAX_DIAGNOSTICS`], and one that counts the rest.
    pub diagnostics: Vec<Diagnostic>,
}

/// Checks a text that calls no other runbook against an action registry. Reports all diagnostics at once.
pub fn check(source: &Source, registry: &ActionRegistry) -> CheckResult {
    check_in(source, registry, &EmptyLibrary)
}

/// Checks a text against an action registry and the runbooks that it can call. Reports all diagnostics at once.
pub fn check_in(source: &Source, registry: &ActionRegistry, library: &dyn Library) -> CheckResult {
    check_while(source, registry, library, &|| true).expect("nothing stops the check")
}

/// Checks a text for as long as its result is wanted; `None` when that ends before the check. `is_wanted` is asked for
/// each step and each rule, and is not asked any more when it has been false.
pub fn check_while(
    source: &Source,
    registry: &ActionRegistry,
    library: &dyn Library,
    is_wanted: &dyn Fn() -> bool,
) -> Option<CheckResult> {
    let calls = callables::Calls::new(library);
    let checked = check_with(source, registry, &calls, &Wanted(is_wanted), Runbook::new);
    checked.ok().map(|(diagnostics, runbook)| CheckResult { runbook, diagnostics })
}

/// Returns the diagnostics of [`check_in`] without building the runbook, which takes much of the time
/// and memory of a large text.
pub fn diagnose(
    source: &Source,
    registry: &ActionRegistry,
    library: &dyn Library,
) -> Vec<Diagnostic> {
    let calls = callables::Calls::new(library);
    let nothing = |_: &analysis::Analysis<'_>, _: &Wanted<'_>| Ok(None::<()>);
    let checked = check_with(source, registry, &calls, &Wanted(&|| true), nothing);
    checked.expect("nothing stops the check").0
}

/// Returns a runbook as a step sees it that calls it: an action whose parameters are its inputs. None if the library
/// has no such runbook without errors.
pub fn callable(
    name: &str,
    registry: &ActionRegistry,
    library: &dyn Library,
) -> Option<ActionSignature> {
    let calls = callables::Calls::new(library);
    let found = calls.callable(name, registry, &Wanted(&|| true)).ok()?;
    found.ok().map(|callable| callable.signature.clone())
}

/// Whether the result of a check is still wanted.
struct Wanted<'w>(&'w dyn Fn() -> bool);

/// The end of a check whose result is not wanted any more.
#[derive(Debug)]
struct Stopped;

impl Wanted<'_> {
    /// Checks that the check goes on.
    fn ensure(&self) -> Result<(), Stopped> {
        if (self.0)() { Ok(()) } else { Err(Stopped) }
    }
}

/// Returns all diagnostics, and what `build` makes of a text without an error.
fn check_with<B>(
    source: &Source,
    registry: &ActionRegistry,
    calls: &callables::Calls<'_>,
    wanted: &Wanted<'_>,
    build: impl FnOnce(&analysis::Analysis<'_>, &Wanted<'_>) -> Result<Option<B>, Stopped>,
) -> Result<(Vec<Diagnostic>, Option<B>), Stopped> {
    let (tree, issues) = yaml::load(source.text());
    let document = tree.as_ref().map(document::read).unwrap_or_default();
    let callables = calls.resolve(&document, registry, wanted)?;
    let analysis =
        analysis::Analysis::new(source, registry, &callables, &issues, document, wanted)?;
    let mut diagnostics = diagnostics::Diagnostics::new();
    match &tree {
        Some(_) => rules::run(&analysis, &mut diagnostics, wanted)?,
        None => rules::run_on_unreadable(&analysis, &mut diagnostics),
    }
    let (diagnostics, has_errors) = diagnostics.finish(source);
    let runbook = if has_errors { None } else { build(&analysis, wanted)? };
    Ok((diagnostics, runbook))
}
