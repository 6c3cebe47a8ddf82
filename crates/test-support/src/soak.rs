//! Many short runs in one service, and what the service uses meanwhile.

use std::{
    fs,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{Serve, measure::resident_kibibytes, program};

/// Few enough descriptors that a leak of one a run is noticed soon.
const MAX_DESCRIPTORS: u32 = 256;

/// After so many runs every connection is open and every buffer has its size.
const WARM_UP_RUNS: u32 = 20;

/// One step that calls the cluster.
const SHORT: &str = "\
name: short
steps:
  - id: config
    name: Get AWS region and EKS cluster from configmap
    action: read_config
    with: {namespace: rafay-core, name: rafay-relay-sop-config}
";

/// The resources of a process at one time.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub descriptors: usize,
    /// Resident memory in KiB.
    pub memory: u64,
}

/// Runs a short runbook that many times in one service, and returns what it used after the first runs and at the end.
pub async fn soak(runs: u32) -> (Usage, Usage) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("short.yaml"), SHORT).unwrap();
    let mut command = program();
    command.args(["serve", "--simulate", "--speed", "600"]);
    command.arg("--state-dir").arg(dir.path().join("state")).arg("--runbooks").arg(dir.path());
    let mut service = Serve::start(&mut with_descriptors(&command, MAX_DESCRIPTORS));
    let mut first = None;
    for run in 0..runs + WARM_UP_RUNS {
        let (code, started) = service.post("/run?runbook=short", json!({})).await;
        assert!(code.is_success(), "run {run}: {started:#}");
        let status = service.wait_until_ended().await;
        assert_eq!(status["status"], "Success", "run {run}: {status:#}");
        if run + 1 == WARM_UP_RUNS {
            first = Some(Usage::of(service.pid()));
        }
    }
    let last = Usage::of(service.pid());
    assert_eq!(service.terminate().code(), Some(0));
    (first.expect("the first runs are among all"), last)
}

impl Usage {
    fn of(pid: u32) -> Self {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let memory = resident_kibibytes(pid);
        Self { descriptors, memory: memory.expect("the kernel says how much memory is resident") }
    }
}

/// Returns the command of a program that may open so many files. The shell is replaced by the program.
pub fn with_descriptors(program: &Command, descriptors: u32) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {descriptors} && exec \"$@\""), "sh"]);
    command.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null());
    command
}
