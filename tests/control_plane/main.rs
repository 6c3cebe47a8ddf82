//! What is true in the simulator is true of Kubernetes: the tests that need a real control plane.
//!
//! A test target of its own, because the built-in harness cannot say "ignored" of a test when it runs, and these need
//! programs that a machine may not have. One control plane serves all of them, one test at a time. `docs/testing.md`
//! says how to get the programs and how to run one test.

mod accounts;
mod actions;
mod assets;
mod audit;
mod balancer;
mod cluster;
mod conformance;
mod desk;
mod fixture;
mod harness;
mod hopeless;
mod moto;
mod outcome;
mod programs;
mod relay_scale;
mod rise;
mod same;
mod stage;
mod tethers;
mod watches;
mod workplace;

// The words of the other tests; not all are needed here.
#[allow(dead_code, unused_imports)]
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(end) = tethers::child() {
        return end;
    }
    let free = [harness::tests(), tethers::tests()].into_iter().flatten().collect();
    let tests = [
        actions::tests(),
        conformance::tests(),
        hopeless::tests(),
        moto::tests(),
        relay_scale::tests(),
        watches::tests(),
    ]
    .into_iter()
    .flatten()
    .collect();
    harness::run(free, tests)
}
