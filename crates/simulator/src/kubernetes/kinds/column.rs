//! The columns of tables that `kubectl get` prints, and what cells have in common.

use jiff::Timestamp;
use serde_json::Value;

use crate::kubernetes::object::{list, map, moment, number, text};

/// A column: its name, whether only `-o wide` shows it, and its cell at a moment.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) wide: bool,
    pub(crate) cell: fn(&Value, Timestamp) -> Value,
}

pub(super) const NAME: Column =
    column("Name", |object, _| crate::kubernetes::object::name(object).into());

pub(super) const AGE: Column =
    column("Age", |object, now| age(object, "/metadata/creationTimestamp", now));

pub(super) const fn column(name: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column { name, wide: false, cell }
}

pub(super) const fn wide(name: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column { name, wide: true, cell }
}

pub(super) fn text_or_none(object: &Value, pointer: &str) -> Value {
    match text(object, pointer) {
        "" => "<none>".into(),
        text => text.into(),
    }
}

pub(super) fn count(object: &Value, pointer: &str) -> i64 {
    number(object, pointer).unwrap_or(0)
}

pub(crate) fn age(object: &Value, pointer: &str, now: Timestamp) -> Value {
    match moment(object, pointer) {
        Some(then) => duration(now.as_second() - then.as_second()).into(),
        None => "<unknown>".into(),
    }
}

/// Formats seconds as kubectl does: with two units at most.
fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: i64, unit: char, rest: i64, small: char| match rest {
        0 => format!("{big}{unit}"),
        rest => format!("{big}{unit}{rest}{small}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, 'd', hours % 24, 'h'),
        () if days < 730 => format!("{days}d"),
        () => pair(days / 365, 'y', days % 365, 'd'),
    }
}

pub(super) fn containers(workload: &Value, pointer: &str) -> Value {
    let parts: Vec<&str> = list(workload, "/spec/template/spec/containers")
        .iter()
        .map(|container| text(container, pointer))
        .collect();
    parts.join(",").into()
}

pub(super) fn selector(workload: &Value) -> Value {
    let labels = map(workload, "/spec/selector/matchLabels");
    let parts: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    parts.join(",").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units_at_most() {
        let cases = [
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (3600, "60m"),
            (4 * 3600, "4h"),
            (3 * 86_400 + 7200, "3d2h"),
            (100 * 86_400, "100d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
