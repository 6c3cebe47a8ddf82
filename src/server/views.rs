//! The JSON of the good answers. Pure functions of a run.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde_json::{Value, json};

use crate::{
    engine::Direction,
    journal::{LogLines, Record, Run, State},
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
        "time": seconds(run.began_at),
        "run": run.id,
        "runbook": run.started.runbook,
    })
}

/// `/runs/ID/resume` and `/rollback`: the run is under way again.
pub(super) fn taken_up(run: &Run, direction: Direction) -> Value {
    let mut answer = started(run);
    answer["message"] = json!(match direction {
        Direction::On => "SOP execution resumed",
        Direction::Back => "SOP rollback started",
    });
    answer["time"] = json!(seconds(run.last_event_at()));
    answer
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
    records: &[Record],
    is_live: bool,
    journal_trouble: Option<&str>,
) -> Value {
    let state = run.state(is_live);
    let word = word(state);
    let mut status = json!({
        "status": word,
        "start_time": seconds(run.began_at),
        "logs": LogLines::of(records),
        "run": run.id,
        "runbook": run.started.runbook,
        "state": state,
    });
    if let Some(end) = run.ended_at.filter(|_| !state.is_active()) {
        status["end_time"] = json!(seconds(end));
    }
    if word == "Failed" {
        let unsaid = match state {
            State::Interrupted => "the process that ran it has died",
            State::Abandoned => "it was abandoned",
            State::RolledBack => "it was rolled back, as somebody had asked",
            _ => "it did not end well",
        };
        let said = run.error.as_deref().or(journal_trouble);
        status["error"] = json!(said.unwrap_or(unsaid));
    }
    status
}

/// The same of an interrupted run that is about to be taken up.
pub(super) fn coming_back(mut status: Value, delay: Option<&str>) -> Value {
    if status["state"] != json!(State::Interrupted) {
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
fn word(state: State) -> &'static str {
    match state {
        State::Running | State::RollingBack => "Running",
        State::Succeeded | State::SucceededWithFailures => "Success",
        State::Failed
        | State::Cancelled
        | State::Interrupted
        | State::RolledBack
        | State::RollbackFailed
        | State::Abandoned => "Failed",
    }
}
