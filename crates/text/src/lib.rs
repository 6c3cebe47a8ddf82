//! Counts, lists and digests in messages, and the one function that makes text from outside fit to be shown. Every
//! crate and module may use this one; it depends on nothing.

use std::borrow::Cow;

/// The number of names that a list shows. More would hide the sentence around the list.
const MAX_NAMES: usize = 5;

/// Returns a count with its noun: `1 pod`, `3 pods`.
pub fn plural(count: usize, noun: &str) -> String {
    let suffix = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{suffix}")
}

/// Returns bytes as hexadecimal digits: `0a1b`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the first names of a list and the number of the others: `a, b, c, d, e and 7 more`.
pub fn join_truncated(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<_> = names.by_ref().take(MAX_NAMES).collect();
    let shown: Vec<&str> = shown.iter().map(AsRef::as_ref).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Returns the text as one line that terminals, logs and CI systems show as it is. What is invisible or moves the
/// cursor is a visible escape: control characters, line breaks and ANSI escapes, characters that turn the direction of
/// text, and the start of a workflow command of GitHub or Azure.
///
/// Whatever prints or logs a text that came from outside (a runbook, an input, a server, a file name) passes the text
/// through this function. JSON escapes by itself and keeps the text.
pub fn printable(text: &str) -> Cow<'_, str> {
    match text.contains(is_hidden) || has_command(text) {
        true => Cow::Owned(escape(text)),
        false => Cow::Borrowed(text),
    }
}

/// Returns the text with every line [`printable`]: for a text whose line breaks are the program's own.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| c != '\n' && is_hidden(c)) && !text.split('\n').any(has_command) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(printable).collect();
    Cow::Owned(lines.join("\n"))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    let command = is_line_command(text).then(|| text.len() - text.trim_start().len());
    for (at, c) in text.char_indices() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '#' if MARKERS.iter().any(|marker| text[at..].starts_with(marker)) => {
                escaped.extend(c.escape_unicode());
            }
            _ if is_hidden(c) || command == Some(at) => escaped.extend(c.escape_unicode()),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Whether a character is not shown, or changes where and how others are shown.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Marks of the direction of text.
            '\u{61c}' | '\u{200e}' | '\u{200f}'
            // Line breaks, and embeddings and overrides of the direction.
            | '\u{2028}'..='\u{202e}'
            // Isolates.
            | '\u{2066}'..='\u{2069}'
            // A byte order mark, annotations and tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// The starts of commands that CI systems find anywhere in a line.
const MARKERS: [&str; 2] = ["##[", "##vso["];

fn has_command(line: &str) -> bool {
    is_line_command(line) || MARKERS.iter().any(|marker| line.contains(marker))
}

/// Whether a line is a workflow command: `::name parameters::data`, with any whitespace before it.
fn is_line_command(line: &str) -> bool {
    line.trim_start().strip_prefix("::").is_some_and(|rest| rest.contains("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_on_one_line_as_it_is() {
        for (text, shown) in [
            ("relay: 2 -> 4 nodes", "relay: 2 -> 4 nodes"),
            ("naïve 節点 🚀 👩\u{200d}🔧", "naïve 節点 🚀 👩\u{200d}🔧"),
            ("a\nb\r\nc\td", "a\\nb\\r\\nc\\td"),
            ("\x1b[31mred\x1b[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("\u{9b}2J\0\u{7f}", "\\u{9b}2J\\u{0}\\u{7f}"),
            ("a\u{202e}b\u{2066}c\u{2028}d\u{feff}", "a\\u{202e}b\\u{2066}c\\u{2028}d\\u{feff}"),
            ("::error::no", "\\u{3a}:error::no"),
            (" ::set-output name=a::b", " \\u{3a}:set-output name=a::b"),
            ("a ::error::no", "a ::error::no"),
            ("::1", "::1"),
            ("a ##[error]no", "a \\u{23}#[error]no"),
            ("##vso[task.complete]", "\\u{23}#vso[task.complete]"),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
            assert_eq!(printable(&printable(text)), shown, "{text:?}: a second time");
        }
    }

    #[test]
    fn the_lines_of_the_program_stay_lines() {
        assert_eq!(printable_lines("a\n  b\n"), "a\n  b\n");
        assert_eq!(printable_lines("a\x07\n::error::b\n"), "a\\u{7}\n\\u{3a}:error::b\n");
    }

    #[test]
    fn plural_adds_an_s_except_for_one() {
        let shown = [0, 1, 2].map(|count| plural(count, "pod"));
        assert_eq!(shown, ["0 pods", "1 pod", "2 pods"]);
    }

    #[test]
    fn a_long_list_is_truncated() {
        assert_eq!(join_truncated(["a", "b"]), "a, b");
        assert_eq!(join_truncated(["a", "b", "c", "d", "e"]), "a, b, c, d, e");
        assert_eq!(join_truncated(["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
        assert_eq!(join_truncated(Vec::<String>::new()), "");
    }
}
