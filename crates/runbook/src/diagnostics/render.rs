//! Renders diagnostics for people and programs. Pure: from diagnostics to text or JSON.

use std::fmt::Write as _;

use annotate_snippets::{Group, Level, Origin, Renderer};
use serde_json::{Value as Json, json};
use text::printable;

use super::excerpt::{self, Excerpt};
pub use super::reports::{github, sarif};
use super::{Diagnostic, Severity};
use crate::Source;

/// Renders diagnostics as a compiler does: the message, the lines that it is about, and the help.
pub fn human(source: &Source, diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for diagnostic in diagnostics {
        let shown = diagnostic.printable();
        let _ = writeln!(text, "{}\n", renderer.render(&report(source, &shown)));
    }
    text
}

/// Renders one line per diagnostic, which editors and grep understand:
/// `file:line:col: error[RB012]: message; did you mean 'x'?`.
pub fn short(source: &Source, diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let at = source.position(diagnostic.span.start);
        let (name, word) = (source.name(), diagnostic.severity.as_str());
        let mut line = format!("{name}:{}:{}: {word}", at.line, at.column);
        let _ = write!(line, "[{}]: {}", diagnostic.code, one_line(&diagnostic.message));
        for label in &diagnostic.labels {
            let Some(file) = &label.file else { continue };
            let at = file.position(label.span.start);
            let (name, text) = (file.name(), one_line(&label.text));
            let _ = write!(line, " ({name}:{}:{}: {text})", at.line, at.column);
        }
        if let Some(help) = &diagnostic.help {
            let _ = write!(line, "; {}", one_line(help));
        }
        let _ = writeln!(text, "{}", printable(&line));
    }
    text
}

/// Renders one JSON object per diagnostic, with positions as editors count them.
pub fn json(source: &Source, diagnostics: &[Diagnostic]) -> Json {
    diagnostics.iter().map(|diagnostic| object(source, diagnostic)).collect()
}

fn object(source: &Source, diagnostic: &Diagnostic) -> Json {
    let label = |label: &super::Label| {
        let file = label.file.as_deref().unwrap_or(source);
        let mut object = range(file, &label.span);
        object["message"] = json!(label.text);
        if label.file.is_some() {
            object["file"] = json!(file.name());
        }
        object
    };
    let mut object = range(source, &diagnostic.span);
    object["file"] = json!(source.name());
    object["code"] = json!(diagnostic.code);
    object["severity"] = json!(diagnostic.severity.as_str());
    object["message"] = json!(diagnostic.message);
    object["labels"] = diagnostic.labels.iter().map(label).collect();
    object["help"] = json!(diagnostic.help);
    object["suggestion"] = json!(diagnostic.suggestion);
    object
}

fn range(source: &Source, span: &std::ops::Range<usize>) -> Json {
    let (start, end) = (source.position(span.start), source.position(span.end));
    json!({
        "line": start.line,
        "column": start.column,
        "end_line": end.line,
        "end_column": end.column,
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Diagnostic {
    /// Returns the diagnostic with texts of one line that a terminal shows as they are.
    pub(super) fn printable(&self) -> Self {
        let shown = |text: &String| printable(text).into_owned();
        let labels = self
            .labels
            .iter()
            .map(|label| super::Label { text: shown(&label.text), ..label.clone() });
        Self {
            message: shown(&self.message),
            labels: labels.collect(),
            help: self.help.as_ref().map(shown),
            suggestion: self.suggestion.as_ref().map(shown),
            ..self.clone()
        }
    }
}

fn report<'s>(source: &'s Source, diagnostic: &'s Diagnostic) -> Vec<Group<'s>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code);
    let at = source.position(diagnostic.span.start);
    let origin = Origin::path(printable(source.name())).line(at.line).char_column(at.column);
    let mut groups = vec![match excerpt::snippets(source, diagnostic) {
        Some(excerpts) => title.elements(excerpts),
        None => title.element(origin),
    }];
    for label in &diagnostic.labels {
        let Some(file) = &label.file else { continue };
        let title = Level::NOTE.secondary_title(label.text.as_str());
        groups.push(match excerpt::snippet_elsewhere(file, label) {
            Some(snippet) => title.element(snippet),
            None => Group::with_title(title),
        });
    }
    groups.extend(diagnostic.help.as_deref().map(|help| help_group(source, diagnostic, help)));
    groups
}

fn help_group<'s>(source: &'s Source, diagnostic: &'s Diagnostic, help: &'s str) -> Group<'s> {
    let title = Level::HELP.secondary_title(help);
    let span = source.clamp(diagnostic.span.clone());
    let patched = diagnostic.suggestion.as_deref().and_then(|suggestion| {
        Some(Excerpt::new(source, span.clone())?.patched(&span, suggestion))
    });
    match patched {
        Some(patched) => title.element(patched),
        None => Group::with_title(title),
    }
}
