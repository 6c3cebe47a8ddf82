//! `runs`: what has been run, and what to do with a run that is not finished.

mod owner;
mod show;

use super::{
    Exit, Global, Trouble, confirm, run, standard_output, state_folder::StateFolder,
    world::WorldArguments,
};
use crate::{
    engine::{self, Direction, Engine},
    journal::{FileStore, RunId, State, Store as _},
};

/// Lists, shows, resumes, rolls back, cancels or abandons runs.
#[derive(Debug, clap::Args)]
pub(super) struct Runs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List all runs, the latest last
    List,
    /// Show one run: its steps, what they changed, where it stands
    Show(Which),
    /// Print the log lines of a run
    Logs(Which),
    /// Go on with an unfinished run where it stopped
    Resume(TakeUp),
    /// Undo what an unfinished run has changed
    Rollback(TakeUp),
    /// Ask the service that drives a run to stop it
    Cancel(Owned),
    /// Declare an unfinished run to be over; the cluster stays as it is
    Abandon(Owned),
}

/// Which run.
#[derive(Debug, clap::Args)]
struct Which {
    /// The run's name
    #[arg(required_unless_present = "last", conflicts_with = "last")]
    run: Option<RunId>,
    /// The latest run
    #[arg(long)]
    last: bool,
}

/// A run that a service may hold.
#[derive(Debug, clap::Args)]
struct Owned {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    token: owner::Token,
}

/// A run and the world it goes on in.
#[derive(Debug, clap::Args)]
struct TakeUp {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    token: owner::Token,
    #[command(flatten)]
    world: WorldArguments,
    /// Do not ask before acting on a real cluster
    #[arg(long, env = "SOP_YES")]
    yes: bool,
}

impl Runs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Trouble> {
        let folder = StateFolder::choose(global, false)?;
        let store = folder.for_reading();
        match self.command {
            Command::List => show::list(&store, global.output),
            Command::Show(which) => show::one(&store, &which.find(&store)?, global.output),
            Command::Logs(which) => show::logs(&store, &which.find(&store)?, global.output),
            Command::Resume(args) => take_up(&folder, args, Direction::On, global).await,
            Command::Rollback(args) => take_up(&folder, args, Direction::Back, global).await,
            Command::Cancel(args) => cancel(&store, &args).await,
            Command::Abandon(args) => abandon(&folder, &args).await,
        }
    }
}

impl Which {
    fn find(&self, store: &FileStore) -> Result<RunId, Trouble> {
        if let Some(run) = &self.run {
            return Ok(run.clone());
        }
        let latest = store.list()?.pop();
        latest.ok_or_else(|| Trouble::Usage("there are no runs here".into()))
    }
}

/// A service that holds the folder does it itself; else this process does.
async fn take_up(
    folder: &StateFolder,
    args: TakeUp,
    direction: Direction,
    global: &Global,
) -> Result<Exit, Trouble> {
    let verb = match direction {
        Direction::On => "resume",
        Direction::Back => "rollback",
    };
    let reading = folder.for_reading();
    if let Some(address) = owner::service(&reading) {
        let id = args.which.find(&reading)?;
        return owner::ask(&address, &id, verb, &args.token).await;
    }
    let store = folder.for_writing(&format!("runs {verb}"), None)?;
    let id = args.which.find(&store)?;
    let world = args.world.enter().await?;
    let engine = Engine::new(world.platform.clone(), store, args.world.simulate);
    if !args.world.simulate && !args.yes {
        let source = engine.source_of(&id)?;
        let what = confirm::what_is_left(&source, &engine.run(&id)?, direction);
        confirm::ask(&engine, &source, &what).await?;
    }
    let recorder = engine.take_up(&id, direction, &run::actor()).await?;
    let exit = run::drive(&engine, recorder, global, &args.world).await?;
    let is_rolled_back = engine.run(&id)?.state(false) == State::RolledBack;
    // A run that was to come back has come back: that is no failure.
    Ok(if direction == Direction::Back && is_rolled_back { Exit::Done } else { exit })
}

/// What acts on a live run goes to the process that drives it.
async fn cancel(store: &FileStore, args: &Owned) -> Result<Exit, Trouble> {
    let id = args.which.find(store)?;
    let state = show::state(store, &id)?;
    if !state.is_active() {
        return Err(Trouble::Usage(format!("run {id} is {state}: there is nothing to cancel")));
    }
    if let Some(address) = owner::service(store) {
        return owner::ask(&address, &id, "cancel", &args.token).await;
    }
    let pid = store.owner().map_or_else(|| "PID".into(), |owner| owner.pid.to_string());
    Err(Trouble::Usage(format!(
        "run {id} is driven by process {pid} at a command line: press Ctrl-C there, or `kill -INT {pid}`"
    )))
}

async fn abandon(folder: &StateFolder, args: &Owned) -> Result<Exit, Trouble> {
    let reading = folder.for_reading();
    if let Some(address) = owner::service(&reading) {
        let id = args.which.find(&reading)?;
        return owner::ask(&address, &id, "abandon", &args.token).await;
    }
    let store = folder.for_writing("runs abandon", None)?;
    let id = args.which.find(&store)?;
    engine::abandon(store, &id, &run::actor())?;
    standard_output::write(&format!("run {id} is abandoned; the cluster stays as it is\n"))?;
    Ok(Exit::Done)
}
