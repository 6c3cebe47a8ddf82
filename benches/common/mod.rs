//! The parts that measurements of whole processes share: the simulator in a process of its own, and the processor time and
//! memory of a process.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use simulator::Scenario;
use tempfile::TempDir;

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_rafay-relay-sop");

/// A simulator in a process of its own, which ends with this value.
pub struct SimulatorProcess {
    child: Child,
    /// The variables that lead to it.
    pub environment: Vec<(String, String)>,
    /// How long its start took.
    pub start: Duration,
    _dir: TempDir,
}

impl SimulatorProcess {
    /// Starts a simulator.
    pub fn start(scenario: &Scenario, speed: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("world.yaml");
        // JSON is YAML.
        let text = serde_json::to_string(scenario).expect("a scenario can be serialized");
        std::fs::write(&file, text).expect("the scenario can be written");
        let begin = Instant::now();
        let mut child = Command::new(PROGRAM)
            .args(["simulate", "--speed", speed, "--scenario"])
            .arg(&file)
            .arg("--kubeconfig-out")
            .arg(dir.path().join("kubeconfig"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let environment = read_environment(&mut child);
        Self { child, environment, start: begin.elapsed(), _dir: dir }
    }

    /// Returns what it has used.
    pub fn usage(&self) -> Usage {
        Usage::of(self.child.id()).unwrap_or_default()
    }
}

impl Drop for SimulatorProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a process to its end, and returns how it ended, how long it took and what it has used.
pub fn measure(command: &mut Command) -> (ExitStatus, Duration, Usage) {
    let begin = Instant::now();
    let mut child = command.spawn().expect("the program starts");
    let mut usage = Usage::default();
    loop {
        usage = Usage::of(child.id()).unwrap_or(usage);
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return (status, begin.elapsed(), usage);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads the variables that lead to the simulator.
fn read_environment(simulator: &mut Child) -> Vec<(String, String)> {
    let output = BufReader::new(simulator.stdout.take().expect("it is piped"));
    let mut environment = Vec::new();
    for line in output.lines().map_while(Result::ok) {
        let Some((name, value)) = line.strip_prefix("export ").and_then(|l| l.split_once('='))
        else {
            continue;
        };
        environment.push((name.to_owned(), value.trim_matches(['\'', '"']).to_owned()));
        if name == "AWS_EC2_METADATA_DISABLED" {
            break;
        }
    }
    environment
}

/// The processor time and the largest memory of a process, on Linux.
#[derive(Default)]
pub struct Usage {
    processor: f64,
    mebibytes: u64,
}

impl Usage {
    /// Returns what a process has used, while it exists.
    pub fn of(pid: u32) -> Option<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        let stat = std::fs::read_to_string(process.join("stat")).ok()?;
        // The name of the program, which may contain anything, ends at the last parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let ticks: u32 =
            fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
        let status = std::fs::read_to_string(process.join("status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = peak.split_whitespace().next()?.parse().ok()?;
        Some(Self { processor: f64::from(ticks) / 100.0, mebibytes: kibibytes / 1024 })
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} s, {} MiB", self.processor, self.mebibytes)
    }
}
