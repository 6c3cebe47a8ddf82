//! `run`: one runbook, from start to end.

use std::io::IsTerminal as _;

use super::{
    Exit, Global, Output, Trouble, choices, confirm, inputs::Inputs, live, signals,
    standard_output, state_folder::StateFolder, world::WorldArguments,
};
use crate::{
    engine::{Control, Engine, Request},
    journal::{Recorder, Run as RunOf, State, Summary},
};

/// Runs a runbook and shows its progress.
///
/// NAME is looked up in the folder of runbooks, then among those compiled into the program; a path is a path. Against
/// a real cluster it says what it will touch and asks first.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The runbook: a name or a path
    name: String,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    world: WorldArguments,
    /// Do not ask before acting on a real cluster
    #[arg(long, env = "SOP_YES")]
    yes: bool,
}

impl Run {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Trouble> {
        let source = global.runbook_dir().by_name_or_path(&self.name)?;
        let inputs = self.inputs.read(&source)?;
        let folder = StateFolder::choose(global, self.world.simulate)?;
        let store = folder.for_writing("run", None)?;
        let world = self.world.enter().await?;
        let engine = Engine::new(world.platform.clone(), store, self.world.simulate);
        if !self.world.simulate && !self.yes {
            let what = confirm::what_a_run_does(&engine, &source, &inputs).await?;
            confirm::ask(&engine, &source, &what).await?;
        }
        let request = Request { source, inputs, actor: actor(), key: None };
        let recorder = engine.accept(request).await?;
        let exit = drive(&engine, recorder, global, &self.world).await;
        if let Some(simulator) = world.simulator {
            simulator.shutdown().await;
        }
        exit
    }
}

/// Who is at the command line.
pub(super) fn actor() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    user.map_or_else(|_| "cli".into(), |user| format!("cli:{user}"))
}

/// Drives a run to its end while showing it, and says how the program ends.
pub(super) async fn drive(
    engine: &Engine,
    recorder: Recorder,
    global: &Global,
    world: &WorldArguments,
) -> Result<Exit, Trouble> {
    let id = recorder.run().id.clone();
    let control = Control::default();
    let signals = signals::pass_to(control.clone())?;
    let display = live::show(&recorder, global.output);
    let ended = engine.drive(recorder, control).await;
    signals.abort();
    display.finish().await;
    let state = ended.map_err(Trouble::Journal)?;
    match engine.run(&id) {
        Ok(run) => tell_the_end(&run, state, global, world)?,
        // How it ended is known; only the report is not to be had.
        Err(error) => eprintln!("{state}; its journal cannot be read again: {error}"),
    }
    Ok(exit_of(state))
}

fn tell_the_end(
    run: &RunOf,
    state: State,
    global: &Global,
    world: &WorldArguments,
) -> Result<(), Trouble> {
    if global.output == Output::Json {
        standard_output::write(&format!("{:#}\n", serde_json::json!(Summary::of(run, true))))?;
        return Ok(());
    }
    // On a terminal the last line above says it already.
    let is_said = std::io::stdout().is_terminal() || state == State::Succeeded;
    if let Some(error) = run.error.as_ref().filter(|_| !is_said) {
        eprintln!("{state}: {error}");
    }
    // A simulated cluster is gone with this process: there is nothing to go on with.
    if state.is_unfinished() && !world.simulate {
        eprintln!("{}", choices::of(&run.id, run.is_rolling_back(), global, Some(world)));
    }
    Ok(())
}

fn exit_of(state: State) -> Exit {
    match state {
        State::Succeeded | State::SucceededWithFailures | State::Abandoned => Exit::Done,
        State::RolledBack => Exit::Failed,
        State::Cancelled | State::Interrupted => Exit::Interrupted,
        State::Failed | State::RollbackFailed | State::Running | State::RollingBack => {
            Exit::Unfinished
        }
    }
}
