//! Positions as the protocol counts them: lines from 0, and within a line UTF-16 code units, or bytes if the client
//! prefers them.

use std::ops::Range;

use serde_json::{Value as Json, json};

/// The unit in which the characters of a line are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    Utf16,
}

impl Encoding {
    /// Returns the name in the protocol.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf16 => "utf-16",
        }
    }

    fn length(self, character: char) -> usize {
        match self {
            Self::Utf8 => character.len_utf8(),
            Self::Utf16 => character.len_utf16(),
        }
    }
}

/// The lines of a text. The protocol ends a line at `\n`, `\r\n` and `\r`.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    encoding: Encoding,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str, encoding: Encoding) -> Self {
        let bytes = text.as_bytes();
        let is_end = |at: usize| match bytes[at] {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        let ends = (0..bytes.len()).filter(|at| is_end(*at)).map(|at| at + 1);
        Self { text, starts: std::iter::once(0).chain(ends).collect(), encoding }
    }

    /// Returns the byte offset of a position; the nearest one if the text has no such position.
    pub(super) fn offset(&self, position: &Json) -> Option<usize> {
        let number = |key: &str| usize::try_from(position[key].as_u64()?).ok();
        let (line, character) = (number("line")?, number("character")?);
        let Some(start) = self.starts.get(line).copied() else { return Some(self.text.len()) };
        let end = self.starts.get(line + 1).copied().unwrap_or(self.text.len());
        let mut counted = 0;
        let mut at = start;
        for c in self.text.get(start..end)?.trim_end_matches(['\r', '\n']).chars() {
            counted += self.encoding.length(c);
            if counted > character {
                break;
            }
            at += c.len_utf8();
        }
        Some(at)
    }

    /// Returns the position of a byte offset.
    pub(super) fn position(&self, offset: usize) -> Json {
        let offset = self.text.floor_char_boundary(offset.min(self.text.len()));
        let line = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        let character: usize = before.chars().map(|c| self.encoding.length(c)).sum();
        json!({ "line": line, "character": character })
    }

    /// Returns the range of a span.
    pub(super) fn range(&self, span: &Range<usize>) -> Json {
        json!({ "start": self.position(span.start), "end": self.position(span.end) })
    }

    /// Returns the span of a range.
    pub(super) fn span(&self, range: &Json) -> Option<Range<usize>> {
        let start = self.offset(&range["start"])?;
        Some(start..self.offset(&range["end"])?.max(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_as_the_client_does() {
        let text = "a🚀b\r\né\rz\n";
        for (encoding, places) in [
            (
                Encoding::Utf16,
                [(0, 0, 0), (1, 0, 1), (5, 0, 3), (8, 1, 0), (10, 1, 1), (11, 2, 0), (13, 3, 0)],
            ),
            (
                Encoding::Utf8,
                [(0, 0, 0), (1, 0, 1), (5, 0, 5), (8, 1, 0), (10, 1, 2), (11, 2, 0), (13, 3, 0)],
            ),
        ] {
            let lines = Lines::new(text, encoding);
            for (offset, line, character) in places {
                let position = json!({ "line": line, "character": character });
                assert_eq!(lines.position(offset), position);
                assert_eq!(lines.offset(&position), Some(offset), "{position}");
            }
        }
    }

    #[test]
    fn a_position_outside_of_the_text_is_the_nearest_one() {
        let lines = Lines::new("a🚀\nb", Encoding::Utf16);
        let offset = |line: u64, character: u64| {
            lines.offset(&json!({ "line": line, "character": character }))
        };
        assert_eq!(offset(0, 2), Some(1)); // inside of a character
        assert_eq!(offset(0, 99), Some(5));
        assert_eq!(offset(9, 0), Some(7));
        assert_eq!(lines.offset(&json!({ "line": -1, "character": "x" })), None);
        assert_eq!(lines.offset(&json!(null)), None);
    }
}
