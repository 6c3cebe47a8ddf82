//! `runs`: what has been run, and what to do with a run that is not finished.

mod remote;
mod show;

use super::{
    CliError, Exit, Global, confirm, run, state_dir::StateDir, stdout, target::TargetArgs,
};
use crate::{
    engine::{self, Engine, ResumeMode},
    journal::{FileStore, RunId, RunState, RunStore as _},
};

/// Lists, shows, resumes, rolls back, cancels or abandons runs.
#[derive(Debug, clap::Args)]
pub(super) struct RunsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List all runs, the latest last
    List,
    /// Show one run: its steps, what they changed, where it stands
    Show(RunSelector),
    /// Print the log lines of a run
    Logs(RunSelector),
    /// Go on with an unfinished run where it stopped
    Resume(ResumeArgs),
    /// Undo what an unfinished run has changed
    Rollback(ResumeArgs),
    /// Ask the service that drives a run to stop it
    Cancel(RemoteRunArgs),
    /// Declare an unfinished run to be over; the cluster stays as it is
    Abandon(RemoteRunArgs),
}

/// Which run.
#[derive(Debug, clap::Args)]
struct RunSelector {
    /// The run's name
    #[arg(required_unless_present = "last", conflicts_with = "last")]
    run: Option<RunId>,
    /// The latest run
    #[arg(long)]
    last: bool,
}

/// A run that a service may hold.
#[derive(Debug, clap::Args)]
struct RemoteRunArgs {
    #[command(flatten)]
    selector: RunSelector,
    #[command(flatten)]
    token: remote::TokenArgs,
}

/// A run and the world it goes on in.
#[derive(Debug, clap::Args)]
struct ResumeArgs {
    #[command(flatten)]
    selector: RunSelector,
    #[command(flatten)]
    token: remote::TokenArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Do not ask before acting on a real cluster
    #[arg(long, env = "SOP_YES")]
    yes: bool,
}

impl RunsArgs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, CliError> {
        let state_dir = StateDir::choose(global, false)?;
        let store = state_dir.open_for_reading();
        match self.command {
            Command::List => show::list(&store, global.output),
            Command::Show(selector) => show::one(&store, &selector.find(&store)?, global.output),
            Command::Logs(selector) => show::logs(&store, &selector.find(&store)?, global.output),
            Command::Resume(args) => resume(&state_dir, args, ResumeMode::Continue, global).await,
            Command::Rollback(args) => resume(&state_dir, args, ResumeMode::Rollback, global).await,
            Command::Cancel(args) => cancel(&store, &args).await,
            Command::Abandon(args) => abandon(&state_dir, &args).await,
        }
    }
}

impl RunSelector {
    fn find(&self, store: &FileStore) -> Result<RunId, CliError> {
        if let Some(run) = &self.run {
            return Ok(run.clone());
        }
        let latest = store.list()?.pop();
        latest.ok_or_else(|| CliError::Usage("there are no runs here".into()))
    }
}

/// A service that holds the folder does it itself; else this process does.
async fn resume(
    state_dir: &StateDir,
    args: ResumeArgs,
    mode: ResumeMode,
    global: &Global,
) -> Result<Exit, CliError> {
    let operation = match mode {
        ResumeMode::Continue => "resume",
        ResumeMode::Rollback => "rollback",
    };
    let reader = state_dir.open_for_reading();
    if let Some(address) = remote::service_address(&reader) {
        let id = args.selector.find(&reader)?;
        return remote::request_operation(&address, &id, operation, &args.token).await;
    }
    let store = state_dir.open_for_writing(&format!("runs {operation}"), None)?;
    let id = args.selector.find(&store)?;
    let environment = args.target.connect().await?;
    let engine = Engine::new(environment.platform.clone(), store, args.target.simulate);
    if !args.target.simulate && !args.yes {
        let source = engine.source_of(&id)?;
        let what = confirm::describe_resume(&source, &engine.run(&id)?, mode);
        confirm::ask(&engine, &source, &what).await?;
    }
    let run_writer = engine.resume(&id, mode, &run::actor()).await?;
    let exit = run::drive(&engine, run_writer, global, &args.target).await?;
    let is_rolled_back = engine.run(&id)?.state(false) == RunState::RolledBack;
    // A run that was to come back has come back: that is no failure.
    Ok(if mode == ResumeMode::Rollback && is_rolled_back { Exit::Success } else { exit })
}

/// What acts on a live run goes to the process that drives it.
async fn cancel(store: &FileStore, args: &RemoteRunArgs) -> Result<Exit, CliError> {
    let id = args.selector.find(store)?;
    let state = show::state(store, &id)?;
    if !state.is_active() {
        return Err(CliError::Usage(format!("run {id} is {state}: there is nothing to cancel")));
    }
    if let Some(address) = remote::service_address(store) {
        return remote::request_operation(&address, &id, "cancel", &args.token).await;
    }
    let pid = store.owner().map_or_else(|| "PID".into(), |owner| owner.pid.to_string());
    Err(CliError::Usage(format!(
        "run {id} is driven by process {pid} at a command line: press Ctrl-C there, or `kill -INT {pid}`"
    )))
}

async fn abandon(state_dir: &StateDir, args: &RemoteRunArgs) -> Result<Exit, CliError> {
    let reader = state_dir.open_for_reading();
    if let Some(address) = remote::service_address(&reader) {
        let id = args.selector.find(&reader)?;
        return remote::request_operation(&address, &id, "abandon", &args.token).await;
    }
    let store = state_dir.open_for_writing("runs abandon", None)?;
    let id = args.selector.find(&store)?;
    engine::abandon(store, &id, &run::actor())?;
    stdout::write(&format!("run {id} is abandoned; the cluster stays as it is\n"))?;
    Ok(Exit::Success)
}
