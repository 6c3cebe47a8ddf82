//! Amounts of CPU, memory and pods, and Kubernetes' notation for them.

use serde_json::Value;

use crate::kubernetes::object::{list, text};

/// CPU in thousandths, memory in bytes, and a number of pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ResourceAmounts {
    pub(crate) cpu: i64,
    pub(crate) timers: i64,
    pub(crate) pods: i64,
}

impl ResourceAmounts {
    /// Returns what a node can allocate to pods.
    pub(crate) fn allocatable_of(node: &Value) -> Self {
        let amount = |name: &str| amount(node, "/status/allocatable", name);
        Self { cpu: amount("cpu"), timers: amount("memory") / 1000, pods: amount("pods") / 1000 }
    }

    /// Returns what a pod requests: the sum of its containers, or more if an init container
    /// requests more.
    pub(crate) fn requested_by(pod: &Value) -> Self {
        let of = |container: &Value| Self {
            cpu: amount(container, "/resources/requests", "cpu"),
            timers: amount(container, "/resources/requests", "memory") / 1000,
            pods: 0,
        };
        let mut requested =
            list(pod, "/spec/containers").iter().map(of).fold(Self::default(), |sum, one| Self {
                cpu: sum.cpu + one.cpu,
                timers: sum.timers + one.timers,
                pods: 0,
            });
        for init in list(pod, "/spec/initContainers").iter().map(of) {
            requested.cpu = requested.cpu.max(init.cpu);
            requested.timers = requested.timers.max(init.timers);
        }
        Self { pods: 1, ..requested }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu - other.cpu,
            timers: self.timers - other.timers,
            pods: self.pods - other.pods,
        }
    }

    /// Returns the share of `other` in hundredths, the sum of the shares of CPU and memory.
    pub(crate) fn share_of(self, other: Self) -> i64 {
        let share = |part: i64, whole: i64| if whole > 0 { part * 100 / whole } else { 0 };
        i64::midpoint(share(self.cpu, other.cpu), share(self.timers, other.timers))
    }
}

fn amount(object: &Value, pointer: &str, name: &str) -> i64 {
    match object.pointer(&format!("{pointer}/{name}")) {
        Some(Value::Number(number)) => number.as_f64().map_or(0, thousandths),
        Some(Value::String(_)) => parse(text(object, &format!("{pointer}/{name}"))),
        _ => 0,
    }
}

/// Parses a quantity into thousandths: `100m`, `2`, `0.5`, `1Gi`, `500M`. An invalid quantity is 0.
fn parse(quantity: &str) -> i64 {
    let digits = quantity.trim_end_matches(char::is_alphabetic);
    let factor = match &quantity[digits.len()..] {
        "m" => 0.001,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => 0.0,
    };
    digits.parse::<f64>().map_or(0, |number| thousandths(number * factor))
}

#[expect(clippy::cast_possible_truncation, reason = "a cast to an integer saturates")]
fn thousandths(number: f64) -> i64 {
    (number * 1000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_of_every_form_are_parsed() {
        let cases = [
            ("100m", 100),
            ("2", 2000),
            ("0.5", 500),
            ("1Ki", 1_024_000),
            ("16Gi", 17_179_869_184_000),
            ("3M", 3_000_000_000),
            ("x", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
