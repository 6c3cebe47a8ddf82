//! Findings as people and programs read them. Pure: from findings to text or JSON.

use std::fmt::Write as _;

use annotate_snippets::{Group, Level, Origin, Renderer};
use serde_json::{Value as Json, json};

use super::excerpt::{self, Excerpt};
pub use super::reports::{github, sarif};
use super::{Finding, Severity};
use crate::runbook::Source;

/// As a compiler shows them: the message, the lines that it is about, and help.
pub fn human(source: &Source, findings: &[Finding], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "{}\n", renderer.render(&report(source, finding)));
    }
    text
}

/// One line a finding, which editors and grep understand:
/// `file:line:col: error[RB012]: message; did you mean 'x'?`.
pub fn short(source: &Source, findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let at = source.position(finding.span.start);
        let (name, word) = (source.name(), finding.severity.word());
        let _ = write!(text, "{name}:{}:{}: {word}", at.line, at.column);
        let _ = write!(text, "[{}]: {}", finding.code, one_line(&finding.message));
        if let Some(help) = &finding.help {
            let _ = write!(text, "; {}", one_line(help));
        }
        text.push('\n');
    }
    text
}

/// For programs: one object a finding, with the places counted as editors do.
pub fn json(source: &Source, findings: &[Finding]) -> Json {
    findings.iter().map(|finding| object(source, finding)).collect()
}

fn object(source: &Source, finding: &Finding) -> Json {
    let label = |label: &super::Label| {
        let mut object = range(source, &label.span);
        object["message"] = json!(label.text);
        object
    };
    let mut object = range(source, &finding.span);
    object["file"] = json!(source.name());
    object["code"] = json!(finding.code);
    object["severity"] = json!(finding.severity.word());
    object["message"] = json!(finding.message);
    object["labels"] = finding.labels.iter().map(label).collect();
    object["help"] = json!(finding.help);
    object["suggestion"] = json!(finding.suggestion);
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

fn report<'s>(source: &'s Source, finding: &'s Finding) -> Vec<Group<'s>> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(finding.message.as_str()).id(finding.code);
    let at = source.position(finding.span.start);
    let origin = Origin::path(source.name()).line(at.line).char_column(at.column);
    let mut groups = vec![match excerpt::all(source, finding) {
        Some(excerpts) => title.elements(excerpts),
        None => title.element(origin),
    }];
    groups.extend(finding.help.as_deref().map(|help| help_group(source, finding, help)));
    groups
}

fn help_group<'s>(source: &'s Source, finding: &'s Finding, help: &'s str) -> Group<'s> {
    let title = Level::HELP.secondary_title(help);
    let span = source.clamp(finding.span.clone());
    let patched = finding
        .suggestion
        .as_deref()
        .and_then(|suggestion| Some(Excerpt::of(source, span.clone())?.patched(&span, suggestion)));
    match patched {
        Some(patched) => title.element(patched),
        None => Group::with_title(title),
    }
}
