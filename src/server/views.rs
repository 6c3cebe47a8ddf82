//! The JSON of successful responses. Pure functions of a run.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde_json::{Value, json};

use super::active_runs::Phase;
use crate::{
    engine::Answered,
    journal::{ApprovalSummary, LogLines, RecordedEvent, ResumeMode, Run, RunId, RunState},
    windows::WindowState,
};
use runbook::{Diagnostic, Runbook, Source, render};

/// Formats a time to the second, as the Go service did: the second that was running.
fn seconds(time: Timestamp) -> String {
    let to_the_second = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc);
    time.round(to_the_second).unwrap_or(time).to_string()
}

/// `/run`: a run has been started, or the same key started it before.
pub(super) fn started(run: &Run) -> Value {
    json!({
        "status": "started",
        "message": "SOP execution started",
        "time": seconds(run.head.started_at),
        "run": run.id(),
        "runbook": run.spec.runbook,
    })
}

/// `/runs/ID/resume` and `/rollback`: the run was resumed.
pub(super) fn resumed(run: &Run, mode: ResumeMode) -> Value {
    let mut response = started(run);
    response["message"] = json!(match mode {
        ResumeMode::Continue => "SOP execution resumed",
        ResumeMode::Rollback => "SOP rollback started",
    });
    response["time"] = json!(seconds(run.head.last_event_at));
    response
}

/// `/runs/ID/approve` and `/reject`: the answer counts, or waits for a process that drives the run.
pub(super) fn answered(run: &RunId, answered: &Answered, word: &str) -> Value {
    let Answered { step, missing } = answered;
    match missing {
        Some(missing) => json!({"status": word, "run": run, "step": step, "missing": missing}),
        None => json!({"status": "recorded", "run": run, "step": step}),
    }
}

/// `/validate` of a runbook without errors. There may be warnings and notes.
pub(super) fn valid(runbook: &Runbook, source: &Source, diagnostics: &[Diagnostic]) -> Value {
    json!({
        "status": "valid",
        "runbook": runbook.name,
        "steps": runbook.steps.len(),
        "diagnostics": render::json(source, diagnostics),
    })
}

/// `/health` and `/status` of a service with change windows.
pub(super) fn change_window(state: WindowState) -> Value {
    match state {
        WindowState::Open { until } => json!({"open": true, "until": until}),
        WindowState::Closed { until } => json!({"open": false, "opens": until}),
    }
}

/// `/status` before there is any run.
pub(super) fn idle() -> Value {
    json!({"status": "Idle", "logs": []})
}

/// `/status` of a run.
pub(super) fn status(
    run: &Run,
    events: &[RecordedEvent],
    phase: Option<&Phase>,
    is_live: bool,
) -> Value {
    let state = run.state(is_live);
    let mut status = json!({
        "status": legacy_status(state),
        "start_time": seconds(run.head.started_at),
        "logs": LogLines::of(events),
        "run": run.id(),
        "runbook": run.spec.runbook,
        "digest": run.digest(),
        "state": state,
    });
    let approvals: Vec<ApprovalSummary> =
        run.open_approvals().map(|(step, asked)| ApprovalSummary::of(step, asked)).collect();
    if !approvals.is_empty() {
        status["approvals"] = json!(approvals);
    }
    if let Some(reason) = &run.spec.outside_window {
        status["outside_window"] = json!(reason);
    }
    if let Some(origin) = run.origin() {
        status["origin"] = json!(origin);
    }
    if let (Some(Phase::Recovering { reason }), RunState::Interrupted) = (phase, state) {
        status["status"] = json!("Running");
        let retrying =
            reason.as_deref().map_or_else(String::new, |why| format!(" (retrying: {why})"));
        status["resuming"] = json!(format!("interrupted; recovery pending{retrying}"));
        status["recovery"] = json!({"pending": true, "reason": reason});
        return status;
    }
    if let Some(end) = run.head.ended_at.filter(|_| !state.is_active()) {
        status["end_time"] = json!(seconds(end));
    }
    if legacy_status(state) == "Failed" {
        status["error"] = json!(error(run, state, phase));
        if let Some(failure) = &run.head.failure {
            status["failure"] = json!(failure);
        }
        if let Some(step) = &run.head.failed_step {
            status["failed_step"] = json!(step);
        }
    }
    status
}

/// The message of a run that did not succeed.
fn error(run: &Run, state: RunState, phase: Option<&Phase>) -> String {
    if let Some(failure) = &run.head.failure {
        return failure.message.clone();
    }
    if let Some(Phase::JournalFailed(message)) = phase {
        return message.clone();
    }
    match state {
        RunState::Interrupted => "the process that drove the run died",
        RunState::Abandoned => "the run was abandoned",
        RunState::RolledBack => "the run was rolled back on request",
        _ => "run failed without an error message",
    }
    .to_owned()
}

/// Returns the Go service's three words, and Idle.
fn legacy_status(state: RunState) -> &'static str {
    match state {
        RunState::Running | RunState::RollingBack => "Running",
        RunState::Succeeded | RunState::SucceededWithFailures => "Success",
        RunState::Failed
        | RunState::Cancelled
        | RunState::Interrupted
        | RunState::RolledBack
        | RunState::RollbackFailed
        | RunState::Abandoned => "Failed",
    }
}
