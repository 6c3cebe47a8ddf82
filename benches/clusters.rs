//! relay-scale in clusters of growing size: `cargo bench --bench clusters` prints a table of elapsed time, processor
//! time and memory, of the simulator and of the program by itself, each the median of three runs in clusters of their
//! own, and of the memory the most. `cargo bench --bench clusters -- 300` measures one size.
//!
//! No test depends on these. How the simulator's work grows is counted by `tests/simulator/growth.rs`.

#![expect(clippy::print_stdout, reason = "the output is the result")]

use std::time::Duration;

use simulator::{Deployment, Scenario, Spread};
use test_support::{
    measure::{Measured, SimulatorProcess, Usage, measure as measure_process, print_conditions},
    program, relay_world,
};

const SPEED: &str = "600";
/// How often each size is measured.
const TRIES: usize = 3;

/// The numbers of nodes, and of pods besides the one that each node has.
const SIZES: [(u32, u32); 6] = [(3, 0), (30, 0), (300, 0), (1_000, 0), (2_000, 0), (1_000, 10_000)];

fn main() {
    let only: Option<u32> = std::env::args().find_map(|argument| argument.parse().ok());
    print_conditions("A run with three nodes comes first and is not counted.");
    run(&world(3, 0));
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

/// Runs relay-scale three times, and returns the rest of the row.
fn measure(nodes: u32, pods: u32) -> String {
    let runs: Vec<_> = (0..TRIES).map(|_| run(&world(nodes, pods))).collect();
    let program = Measured::of_all(runs.iter().map(|run| (run.took, run.program)));
    let simulator = Measured::of_all(runs.iter().map(|run| (run.start, run.simulator)));
    let (start, run) = (&simulator.times, &program.times);
    format!("{start} | {run} | {} | {} |", simulator.usage(), program.usage())
}

/// One run of relay-scale in a cluster of its own.
struct Run {
    start: Duration,
    simulator: Usage,
    took: Duration,
    program: Usage,
}

fn run(world: &Scenario) -> Run {
    let simulator = SimulatorProcess::start(world, SPEED);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = program();
    command.args(["run", "relay-scale", "--yes", "--no-plan", "--speed", SPEED, "--state-dir"]);
    command.arg(dir.path().join("state")).envs(simulator.environment.iter().cloned());
    let (took, program) = measure_process(&mut command, 0);
    Run { start: simulator.start, simulator: simulator.usage(), took, program }
}
