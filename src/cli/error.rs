//! What can go wrong before or beside a run. It is rendered here, once.

use std::io;

use serde_json::json;

use super::{
    Exit, Global, Output, next_steps,
    stdout::{self, Color, paint},
};
use crate::{
    engine::StartError,
    journal::{Failure, FailureKind, RunState, RunTarget, StoreError},
    runbook_dir::LookupError,
};
use runbook::{InputError, render};

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The program was called in the wrong way.
    #[error("{0}")]
    Usage(String),
    /// The same with a remedy, and every other failure that is data already.
    #[error("{0}")]
    Failure(Failure),
    /// The person at the terminal said no.
    #[error("declined: nothing was changed on {0}")]
    Declined(Box<RunTarget>),
    /// The same, where no cluster is concerned.
    #[error("declined: nothing was changed")]
    NotConfirmed,
    /// A runbook cannot be found or read.
    #[error(transparent)]
    RunbookDir(#[from] LookupError),
    /// An input does not fit.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The engine refused.
    #[error(transparent)]
    Refused(#[from] StartError),
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal failed while a run was active.
    #[error("the run stops here, because its journal cannot be written: {0}")]
    Journal(StoreError),
    /// The simulator could not be started.
    #[error("cannot start the simulator: {0}")]
    Simulator(String),
    /// The service could not be started.
    #[error("{0}")]
    Service(String),
    /// Standard output was closed, or the like.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl CliError {
    /// Returns an error of usage with its remedy.
    pub(super) fn usage_with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failure(Failure::new(FailureKind::Usage, message).with_hint(Some(hint)))
    }

    /// Returns the error as data.
    fn failure(&self) -> Failure {
        let of_kind = |kind| Failure::new(kind, self.to_string());
        match self {
            Self::Failure(failure) => failure.clone(),
            Self::Refused(error) => error.into(),
            Self::Store(error) => error.into(),
            Self::Journal(error) => of_kind(FailureKind::Store).with_hint(error.hint()),
            Self::RunbookDir(error) => {
                of_kind(FailureKind::RunbookNotFound).with_hint(error.hint())
            }
            Self::Usage(_) => of_kind(FailureKind::Usage),
            Self::Declined(_) | Self::NotConfirmed => of_kind(FailureKind::Interrupted),
            Self::Input(error) => of_kind(FailureKind::InvalidInputs).with_hint(error.hint()),
            Self::Simulator(_) | Self::Service(_) => of_kind(FailureKind::Unreachable),
            Self::Io(_) => of_kind(FailureKind::Internal),
        }
    }

    /// Reports the error, on standard error, and returns how the program ends.
    pub(super) fn report(&self, global: &Global) -> Exit {
        let output = global.output;
        let failure = self.failure();
        if let Self::Refused(StartError::InvalidRunbook { source_text, diagnostics }) = self {
            match output {
                Output::Text => {
                    let color =
                        anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
                    stdout::write_stderr(&render::human(source_text, diagnostics, color));
                }
                Output::Json => {
                    print_document(&format!("{:#}\n", render::json(source_text, diagnostics)));
                }
                Output::Ndjson => {
                    print_document(&format!("{}\n", render::json(source_text, diagnostics)));
                }
            }
        } else if output.is_json() {
            let document = json!({"error": failure.message, "failure": failure});
            print_document(&match output {
                Output::Ndjson => format!("{document}\n"),
                Output::Text | Output::Json => format!("{document:#}\n"),
            });
        }
        let lines: String = failure.lines().iter().map(|line| format!("{line}\n")).collect();
        stdout::write_stderr(&format!("{}: {lines}", paint(Color::Red, "error")));
        if let Self::Refused(StartError::Unfinished { run, state, target, .. }) = self
            && state.is_unfinished()
            && output == Output::Text
        {
            let is_rolling_back = *state == RunState::RollbackFailed;
            let next = next_steps::describe(run, target, is_rolling_back, true, global, None);
            stdout::write_stderr(&format!("{next}\n"));
        }
        match self {
            Self::Journal(_) => Exit::Unfinished,
            _ => exit_of(failure.kind),
        }
    }
}

/// Returns how the program ends after a failure before or beside a run.
fn exit_of(kind: FailureKind) -> Exit {
    match kind {
        FailureKind::Usage => Exit::Usage,
        FailureKind::Internal | FailureKind::Other => Exit::Failed,
        _ => Exit::Refused,
    }
}

/// The error is on standard error too: a standard output that cannot be written changes nothing.
fn print_document(text: &str) {
    let _ = stdout::write(text);
}
