//! The program, and `simulate`, as processes of their own.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use rafay_relay_sop::{
    journal::{FileStore, Store as _},
    simulator::{Call, State},
};
use tempfile::TempDir;

/// The program with none of the environment that could mislead it.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rafay-relay-sop"));
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") || name.starts_with("SOP_") || name == "KUBECONFIG" {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").env("NO_COLOR", "1").env("USER", "sre").stdin(Stdio::null());
    command
}

/// What a finished program printed and how it ended.
pub struct Program {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Program {
    pub fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }

    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "standard output:\n{stdout}\nstandard error:\n{stderr}");
        self
    }
}

impl From<Output> for Program {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }
}

/// `simulate` in a process of its own; it ends with this value.
pub struct SimulateProcess {
    child: Child,
    /// What `simulate` printed for whoever wants to use it.
    pub environment: Vec<(String, String)>,
    aws_url: String,
    _folder: TempDir,
}

impl SimulateProcess {
    pub fn start(speed: f64) -> Self {
        Self::with(speed, &[])
    }

    pub fn with(speed: f64, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let mut child = program()
            .args(["simulate", "--speed", &speed.to_string(), "--kubeconfig-out"])
            .arg(&kubeconfig)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let environment = read_environment(&mut child);
        let aws_url = environment
            .iter()
            .find(|(name, _)| name == "AWS_ENDPOINT_URL")
            .map(|(_, value)| value.clone())
            .expect("simulate prints where its AWS services are");
        Self { child, environment, aws_url, _folder: folder }
    }

    /// The program, in the environment that points it at this simulator.
    pub fn program(&self, state_dir: &Path) -> Command {
        let mut command = program();
        command.envs(self.environment.iter().cloned()).arg("--state-dir").arg(state_dir);
        command
    }

    pub async fn calls(&self) -> Vec<Call> {
        self.get("calls").await
    }

    pub async fn state(&self) -> State {
        self.get("state").await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, what: &str) -> T {
        let url = format!("{}/simulator/{what}", self.aws_url);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }
}

impl Drop for SimulateProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `export NAME=VALUE` lines, up to the first line that is none.
fn read_environment(child: &mut Child) -> Vec<(String, String)> {
    let mut environment = Vec::new();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    for line in stdout.lines() {
        let line = line.unwrap();
        let Some(pair) = line.strip_prefix("export ") else {
            if environment.is_empty() {
                continue;
            }
            break;
        };
        let (name, value) = pair.split_once('=').unwrap();
        environment.push((name.to_owned(), value.trim_matches(['\'', '"']).to_owned()));
        if name == "AWS_EC2_METADATA_DISABLED" {
            break;
        }
    }
    environment
}

/// The journal of the one run in a state folder, if there is one.
pub fn journal(state_dir: &Path) -> Option<String> {
    let run = FileStore::for_reading(state_dir).list().unwrap().pop()?;
    std::fs::read_to_string(state_dir.join("runs").join(format!("{run}.jsonl"))).ok()
}

/// Sends a signal to a process. The shell's own `kill` is everywhere; a program of that name is not.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {pid}")]).status().unwrap();
    assert!(sent.success());
}
