//! The place of the cursor in a text that is being written, and so is often not YAML: found by indentation, brackets
//! and quotes, line by line. What cannot be understood is passed over, and the lines after it are read as if the text
//! were whole.

use std::ops::Range;

/// A key or a list item, with the entry that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'t> {
    pub(super) parent: Option<usize>,
    /// The key; none of a list item.
    pub(super) key: Option<&'t str>,
    /// The span of the key, or the start of the item.
    pub(super) span: Range<usize>,
    /// The text after the key, without quotes.
    pub(super) value: &'t str,
}

/// The role of the text at the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A key of the mapping that the path leads to; in a list, perhaps an item.
    Key,
    /// The value of the key that the path ends with.
    Value,
    /// A comment, or a text of several lines.
    Text,
}

/// The cursor in the structure of a text.
#[derive(Debug)]
pub(super) struct Cursor<'t> {
    /// All entries of the text, in order.
    pub(super) entries: Vec<Entry<'t>>,
    /// The entries that lead to the cursor, the outermost first.
    pub(super) path: Vec<usize>,
    pub(super) role: Role,
    /// The span of the word at the cursor, which a completion replaces.
    pub(super) word: Range<usize>,
}

impl<'t> Cursor<'t> {
    /// Finds the cursor at an offset, which must not split a character.
    pub(super) fn at(text: &'t str, offset: usize) -> Self {
        let mut scanner = Scanner::new(text, offset.min(text.len()));
        scanner.scan();
        let (path, role, word) = match scanner.found {
            Some(found) => (found.path, found.role, found.word),
            None => (Vec::new(), Role::Text, offset..offset),
        };
        Self { entries: scanner.entries, path, role, word }
    }

    /// Returns an entry of the path, or none.
    pub(super) fn entry(&self, at: usize) -> Option<&Entry<'t>> {
        self.entries.get(at)
    }

    /// Returns the entries directly in another one, or at the top of the text.
    pub(super) fn children(&self, parent: Option<usize>) -> impl Iterator<Item = &Entry<'t>> {
        self.entries.iter().filter(move |entry| entry.parent == parent)
    }

    /// Returns the value of a key directly in an entry.
    pub(super) fn value(&self, parent: usize, key: &str) -> Option<&'t str> {
        let found = self.children(Some(parent)).find(|entry| entry.key == Some(key));
        found.map(|entry| entry.value)
    }
}

/// An open entry, or a bracket that is not closed.
#[derive(Debug, Clone, Copy)]
enum Open {
    /// A key or an item of a block, with its column.
    Block { entry: usize, column: usize },
    /// `{`, with the entry that it is the value of.
    Map { parent: Option<usize>, key: Option<usize> },
    /// `[`, likewise.
    List { parent: Option<usize>, item: Option<usize> },
}

/// The text that the lines after the current one continue.
#[derive(Debug, Clone, Copy)]
enum Continued {
    Nothing,
    /// A block scalar, or a quoted text: lines that are indented more than this column.
    Scalar {
        column: usize,
        quote: Option<char>,
    },
}

struct Found {
    path: Vec<usize>,
    role: Role,
    word: Range<usize>,
}

struct Scanner<'t> {
    text: &'t str,
    offset: usize,
    entries: Vec<Entry<'t>>,
    open: Vec<Open>,
    continued: Continued,
    found: Option<Found>,
}

impl<'t> Scanner<'t> {
    fn new(text: &'t str, offset: usize) -> Self {
        let (entries, open) = (Vec::new(), Vec::new());
        Self { text, offset, entries, open, continued: Continued::Nothing, found: None }
    }

    fn scan(&mut self) {
        let mut start = 0;
        for line in self.text.split_inclusive('\n') {
            self.line(start, line.trim_end_matches(['\n', '\r']));
            start += line.len();
        }
        // The last line is empty.
        if self.text.is_empty() || self.text.ends_with('\n') {
            self.line(start, "");
        }
    }

    fn line(&mut self, start: usize, line: &'t str) {
        let bom = if start == 0 { bom_length(line) } else { 0 };
        let (start, line) = (start + bom, &line[bom..]);
        let indent = line.len() - line.trim_start_matches(' ').len();
        let is_blank = line.trim().is_empty();
        if let Continued::Scalar { column, quote } = self.continued {
            if is_blank || indent > column {
                return self.continued_line(start, line, quote);
            }
            self.continued = Continued::Nothing;
        }
        if self.is_in_brackets() {
            if is_blank && (start..=start + line.len()).contains(&self.offset) {
                return self.find_in_brackets(self.offset..self.offset);
            }
            if is_blank || indent > self.block_column() || line.trim_start().starts_with(['}', ']'])
            {
                return self.flow(start + indent.min(line.len()), start + line.len());
            }
            // A bracket that was never closed.
            self.open.retain(|open| matches!(open, Open::Block { .. }));
        }
        let rest = &line[indent..];
        if is_blank || rest.starts_with('#') {
            return self.empty_line(start, line, indent, is_blank);
        }
        if rest.starts_with("---") || rest.starts_with("...") {
            return self.open.clear();
        }
        self.block(start, line, indent);
    }

    /// Reads a line of a text of several lines.
    fn continued_line(&mut self, start: usize, line: &'t str, quote: Option<char>) {
        let end = start + line.len();
        if (start..=end).contains(&self.offset) {
            let path = self.path_of(self.top());
            self.find(path, Role::Text, self.offset..self.offset);
        }
        if let Some(quote) = quote
            && let Some(at) = closing(line, quote)
        {
            self.continued = Continued::Nothing;
            if self.is_in_brackets() {
                self.flow(start + at + quote.len_utf8(), end);
            }
        }
    }

    /// Reads a line without text. The column of the cursor says which mapping a key there is in.
    fn empty_line(&mut self, start: usize, line: &str, indent: usize, is_blank: bool) {
        let end = start + line.len();
        if !(start..=end).contains(&self.offset) {
            return;
        }
        let column = self.offset - start;
        if !is_blank && column > indent {
            let path = self.path_of(self.top());
            return self.find(path, Role::Text, self.offset..self.offset);
        }
        let is_inside = |open: &&Open| match open {
            Open::Block { column: of, .. } => *of < column,
            _ => true,
        };
        let inside = self.open.iter().take_while(is_inside).last();
        let path = self.path_of(inside.and_then(|open| entry_of(*open)));
        self.find(path, Role::Key, self.offset..self.offset);
    }

    /// Reads a line of a block: items, and a key with its value.
    fn block(&mut self, start: usize, line: &'t str, indent: usize) {
        let end = start + line.len();
        let mut column = indent;
        loop {
            let rest = &line[column..];
            if !(rest == "-" || rest.starts_with("- ")) {
                break;
            }
            // A list may be in the column of its key.
            self.close(|entry, of| of > column || of == column && entry.key.is_none());
            let at = start + column;
            let entry = self.add(None, at..at);
            self.open.push(Open::Block { entry, column });
            let after = &rest[1..];
            let blanks = after.len() - after.trim_start_matches(' ').len();
            column += 1 + blanks;
            if column >= line.len() {
                if (at + 1..=end).contains(&self.offset) {
                    let path = self.path_of(Some(entry));
                    self.find(path, Role::Key, self.offset..self.offset);
                }
                return;
            }
        }
        let rest = &line[column..];
        let at = start + column;
        if rest.starts_with(['{', '[']) {
            return self.flow(at, end);
        }
        let Some((key, length)) = key_of(rest) else {
            let word = at..at + without_comment(rest).len();
            if word.start <= self.offset && self.offset <= word.end {
                self.close(|_, of| of >= column);
                let path = self.path_of(self.top());
                self.find(path, Role::Key, word);
            } else if self.offset > word.end && self.offset <= end {
                let path = self.path_of(self.top());
                self.find(path, Role::Text, self.offset..self.offset);
            }
            return;
        };
        self.close(|_, of| of >= column);
        let span = at..at + length;
        if span.start <= self.offset && self.offset <= span.end {
            let path = self.path_of(self.top());
            self.find(path, Role::Key, span.clone());
        }
        let entry = self.add(Some(key), span.clone());
        self.open.push(Open::Block { entry, column });
        self.value(entry, column, span.end + 1, end);
    }

    /// Reads the value after a key of a block.
    fn value(&mut self, entry: usize, column: usize, from: usize, end: usize) {
        let text = self.slice(from, end);
        let at = from + text.len() - text.trim_start().len();
        let rest = self.slice(at, end);
        if rest.starts_with(['{', '[']) {
            self.find_value_in(entry, from..at);
            return self.flow(at, end);
        }
        if rest.starts_with(['|', '>']) {
            self.continued = Continued::Scalar { column, quote: None };
            return;
        }
        if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            let inside = at + 1..end;
            match closing(self.slice(at + 1, end), quote) {
                Some(length) => self.scalar(entry, from, at + 1..at + 1 + length),
                None => {
                    self.continued = Continued::Scalar { column, quote: Some(quote) };
                    self.scalar(entry, from, inside);
                }
            }
            return;
        }
        let length = without_comment(rest).len();
        self.scalar(entry, from, at..at + length);
        if self.offset > at + length && self.offset <= end && !rest[length..].trim().is_empty() {
            let path = self.path_of(Some(entry));
            self.find(path, Role::Text, self.offset..self.offset);
        }
    }

    /// Records the text of a value.
    fn scalar(&mut self, entry: usize, from: usize, span: Range<usize>) {
        let value = self.slice(span.start, span.end);
        if let Some(entry) = self.entries.get_mut(entry) {
            entry.value = value;
        }
        if self.found.is_none() && from <= self.offset && self.offset <= span.end {
            let path = self.path_of(Some(entry));
            let word = if self.offset < span.start { self.offset..self.offset } else { span };
            self.find(path, Role::Value, word);
        } else if self.found.is_none() && value.is_empty() {
            let line = self.slice(span.end, self.text.len()).lines().next().unwrap_or_default();
            let end = span.end + line.len();
            if line.trim().is_empty() && (span.end..=end).contains(&self.offset) {
                let path = self.path_of(Some(entry));
                self.find(path, Role::Value, self.offset..self.offset);
            }
        }
    }

    fn find_value_in(&mut self, entry: usize, blanks: Range<usize>) {
        if blanks.start <= self.offset && self.offset < blanks.end {
            let path = self.path_of(Some(entry));
            self.find(path, Role::Value, self.offset..self.offset);
        }
    }

    /// Reads a part of a line with brackets.
    fn flow(&mut self, from: usize, end: usize) {
        let mut at = from;
        while at < end {
            let rest = self.slice(at, end);
            let Some(next) = rest.chars().next() else { return };
            match next {
                ' ' | '\t' => {
                    let length = rest.len() - rest.trim_start().len();
                    // Behind the first blank, the cursor is at the next word if there is one.
                    if at <= self.offset && self.offset < at + length
                        || self.offset == at + length && at + length == end
                    {
                        self.find_in_brackets(self.offset..self.offset);
                    }
                    at += length;
                }
                '#' if at == from || self.slice(0, at).ends_with([' ', '\t']) => {
                    if at < self.offset && self.offset <= end {
                        let path = self.path_of(self.top());
                        self.find(path, Role::Text, self.offset..self.offset);
                    }
                    return;
                }
                '{' | '[' => {
                    let parent = self.element();
                    self.open.push(match next {
                        '{' => Open::Map { parent, key: None },
                        _ => Open::List { parent, item: None },
                    });
                    at += 1;
                    self.find_at_end_of(at, end);
                }
                '}' | ']' => {
                    self.find_before(at);
                    if self.is_in_brackets() {
                        self.open.pop();
                    }
                    at += 1;
                    if !self.is_in_brackets() {
                        return;
                    }
                }
                ',' => {
                    self.find_before(at);
                    match self.open.last_mut() {
                        Some(Open::Map { key, .. }) => *key = None,
                        Some(Open::List { item, .. }) => *item = None,
                        _ => {}
                    }
                    at += 1;
                    self.find_at_end_of(at, end);
                }
                ':' => {
                    self.find_before(at);
                    at += 1;
                    self.find_at_end_of(at, end);
                }
                '"' | '\'' => at = self.flow_quoted(at, end, next),
                _ => at = self.flow_word(at, end),
            }
        }
    }

    fn flow_quoted(&mut self, at: usize, end: usize, quote: char) -> usize {
        let inside = self.slice(at + 1, end);
        let length = closing(inside, quote);
        let span = at + 1..at + 1 + length.unwrap_or(inside.len());
        let after = (span.end + 1).min(end);
        if length.is_none() {
            let column = self.block_column();
            self.continued = Continued::Scalar { column, quote: Some(quote) };
        }
        self.flow_scalar(span, self.slice(after, end).trim_start().starts_with(':'));
        if length.is_some() { after } else { end }
    }

    fn flow_word(&mut self, at: usize, end: usize) -> usize {
        let rest = self.slice(at, end);
        let ends = |(at, c): (usize, char)| {
            let after = &rest[at + c.len_utf8()..];
            let is_end = match c {
                ',' | ']' | '}' | '[' | '{' => true,
                ':' => after.is_empty() || after.starts_with([' ', ',', '}', ']']),
                '#' => rest[..at].ends_with(' '),
                _ => false,
            };
            is_end.then_some(at)
        };
        let length = rest.char_indices().find_map(ends).unwrap_or(rest.len());
        let word = rest[..length].trim_end();
        let is_key = rest[length..].starts_with(':');
        self.flow_scalar(at..at + word.len(), is_key);
        // At least one character is read, whatever it is.
        at + length.max(rest.chars().next().map_or(1, char::len_utf8))
    }

    /// Records a word between brackets: a key, the value of a key, or an item.
    fn flow_scalar(&mut self, span: Range<usize>, is_key: bool) {
        let text = self.slice(span.start, span.end);
        let is_at_cursor = span.start <= self.offset && self.offset <= span.end;
        match self.open.last().copied() {
            Some(Open::Map { parent, key: None }) => {
                if is_at_cursor {
                    let path = self.path_of(parent);
                    self.find(path, Role::Key, span.clone());
                }
                if !is_key {
                    return;
                }
                let entry = self.add_to(parent, Some(text), span);
                if let Some(Open::Map { key, .. }) = self.open.last_mut() {
                    *key = Some(entry);
                }
            }
            Some(Open::Map { key: Some(entry), .. }) => {
                if let Some(entry) = self.entries.get_mut(entry) {
                    entry.value = text;
                }
                if is_at_cursor {
                    let path = self.path_of(Some(entry));
                    self.find(path, Role::Value, span);
                }
            }
            Some(Open::List { .. }) => {
                let item = self.element();
                if is_at_cursor {
                    let path = self.path_of(item);
                    self.find(path, Role::Key, span);
                }
            }
            _ => {}
        }
    }

    /// Returns the entry that a value between brackets belongs to; in a list, a new item unless there is one.
    fn element(&mut self) -> Option<usize> {
        match self.open.last().copied() {
            Some(Open::List { parent, item: None }) => {
                let entry = self.add_to(parent, None, 0..0);
                if let Some(Open::List { item, .. }) = self.open.last_mut() {
                    *item = Some(entry);
                }
                Some(entry)
            }
            Some(open) => entry_of(open),
            None => None,
        }
    }

    /// Records the cursor between brackets where no word is.
    fn find_in_brackets(&mut self, word: Range<usize>) {
        match self.open.last().copied() {
            Some(Open::Map { parent, key: None }) => {
                let path = self.path_of(parent);
                self.find(path, Role::Key, word);
            }
            Some(Open::Map { key, .. }) => {
                let path = self.path_of(key);
                self.find(path, Role::Value, word);
            }
            Some(Open::List { .. }) => {
                let item = self.element();
                let path = self.path_of(item);
                self.find(path, Role::Key, word);
            }
            _ => {}
        }
    }

    fn find_at_end_of(&mut self, at: usize, end: usize) {
        if at == end && self.offset == at {
            self.find_in_brackets(at..at);
        }
    }

    fn find_before(&mut self, at: usize) {
        if self.offset == at {
            self.find_in_brackets(at..at);
        }
    }

    fn find(&mut self, path: Vec<usize>, role: Role, word: Range<usize>) {
        self.found.get_or_insert(Found { path, role, word });
    }

    /// Closes the open entries of the block for which a condition holds, from the innermost one.
    fn close(&mut self, is_over: impl Fn(&Entry<'t>, usize) -> bool) {
        while let Some(open) = self.open.last() {
            let over = match open {
                Open::Block { entry, column } => {
                    self.entries.get(*entry).is_none_or(|entry| is_over(entry, *column))
                }
                _ => true,
            };
            if !over {
                return;
            }
            self.open.pop();
        }
    }

    fn add(&mut self, key: Option<&'t str>, span: Range<usize>) -> usize {
        self.add_to(self.top(), key, span)
    }

    fn add_to(&mut self, parent: Option<usize>, key: Option<&'t str>, span: Range<usize>) -> usize {
        self.entries.push(Entry { parent, key, span, value: "" });
        self.entries.len() - 1
    }

    fn top(&self) -> Option<usize> {
        self.open.last().and_then(|open| entry_of(*open))
    }

    fn path_of(&self, entry: Option<usize>) -> Vec<usize> {
        let parent = |at: &usize| self.entries.get(*at).and_then(|entry| entry.parent);
        let mut path: Vec<usize> = std::iter::successors(entry, parent).collect();
        path.reverse();
        path
    }

    fn is_in_brackets(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { .. } | Open::List { .. }))
    }

    /// Returns the column of the innermost entry of the block.
    fn block_column(&self) -> usize {
        let column = |open: &Open| match open {
            Open::Block { column, .. } => Some(*column),
            _ => None,
        };
        self.open.iter().rev().find_map(column).unwrap_or(0)
    }

    fn slice(&self, from: usize, to: usize) -> &'t str {
        self.text.get(from..to).unwrap_or_default()
    }
}

fn entry_of(open: Open) -> Option<usize> {
    match open {
        Open::Block { entry, .. } => Some(entry),
        Open::Map { parent, key } => key.or(parent),
        Open::List { parent, item } => item.or(parent),
    }
}

fn bom_length(text: &str) -> usize {
    if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 }
}

/// Returns the key that a text begins with, without quotes, and the length of what is before the colon.
fn key_of(text: &str) -> Option<(&str, usize)> {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let length = closing(&text[1..], quote)?;
        let after = text.get(length + 2..)?;
        return is_colon(after).then(|| (&text[1..=length], length + 2));
    }
    let mut colons = text.match_indices(':').map(|(at, _)| at);
    let at = colons.find(|at| is_colon(&text[*at..]))?;
    // A comment or a template is not a key.
    let key = &text[..at];
    (!key.contains(" #") && !key.contains("{{"))
        .then(|| (key.trim_end(), key.trim_end().len()))
        .filter(|(key, length)| *length == at && !key.is_empty())
}

/// Whether a text begins with a colon that ends a key.
fn is_colon(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// Returns the position of the closing quote in the text after the opening one.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => {
                chars.next();
            }
            '\'' if quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
            }
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn without_comment(text: &str) -> &str {
    let text = if text.starts_with('#') { "" } else { text };
    text.find(" #").map_or(text, |at| &text[..at]).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the path, the role and the word at the cursor `‸`.
    fn at(marked: &str) -> String {
        let offset = marked.find('‸').unwrap();
        let text = marked.replace('‸', "");
        let cursor = Cursor::at(&text, offset);
        let name = |at: &usize| cursor.entry(*at).unwrap().key.unwrap_or("-").to_owned();
        let path: Vec<String> = cursor.path.iter().map(name).collect();
        let role = match cursor.role {
            Role::Key => "key",
            Role::Value => "value",
            Role::Text => "text",
        };
        format!("{} {role} '{}'", path.join("/"), &text[cursor.word])
    }

    #[test]
    fn the_place_of_a_key_is_found_by_its_column() {
        assert_eq!(at("na‸me: x\n"), " key 'name'");
        assert_eq!(at("name: x\nsteps:\n  - id: a\n    ‸"), "steps/- key ''");
        assert_eq!(
            at("name: x\nsteps:\n  - id: a\n    with:\n      ‸\n  - id: b\n"),
            "steps/-/with key ''"
        );
        assert_eq!(at("steps:\n  - id: a\n    with:\n    ‸\n"), "steps/- key ''");
        assert_eq!(at("steps:\n- id: a\n  ‸\n"), "steps/- key ''");
        assert_eq!(at("steps:\n- id: a\n‸\n"), " key ''");
        assert_eq!(at("steps:\n- ‸"), "steps/- key ''");
        assert_eq!(at("steps:\n- id: a\n- ac‸\n"), "steps/- key 'ac'");
        assert_eq!(at("steps:\n  - id: a\n    ret‸ # why\n"), "steps/- key 'ret'");
        assert_eq!(at("steps:\n  -\n    id: a\n    ‸\n"), "steps/- key ''");
        assert_eq!(at("‸"), " key ''");
    }

    #[test]
    fn the_place_of_a_value_is_after_its_key() {
        assert_eq!(
            at("steps:\n  - id: a\n    action: ‸\n    with: {}\n"),
            "steps/-/action value ''"
        );
        assert_eq!(at("steps:\n  - id: a\n    action:‸\n"), "steps/-/action value ''");
        assert_eq!(
            at("steps:\n  - id: a\n    action: list‸_pods # c\n"),
            "steps/-/action value 'list_pods'"
        );
        assert_eq!(at("a:\n  b: \"x‸y\" # c"), "a/b value 'xy'");
        assert_eq!(at("a:\n  b: 'it''s‸"), "a/b value 'it''s'");
        assert_eq!(at("a: b # ‸c\nd: e"), "a text ''");
        assert_eq!(at("a: |\n  b‸: c\nd: e"), "a text ''");
        assert_eq!(at("a: |\n  b: c\nd: ‸e"), "d value 'e'");
        assert_eq!(at("a: \"open\nb: ‸"), "b value ''");
    }

    #[test]
    fn brackets_are_read_too() {
        assert_eq!(at("a: {‸}"), "a key ''");
        assert_eq!(at("a: {b: 1, ‸}"), "a key ''");
        assert_eq!(at("a: {‸: 1, c: 2}"), "a key ''");
        assert_eq!(at("a: {b: 1, c‸"), "a key 'c'");
        assert_eq!(at("a: {b: 1, c: ‸}"), "a/c value ''");
        assert_eq!(at("a: {b: \"{{ x.‸ }}\", c: 2}"), "a/b value '{{ x. }}'");
        assert_eq!(at("a: {b: {c: d‸}, e: 2}"), "a/b/c value 'd'");
        assert_eq!(at("a: [x, ‸]"), "a/- key ''");
        assert_eq!(at("a: [{b: ‸}]"), "a/-/b value ''");
        assert_eq!(at("a: {b: 1,\n  c‸: 2}\nd: 1"), "a key 'c'");
        assert_eq!(at("s:\n  - id: a\n    with: {b: \n  - id: ‸"), "s/-/id value ''");
        assert_eq!(at("- {id: a, action: ‸}"), "-/action value ''");
    }

    #[test]
    fn every_place_of_every_text_has_an_answer() {
        let texts = [
            "a: {b: [c, {d: 'e'}], \"f\": g}\n- x\n  - y: |\n   z\n",
            "{{ }} é🚀: ‘\"\n\u{feff}[[}]:,#\n",
        ];
        for text in texts {
            for (from, _) in text.char_indices() {
                let text = &text[from..];
                for (offset, _) in text.char_indices() {
                    let cursor = Cursor::at(text, offset);
                    assert!(text.get(cursor.word).is_some());
                }
            }
        }
    }
}
