//! `completions`: shell completion. The script that it prints asks this program for candidates at every completion, so
//! that run ids and the names of runbooks are completed too.

mod candidates;

use std::{env, io, path::PathBuf};

use clap::{Command, ValueEnum};
use clap_complete::{
    ArgValueCandidates, ArgValueCompleter,
    env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh},
};

use super::{CliError, Exit, options, stdout};
use crate::journal::RunState;

/// The variable by which the script asks for candidates; its value is the name of the shell.
const REQUEST_VARIABLE: &str = "SOP_COMPLETE";

/// Prints a script that completes this program's arguments in a shell, run ids and runbooks included.
///
/// For bash, add `eval "$(rafay-relay-sop completions bash)"` to ~/.bashrc. For zsh, add
/// `source <(rafay-relay-sop completions zsh)` to ~/.zshrc, after `compinit`. For fish, add
/// `rafay-relay-sop completions fish | source` to ~/.config/fish/config.fish.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// Shell to print the script for
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl CompletionsArgs {
    pub(super) fn run(self) -> Result<Exit, CliError> {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
        };
        let name = env!("CARGO_PKG_NAME");
        let program = invoked_program()?;
        let mut script = Vec::new();
        shell.write_registration(REQUEST_VARIABLE, name, name, &program, &mut script)?;
        stdout::write(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Success)
    }
}

/// Returns the program as the script calls it: by name if it was found on `PATH`, else by its absolute path.
fn invoked_program() -> io::Result<String> {
    let invoked = PathBuf::from(env::args_os().next().unwrap_or_default());
    let program =
        if invoked.components().count() > 1 { env::current_dir()?.join(invoked) } else { invoked };
    Ok(program.to_string_lossy().into_owned())
}

/// Prints the candidates and exits if a completion script has called this program; else returns.
pub fn answer_completion_request() {
    CompleteEnv::with_factory(command).var(REQUEST_VARIABLE).complete();
}

/// Returns the command line with the candidates that the arguments' definitions do not have.
fn command() -> Command {
    options::command()
        .mut_subcommand("run", |run| {
            run.mut_arg("name", |name| name.add(ArgValueCompleter::new(candidates::runbooks)))
        })
        .mut_subcommand("runs", |runs| {
            runs.mut_subcommand("show", |show| with_run_ids(show, |_| true))
                .mut_subcommand("watch", |watch| with_run_ids(watch, |_| true))
                .mut_subcommand("logs", |logs| with_run_ids(logs, |_| true))
                .mut_subcommand("resume", |resume| with_run_ids(resume, RunState::is_unfinished))
                .mut_subcommand("rollback", |rollback| {
                    with_run_ids(rollback, RunState::is_unfinished)
                })
                .mut_subcommand("abandon", |abandon| with_run_ids(abandon, RunState::is_unfinished))
                .mut_subcommand("approve", |approve| with_run_ids(approve, RunState::is_active))
                .mut_subcommand("reject", |reject| with_run_ids(reject, RunState::is_active))
                .mut_subcommand("cancel", |cancel| with_run_ids(cancel, RunState::is_active))
        })
        .mut_subcommand("actions", |actions| {
            actions.mut_arg("name", |name| name.add(ArgValueCandidates::new(candidates::actions)))
        })
        .mut_subcommand("explain", |explain| {
            explain.mut_arg("rule", |rule| rule.add(ArgValueCandidates::new(candidates::rules)))
        })
}

/// Completes the argument RUN with the runs in a suitable state.
fn with_run_ids(command: Command, is_suitable: fn(RunState) -> bool) -> Command {
    let candidates = ArgValueCandidates::new(move || candidates::runs(is_suitable));
    command.mut_arg("run", |run| run.add(candidates))
}
