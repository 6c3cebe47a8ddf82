//! Objects that were created by hand: requests for runs, and what is answered to them.

use jiff::Timestamp;

use super::projection::time;
use crate::{
    journal::{RequestAnswer, RunRequest},
    platform::kubernetes::{RunCondition, RunbookRun, RunbookRunStatus},
};

/// The state of a request that waits, and of one that is refused. A run has neither.
pub(super) const PENDING: &str = "pending";
pub(super) const REFUSED: &str = "refused";

/// The longest answer, in bytes: a runbook may have many errors.
const MAX_ANSWER: usize = 8 << 10;

/// Whether an object is a request that may still become a run. The objects of runs name the process that created them.
pub(super) fn is_request(run: &RunbookRun) -> bool {
    run.spec.writer.is_none() && matches!(state(run), None | Some(PENDING))
}

/// Whether an object is a request that will never be a run.
pub(super) fn is_refused(run: &RunbookRun) -> bool {
    state(run) == Some(REFUSED)
}

fn state(run: &RunbookRun) -> Option<&str> {
    run.status.as_ref()?.state.as_deref()
}

pub(super) fn request(run: &RunbookRun) -> RunRequest {
    let (spec, metadata) = (&run.spec, &run.metadata);
    let finished = run.status.as_ref().and_then(|status| status.conditions.first());
    RunRequest {
        name: metadata.name.clone().unwrap_or_default(),
        version: metadata.resource_version.clone(),
        runbook: spec.runbook.clone(),
        inputs: spec.inputs.clone(),
        key: spec.key.clone(),
        requested_by: spec.requested_by.clone(),
        created_at: metadata.creation_timestamp.as_ref().map(|time| time.0),
        // The API server has checked the format.
        start_before: spec.start_before.as_ref().and_then(|time| time.parse().ok()),
        accept: spec.accept.clone(),
        outside_window: spec.outside_window.clone(),
        answer: finished.map(|condition| condition.message.clone()),
    }
}

/// Returns the status of a request with this answer.
pub(super) fn answered(answer: &RequestAnswer) -> RunbookRunStatus {
    let (state, reason, message, finished, succeeded) = match answer {
        RequestAnswer::Waits(message) => (PENDING, "Pending", message, "False", "Unknown"),
        RequestAnswer::Refused(message) => (REFUSED, "Refused", message, "True", "False"),
    };
    let message = &message[..message.floor_char_boundary(MAX_ANSWER)];
    let now = time(Timestamp::now());
    let waiting = if finished == "True" { "False" } else { "True" };
    let condition = |name: &str, status: &str, message: &str| RunCondition {
        type_: name.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: now.clone(),
    };
    RunbookRunStatus {
        state: Some(state.into()),
        waiting_for: (finished == "False").then(|| message.to_owned()),
        failure: (finished == "True").then(|| message.to_owned()),
        conditions: vec![
            condition("Finished", finished, message),
            condition("Succeeded", succeeded, message),
            condition("Waiting", waiting, if waiting == "True" { message } else { "" }),
        ],
        ..RunbookRunStatus::default()
    }
}
