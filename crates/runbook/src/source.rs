//! The text of a runbook with its name and the starts of its lines.

use std::ops::Range;

/// A position in a text as editors count it: line and column from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
}

/// The text of a runbook with the name that diagnostics print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    /// The byte offset at which each line starts.
    lines: Vec<usize>,
}

/// The error for bytes that are not valid UTF-8.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{name}:{}:{}: the file is not valid UTF-8", position.line, position.column)]
pub struct NotUtf8 {
    name: String,
    /// The position of the first invalid byte.
    pub position: Position,
    /// The error as a diagnostic of `readable`.
    pub diagnostic: super::Diagnostic,
    /// The text up to the first invalid byte.
    pub readable: Source,
}

impl Source {
    /// Creates a source from a name and a text; the name is a path, or `-` for standard input.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let after_break = |(at, byte): (usize, u8)| (byte == b'\n').then_some(at + 1);
        let lines =
            std::iter::once(0).chain(text.bytes().enumerate().filter_map(after_break)).collect();
        Self { name: name.into(), text, lines }
    }

    /// Creates a source from a name and the bytes of a file.
    ///
    /// # Errors
    /// The bytes are not valid UTF-8; the error has the diagnostic with the position.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, Box<NotUtf8>> {
        let name = name.into();
        let failure = match String::from_utf8(bytes) {
            Ok(text) => return Ok(Self::new(name, text)),
            Err(failure) => failure,
        };
        let valid = failure.utf8_error().valid_up_to();
        let head = String::from_utf8_lossy(&failure.as_bytes()[..valid]);
        let readable = Self::new(name.clone(), head);
        Err(Box::new(NotUtf8 {
            name,
            position: readable.position(valid),
            diagnostic: super::rules::invalid_yaml::not_utf8(valid),
            readable,
        }))
    }

    /// Returns the name of the source.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the line and column of a byte offset. An offset inside a character is that of the
    /// character; an offset past the end is the end. A byte order mark takes no column.
    pub fn position(&self, byte: usize) -> Position {
        let byte = self.text.floor_char_boundary(byte.min(self.text.len()));
        let line = self.lines.partition_point(|start| *start <= byte);
        let before = &self.text[self.lines[line - 1]..byte];
        let before = before.strip_prefix('\u{feff}').unwrap_or(before);
        Position { line, column: before.chars().count() + 1 }
    }

    /// Returns the byte range of the whole lines that a range touches, without the last line break
    /// and without a byte order mark.
    pub(crate) fn lines_of(&self, range: Range<usize>) -> Range<usize> {
        let range = self.clamp(range);
        let line = |at: usize| self.lines.partition_point(|start| *start <= at);
        let bom = if self.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let start = self.lines[line(range.start) - 1].max(bom.min(range.start));
        let last = range.end.max(range.start + 1) - 1;
        let end = self.lines.get(line(last.max(range.start))).copied();
        let text = &self.text[start..end.unwrap_or(self.text.len())];
        start..start + text.trim_end_matches(['\n', '\r']).len().max(range.end - start)
    }

    /// Returns the nearest range that lies inside the text and splits no character.
    pub(crate) fn clamp(&self, range: Range<usize>) -> Range<usize> {
        let start = self.text.floor_char_boundary(range.start.min(self.text.len()));
        let end = range.end.clamp(start, self.text.len());
        start..self.text.ceil_char_boundary(end)
    }

    /// Returns the name that the runbook must have: the stem of a `.yaml` or `.yml` path, `None` for
    /// standard input.
    pub(crate) fn stem(&self) -> Option<&str> {
        let file = self.name.rsplit(['/', '\\']).next()?;
        file.strip_suffix(".yaml")
            .or_else(|| file.strip_suffix(".yml"))
            .filter(|stem| !stem.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::new("x", "\u{feff}añb\r\nz");
        let at = |byte| {
            let Position { line, column } = source.position(byte);
            (line, column)
        };
        assert_eq!(at(3), (1, 1));
        assert_eq!(at(5), (1, 2)); // inside ñ
        assert_eq!(at(6), (1, 3));
        assert_eq!(at(9), (2, 1));
        assert_eq!(at(100), (2, 2));
    }

    #[test]
    fn invalid_utf8_is_reported_with_its_position() {
        let error =
            Source::from_bytes("runbook.yaml", b"name: x\nid: \xff\n".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "runbook.yaml:2:5: the file is not valid UTF-8");
        assert_eq!(error.diagnostic.span, 12..12);
    }

    #[test]
    fn only_a_yaml_path_has_a_stem() {
        let stem = |name: &str| Source::new(name, "").stem().map(str::to_owned);
        assert_eq!(stem("runbooks/relay-scale.yaml").as_deref(), Some("relay-scale"));
        assert_eq!(stem("a.b.yml").as_deref(), Some("a.b"));
        assert_eq!(stem("-"), None);
        assert_eq!(stem("<stdin>"), None);
    }
}
