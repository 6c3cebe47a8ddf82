//! Reads the outline of a text as a person does, by its indentation, and finds the first place where it breaks.

use super::flow::{self, Place};
use super::lines::{self, Line, Parts};
use super::scalars::{self, in_double_quotes, quoted_value};
use super::{COMMENTS, Cause, Found, foreign_comment, shown};

/// Finds the first break at or before the place where the parser gave up.
pub(super) fn find(lines: &[Line<'_>], at: usize) -> Option<Found> {
    let mut outline = Outline { lines, open: Vec::new(), last: None, closed: Vec::new() };
    let mut index = 0;
    while let Some(line) = lines.get(index) {
        // A text that the parser can read up to here has no break before.
        if line.start > at.saturating_add(1)
            && outline.last.as_ref().is_none_or(|last| last.index + 1 < index)
        {
            break;
        }
        match outline.line(index) {
            Ok(next) => index = next.max(index + 1),
            Err(found) => return Some(*found),
        }
    }
    None
}

/// A mapping or a list that is open at a line.
struct Block<'t> {
    column: usize,
    is_list: bool,
    /// The first key with its place in the text.
    first: Option<(&'t str, usize)>,
    /// The last key.
    last: &'t str,
    /// The place of the dash that begins the list, if it is the second one of its line.
    second_dash: Option<usize>,
}

/// The state that the line before left.
#[derive(Clone, Copy)]
struct Last<'t> {
    index: usize,
    column: usize,
    name: &'t str,
    value: Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Missing,
    /// An unquoted text, which can go on in the next lines.
    Plain,
    Literal,
    Complete,
}

struct Outline<'l, 't> {
    lines: &'l [Line<'t>],
    open: Vec<Block<'t>>,
    last: Option<Last<'t>>,
    /// The columns of the blocks that the last key has closed.
    closed: Vec<usize>,
}

type Step<T> = Result<T, Box<Found>>;

fn fail<T>(found: Found) -> Step<T> {
    Err(Box::new(found))
}

impl<'t> Outline<'_, 't> {
    /// Reads a line, and returns the index of the line after its value.
    fn line(&mut self, index: usize) -> Step<usize> {
        let Some(line) = self.lines.get(index) else { return Ok(index + 1) };
        let is_marker = line.text.starts_with("---") || line.text.starts_with("...");
        if line.is_literal || line.is_blank() || is_marker {
            return Ok(index + 1);
        }
        let parts = lines::parts(line.text);
        let content = line.text.get(parts.column..).unwrap_or_default();
        if is_glued_dash(content) && parts.key.is_some() {
            let at = line.start + parts.column;
            return fail(Found::new(at..at + 1, Cause::DashWithoutSpace).suggest("- "));
        }
        match parts.dash {
            Some(dash) => self.item(line, &parts, dash)?,
            None => match parts.key {
                Some(key) => self.key(line, parts.column, key)?,
                None => return self.text(index, line, &parts),
            },
        }
        self.value(index, line, &parts)
    }

    /// Closes what is indented more than a column, and returns the last that was closed.
    fn close(&mut self, column: usize) -> Option<Block<'t>> {
        let mut closed = None;
        self.closed.clear();
        while self.open.last().is_some_and(|block| block.column > column) {
            closed = self.open.pop();
            self.closed.extend(closed.as_ref().map(|block| block.column));
        }
        closed
    }

    /// Reads the dashes of a line, and the key after them.
    fn item(&mut self, line: &Line<'t>, parts: &Parts<'t>, dash: (usize, usize)) -> Step<()> {
        let column = dash.0;
        let list_above = self.open.last().filter(|block| block.is_list).map(|block| block.column);
        let closed = self.close(column);
        let at = line.start + column;
        let span = at..at + 1;
        let is_after_empty = self.last.is_some_and(|last| last.value == Value::Missing);
        match self.open.last() {
            Some(block) if block.column == column && block.is_list => {}
            Some(block) if block.column == column => {
                if closed.is_some() || !is_after_empty {
                    return fail(match block.first {
                        Some((key, place)) if Some(key) == parts.key => missing_dash(key, place),
                        _ => Found::new(span, Cause::DashAmongKeys),
                    });
                }
                self.open.push(list(column));
            }
            Some(_) | None if closed.is_none() => {
                match self.last {
                    Some(last) if last.value == Value::Plain => return Ok(()),
                    Some(last) if last.value != Value::Missing && !self.open.is_empty() => {
                        let cause =
                            Cause::KeyUnderValue { key: "-".into(), parent: shown(last.name) };
                        return fail(Found::new(span, cause));
                    }
                    _ => {}
                }
                self.open.push(list(column));
            }
            // Between the dashes of a list and the keys of its items.
            Some(block) if block.is_list => {
                return fail(wrong_indent("-", column, span, block.column, "-"));
            }
            // An item that is not below the one before.
            _ if list_above.is_some_and(|above| above == column + 1) => {
                return fail(wrong_indent("-", column, span, column + 1, "-"));
            }
            _ => {
                let closed = closed.as_ref();
                let found = match closed.and_then(|block| block.first) {
                    Some((key, place)) if closed.is_some_and(|block| !block.is_list) => {
                        missing_dash(key, place)
                    }
                    _ => {
                        let wanted = closed.map_or(0, |block| block.column);
                        wrong_indent("-", column, span, wanted, "-")
                    }
                };
                return fail(found);
            }
        }
        if dash.1 > dash.0 {
            self.open.push(Block { second_dash: Some(line.start + dash.1), ..list(dash.1) });
        }
        self.last = Some(Last { index: 0, column: dash.1, name: "-", value: Value::Missing });
        if let Some(key) = parts.key {
            let first = Some((key, line.start + parts.column));
            self.open.push(Block {
                column: parts.column,
                is_list: false,
                first,
                last: key,
                second_dash: None,
            });
            self.last =
                Some(Last { index: 0, column: parts.column, name: key, value: Value::Missing });
        }
        Ok(())
    }

    /// Reads a key at the start of a line.
    fn key(&mut self, line: &Line<'t>, column: usize, key: &'t str) -> Step<()> {
        let at = line.start + column;
        let span = at..at + key.len();
        let closed_before = std::mem::take(&mut self.closed);
        let closed = self.close(column);
        // A list may have the indentation of its key.
        if let [.., below, top] = self.open.as_slice()
            && top.is_list
            && top.column == column
            && below.column == column
            && !below.is_list
        {
            self.open.pop();
        }
        let last = self.last;
        match self.open.last_mut() {
            Some(block) if block.column == column && !block.is_list => block.last = key,
            Some(Block { column: same, second_dash: Some(dash), .. }) if *same == column => {
                let span = *dash..*dash + "- ".len();
                return fail(Found::new(span, Cause::TwoDashes).suggest(""));
            }
            Some(block) if block.column == column => {
                let first = closed.as_ref().and_then(|block| block.first);
                return fail(match (closed.as_ref(), first) {
                    (Some(closed), Some((first, _))) if first != key => {
                        wrong_indent(key, column, span, closed.column, closed.last)
                    }
                    _ => missing_dash(key, at),
                });
            }
            Some(_) | None if closed.is_none() => {
                if let Some(last) = last.filter(|_| !self.open.is_empty())
                    && last.value != Value::Missing
                {
                    if closed_before.contains(&column)
                        && let Some(line) = self.lines.get(last.index)
                        && lines::parts(line.text).key.is_some()
                    {
                        // The key before was meant to be in the block that it has closed.
                        let at = line.start + last.column;
                        let span = at..at + last.name.len();
                        return fail(wrong_indent(last.name, last.column, span, column, key));
                    }
                    return fail(self.under_value(key, column, span, last));
                }
                self.open.push(Block {
                    column,
                    is_list: false,
                    first: Some((key, at)),
                    last: key,
                    second_dash: None,
                });
            }
            _ => {
                let found = match &closed {
                    // The first keys are indented more than the others.
                    Some(Block { column: wrong, first: Some((first, place)), .. })
                        if self.open.is_empty() =>
                    {
                        let span = *place..*place + first.len();
                        wrong_indent(first, *wrong, span, column, key)
                    }
                    Some(block) => unlike_first(block, key, column, span),
                    None => Found::new(span, Cause::Indentation),
                };
                return fail(found);
            }
        }
        self.last = Some(Last { index: 0, column, name: key, value: Value::Missing });
        Ok(())
    }

    /// Returns the cause for a key that is indented under a value.
    fn under_value(
        &self,
        key: &str,
        column: usize,
        span: std::ops::Range<usize>,
        last: Last<'_>,
    ) -> Found {
        // The line before is a value of its own, without a key: it was meant to have one.
        if let Some(before) = self.lines.get(last.index).filter(|_| last.value == Value::Plain) {
            let parts = lines::parts(before.text);
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let text = before.text.get(parts.column..).unwrap_or_default();
            if parts.key.is_none() && text.starts_with(is_name) {
                return without_colon(before, parts.column);
            }
        }
        if column == last.column + 1 {
            return match self.open.last().filter(|block| block.last == last.name) {
                Some(block) => unlike_first(block, key, column, span),
                None => wrong_indent(key, column, span, last.column, last.name),
            };
        }
        let cause = Cause::KeyUnderValue { key: shown(key), parent: shown(last.name) };
        Found::new(span, cause)
    }

    /// Reads a line without a key and a dash.
    fn text(&mut self, index: usize, line: &Line<'t>, parts: &Parts<'t>) -> Step<usize> {
        let column = parts.column;
        if let Some(last) = self.last.filter(|last| column > last.column) {
            match last.value {
                Value::Missing => return self.value(index, line, parts),
                Value::Plain => return Ok(index + 1),
                Value::Literal | Value::Complete => {}
            }
        }
        if self.last.is_none() {
            return match line.text.get(column..) {
                Some(rest) if rest.starts_with(['{', '[', '"', '\'']) => {
                    self.value(index, line, parts)
                }
                _ => fail(without_colon(line, column)),
            };
        }
        if self.last.is_some_and(|last| last.value == Value::Literal) {
            return fail(Found::new(
                line.start + column..line.span().end,
                Cause::BlockScalarIndent,
            ));
        }
        self.close(column);
        if self.open.last().is_some_and(|block| block.is_list && block.column == column) {
            let end = scalars::value_end(line.text, column);
            let item = line.text.get(column..end).unwrap_or_default();
            return fail(missing_dash(item, line.start + column));
        }
        fail(without_colon(line, column))
    }

    /// Reads the value of a line, and returns the index of the line after it.
    fn value(&mut self, index: usize, line: &Line<'t>, parts: &Parts<'t>) -> Step<usize> {
        let mut next = index + 1;
        let mut kind = Value::Missing;
        if let Some(at) = parts.value {
            let rest = line.text.get(at..).unwrap_or_default();
            let owner = self.last.map(|last| last.column);
            kind = match rest.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    let end = flow::string(self.lines, (index, at), owner, quote)?;
                    if end.0 == index {
                        check_after_string(line, at, end, quote)?;
                    }
                    next = end.0 + 1;
                    Value::Complete
                }
                Some('{') if rest.starts_with("{{") => return fail(unquoted(line, at)),
                Some('{' | '[') => {
                    let end = flow::scan(self.lines, (index, at), owner)?;
                    self.check_after_brackets((index, at), end)?;
                    next = end.0 + 1;
                    Value::Complete
                }
                Some('|' | '>') => {
                    check_header(line, at)?;
                    Value::Literal
                }
                Some('-') if parts.key.is_some() && (rest == "-" || rest.starts_with("- ")) => {
                    let at = line.start + at;
                    return fail(Found::new(at..at + 1, Cause::DashAfterKey));
                }
                _ => {
                    check_plain(line, at)?;
                    Value::Plain
                }
            };
        }
        if let Some(last) = &mut self.last {
            (last.value, last.index) = (kind, index);
        }
        Ok(next)
    }

    fn check_after_brackets(&self, start: Place, end: Place) -> Step<()> {
        let Some(line) = self.lines.get(end.0) else { return Ok(()) };
        let rest = line.text.get(end.1..).unwrap_or_default();
        let next = rest.trim_start();
        let at = line.start + end.1 + rest.len() - next.len();
        if let Some(close @ (']' | '}')) = next.chars().next() {
            return fail(Found::new(at..at + 1, Cause::ExtraBracket(close)));
        }
        if next.starts_with('#') && next.len() == rest.len() {
            return fail(Found::new(at..at + 1, Cause::GluedComment).suggest(" #"));
        }
        if next.is_empty() || next.starts_with('#') || next.starts_with(':') {
            return Ok(());
        }
        let next = next.trim_end();
        if let Some(sign) = COMMENTS.iter().find(|sign| next.starts_with(*sign)) {
            return fail(foreign_comment(at, next, sign));
        }
        // `[1/2] Probe it` is a text; what comes after a mapping is one too much.
        let value =
            line.text.get(start.1..).filter(|value| start.0 == end.0 && value.starts_with('['));
        let Some(value) = value.filter(|_| !next.starts_with(['[', '{', ','])) else {
            return fail(Found::new(at..at + next.len(), Cause::AfterBrackets));
        };
        let text = value.get(..scalars::value_end(line.text, start.1) - start.1).unwrap_or(value);
        let span = line.start + start.1..line.start + start.1 + text.len();
        fail(Found::new(span, Cause::BracketInText('[')).suggest(in_quotes(text)))
    }
}

fn list<'t>(column: usize) -> Block<'t> {
    Block { column, is_list: true, first: None, last: "-", second_dash: None }
}

fn missing_dash(key: &str, place: usize) -> Found {
    let span = place..place + key.len();
    Found::new(span, Cause::MissingDash(shown(key)))
}

/// Returns the cause for a key that is not indented as the first key of its block. If that is the only one before, and
/// alone has an odd number of spaces, it is the wrong one.
fn unlike_first(
    block: &Block<'_>,
    key: &str,
    column: usize,
    span: std::ops::Range<usize>,
) -> Found {
    match block.first {
        Some((first, place))
            if block.last == first
                && !block.column.is_multiple_of(2)
                && column.is_multiple_of(2) =>
        {
            wrong_indent(first, block.column, place..place + first.len(), column, key)
        }
        _ => wrong_indent(key, column, span, block.column, block.last),
    }
}

fn check_after_string(line: &Line<'_>, open: usize, end: Place, quote: char) -> Step<()> {
    let rest = line.text.get(end.1..).unwrap_or_default();
    let next = rest.trim_start();
    let is_comment = next.starts_with('#') && next.len() < rest.len();
    if next.is_empty() || is_comment || next.starts_with(':') {
        return Ok(());
    }
    fail(flow::inside_quotes(line, open, end.1, quote, next.len() < rest.len()))
}

fn wrong_indent(
    key: &str,
    found: usize,
    span: std::ops::Range<usize>,
    wanted: usize,
    sibling: &str,
) -> Found {
    let cause = Cause::WrongIndent { key: shown(key), found, wanted, sibling: shown(sibling) };
    Found::new(span, cause)
}

/// Whether a text begins with a dash and a name.
fn is_glued_dash(content: &str) -> bool {
    let rest = content.strip_prefix('-').unwrap_or_default();
    rest.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Returns the cause for `key:value` on a line.
fn glued(line: &Line<'_>, parts: &Parts<'_>) -> Option<Found> {
    let from = match parts.key {
        Some(_) => parts.value?,
        None => parts.column,
    };
    let end = scalars::value_end(line.text, from);
    let text = line.text.get(from..end)?;
    let (key, value) = text.split_once(':')?;
    let is_name = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if parts.key.is_some() || !is_name || value.starts_with("//") {
        return None;
    }
    let at = line.start + from;
    let found = Found::new(at..at + text.len(), Cause::MissingSpace(shown(key)));
    Some(found.suggest(format!("{key}: {value}")))
}

/// Returns the cause for a line that has no colon after its key.
fn without_colon(line: &Line<'_>, column: usize) -> Found {
    if let Some(found) = glued(line, &lines::parts(line.text)) {
        return found;
    }
    let end = scalars::value_end(line.text, column);
    let text = line.text.get(column..end).unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = &text[..text.find(|c| !is_name(c)).unwrap_or(text.len())];
    let span = line.start + column..line.start + end;
    if key.is_empty() {
        let reserved = text.chars().next().filter(|first| matches!(first, '%' | '@' | '`'));
        return Found::new(span, reserved.map_or(Cause::Other, Cause::Reserved));
    }
    let rest = text[key.len()..].trim_start().trim_start_matches(['=', '>', ':']).trim();
    let fixed = if rest.is_empty() { format!("{key}:") } else { format!("{key}: {rest}") };
    Found::new(span, Cause::MissingColon(shown(key))).suggest(fixed)
}

/// Returns the cause for a value that begins with a template without quotes.
fn unquoted(line: &Line<'_>, at: usize) -> Found {
    let end = scalars::value_end(line.text, at);
    let text = line.text.get(at..end).unwrap_or_default();
    let span = line.start + at..line.start + end;
    let found = Found::new(span, Cause::UnquotedTemplate);
    if text.contains("}}") { found.suggest(in_double_quotes(text)) } else { found }
}

fn check_header(line: &Line<'_>, at: usize) -> Step<()> {
    let end = scalars::value_end(line.text, at);
    let header = line.text.get(at + 1..end).unwrap_or_default();
    let text = header.trim_start_matches(['+', '-', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    if text.is_empty() {
        return Ok(());
    }
    let text = text.trim_start();
    let start = line.start + end - text.len();
    fail(Found::new(start..line.start + end, Cause::BlockScalarHeader))
}

/// Checks an unquoted value.
fn check_plain(line: &Line<'_>, at: usize) -> Step<()> {
    let end = scalars::value_end(line.text, at);
    let text = line.text.get(at..end).unwrap_or_default();
    let span = line.start + at..line.start + end;
    let second = text.get(1..).and_then(|rest| rest.chars().next());
    let first = text.chars().next().unwrap_or(' ');
    let is_reserved = match first {
        '@' | '`' | '%' => true,
        // An alias is a name without anything after it; it has a message of its own.
        '*' => text.contains(' ') || !second.is_some_and(char::is_alphanumeric),
        '&' => !second.is_some_and(char::is_alphanumeric),
        ',' | ']' | '}' => true,
        _ => false,
    };
    if is_reserved {
        return fail(Found::new(span, Cause::Reserved(first)).suggest(in_quotes(text)));
    }
    if text.contains(": ") || text.ends_with(':') {
        let found = Found::new(span, Cause::ColonInValue);
        // `(a: b)` was meant as a mapping.
        return fail(if first == '(' { found } else { found.suggest(in_quotes(text)) });
    }
    Ok(())
}

fn in_quotes(text: &str) -> String {
    if text.contains("{{") { in_double_quotes(text) } else { quoted_value(text) }
}
