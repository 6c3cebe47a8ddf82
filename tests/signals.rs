//! The effects of signals on a run at the command line.

use std::{
    path::Path,
    process::{Child, Stdio},
};

use test_support::{ProgramOutput, SCALE_UP, SimulateProcess, journal, signal, wait_until};

/// A run that is waiting for nodes.
async fn start_waiting_run(simulate: &SimulateProcess, state_dir: &Path) -> Child {
    let runbook = state_dir.join("scale-up.yaml");
    std::fs::write(&runbook, SCALE_UP).unwrap();
    let child = simulate
        .program(state_dir)
        .args(["run", "--yes"])
        .arg(&runbook)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let is_waiting = || {
        let text = journal(state_dir)?;
        text.contains(r#""step":"new_nodes","event":"step_started""#).then_some(())
    };
    wait_until("the wait for nodes", is_waiting).await;
    child
}

async fn assert_signal_leaves(name: &str, state: &str) {
    // Slow enough that the run is still waiting when the signal comes.
    let simulate = SimulateProcess::start(10.0);
    let dir = tempfile::tempdir().unwrap();
    let child = start_waiting_run(&simulate, dir.path()).await;
    signal(child.id(), name);
    ProgramOutput::from(child.wait_with_output().unwrap()).expect_exit_code(130);
    let program = |arguments: &[&str]| {
        ProgramOutput::run(simulate.program(dir.path()).args(arguments)).expect_exit_code(0).stdout
    };
    let list = program(&["runs", "list"]);
    assert!(list.trim_end().ends_with(&format!("  {state}")), "{list}");
    program(&["runs", "resume", "--last", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_leaves_a_run_to_be_resumed() {
    assert_signal_leaves("TERM", "interrupted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_a_run() {
    assert_signal_leaves("INT", "cancelled").await;
}
