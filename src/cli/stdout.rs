//! Standard output and standard error. Every subcommand writes through this module: the macros of the standard library
//! panic when the reader has closed the pipe, as `… | head` does.

use std::io::{self, ErrorKind, IsTerminal as _, Write};

use console::Term;

/// Writes a text to standard output. A closed pipe is not an error.
pub(super) fn write(text: &str) -> io::Result<()> {
    ignore_closed_pipe(write_to(&mut io::stdout().lock(), text))
}

/// Writes a text to standard error, without its colors where they are not shown. A failure is ignored, because it would
/// be reported on standard error.
pub(super) fn write_stderr(text: &str) {
    let _ = write_to(&mut anstream::stderr().lock(), text);
}

/// Writes a text to standard output, without its colors where they are not shown. A closed pipe is not an error.
pub(super) fn write_colored(text: &str) -> io::Result<()> {
    ignore_closed_pipe(write_to(&mut anstream::stdout().lock(), text))
}

/// The colors of outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    /// Success.
    Green,
    /// A failure.
    Red,
    /// A stop that was asked for, or a step that was skipped.
    Yellow,
    /// Work in progress.
    Cyan,
    /// Less than what is around it.
    Faint,
}

/// Returns a text in a color. The functions of this module leave the color out where it is not shown.
pub(super) fn paint(color: Color, text: &str) -> String {
    let code = match color {
        Color::Green => 32,
        Color::Red => 31,
        Color::Yellow => 33,
        Color::Cyan => 36,
        Color::Faint => 2,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// The width where nothing is wrapped.
const UNLIMITED: usize = 1_000_000;

/// Returns the columns of the terminal on standard output; elsewhere a line may have any length.
pub(super) fn width() -> usize {
    let size = Term::stdout().size_checked().filter(|_| io::stdout().is_terminal());
    size.map_or(UNLIMITED, |(_, columns)| usize::from(columns).max(1))
}

/// Whether standard output shows colors, and the person wants them.
pub(super) fn has_color() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Writes a line to standard error.
pub(super) fn write_stderr_line(line: &str) {
    write_stderr(&format!("{line}\n"));
}

fn write_to(stream: &mut impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

fn ignore_closed_pipe(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}
