//! The LANGUAGE. A runbook's text is read, understood and checked here before anything moves, and
//! its templates are evaluated here while it runs. Pure: no input or output, no client, no clock,
//! no other room of the program.
//!
//! The way of a text:
//!
//! ```text
//! Source ─yaml─> tree with spans ─document─> header, inputs, steps ─examine─> Book ─checks─> findings
//!                                              catalogue (actions' types) ──┘   └─(no error)─> Runbook
//! ```
//!
//! - [`types`]: what a value may be, from the JSON Schema of the actions' Rust structs. Knows no
//!   rule.
//! - `template`: `{{ expression }}`: parsing within limits, and inference of what it yields. Knows
//!   no rule.
//! - `checks`: one file a rule, each with its code, its words and its fixtures under
//!   `tests/invalid`.
//! - [`render`]: findings as text and JSON.
//! - [`json_schema`]: what of all this an editor can know.
//! - `evaluate`: templates to JSON, bounded, when a step runs.

mod book;
mod catalogue;
mod checks;
mod document;
mod duration;
mod evaluate;
mod examine;
mod findings;
mod inputs;
mod json_schema;
mod source;
mod template;
pub mod types;
mod yaml;

pub use book::{Retry, Runbook, Step};
pub use catalogue::{Catalogue, Kind, Signature, Undo};
pub use checks::{Rule, rules};
pub use document::OnFailure;
pub use duration::{BadDuration, Duration};
pub use evaluate::{EvaluationError, Scope, Trouble};
pub use findings::spelling::nearest;
pub use findings::{Finding, Label, MAX_FINDINGS, Severity, render};
pub use inputs::{Input, InputError};
pub use json_schema::json_schema;
pub use source::{NotUtf8, Position, Source};
pub use yaml::MAX_BYTES;

/// What a check of a text gave.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The runbook; there exactly when there is no error among the findings.
    pub runbook: Option<Runbook>,
    /// Everything that is to be said, in source order, at most [`MAX_FINDINGS`] and one that counts
    /// the rest.
    pub findings: Vec<Finding>,
}

/// Checks a text against a catalogue. All findings of the text come in one go.
pub fn check(source: &Source, catalogue: &Catalogue) -> Checked {
    let (findings, runbook) = judge(source, catalogue, Runbook::new);
    Checked { runbook, findings }
}

/// As [`check`], for whoever only wants the findings: of a large text, the runbook is a good part
/// of the time and memory.
pub fn inspect(source: &Source, catalogue: &Catalogue) -> Vec<Finding> {
    judge(source, catalogue, |_| None::<Runbook>).0
}

/// All findings, and what `make` makes of a text without an error.
fn judge(
    source: &Source,
    catalogue: &Catalogue,
    make: impl FnOnce(&examine::Book<'_>) -> Option<Runbook>,
) -> (Vec<Finding>, Option<Runbook>) {
    let (tree, flaws) = yaml::load(source.text());
    let document = tree.as_ref().map(document::read).unwrap_or_default();
    let book = examine::Book::new(source, catalogue, &flaws, document);
    let mut findings = findings::Findings::new();
    match &tree {
        Some(_) => checks::run(&book, &mut findings),
        None => checks::run_on_unreadable(&book, &mut findings),
    }
    let (findings, wrong) = findings.finish(source);
    let runbook = if wrong { None } else { make(&book) };
    (findings, runbook)
}
