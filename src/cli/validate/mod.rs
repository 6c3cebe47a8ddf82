//! `validate`: checks runbooks without running them.

mod files;
mod report;

use std::path::PathBuf;

use clap::ValueEnum;

use super::{CliError, Exit, Global, Output, stdout};
use crate::actions;
use files::ReadError;
use report::Report;
use runbook::Severity;

/// Checks runbooks and reports everything that is wrong with them, each with its line and column.
///
/// Ends with 0 when nothing is wrong, with 1 when there are errors (or warnings, with --deny-warnings), and with 2
/// when a path cannot be read or there is nothing to check.
#[derive(Debug, clap::Args)]
pub(super) struct ValidateArgs {
    /// Files, folders of .yaml and .yml files, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How findings are written [default: human, or json with --output json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Count warnings as errors
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With the place shown in the text
    Human,
    /// One line each: file:line:column: severity[code]: message
    Short,
    /// One JSON document
    Json,
    /// GitHub's workflow commands, which annotate a pull request
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

impl ValidateArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit, CliError> {
        let (files, mut read_errors) = files::collect(&self.paths);
        let (checked, failed) = files::check(&files, actions::registry());
        read_errors.extend(failed);
        let report = Report::new(&checked);
        let default = match global.output {
            Output::Text => Format::Human,
            Output::Json => Format::Json,
        };
        stdout::write(&report.text(self.format.unwrap_or(default)))?;
        for error in &read_errors {
            eprintln!("error: {error}");
        }
        if checked.is_empty() && read_errors.is_empty() {
            let message = "there is no .yaml or .yml file in those folders";
            return Err(CliError::Usage(message.into()));
        }
        eprintln!("{}", report.summary());
        Ok(self.exit(&report, &read_errors))
    }

    fn exit(&self, report: &Report<'_>, read_errors: &[ReadError]) -> Exit {
        let is_bad = report.count(Severity::Error) > 0
            || self.deny_warnings && report.count(Severity::Warning) > 0;
        match (read_errors.is_empty(), is_bad) {
            (false, _) => Exit::Usage,
            (true, true) => Exit::Failed,
            (true, false) => Exit::Success,
        }
    }
}
