//! Values of other tools: types, durations, booleans, reactions to a failure.

use super::super::document::OnFailure;
use super::super::types::Type;
use super::folded;

/// Returns the reaction to a failure that a word means.
pub(crate) fn on_failure(written: &str) -> Option<&'static str> {
    let meant = match folded(written).as_str() {
        "ignore" | "skip" | "warn" | "proceed" | "true" | "goon" | "next" | "pass" | "resume" => {
            "continue"
        }
        "fail" | "abort" | "halt" | "exit" | "none" | "error" | "false" | "die" | "pause"
        | "break" | "cancel" | "stopworkflow" | "terminate" => "stop",
        "undo" | "revert" | "restore" | "rollbackall" | "compensate" | "back" => "rollback",
        _ => return None,
    };
    OnFailure::NAMES.iter().copied().find(|name| *name == meant)
}

/// Returns the boolean that a word means.
pub(crate) fn boolean(written: &str) -> Option<bool> {
    match written.trim().to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" | "true" | "1" | "enabled" | "enable" => Some(true),
        "no" | "off" | "n" | "false" | "0" | "disabled" | "disable" => Some(false),
        _ => None,
    }
}

/// Words for the values of enums, each with the value that they can mean.
const ENUM_WORDS: &[(&str, &[&str])] = &[
    ("ready", &["running", "available", "up", "healthy", "started", "present", "complete"]),
    ("gone", &["deleted", "absent", "removed", "terminated", "missing", "down", "notready"]),
    ("Warning", &["error", "warn", "critical", "alert", "failure"]),
    ("Normal", &["info", "information", "notice", "ok", "success"]),
    ("NoSchedule", &["unschedulable", "cordon"]),
    ("NoExecute", &["evict", "drain"]),
];

/// Returns the value of an enum that a word means.
pub(crate) fn enum_value(written: &str, values: &[String]) -> Option<String> {
    let word = folded(written);
    let has = |value: &str| values.iter().any(|known| known == value);
    let meant = ENUM_WORDS.iter().find(|(ours, words)| has(ours) && words.contains(&word.as_str()));
    if let Some((ours, _)) = meant {
        return Some((*ours).to_owned());
    }
    // The type of a field.
    type_name(written).filter(|name| has("string") && has(name))
}

/// Returns the duration that a text means: `10 minutes`, `PT10M`, `1.5h`, `600`.
pub(crate) fn duration(written: &str) -> Option<String> {
    /// Longer texts are not read.
    const MAX_LENGTH: usize = 40;
    let text = written.trim();
    if text.is_empty() || text.len() > MAX_LENGTH {
        return None;
    }
    let mut milliseconds: u64 = 0;
    let lower = text.to_ascii_lowercase();
    let (iso, rest) = match lower.strip_prefix('p') {
        Some(rest) if rest.contains(|c: char| c.is_ascii_digit()) => (true, rest.replace('t', " ")),
        _ => (false, lower.replace(" and ", " ").replace(',', " ")),
    };
    let mut rest = rest.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        let after = rest[digits..].trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit = match &after[..letters] {
            "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => 1,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000,
            "" if !iso && after.is_empty() => 1_000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            "w" | "week" | "weeks" => 604_800_000,
            _ => return None,
        };
        milliseconds = milliseconds.checked_add(scaled(number, unit)?)?;
        rest = after[letters..].trim_start();
    }
    let found: super::super::duration::Duration =
        std::time::Duration::from_millis(milliseconds).into();
    let text = found.to_string();
    text.parse::<super::super::duration::Duration>().ok().map(|_| text)
}

/// Returns a number of units in milliseconds.
fn scaled(number: f64, unit: u32) -> Option<u64> {
    let seconds = number * f64::from(unit) / 1_000.0;
    let duration = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(duration.as_millis()).ok()
}

/// Returns the type that a text means: `int`, `string[]`, `list(string)`, `array of int`.
pub(crate) fn type_name(written: &str) -> Option<String> {
    /// Longer texts are not read.
    const MAX_LENGTH: usize = 60;
    let lower = written.trim().to_ascii_lowercase();
    if lower.is_empty() || lower.len() > MAX_LENGTH {
        return None;
    }
    let name = meant(&lower)?;
    (Type::parse(&name).is_ok() && name != written).then_some(name)
}

fn meant(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(of) = text.strip_suffix("[]") {
        return Some(format!("list of {}", meant(of)?));
    }
    if let Some(of) = text.strip_suffix('?') {
        return Some(format!("optional {}", meant(of)?));
    }
    let closed = |text: &str| text.strip_suffix([')', ']', '>']).map(str::to_owned);
    if let Some((name, of)) = text.split_once(['(', '[', '<']) {
        let of = match closed(of) {
            Some(of) => of,
            // `map[string]int`
            None if name.trim() == "map" => of.split_once(']')?.1.to_owned(),
            None => return None,
        };
        // `map[string]int` and `dict[str, int]` have the type of their keys, too.
        let of = of.rsplit([',', ']']).next().unwrap_or_default().trim().to_owned();
        return Some(match name.trim() {
            "list" | "array" | "set" | "seq" | "sequence" | "slice" => {
                format!("list of {}", meant(&of)?)
            }
            "map" | "dict" | "object" | "hash" => format!("map of {}", meant(&of)?),
            "optional" | "option" | "nullable" => format!("optional {}", meant(&of)?),
            _ => return None,
        });
    }
    for (prefix, ours) in [
        ("list of ", "list of "),
        ("array of ", "list of "),
        ("lists of ", "list of "),
        ("list ", "list of "),
        ("map of ", "map of "),
        ("dict of ", "map of "),
        ("object of ", "map of "),
        ("optional ", "optional "),
        ("nullable ", "optional "),
    ] {
        if let Some(of) = text.strip_prefix(prefix) {
            return Some(format!("{ours}{}", meant(of)?));
        }
    }
    let name = match text {
        "string" | "str" | "text" | "strings" | "char" | "varchar" | "secret" | "password"
        | "securestring" => "string",
        "integer" | "int" | "int32" | "int64" | "uint" | "long" | "integers" | "ints" | "count" => {
            "integer"
        }
        "number" | "float" | "double" | "decimal" | "numbers" | "float64" | "numeric" => "number",
        "boolean" | "bool" | "booleans" | "flag" | "checkbox" => "boolean",
        "duration" | "interval" | "timedelta" | "time" | "timespan" | "period" => "duration",
        "enum" | "choice" | "select" | "choices" | "option" => "enum",
        "list" | "array" | "stringlist" | "arrays" | "set" | "tuple" => "list of string",
        "map" | "object" | "dict" | "hash" | "json" | "stringmap" | "mapping" | "dictionary" => {
            "map of string"
        }
        _ => return None,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_other_tools_are_read() {
        for (written, ours) in [
            ("10 minutes", "10m"),
            ("600", "10m"),
            ("10min", "10m"),
            ("PT10M", "10m"),
            ("1 h", "1h"),
            ("1.5h", "1h30m"),
            ("P1DT2H", "1d2h"),
            ("1h 30m", "1h30m"),
            ("2 days", "2d"),
            ("5 Minutes", "5m"),
            ("500 ms", "500ms"),
            ("1 hour and 5 minutes", "1h5m"),
        ] {
            assert_eq!(duration(written).as_deref(), Some(ours), "{written}");
        }
        for written in ["", "soon", "m", "-5m", "10 parsecs", "p", "99999999999999999999d"] {
            assert_eq!(duration(written), None, "{written}");
        }
    }

    #[test]
    fn types_of_other_tools_are_read() {
        for (written, ours) in [
            ("int", "integer"),
            ("string[]", "list of string"),
            ("list(string)", "list of string"),
            ("array of int", "list of integer"),
            ("List<String>", "list of string"),
            ("dict[str, int]", "map of integer"),
            ("bool", "boolean"),
            ("object", "map of string"),
            ("number[]", "list of number"),
            ("string?", "optional string"),
            ("map[string]string", "map of string"),
            ("list of int", "list of integer"),
            ("String", "string"),
        ] {
            assert_eq!(type_name(written).as_deref(), Some(ours), "{written}");
        }
        assert_eq!(type_name("nodegroup"), None);
    }
}
