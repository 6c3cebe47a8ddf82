//! relay-scale in clusters of growing size: `cargo bench --bench clusters` prints a table of elapsed time, processor
//! time and memory, of the simulator and of the program by itself. `cargo bench --bench clusters -- 300` measures one
//! size.
//!
//! No test depends on these. How the simulator's work grows is counted by `tests/simulator/growth.rs`.

#![expect(clippy::print_stdout, reason = "the output is the result")]

mod common;

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use common::{PROGRAM, SimulatorProcess, measure as measure_process};
use simulator::{Deployment, Scenario, Spread};
use test_support::relay_world;

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
    let mut scenario = relay_world(nodes);
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
    let simulator = SimulatorProcess::start(&world(nodes, pods), SPEED);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut run = Command::new(PROGRAM);
    run.args(["run", "relay-scale", "--yes", "--no-plan", "--speed", SPEED, "--state-dir"]);
    run.arg(dir.path().join("state")).envs(simulator.environment.iter().cloned());
    let (status, took, usage) = measure_process(run.stdout(Stdio::null()).stderr(Stdio::null()));
    let of_simulator = simulator.usage();
    assert!(status.success(), "relay-scale with {nodes} nodes: {status}");
    let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
    format!("{} | {} | {of_simulator} | {usage} |", seconds(simulator.start), seconds(took))
}
