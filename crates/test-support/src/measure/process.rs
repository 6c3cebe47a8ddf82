//! Processes that are measured: the simulator in a process of its own, and the time, processor time and memory of a
//! process.

use std::{
    fmt, fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use simulator::Scenario;
use tempfile::TempDir;

use super::{Short, Times, warm_up};
use crate::program;

/// How often the memory of a process is read. Its largest is missed by what it takes in the last of these.
const SAMPLE: Duration = Duration::from_millis(1);

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
        fs::write(&file, text).expect("the scenario can be written");
        let begin = Instant::now();
        let mut child = program()
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

/// Runs of the same command.
pub struct Measured {
    /// How long they took, from the start of the process to its end.
    pub times: Times,
    usages: Vec<Usage>,
}

impl Measured {
    /// Does something that measures a process that many times, after the warm-up.
    pub fn of(tries: usize, mut run: impl FnMut() -> (Duration, Usage)) -> Self {
        for _ in 0..warm_up(tries) {
            run();
        }
        Self::of_all((0..tries).map(|_| run()))
    }

    /// Collects runs that were measured.
    pub fn of_all(runs: impl IntoIterator<Item = (Duration, Usage)>) -> Self {
        let (times, usages): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        Self { times: times.into_iter().collect(), usages }
    }

    /// Returns the median of the processor time, and the largest memory of all.
    pub fn usage(&self) -> Usage {
        Usage::summary(&self.usages)
    }
}

/// Runs a process to its end, and returns how long it took and what it used. Its output is dropped.
///
/// # Panics
/// The process ends with another code.
pub fn measure(command: &mut Command, code: i32) -> (Duration, Usage) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let mut child = command.spawn().expect("the program starts");
    let (pid, has_ended) = (child.id(), AtomicBool::new(false));
    let (took, status, usage) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut usage = Usage::default();
            while !has_ended.load(Ordering::Relaxed) {
                usage = Usage::of(pid).unwrap_or(usage);
                std::thread::sleep(SAMPLE);
            }
            usage
        });
        let status = child.wait().expect("the child can be waited for");
        let took = begin.elapsed();
        has_ended.store(true, Ordering::Relaxed);
        (took, status, sampler.join().expect("the sampler does not panic"))
    });
    assert_eq!(status.code(), Some(code), "{command:?}");
    (took, usage)
}

/// The processor time and the largest memory of a process, on Linux.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// The processor time, in ticks of 10 ms.
    pub processor: Duration,
    kibibytes: u64,
}

impl Usage {
    /// Returns what a process has used, while it exists.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program, which may contain anything, ends at the last parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let ticks: u64 =
            fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let kibibytes = memory(pid, "VmHWM:")?;
        Some(Self { processor: Duration::from_millis(ticks * 10), kibibytes })
    }

    /// Returns the median of the processor times and the largest memory.
    pub fn summary(usages: &[Self]) -> Self {
        let processor: Times = usages.iter().map(|usage| usage.processor).collect();
        let kibibytes = usages.iter().map(|usage| usage.kibibytes).max().unwrap_or_default();
        Self { processor: processor.median(), kibibytes }
    }

    /// Returns the largest memory with its unit.
    pub fn memory(&self) -> String {
        mebibytes(self.kibibytes)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", Short(self.processor), self.memory())
    }
}

/// Returns the resident memory of a process with its unit, while the process exists.
pub fn resident(pid: u32) -> String {
    resident_kibibytes(pid).map_or_else(|| "unknown".to_owned(), mebibytes)
}

/// Returns the resident memory of a process in KiB, while the process exists.
pub fn resident_kibibytes(pid: u32) -> Option<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

fn mebibytes(kibibytes: u64) -> String {
    match kibibytes {
        0..102_400 => format!("{}.{} MiB", kibibytes / 1024, kibibytes % 1024 * 10 / 1024),
        _ => format!("{} MiB", kibibytes / 1024),
    }
}
