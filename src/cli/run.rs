//! `run`: one runbook, from start to end.

use std::io::IsTerminal as _;

use super::{
    CliError, Exit, Global, Output, confirm, inputs::InputsArgs, next_steps, progress, signals,
    state_dir::StateDir, stdout, target::TargetArgs,
};
use crate::{
    engine::{Control, Engine, RunRequest},
    journal::{Run, RunState, RunSummary, RunWriter},
};

/// Runs a runbook and shows its progress.
///
/// NAME is looked up in the folder of runbooks, then among those compiled into the program; a path is a path. Against
/// a real cluster it says what it will touch and asks first.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The runbook: a name or a path
    name: String,
    #[command(flatten)]
    inputs: InputsArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Do not ask before acting on a real cluster
    #[arg(long, env = "SOP_YES")]
    yes: bool,
}

impl RunArgs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, CliError> {
        let source = global.runbook_dir().find_or_read(&self.name)?;
        let inputs = self.inputs.read(&source)?;
        let state_dir = StateDir::choose(global, self.target.simulate)?;
        let store = state_dir.open_for_writing("run", None)?;
        let environment = self.target.connect().await?;
        let engine = Engine::new(environment.platform.clone(), store, self.target.simulate);
        if !self.target.simulate && !self.yes {
            let what = confirm::describe_run(&engine, &source, &inputs).await?;
            confirm::ask(&engine, &source, &what).await?;
        }
        let request = RunRequest { source, inputs, actor: actor(), key: None };
        let run_writer = engine.accept(request).await?;
        let exit = drive(&engine, run_writer, global, &self.target).await;
        if let Some(simulator) = environment.simulator {
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
    run_writer: RunWriter,
    global: &Global,
    target: &TargetArgs,
) -> Result<Exit, CliError> {
    let id = run_writer.run().id.clone();
    let control = Control::default();
    let signals = signals::forward_to(control.clone())?;
    let display = progress::show(&run_writer, global.output);
    let ended = engine.drive(run_writer, control).await;
    signals.abort();
    display.finish().await;
    let state = ended.map_err(CliError::Journal)?;
    match engine.run(&id) {
        Ok(run) => print_result(&run, state, global, target)?,
        // How it ended is known; only the report is not to be had.
        Err(error) => eprintln!("{state}; its journal cannot be read again: {error}"),
    }
    Ok(exit_of(state))
}

fn print_result(
    run: &Run,
    state: RunState,
    global: &Global,
    target: &TargetArgs,
) -> Result<(), CliError> {
    if global.output == Output::Json {
        stdout::write(&format!("{:#}\n", serde_json::json!(RunSummary::new(run, true))))?;
        return Ok(());
    }
    // On a terminal the last line above says it already.
    let is_reported = std::io::stdout().is_terminal() || state == RunState::Succeeded;
    if let Some(error) = run.error.as_ref().filter(|_| !is_reported) {
        eprintln!("{state}: {error}");
    }
    // A simulated cluster is gone with this process: there is nothing to go on with.
    if state.is_unfinished() && !target.simulate {
        eprintln!("{}", next_steps::describe(&run.id, run.is_rolling_back(), global, Some(target)));
    }
    Ok(())
}

fn exit_of(state: RunState) -> Exit {
    match state {
        RunState::Succeeded | RunState::SucceededWithFailures | RunState::Abandoned => {
            Exit::Success
        }
        RunState::RolledBack => Exit::Failed,
        RunState::Cancelled | RunState::Interrupted => Exit::Interrupted,
        RunState::Failed | RunState::RollbackFailed | RunState::Running | RunState::RollingBack => {
            Exit::Unfinished
        }
    }
}
