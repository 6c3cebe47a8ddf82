//! The lines of the program's log while live lines are drawn: written past them, they would be overwritten.

use std::sync::{Mutex, PoisonError};

/// The most lines that wait for the next drawing.
const MAX_WAITING: usize = 1000;

/// The lines that wait, while live lines are drawn.
static WAITING: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Begins to keep lines for the next drawing.
pub(super) fn begin() {
    with(|waiting| *waiting = Some(Vec::new()));
}

/// Returns the lines since the last drawing.
pub(super) fn take() -> Vec<String> {
    with(|waiting| waiting.as_mut().map(std::mem::take).unwrap_or_default())
}

/// Returns the lines since the last drawing, and keeps no more.
pub(super) fn end() -> Vec<String> {
    with(|waiting| waiting.take().unwrap_or_default())
}

/// Keeps a line for the next drawing. Returns whether it is kept; otherwise the caller writes it.
pub(in crate::cli) fn keep(line: &str) -> bool {
    with(|waiting| match waiting {
        Some(lines) if lines.len() < MAX_WAITING => {
            lines.push(line.to_owned());
            true
        }
        _ => false,
    })
}

fn with<T>(use_waiting: impl FnOnce(&mut Option<Vec<String>>) -> T) -> T {
    // A list of lines is whole, whatever panicked while it was held.
    use_waiting(&mut WAITING.lock().unwrap_or_else(PoisonError::into_inner))
}
