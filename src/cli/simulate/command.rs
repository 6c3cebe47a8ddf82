//! The command of `simulate -- COMMAND`. It gets the whole environment of the simulated cluster, the signals that this
//! process receives, and nothing of the caller's shell that names another cluster or account.

use std::{
    ffi::{OsStr, OsString},
    fmt::Display,
    io::IsTerminal as _,
    os::{fd::AsFd, unix::process::ExitStatusExt as _},
    process::{Command, ExitStatus},
};

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, Exit, simulator_error};
use crate::cli::stdout;

/// Variables that name a cluster, or the runs on it, in addition to all those of AWS.
const CLUSTER_VARIABLES: [&str; 8] = [
    "KUBECONFIG",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "SOP_SIMULATE",
    "SOP_SCENARIO",
    "SOP_STATE_DIR",
    "SOP_STORE",
    "SOP_STORE_NAMESPACE",
];

/// Returns the variables of this process that lead a client to another cluster or account than the simulated one.
pub(super) fn inherited_target_variables() -> impl Iterator<Item = OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| {
        name.to_str()
            .is_some_and(|name| name.starts_with("AWS_") || CLUSTER_VARIABLES.contains(&name))
    })
}

/// Runs a command in the environment of the simulated cluster until it ends.
///
/// # Errors
/// The command cannot be started.
pub(super) async fn run(
    words: &[OsString],
    variables: &[(&'static str, OsString)],
) -> Result<Exit, CliError> {
    let (program, arguments) = words.split_first().ok_or_else(|| simulator_error("no command"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    for name in inherited_target_variables() {
        command.env_remove(name);
    }
    command.env("PATH", search_path());
    for name in ["NO_PROXY", "no_proxy"] {
        command.env(name, proxy_exceptions(name));
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    // Before the command starts, so that no signal ends this process and leaves the command behind.
    let mut signals = Signals::receive()?;
    let mut child = command.spawn().map_err(|error| {
        let message = format!("cannot run {}: {error}", program.display());
        CliError::usage_with_hint(message, "the words after -- are a program and its arguments")
    })?;
    if std::io::stderr().is_terminal() {
        let program = program.to_string_lossy();
        let program = text::printable(&program);
        stdout::write_stderr_line(&format!("the simulated cluster ends with {program}"));
    }
    let pid = Pid::from_child(&child);
    let mut ended = tokio::task::spawn_blocking(move || child.wait());
    loop {
        tokio::select! {
            biased;
            status = &mut ended => {
                let status = status.map_err(simulator_error)?;
                return Ok(Exit::Command(exit_code(status.map_err(simulator_error)?)));
            }
            signal = signals.next() => forward(signal, pid),
        }
    }
}

/// Returns the exit code of a command, as a shell has it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The signals that a command receives too.
struct Signals(Vec<(Signal, tokio::signal::unix::Signal)>);

impl Signals {
    fn receive() -> Result<Self, CliError> {
        let kinds = [
            (Signal::INT, SignalKind::interrupt()),
            (Signal::QUIT, SignalKind::quit()),
            (Signal::TERM, SignalKind::terminate()),
            (Signal::HUP, SignalKind::hangup()),
            (Signal::USR1, SignalKind::user_defined1()),
            (Signal::USR2, SignalKind::user_defined2()),
        ];
        let cannot_wait =
            |error: &dyn Display| simulator_error(format!("cannot wait for a signal: {error}"));
        let received = kinds.into_iter().map(|(name, kind)| {
            signal(kind).map(|stream| (name, stream)).map_err(|error| cannot_wait(&error))
        });
        received.collect::<Result<_, _>>().map(Self)
    }

    async fn next(&mut self) -> Signal {
        let received = self.0.iter_mut().map(|(name, stream)| {
            Box::pin(async move {
                stream.recv().await;
                *name
            })
        });
        futures::future::select_all(received).await.0
    }
}

/// Sends a signal on to the command, unless the terminal has sent it to both.
fn forward(signal: Signal, pid: Pid) {
    let is_of_keyboard = matches!(signal, Signal::INT | Signal::QUIT);
    if is_of_keyboard && is_in_foreground() {
        return;
    }
    // A command that has just ended cannot be signalled, and its end is what comes next.
    let _ = kill_process(pid, signal);
}

/// Returns whether the terminal sends what is typed (Ctrl-C) to the process group of this process, in which the command
/// is too.
fn is_in_foreground() -> bool {
    let is_of = |terminal: &dyn AsFd| {
        rustix::termios::tcgetpgrp(terminal.as_fd()).is_ok_and(|group| group == getpgrp())
    };
    is_of(&std::io::stdin()) || is_of(&std::io::stderr())
}

/// Returns the directories in which the command is looked up, and at the end the one of this program, so that a shell
/// finds it.
fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(|path| path.parent()).map(ToOwned::to_owned);
    let joined = std::env::join_paths(std::env::split_paths(&path).chain(own));
    joined.unwrap_or(path)
}

/// Returns the hosts that are reached without a proxy: the simulator's too.
fn proxy_exceptions(name: &str) -> OsString {
    let mut hosts = std::env::var_os(name).unwrap_or_default();
    if !hosts.is_empty() {
        hosts.push(OsStr::new(","));
    }
    hosts.push("127.0.0.1,localhost");
    hosts
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::{ExitStatus, exit_code};

    #[test]
    fn the_exit_code_is_that_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
    }
}
