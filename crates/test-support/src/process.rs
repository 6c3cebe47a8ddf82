//! The program, and `simulate`, as processes of their own.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use simulator::{ClusterState, RecordedCall};

use super::{ChildGuard, WAIT_TIMEOUT, Watchdog};

/// Returns the path of the program, which Cargo builds beside the test that is running.
///
/// # Panics
/// The running test is not where Cargo builds tests.
pub fn program_path() -> std::path::PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("a test is in `deps`");
    profile.join("rafay-relay-sop")
}

/// The program with none of the environment that could mislead it.
pub fn program() -> Command {
    let mut command = Command::new(program_path());
    clean_environment(&mut command);
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// The program on a terminal of this width, which `script` makes. What it reads is what a person types.
pub fn on_terminal(columns: usize, arguments: &str) -> Command {
    let program = program_path();
    let call = format!("stty cols {columns} rows 40 && exec {} {arguments}", program.display());
    let mut command = Command::new("script");
    command.args(["-qec", &call, "/dev/null"]);
    clean_environment(&mut command);
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Removes what could lead the program elsewhere, or change how it writes: `CI`, for one, gives colors to a terminal
/// that says it has none.
fn clean_environment(command: &mut Command) {
    let names = ["KUBECONFIG", "RUST_LOG", "NO_COLOR", "CI", "COLORTERM"];
    let prefixes = ["AWS_", "OTEL_", "SOP_", "CLICOLOR"];
    for (name, _) in std::env::vars() {
        if names.contains(&name.as_str()) || prefixes.iter().any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command.env("USER", "sre");
}

/// Reads the output of a program until it has shown a text, and returns what was read. A program that does not show it
/// in time is ended.
#[track_caller]
pub fn read_until(child: &mut Child, text: &str) -> String {
    let watchdog = Watchdog::guard(child);
    let output = child.stdout.as_mut().expect("standard output is piped");
    let mut shown = Vec::new();
    let mut byte = [0];
    while !shown.ends_with(text.as_bytes()) && output.read(&mut byte).unwrap() == 1 {
        shown.push(byte[0]);
    }
    watchdog.disarm();
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.ends_with(text), "{text:?} is not in {shown:?}");
    shown
}

/// The output and the exit code of a finished program.
pub struct ProgramOutput {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl ProgramOutput {
    /// Runs a program to its end, or to this process's.
    pub fn run(command: &mut Command) -> Self {
        let (child, watchdog) = Self::start(command);
        let output = child.wait_with_output().unwrap();
        watchdog.disarm();
        Self::from(output)
    }

    /// Runs a program to its end beside other work. The watchdog ends the program if the caller fails.
    pub async fn run_async(command: &mut Command) -> Self {
        let (child, watchdog) = Self::start(command);
        let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await;
        watchdog.disarm();
        Self::from(output.unwrap().unwrap())
    }

    fn start(command: &mut Command) -> (Child, Watchdog) {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let watchdog = Watchdog::guard(&child);
        (child, watchdog)
    }

    #[track_caller]
    pub fn expect_exit_code(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "standard output:\n{stdout}\nstandard error:\n{stderr}");
        self
    }
}

impl From<Output> for ProgramOutput {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }
}

/// `simulate` in a process of its own; it ends with this value, and with this process.
pub struct SimulateProcess {
    /// The environment that `simulate` printed.
    pub environment: Vec<(String, String)>,
    aws_url: String,
    _process: ChildGuard,
    // Last, so that the directory is removed after its writers.
    _sweeper: ChildGuard,
}

impl SimulateProcess {
    pub fn start(speed: f64) -> Self {
        Self::with_arguments(speed, &[])
    }

    pub fn with_arguments(speed: f64, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let sweeper = ChildGuard::remove_dir_on_exit(&dir).unwrap();
        let mut command = program();
        command.args(["simulate", "--speed", &speed.to_string(), "--kubeconfig-out"]);
        command.arg(dir.join("kubeconfig")).args(arguments);
        let log = dir.join("log");
        let mut process = ChildGuard::start(&command, &log).unwrap();
        let environment = read_environment(&mut process, &log);
        let aws_url = environment
            .iter()
            .find(|(name, _)| name == "AWS_ENDPOINT_URL")
            .map(|(_, value)| value.clone())
            .expect("simulate prints where its AWS services are");
        Self { environment, aws_url, _process: process, _sweeper: sweeper }
    }

    /// The program, in the environment that points it at this simulator.
    pub fn program(&self, state_dir: &Path) -> Command {
        let mut command = program();
        command.envs(self.environment.iter().cloned()).arg("--state-dir").arg(state_dir);
        command
    }

    pub async fn calls(&self) -> Vec<RecordedCall> {
        self.get("calls").await
    }

    pub async fn state(&self) -> ClusterState {
        self.get("state").await
    }

    /// Injects a fault, as the simulator describes it.
    pub async fn inject(&self, fault: &serde_json::Value) {
        let url = format!("{}/simulator/faults", self.aws_url);
        let sent = reqwest::Client::new().post(url).json(fault).send().await.unwrap();
        assert!(sent.status().is_success(), "{}", sent.text().await.unwrap());
    }

    /// Removes all faults.
    pub async fn clear_faults(&self) {
        let url = format!("{}/simulator/faults", self.aws_url);
        let sent = reqwest::Client::new().delete(url).send().await.unwrap();
        assert!(sent.status().is_success(), "{}", sent.text().await.unwrap());
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let url = format!("{}/simulator/{path}", self.aws_url);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }
}

/// The last of the `export NAME=VALUE` lines that `simulate` prints.
const LAST_EXPORT: &str = "AWS_EC2_METADATA_DISABLED=";

fn read_environment(process: &mut ChildGuard, log: &Path) -> Vec<(String, String)> {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    let text = loop {
        let text = std::fs::read_to_string(log).unwrap();
        if text.split_once(LAST_EXPORT).is_some_and(|(_, rest)| rest.contains('\n')) {
            break text;
        }
        assert!(matches!(process.try_wait(), Ok(None)), "simulate has ended: {text}");
        assert!(Instant::now() < deadline, "simulate does not say how to use it: {text}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let exports = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    exports
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['\'', '"']).to_owned()))
        .collect()
}

/// The journal of the latest run in a state directory, if there is one.
pub fn journal(state_dir: &Path) -> Option<String> {
    let entries = std::fs::read_dir(state_dir.join("runs")).ok()?;
    let paths = entries.map(|entry| entry.unwrap().path());
    let latest = paths.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).max()?;
    std::fs::read_to_string(latest).ok()
}

/// Sends a signal to a process. The shell's own `kill` is everywhere; a program of that name is not.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {pid}")]).status().unwrap();
    assert!(sent.success());
}
