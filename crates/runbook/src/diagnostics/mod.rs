//! The diagnostics of a runbook, in source order and limited in number.

mod excerpt;
pub mod render;
mod reports;
pub(crate) mod spelling;

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use super::Source;
use super::habits::Rewrite;
use super::rules::{Rule, too_many_findings};

/// The most diagnostics that are reported for one file. A broken file can have a hundred thousand.
pub const MAX_DIAGNOSTICS: usize = 100;

/// The severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The runbook cannot run.
    Error,
    /// The runbook can run, but it probably has a mistake.
    Warning,
    /// The runbook can run; the note is useful to know before the run.
    Note,
}

impl Severity {
    /// Returns the name of the severity.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A diagnostic: a message about one place of a runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The code of the rule, such as `RB012`.
    pub code: &'static str,
    /// The severity.
    pub severity: Severity,
    /// The message.
    pub message: String,
    /// The byte range of the file that the diagnostic is about.
    pub span: Range<usize>,
    /// Related places, such as a declaration.
    pub labels: Vec<Label>,
    /// The remedy.
    pub help: Option<String>,
    /// The text to replace the span with.
    pub suggestion: Option<String>,
}

/// A place related to a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The byte range.
    pub span: Range<usize>,
    /// The text of the label.
    pub text: String,
    /// The file of the range, if it is another one.
    pub file: Option<Arc<Source>>,
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
        self.labels.push(Label { span, text, file: None });
        self
    }

    /// Adds a place in another file.
    pub(crate) fn label_in(
        mut self,
        file: &Arc<Source>,
        span: Range<usize>,
        text: impl Into<String>,
    ) -> Self {
        let (text, file) = (text.into(), Some(Arc::clone(file)));
        self.labels.push(Label { span, text, file });
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what to write in place of a form of another language.
    pub(crate) fn rewrite(mut self, rewrite: Rewrite) -> Self {
        self.help = Some(rewrite.help);
        self.suggestion = rewrite.replacement;
        self
    }

    /// Adds the text to write instead.
    pub(crate) fn write(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        self.help = Some(format!("write {text}"));
        self.suggestion = Some(text);
        self
    }

    /// Adds the name that is meant as "did you mean".
    pub(crate) fn replace(mut self, meant: impl Into<String>) -> Self {
        let meant = meant.into();
        self.help = Some(format!("did you mean '{meant}'?"));
        self.suggestion = Some(meant);
        self
    }

    /// Adds the most similar name as "did you mean", else the available names.
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

/// Returns those of several places, which are in the order of their starts, that a span is within.
pub(crate) fn enclosing<'p, T>(
    places: &'p [T],
    range: impl Fn(&T) -> &Range<usize>,
    span: &Range<usize>,
) -> impl Iterator<Item = &'p T> {
    /// The most places before a span that are compared: they hardly overlap.
    const MAX_COMPARED: usize = 16;
    let end = places.partition_point(|place| range(place).start <= span.start);
    let near = places[..end].iter().rev().take(MAX_COMPARED);
    near.filter(move |place| span.end <= range(place).end)
}

/// Collects the diagnostics of one file.
pub(crate) struct Diagnostics {
    list: Vec<Diagnostic>,
    /// How many diagnostics were omitted.
    omitted: usize,
    has_errors: bool,
    /// The ranges about which one diagnostic says everything, each with the code of its rule.
    claims: Vec<(Range<usize>, &'static str)>,
    pub(crate) spelling: SpellingChecker,
}

impl Diagnostics {
    /// Above this number, only the first diagnostics of the file are kept: a broken file can have a
    /// hundred thousand.
    const MAX_KEPT: usize = 40 * MAX_DIAGNOSTICS;

    pub(crate) fn new() -> Self {
        Self {
            list: Vec::new(),
            omitted: 0,
            has_errors: false,
            claims: Vec::new(),
            spelling: SpellingChecker::new(),
        }
    }

    /// Adds an error from which all follows that other rules find in a range: they are held back.
    pub(crate) fn push_for(&mut self, range: Range<usize>, diagnostic: Diagnostic) {
        debug_assert_eq!(diagnostic.severity, Severity::Error);
        self.claims.push((range, diagnostic.code));
        self.push(diagnostic);
    }

    /// Returns the diagnostics so far.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Removes the diagnostics that are not wanted.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(&Diagnostic) -> bool) {
        self.list.retain(is_wanted);
    }

    /// Makes errors of some diagnostics.
    pub(crate) fn raise(&mut self, is_error: impl Fn(&Diagnostic) -> bool) {
        for one in self.list.iter_mut().filter(|one| is_error(one)) {
            one.severity = Severity::Error;
            self.has_errors = true;
        }
    }

    /// Removes what follows from an error about a whole range.
    fn hold_back(&mut self) {
        if self.claims.is_empty() {
            return;
        }
        // The longest first, and of two about the same range the first.
        self.claims.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        let holds = |claims: &[(Range<usize>, &str)], span: &Range<usize>, code: &str| {
            enclosing(claims, |(range, _)| range, span).any(|(_, of)| *of != code)
        };
        let mut claims: Vec<(Range<usize>, &'static str)> = Vec::with_capacity(self.claims.len());
        for (range, code) in self.claims.drain(..) {
            if !holds(&claims, &range, code) {
                claims.push((range, code));
            }
        }
        self.list.retain(|one| !holds(&claims, &one.span, one.code));
        self.claims = claims;
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.has_errors |= diagnostic.severity == Severity::Error;
        self.list.push(diagnostic);
        if self.list.len() > Self::MAX_KEPT {
            self.keep_first();
        }
    }

    /// Adds a place in another file to the diagnostics of a range.
    pub(crate) fn label_within(
        &mut self,
        range: &Range<usize>,
        file: &Arc<Source>,
        span: &Range<usize>,
        text: &str,
    ) {
        let is_within = |one: &&mut Diagnostic| {
            range.start <= one.span.start && one.span.end <= range.end && one.labels.is_empty()
        };
        for diagnostic in self.list.iter_mut().filter(is_within) {
            let (text, file) = (text.to_owned(), Some(Arc::clone(file)));
            diagnostic.labels.push(Label { span: span.clone(), text, file });
        }
    }

    /// Returns the diagnostics in source order, without duplicates and limited in number, and whether
    /// any diagnostic, including the omitted ones, is an error.
    pub(crate) fn finish(mut self, source: &Source) -> (Vec<Diagnostic>, bool) {
        self.keep_first();
        for diagnostic in &mut self.list {
            diagnostic.span = source.clamp(diagnostic.span.clone());
            for label in &mut diagnostic.labels {
                let file = label.file.as_deref().unwrap_or(source);
                label.span = file.clamp(label.span.clone());
            }
        }
        if self.omitted > 0 {
            let last = self.list.last().map_or(0, |diagnostic| diagnostic.span.start);
            self.list.push(too_many_findings::more(last, self.omitted));
        }
        (self.list, self.has_errors)
    }

    fn keep_first(&mut self) {
        self.hold_back();
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

/// Finds similar names within a budget for the whole file: ten thousand unknown names would otherwise
/// each be compared with ten thousand known names.
pub(crate) struct SpellingChecker {
    budget: Cell<usize>,
}

/// A suggestion for an unknown name.
pub(crate) enum Suggestion {
    Name(String),
    Choices(String),
    None,
}

impl SpellingChecker {
    /// The number of comparisons of two names, which take about 20 ms.
    const BUDGET: usize = 100_000;
    /// The most names that a message lists.
    const MAX_LISTED: usize = 12;

    pub(crate) fn new() -> Self {
        Self { budget: Cell::new(Self::BUDGET) }
    }

    /// Returns the most similar name, if one is similar enough.
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
        match spelling::nearest_two(wrong, names.iter().copied()) {
            Some((name, None)) => return Suggestion::Name(name.to_owned()),
            // Which of them is meant, only the author knows.
            Some((name, Some(other))) => {
                return Suggestion::Choices(format!("did you mean '{name}' or '{other}'?"));
            }
            None => {}
        }
        match names.len() {
            0 => Suggestion::None,
            1 => Suggestion::Choices(format!("available: {}", names[0])),
            count if count <= Self::MAX_LISTED => {
                Suggestion::Choices(format!("available: {}", names.join(", ")))
            }
            count => {
                let (some, rest) = (&names[..Self::MAX_LISTED], count - Self::MAX_LISTED);
                Suggestion::Choices(format!("available: {} and {rest} more", some.join(", ")))
            }
        }
    }
}
