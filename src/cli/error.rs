//! What can go wrong before or beside a run, and how it is said.

use std::io;

use serde_json::json;

use super::{Exit, Global, Output, next_steps, stdout};
use crate::{
    engine::StartError,
    journal::{RunState, StoreError},
    runbook_dir::LookupError,
};
use runbook::{InputError, render};

/// Why a subcommand could not do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// It was called wrongly.
    #[error("{0}")]
    Usage(String),
    /// The person at the terminal said no.
    #[error("not started")]
    Declined,
    /// A runbook cannot be found or read.
    #[error("{0}")]
    RunbookDir(#[from] LookupError),
    /// Inputs that do not fit.
    #[error("{0}")]
    Input(#[from] InputError),
    /// The engine would not.
    #[error("{0}")]
    Refused(#[from] StartError),
    /// The state folder.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The journal failed while a run was under way.
    #[error("the run stops here, because its journal cannot be written: {0}")]
    Journal(StoreError),
    /// The simulator could not be started.
    #[error("cannot start the simulator: {0}")]
    Simulator(String),
    /// The service could not be started.
    #[error("{0}")]
    Service(String),
    /// Standard output went away, or the like.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl CliError {
    /// Says what is wrong, on standard error, and how the program ends.
    pub(super) fn report(&self, global: &Global) -> Exit {
        let output = global.output;
        if let Self::Refused(StartError::Invalid { source_text, findings }) = self {
            match output {
                Output::Text => {
                    let color =
                        anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
                    anstream::eprint!("{}", render::human(source_text, findings, color));
                }
                Output::Json => {
                    print_document(&format!("{:#}\n", render::json(source_text, findings)))
                }
            }
        } else if output == Output::Json {
            print_document(&format!("{:#}\n", json!({"error": self.to_string()})));
        }
        eprintln!("error: {self}");
        if let Self::Refused(StartError::Unfinished { run, state, .. }) = self
            && state.is_unfinished()
            && output == Output::Text
        {
            let is_rolling_back = *state == RunState::RollbackFailed;
            eprintln!("{}", next_steps::describe(run, is_rolling_back, global, None));
        }
        self.exit()
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Declined
            | Self::RunbookDir(_)
            | Self::Input(_)
            | Self::Refused(_)
            | Self::Store(_)
            | Self::Simulator(_)
            | Self::Service(_) => Exit::Refused,
            Self::Journal(_) => Exit::Unfinished,
            Self::Io(_) => Exit::Failed,
        }
    }
}

/// What went wrong is said on standard error too: a standard output that cannot be written changes nothing.
fn print_document(text: &str) {
    let _ = stdout::write(text);
}
