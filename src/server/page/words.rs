//! The words, symbols and classes by which pages show states, and how they write times and values. A state is never
//! shown by its color alone.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;
use text::printable;

use crate::journal::{RunState, StepState};

/// The longest value that is shown on a line.
const MAX_VALUE_CHARS: usize = 300;

/// The longest output that is shown.
const MAX_OUTPUT_BYTES: usize = 16 * 1024;

/// A state as pages show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Badge {
    /// The class of the style sheet: `ok`, `bad`, `run`, `wait`, `warn` or `off`.
    pub(super) class: &'static str,
    /// The symbol's name in the page.
    pub(super) icon: &'static str,
    /// The word.
    pub(super) word: &'static str,
}

const fn badge(class: &'static str, icon: &'static str, word: &'static str) -> Badge {
    Badge { class, icon, word }
}

/// A step that has not begun.
pub(super) const PENDING: Badge = badge("off", "pending", "not begun");
/// A step or a run that waits for a condition.
pub(super) const WAITING: Badge = badge("wait", "wait", "waiting");
/// A step or a run that waits for persons.
pub(super) const ASKING: Badge = badge("wait", "ask", "needs approval");

impl Badge {
    /// Returns the HTML of the symbol alone, for where the word follows it or is beside it.
    pub(super) fn mark(&self) -> String {
        let Self { class, icon, .. } = self;
        format!("<svg class=\"icon {class}\" aria-hidden=\"true\"><use href=\"#i-{icon}\"/></svg>")
    }

    /// Returns the HTML of the symbol with the word.
    pub(super) fn chip(&self) -> String {
        format!("<span class=\"chip {}\">{}{}</span>", self.class, self.mark(), self.word)
    }
}

/// Returns the badge of a run.
pub(super) fn of_run(state: RunState) -> Badge {
    match state {
        RunState::Running => badge("run", "run", "running"),
        RunState::Succeeded => badge("ok", "ok", "succeeded"),
        RunState::SucceededWithFailures => badge("warn", "warn", "succeeded with failures"),
        RunState::Failed => badge("bad", "bad", "failed"),
        RunState::Cancelled => badge("warn", "stop", "cancelled"),
        RunState::Interrupted => badge("warn", "warn", "interrupted"),
        RunState::RollingBack => badge("run", "undo", "rolling back"),
        RunState::RolledBack => badge("off", "undo", "rolled back"),
        RunState::RollbackFailed => badge("bad", "bad", "rollback failed"),
        RunState::Abandoned => badge("off", "stop", "abandoned"),
    }
}

/// Returns the badge of a step. One that has begun and not ended runs only while a process drives the run.
pub(super) fn of_step(state: StepState, is_live: bool) -> Badge {
    match state {
        StepState::Running if is_live => badge("run", "run", "running"),
        StepState::Running => badge("warn", "stop", "not finished"),
        StepState::Completed => badge("ok", "ok", "completed"),
        StepState::Skipped => badge("off", "skip", "skipped"),
        StepState::Failed => badge("bad", "bad", "failed"),
        StepState::Undoing if is_live => badge("run", "undo", "being undone"),
        StepState::Undoing => badge("warn", "undo", "undo not finished"),
        StepState::Undone => badge("off", "undo", "undone"),
        StepState::UndoFailed => badge("bad", "bad", "undo failed"),
        StepState::Restored => badge("ok", "undo", "completed, then restored"),
    }
}

/// Returns a text from outside as one line without hidden characters.
pub(super) fn shown(text: &str) -> String {
    printable(text.trim_end()).into_owned()
}

/// Returns a text from outside with its line breaks.
pub(super) fn shown_lines(text: &str) -> String {
    text::printable_lines(&text.replace("\r\n", "\n")).into_owned()
}

/// Returns a value on one line: a string without quotes, anything else as JSON.
pub(super) fn value(value: &Value) -> String {
    let text = match value {
        Value::Null => "null".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let shortened: String = match text.char_indices().nth(MAX_VALUE_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    };
    shown(&shortened)
}

/// Returns an output as indented JSON, cut where it is very long.
pub(super) fn output(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    if text.len() > MAX_OUTPUT_BYTES {
        let mut end = MAX_OUTPUT_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("\n… the journal has the rest");
    }
    shown_lines(&text)
}

/// Returns a duration as pages write it, to the second: `42s`, `3m 05s`, `2h 03m`, `4d 02h`. `app.js` writes the same.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) if !duration.is_zero() => "<1s".to_owned(),
        (0, 0, 0, _) => format!("{seconds}s"),
        (0, 0, ..) => format!("{minutes}m {:02}s", seconds % 60),
        (0, ..) => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// Returns the time between two times; none where the clock went back.
pub(super) fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end - start).unwrap_or_default()
}

/// The present, for pages. None for streams, where the script fills in what ticks: what has not changed is the same
/// text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present(pub(super) Option<Timestamp>);

/// A moment, as machines and as persons read it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Moment {
    /// For `<time datetime>`.
    pub(super) machine: String,
    /// Date and time, UTC.
    pub(super) text: String,
    /// The time of the day alone, UTC.
    pub(super) clock: String,
}

impl Moment {
    /// Returns the HTML of the moment.
    pub(super) fn time(&self) -> String {
        format!("<time datetime=\"{}\">{}</time>", self.machine, self.text)
    }

    /// Returns the HTML of the moment to the minute, for lists.
    pub(super) fn short(&self) -> String {
        let Self { machine, text, .. } = self;
        let short = text.get(..16).unwrap_or(text);
        format!("<time datetime=\"{machine}\" title=\"{text}\">{short}</time>")
    }

    /// Returns the HTML of the time since the moment, which the script keeps current.
    pub(super) fn since(&self, present: &Present) -> String {
        let start = self.machine.parse().ok();
        let text = start.zip(present.0).map(|(start, now)| duration(between(start, now)));
        let text = text.unwrap_or_default();
        format!(
            "<time class=\"tick\" data-since=\"{}\" datetime=\"{}\" title=\"since {}\">{text}</time>",
            self.machine, self.machine, self.text
        )
    }
}

/// Returns a moment.
pub(super) fn moment(time: Timestamp) -> Moment {
    let utc = time.to_zoned(TimeZone::UTC);
    Moment {
        machine: utc.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        text: utc.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        clock: utc.strftime("%H:%M:%S").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_short_and_as_wide_as_each_other() {
        for (millis, text) in [
            (0, "0s"),
            (400, "<1s"),
            (59_999, "59s"),
            (60_000, "1m 00s"),
            (3_599_000, "59m 59s"),
            (3_660_000, "1h 01m"),
            (90_000_000, "1d 01h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_value_is_one_line_of_bounded_length() {
        assert_eq!(value(&json!("a\nb")), "a\\nb");
        assert_eq!(value(&json!("")), "\"\"");
        assert_eq!(value(&json!({"a": 1})), r#"{"a":1}"#);
        assert_eq!(value(&json!("é".repeat(400))).chars().count(), MAX_VALUE_CHARS + 1);
    }

    #[test]
    fn a_long_output_is_cut_between_characters() {
        let text = output(&json!("é".repeat(MAX_OUTPUT_BYTES)));
        assert!(text.len() < MAX_OUTPUT_BYTES + 100 && text.ends_with("the rest"));
    }
}
