//! relay-scale in clusters of growing size: `cargo bench --bench clusters` prints a table of elapsed time, processor
//! time and memory, of the simulator and of the program by itself. `cargo bench --bench clusters -- 300` measures one
//! size.
//!
//! No test depends on these. How the simulator's work grows is counted by `tests/simulator/growth.rs`.

#![expect(clippy::print_stdout, reason = "the output is the result")]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use simulator::{Deployment, Scenario, Spread};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rafay-relay-sop");
const SPEED: &str = "600";

/// The numbers of nodes, and of pods besides the one that each node has.
const SIZES: [(u32, u32); 6] = [(3, 0), (30, 0), (300, 0), (1_000, 0), (2_000, 0), (1_000, 10_000)];

fn main() {
    let only: Option<u32> = std::env::args().find_map(|argument| argument.parse().ok());
    println!("| nodes, other pods | start | run | simulator | program |\n|---|---|---|---|---|");
    for (nodes, pods) in SIZES {
        if only.is_none_or(|only| only == nodes) {
            println!("| {nodes}, {pods} | {}", measure(nodes, pods));
        }
    }
}

fn world(nodes: u32, pods: u32) -> Scenario {
    let mut scenario = Scenario::default();
    for group in scenario.nodegroups.iter_mut().filter(|group| group.max == 4) {
        (group.desired, group.max, group.protected) = (nodes, nodes, vec![1]);
    }
    for deployment in scenario.deployments.iter_mut().filter(|d| d.name == "rafay-relay") {
        deployment.replicas = nodes;
    }
    if pods > 0 {
        let relay = scenario.deployments[0].clone();
        let (name, cpu) = ("others".to_owned(), "50m".to_owned());
        let others = Deployment { name, cpu, replicas: pods, spread: Spread::None, ..relay };
        scenario.deployments.push(others);
    }
    scenario
}

/// Starts the simulator, runs relay-scale on it, and returns the rest of the row.
fn measure(nodes: u32, pods: u32) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let scenario = dir.path().join("world.yaml");
    // JSON is YAML.
    let text = serde_json::to_string(&world(nodes, pods)).expect("a scenario can be serialized");
    std::fs::write(&scenario, text).expect("the scenario can be written");
    let begin = Instant::now();
    let mut simulator = Command::new(PROGRAM)
        .args(["simulate", "--speed", SPEED, "--scenario"])
        .arg(&scenario)
        .arg("--kubeconfig-out")
        .arg(dir.path().join("kubeconfig"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let environment = read_environment(&mut simulator);
    let start = begin.elapsed();
    let begin = Instant::now();
    let mut run = Command::new(PROGRAM)
        .args(["run", "relay-scale", "--yes", "--speed", SPEED, "--state-dir"])
        .arg(dir.path().join("state"))
        .envs(environment)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut usage = Usage::default();
    let status = loop {
        usage = Usage::of(run.id()).unwrap_or(usage);
        if let Some(status) = run.try_wait().expect("the child can be waited for") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let took = begin.elapsed();
    let of_simulator = Usage::of(simulator.id()).unwrap_or_default();
    let _ = simulator.kill();
    let _ = simulator.wait();
    assert!(status.success(), "relay-scale with {nodes} nodes: {status}");
    let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
    format!("{} | {} | {of_simulator} | {usage} |", seconds(start), seconds(took))
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
struct Usage {
    processor: f64,
    mebibytes: u64,
}

impl Usage {
    fn of(pid: u32) -> Option<Self> {
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
