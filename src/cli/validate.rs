//! `validate`: checks runbooks without running them, against the actions that are compiled in.

use std::io;

use super::{CliError, Exit, Global, Output};
use crate::actions;
use runbook::validator::{Format, Outcome, Streams, ValidateArgs, ValidateError};

/// Checks the files and writes the report.
pub(super) fn run(arguments: &ValidateArgs, global: &Global) -> Result<Exit, CliError> {
    let default = match global.output {
        Output::Text => Format::Human,
        Output::Json | Output::Ndjson => Format::Json,
    };
    let color = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
    let streams = Streams { stdout: &mut stdout, stderr: &mut stderr, color };
    let runbooks = global.runbook_dir();
    runbooks.ensure_usable()?;
    match arguments.run(actions::registry(), &runbooks.library(), default, streams) {
        Ok(Outcome::Valid) => Ok(Exit::Success),
        Ok(Outcome::Invalid) => Ok(Exit::Failed),
        Ok(Outcome::Unreadable) => Ok(Exit::Usage),
        Err(error @ (ValidateError::NothingToCheck | ValidateError::StandardInput(_))) => {
            Err(CliError::Usage(error.to_string()))
        }
        Err(ValidateError::Io(error)) => Err(CliError::Io(error)),
    }
}
