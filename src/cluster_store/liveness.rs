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

pub(super) fn renewed_at(status: Option<&RunbookRunStatus>) -> Option<Timestamp> {
    status?.renewed_at.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::super::projection::time;
    use super::*;
    use crate::platform::kubernetes::RunbookRunSpec;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// The object of a run that was created so many seconds ago.
    fn created(seconds: i64) -> RunbookRun {
        let writer = Some("host/1/0".to_owned());
        let mut run = RunbookRun::new("run", RunbookRunSpec { writer, ..Default::default() });
        run.metadata.creation_timestamp = Some(Time(NOW - SignedDuration::from_secs(seconds)));
        run
    }

    /// The same, with a status that its process renewed so many seconds ago.
    fn renewed(seconds: i64) -> RunbookRun {
        let status = RunbookRunStatus {
            state: Some("running".into()),
            holder: Some("host/1/0".into()),
            renewed_at: Some(time(NOW - SignedDuration::from_secs(seconds))),
            lease_duration_seconds: Some(30),
            ..RunbookRunStatus::default()
        };
        RunbookRun { status: Some(status), ..created(3600) }
    }

    #[test]
    fn a_run_seems_live_for_as_long_as_its_process_said() {
        for (run, expected) in [
            (renewed(29), true),
            (renewed(30), false),
            // The clock of that process is an hour ahead, or this one is behind.
            (renewed(-3600), true),
            // A process that has just created the object.
            (created(59), true),
            (created(60), false),
        ] {
            assert_eq!(seems_renewed(&run, NOW), expected, "{:?}", run.status);
        }
    }

    #[test]
    fn neither_a_run_that_has_stopped_nor_a_request_for_one_is_driven() {
        let mut stopped = renewed(0);
        stopped.status.as_mut().unwrap().holder = None;
        let mut request = created(0);
        request.spec.writer = None;
        assert!(!says_driven(&stopped) && !says_driven(&request) && says_driven(&created(0)));
    }

    #[test]
    fn no_process_counts_as_live_for_longer_than_a_lease_can_last() {
        let mut run = renewed(0);
        run.status.as_mut().unwrap().lease_duration_seconds = Some(u32::MAX);
        assert_eq!(duration(&run), LeaseTimes::MAX);
    }
}
