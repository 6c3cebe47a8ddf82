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
    print_growth();
}

/// Prints how the check of other shapes grows: four times as much in about four times the time.
fn print_growth() {
    let relations = |index: usize| {
        format!(
            "  - id: set_{index}\n    action: label_nodes\n    with: {{nodes: [n], labels: {{k{index}-x: v}}}}\n  \
             - id: unset_{index}\n    action: label_nodes\n    with: {{nodes: [n], labels: {{k{index}-y: null}}}}\n"
        )
    };
    let anchors = |index: usize| {
        format!(
            "  - id: set_{index}\n    action: list_nodes\n    timeout: &t{index} 5m\n  \
             - id: use_{index}\n    action: list_nodes\n    timeout: *t{index}\n"
        )
    };
    let list = |item: &dyn Fn(usize) -> String, count: usize| {
        let items: String = (0..count).map(|index| format!("      - {}\n", item(index))).collect();
        format!(
            "  - id: show\n    for_each:\n{items}    action: assert\n    \
             with: {{that: '{{{{ each | length > 1 }}}}', message: short}}\n"
        )
    };
    let words = |index: usize| format!("word-{index}");
    let maps = |index: usize| format!("{{name: name-{index}, key-{index}: {index}}}");
    let shapes: [(&str, &dyn Fn(usize) -> String); 4] = [
        ("words in a list", &|count| list(&words, count)),
        ("maps in a list", &|count| list(&maps, count)),
        ("labels that are set and removed", &|count| (0..count).map(relations).collect()),
        ("anchors and aliases", &|count| (0..count).map(anchors).collect()),
    ];
    println!("\n| shape | 1,000 | 4,000 | ratio |\n|---|---|---|---|");
    for (name, steps) in shapes {
        let [small, large] = [1_000, 4_000].map(|count| {
            let source =
                Source::new("shape.yaml", format!("name: shape\nsteps:\n{}", steps(count)));
            Times::of(5, || runbook::diagnose(&source, actions::registry(), &runbook::EmptyLibrary))
        });
        let ratio = large.median().as_secs_f64() / small.median().as_secs_f64();
        println!("| {name} | {small} | {large} | {ratio:.1} |");
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
