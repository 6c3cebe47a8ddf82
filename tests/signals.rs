//! What signals do to a run at the command line.

use std::{
    path::Path,
    process::{Child, Stdio},
};

use crate::support::{Program, SCALE_UP, SimulateProcess, journal, signal, until};

/// A run that is waiting for nodes.
async fn waiting(simulate: &SimulateProcess, state_dir: &Path) -> Child {
    let book = state_dir.join("scale-up.yaml");
    std::fs::write(&book, SCALE_UP).unwrap();
    let child = simulate
        .program(state_dir)
        .args(["run", "--yes"])
        .arg(&book)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let is_waiting = || {
        let text = journal(state_dir)?;
        text.contains(r#""event":"step_started","step":"new_nodes""#).then_some(())
    };
    until("the wait for nodes", is_waiting).await;
    child
}

async fn a_signal_leaves(name: &str, state: &str) {
    // Slow enough that the run is still waiting when the signal comes.
    let simulate = SimulateProcess::start(10.0);
    let folder = tempfile::tempdir().unwrap();
    let child = waiting(&simulate, folder.path()).await;
    signal(child.id(), name);
    Program::from(child.wait_with_output().unwrap()).ends_with(130);
    let program = |arguments: &[&str]| {
        Program::of(simulate.program(folder.path()).args(arguments)).ends_with(0).stdout
    };
    let list = program(&["runs", "list"]);
    assert!(list.trim_end().ends_with(&format!("  {state}")), "{list}");
    program(&["runs", "resume", "--last", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_leaves_a_run_to_be_resumed() {
    a_signal_leaves("TERM", "interrupted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_a_run() {
    a_signal_leaves("INT", "cancelled").await;
}
