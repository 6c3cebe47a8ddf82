//! A line of text before it is known how wide the terminal is.

use console::measure_text_width;
use text::printable;

use crate::cli::{
    live_text,
    stdout::{Color, paint},
};

/// How many lines of the terminal a line of an entry may take. A failure names its cause at its beginning, and what is
/// missing at its end.
const MAX_LINES: usize = 12;

/// A line with its place and its color. The text is printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Line {
    /// The columns before it.
    indent: usize,
    /// A sign before the text.
    mark: Option<(Option<Color>, String)>,
    text: String,
    color: Option<Color>,
    max_lines: usize,
}

impl Line {
    /// Returns a line, which is made printable.
    pub(in crate::cli) fn new(text: &str) -> Self {
        let text = printable(text.trim_end()).into_owned();
        Self { indent: 0, mark: None, text, color: None, max_lines: MAX_LINES }
    }

    /// Puts the line further to the right.
    pub(in crate::cli) fn indented(self, columns: usize) -> Self {
        Self { indent: self.indent + columns, ..self }
    }

    /// Puts a sign before the text.
    pub(in crate::cli) fn marked(self, color: Option<Color>, mark: &str) -> Self {
        Self { mark: Some((color, mark.to_owned())), ..self }
    }

    /// Gives the text a color.
    pub(in crate::cli) fn colored(self, color: Color) -> Self {
        Self { color: Some(color), ..self }
    }

    /// Lets the text take this many lines at most. One that is longer is shortened in its middle.
    pub(in crate::cli) fn at_most(self, max_lines: usize) -> Self {
        Self { max_lines, ..self }
    }

    /// Lets the text take as many lines as it needs: a command that is shortened cannot be copied.
    pub(in crate::cli) fn whole(self) -> Self {
        self.at_most(usize::MAX)
    }

    /// Returns the lines of the terminal, each of at most `width` columns; those after the first are below the text of
    /// the first.
    pub(in crate::cli) fn lay_out(&self, width: usize, has_color: bool) -> Vec<String> {
        // Where the terminal is narrow, the text needs the columns more than the indent does.
        let indent = self.indent.min(width * 2 / 5);
        let mark_width = self.mark.as_ref().map_or(0, |(_, mark)| measure_text_width(mark) + 1);
        let hanging = indent + mark_width;
        let texts = wrapped(&self.text, width.saturating_sub(hanging).max(1), self.max_lines);
        let paint_with = |color: Option<Color>, text: &str| match color {
            Some(color) if has_color && !text.is_empty() => paint(color, text),
            _ => text.to_owned(),
        };
        let texts = texts.into_iter().enumerate().map(|(at, text)| {
            let text = paint_with(self.color, &text);
            match &self.mark {
                Some((color, mark)) if at == 0 => {
                    format!("{:indent$}{} {text}", "", paint_with(*color, mark))
                }
                _ => format!("{:hanging$}{text}", ""),
            }
        });
        texts.collect()
    }
}

/// Returns a text in lines of this many columns; one that fits as it is, and an empty one as an empty line.
fn wrapped(text: &str, width: usize, max_lines: usize) -> Vec<String> {
    if measure_text_width(text) <= width {
        return vec![text.to_owned()];
    }
    live_text::wrap(text, width, max_lines)
}

/// Returns lines as the terminal shows them.
pub(in crate::cli) fn lay_out(lines: &[Line], width: usize, has_color: bool) -> Vec<String> {
    lines.iter().flat_map(|line| line.lay_out(width, has_color)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_continues_below_its_text() {
        let line = Line::new("Drain the nodes that are old").marked(None, "✔").indented(2);
        assert_eq!(line.lay_out(40, false), ["  ✔ Drain the nodes that are old"]);
        assert_eq!(line.lay_out(20, false), ["  ✔ Drain the nodes", "    that are old"]);
    }

    #[test]
    fn a_narrow_terminal_keeps_columns_for_the_text() {
        let lines = Line::new("節点 is not Ready").indented(40).lay_out(20, false);
        assert!(lines.iter().all(|line| measure_text_width(line) <= 20), "{lines:?}");
        assert!(lines[0].starts_with("        節点"), "{lines:?}");
    }

    #[test]
    fn colors_take_no_columns_and_can_be_left_out() {
        let line = Line::new("done").marked(Some(Color::Green), "✔").colored(Color::Faint);
        assert_eq!(line.lay_out(80, true), ["\x1b[32m✔\x1b[0m \x1b[2mdone\x1b[0m"]);
        assert_eq!(line.lay_out(80, false), ["✔ done"]);
    }

    #[test]
    fn a_line_has_no_control_characters() {
        assert_eq!(Line::new("a\x1b[2Jb\nc").lay_out(80, true), ["a\\u{1b}[2Jb\\nc"]);
    }
}
