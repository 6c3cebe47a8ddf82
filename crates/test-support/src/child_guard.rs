//! A child process that cannot outlive this one, whatever this one dies of.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

/// Starts "$@" and waits: the tether is the shell's standard input, whose other end only this process holds. When
/// that end closes (by a drop, a panic, Ctrl-C or SIGKILL), a watcher in the shell's own process group kills the group.
/// Without `unsafe` there is no asking the kernel for the same, and `setpriv --pdeathsig` is not everywhere.
const GUARD_SCRIPT: &str = r#"
exec 3<&0 </dev/null
{ while read -r _; do :; done <&3; kill -9 0; } &
exec 3<&-
"$@" &
wait $!
"#;

/// Ties a directory to this process: what is left of it is removed when the tether ends.
/// A program that is being killed may still write into it: then once more, a second later.
const SWEEPER_SCRIPT: &str = r#"
while read -r _; do :; done
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"#;

/// A running program that ends with this value.
#[derive(Debug)]
pub struct ChildGuard {
    shell: Child,
}

impl ChildGuard {
    /// Starts a program, in the environment that the command describes; its output goes to the end of `log`.
    pub fn start(program: &Command, log: &Path) -> io::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = shell(GUARD_SCRIPT);
        command.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdout(output.try_clone()?).stderr(output);
        Ok(Self { shell: command.spawn()? })
    }

    /// Removes `dir` when this value, or this process, is gone.
    pub fn remove_dir_on_exit(dir: &Path) -> io::Result<Self> {
        let mut command = shell(SWEEPER_SCRIPT);
        command.arg(OsString::from(dir)).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { shell: command.spawn()? })
    }

    /// Returns the exit status, if the program has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.shell.try_wait()
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // A shell that cannot be waited for is gone already.
        let _ = self.shell.wait();
    }
}

/// A shell in a process group of its own, so that Ctrl-C on the terminal reaches this process alone.
pub(super) fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "tethered"]).stdin(Stdio::piped()).process_group(0);
    command
}
