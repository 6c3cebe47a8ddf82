//! The YAML 1.2 core schema: the meaning of plain scalars. `yes`, `on`, `012` and `1_000` are strings.

/// The meaning of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ScalarValue<'t> {
    Null,
    Boolean(bool),
    Integer(i128),
    Number(f64),
    Text(&'t str),
}

/// Resolves the text of an unquoted scalar.
pub(crate) fn resolve(text: &str) -> ScalarValue<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarValue::Null,
        "true" | "True" | "TRUE" => ScalarValue::Boolean(true),
        "false" | "False" | "FALSE" => ScalarValue::Boolean(false),
        _ => number(text).unwrap_or(ScalarValue::Text(text)),
    }
}

fn number(text: &str) -> Option<ScalarValue<'_>> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_digit = |byte: u8| byte.is_ascii_digit();
    if unsigned.len() > 1 && unsigned.starts_with('0') && is_digit(unsigned.as_bytes()[1]) {
        return None; // 012 is octal in YAML 1.1 and decimal elsewhere, so it is a string
    }
    if !unsigned.is_empty() && unsigned.bytes().all(is_digit) {
        return text.parse().ok().map(ScalarValue::Integer);
    }
    let shape = |byte: u8| is_digit(byte) || b".eE+-".contains(&byte);
    let begins = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if begins && unsigned.bytes().any(is_digit) && unsigned.bytes().all(shape) {
        return text.parse().ok().map(ScalarValue::Number);
    }
    None
}

fn radix(digits: &str, radix: u32) -> Option<ScalarValue<'_>> {
    let clean = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    clean.then(|| i128::from_str_radix(digits, radix).ok())?.map(ScalarValue::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for text in ["yes", "on", "012", "1_000", "1.2.3", "-", ".", "1e", "0x", "0xg", "a1", "+-1"]
        {
            assert_eq!(resolve(text), ScalarValue::Text(text), "{text}");
        }
        assert_eq!(resolve("-12"), ScalarValue::Integer(-12));
        assert_eq!(resolve("0x1F"), ScalarValue::Integer(31));
        assert_eq!(resolve("0o17"), ScalarValue::Integer(15));
        assert_eq!(resolve("1.10"), ScalarValue::Number(1.1));
        assert_eq!(resolve("1e3"), ScalarValue::Number(1000.0));
        assert_eq!(resolve("~"), ScalarValue::Null);
        assert_eq!(resolve("True"), ScalarValue::Boolean(true));
    }
}
