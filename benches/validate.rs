//! The cost of checking as a runbook grows: `cargo bench --bench validate` prints a table for `docs/performance.md`.
//!
//! No test depends on these: a slow machine prints larger numbers and fails nothing. What a check allocates is counted
//! by `tests/allocations.rs`.

#![expect(clippy::print_stdout, reason = "the output is the result")]

use std::path::Path;

use rafay_relay_sop::actions;
use runbook::{Severity, Source, render};
use test_support::{
    measure::{Measured, Short, Times, WARM_UP, measure, print_conditions},
    program, waits,
};

/// The allocator of the program, so that what is measured in this process is what the program does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RELAY_SCALE: &str = include_str!("../runbooks/relay-scale.yaml");

fn main() {
    print_conditions(WARM_UP);
    let dir = tempfile::tempdir().expect("a temporary directory");
    actions::registry(); // built once a process; the whole-process figures have it in them
    println!(
        "| runbook | size | findings | check in the process | per step | whole process | memory |\n\
         |---|---|---|---|---|---|---|"
    );
    let steps = RELAY_SCALE.matches("\n  - id: ").count();
    print_row(dir.path(), "relay-scale", steps, RELAY_SCALE);
    for steps in [100, 1_000, 10_000] {
        print_row(dir.path(), "good", steps, &waits(steps));
    }
    for steps in [100, 1_000, 10_000] {
        print_row(
            dir.path(),
            "a mistake in each",
            steps,
            &waits(steps).replace(".count", ".cuont"),
        );
    }
}

fn print_row(dir: &Path, name: &str, steps: usize, text: &str) {
    let file = if name == "relay-scale" { "relay-scale.yaml" } else { "waits.yaml" };
    let path = dir.join(file);
    std::fs::write(&path, text).expect("a file can be written");
    let source = Source::new(file, text);
    let diagnose = || runbook::diagnose(&source, actions::registry(), &runbook::EmptyLibrary);
    let findings = diagnose();
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    assert_eq!(errors > 0, text.contains("cuont"), "{}", render::short(&source, &findings));
    let tries = if steps > 1_000 { 5 } else { 20 };
    let check = Times::of(tries, diagnose);
    let code = i32::from(errors > 0);
    let process = Measured::of(tries, || {
        let mut program = program();
        measure(program.args(["validate", "--format", "short"]).arg(&path), code)
    });
    let per_step = check.median() / u32::try_from(steps).unwrap_or(u32::MAX);
    println!(
        "| {steps} steps, {name} | {} KiB | {} | {check} | {} | {} | {} |",
        text.len().div_ceil(1024),
        findings.len(),
        Short(per_step),
        process.times,
        process.usage().memory(),
    );
}
