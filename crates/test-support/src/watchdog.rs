//! A watchdog that ends a child process when this process no longer can.

use std::{
    io::Write as _,
    process::{Child, Stdio},
};

use super::child_guard::shell;

/// A line calls it off; the end of its input, by a drop or by the end of this process, does not.
const WATCHDOG_SCRIPT: &str = r#"read -r _ || kill -9 "$1""#;

/// Kills a child of this process when this value, or this process, is gone.
pub struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Guards a child that has not been waited for: until then no other process gets its process id.
    pub fn guard(child: &Child) -> Self {
        let mut command = shell(WATCHDOG_SCRIPT);
        command.arg(child.id().to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { shell: command.spawn().unwrap() }
    }

    /// Before the child is waited for, or it has been.
    pub fn disarm(mut self) {
        if let Some(mut input) = self.shell.stdin.take() {
            // Where it has ended already it does no harm.
            let _ = input.write_all(b"\n");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
