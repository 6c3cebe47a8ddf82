//! Whether the process that drives a run is alive, as its object says.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    lease::LeaseTimes,
    platform::kubernetes::{RunbookRun, RunbookRunStatus},
};

/// Whether a process says that it drives the run. One that has just created the object does not say so yet.
pub(super) fn says_driven(run: &RunbookRun) -> bool {
    match &run.status {
        Some(status) if status.state.is_some() => status.holder.is_some(),
        _ => run.spec.writer.is_some(),
    }
}

/// Whether the process has renewed the status within its duration, or in what is the future here. A guess, because it
/// compares two clocks: it is for lists and messages.
pub(super) fn seems_renewed(run: &RunbookRun, now: Timestamp) -> bool {
    let renewed = renewed_at(run.status.as_ref())
        .or_else(|| run.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let limit = i64::try_from(duration(run).as_secs()).unwrap_or(i64::MAX);
    says_driven(run) && renewed.is_some_and(|renewed| now.duration_since(renewed).as_secs() < limit)
}

/// Returns for how long a run that is driven may be unchanged.
pub(super) fn duration(run: &RunbookRun) -> Duration {
    let seconds = run.status.as_ref().and_then(|status| status.lease_duration_seconds);
    seconds.map_or(LeaseTimes::default().duration, |seconds| {
        Duration::from_secs(seconds.into()).min(LeaseTimes::MAX)
    })
}

fn renewed_at(status: Option<&RunbookRunStatus>) -> Option<Timestamp> {
    status?.renewed_at.as_ref()?.parse().ok()
}
