//! What is to be said about a runbook: one [`Diagnostic`] a place, in source order, capped.

mod excerpt;
pub mod render;
mod reports;
pub(crate) mod spelling;

use std::cell::Cell;
use std::ops::Range;

use super::Source;
use super::rules::{Rule, too_many_findings};

/// The most findings that are reported of one file. Nobody reads more; a broken file can have a
/// hundred thousand.
pub const MAX_DIAGNOSTICS: usize = 100;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The runbook does not run.
    Error,
    /// It runs, but something in it is probably not meant.
    Warning,
    /// It runs; this is worth knowing beforehand.
    Note,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something to be said about one place of a runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The rule's code, `RB012`.
    pub code: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The bytes of the file that it is about.
    pub span: Range<usize>,
    /// Other places that belong to it, such as a declaration.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
    /// What to write in place of the span.
    pub suggestion: Option<String>,
}

/// Another place that belongs to a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its bytes.
    pub span: Range<usize>,
    /// What it is.
    pub text: String,
}

impl Diagnostic {
    pub(crate) fn new(rule: &Rule, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            code: rule.code,
            severity: rule.severity,
            message: message.into(),
            span,
            labels: Vec::new(),
            help: None,
            suggestion: None,
        }
    }

    pub(crate) fn label(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        let text = text.into();
        self.labels.push(Label { span, text });
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds "did you mean" where a name is near enough, else what there is to choose from.
    pub(crate) fn suggest<'n>(
        mut self,
        spelling: &SpellingChecker,
        wrong: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        match spelling.nearest(wrong, names) {
            Suggestion::Name(name) => {
                self.help = Some(format!("did you mean '{name}'?"));
                self.suggestion = Some(name);
            }
            Suggestion::Choices(choice) => self.help = Some(choice),
            Suggestion::None => {}
        }
        self
    }
}

/// The findings of one file while they are being made.
pub(crate) struct Diagnostics {
    list: Vec<Diagnostic>,
    /// How many were left out, and whether an error was among them.
    omitted: usize,
    has_errors: bool,
    pub(crate) spelling: SpellingChecker,
}

impl Diagnostics {
    /// Beyond so many, only those that come first in the file are kept: a broken file can have a
    /// hundred thousand.
    const MAX_KEPT: usize = 40 * MAX_DIAGNOSTICS;

    pub(crate) fn new() -> Self {
        Self { list: Vec::new(), omitted: 0, has_errors: false, spelling: SpellingChecker::new() }
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.has_errors |= diagnostic.severity == Severity::Error;
        self.list.push(diagnostic);
        if self.list.len() > Self::MAX_KEPT {
            self.keep_first();
        }
    }

    /// In source order, each once, and no more than anybody reads; also whether there is an error
    /// among all of them.
    pub(crate) fn finish(mut self, source: &Source) -> (Vec<Diagnostic>, bool) {
        self.keep_first();
        for diagnostic in &mut self.list {
            diagnostic.span = source.clamp(diagnostic.span.clone());
            for label in &mut diagnostic.labels {
                label.span = source.clamp(label.span.clone());
            }
        }
        if self.omitted > 0 {
            let last = self.list.last().map_or(0, |diagnostic| diagnostic.span.start);
            self.list.push(too_many_findings::more(last, self.omitted));
        }
        (self.list, self.has_errors)
    }

    fn keep_first(&mut self) {
        let order = |a: &Diagnostic, b: &Diagnostic| {
            let key = |f: &Diagnostic| (f.span.start, f.span.end, f.severity, f.code);
            key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
        };
        self.list.sort_by(order);
        self.list.dedup();
        self.omitted += self.list.len().saturating_sub(MAX_DIAGNOSTICS);
        self.list.truncate(MAX_DIAGNOSTICS);
    }
}

/// Finds near names, within a budget for the whole file: a file of ten thousand wrong names would
/// otherwise be compared with ten thousand right ones each.
pub(crate) struct SpellingChecker {
    budget: Cell<usize>,
}

/// The nearest right spelling.
pub(crate) enum Suggestion {
    Name(String),
    Choices(String),
    None,
}

impl SpellingChecker {
    /// Comparisons of two names; about 20 ms of them.
    const BUDGET: usize = 100_000;
    /// The most names that a message lists.
    const MAX_LISTED: usize = 12;

    pub(crate) fn new() -> Self {
        Self { budget: Cell::new(Self::BUDGET) }
    }

    /// The right spelling of a name, if one is near.
    pub(crate) fn correction<'n>(
        &self,
        wrong: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<String> {
        match self.nearest(wrong, names) {
            Suggestion::Name(name) => Some(name),
            _ => None,
        }
    }

    fn nearest<'n>(&self, wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Suggestion {
        let names: Vec<&str> = names.into_iter().take(self.budget.get() + 1).collect();
        let Some(budget) = self.budget.get().checked_sub(names.len()) else {
            return Suggestion::None;
        };
        self.budget.set(budget);
        if let Some(name) = spelling::nearest(wrong, names.iter().copied()) {
            return Suggestion::Name(name.to_owned());
        }
        match names.len() {
            0 => Suggestion::None,
            1 => Suggestion::Choices(format!("there is only '{}'", names[0])),
            count if count <= Self::MAX_LISTED => {
                Suggestion::Choices(format!("there are: {}", names.join(", ")))
            }
            count => {
                let (some, rest) = (&names[..Self::MAX_LISTED], count - Self::MAX_LISTED);
                Suggestion::Choices(format!("there are: {} and {rest} more", some.join(", ")))
            }
        }
    }
}
