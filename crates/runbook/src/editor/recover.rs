//! The analysis of a text that may not be YAML at the moment: lines that cannot be read count as empty.

use std::borrow::Cow;
use std::ops::Range;

use super::super::analysis::Analysis;
use super::super::callables::Calls;
use super::super::document;
use super::super::source::Source;
use super::super::{Wanted, yaml};
use super::level::Known;

/// The most lines that count as empty before a text is given up.
const MAX_BLANKED: usize = 8;

/// Analyzes a text, and returns what is read of it; none if too much of the text cannot be read. If the text is not
/// YAML, the line of the cursor is left out first: that is where the author is writing. Every span is one of the text.
pub(super) fn analyze<R>(
    source: &Source,
    cursor: usize,
    known: Known<'_>,
    read: impl FnOnce(&Analysis<'_>) -> R,
) -> Option<R> {
    let (tree, issues) = readable(source.text(), cursor)?;
    let document = document::read(&tree);
    let wanted = Wanted(&|| true);
    let calls = Calls::new(known.library);
    let callables = calls.resolve(&document, known.registry, &wanted).ok()?;
    let analysis =
        Analysis::new(source, known.registry, &callables, &issues, document, &wanted).ok()?;
    Some(read(&analysis))
}

/// Returns the tree of a text, or of the text without some lines: first that of the cursor, then those that the parser
/// complains about.
fn readable(text: &str, cursor: usize) -> Option<(yaml::Node, Vec<yaml::YamlIssue>)> {
    let (tree, issues) = yaml::load(text);
    match tree {
        Some(tree) => return Some((tree, issues)),
        None if text.len() > yaml::MAX_BYTES => return None,
        None => {}
    }
    let without_cursor = line_at(text, cursor).map(|line| without(text, &line));
    let at_cursor = without_cursor.as_deref().and_then(loaded);
    let elsewhere = || readable_without_errors(text);
    let both = || readable_without_errors(without_cursor.as_deref()?);
    at_cursor.or_else(elsewhere).or_else(both)
}

fn loaded(text: &str) -> Option<(yaml::Node, Vec<yaml::YamlIssue>)> {
    let (tree, issues) = yaml::load(text);
    Some((tree?, issues))
}

fn readable_without_errors(text: &str) -> Option<(yaml::Node, Vec<yaml::YamlIssue>)> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..MAX_BLANKED {
        let (tree, issues) = yaml::load(&text);
        if let Some(tree) = tree {
            return Some((tree, issues));
        }
        let at = issues.last().map_or(0, |issue| issue.span.start);
        // What is wrong with a line is often noticed at the next one.
        let found = line_at(&text, at);
        let before = line_before(&text, found.as_ref().map_or(at, |line| line.start));
        let candidates = found.into_iter().chain(before).map(|line| without(&text, &line));
        let furthest = candidates.max_by_key(|text| match yaml::load(text) {
            (Some(_), _) => usize::MAX,
            (None, issues) => issues.last().map_or(0, |issue| issue.span.start),
        })?;
        text = Cow::Owned(furthest);
    }
    loaded(&text)
}

/// Returns the line at an offset; none if it is blank.
fn line_at(text: &str, offset: usize) -> Option<Range<usize>> {
    let start = text.get(..offset)?.rfind('\n').map_or(0, |at| at + 1);
    let length = text[start..].find('\n').unwrap_or(text.len() - start);
    let line = start..start + length;
    (!text[line.clone()].trim().is_empty()).then_some(line)
}

/// Returns the last line before an offset that is not blank.
fn line_before(text: &str, offset: usize) -> Option<Range<usize>> {
    let before = text.get(..offset)?.trim_end();
    line_at(text, before.len())
}

/// Returns a text of the same length in which a line is blank.
fn without(text: &str, line: &Range<usize>) -> String {
    [&text[..line.start], &" ".repeat(line.len()), &text[line.end..]].concat()
}
