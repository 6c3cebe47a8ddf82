//! Standard output and standard error: the only place that writes to them. Their reader may have gone: `… | head` is not a
//! failure of this program.

use std::io::{self, ErrorKind, Write as _};

/// Writes a text to standard output as it is.
///
/// # Errors
/// Standard output cannot be written, for another reason than that its reader has gone.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.or_else(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// Writes a text to standard error. When that fails, there is no place left to say so.
pub(super) fn write_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
