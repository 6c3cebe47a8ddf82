//! The command line: one file a subcommand, and no logic of its own. A subcommand parses, calls one function of
//! another room and renders what it returned.

mod actions;
mod confirm;
mod error;
mod explain;
mod inputs;
mod next_steps;
mod progress;
mod run;
mod runs;
mod schema;
mod serve;
mod signals;
mod simulate;
mod state_dir;
mod stdout;
mod target;
pub mod telemetry;
mod validate;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use crate::runbook_dir::RunbookDir;
use error::CliError;

/// Runs declarative runbooks against EKS and Kubernetes: checks them, journals every fact, resumes after a crash and
/// undoes what was done.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand may be told.
#[derive(Debug, clap::Args)]
struct Global {
    /// Folder in which runs are journaled [default: the XDG state folder; a throwaway one with --simulate]
    #[arg(long, global = true, value_name = "DIR", env = "SOP_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Folder of runbooks; those compiled into the binary come after it
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SOP_RUNBOOKS",
        default_value = "runbooks"
    )]
    runbooks: PathBuf,
    /// For whom to write: people or machines
    #[arg(long, global = true, value_name = "FORMAT", env = "SOP_OUTPUT", default_value = "text")]
    output: Output,
}

/// For whom the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For machines: one JSON document on standard output.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check runbooks without running them
    Validate(validate::ValidateArgs),
    /// Run a runbook
    Run(run::RunArgs),
    /// Offer runbooks over HTTP
    Serve(serve::ServeArgs),
    /// Serve a stand-in EKS cluster on loopback, for kubectl, aws and this program
    Simulate(simulate::SimulateArgs),
    /// Show the actions that a runbook can use
    Actions(actions::ActionsArgs),
    /// Explain a rule that runbooks are held to
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of runbooks, for editors
    Schema(schema::SchemaArgs),
    /// List, show, resume, roll back or abandon runs
    Runs(runs::RunsArgs),
}

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Success,
    /// It failed, or there are findings.
    Failed,
    /// It was called wrongly.
    Usage,
    /// It was refused before anything moved.
    Refused,
    /// The run stopped and can be resumed.
    Unfinished,
    /// Somebody interrupted it.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::Unfinished => 4,
            Exit::Interrupted => 130,
        })
    }
}

impl Cli {
    /// Does what the arguments say. Trouble is rendered here, once, on standard error.
    pub async fn run(self) -> Exit {
        let global = &self.global;
        let result = match self.command {
            Command::Validate(command) => command.run(global),
            Command::Run(command) => command.run(global).await,
            Command::Serve(command) => command.run(global).await,
            Command::Simulate(command) => command.run().await,
            Command::Actions(command) => command.run(global),
            Command::Explain(command) => command.run(global),
            Command::Schema(command) => command.run(),
            Command::Runs(command) => command.run(global).await,
        };
        result.unwrap_or_else(|error| error.report(global))
    }
}

impl Global {
    fn runbook_dir(&self) -> RunbookDir {
        RunbookDir::new(&self.runbooks)
    }
}
