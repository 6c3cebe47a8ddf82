//! `validate`, without the program that runs runbooks: finds files, checks them and writes the report.
//!
//! This module and `language_server` are the only ones of the crate that do I/O, and the feature `validator` is needed
//! for them. The program's subcommand and the binary `rafay-relay-sop-validate` are the same [`ValidateArgs`] with
//! different registries.

pub(crate) mod files;
mod fix;
mod report;
mod watch;
mod write;

use std::{
    io::{self, ErrorKind, IsTerminal as _, Write},
    path::PathBuf,
};

use clap::ValueEnum;

use crate::{ActionRegistry, Library, Severity};
use report::Report;
use watch::Watch;

/// Checks runbooks and reports everything that is wrong with them, each with its line and column.
///
/// Ends with 0 when nothing is wrong, with 1 when there are errors (or warnings, with --deny-warnings), and with 2
/// when a path cannot be read or there is nothing to check.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct ValidateArgs {
    /// Files, directories of .yaml and .yml files, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How findings are written [default: human, or json with --output json]
    #[arg(long, value_name = "FORM")]
    format: Option<Format>,
    /// Count warnings as errors
    #[arg(long)]
    deny_warnings: bool,
    /// Write what diagnostics suggest into the files, where the check of the result finds nothing new
    #[arg(long)]
    fix: bool,
    /// Show as a diff what --fix would write, and write nothing
    #[arg(long)]
    diff: bool,
    /// Check again whenever a file changes, until Ctrl-C
    #[arg(long, conflicts_with_all = ["fix", "diff"])]
    watch: bool,
}

/// The format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// With the place shown in the text
    Human,
    /// One line each: `file:line:column: severity[code]: message`
    Short,
    /// One JSON document
    Json,
    /// GitHub's workflow commands, which annotate a pull request
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

/// Where a report is written.
pub struct Streams<'s> {
    /// For the diagnostics. A reader that has closed it, as in `… | head`, is not an error.
    pub stdout: &'s mut dyn Write,
    /// For the summary and the paths that cannot be read.
    pub stderr: &'s mut dyn Write,
    /// Whether the format for people has colors.
    pub color: bool,
}

/// The result of a validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All files were read, and none has an error.
    Valid,
    /// All files were read, and there are errors, or denied warnings.
    Invalid,
    /// At least one path cannot be read, or cannot be written with --fix.
    Unreadable,
}

/// The reason why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The directories hold no runbook.
    #[error("no .yaml or .yml file found in those directories")]
    NothingToCheck,
    /// An option is for files.
    #[error("{0} needs files, and - is standard input")]
    StandardInput(&'static str),
    /// The report cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Outcome {
    /// Returns the exit code of a process with this result.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Invalid => 1,
            Self::Unreadable => 2,
        }
    }
}

impl ValidateError {
    /// Returns the exit code of a process that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io(_) => 1,
            Self::NothingToCheck | Self::StandardInput(_) => 2,
        }
    }
}

impl ValidateArgs {
    /// Checks the files against a registry and writes the report, in `default` unless the arguments name a format.
    /// `others` are the runbooks that a file can call besides those in its directory.
    ///
    /// # Errors
    /// There is no file to check, or standard output cannot be written.
    pub fn run(
        &self,
        registry: &ActionRegistry,
        others: &dyn Library,
        default: Format,
        streams: Streams<'_>,
    ) -> Result<Outcome, ValidateError> {
        self.refuse_standard_input()?;
        let format = self.format.unwrap_or(default);
        if self.watch {
            return self.watch(registry, others, format, streams);
        }
        let Streams { stdout, stderr, color } = streams;
        let (files, mut read_errors) = files::collect(&self.paths);
        let mut corrections = fix::FixReport::default();
        if self.diff {
            write(stdout, &fix::diff_files(&files, registry, others))?;
        } else if self.fix {
            corrections = fix::fix_files(&files, registry, others);
            // A document for programs stays one document.
            match format {
                Format::Human | Format::Short => write(stdout, &corrections.lines)?,
                Format::Json | Format::Github | Format::Sarif => write(stderr, &corrections.lines)?,
            }
        }
        let (checked, failed) = files::check(&files, registry, others);
        read_errors.extend(failed);
        let report = Report::new(&checked);
        if !self.diff {
            write(stdout, &report.text(format, color))?;
        }
        // A standard error that cannot be written changes nothing about the runbooks.
        let errors = read_errors.iter().map(ToString::to_string).chain(corrections.errors);
        let errors: Vec<String> = errors.collect();
        for error in &errors {
            let _ = writeln!(stderr, "error: {}", text::printable(error));
        }
        if checked.is_empty() && errors.is_empty() {
            return Err(ValidateError::NothingToCheck);
        }
        if self.fix && !self.diff {
            let _ = writeln!(stderr, "{} applied", text::plural(corrections.count, "suggestion"));
        }
        let _ = writeln!(stderr, "{}", report.summary());
        let is_invalid = report.count(Severity::Error) > 0
            || self.deny_warnings && report.count(Severity::Warning) > 0;
        Ok(match (errors.is_empty(), is_invalid) {
            (false, _) => Outcome::Unreadable,
            (true, true) => Outcome::Invalid,
            (true, false) => Outcome::Valid,
        })
    }

    /// Checks after each change. Ctrl-C ends the process.
    fn watch(
        &self,
        registry: &ActionRegistry,
        others: &dyn Library,
        format: Format,
        streams: Streams<'_>,
    ) -> Result<Outcome, ValidateError> {
        watch::end_with_success_on_interrupt()?;
        let Streams { stdout, stderr, color } = streams;
        let is_terminal = io::stdout().is_terminal();
        let watch = Watch { paths: &self.paths, registry, others, format, color, is_terminal };
        watch.run(stdout, stderr, &mut watch::wait_for_change)?;
        Ok(Outcome::Valid)
    }

    fn refuse_standard_input(&self) -> Result<(), ValidateError> {
        let options = [(self.fix, "--fix"), (self.diff, "--diff"), (self.watch, "--watch")];
        let given = options.into_iter().find(|(is_given, _)| *is_given);
        let reads_it = self.paths.iter().any(|path| files::is_standard_input(path));
        match given {
            Some((_, option)) if reads_it => Err(ValidateError::StandardInput(option)),
            _ => Ok(()),
        }
    }
}

fn write(stdout: &mut dyn Write, text: &str) -> io::Result<()> {
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.or_else(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}
