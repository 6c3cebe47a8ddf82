//! This process, as others are told: in the lease of a cluster, and in the runs that a cluster keeps.

use std::fmt;

/// A process that drives runs. `Display` is the text by which processes are told apart, also those whose hosts have the
/// same name.
#[derive(Debug, Clone)]
pub struct ProcessId {
    /// The name of its host.
    pub host: String,
    /// Its number there.
    pub pid: u32,
    salt: u32,
}

impl ProcessId {
    /// Returns this process, with a text that differs from that of each earlier call.
    pub fn of_this_process() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { host, pid: std::process::id(), salt: fastrand::u32(..) }
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, pid, salt } = self;
        write!(f, "{host}/{pid}/{salt:08x}")
    }
}
