//! `runs`: the runs so far, and what can be done with an unfinished one.

mod abandon;
mod answer;
mod describe;
mod prune;
mod remote;
mod resume;
mod show;
mod watch;

use std::num::NonZeroUsize;

use serde_json::Value;

use super::{
    CliError, Exit, Global, run,
    state_dir::StateDir,
    stdout,
    store::{OpenStore, StoreKind, StorePlace},
    target::{ClusterArgs, TargetArgs},
};
use crate::journal::{HeadQuery, RunId, RunState, RunStore};

pub(super) use answer::texts as answer_texts;

/// Lists, shows, answers, resumes, rolls back, cancels or abandons runs.
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
    Show(ShowArgs),
    /// Show a run while it goes on, whichever process drives it
    ///
    /// On a terminal the same as `run` shows. Ctrl-C ends the watching, never the run. The exit code is that of the
    /// run, or 130 after Ctrl-C. `--output ndjson` prints each event as a line of JSON.
    Watch(watch::WatchArgs),
    /// Print the log lines of a run
    Logs(LogsArgs),
    /// Continue an unfinished run where it stopped
    Resume(resume::ResumeArgs),
    /// Undo what an unfinished run has changed
    Rollback(resume::PlaceArgs),
    /// Ask the process that drives a run to stop it
    Cancel(RemoteRunArgs),
    /// Approve what a step of a run waits for
    Approve(answer::ApproveArgs),
    /// Reject what a step of a run waits for: the step fails
    Reject(answer::RejectArgs),
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
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Which run to show.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    selector: RunSelector,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Which run to print, and whether to wait for more of it.
#[derive(Debug, clap::Args)]
struct LogsArgs {
    /// The id of the run [default: the latest run]
    run: Option<RunId>,
    /// The latest run
    #[arg(long, conflicts_with = "run")]
    last: bool,
    /// Keep printing until the run stops; the exit code is then that of the run
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
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
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl RunsArgs {
    /// Whether the subcommand follows a run, whose events can be printed.
    pub(super) fn has_events(&self) -> bool {
        match &self.command {
            Command::Watch(_) | Command::Resume(_) | Command::Rollback(_) => true,
            Command::Logs(logs) => logs.follow,
            Command::List(_)
            | Command::Show(_)
            | Command::Cancel(_)
            | Command::Approve(_)
            | Command::Reject(_)
            | Command::Abandon(_)
            | Command::Prune(_) => false,
        }
    }

    pub(super) async fn run(self, global: &Global) -> Result<Exit, CliError> {
        let place = self.command.store_place(global)?;
        let output = global.output;
        // Each opens the store again for itself where it writes.
        let store = place.open_for_reading().await?;
        let runs = store.as_run_store();
        let runs = runs.as_ref();
        match self.command {
            Command::List(args) => show::list(runs, &args.filter(), output).await,
            Command::Show(ShowArgs { selector, .. }) => {
                show::one(runs, &selector.find(runs).await?, output).await
            }
            Command::Watch(args) => args.run(&store, global).await,
            Command::Logs(LogsArgs { run, follow, .. }) => {
                let last = run.is_none();
                let id = RunSelector { run, last }.find(runs).await?;
                match follow {
                    true => show::follow(runs, &id, output, watch::interval(&store)).await,
                    false => show::logs(runs, &id, output).await,
                }
            }
            Command::Resume(args) => args.run(&place, global).await,
            Command::Rollback(args) => args.roll_back(&place, global).await,
            Command::Cancel(args) => cancel(&store, &args).await,
            Command::Approve(args) => args.run(&store).await,
            Command::Reject(args) => args.run(&store).await,
            Command::Abandon(args) => args.run(&place).await,
            Command::Prune(args) => args.run(&place, output).await,
        }
    }
}

impl Command {
    /// Returns where the runs are kept, with the cluster that this subcommand names.
    fn store_place(&self, global: &Global) -> Result<StorePlace, CliError> {
        let (cluster, target) = match self {
            Self::List(args) => (args.cluster.clone(), None),
            Self::Show(args) => (args.cluster.clone(), None),
            Self::Watch(args) => (args.cluster(), None),
            Self::Logs(args) => (args.cluster.clone(), None),
            Self::Cancel(args) => (args.cluster.clone(), None),
            Self::Approve(args) => (args.cluster(), None),
            Self::Reject(args) => (args.cluster(), None),
            Self::Prune(args) => (args.cluster.clone(), None),
            Self::Abandon(args) => (args.cluster.clone(), None),
            Self::Resume(args) => (args.place.target.cluster(), Some(&args.place.target)),
            Self::Rollback(args) => (args.target.cluster(), Some(&args.target)),
        };
        let is_for_store = target.is_none() && !matches!(self, Self::Abandon(_));
        let simulated = target.is_some_and(|target| target.simulate);
        if is_for_store
            && cluster.is_named()
            && global.store_kind(simulated)? == StoreKind::Directory
        {
            return Err(CliError::usage_with_hint(
                "--kubeconfig and --context name the cluster that keeps the runs, and the store is a directory",
                "leave them out, or pass --store cluster",
            ));
        }
        // A simulated run is resumed in the state directory that it was started with.
        if simulated {
            return Ok(StorePlace::Directory(StateDir::choose(global, false)?));
        }
        let times = target.map(TargetArgs::lease_times).transpose()?.unwrap_or_default();
        global.store_place(false, times, || cluster.platform())
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
    async fn find(&self, store: &dyn RunStore) -> Result<RunId, CliError> {
        if let Some(run) = &self.run {
            return Ok(run.clone());
        }
        let latest = store.heads(HeadQuery::Newest(1)).await?.pop();
        latest.map(|entry| entry.run).ok_or_else(|| CliError::Usage("no runs found".into()))
    }
}

/// Asks the process that drives a run to cancel it.
async fn cancel(store: &OpenStore, args: &RemoteRunArgs) -> Result<Exit, CliError> {
    let runs = store.as_run_store();
    let id = args.selector.find(runs.as_ref()).await?;
    let is_live = runs.is_live(&id).await;
    let head = runs.head(&id).await?;
    let state = head.state(is_live);
    if !state.is_active() {
        return Err(CliError::Usage(format!("run {id} is {state}: nothing to cancel")));
    }
    if head.restoring().is_some() {
        let message = format!("run {id} is at its end: it restores what is not to outlast it");
        return Err(CliError::Usage(message));
    }
    if let Some(shared) = runs.shared() {
        shared.request_cancel(&id, &run::actor()).await?;
        stdout::write(&format!("the process that drives run {id} is asked to cancel it\n"))?;
        return Ok(Exit::Success);
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
