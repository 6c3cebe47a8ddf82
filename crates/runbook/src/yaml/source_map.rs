//! From a place in a scalar's decoded text back to the byte of the file that it was written in.
//!
//! Quotes, escapes, folding, indentation and line breaks make the two differ. The way back is found
//! by walking both texts together and meeting again at every character that is not blank.

use std::ops::Range;

use super::{Node, NodeKind, ScalarStyle};

/// The way back for one scalar.
pub(crate) enum SourceMap {
    /// The text stands in the file as it is, from this byte.
    Verbatim(usize),
    /// One row a character, in order.
    Mapped(Vec<MappedChar>),
}

/// Where one decoded character was written.
pub(crate) struct MappedChar {
    decoded: usize,
    start: usize,
    end: usize,
}

impl SourceMap {
    /// Prepares the way back for a scalar; for anything else every place is the node's start.
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

    /// The range in the file of a decoded range: from its first character to just past its last.
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

/// What an escape stands for.
enum Escape {
    Character(char),
    /// An escaped line break: nothing.
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

    /// Goes over what carries no meaning here, up to where `character` is written.
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

    /// Goes over the written form of `character`.
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

    /// A decoded blank may be one of many or stand for a folded line break: the first takes the
    /// whole run, and those after it nothing. Only blanks are placed loosely by that.
    fn consume_blanks(&mut self) {
        let rest = &self.file[self.at..];
        self.at += rest.len() - rest.trim_start_matches(is_blank).len();
    }

    /// The length of the escape here, and what it stands for.
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
            // Half of a surrogate pair: the other half is written the same way behind it.
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

    /// xorshift: the same texts on every machine.
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

    /// What may stand between two words; `@` is an indentation.
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

    /// A scalar of a style with the words `T0T`, `T1T`, … in it.
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
