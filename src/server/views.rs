//! The JSON of successful responses. Pure functions of a run.

use std::borrow::Borrow;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use super::{
    active_runs::Phase,
    responses::{AnswerTaken, ChangeWindow, Recovery, RunStatus, Started, Status, Valid},
};
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
pub(super) fn started(run: &Run) -> Started {
    Started {
        status: "started",
        message: "SOP execution started",
        time: seconds(run.head.started_at),
        run: run.id().clone(),
        runbook: run.spec.runbook.clone(),
        warnings: Vec::new(),
        note: None,
    }
}

/// `/runs/ID/resume` and `/rollback`: the run was resumed.
pub(super) fn resumed(run: &Run, mode: ResumeMode) -> Started {
    let message = match mode {
        ResumeMode::Continue => "SOP execution resumed",
        ResumeMode::Rollback => "SOP rollback started",
    };
    Started { message, time: seconds(run.head.last_event_at), ..started(run) }
}

/// `/runs/ID/approve` and `/reject`: the answer counts, or waits for a process that drives the run.
pub(super) fn answered(run: RunId, answered: Answered, word: &'static str) -> AnswerTaken {
    let Answered { step, missing } = answered;
    let status = if missing.is_some() { word } else { "recorded" };
    AnswerTaken { status, run, step, missing }
}

/// `/validate` of a runbook without errors. There may be warnings and notes.
pub(super) fn valid(runbook: &Runbook, source: &Source, diagnostics: &[Diagnostic]) -> Valid {
    Valid {
        status: "valid",
        runbook: runbook.name.clone(),
        steps: runbook.steps.len(),
        diagnostics: render::json(source, diagnostics),
    }
}

/// `/health` and `/status` of a service with change windows.
pub(super) fn change_window(state: WindowState) -> ChangeWindow {
    match state {
        WindowState::Open { until } => ChangeWindow::Open { open: true, until },
        WindowState::Closed { until: opens } => ChangeWindow::Closed { open: false, opens },
    }
}

/// `/status` before there is any run.
pub(super) fn idle() -> Status {
    Status {
        status: "Idle",
        start_time: None,
        end_time: None,
        logs: Vec::new(),
        run: None,
        change_window: None,
    }
}

/// `/status` of a run.
pub(super) fn status<E: Borrow<RecordedEvent>>(
    run: &Run,
    events: &[E],
    phase: Option<&Phase>,
    is_live: bool,
) -> Status {
    let state = run.state(is_live);
    let mut details = RunStatus {
        run: run.id().clone(),
        runbook: run.spec.runbook.clone(),
        digest: run.digest().to_owned(),
        state,
        approvals: run
            .open_approvals()
            .map(|(step, asked)| ApprovalSummary::of(step, asked))
            .collect(),
        outside_window: run.spec.outside_window.clone(),
        origin: run.origin().map(str::to_owned),
        resuming: None,
        recovery: None,
        error: None,
        failure: None,
        failed_step: None,
    };
    let mut status = Status {
        status: legacy_status(state),
        start_time: Some(seconds(run.head.started_at)),
        end_time: None,
        logs: LogLines::of(events),
        run: None,
        change_window: None,
    };
    if let (Some(Phase::Recovering { reason }), RunState::Interrupted) = (phase, state) {
        status.status = "Running";
        let retrying =
            reason.as_deref().map_or_else(String::new, |why| format!(" (retrying: {why})"));
        details.resuming = Some(format!("interrupted; recovery pending{retrying}"));
        details.recovery = Some(Recovery { pending: true, reason: reason.clone() });
    } else {
        status.end_time = run.head.ended_at.filter(|_| !state.is_active()).map(seconds);
        if status.status == "Failed" {
            details.error = Some(error(run, state, phase));
            details.failure.clone_from(&run.head.failure);
            details.failed_step.clone_from(&run.head.failed_step);
        }
    }
    status.run = Some(details);
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
