//! Standard output, whose reader may have gone: `… | head` is not a failure of ours.

use std::io::{self, ErrorKind, Write as _};

/// Writes a text as it is.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.or_else(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}
