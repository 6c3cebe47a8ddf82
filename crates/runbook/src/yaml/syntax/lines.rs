//! The lines of a text, with what the structure of YAML makes of them.

use std::ops::Range;

/// A line without its line break.
pub(super) struct Line<'t> {
    /// The byte at which it starts.
    pub(super) start: usize,
    pub(super) text: &'t str,
    /// Whether it belongs to a text after `|` or `>`, which has no structure.
    pub(super) is_literal: bool,
}

impl<'t> Line<'t> {
    /// Returns the place of the line.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.start + self.text.trim_end().len()
    }

    /// Returns the spaces and tabs before the line.
    pub(super) fn blanks(&self) -> &'t str {
        &self.text[..self.indent()]
    }

    /// Returns the number of spaces and tabs before the line.
    pub(super) fn indent(&self) -> usize {
        self.text.len() - self.text.trim_start_matches([' ', '\t']).len()
    }

    /// Whether the line has no content.
    pub(super) fn is_blank(&self) -> bool {
        let content = self.text.trim_start();
        content.is_empty() || content.starts_with('#')
    }
}

/// The parts of a line: dashes, a key, and the start of a value. Columns count bytes from 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'t> {
    /// The columns of the dashes, of which only the first and the last are kept.
    pub(super) dash: Option<(usize, usize)>,
    /// The column after the dashes.
    pub(super) column: usize,
    pub(super) key: Option<&'t str>,
    /// The column of the value, if there is one on the line.
    pub(super) value: Option<usize>,
}

/// Reads the lines of a text.
pub(super) fn read(text: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut start = 0;
    // The column that a line of a text after `|` or `>` must exceed.
    let mut literal: Option<usize> = None;
    for raw in text.split_inclusive('\n') {
        let line = raw.trim_end_matches(['\n', '\r']);
        // A byte order mark takes no column.
        let mark =
            if start == 0 && line.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let mut line = Line { start: start + mark, text: &line[mark..], is_literal: false };
        start += raw.len();
        let is_empty = line.text.trim().is_empty();
        if literal.is_some_and(|column| is_empty || line.indent() > column) {
            line.is_literal = true;
        } else {
            literal = literal_column(&line);
        }
        lines.push(line);
    }
    lines
}

/// Returns the column that the lines of a text must exceed which begins after this line.
fn literal_column(line: &Line<'_>) -> Option<usize> {
    if line.is_blank() {
        return None;
    }
    let parts = parts(line.text);
    let header = line.text.get(parts.value?..)?;
    let header = header.split(" #").next().unwrap_or_default().trim_end();
    let rest = header.strip_prefix(['|', '>'])?;
    let is_header = rest.chars().all(|c| matches!(c, '+' | '-' | '1'..='9'));
    let column = match (parts.key, parts.dash) {
        (None, Some((_, last))) => last,
        _ => parts.column,
    };
    is_header.then_some(column)
}

/// Splits a line.
pub(super) fn parts(line: &str) -> Parts<'_> {
    let mut column = line.len() - line.trim_start_matches([' ', '\t']).len();
    let mut dash: Option<(usize, usize)> = None;
    while let Some(rest) = line[column..].strip_prefix('-') {
        if !(rest.is_empty() || rest.starts_with(' ')) {
            break;
        }
        dash = Some((dash.map_or(column, |(first, _)| first), column));
        column += 1 + rest.len() - rest.trim_start_matches(' ').len();
    }
    let content = &line[column..];
    let colon = key_end(content);
    let key = colon.map(|end| &content[..end]);
    let after = colon.map_or(column, |end| column + end + 1);
    let rest = &line[after..];
    let value = after + rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let is_value = value < line.len()
        && !(line[value..].starts_with('#') && (value > after || colon.is_none()));
    Parts { dash, column, key, value: is_value.then_some(value) }
}

/// Returns the position of the colon that ends the key with which a text begins.
fn key_end(content: &str) -> Option<usize> {
    let quote = content.chars().next().filter(|c| matches!(c, '"' | '\''));
    let from = match quote {
        Some(quote) => super::scalars::closing(content, 0, quote)? + 1,
        None if content.starts_with(['[', '{', '#', '&', '*', '!', '|', '>', '@', '`', '%']) => {
            return None;
        }
        None => 0,
    };
    let rest = &content[from..];
    if quote.is_some() {
        let rest = rest.strip_prefix(':')?;
        return (rest.is_empty() || rest.starts_with(' ')).then_some(from);
    }
    let mut before = ' ';
    for (at, character) in rest.char_indices() {
        match character {
            '#' if before == ' ' => return None,
            ':' if rest[at + 1..].is_empty() || rest[at + 1..].starts_with([' ', '\t']) => {
                return Some(at);
            }
            _ => before = character,
        }
    }
    None
}
