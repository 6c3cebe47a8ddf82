//! The command line: one file per subcommand, without logic of its own. A subcommand parses its arguments, calls one
//! function of another module and prints the result.

mod actions;
mod completions;
mod confirm;
mod crds;
mod durations;
mod error;
mod explain;
mod inputs;
mod limits;
mod listen;
mod live;
mod live_text;
mod lsp;
mod man;
mod next_steps;
mod notify;
mod options;
mod permission_report;
mod permissions;
mod plan;
mod private_file;
mod run;
mod runs;
mod schema;
mod serve;
mod signals;
mod simulate;
mod snapshot;
mod state_dir;
mod stdout;
mod store;
mod summary;
mod target;
pub mod telemetry;
mod timeline;
mod validate;
mod windows;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{FromArgMatches as _, Parser, Subcommand, ValueEnum, ValueHint, parser::ValueSource};
use tokio::runtime::Runtime;

pub use completions::answer_completion_request;

use crate::{engine::CheckedRunbook, runbook_dir::RunbookDir};
use error::CliError;
use telemetry::LogFormat;

/// How long the end of the program waits for threads whose work is not needed any more: a credential plugin may hang.
const THREADS_GRACE_PERIOD: Duration = Duration::from_secs(1);

/// Runs declarative runbooks against EKS and Kubernetes: checks them first, journals every event, resumes after a crash
/// and undoes its changes.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The options that several subcommands share. [`options`] says which of them a subcommand uses.
#[derive(Debug, clap::Args)]
struct Global {
    /// Directory of the run journals [default: the XDG state directory; a temporary one with --simulate]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        env = "SOP_STATE_DIR"
    )]
    state_dir: Option<PathBuf>,
    /// Whether the directory comes from the environment and not from the command line.
    #[arg(skip)]
    inherits_state_dir: bool,
    /// Where the runs are kept [default: cluster in a pod, else directory]
    #[arg(long, global = true, value_name = "KIND", env = "SOP_STORE")]
    store: Option<store::StoreKind>,
    /// Namespace of the runs in a cluster [default: that of the pod, or of the kubeconfig's context]
    #[arg(long, global = true, value_name = "NAMESPACE", env = "SOP_STORE_NAMESPACE")]
    store_namespace: Option<String>,
    /// Whether the store comes from the environment and not from the command line.
    #[arg(skip)]
    inherits_store: bool,
    /// The same for its namespace.
    #[arg(skip)]
    inherits_store_namespace: bool,
    /// Directory of runbooks, which take precedence over those that are built into the program [default: `runbooks`,
    /// which need not exist]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        env = "SOP_RUNBOOKS"
    )]
    runbooks: Option<PathBuf>,
    /// Output format
    #[arg(long, global = true, value_name = "FORMAT", env = "SOP_OUTPUT", default_value = "text")]
    output: Output,
}

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Text for a terminal
    Text,
    /// One JSON document on standard output
    Json,
    /// One JSON document on each line, while the run goes on: its events; of `run` and some of `runs`
    Ndjson,
}

impl Output {
    /// Whether it is read by a program.
    fn is_json(self) -> bool {
        match self {
            Self::Text => false,
            Self::Json | Self::Ndjson => true,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check runbooks without running them
    Validate(runbook::validator::ValidateArgs),
    /// Serve an editor: diagnostics, completion and explanations while a runbook is written
    Lsp(lsp::LspArgs),
    /// Show what a run would do, without changing anything
    Plan(plan::PlanArgs),
    /// Run a runbook
    Run(run::RunArgs),
    /// Serve runbooks over HTTP
    Serve(serve::ServeArgs),
    /// Serve a simulated EKS cluster on loopback, for kubectl, aws and this program
    Simulate(simulate::SimulateArgs),
    /// Write the world of a live cluster as a scenario of the simulator
    Snapshot(snapshot::SnapshotArgs),
    /// Show the actions that a runbook can use
    Actions(actions::ActionsArgs),
    /// Explain a rule that `validate` checks
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of runbooks, for editors
    Schema(schema::SchemaArgs),
    /// Print the definitions that a cluster needs before it can keep runs
    Crds(crds::CrdsArgs),
    /// Print the least permissions that runbooks need, or check them
    Permissions(permissions::PermissionsArgs),
    /// List, show, resume, roll back, cancel or abandon runs
    Runs(runs::RunsArgs),
    /// Try the webhooks that are told of runs
    Notify(notify::NotifyArgs),
    /// Print a script for shell completion
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write all manual pages
    Man(man::ManArgs),
}

/// The outcome of the program, which its exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Success,
    /// The operation failed, or `validate` reported errors.
    Failed,
    /// The arguments are not valid.
    Usage,
    /// The operation was refused before anything was changed.
    Refused,
    /// The run stopped and can be resumed.
    Unfinished,
    /// A plan would change something.
    Changes,
    /// Something speaks against a plan.
    Findings,
    /// The program was interrupted.
    Interrupted,
    /// A command that the program started ended with this code.
    Command(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::Unfinished => 4,
            Exit::Changes => 5,
            Exit::Findings => 6,
            Exit::Interrupted => 130,
            Exit::Command(code) => code,
        })
    }
}

impl Cli {
    /// Reads the command line. Ends the program if it is not valid, or asks for help.
    pub fn read() -> Self {
        let matches = options::command().get_matches();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let is_inherited = |id| matches.value_source(id) == Some(ValueSource::EnvVariable);
        cli.global.inherits_state_dir = is_inherited("state_dir");
        cli.global.inherits_store = is_inherited("store");
        cli.global.inherits_store_namespace = is_inherited("store_namespace");
        cli
    }

    /// Returns the format of the log unless the environment says otherwise: JSON for a service.
    pub fn log_format(&self) -> LogFormat {
        match self.command {
            Command::Serve(_) => LogFormat::Json,
            _ => LogFormat::Text,
        }
    }

    /// Runs the subcommand. Its error is reported here, once, on standard error.
    ///
    /// # Panics
    /// The system gives a process no threads.
    pub fn run(self) -> Exit {
        let global = &self.global;
        if let Err(error) = self.ensure_output_is_known() {
            return error.report(global);
        }
        let result = match self.command {
            Command::Validate(command) => validate::run(&command, global),
            Command::Lsp(_) => lsp::run(global),
            Command::Plan(command) => return wait(command.run(global), global),
            Command::Run(command) => return wait(command.run(global), global),
            Command::Serve(command) => return wait(command.run(global), global),
            Command::Simulate(command) => return wait(command.run(global), global),
            Command::Snapshot(command) => return wait(command.run(global), global),
            Command::Actions(command) => command.run(global),
            Command::Explain(command) => command.run(global),
            Command::Schema(command) => command.run(global),
            Command::Crds(command) => command.run(),
            Command::Permissions(command) => return wait(command.run(global), global),
            Command::Runs(command) => return wait(command.run(global), global),
            Command::Notify(command) => return wait(command.run(global), global),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
        };
        result.unwrap_or_else(|error| error.report(global))
    }

    /// Checks that a stream is asked of a subcommand that has one.
    fn ensure_output_is_known(&self) -> Result<(), CliError> {
        let has_stream = match &self.command {
            Command::Run(run) => run.has_events(),
            Command::Runs(runs) => runs.has_events(),
            _ => false,
        };
        if self.global.output != Output::Ndjson || has_stream {
            return Ok(());
        }
        Err(CliError::usage_with_hint(
            "--output ndjson is a stream of events, and this subcommand has none",
            "pass --output json; `run`, `runs resume`, `runs rollback`, `runs watch` and `runs logs --follow` have a stream",
        ))
    }
}

/// Runs a subcommand that waits, on threads of its own. One that only computes has none: its start is most of its time.
fn wait(work: impl Future<Output = Result<Exit, CliError>>, global: &Global) -> Exit {
    avoid_huge_pages();
    let runtime = Runtime::new().expect("the system gives a process its threads");
    // An error is reported before the threads are waited for.
    let reported = async { work.await.unwrap_or_else(|error| error.report(global)) };
    let exit = runtime.block_on(reported);
    runtime.shutdown_timeout(THREADS_GRACE_PERIOD);
    exit
}

/// Asks the system for no more huge pages. The allocator asks for them, and each takes 2 MiB as soon as one byte of it
/// is written to: they make the start of a process faster, and one that lives as long as a run a quarter larger. The
/// commands that this one starts inherit it.
fn avoid_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "cannot turn off huge pages");
    }
}

impl Global {
    /// Returns the checked runbook of a name or a path.
    fn checked_runbook(&self, name: &str) -> Result<CheckedRunbook, CliError> {
        let found = self.runbook_dir().find_or_read(name)?;
        Ok(CheckedRunbook::with_origin(found.source, found.origin.to_string(), &found.library)?)
    }

    fn runbook_dir(&self) -> RunbookDir {
        match &self.runbooks {
            Some(dir) => RunbookDir::named(dir),
            None => RunbookDir::by_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Cli, telemetry::LogFormat};

    #[test]
    fn only_the_subcommand_serve_logs_json() {
        let log_format = |arguments: &[&str]| {
            let arguments = std::iter::once(&"rafay-relay-sop").chain(arguments);
            Cli::try_parse_from(arguments).unwrap().log_format()
        };
        assert_eq!(log_format(&["serve"]), LogFormat::Json);
        assert_eq!(log_format(&["--runbooks", "serve", "run", "x"]), LogFormat::Text);
        assert_eq!(log_format(&["run", "serve"]), LogFormat::Text);
    }
}
