//! `runs`: the runs so far, and what can be done with an unfinished one.

mod abandon;
mod prune;
mod remote;
mod resume;
mod show;

use std::num::NonZeroUsize;

use serde_json::Value;

use super::{CliError, Exit, Global, state_dir::StateDir};
use crate::journal::{DirectoryStore, HeadQuery, RunId, RunState, RunStore as _};

/// Lists, shows, resumes, rolls back, cancels or abandons runs.
#[derive(Debug, clap::Args)]
pub(super) struct RunsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List runs, the latest last
    List(ListArgs),
    /// Show one run: its state, its steps and what they changed
    Show(RunSelector),
    /// Print the log lines of a run
    Logs(LogsArgs),
    /// Continue an unfinished run where it stopped
    Resume(resume::ResumeArgs),
    /// Undo what an unfinished run has changed
    Rollback(resume::PlaceArgs),
    /// Ask the service that drives a run to stop it
    Cancel(RemoteRunArgs),
    /// Declare an unfinished run to be over; nothing that it has changed is undone
    Abandon(abandon::AbandonArgs),
    /// Remove the journals of old runs that are over
    ///
    /// An unfinished run is never removed, nor one whose journal cannot be read. With both --older-than and --keep, a
    /// run is removed only if both say so. The idempotency key of a run that is removed is forgotten.
    Prune(prune::PruneArgs),
}

/// Which runs to list.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// How many of the latest runs to list
    #[arg(long, value_name = "COUNT", default_value = "50", conflicts_with = "all")]
    limit: NonZeroUsize,
    /// List all runs
    #[arg(long)]
    all: bool,
    /// List only runs in this state; several states are separated by commas
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = parse_state)]
    states: Vec<RunState>,
    /// List only runs of this runbook
    #[arg(long, value_name = "NAME")]
    runbook: Option<String>,
}

/// Which run to print, and whether to wait for more of it.
#[derive(Debug, clap::Args)]
struct LogsArgs {
    #[command(flatten)]
    selector: RunSelector,
    /// Keep printing until the run stops; the exit code is then that of the run
    #[arg(long, short)]
    follow: bool,
}

/// Which run.
#[derive(Debug, clap::Args)]
struct RunSelector {
    /// The id of the run
    #[arg(required_unless_present = "last", conflicts_with = "last")]
    run: Option<RunId>,
    /// The latest run
    #[arg(long)]
    last: bool,
}

/// A run that a service may drive.
#[derive(Debug, clap::Args)]
struct RemoteRunArgs {
    #[command(flatten)]
    selector: RunSelector,
    #[command(flatten)]
    token: remote::TokenArgs,
}

impl RunsArgs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, CliError> {
        let state_dir = StateDir::choose(global, false)?;
        let store = state_dir.open_for_reading();
        match self.command {
            Command::List(args) => show::list(&store, &args.filter(), global.output).await,
            Command::Show(run) => show::one(&store, &run.find(&store).await?, global.output).await,
            Command::Logs(LogsArgs { selector, follow: true }) => {
                show::follow(&store, &selector.find(&store).await?, global.output).await
            }
            Command::Logs(LogsArgs { selector, .. }) => {
                show::logs(&store, &selector.find(&store).await?, global.output).await
            }
            Command::Resume(args) => args.run(&state_dir, global).await,
            Command::Rollback(args) => args.roll_back(&state_dir, global).await,
            Command::Cancel(args) => cancel(&store, &args).await,
            Command::Abandon(args) => args.run(&state_dir).await,
            Command::Prune(args) => args.run(&state_dir, global.output).await,
        }
    }
}

impl ListArgs {
    fn filter(self) -> show::ListFilter {
        let limit = (!self.all).then_some(self.limit.get());
        show::ListFilter { limit, states: self.states, runbook: self.runbook }
    }
}

fn parse_state(text: &str) -> Result<RunState, String> {
    let states = RunState::ALL;
    states.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        let known = states.map(RunState::as_str);
        match runbook::nearest(text, known) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("expected one of {}", known.join(", ")),
        }
    })
}

impl RunSelector {
    async fn find(&self, store: &DirectoryStore) -> Result<RunId, CliError> {
        if let Some(run) = &self.run {
            return Ok(run.clone());
        }
        let latest = store.heads(HeadQuery::Newest(1)).await?.pop();
        latest.map(|entry| entry.run).ok_or_else(|| CliError::Usage("no runs found".into()))
    }
}

/// Asks the process that drives a run to cancel it.
async fn cancel(store: &DirectoryStore, args: &RemoteRunArgs) -> Result<Exit, CliError> {
    let id = args.selector.find(store).await?;
    let is_live = store.is_live(&id).await;
    let state = store.head(&id).await?.state(is_live);
    if !state.is_active() {
        return Err(CliError::Usage(format!("run {id} is {state}: nothing to cancel")));
    }
    if let Some(address) = remote::service_address(store) {
        return remote::request_operation(&address, &id, "cancel", Value::Null, &args.token).await;
    }
    let pid = store.owner().map_or_else(|| "PID".into(), |owner| owner.pid.to_string());
    Err(CliError::usage_with_hint(
        format!("run {id} is driven by process {pid} at a command line"),
        format!("press Ctrl-C there, or run `kill -INT {pid}`"),
    ))
}
