//! Amounts of CPU, memory and pods, and Kubernetes' notation for them.

use serde_json::Value;

use crate::kubernetes::object::{list, text};

/// CPU in thousandths, memory in bytes, and a number of pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ResourceAmounts {
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    pub(crate) pods: i64,
}

impl ResourceAmounts {
    /// Returns what a node can allocate to pods.
    pub(crate) fn allocatable_of(node: &Value) -> Self {
        let amount = |name: &str| amount(node, "/status/allocatable", name);
        Self { cpu: amount("cpu"), memory: amount("memory") / 1000, pods: amount("pods") / 1000 }
    }

    /// Returns what a pod requests: the sum of its containers and of the init containers that run on beside them, or
    /// more if an init container requests more while it runs; and the overhead.
    pub(crate) fn requested_by(pod: &Value) -> Self {
        let of = |container: &Value| Self {
            cpu: amount(container, "/resources/requests", "cpu"),
            memory: amount(container, "/resources/requests", "memory") / 1000,
            pods: 0,
        };
        let (mut beside, mut most) = (Self::default(), Self::default());
        for init in list(pod, "/spec/initContainers") {
            let runs_on = text(init, "/restartPolicy") == "Always";
            most = most.max(beside.plus(of(init)));
            if runs_on {
                beside = beside.plus(of(init));
            }
        }
        let own = list(pod, "/spec/containers").iter().map(of).fold(beside, Self::plus);
        let overhead = Self {
            cpu: amount(pod, "/spec/overhead", "cpu"),
            memory: amount(pod, "/spec/overhead", "memory") / 1000,
            pods: 1,
        };
        own.max(most).plus(overhead)
    }

    /// Returns the larger amount of each resource.
    fn max(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            pods: self.pods.max(other.pods),
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu - other.cpu,
            memory: self.memory - other.memory,
            pods: self.pods - other.pods,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            memory: self.memory + other.memory,
            pods: self.pods + other.pods,
        }
    }

    /// Returns the share of `other` in hundredths, the sum of the shares of CPU and memory.
    pub(crate) fn share_of(self, other: Self) -> i64 {
        let share = |part: i64, whole: i64| if whole > 0 { part * 100 / whole } else { 0 };
        i64::midpoint(share(self.cpu, other.cpu), share(self.memory, other.memory))
    }
}

fn amount(object: &Value, pointer: &str, name: &str) -> i64 {
    object.pointer(&format!("{pointer}/{name}")).map_or(0, thousandths_of)
}

/// Returns a number of thousandths as a quantity: `600m`, `2`, `512Mi`.
pub(crate) fn format(thousandths: i64) -> String {
    if thousandths % 1000 != 0 {
        return format!("{thousandths}m");
    }
    let whole = thousandths / 1000;
    let units = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    match units.into_iter().find(|(_, size)| whole != 0 && whole % size == 0) {
        Some((unit, size)) => format!("{}{unit}", whole / size),
        None => whole.to_string(),
    }
}

/// Returns the thousandths of a quantity, which is a number or a text.
pub(crate) fn thousandths_of(quantity: &Value) -> i64 {
    match quantity {
        Value::Number(number) => number.as_f64().map_or(0, thousandths),
        Value::String(text) => parse(text),
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
    use serde_json::json;

    #[test]
    fn a_pod_requests_what_its_containers_need_at_once() {
        let container = |cpu: &str, policy: Option<&str>| json!({"resources": {"requests": {"cpu": cpu}}, "restartPolicy": policy});
        let cases = [
            (json!({"containers": [container("1", None), container("500m", None)]}), 1500),
            (
                json!({
                    "containers": [container("1", None)],
                    "initContainers": [container("3", None), container("2", None)],
                }),
                3000,
            ),
            // The second init container runs beside the first one, which runs on.
            (
                json!({
                    "containers": [container("1", None)],
                    "initContainers": [container("500m", Some("Always")), container("2", None)],
                }),
                2500,
            ),
            (
                json!({
                    "containers": [container("1", None)],
                    "initContainers": [container("500m", Some("Always"))],
                    "overhead": {"cpu": "250m"},
                }),
                1750,
            ),
        ];
        for (spec, cpu) in cases {
            let requested = ResourceAmounts::requested_by(&json!({"spec": spec}));
            assert_eq!((requested.cpu, requested.pods), (cpu, 1), "{spec}");
        }
    }

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

    #[test]
    fn formatted_quantities_are_canonical() {
        for text in ["0", "600m", "2", "512Mi", "1Gi", "3Ki", "1500m"] {
            assert_eq!(format(parse(text)), text);
        }
        assert_eq!(format(parse("1000m")), "1");
        assert_eq!(format(parse("1024Mi")), "1Gi");
    }
}
