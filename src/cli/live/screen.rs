//! The part of the terminal that is drawn again and again. Each drawing is one text, so that nothing of the one before
//! is seen to vanish; a terminal whose width has changed since is counted anew.

use console::measure_text_width;

/// Erases the rest of a line.
const ERASE_LINE: &str = "\x1b[K";
/// Erases everything from the cursor on.
const ERASE_BELOW: &str = "\x1b[J";

/// The live lines as they were drawn last. The cursor is at the beginning of the last one: what a person types appears
/// there, and makes no line too long.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The columns of each line.
    drawn: Vec<usize>,
}

impl Screen {
    /// Returns what is sent to a terminal of this many columns: `above` is written for good, and `live` replaces the
    /// live lines.
    pub(super) fn draw(&mut self, above: &[String], live: &[String], columns: usize) -> String {
        let mut text = self.to_start(columns);
        for line in above {
            text.extend([line, ERASE_LINE, "\r\n"]);
        }
        for (at, line) in live.iter().enumerate() {
            text.extend([if at == 0 { "" } else { "\r\n" }, line, ERASE_LINE]);
        }
        text.push_str(ERASE_BELOW);
        text.push_str(if live.is_empty() { "" } else { "\r" });
        self.drawn = live.iter().map(|line| measure_text_width(line)).collect();
        text
    }

    /// Returns what moves the cursor to where the live lines begin. A terminal that has become narrower since has
    /// wrapped them.
    fn to_start(&self, columns: usize) -> String {
        let rows = |width: &usize| width.div_ceil(columns.max(1)).max(1);
        match self.drawn.iter().map(rows).sum::<usize>() {
            0 => String::new(),
            1 => "\r".into(),
            rows => format!("\r\x1b[{}A", rows - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn each_drawing_begins_where_the_live_lines_began() {
        let mut screen = Screen::default();
        let first = screen.draw(&lines(&["title"]), &lines(&["one", "two"]), 80);
        assert_eq!(first, "title\x1b[K\r\none\x1b[K\r\ntwo\x1b[K\x1b[J\r");
        let second = screen.draw(&[], &lines(&["three"]), 80);
        assert_eq!(second, "\r\x1b[1Athree\x1b[K\x1b[J\r");
        let last = screen.draw(&lines(&["✔ done"]), &[], 80);
        assert_eq!(last, "\r✔ done\x1b[K\r\n\x1b[J");
        assert_eq!(screen.draw(&[], &lines(&["four"]), 80), "four\x1b[K\x1b[J\r");
    }

    #[test]
    fn lines_that_a_narrower_terminal_has_wrapped_are_counted() {
        let mut screen = Screen::default();
        screen.draw(&[], &[format!("\x1b[2m{}\x1b[0m", "x".repeat(79)), "y".into()], 80);
        // 79 columns are 2 rows of 60.
        assert!(screen.draw(&[], &lines(&["z"]), 60).starts_with("\r\x1b[2Az"));
    }
}
