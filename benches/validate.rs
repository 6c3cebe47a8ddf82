//! The cost of checking as a runbook grows: `cargo bench --bench validate` prints a table for `docs/performance.md`.
//!
//! No test depends on these: a slow machine prints larger numbers and fails nothing.

#![expect(clippy::print_stdout, reason = "the output is the result")]

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rafay_relay_sop::actions;
use runbook::{Severity, Source, render};

const RELAY_SCALE: &str = include_str!("../runbooks/relay-scale.yaml");
const PROGRAM: &str = env!("CARGO_BIN_EXE_rafay-relay-sop");

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    actions::registry(); // built once a process; the whole-process figures have it in them
    println!(
        "| steps | size | findings | check | whole process | per step |\n|---|---|---|---|---|---|"
    );
    print_row(dir.path(), "relay-scale", 14, RELAY_SCALE);
    for steps in [100, 1_000, 10_000] {
        print_row(dir.path(), "good", steps, &good(steps));
    }
    for steps in [100, 1_000, 10_000] {
        print_row(dir.path(), "bad", steps, &bad(steps));
    }
    if let Some(peak) = peak() {
        println!("\nMost memory of this process, all of the above in it: {peak}");
    }
}

fn print_row(dir: &Path, name: &str, steps: usize, text: &str) {
    let path = dir.join(format!("{name}.yaml"));
    std::fs::write(&path, text).expect("a file can be written");
    let source = Source::new(format!("{name}.yaml"), text);
    let findings = runbook::diagnose(&source, actions::registry(), &runbook::EmptyLibrary);
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    assert_eq!(errors > 0, name == "bad", "{}", render::short(&source, &findings));
    let tries = if steps > 1_000 { 5 } else { 20 };
    let check = min_duration(tries, || {
        runbook::diagnose(&source, actions::registry(), &runbook::EmptyLibrary)
    });
    let process = min_duration(tries, || {
        let mut program = Command::new(PROGRAM);
        program.args(["validate", "--format", "short"]).arg(&path);
        program.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("the program starts")
    });
    let per_step = check / u32::try_from(steps).unwrap_or(u32::MAX);
    let kib = text.len().div_ceil(1024);
    println!(
        "| {steps} ({name}) | {kib} KiB | {} | {check:.1?} | {process:.1?} | {per_step:.1?} |",
        findings.len()
    );
}

/// Returns the shortest of several measurements, which other load disturbs least.
fn min_duration<T>(tries: u32, mut work: impl FnMut() -> T) -> Duration {
    let timed = (0..tries).map(|_| {
        let start = Instant::now();
        std::hint::black_box(work());
        start.elapsed()
    });
    timed.min().unwrap_or_default()
}

/// Returns a runbook of that many steps, each of which uses the output of the step before it. Ten thousand of them just
/// fit into the largest file that is read.
fn good(steps: usize) -> String {
    let mut text = String::from(
        "name: good\nsteps:\n\
         - {id: g, action: find_nodegroup, with: {region: us-west-2, cluster: c, labels: {a: b}}}\n\
         - {id: s1, action: wait_nodes, with: {nodegroup: '{{ g }}', count: 1}}\n",
    );
    for step in 2..steps {
        let before = step - 1;
        let _ = writeln!(
            text,
            "- {{id: s{step}, action: wait_nodes, with: {{nodegroup: '{{{{ g }}}}', \
             count: '{{{{ s{before}.count + 1 }}}}'}}}}"
        );
    }
    text
}

/// Returns the runbook of [`good`] with a mistake in every step.
fn bad(steps: usize) -> String {
    good(steps).replace("name: good", "name: bad").replace(".count", ".cuont")
}

/// Returns the peak memory of this process, where the system reports it.
fn peak() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(format!("{:.0} MiB", kib / 1024.0))
}
