//! Journals of every format are read by every later version, and one of a newer format spoils nothing. The fixtures of
//! `tests/fixtures/journals` were written by the versions that had these formats; docs/compatibility.md has the policy.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rafay_relay_sop::journal::{
    DirectoryStore, FailureKind, HeadQuery, LogLines, Run, RunHead, RunStore as _, StepOutcome,
};
use serde_json::Value;
use test_support::{ProgramOutput, program};

/// The directories of fixtures, one for each format.
fn formats() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journals");
    let mut formats: Vec<PathBuf> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    formats.sort();
    formats
}

/// A state directory with the journals of a format.
fn state_with(format: &Path) -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let runs = state.path().join("runs");
    fs::create_dir(&runs).unwrap();
    for file in fs::read_dir(format).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), runs.join(file.file_name())).unwrap();
    }
    state
}

#[tokio::test]
async fn the_journals_of_every_format_are_read() {
    assert!(formats().len() >= 2, "the current format has fixtures too");
    for format in formats() {
        let state = state_with(&format);
        let store = DirectoryStore::for_reading(state.path());
        let mut states = Vec::new();
        for entry in store.heads(HeadQuery::All).await.unwrap() {
            let head = entry.head.unwrap_or_else(|error| panic!("{error}"));
            let events = store.read(&entry.run, 0).await.unwrap();
            assert_eq!(Some(&head), RunHead::of(&entry.run, &events).as_ref());
            let run = Run::of(&entry.run, &events).unwrap();
            // The name of a fixture says how its run ended.
            let name = entry.run.to_string().replace('-', "_");
            let expected = head.state(false);
            assert!(name.contains(expected.as_str()), "{}: {expected}", entry.run);
            states.push(expected.to_string());
            assert_eq!(run.head.format.to_string(), format_of(&format));
            assert!(LogLines::of(&events).len() > 5);
        }
        states.sort();
        assert_eq!(states, ["failed", "interrupted", "rolled_back", "succeeded"], "{format:?}");
    }
}

fn format_of(directory: &Path) -> String {
    let name = directory.file_name().unwrap().to_str().unwrap();
    name.strip_prefix("format-").unwrap().to_owned()
}

/// A failure of format 0 was a string, and an undo said `left_alone`.
#[tokio::test]
async fn what_format_0_knew_is_not_lost() {
    let state = state_with(&formats()[0]);
    let store = DirectoryStore::for_reading(state.path());
    let failed = &"20261125T090001Z-failed-0002".parse().unwrap();
    let run = Run::read(&store, failed).await.unwrap();
    let failure = run.head.failure.as_ref().unwrap();
    assert_eq!(failure.kind, FailureKind::Other);
    assert!(failure.message.starts_with("timed out after 10m"), "{failure}");
    assert_eq!(run.head.failed_step.as_ref().unwrap().to_string(), "shrink");
    let outcomes: Vec<_> = run.steps().iter().map(|step| step.outcome.clone().unwrap()).collect();
    assert!(
        matches!(&outcomes[1], StepOutcome::Failed { failure, .. } if failure.message == "not important")
    );
    let prepared: Vec<String> =
        run.rollback_order().iter().map(|step| step.path.to_string()).collect();
    assert_eq!(prepared, ["shrink", "restart"], "the last change is undone first");
}

#[tokio::test]
async fn a_run_of_format_0_is_shown_and_abandoned() {
    let state = state_with(&formats()[0]);
    let run = "20261125T090001Z-failed-0002";
    let runs = |arguments: &[&str]| {
        let mut command = program();
        command.arg("--state-dir").arg(state.path()).arg("runs").args(arguments);
        ProgramOutput::run(&mut command)
    };
    let shown = runs(&["show", run]).expect_exit_code(0).stdout;
    assert!(shown.contains("state    failed"), "{shown}");
    runs(&["abandon", run]).expect_exit_code(0);
    let shown = runs(&["show", run]).expect_exit_code(0).stdout;
    assert!(shown.contains("state    abandoned"), "{shown}");
}

#[test]
fn a_run_of_a_newer_version_is_listed_as_such_and_others_start() {
    let state = state_with(formats().last().unwrap());
    let runs = state.path().join("runs");
    for file in fs::read_dir(&runs).unwrap() {
        let path = file.unwrap().path();
        // What a later version does with checksums is not known here.
        let without_sum = |line: &str| format!("{}}}\n", line.rsplit_once(",\"sum\":").unwrap().0);
        let newer: String = fs::read_to_string(&path).unwrap().lines().map(without_sum).collect();
        let newer = newer.replace("\"minor\":1", "\"minor\":7");
        fs::write(path, newer).unwrap();
    }
    let sop = |arguments: &[&str]| {
        let mut command = program();
        ProgramOutput::run(command.arg("--state-dir").arg(state.path()).args(arguments))
    };
    let listed = sop(&["--output", "json", "runs", "list"]).expect_exit_code(0).stdout;
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.len(), 4);
    for run in &listed {
        assert_eq!(run["state"], "too_new", "{run}");
        assert!(run["hint"].as_str().unwrap().contains("use version"), "{run}");
    }
    let started = sop(&["run", "relay-scale", "--simulate", "--speed", "600"]);
    started.expect_exit_code(0);
}
