//! The process may be killed at any instant: the resumed run reaches the journaled target, never beyond it.
//!
//! `simulate` runs in a process of its own, so that the cluster survives. The child is this very test binary, started
//! again to abort at the Nth event of its journal (`CrashPlan`): either just before the event is written (what it
//! reports has been done, and is not journaled) or just after (nothing has been done about it yet). Then the real
//! program resumes the run.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use simulator::ClusterState;

use test_support::{
    CrashPlan, Moment, Point, ProgramOutput, SCALE_UP, SPEED, SimulateProcess, effective_calls,
    has_crashed, journal, run_as_crash_child, wait_until,
};

pub(crate) const RELAY_SCALE: &str = include_str!("../runbooks/relay-scale.yaml");

/// More events than any run here has.
const BEYOND_LAST_EVENT: u64 = 10_000;

/// Crashes a runbook at each of its events, of which there are at least so many.
async fn a_crash_at_any_event_changes_nothing(
    runbook: &'static str,
    moment: Moment,
    at_least: u64,
) {
    let undisturbed = CrashedRun::at(runbook, Moment::AfterEvent, BEYOND_LAST_EVENT).await;
    assert!(!undisturbed.died);
    for event in 1.. {
        let crashed = CrashedRun::at(runbook, moment, event).await;
        if !crashed.died {
            assert!(event > at_least, "the run has {event} events");
            break;
        }
        let at = format!("{moment:?} {event}");
        assert_eq!(crashed.effective_calls, undisturbed.effective_calls, "{at}");
        assert_eq!(crashed.facts, undisturbed.facts, "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_any_event_of_scaling_up_changes_nothing_in_the_end() {
    a_crash_at_any_event_changes_nothing(SCALE_UP, Moment::BeforeEvent, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_event_of_scaling_up_changes_nothing_in_the_end() {
    a_crash_at_any_event_changes_nothing(SCALE_UP, Moment::AfterEvent, 12).await;
}

/// Before an event is the harder half: what it reports has been done, and only the world knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_any_event_of_relay_scale_changes_nothing_in_the_end() {
    a_crash_at_any_event_changes_nothing(RELAY_SCALE, Moment::BeforeEvent, 40).await;
}

/// Items, two at a time, and changes that are undone when the run ends.
const LOOP: &str = "\
name: loop
steps:
- id: hold
  action: scale_deployment
  with: {namespace: rafay-core, deployment: relay-cache, replicas: 1}
  restore: at_end
- {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
- id: close
  for_each: \"{{ relay.nodes[:2] }}\"
  at_once: 2
  action: cordon
  with: {nodes: [\"{{ each }}\"]}
- id: restart
  for_each: {sentry: rafay-sentry}
  action: rollout_restart
  with: {namespace: rafay-core, deployment: \"{{ each.value }}\"}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_any_event_of_a_loop_changes_nothing_in_the_end() {
    a_crash_at_any_event_changes_nothing(LOOP, Moment::BeforeEvent, 24).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_event_of_a_loop_changes_nothing_in_the_end() {
    a_crash_at_any_event_changes_nothing(LOOP, Moment::AfterEvent, 24).await;
}

/// Items that are compared with the limits of the runbook, and pods of which some are kept.
const LIMITED: &str = "\
name: limited
limits:
  cordon_at_most: 2
  keep_ready: [{namespace: rafay-core, deployment: rafay-sentry, at_least: 1}]
steps:
- {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
- {id: sentry, action: list_pods, with: {namespace: rafay-core, deployment: rafay-sentry}}
- id: close
  for_each: \"{{ relay.nodes[:2] }}\"
  at_once: 2
  action: cordon
  with: {nodes: [\"{{ each }}\"]}
- {id: delete, action: delete_pods, with: {pods: \"{{ sentry.pods }}\"}}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_any_event_of_a_run_with_limits_changes_nothing_in_the_end() {
    a_crash_at_any_event_changes_nothing(LIMITED, Moment::BeforeEvent, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_event_of_a_run_with_limits_changes_nothing_in_the_end() {
    a_crash_at_any_event_changes_nothing(LIMITED, Moment::AfterEvent, 15).await;
}

/// Calls of a runbook that changes two things and is left with a rollback, where the run goes on.
const CALLS: &str = "\
name: calls
defaults: {timeout: 5m}
steps:
- {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
- id: fails
  on_failure: continue
  call: close
  with: {node: \"{{ relay.nodes[0] }}\", fails: true}
- id: all
  for_each: \"{{ relay.nodes[1:] }}\"
  call: close
  with: {node: \"{{ each }}\"}
---
name: close
inputs:
  node: {type: string}
  fails: {type: boolean, default: false}
steps:
- id: close
  action: cordon
  with: {nodes: [\"{{ inputs.node }}\"]}
- id: check
  on_failure: rollback
  for_each: [1, 2]
  action: assert
  with: {that: \"{{ not inputs.fails }}\", message: it fails}
outputs: {closed: \"{{ close.nodes[0] }}\"}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_any_event_of_calls_changes_nothing_in_the_end() {
    a_crash_at_any_event_changes_nothing(CALLS, Moment::BeforeEvent, 24).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_event_of_calls_changes_nothing_in_the_end() {
    a_crash_at_any_event_changes_nothing(CALLS, Moment::AfterEvent, 24).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_while_it_waits_is_interrupted_and_can_be_resumed() {
    let simulate = SimulateProcess::start(60.0);
    let dir = tempfile::tempdir().unwrap();
    let runbook = write_runbook(dir.path());
    let mut child = simulate
        .program(dir.path())
        .args(["run", "--yes", "--speed", "60"])
        .arg(&runbook)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let is_waiting = || {
        let journal = journal(dir.path())?;
        journal.contains(r#""step":"new_nodes","event":"step_started""#).then_some(())
    };
    wait_until("the wait for nodes", is_waiting).await;
    child.kill().unwrap();
    child.wait().unwrap();

    let show = || {
        ProgramOutput::run(simulate.program(dir.path()).args(["runs", "list"])).expect_exit_code(0)
    };
    assert!(show().stdout.trim_end().ends_with("  interrupted"), "{}", show().stdout);
    let again =
        ProgramOutput::run(simulate.program(dir.path()).args(["run", "--yes"]).arg(&runbook));
    let refused = again.expect_exit_code(3);
    let resume_it = format!("--state-dir {} runs resume ", dir.path().display());
    assert!(refused.stderr.contains(&resume_it), "{}", refused.stderr);
    resume(&simulate, dir.path());
    assert!(show().stdout.trim_end().ends_with("  succeeded"), "{}", show().stdout);
    assert_eq!(effective_calls(&simulate.calls().await), ["eks:UpdateNodegroupConfig"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_not_resumed_against_another_cluster() {
    let simulate = SimulateProcess::start(SPEED);
    let dir = tempfile::tempdir().unwrap();
    assert!(run_crash_child(&simulate, dir.path(), SCALE_UP, Moment::AfterEvent, 8));
    let other = SimulateProcess::start(SPEED);
    let resumed = ProgramOutput::run(other.program(dir.path()).args(RESUME)).expect_exit_code(3);
    assert!(resumed.stderr.contains("the run was started against cluster"), "{}", resumed.stderr);
    assert_eq!(effective_calls(&other.calls().await), [""; 0]);
    resume(&simulate, dir.path());
}

/// A rollback from any event restores the same state: the sizes, the instances and their protection, the nodes
/// schedulable, and all earlier pods Ready, also where nodes join while others are being drained.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_crashed_before_any_event_can_be_rolled_back() {
    for event in 2.. {
        let simulate = SimulateProcess::start(SPEED);
        let dir = tempfile::tempdir().unwrap();
        let before = facts_that_rollback_restores(&simulate.state().await);
        let died = run_crash_child(&simulate, dir.path(), SCALE_UP, Moment::BeforeEvent, event);
        if !died {
            assert!(event > 12, "the run has {event} events");
            break;
        }
        let rollback = ["runs", "rollback", "--last", "--yes", "--speed", "600"];
        ProgramOutput::run(simulate.program(dir.path()).args(rollback)).expect_exit_code(0);
        assert_eq!(
            facts_that_rollback_restores(&simulate.state().await),
            before,
            "before event {event}"
        );
    }
}

/// The state that a rollback restores: sizes, instances and their protection, nodes, deployments.
fn facts_that_rollback_restores(state: &ClusterState) -> Vec<String> {
    let groups = state.nodegroups.iter().map(|(name, group)| {
        let sizes = (group.min, group.max, group.desired, group.group_desired);
        let instances: Vec<_> =
            group.instances.iter().map(|(id, instance)| (id, instance.protected)).collect();
        format!("{name} {sizes:?} {instances:?}")
    });
    let nodes = state.nodes.iter().map(|(name, node)| {
        format!("{name} {} ready={} unschedulable={}", node.uid, node.ready, node.unschedulable)
    });
    let deployments = state
        .deployments
        .iter()
        .map(|(name, d)| format!("{name} replicas={} ready={}", d.replicas, d.ready));
    groups.chain(nodes).chain(deployments).collect()
}

/// A run that died at an event and was resumed.
struct CrashedRun {
    died: bool,
    effective_calls: Vec<String>,
    facts: Vec<String>,
}

impl CrashedRun {
    async fn at(runbook: &'static str, moment: Moment, event: u64) -> Self {
        let simulate = SimulateProcess::start(SPEED);
        let dir = tempfile::tempdir().unwrap();
        let died = run_crash_child(&simulate, dir.path(), runbook, moment, event);
        if died && journal(dir.path()).is_some_and(|text| text.contains('\n')) {
            let had_ended = journal(dir.path()).unwrap().contains(r#""event":"run_ended""#);
            if !had_ended {
                resume(&simulate, dir.path());
            }
        } else if died {
            // The process died before a run was accepted: start one.
            assert!(!run_crash_child(
                &simulate,
                dir.path(),
                runbook,
                Moment::AfterEvent,
                BEYOND_LAST_EVENT
            ));
        }
        Self {
            died,
            effective_calls: change_kinds(effective_calls(&simulate.calls().await)),
            facts: facts(&simulate.state().await),
        }
    }
}

/// The changes without the names of pods, which every simulation makes anew.
pub(crate) fn change_kinds(effective_calls: Vec<String>) -> Vec<String> {
    let kind = |change: String| match change.strip_prefix("delete pods/") {
        Some(_) => "delete a pod".to_owned(),
        None if change.starts_with("patch pods/") => "patch a pod".to_owned(),
        None => change,
    };
    let mut kinds: Vec<String> = effective_calls.into_iter().map(kind).collect();
    kinds.sort();
    kinds
}

/// The facts that a crash must not change. UIDs, pod names and times differ between simulations.
pub(crate) fn facts(state: &ClusterState) -> Vec<String> {
    let groups = state.nodegroups.iter().map(|(name, group)| format!("{name} {group:?}"));
    let nodes = state.nodes.iter().map(|(name, node)| {
        format!("{name} ready={} unschedulable={}", node.ready, node.unschedulable)
    });
    let deployments = state
        .deployments
        .iter()
        .map(|(name, d)| format!("{name} replicas={} ready={}", d.replicas, d.ready));
    let mut pods: Vec<String> = state
        .pods
        .values()
        .filter(|pod| pod.app.as_deref() == Some("rafay-relay"))
        .map(|pod| format!("a relay pod on {:?} ready={}", pod.node, pod.ready))
        .collect();
    pods.sort();
    groups.chain(nodes).chain(deployments).chain(pods).collect()
}

const RESUME: [&str; 6] = ["runs", "resume", "--last", "--yes", "--speed", "600"];

fn resume(simulate: &SimulateProcess, state_dir: &Path) {
    ProgramOutput::run(simulate.program(state_dir).args(RESUME)).expect_exit_code(0);
}

fn write_runbook(dir: &Path) -> PathBuf {
    let path = dir.join("scale-up.yaml");
    std::fs::write(&path, SCALE_UP).unwrap();
    path
}

/// Runs a runbook in a process that dies at that event; whether it did.
fn run_crash_child(
    simulate: &SimulateProcess,
    state_dir: &Path,
    runbook: &str,
    moment: Moment,
    event: u64,
) -> bool {
    let plan = CrashPlan::new(runbook, state_dir, Point::Event(event), moment);
    let mut command = plan.command();
    command.args(["--exact", "crash::crash_child", "--ignored"]);
    has_crashed(command.envs(simulate.environment.iter().cloned()).status().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test: the process that the crash tests start and that dies as it was told"]
async fn crash_child() {
    assert!(run_as_crash_child().await, "only the crash tests start this");
}
