//! `runs`: what has been run, and what to do with a run that is not finished.

use std::path::PathBuf;

use serde_json::json;

use super::{
    Exit, Global, Output, Trouble, confirm, run, state_folder::StateFolder, world::WorldArguments,
};
use crate::{
    engine::{Direction, Engine},
    journal::{FileStore, LogLines, Run, RunId, Store as _, Summary, timestamp},
};

/// Lists, shows, resumes, rolls back or abandons runs.
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
    Cancel(Cancel),
    /// Declare an unfinished run to be over; the cluster stays as it is
    Abandon(Which),
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

/// A run and the world it goes on in.
#[derive(Debug, clap::Args)]
struct TakeUp {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    world: WorldArguments,
    /// Do not ask before acting on a real cluster
    #[arg(long, env = "SOP_YES")]
    yes: bool,
}

/// A run that a service drives.
#[derive(Debug, clap::Args)]
struct Cancel {
    #[command(flatten)]
    which: Which,
    /// File with the bearer token of the service
    #[arg(long, value_name = "FILE", env = "SOP_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

impl Runs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Trouble> {
        let folder = StateFolder::choose(global, false)?;
        match self.command {
            Command::List => list(&folder.for_reading(), global.output),
            Command::Show(which) => show(&folder.for_reading(), &which, global.output),
            Command::Logs(which) => logs(&folder.for_reading(), &which, global.output),
            Command::Resume(args) => take_up(&folder, args, Direction::On, global).await,
            Command::Rollback(args) => take_up(&folder, args, Direction::Back, global).await,
            Command::Cancel(args) => cancel(&folder.for_reading(), &args).await,
            Command::Abandon(which) => abandon(&folder, &which).await,
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

fn list(store: &FileStore, output: Output) -> Result<Exit, Trouble> {
    let is_live = store.has_live_writer();
    let mut runs = Vec::new();
    for id in store.list()? {
        runs.push(Summary::of(&Run::read(store, &id)?, is_live));
    }
    if output == Output::Json {
        println!("{:#}", json!(runs));
        return Ok(Exit::Done);
    }
    if runs.is_empty() {
        eprintln!("no runs yet");
    }
    for run in runs {
        let whereabouts = if run.target.simulated { "  (simulated)" } else { "" };
        println!("{}  {}  {}{whereabouts}", timestamp(run.start_time), run.run, run.state);
    }
    Ok(Exit::Done)
}

fn show(store: &FileStore, which: &Which, output: Output) -> Result<Exit, Trouble> {
    let run = Summary::of(&Run::read(store, &which.find(store)?)?, store.has_live_writer());
    if output == Output::Json {
        println!("{:#}", json!(run));
        return Ok(Exit::Done);
    }
    println!("run      {}", run.run);
    println!("runbook  {} (sha256 {})", run.runbook, &run.digest[..run.digest.len().min(12)]);
    println!("state    {}", run.state);
    run.error.iter().for_each(|error| println!("error    {error}"));
    println!("began    {} by {}", timestamp(run.start_time), run.actor);
    run.end_time.iter().for_each(|time| println!("ended    {}", timestamp(*time)));
    println!("inputs   {}", serde_json::Value::Object(run.inputs.clone()));
    for step in &run.steps {
        println!("\n{:<12} {}", step.state.as_str(), step.name);
        for change in &step.changes {
            println!("{:<12}   {}: {} -> {}", "", change.target, change.before, change.after);
        }
        step.error.iter().for_each(|error| println!("{:<12}   {error}", ""));
        step.left_alone.iter().for_each(|what| println!("{:<12}   left alone: {what}", ""));
    }
    Ok(Exit::Done)
}

fn logs(store: &FileStore, which: &Which, output: Output) -> Result<Exit, Trouble> {
    let lines = LogLines::of(&store.read(&which.find(store)?)?);
    match output {
        Output::Json => println!("{:#}", json!(lines)),
        Output::Text => lines.iter().for_each(|line| println!("{line}")),
    }
    Ok(Exit::Done)
}

async fn take_up(
    folder: &StateFolder,
    args: TakeUp,
    direction: Direction,
    global: &Global,
) -> Result<Exit, Trouble> {
    let store = folder.for_writing("runs resume", None)?;
    let id = args.which.find(&store)?;
    let world = args.world.enter().await?;
    let engine = Engine::new(world.platform.clone(), store, args.world.simulate);
    if !args.world.simulate && !args.yes {
        confirm::ask(&engine, &engine.source_of(&id)?).await?;
    }
    let recorder = engine.take_up(&id, direction, &run::actor()).await?;
    run::drive(&engine, recorder, global.output, false).await
}

/// What acts on a live run goes to the process that owns it.
async fn cancel(store: &FileStore, args: &Cancel) -> Result<Exit, Trouble> {
    let id = args.which.find(store)?;
    let state = Run::read(store, &id)?.state(store.has_live_writer());
    let owner = store.owner().filter(|_| state.is_active()).ok_or_else(|| {
        Trouble::Usage(format!("run {id} is {state}: there is nothing to cancel"))
    })?;
    let Some(address) = owner.address else {
        return Err(Trouble::Usage(format!(
            "run {id} is driven by process {} (`{}`) at a command line: press Ctrl-C there, or `kill -INT {}`",
            owner.pid, owner.doing, owner.pid
        )));
    };
    let mut request = reqwest::Client::new().post(format!("http://{address}/runs/{id}/cancel"));
    if let Some(path) = &args.token_file {
        let token = std::fs::read_to_string(path).map_err(|error| {
            Trouble::Usage(format!("cannot read the token file {}: {error}", path.display()))
        })?;
        request = request.bearer_auth(token.trim());
    }
    let unanswered = |error: reqwest::Error| {
        Trouble::Service(format!("the service at {address} does not answer: {error}"))
    };
    let answer = request.send().await.map_err(unanswered)?;
    if answer.status().is_success() {
        println!("run {id} is being cancelled; the call in flight is finished first");
        return Ok(Exit::Done);
    }
    let text = answer.text().await.map_err(unanswered)?;
    Err(Trouble::Service(format!("the service at {address} refused: {text}")))
}

async fn abandon(folder: &StateFolder, which: &Which) -> Result<Exit, Trouble> {
    let store = folder.for_writing("runs abandon", None)?;
    let id = which.find(&store)?;
    crate::engine::abandon(store, &id, &run::actor())?;
    println!("run {id} is abandoned; the cluster stays as it is");
    Ok(Exit::Done)
}
