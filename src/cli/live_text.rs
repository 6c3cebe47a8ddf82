//! Text for the live lines of a terminal: wrapped at words, and shortened in the middle where it is too long. The
//! beginning of a message has its cause, and its end often the name of what is missing.

use console::measure_text_width;

const ELLIPSIS: &str = "…";

/// Returns the text in at most `max_lines` lines of at most `width` columns.
pub(super) fn wrap(text: &str, width: usize, max_lines: usize) -> Vec<String> {
    let lines = break_lines(text, width);
    if lines.len() <= max_lines {
        return lines;
    }
    // Words that move to the next line leave gaps, so the text that fits may be shorter than the lines.
    let mut room = width * max_lines;
    loop {
        let lines = break_lines(&shorten(text, room), width);
        if lines.len() <= max_lines || room <= width {
            return lines.into_iter().take(max_lines).collect();
        }
        room -= 1;
    }
}

/// Returns the text with at most `width` columns: where it has more, two thirds of them show its beginning and one
/// third its end.
pub(super) fn shorten(text: &str, width: usize) -> String {
    if measure_text_width(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(measure_text_width(ELLIPSIS));
    let end_room = room / 3;
    let start = take_columns(text.chars(), room - end_room);
    let end: String = take_columns(text.chars().rev(), end_room).chars().rev().collect();
    format!("{start}{ELLIPSIS}{end}")
}

fn break_lines(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let gap = usize::from(!line.is_empty());
        if measure_text_width(&line) + gap + measure_text_width(word) <= width {
            line.extend(std::iter::repeat_n(' ', gap));
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        // A word that is longer than a line, such as an ARN, is broken.
        let mut rest = word;
        while measure_text_width(rest) > width {
            let head = take_columns(rest.chars(), width);
            // A column that is narrower than one character holds that character nevertheless.
            let length = head.len().max(rest.chars().next().map_or(0, char::len_utf8));
            lines.push(rest[..length].to_owned());
            rest = &rest[length..];
        }
        rest.clone_into(&mut line);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Returns the first characters that fit into this many columns.
fn take_columns(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += measure_text_width(c.encode_utf8(&mut [0; 4]));
        used <= columns
    };
    chars.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_wrapped_at_words() {
        let text = "3 of 6 nodes Ready; not Ready: ip-10-0-0-1";
        assert_eq!(wrap(text, 20, 4), ["3 of 6 nodes Ready;", "not Ready:", "ip-10-0-0-1"]);
        assert_eq!(wrap(text, 100, 4), [text]);
        assert!(wrap("", 20, 4).is_empty());
    }

    #[test]
    fn a_text_of_too_many_lines_is_shortened_in_the_middle() {
        let text = format!("the cause; {}the last name", "name, ".repeat(50));
        let lines = wrap(&text, 20, 3);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|line| measure_text_width(line) <= 20), "{lines:?}");
        assert!(lines[0].starts_with("the cause; "), "{lines:?}");
        assert!(lines.concat().contains(ELLIPSIS), "{lines:?}");
        assert!(lines[2].ends_with("the last name"), "{lines:?}");
    }

    #[test]
    fn a_word_that_is_longer_than_a_line_is_broken() {
        assert_eq!(
            wrap("a arn:aws:eks:us-west-2 b", 10, 4),
            ["a", "arn:aws:ek", "s:us-west-", "2 b"]
        );
        assert_eq!(wrap("節点", 1, 4), ["節", "点"]);
    }

    #[test]
    fn a_short_text_is_not_shortened() {
        assert_eq!(shorten("0123456789", 10), "0123456789");
        assert_eq!(shorten("0123456789", 7), "0123…89");
        assert_eq!(shorten("節点節点節点", 7), "節点…点");
        assert_eq!(shorten("0123456789", 0), "…");
    }
}
