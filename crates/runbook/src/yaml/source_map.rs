//! Maps positions in the decoded text of a scalar to byte offsets of the file.
//!
//! Quotes, escapes, folding, indentation and line breaks make the two differ. The map is built by
//! walking both texts in parallel and synchronizing at every character that is not whitespace.

use std::ops::Range;

use super::{Node, NodeKind, ScalarStyle};

/// The source map of one scalar.
pub(crate) enum SourceMap {
    /// The text is written literally, starting at this byte.
    Verbatim(usize),
    /// One row per character, in order.
    Mapped(Vec<MappedChar>),
}

/// The span in which one decoded character is written.
pub(crate) struct MappedChar {
    decoded: usize,
    start: usize,
    end: usize,
}

impl SourceMap {
    /// Creates the source map of a scalar; in any other node every position maps to the start.
    pub(crate) fn new(file: &str, node: &Node) -> Self {
        let NodeKind::Scalar { text, style } = &node.kind else {
            return Self::Mapped(Vec::new());
        };
        let quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
        let start = (node.span.start + usize::from(quoted)).min(file.len());
        if file.get(start..).is_some_and(|rest| rest.starts_with(text.as_str())) {
            return Self::Verbatim(start);
        }
        let aligner = Aligner { file, at: start, style: *style };
        Self::Mapped(aligner.table(text))
    }

    /// Maps a range of the decoded text to the file, from the first character to the end of the last.
    pub(crate) fn range(&self, decoded: Range<usize>) -> Range<usize> {
        let table = match self {
            Self::Verbatim(start) => return start + decoded.start..start + decoded.end,
            Self::Mapped(table) => table,
        };
        let from = table.partition_point(|row| row.decoded < decoded.start);
        let to = table.partition_point(|row| row.decoded < decoded.end);
        let start = match (table.get(from), table.last()) {
            (Some(row), _) => row.start,
            (None, Some(last)) => last.end,
            (None, None) => 0,
        };
        let end = if to > from { table[to - 1].end } else { start };
        start..end.max(start)
    }
}

struct Aligner<'t> {
    file: &'t str,
    at: usize,
    style: ScalarStyle,
}

/// The meaning of an escape.
enum Escape {
    Character(char),
    /// An escaped line break, which yields no character.
    Nothing,
}

impl Aligner<'_> {
    fn table(mut self, text: &str) -> Vec<MappedChar> {
        let mut table = Vec::with_capacity(text.len());
        for (decoded, character) in text.char_indices() {
            self.skip_to(character);
            let start = self.at;
            self.consume(character);
            let end = self.at;
            table.push(MappedChar { decoded, start, end });
        }
        table
    }

    fn next(&self) -> Option<char> {
        self.file[self.at..].chars().next()
    }

    /// Skips insignificant characters, up to where `character` is written.
    fn skip_to(&mut self, character: char) {
        while let Some(next) = self.next() {
            if is_blank(next) && !is_blank(character) {
                self.at += next.len_utf8();
                continue;
            }
            if next != '\\' || self.style != ScalarStyle::DoubleQuoted {
                return;
            }
            let (length, escape) = self.escape();
            let skipped = match escape {
                Escape::Nothing => true,
                Escape::Character(escaped) => is_blank(escaped) && !is_blank(character),
            };
            if !skipped {
                return;
            }
            self.at += length;
        }
    }

    /// Skips the written form of `character`.
    fn consume(&mut self, character: char) {
        let Some(next) = self.next() else { return };
        match (next, self.style) {
            ('\\', ScalarStyle::DoubleQuoted) => self.at += self.escape().0,
            (_, _) if is_blank(character) => self.consume_blanks(),
            ('\'', ScalarStyle::SingleQuoted) => self.at += 2,
            (other, _) => self.at += other.len_utf8(),
        }
        self.at = self.file.floor_char_boundary(self.at.min(self.file.len()));
    }

    /// A decoded blank may be one of several or a folded line break: the first blank takes the whole
    /// run, and the blanks after it are empty. Only the positions of blanks are inexact.
    fn consume_blanks(&mut self) {
        let rest = &self.file[self.at..];
        self.at += rest.len() - rest.trim_start_matches(is_blank).len();
    }

    /// Returns the length and the meaning of the escape at this position.
    fn escape(&self) -> (usize, Escape) {
        let rest = &self.file[self.at + 1..];
        let Some(kind) = rest.chars().next() else {
            return (1, Escape::Nothing);
        };
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '\n' | '\r' => return (2, Escape::Nothing),
            _ => {
                let named = Escape::Character(named_escape(kind));
                return (1 + kind.len_utf8(), named);
            }
        };
        let code = rest.get(1..=digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        match code.and_then(char::from_u32) {
            Some(character) => (2 + digits, Escape::Character(character)),
            // A surrogate pair: the second half follows in the same notation.
            None => (2 * (2 + digits), Escape::Character('\u{fffd}')),
        }
    }
}

fn named_escape(kind: char) -> char {
    match kind {
        'n' => '\n',
        't' | '\t' => '\t',
        'r' => '\r',
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'v' => '\u{b}',
        'f' => '\u{c}',
        'e' => '\u{1b}',
        'N' => '\u{85}',
        '_' => '\u{a0}',
        'L' => '\u{2028}',
        'P' => '\u{2029}',
        other => other,
    }
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use std::fmt::Write as _;

    use super::*;

    /// An xorshift generator, which yields the same texts on every machine.
    struct XorShift(u64);

    impl XorShift {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).unwrap() % limit
        }

        fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
            choices[self.below(choices.len())]
        }
    }

    /// The separators of two words, by style; `@` is the indentation.
    const BETWEEN: [&[&str]; 5] = [
        &[" ", "  ", " é ", " 🚀 ", "-", " a'b ", "\n@", "\n\n@", " \\ ", " x#y ", " \"q\" "],
        &[" ", "''", " '' ", "é", "\n@", " \n  @", "\n\n\n@", " # ", ": ", "\\n", "\"", "\t"],
        &[
            " ",
            "\\n",
            "\\t",
            "\\\"",
            "\\u00e9",
            "\\U0001F680",
            "\\uD83D\\uDE80",
            "\\x41",
            "é",
            "🚀",
            "\n@",
            "\\\n@",
            " \\\n@",
            "\n\n@",
            "\\ ",
            " \\\n  @\\ ",
            "'",
            "\\\\",
            "\\/",
            " \t\n@\t",
            "\\N",
            "\\L",
            "\\_",
        ],
        &[" ", "\n@", "\n\n@", "\n@  ", "é ", "' ", "\" ", "\\n", " # ", ": ", "\t"],
        &[" ", "\n@", "\n\n@", "\n@  ", " é", "'", "\"", "\\n", " # ", "\n\n\n@", " \n@"],
    ];

    /// Writes a scalar of a style with the words `T0T`, `T1T`, …
    fn written(random: &mut XorShift, style: usize) -> (String, usize) {
        let count = 1 + random.below(6);
        let indent = "  ".repeat(1 + random.below(3));
        let mut body = String::new();
        for word in 0..count {
            if word > 0 || style == 2 {
                body += random.pick(BETWEEN[style]);
            }
            write!(body, "T{word}T").unwrap();
        }
        let body = body.replace('@', &indent);
        let text = match style {
            0 => format!("k: {body}\nz: 1\n"),
            1 => format!("k: '{body}'\nz: 1\n"),
            2 => format!("k: \"{body}\"\nz: 1\n"),
            3 => format!("k: |{}\n{indent}{body}\nz: 1\n", random.pick(&["", "-", "+", " # c"])),
            _ => format!("k: >{}\n{indent}{body}\nz: 1\n", random.pick(&["", "-", "+"])),
        };
        let crlf = random.below(6) == 0;
        (if crlf { text.replace('\n', "\r\n") } else { text }, count)
    }

    #[test]
    fn every_word_of_every_style_is_found_where_it_was_written() {
        let mut random = XorShift(0x9E37_79B9_7F4A_7C15);
        let mut found = [0; 5];
        for round in 0..20_000 {
            let style = round % 5;
            let (text, count) = written(&mut random, style);
            let (Some(tree), issues) = load(&text) else {
                continue;
            };
            let Some((_, node)) = tree.pairs().and_then(|pairs| pairs.first()) else {
                continue;
            };
            let (Some(decoded), true) = (node.text(), issues.is_empty()) else {
                continue;
            };
            let source_map = SourceMap::new(&text, node);
            for word in (0..count).map(|word| format!("T{word}T")) {
                let Some(at) = decoded.find(&word) else {
                    continue;
                };
                let range = source_map.range(at..at + word.len());
                assert_eq!(text[range], word, "{text:?} decoded to {decoded:?}");
                found[style] += 1;
            }
        }
        assert!(found.iter().all(|count| *count > 3_000), "{found:?}");
    }
}
