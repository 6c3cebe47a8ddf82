//! The rule by which a Horizontal Pod Autoscaler takes over the number of replicas that another client has set.

use std::ops::RangeInclusive;

/// Whether an autoscaler with these bounds leaves a new number as it is: it does nothing while the number is 0, and
/// goes on from a number within its bounds. See "Implicit maintenance-mode deactivation" of the Horizontal Pod
/// Autoscaler.
pub(crate) fn leaves_alone(
    bounds: &RangeInclusive<i64>,
    before: Option<i64>,
    after: Option<i64>,
) -> bool {
    let is_within = after.is_some_and(|after| bounds.contains(&after));
    after == Some(0) || (before == Some(0) && is_within)
}
