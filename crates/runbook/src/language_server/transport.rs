//! Messages on a byte stream: headers with the length, and JSON. What is not JSON is one bad message, and the next one
//! is read; without a length, there is no next one.

use std::io::{self, BufRead, Read as _, Write};

use serde_json::Value as Json;

/// The longest message that is read. A runbook has at most a mebibyte.
const MAX_LENGTH: u64 = 64 << 20;
/// The longest line of a header.
const MAX_HEADER: u64 = 8 << 10;

/// A message that was read.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    Message(Json),
    /// Not JSON, or too long, with the reason.
    Malformed(String),
}

/// Reads a message; none at the end of the stream.
///
/// # Errors
/// The stream fails, or has something else in the place of headers.
pub(super) fn read(input: &mut impl BufRead) -> io::Result<Option<Incoming>> {
    let Some(length) = read_headers(input)? else { return Ok(None) };
    let mut body = input.take(length);
    if length > MAX_LENGTH {
        io::copy(&mut body, &mut io::sink())?;
        return Ok(Some(Incoming::Malformed(format!("a message of {length} bytes is too long"))));
    }
    // What is announced may never come, so no memory is taken for it beforehand.
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes)?;
    Ok(Some(match serde_json::from_slice(&bytes) {
        Ok(message) => Incoming::Message(message),
        Err(error) => Incoming::Malformed(error.to_string()),
    }))
}

fn read_headers(input: &mut impl BufRead) -> io::Result<Option<u64>> {
    let mut length = None;
    loop {
        let mut line = Vec::new();
        input.take(MAX_HEADER).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if line.is_empty() {
            return match length {
                Some(length) => Ok(Some(length)),
                None => Err(invalid("a message without Content-Length")),
            };
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("not a header"))?;
        if name.trim().eq_ignore_ascii_case("Content-Length") {
            let value = value.trim().parse();
            length = Some(value.map_err(|_| invalid("Content-Length is not a number"))?);
        }
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Writes a message.
///
/// # Errors
/// The stream fails.
pub(super) fn write(output: &mut dyn Write, message: &Json) -> io::Result<()> {
    let text = message.to_string();
    write!(output, "Content-Length: {}\r\n\r\n{text}", text.len())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_read_one_after_another() {
        let text = "Content-Length: 8\r\n\r\n{\"a\": 1}content-length: 3\r\nContent-Type: x\r\n\r\n{a}Content-Length: 2\n\n{}";
        let mut input = text.as_bytes();
        assert_eq!(read(&mut input).unwrap(), Some(Incoming::Message(json!({"a": 1}))));
        assert!(matches!(read(&mut input).unwrap(), Some(Incoming::Malformed(_))));
        assert_eq!(read(&mut input).unwrap(), Some(Incoming::Message(json!({}))));
        assert_eq!(read(&mut input).unwrap(), None);
    }

    #[test]
    fn a_stream_that_is_something_else_ends() {
        for text in
            ["hello\r\n\r\n", "\r\n", "Content-Length: many\r\n\r\n", "Content-Length: -1\r\n\r\n"]
        {
            assert!(read(&mut text.as_bytes()).is_err(), "{text}");
        }
        let mut long = "Content-Length: 18446744073709551615\r\n\r\n{}".as_bytes();
        assert!(matches!(read(&mut long).unwrap(), Some(Incoming::Malformed(_))));
    }

    #[test]
    fn what_is_written_is_read() {
        let message = json!({"text": "é🚀\n"});
        let mut bytes = Vec::new();
        write(&mut bytes, &message).unwrap();
        assert_eq!(read(&mut bytes.as_slice()).unwrap(), Some(Incoming::Message(message)));
    }
}
