//! Finds what is wrong in a value in brackets, which may span several lines.

use super::cause::closer;
use super::lines::{self, Line};
use super::scalars::{self, in_double_quotes, quoted_value};
use super::{Cause, Found, shown};

/// A position: the index of a line, and a column in it.
pub(super) type Place = (usize, usize);

/// Reads a value in brackets, and returns where it ends. The lines of the value must be indented more than `column`.
pub(super) fn scan(
    lines: &[Line<'_>],
    from: Place,
    column: Option<usize>,
) -> Result<Place, Box<Found>> {
    let mut flow =
        Flow { lines, column, open: Vec::new(), colon: None, plain: None, is_start: true };
    let (mut index, mut at) = from;
    while let Some(line) = lines.get(index) {
        if index > from.0 && flow.ends_before(line) {
            break;
        }
        match flow.line(index, at)? {
            Next::End(place) => return Ok(place),
            Next::Line(next, column) => (index, at) = (next, column),
        }
    }
    let (place, open) = flow.open.last().copied().unwrap_or((0, '['));
    Err(Box::new(Found::new(place..place + 1, Cause::UnclosedBracket(open))))
}

/// The place where reading goes on.
enum Next {
    /// The value has ended.
    End(Place),
    /// The value goes on at a place.
    Line(usize, usize),
}

struct Flow<'l, 't> {
    lines: &'l [Line<'t>],
    column: Option<usize>,
    /// The open brackets with their places in the text.
    open: Vec<(usize, char)>,
    /// The column after the last ': ' of the current entry, on this line.
    colon: Option<usize>,
    /// The column at which an unquoted text begins, on this line.
    plain: Option<usize>,
    /// Whether a value begins here.
    is_start: bool,
}

impl Flow<'_, '_> {
    /// Whether a line does not belong to the value any more.
    fn ends_before(&self, line: &Line<'_>) -> bool {
        let content = line.text.trim_start();
        let is_closer = content.starts_with([']', '}']);
        let is_outside = self.column.is_some_and(|column| line.indent() <= column);
        !line.is_blank() && !is_closer && (is_outside || content.starts_with("- "))
    }

    fn line(&mut self, index: usize, from: usize) -> Result<Next, Box<Found>> {
        let Some(line) = self.lines.get(index) else { return Ok(Next::Line(index + 1, 0)) };
        let (text, start) = (line.text, line.start);
        (self.colon, self.plain) = (None, None);
        let mut at = from;
        while let Some(character) = text.get(at..).and_then(|rest| rest.chars().next()) {
            let rest = text.get(at..).unwrap_or_default();
            match character {
                ' ' | '\t' => {}
                '#' if at == 0 || text[..at].ends_with([' ', '\t']) => break,
                '"' | '\'' if self.is_start => {
                    let end = string(self.lines, (index, at), self.column, character)?;
                    self.is_start = false;
                    if end.0 != index {
                        return Ok(Next::Line(end.0, end.1));
                    }
                    after_string(line, at, end.1, character)?;
                    at = end.1;
                    continue;
                }
                '{' if self.is_start && rest.starts_with("{{") => {
                    return Err(Box::new(unquoted(line, at)));
                }
                '"' | '\'' | '[' | '{' if !self.is_start => {
                    self.without_colon(line, at)?;
                    if matches!(character, '[' | '{') {
                        self.open.push((start + at, character));
                        (self.is_start, self.colon) = (true, None);
                    }
                }
                '[' | '{' => {
                    self.open.push((start + at, character));
                    (self.is_start, self.colon) = (true, None);
                }
                ']' | '}' => {
                    self.close(line, at, character)?;
                    (self.is_start, self.colon) = (false, None);
                    if self.open.is_empty() {
                        return Ok(Next::End((index, at + 1)));
                    }
                }
                ',' => (self.is_start, self.colon) = (true, None),
                ':' if rest.len() == 1 || rest[1..].starts_with([' ', '\t']) => {
                    self.second_colon(line, at)?;
                    (self.is_start, self.colon) = (true, Some(at + 1));
                }
                _ => {
                    if self.is_start {
                        self.plain = Some(at);
                    }
                    self.is_start = false;
                }
            }
            at += character.len_utf8();
        }
        Ok(Next::Line(index + 1, 0))
    }

    /// Closes a bracket.
    fn close(&mut self, line: &Line<'_>, at: usize, close: char) -> Result<(), Box<Found>> {
        let here = line.start + at..line.start + at + 1;
        let Some((place, open)) = self.open.pop() else {
            return Err(Box::new(Found::new(here, Cause::ExtraBracket(close))));
        };
        if closer(open) == close {
            return Ok(());
        }
        let is_of_outer = self.open.iter().any(|(_, outer)| closer(*outer) == close);
        let rest = line.text.get(at + 1..).unwrap_or_default();
        Err(Box::new(if is_of_outer {
            Found::new(place..place + 1, Cause::UnclosedBracket(open))
        } else if rest.contains(closer(open)) {
            Found::new(here, Cause::ExtraBracket(close))
        } else {
            let cause = Cause::WrongBracket { open, close };
            Found::new(here, cause).suggest(closer(open).to_string())
        }))
    }

    /// Reports a name that is followed by a value without a colon between them.
    fn without_colon(&self, line: &Line<'_>, at: usize) -> Result<(), Box<Found>> {
        let Some(from) = self.plain.filter(|_| self.colon.is_none()) else { return Ok(()) };
        let name = line.text.get(from..at).unwrap_or_default();
        let is_apart = name.ends_with(' ');
        let name = name.trim_end();
        let is_name =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let is_in_braces = self.open.last().is_some_and(|(_, open)| *open == '{');
        if !(is_name && is_apart && is_in_braces) {
            return Ok(());
        }
        let span = line.start + from..line.start + from + name.len();
        let cause = Cause::MissingColon(shown(name));
        Err(Box::new(Found::new(span, cause).suggest(format!("{name}:"))))
    }

    /// Reports a second ': ' in one entry of a mapping.
    fn second_colon(&self, line: &Line<'_>, at: usize) -> Result<(), Box<Found>> {
        let Some(after) = self.colon else { return Ok(()) };
        let between = line.text.get(after..at).unwrap_or_default();
        let (value, column) = (between.trim(), after + between.len() - between.trim_start().len());
        let word = value.rsplit([' ', ';']).next().unwrap_or_default();
        if word.len() < value.len() {
            let start = line.start + at - word.len();
            let cause = Cause::MissingComma(shown(word));
            return Err(Box::new(Found::new(start..start + word.len(), cause)));
        }
        let rest = line.text.get(column..).unwrap_or_default();
        let end = column + rest.find([',', '}', ']']).unwrap_or(rest.len());
        let text = line.text.get(column..end).unwrap_or_default().trim_end();
        let span = line.start + column..line.start + column + text.len();
        Err(Box::new(Found::new(span, Cause::ColonInValue).suggest(quoted_value(text))))
    }
}

/// Returns the cause for a template without quotes in brackets.
fn unquoted(line: &Line<'_>, at: usize) -> Found {
    let rest = line.text.get(at..).unwrap_or_default();
    let inside = rest.find("}}").map_or(rest.len(), |end| end + 2);
    let after = rest.get(inside..).unwrap_or_default();
    let end = inside + after.find([',', ']', '}']).unwrap_or(after.trim_end().len());
    let text = rest.get(..end).unwrap_or_default().trim_end();
    let span = line.start + at..line.start + at + text.len();
    let found = Found::new(span, Cause::UnquotedTemplate);
    if text.contains("}}") { found.suggest(in_double_quotes(text)) } else { found }
}

/// Returns the cause for a string that is followed by text, from the opening quote to after the closing one.
pub(super) fn inside_quotes(
    line: &Line<'_>,
    open: usize,
    end: usize,
    quote: char,
    is_apart: bool,
) -> Found {
    let value_end = scalars::value_end(line.text, open);
    let value = line.text.get(open..value_end).unwrap_or_default();
    // In brackets the value ends before the brackets that close it.
    let last = value.rfind(quote).unwrap_or(0);
    let is_quote_inside = open + last >= end;
    if !is_quote_inside {
        let rest = line.text.get(end..value_end).unwrap_or_default();
        let from = line.start + end + rest.len() - rest.trim_start().len();
        let cause = if is_apart { Cause::AfterQuote } else { Cause::QuoteInside(quote) };
        return Found::new(from..line.start + value_end, cause);
    }
    // From the first of the quotes inside to the last.
    let first = end - 1 - open;
    let inside = value.get(first..last).unwrap_or_default();
    let inside = inside.get(..=inside.rfind(quote).unwrap_or(0)).unwrap_or_default();
    let before = value.get(..first).unwrap_or_default();
    let is_template = before.rfind("{{") > before.rfind("}}");
    let fixed = match quote {
        '\'' => inside.replace('\'', "''"),
        _ if is_template => inside.replace('"', "'"),
        _ => inside.replace('"', "\\\""),
    };
    let start = line.start + open + first;
    Found::new(start..start + inside.len(), Cause::QuoteInside(quote)).suggest(fixed)
}

/// Reads a string in quotes, and returns where it ends. One that does not end before the next key is not closed.
pub(super) fn string(
    lines: &[Line<'_>],
    from: Place,
    column: Option<usize>,
    quote: char,
) -> Result<Place, Box<Found>> {
    let (mut index, open) = from;
    let mut at = open;
    while let Some(line) = lines.get(index) {
        if index > from.0 {
            let is_outside = column.is_some_and(|column| line.indent() <= column);
            let parts = lines::parts(line.text);
            let has_key = parts.key.is_some_and(|key| !key.contains([' ', quote]));
            if !line.text.trim().is_empty() && (is_outside || has_key || parts.dash.is_some()) {
                break;
            }
        }
        // The text of a further line has no opening quote.
        let search = if index == from.0 {
            scalars::closing(line.text, at, quote)
        } else {
            continued(line.text, quote)
        };
        if let Some(end) = search {
            return Ok((index, end + 1));
        }
        index += 1;
        at = 0;
    }
    let Some(line) = lines.get(from.0) else { return Ok(from) };
    let value = line.text.get(open..).unwrap_or_default().trim_end();
    let span = line.start + open..line.start + open + value.len();
    let found = Found::new(span, Cause::UnclosedQuote(quote));
    // In brackets, where the string ends cannot be known.
    let is_alone = !value.ends_with([']', '}']) || value.contains("{{") && value.ends_with("}}");
    Err(Box::new(if is_alone { found.suggest(format!("{value}{quote}")) } else { found }))
}

/// Returns the position of the closing quote in a further line of a string.
fn continued(line: &str, quote: char) -> Option<usize> {
    scalars::closing(&format!("{quote}{line}"), 0, quote).map(|end| end - 1)
}

/// Checks what follows a string.
fn after_string(line: &Line<'_>, open: usize, end: usize, quote: char) -> Result<(), Box<Found>> {
    let rest = line.text.get(end..).unwrap_or_default();
    let next = rest.trim_start();
    if next.is_empty() || next.starts_with([',', ']', '}', ':', '#']) {
        return Ok(());
    }
    let at = end + rest.len() - next.len();
    let word: String = next.chars().take_while(|c| !matches!(c, ',' | ']' | '}' | ' ')).collect();
    let is_next_value = next.starts_with(['"', '\'', '[', '{']) || word.ends_with(':');
    if at > end && is_next_value {
        let span = line.start + at..line.start + at + word.len();
        let next = shown(word.trim_end_matches(':'));
        return Err(Box::new(Found::new(span, Cause::MissingComma(next))));
    }
    Err(Box::new(inside_quotes(line, open, end, quote, at > end)))
}
