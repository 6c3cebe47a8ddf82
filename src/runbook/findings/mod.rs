//! What is to be said about a runbook: one [`Finding`] a place, in source order, capped.

mod excerpt;
pub mod render;
mod reports;
pub(crate) mod spelling;

use std::cell::Cell;
use std::ops::Range;

use super::Source;
use super::checks::{Rule, too_many_findings};

/// The most findings that are reported of one file. Nobody reads more; a broken file can have a
/// hundred thousand.
pub const MAX_FINDINGS: usize = 100;

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
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something to be said about one place of a runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
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

impl Finding {
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
        spelling: &Spelling,
        wrong: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        match spelling.nearest(wrong, names) {
            Nearest::Name(name) => {
                self.help = Some(format!("did you mean '{name}'?"));
                self.suggestion = Some(name);
            }
            Nearest::Choice(choice) => self.help = Some(choice),
            Nearest::Nothing => {}
        }
        self
    }
}

/// The findings of one file while they are being made.
pub(crate) struct Findings {
    list: Vec<Finding>,
    /// How many were left out, and whether an error was among them.
    left_out: usize,
    wrong: bool,
    pub(crate) spelling: Spelling,
}

impl Findings {
    /// Beyond so many, only those that come first in the file are kept: a broken file can have a
    /// hundred thousand.
    const KEPT: usize = 40 * MAX_FINDINGS;

    pub(crate) fn new() -> Self {
        Self { list: Vec::new(), left_out: 0, wrong: false, spelling: Spelling::new() }
    }

    pub(crate) fn push(&mut self, finding: Finding) {
        self.wrong |= finding.severity == Severity::Error;
        self.list.push(finding);
        if self.list.len() > Self::KEPT {
            self.keep_first();
        }
    }

    /// In source order, each once, and no more than anybody reads; also whether there is an error
    /// among all of them.
    pub(crate) fn finish(mut self, source: &Source) -> (Vec<Finding>, bool) {
        self.keep_first();
        for finding in &mut self.list {
            finding.span = source.clamp(finding.span.clone());
            for label in &mut finding.labels {
                label.span = source.clamp(label.span.clone());
            }
        }
        if self.left_out > 0 {
            let last = self.list.last().map_or(0, |finding| finding.span.start);
            self.list.push(too_many_findings::more(last, self.left_out));
        }
        (self.list, self.wrong)
    }

    fn keep_first(&mut self) {
        let order = |a: &Finding, b: &Finding| {
            let key = |f: &Finding| (f.span.start, f.span.end, f.severity, f.code);
            key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
        };
        self.list.sort_by(order);
        self.list.dedup();
        self.left_out += self.list.len().saturating_sub(MAX_FINDINGS);
        self.list.truncate(MAX_FINDINGS);
    }
}

/// Finds near names, within a budget for the whole file: a file of ten thousand wrong names would
/// otherwise be compared with ten thousand right ones each.
pub(crate) struct Spelling {
    left: Cell<usize>,
}

/// The nearest right spelling.
pub(crate) enum Nearest {
    Name(String),
    Choice(String),
    Nothing,
}

impl Spelling {
    /// Comparisons of two names; about 20 ms of them.
    const BUDGET: usize = 100_000;
    /// The most names that a message lists.
    const LISTED: usize = 12;

    pub(crate) fn new() -> Self {
        Self { left: Cell::new(Self::BUDGET) }
    }

    /// The right spelling of a name, if one is near.
    pub(crate) fn meant<'n>(
        &self,
        wrong: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<String> {
        match self.nearest(wrong, names) {
            Nearest::Name(name) => Some(name),
            _ => None,
        }
    }

    fn nearest<'n>(&self, wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Nearest {
        let names: Vec<&str> = names.into_iter().take(self.left.get() + 1).collect();
        let Some(left) = self.left.get().checked_sub(names.len()) else {
            return Nearest::Nothing;
        };
        self.left.set(left);
        if let Some(name) = spelling::nearest(wrong, names.iter().copied()) {
            return Nearest::Name(name.to_owned());
        }
        match names.len() {
            0 => Nearest::Nothing,
            1 => Nearest::Choice(format!("there is only '{}'", names[0])),
            count if count <= Self::LISTED => {
                Nearest::Choice(format!("there are: {}", names.join(", ")))
            }
            count => {
                let (some, rest) = (&names[..Self::LISTED], count - Self::LISTED);
                Nearest::Choice(format!("there are: {} and {rest} more", some.join(", ")))
            }
        }
    }
}
