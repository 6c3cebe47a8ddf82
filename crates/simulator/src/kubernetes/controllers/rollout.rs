//! The arithmetic of a deployment's rollout: the size of each of its replica sets. Pure functions.

use serde_json::Value;

use crate::kubernetes::object::{annotation, number, text};

pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

/// The number of pods that a deployment wants, and by how many a rollout may exceed it or fall
/// below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) replicas: i64,
    pub(super) surge: i64,
    pub(super) unavailable: i64,
}

impl Bounds {
    pub(super) fn of(deployment: &Value) -> Self {
        let replicas = number(deployment, "/spec/replicas").unwrap_or(1);
        if text(deployment, "/spec/strategy/type") == "Recreate" {
            return Self { replicas, surge: 0, unavailable: 0 };
        }
        let field =
            |name: &str| deployment.pointer(&format!("/spec/strategy/rollingUpdate/{name}"));
        let surge = scaled_value(field("maxSurge"), replicas, Rounding::Up);
        let mut unavailable = scaled_value(field("maxUnavailable"), replicas, Rounding::Down);
        if surge == 0 && unavailable == 0 {
            // With both at 0 no rollout could make progress.
            unavailable = 1;
        }
        Self { replicas, surge, unavailable: unavailable.min(replicas) }
    }

    /// Returns the largest number of pods that may exist.
    pub(super) fn max_total(self) -> i64 {
        self.replicas + self.surge
    }

    /// Returns the smallest number of pods that must be available.
    pub(super) fn min_available(self) -> i64 {
        self.replicas - self.unavailable
    }
}

/// The direction in which a percentage is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    Up,
    Down,
}

/// Returns a number, or a percentage of `whole`.
pub(super) fn scaled_value(value: Option<&Value>, whole: i64, rounding: Rounding) -> i64 {
    match value {
        Some(Value::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            match rounding {
                Rounding::Up => (percent * whole + 99) / 100,
                Rounding::Down => percent * whole / 100,
            }
        }
        Some(value) => value.as_i64().unwrap_or(0),
        None => 0,
    }
}

pub(super) fn replicas(set: &Value) -> i64 {
    number(set, "/spec/replicas").unwrap_or(0)
}

pub(super) fn available(set: &Value) -> i64 {
    number(set, "/status/availableReplicas").unwrap_or(0)
}

/// Returns the size of the newest set: as large as the deployment, within what the surge allows.
pub(super) fn newest_size(bounds: Bounds, newest: i64, total: i64) -> i64 {
    if newest >= bounds.replicas {
        return bounds.replicas;
    }
    let headroom = (bounds.max_total() - total).max(0);
    newest + headroom.min(bounds.replicas - newest)
}

/// Returns the sizes of the old sets, oldest first. Pods that never became available are removed
/// first, then as many others as availability allows.
pub(super) fn old_sizes(bounds: Bounds, old: &[&Value], newest: &Value) -> Vec<i64> {
    let mut sizes: Vec<i64> = old.iter().map(|set| replicas(set)).collect();
    let total = sizes.iter().sum::<i64>() + replicas(newest);
    let new_unavailable = replicas(newest) - available(newest);
    let mut removable = total - bounds.min_available() - new_unavailable;
    if removable <= 0 {
        return sizes;
    }
    for (size, set) in sizes.iter_mut().zip(old) {
        let unhealthy = (*size - available(set)).clamp(0, removable);
        *size -= unhealthy;
        removable -= unhealthy;
    }
    let total_available: i64 =
        old.iter().map(|set| available(set)).sum::<i64>() + available(newest);
    let mut spare = total_available - bounds.min_available();
    for size in &mut sizes {
        let removed = (*size).min(spare).max(0);
        *size -= removed;
        spare -= removed;
    }
    sizes
}

/// Returns the sizes of several active sets when the deployment is scaled during a rollout. Each
/// changes in proportion to its size, and the largest gets the remainder. `sets` are ordered newest
/// first.
pub(super) fn proportional_sizes(bounds: Bounds, sets: &[&Value]) -> Vec<i64> {
    let total: i64 = sets.iter().map(|set| replicas(set)).sum();
    let allowed = if bounds.replicas > 0 { bounds.max_total() } else { 0 };
    let to_add = allowed - total;
    let mut order: Vec<usize> = (0..sets.len()).collect();
    // Of equal sizes, the newest grows first and the oldest shrinks first.
    order.sort_by_key(|at| (-replicas(sets[*at]), if to_add > 0 { *at } else { sets.len() - at }));
    let mut sizes: Vec<i64> = sets.iter().map(|set| replicas(set)).collect();
    let mut added = 0;
    for at in &order {
        let change = proportion(bounds, sets[*at], to_add, added);
        sizes[*at] += change;
        added += change;
    }
    if let Some(largest) = order.first() {
        sizes[*largest] = (sizes[*largest] + to_add - added).max(0);
    }
    sizes
}

fn proportion(bounds: Bounds, set: &Value, to_add: i64, added: i64) -> i64 {
    let left = to_add - added;
    if to_add == 0 || left == 0 || replicas(set) == 0 {
        return 0;
    }
    let fraction = if bounds.replicas == 0 {
        -replicas(set)
    } else {
        let before = annotation(set, MAXIMUM).and_then(|text| text.parse().ok());
        let before: i64 = before.filter(|size| *size > 0).unwrap_or(bounds.max_total());
        let scaled = replicas(set) * bounds.max_total();
        // Rounds to the nearest whole number, halves up.
        (scaled * 2 + before) / (before * 2) - replicas(set)
    };
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(replicas: i64, surge: &Value, unavailable: &Value) -> Value {
        json!({"spec": {"replicas": replicas, "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
        }}})
    }

    fn set(size: i64, available: i64, max_total: i64) -> Value {
        json!({
            "metadata": {"annotations": {MAXIMUM: max_total.to_string()}},
            "spec": {"replicas": size},
            "status": {"availableReplicas": available},
        })
    }

    #[test]
    fn percentages_round_the_surge_up_and_the_unavailable_pods_down() {
        let cases = [
            (3, json!("25%"), json!("25%"), 1, 0),
            (10, json!("25%"), json!("25%"), 3, 2),
            (3, json!(0), json!("25%"), 0, 1),
            (2, json!(1), json!(5), 1, 2),
        ];
        for (replicas, up, down, surge, unavailable) in cases {
            let bounds = Bounds::of(&deployment(replicas, &up, &down));
            assert_eq!((bounds.surge, bounds.unavailable), (surge, unavailable));
        }
    }

    #[test]
    fn a_rollout_shrinks_the_old_sets_by_what_the_newest_has_made_available() {
        let bounds = Bounds::of(&deployment(3, &json!(1), &json!(0)));
        assert_eq!(newest_size(bounds, 0, 3), 1);
        let (old, new) = (set(3, 3, 4), set(1, 0, 4));
        assert_eq!(old_sizes(bounds, &[&old], &new), [3]);
        let new = set(1, 1, 4);
        assert_eq!(old_sizes(bounds, &[&old], &new), [2]);
        // Pods that never became available are removed at once.
        let unhealthy = set(3, 1, 4);
        assert_eq!(old_sizes(bounds, &[&unhealthy], &set(1, 1, 4)), [2]);
    }

    #[test]
    fn scaling_during_a_rollout_keeps_the_proportions_of_the_sets() {
        let bounds = Bounds::of(&deployment(20, &json!(2), &json!(0)));
        let (new, old) = (set(4, 4, 12), set(8, 8, 12));
        let sizes = proportional_sizes(bounds, &[&new, &old]);
        assert_eq!(sizes, [7, 15]);
        let bounds = Bounds::of(&deployment(0, &json!(2), &json!(0)));
        assert_eq!(proportional_sizes(bounds, &[&new, &old]), [0, 0]);
    }
}
