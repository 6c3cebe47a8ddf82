//! Scalars of one line: where a quoted one ends, and how a text is quoted.

/// Returns the position of the quote that closes the one at `open`.
pub(super) fn closing(line: &str, open: usize, quote: char) -> Option<usize> {
    let mut at = open + 1;
    let bytes = line.as_bytes();
    let quote = u8::try_from(quote).ok()?;
    while let Some(&byte) = bytes.get(at) {
        let is_escaped = byte == b'\\' && quote == b'"';
        let is_doubled = byte == quote && quote == b'\'' && bytes.get(at + 1) == Some(&quote);
        if is_escaped || is_doubled {
            at += 2;
        } else if byte == quote {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

/// Returns the end of a value without the comment and the blanks after it.
pub(super) fn value_end(line: &str, from: usize) -> usize {
    let rest = line.get(from..).unwrap_or_default();
    let rest = match rest.find(" #") {
        Some(at) => &rest[..at],
        None => rest,
    };
    from + rest.trim_end().len()
}

/// Writes a text as a string in quotes.
pub(crate) fn quoted_value(text: &str) -> String {
    if !text.contains(['"', '\\']) {
        return format!("\"{text}\"");
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// Writes a text that can have templates in double quotes, with the quotes inside them replaced.
pub(crate) fn in_double_quotes(text: &str) -> String {
    let mut result = String::with_capacity(text.len() + 2);
    let mut is_template = false;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let length = if rest.starts_with("{{") || rest.starts_with("}}") {
            is_template = rest.starts_with("{{");
            2
        } else {
            character.len_utf8()
        };
        match &rest[..length] {
            "\"" if is_template => result.push('\''),
            "\"" => result.push_str("\\\""),
            other => result.push_str(other),
        }
        rest = &rest[length..];
    }
    format!("\"{result}\"")
}
