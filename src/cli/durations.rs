//! Durations as people read them.

use std::time::Duration;

use jiff::Timestamp;

/// Returns a duration: to a tenth of a second below a minute, else to the second.
pub(super) fn duration_text(took: Duration) -> String {
    let seconds = took.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) => format!("{:.1} s", took.as_secs_f64()),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Returns a duration that grows while it is read: to the second.
pub(super) fn elapsed_text(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => duration_text(Duration::from_secs(seconds)),
    }
}

/// Returns a place on a time line: `+0:04`, `+12:03`, `+1:02:03`.
pub(super) fn offset_text(offset: Duration) -> String {
    let seconds = offset.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("+{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("+{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Returns the time between two events. The clocks of two processes may differ: what would be negative is zero.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to - from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let cases =
            [(250, "0.2 s"), (59_940, "59.9 s"), (61_000, "1 min 1 s"), (3_725_000, "1 h 2 min")];
        for (milliseconds, expected) in cases {
            assert_eq!(duration_text(Duration::from_millis(milliseconds)), expected);
        }
        assert_eq!(elapsed_text(Duration::from_millis(4_900)), "4 s");
        assert_eq!(elapsed_text(Duration::from_secs(72)), "1 min 12 s");
    }

    #[test]
    fn offsets_have_minutes_and_seconds() {
        let offsets = [0, 4, 723, 3_723].map(|seconds| offset_text(Duration::from_secs(seconds)));
        assert_eq!(offsets, ["+0:00", "+0:04", "+12:03", "+1:02:03"]);
    }

    #[test]
    fn a_clock_that_is_behind_gives_no_negative_duration() {
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        assert_eq!(between(late, early), Duration::ZERO);
    }
}
