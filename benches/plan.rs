//! `plan` as a person calls it, before a simulator in a process of its own: `cargo bench --bench plan` prints how long
//! the whole process takes, how much memory it needs, how many calls it makes, and how long the rehearsed run would take. A
//! plan rehearses three times, for the range of its durations. Each is made five times.
//!
//! No test depends on these.

#![expect(clippy::print_stdout, reason = "the output is the result")]

use serde_json::Value;
use simulator::{Deployment, Nodegroup, Scenario, Spread};
use test_support::{
    measure::{Measured, SimulatorProcess, WARM_UP, measure, print_conditions},
    program,
};

/// A plan of this time is not waited for: the simulator's clock does not matter.
const SPEED: &str = "1";

/// The exit code of a plan that changes something.
const HAS_CHANGES: i32 = 5;

const GROUP: [&str; 6] = [
    "--input",
    "region=us-west-2",
    "--input",
    "cluster=rafay-cluster",
    "--input",
    "nodegroup=relay-services-1a2b3c",
];

fn main() {
    print_conditions(WARM_UP);
    println!(
        "| world | goal | plan | processor time, memory | calls | the rehearsed run takes |\n|---|---|---|---|---|---|"
    );
    row("relay-scale, 3 nodes", "1 s", &Scenario::default(), &["relay-scale"]);
    row("relay-scale, 300 nodes and 3,000 pods", "5 s, 300 MiB", &large(), &["relay-scale"]);
    row("relay-scale, 60 nodes to 120", "", &relay(60), &["relay-scale"]);
    let rotation = [&["rotate-nodegroup"], &GROUP[..]].concat();
    row("rotate-nodegroup, 12 nodes one by one", "2 s for 30 min", &relay(12), &rotation);
}

/// A cluster in which the relay has so many nodes.
fn relay(nodes: u32) -> Scenario {
    let mut scenario = Scenario::default();
    let group = &mut scenario.nodegroups[0];
    (group.min, group.desired, group.max, group.protected) = (1, nodes, nodes + 1, vec![]);
    for deployment in scenario.deployments.iter_mut().filter(|d| d.name == "rafay-relay") {
        (deployment.replicas, deployment.spread) = (nodes, Spread::Preferred);
    }
    scenario
}

/// A cluster of 300 nodes and 3,000 pods, of which the relay has three.
fn large() -> Scenario {
    let mut scenario = Scenario::default();
    let nodes = 300 - scenario.nodegroups.iter().map(|group| group.desired).sum::<u32>();
    scenario.nodegroups.push(Nodegroup {
        name: "others".into(),
        labels: [("Name".to_owned(), "others".to_owned())].into(),
        desired: nodes,
        max: nodes,
        ..Nodegroup::default()
    });
    let relay = scenario.deployments[0].clone();
    for number in 0..30 {
        scenario.deployments.push(Deployment {
            name: format!("other-{number}"),
            replicas: 100,
            cpu: "50m".into(),
            spread: Spread::None,
            node_selector: [("Name".to_owned(), "others".to_owned())].into(),
            ..relay.clone()
        });
    }
    scenario
}

fn row(world: &str, goal: &str, scenario: &Scenario, arguments: &[&str]) {
    let simulator = SimulatorProcess::start(scenario, SPEED);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("plan.json");
    let plans = Measured::of(5, || {
        let mut plan = program();
        plan.arg("plan").args(arguments).arg("--out").arg(&file);
        measure(plan.envs(simulator.environment.iter().cloned()), HAS_CHANGES)
    });
    let text = std::fs::read_to_string(&file).expect("the plan was written");
    let plan: Value = serde_json::from_str(&text).expect("a plan");
    let calls = plan["reads"]["kubernetes"].as_u64().unwrap_or(0)
        + plan["reads"]["aws"].as_u64().unwrap_or(0);
    let takes = plan["rehearsal"]["takes"]["typical"].as_f64().unwrap_or_default();
    println!(
        "| {world} | {goal} | {} | {} | {calls} | {:.0} min: {} |",
        plans.times,
        plans.usage(),
        takes / 60.0,
        plan["rehearsal"]["outcome"].as_str().unwrap_or("not rehearsed"),
    );
}
