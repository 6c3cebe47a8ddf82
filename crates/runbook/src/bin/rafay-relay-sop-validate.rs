//! `rafay-relay-sop validate` alone: checks runbooks against `schema/actions.json`, without the clients of any cloud.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use runbook::{
    ActionRegistry, BuiltInLibrary, language_server,
    validator::{Format, Streams, ValidateArgs},
};

/// The actions of the program of the same version.
const ACTIONS: &str = include_str!("../../../../schema/actions.json");

/// Checks runbooks and reports everything that is wrong with them, each with its line and column.
///
/// Ends with 0 when nothing is wrong, with 1 when there are errors (or warnings, with --deny-warnings), and with 2
/// when a path cannot be read or there is nothing to check.
#[derive(Debug, Parser)]
#[command(name = "rafay-relay-sop-validate", version)]
struct Arguments {
    #[command(flatten)]
    validate: ValidateArgs,
    /// Action registry to check against, as in schema/actions.json [default: the registry of this version]
    #[arg(long, value_name = "FILE")]
    actions: Option<PathBuf>,
    /// Serve an editor on standard input and output, in the Language Server Protocol
    #[arg(long, conflicts_with_all = ["paths", "format", "deny_warnings", "fix", "diff", "watch"])]
    lsp: bool,
    /// The option that editors add for a server on standard input and output, which is the only way
    #[arg(long, hide = true, requires = "lsp")]
    stdio: bool,
}

fn main() -> ExitCode {
    // There is no --output here for the default to depend on.
    let command = Arguments::command()
        .mut_arg("format", |format| format.help("How diagnostics are written [default: human]"))
        .mut_arg("paths", |paths| paths.required(false).required_unless_present("lsp"));
    let arguments =
        Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let registry = match registry(arguments.actions.as_deref()) {
        Ok(registry) => registry,
        Err(message) => {
            report(&message);
            return ExitCode::from(2);
        }
    };
    if arguments.lsp {
        return serve_editor(&registry);
    }
    let color = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr());
    let streams = Streams { stdout: &mut stdout, stderr: &mut stderr, color };
    match arguments.validate.run(&registry, &BuiltInLibrary, Format::Human, streams) {
        Ok(outcome) => ExitCode::from(outcome.exit_code()),
        Err(error) => {
            report(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Serves an editor. It fails when the editor has gone without a word.
fn serve_editor(registry: &ActionRegistry) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match language_server::serve(io::stdin(), &mut stdout, registry, &BuiltInLibrary) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Writes an error to standard error. When that fails, there is no place left to say so.
fn report(message: &str) {
    let _ = writeln!(io::stderr(), "error: {message}");
}

/// Returns the registry of a file, or the one that is compiled in.
fn registry(file: Option<&Path>) -> Result<ActionRegistry, String> {
    let Some(file) = file else {
        return ActionRegistry::from_json(ACTIONS).map_err(|error| error.to_string());
    };
    let text = fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    ActionRegistry::from_json(&text).map_err(|error| format!("{}: {error}", file.display()))
}
