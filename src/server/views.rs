//! The JSON of the good answers. Pure functions of a run.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde_json::{Value, json};

use crate::{
    engine::ResumeMode,
    journal::{EventRecord, LogLines, Run, RunState},
};
use runbook::{Diagnostic, Runbook, Source, render};

/// Times are given to the second, as the original service gave them: the second that was running.
fn seconds(time: Timestamp) -> String {
    let to_the_second = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc);
    time.round(to_the_second).unwrap_or(time).to_string()
}

/// `/run`: a run has been started, or the same key started it before.
pub(super) fn started(run: &Run) -> Value {
    json!({
        "status": "started",
        "message": "SOP execution started",
        "time": seconds(run.started_at),
        "run": run.id,
        "runbook": run.spec.runbook,
    })
}

/// `/runs/ID/resume` and `/rollback`: the run is under way again.
pub(super) fn resumed(run: &Run, mode: ResumeMode) -> Value {
    let mut response = started(run);
    response["message"] = json!(match mode {
        ResumeMode::Continue => "SOP execution resumed",
        ResumeMode::Rollback => "SOP rollback started",
    });
    response["time"] = json!(seconds(run.last_event_at()));
    response
}

/// `/validate` of a runbook without errors. There may be warnings and notes.
pub(super) fn valid(runbook: &Runbook, source: &Source, findings: &[Diagnostic]) -> Value {
    json!({
        "status": "valid",
        "runbook": runbook.name,
        "steps": runbook.steps.len(),
        "diagnostics": render::json(source, findings),
    })
}

/// `/status` before there is any run.
pub(super) fn idle() -> Value {
    json!({"status": "Idle", "logs": []})
}

/// `/status` of a run.
pub(super) fn status(
    run: &Run,
    records: &[EventRecord],
    is_live: bool,
    journal_error: Option<&str>,
) -> Value {
    let state = run.state(is_live);
    let legacy_status = legacy_status(state);
    let mut status = json!({
        "status": legacy_status,
        "start_time": seconds(run.started_at),
        "logs": LogLines::format_all(records),
        "run": run.id,
        "runbook": run.spec.runbook,
        "state": state,
    });
    if let Some(end) = run.ended_at.filter(|_| !state.is_active()) {
        status["end_time"] = json!(seconds(end));
    }
    if legacy_status == "Failed" {
        let default_error = match state {
            RunState::Interrupted => "the process that ran it has died",
            RunState::Abandoned => "it was abandoned",
            RunState::RolledBack => "it was rolled back, as somebody had asked",
            _ => "it did not end well",
        };
        let error = run.error.as_deref().or(journal_error);
        status["error"] = json!(error.unwrap_or(default_error));
    }
    status
}

/// The same of an interrupted run that is about to be taken up.
pub(super) fn recovering(mut status: Value, delay: Option<&str>) -> Value {
    if status["state"] != json!(RunState::Interrupted) {
        return status;
    }
    status["status"] = json!("Running");
    if let Some(fields) = status.as_object_mut() {
        fields.remove("error");
        fields.remove("end_time");
        let why = delay.map_or_else(String::new, |why| format!(" (not yet: {why})"));
        fields.insert("resuming".into(), json!(format!("its process died; it is taken up{why}")));
    }
    status
}

/// The original service's three words, and Idle.
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
