//! relay-scale from end to end: the program as its users start it, against the real control plane with the
//! simulator's account behind it, and against the simulator alone. Both must come to the same end, say the same and do
//! the same.

use std::sync::Arc;

use crate::{
    accounts::{Grant, TestServiceAccount},
    assert_same::assert_same,
    audit,
    cli_run::{
        CliRun, CliRunOutcome, NAMESPACE, RELAY_SCALE, SPEED, rolled_back_runbook, simulate_over,
    },
    fixture::ControlPlane,
    harness::{Test, test},
};
use test_support::{ProgramOutput, effective_calls};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(
            "relay_scale::is_the_same_on_a_real_control_plane",
            async |plane: Arc<ControlPlane>| {
                compare(&plane, &CliRun::of(RELAY_SCALE)).await;
            },
        ),
        test(
            "relay_scale::is_the_same_with_scale_factor_three",
            async |plane: Arc<ControlPlane>| {
                compare(&plane, &CliRun::of(RELAY_SCALE).with(&["--input", "scale_factor=3"]))
                    .await;
            },
        ),
        test("relay_scale::is_rolled_back_as_in_the_simulator", assert_rolled_back_alike),
        test("relay_scale::stops_without_its_permissions", stops_without_permissions),
        test("relay_scale::is_resumed_once_permission_is_granted", is_resumed_once_permitted),
    ]
}

async fn compare(plane: &ControlPlane, cli_run: &CliRun) -> CliRunOutcome {
    let real = CliRunOutcome::real(plane, cli_run).await;
    let simulated = CliRunOutcome::simulated(cli_run).await;
    assert_eq!(real.denied, [""; 0], "the declared permissions suffice");
    assert_same("what is said", &real.lines, &simulated.lines);
    assert_same("what is done to the account", &real.aws_changes, &simulated.aws_changes);
    let by_operation = audit::count_by_operation;
    assert_same(
        "what is done to the cluster",
        &by_operation(&real.kubernetes_changes),
        &by_operation(&simulated.kubernetes_changes),
    );
    assert_same("the end", &real.after, &simulated.after);
    real
}

async fn assert_rolled_back_alike(plane: Arc<ControlPlane>) {
    let cli_run = CliRun::of(&rolled_back_runbook()).expecting_exit_code(1);
    let real = compare(&plane, &cli_run).await;
    // A restart cannot be undone, which the run says beforehand.
    let restarted = |facts: &[String]| -> Vec<String> {
        facts.iter().map(|fact| fact.replace("restarted=false", "restarted=true")).collect()
    };
    assert_same("what was before", &restarted(&real.before), &restarted(&real.after));
}

async fn stops_without_permissions(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let simulate = simulate_over(&plane);
    let account = TestServiceAccount::new(&plane, NAMESPACE, "nobody", Grant::for_lease()).await;
    let dir = tempfile::tempdir().unwrap();
    let mut command = CliRun::of(RELAY_SCALE).command(&simulate, dir.path());
    let ended = ProgramOutput::run_async(command.env("KUBECONFIG", &account.kubeconfig))
        .await
        .expect_exit_code(3);
    for expected in [
        "the account lacks permissions: ",
        "get configmaps rafay-relay-sop-config in the namespace rafay-core (for relay-scale/config)",
        "create pods/eviction in the whole cluster (for relay-scale/scale_up (undo))",
        "hint: add to a ClusterRole: ",
        "; and to a Role in the namespace rafay-core: ",
    ] {
        assert!(ended.stderr.contains(expected), "{expected}: {}", ended.stderr);
    }
    assert_eq!(effective_calls(&simulate.calls().await), [""; 0]);
}

/// The role lacks one verb. Without the check before the run, that is noticed only after the run can no longer be
/// rolled back.
async fn is_resumed_once_permitted(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let simulate = simulate_over(&plane);
    let lacking = Grant::for_runbook(RELAY_SCALE).without("delete", "pods");
    let account = TestServiceAccount::new(&plane, NAMESPACE, "relay-sop", lacking).await;
    let dir = tempfile::tempdir().unwrap();
    let cli_run = CliRun::of(RELAY_SCALE).with(&["--no-permission-check"]);
    let mut command = cli_run.command(&simulate, dir.path());
    let stopped = ProgramOutput::run_async(command.env("KUBECONFIG", &account.kubeconfig)).await;
    let stopped = stopped.expect_exit_code(4);
    let messages = [r#"cannot delete resource "pods""#, "runs resume "];
    for messages in messages {
        assert!(stopped.stderr.contains(messages), "{}", stopped.stderr);
    }
    let before = effective_calls(&simulate.calls().await);

    account.regrant(&plane, Grant::for_runbook(RELAY_SCALE), ("delete", "pods")).await;
    let mut command = simulate.program(dir.path());
    command.env("KUBECONFIG", &account.kubeconfig);
    command.args(["runs", "resume", "--last", "--yes", "--speed", SPEED]);
    let resumed = ProgramOutput::run_async(&mut command).await.expect_exit_code(0);
    let done_again = "Starting step: Scale nodegroup to 2X its current count";
    assert!(!resumed.stdout.contains(done_again), "{}", resumed.stdout);
    let protections = ["autoscaling:SetInstanceProtection"; 2];
    assert_eq!(effective_calls(&simulate.calls().await)[before.len()..], protections);
    plane.wait_until_ready(NAMESPACE, "rafay-relay", 3).await;
}
