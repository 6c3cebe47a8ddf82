//! The change windows on the command line: which file has them, and why a run is started outside.

use std::path::PathBuf;

use super::CliError;
use crate::{
    journal::{Failure, FailureKind},
    windows::{ChangeWindows, OutsideWindow},
};

/// The change windows.
#[derive(Debug, clap::Args)]
pub(super) struct WindowsArgs {
    /// Start a run that changes something only in the change windows of this YAML file
    ///
    /// `windows: [{days: [mon, tue], from: "09:00", to: "16:30", tz: Europe/Berlin}]`. A run that has started goes on
    /// after its window, and can be resumed, rolled back and cancelled at any time.
    #[arg(long, value_name = "FILE", env = "SOP_WINDOWS")]
    windows: Option<PathBuf>,
}

impl WindowsArgs {
    /// Reads the windows, if a file is named.
    pub(super) fn read(&self) -> Result<Option<ChangeWindows>, CliError> {
        let read = self.windows.as_deref().map(ChangeWindows::read).transpose();
        read.map_err(|error| {
            let failure = Failure::new(FailureKind::Usage, error.to_string());
            CliError::Failure(failure.with_hint(error.hint()))
        })
    }
}

/// Returns the error of a run that is not started because no window is open.
pub(super) fn refusal(runbook: &str, outside: &OutsideWindow) -> CliError {
    let message = format!("{runbook} changes something, and {outside}");
    let hint = "wait until then, or pass --outside-window REASON, which is recorded";
    CliError::Failure(Failure::new(FailureKind::Conflict, message).with_hint(Some(hint)))
}
