//! The LANGUAGE. A runbook's text is read, understood and checked here before anything moves, and
//! its templates are evaluated here while it runs. Pure: no client, no clock, no I/O except in
//! `validator`, which is a feature.
//!
//! The way of a text:
//!
//! ```text
//! Source ─yaml─> tree with spans ─document─> header, inputs, steps ─analysis─> Analysis ─rules─> diagnostics
//!                                              registry (actions' types) ──────┘   └─(no error)─> Runbook
//! ```
//!
//! - [`types`]: what a value may be, from the JSON Schema of the actions' Rust structs. Knows no
//!   rule.
//! - `template`: `{{ expression }}`: parsing within limits, and inference of what it yields. Knows
//!   no rule.
//! - `rules`: one file a rule, each with its code, its words and its fixtures under
//!   `tests/fixtures/invalid`.
//! - [`render`]: findings as text and JSON.
//! - [`json_schema`]: what of all this an editor can know.
//! - `evaluate`: templates to JSON, bounded, when a step runs.
//! - `validator`: `validate` as a library, behind the feature `validator`. The only module that
//!   does I/O.

mod analysis;
mod checked;
mod diagnostics;
mod document;
mod duration;
mod evaluate;
mod inputs;
mod json_schema;
mod registry;
mod rules;
mod source;
mod template;
pub mod types;
#[cfg(feature = "validator")]
pub mod validator;
mod yaml;

pub use checked::{Retry, Runbook, Step};
pub use diagnostics::spelling::nearest;
pub use diagnostics::{Diagnostic, Label, MAX_DIAGNOSTICS, Severity, render};
pub use document::OnFailure;
pub use duration::{Duration, ParseDurationError};
pub use evaluate::{EvaluationError, EvaluationErrorKind, EvaluationScope};
pub use inputs::{Input, InputError};
pub use json_schema::json_schema;
pub use registry::{ActionKind, ActionRegistry, ActionSignature, RegistryError, Reversibility};
pub use rules::{Rule, find_rule, rules};
pub use source::{NotUtf8, Position, Source};
pub use yaml::MAX_BYTES;

/// What a check of a text gave.
#[derive(Debug, Clone)]
pub struct CheckResult {
    /// The runbook; there exactly when there is no error among the findings.
    pub runbook: Option<Runbook>,
    /// Everything that is to be said, in source order, at most [`MAX_DIAGNOSTICS`] and one that counts
    /// the rest.
    pub diagnostics: Vec<Diagnostic>,
}

/// Checks a text against a catalogue. All findings of the text come in one go.
pub fn check(source: &Source, registry: &ActionRegistry) -> CheckResult {
    let (diagnostics, runbook) = check_with(source, registry, Runbook::new);
    CheckResult { runbook, diagnostics }
}

/// As [`check`], for whoever only wants the findings: of a large text, the runbook is a good part
/// of the time and memory.
pub fn diagnose(source: &Source, registry: &ActionRegistry) -> Vec<Diagnostic> {
    check_with(source, registry, |_| None::<Runbook>).0
}

/// All findings, and what `build` makes of a text without an error.
fn check_with(
    source: &Source,
    registry: &ActionRegistry,
    build: impl FnOnce(&analysis::Analysis<'_>) -> Option<Runbook>,
) -> (Vec<Diagnostic>, Option<Runbook>) {
    let (tree, issues) = yaml::load(source.text());
    let document = tree.as_ref().map(document::read).unwrap_or_default();
    let analysis = analysis::Analysis::new(source, registry, &issues, document);
    let mut diagnostics = diagnostics::Diagnostics::new();
    match &tree {
        Some(_) => rules::run(&analysis, &mut diagnostics),
        None => rules::run_on_unreadable(&analysis, &mut diagnostics),
    }
    let (diagnostics, has_errors) = diagnostics.finish(source);
    let runbook = if has_errors { None } else { build(&analysis) };
    (diagnostics, runbook)
}
