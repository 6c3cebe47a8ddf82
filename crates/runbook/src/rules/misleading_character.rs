//! A character that is taken for another one.

use std::ops::Range;

use super::super::document::RawStep;
use super::super::misleading::{Misleading, misleading};
use super::super::yaml::{Node, NodeKind, ScalarStyle};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB092",
    name: "misleading_character",
    severity: Severity::Error,
    summary: "a character that is taken for another one, or is not visible",
    explanation: "\
Text that was copied from a document or a chat has characters that are taken for others: typographic quotes, dashes,
no-break spaces, and spaces of zero width. In a key, in a name, and around a value they make another key, name or value
than the one that a person reads. In a text for people they are allowed.",
};

/// The keys and parameters whose texts are for people.
const FOR_PEOPLE: &[&str] =
    &["name", "description", "log", "message", "note", "reason", "title", "annotations"];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    if analysis.source.text().is_ascii() {
        return;
    }
    for (key, value) in analysis.header() {
        check_key(key, diagnostics);
        match key.text() {
            Some("inputs" | "defaults" | "limits" | "outputs") => check_tree(value, diagnostics),
            Some("name") => check_all(value, diagnostics),
            _ => {}
        }
    }
    for step in &analysis.document.steps {
        check_step(step, diagnostics);
    }
}

fn check_step(step: &RawStep<'_>, diagnostics: &mut Diagnostics) {
    for (key, value) in step.node.pairs().unwrap_or_default() {
        check_key(key, diagnostics);
        match key.text() {
            Some(key) if FOR_PEOPLE.contains(&key) => check_quotes(value, diagnostics),
            Some("id" | "action" | "call" | "timeout" | "on_failure" | "restore") => {
                check_all(value, diagnostics);
            }
            _ => check_tree(value, diagnostics),
        }
    }
}

/// Checks the keys and the values under a node.
fn check_tree(node: &Node, diagnostics: &mut Diagnostics) {
    match &node.kind {
        NodeKind::List(items) => items.iter().for_each(|item| check_tree(item, diagnostics)),
        NodeKind::Map(pairs) => {
            for (key, value) in pairs {
                check_key(key, diagnostics);
                if !key.text().is_some_and(|key| FOR_PEOPLE.contains(&key)) {
                    check_tree(value, diagnostics);
                }
            }
        }
        NodeKind::Scalar { .. } => check_edges(node, diagnostics),
        NodeKind::Broken => {}
    }
}

/// Checks a key: the key of a label is a name, too.
fn check_key(key: &Node, diagnostics: &mut Diagnostics) {
    check_all(key, diagnostics);
}

fn check_all(node: &Node, diagnostics: &mut Diagnostics) {
    let found = node.text().and_then(|text| first(text, |_, _| true));
    if let Some((at, found)) = found {
        report(node, at, found, diagnostics);
    }
}

/// Checks a text for people: typographic quotes around all of it were meant as those of YAML.
fn check_quotes(node: &Node, diagnostics: &mut Diagnostics) {
    let NodeKind::Scalar { text, style: ScalarStyle::Plain } = &node.kind else { return };
    let is_quoted = |open: char, close: char| text.starts_with(open) && text.ends_with(close);
    if is_quoted('“', '”') || is_quoted('‘', '’') || is_quoted('„', '“') {
        check_edges(node, diagnostics);
    }
}

/// Checks the first and the last character of an unquoted value.
fn check_edges(node: &Node, diagnostics: &mut Diagnostics) {
    let NodeKind::Scalar { text, style: ScalarStyle::Plain } = &node.kind else { return };
    let last = text.char_indices().next_back().map_or(0, |(at, _)| at);
    let is_edge = |at: usize, found: Misleading| {
        (at == 0 && matches!(found.meant, "\"" | "'" | "" | " " | "-" | "{" | ":"))
            || (at == last && matches!(found.meant, "" | " "))
    };
    if let Some((at, found)) = first(text, is_edge) {
        report(node, at, found, diagnostics);
    }
}

fn first(text: &str, is_wrong: impl Fn(usize, Misleading) -> bool) -> Option<(usize, Misleading)> {
    if text.is_ascii() {
        return None;
    }
    let mut characters = text.char_indices();
    characters.find_map(|(at, character)| {
        misleading(character).filter(|found| is_wrong(at, *found)).map(|found| (at, found))
    })
}

fn report(node: &Node, at: usize, found: Misleading, diagnostics: &mut Diagnostics) {
    let is_quoted = matches!(
        node.kind,
        NodeKind::Scalar { style: ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted, .. }
    );
    let start = node.span.start + usize::from(is_quoted) + at;
    let span: Range<usize> = start..start + found.character.len_utf8();
    let mut diagnostic = Diagnostic::new(&RULE, span, found.to_string()).help(found.help());
    // A typographic quote has a second one at the other end.
    let is_quote = matches!(found.meant, "\"" | "'");
    diagnostic.suggestion = (!is_quote).then(|| found.meant.to_owned());
    diagnostics.push_for(node.span.clone(), diagnostic);
}
