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

/// The live line would otherwise go on turning as if nothing had happened. `script` makes a terminal.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_at_a_terminal_says_that_the_run_stops() {
    use std::io::Write as _;
    let simulate = SimulateProcess::start(10.0);
    let dir = tempfile::tempdir().unwrap();
    let runbook = dir.path().join("scale-up.yaml");
    std::fs::write(&runbook, SCALE_UP).unwrap();
    let state_dir = dir.path().display();
    let mut command = test_support::on_terminal(
        80,
        &format!("--state-dir {state_dir} run --yes {}", runbook.display()),
    );
    command.envs(simulate.environment.iter().cloned()).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The wait for nodes.
    let waiting = test_support::read_until(&mut child, "step 4 of 4: ");
    // Ctrl-C, as the terminal gets it.
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let ended = ProgramOutput::from(child.wait_with_output().unwrap()).expect_exit_code(130);
    let shown = waiting + &ended.stdout;
    for part in [
        "step 4 of 4: ",
        "\x1b[32m✔\x1b[0m ",
        "cancelling after the call in flight",
        "Summary: \x1b[33mcancelled\x1b[0m on cluster ",
    ] {
        assert!(shown.contains(part), "{part:?} is not in {shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_a_run() {
    assert_signal_leaves("INT", "cancelled").await;
}
