//! `restore: at_end`: changes for the time of a run.

use rafay_relay_sop::{
    engine::{Control, ResumeRequest},
    journal::{Event, RecordedEvent, ResumeMode, Run, RunEvent, RunState, StepEvent},
};
use serde_json::json;
use simulator::{Effect, Fault};

use test_support::{FinishedRun, TestCluster};

/// Holds a deployment at no replicas while something else is done.
fn runbook(steps: &str) -> String {
    format!(
        "name: hold
steps:
- id: hold
  action: scale_deployment
  with: {{namespace: rafay-core, deployment: relay-cache, replicas: 0}}
  restore: at_end
{steps}"
    )
}

const RESTART: &str = "\
- {id: restart, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry}}
";
const FAIL: &str = "- {id: fail, action: assert, with: {that: false, message: no}}\n";
const SCALE: &str = "patch deployments/rafay-core/relay-cache/scale";

async fn replicas(cluster: &TestCluster) -> i32 {
    let state = cluster.simulator.state().await.unwrap();
    state.deployments["rafay-core/relay-cache"].replicas
}

fn events(run: &FinishedRun) -> Vec<String> {
    let text = |event: &Event| match event {
        Event::Step { path, event: StepEvent::StepPrepared { .. } } => Some(format!("do {path}")),
        Event::Step { path, event: StepEvent::StepUndoFinished { .. } } => {
            Some(format!("undo {path}"))
        }
        Event::Step { path, event: StepEvent::StepUndoFailed { .. } } => {
            Some(format!("cannot undo {path}"))
        }
        Event::Run(RunEvent::RunRestoring { .. }) => Some("restoring".to_owned()),
        Event::Run(RunEvent::RunEnded { outcome, .. }) => Some(format!("{outcome:?}")),
        _ => None,
    };
    run.records.iter().filter_map(|record| text(&record.event)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_undone_when_the_run_succeeds() {
    let cluster = TestCluster::new().await;
    let before = replicas(&cluster).await;
    let ended = cluster.run(&runbook(RESTART)).await.expect_success();
    assert_eq!(events(&ended), ["do hold", "do restart", "restoring", "undo hold", "Succeeded"]);
    assert_eq!(replicas(&cluster).await, before);
}

/// And when the run is resumed, it is made again: the later steps rely on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_undone_when_the_run_fails_and_made_again_when_it_is_resumed() {
    let cluster = TestCluster::new().await;
    let before = replicas(&cluster).await;
    let effect = Effect::Fail { status: 422, code: "Invalid".into(), message: "no".into() };
    let matching = "patch deployments/rafay-core/rafay-sentry*".to_owned();
    cluster.simulator.inject(Fault { matching, nth: 1, times: 1, effect });
    let failed = cluster.run(&runbook(RESTART)).await.expect_state(RunState::Failed);
    assert_eq!(events(&failed), ["do hold", "do restart", "restoring", "undo hold", "Failed"]);
    assert_eq!(replicas(&cluster).await, before);
    // No person is needed where the process dies after the failure: the two events are written as one.
    let is_restoring =
        |record: &RecordedEvent| matches!(&record.event, Event::Run(RunEvent::RunRestoring { .. }));
    let at = failed.records.iter().position(is_restoring).unwrap();
    let (earlier, restoring) = (&failed.records[at - 1], &failed.records[at]);
    assert!(matches!(&earlier.event, Event::Step { event: StepEvent::StepFailed { .. }, .. }));
    assert_eq!(earlier.time, restoring.time);
    let died = Run::of(failed.run.id(), &failed.records[..=at]).unwrap();
    assert_eq!(died.state(false), RunState::Interrupted);
    let resumed = cluster.resume(failed.run.id(), ResumeMode::Continue).await.expect_success();
    assert_eq!(events(&resumed)[5..], ["do hold", "restoring", "undo hold", "Succeeded"]);
    assert_eq!(replicas(&cluster).await, before);
    let scaled = cluster.effective_calls().into_iter().filter(|call| call == SCALE);
    assert_eq!(scaled.count(), 4, "down and up, twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_undone_when_the_run_is_cancelled() {
    let cluster = TestCluster::new().await;
    let before = replicas(&cluster).await;
    let steps = "- {id: wait, action: sleep, with: {duration: 10h}, timeout: 11h}\n";
    let accepted = cluster.accept(&runbook(steps), json!({})).await.unwrap();
    let control = Control::default();
    let mut listener = accepted.subscribe();
    let driving = cluster.drive(accepted, control.clone());
    let cancelling = async {
        while let Ok(record) = listener.recv().await {
            let is_wait = matches!(
                &record.event,
                Event::Step { path, event: StepEvent::StepStarted { .. } }
                    if path.to_string() == "wait"
            );
            if is_wait {
                control.cancel("me");
            }
        }
    };
    let (ended, ()) = tokio::join!(driving, cancelling);
    let ended = ended.expect_state(RunState::Cancelled);
    assert_eq!(events(&ended), ["do hold", "restoring", "undo hold", "Cancelled"]);
    assert_eq!(ended.error(), "cancelled by me");
    assert_eq!(replicas(&cluster).await, before);
}

/// In the reverse order of all changes, each at its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_undoes_it_with_all_others() {
    let cluster = TestCluster::new().await;
    let steps = format!(
        "- {{id: relay, action: list_pods, with: {{namespace: rafay-core, deployment: rafay-relay}}}}\n\
         - {{id: close, action: cordon, with: {{nodes: \"{{{{ relay.nodes }}}}\"}}}}\n\
         {}",
        FAIL.replace("{id", "{on_failure: rollback, id")
    );
    let ended = cluster.run(&runbook(&steps)).await.expect_state(RunState::RolledBack);
    assert_eq!(events(&ended), ["do hold", "do close", "undo close", "undo hold", "RolledBack"]);
}

/// What was restored at the end of the failed run is not undone a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_a_failed_run_undoes_the_rest() {
    let cluster = TestCluster::new().await;
    let steps = format!(
        "- {{id: relay, action: list_pods, with: {{namespace: rafay-core, deployment: rafay-relay}}}}\n\
         - {{id: close, action: cordon, with: {{nodes: \"{{{{ relay.nodes }}}}\"}}}}\n{FAIL}"
    );
    let failed = cluster.run(&runbook(&steps)).await.expect_state(RunState::Failed);
    assert_eq!(events(&failed)[2..], ["restoring", "undo hold", "Failed"]);
    let back = cluster.resume(failed.run.id(), ResumeMode::Rollback).await;
    let back = back.expect_state(RunState::RolledBack);
    assert_eq!(events(&back)[5..], ["undo close", "RolledBack"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_undone_the_last_first() {
    let cluster = TestCluster::new().await;
    let steps = "\
- id: close
  for_each: [rafay-relay, rafay-sentry]
  action: scale_deployment
  with: {namespace: rafay-core, deployment: \"{{ each }}\", replicas: 1}
  restore: at_end
";
    let ended = cluster.run(&runbook(steps)).await.expect_success();
    let undone: Vec<String> =
        events(&ended).into_iter().filter(|event| event.starts_with("undo")).collect();
    assert_eq!(undone, ["undo close[1]", "undo close[0]", "undo hold"]);
}

/// The run did what it was to do, and has left something: that is no plain success.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_undone_is_reported() {
    let cluster = TestCluster::new().await;
    let effect = Effect::Fail { status: 422, code: "Invalid".into(), message: "no".into() };
    cluster.simulator.inject(Fault { matching: SCALE.into(), nth: 2, times: 99, effect });
    let ended = cluster.run(&runbook("")).await;
    let ended = ended.expect_state(RunState::SucceededWithFailures);
    let expected = ["do hold", "restoring", "cannot undo hold", "SucceededWithFailures"];
    assert_eq!(events(&ended), expected);
    assert_eq!(ended.run.head.failed_step.as_ref().unwrap().to_string(), "hold");
    assert_eq!(replicas(&cluster).await, 0);
}

/// The failure of the run counts more, and what has been restored in part is made again when the run goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_fails_halfway_is_made_up_for_when_the_run_is_resumed() {
    let cluster = TestCluster::new().await;
    let effect = |message: &str| Effect::Fail {
        status: 422,
        code: "Invalid".into(),
        message: message.into(),
    };
    let matching = "patch deployments/rafay-core/rafay-sentry*".to_owned();
    cluster.simulator.inject(Fault { matching, nth: 1, times: 1, effect: effect("no restart") });
    // Two nodes are closed, one is opened again, and the other is not.
    let matching = "patch nodes/*".to_owned();
    cluster.simulator.inject(Fault { matching, nth: 4, times: 1, effect: effect("no node") });
    let text = format!(
        "name: closed
steps:
- {{id: relay, action: list_pods, with: {{namespace: rafay-core, deployment: rafay-relay}}}}
- id: close
  action: cordon
  with: {{nodes: \"{{{{ relay.nodes[:2] }}}}\"}}
  restore: at_end
{RESTART}"
    );
    let failed = cluster.run(&text).await.expect_state(RunState::Failed);
    let expected = ["do close", "do restart", "restoring", "cannot undo close", "Failed"];
    assert_eq!(events(&failed), expected);
    assert!(failed.error().contains("no restart"), "{}", failed.error());
    let resumed = cluster.resume(failed.run.id(), ResumeMode::Continue).await.expect_success();
    let expected = ["restoring", "undo close", "Succeeded"];
    assert_eq!(events(&resumed)[5..], expected, "what was decided is what is made again");
    let state = cluster.simulator.state().await.unwrap();
    assert!(state.nodes.values().all(|node| !node.unschedulable));
    let patched = cluster.effective_calls();
    let patched = patched.iter().filter(|call| call.starts_with("patch nodes/"));
    assert_eq!(patched.count(), 2 + 1 + 1 + 2, "closed, opened in part, closed again, opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_with_a_restored_change_begins_again_when_the_run_is_resumed() {
    let cluster = TestCluster::new().await;
    let before = replicas(&cluster).await;
    let effect = Effect::Fail { status: 422, code: "Invalid".into(), message: "no".into() };
    let matching = "patch deployments/rafay-core/rafay-sentry*".to_owned();
    cluster.simulator.inject(Fault { matching, nth: 1, times: 1, effect });
    let text = format!("name: outer\nsteps:\n- {{id: all, call: hold}}\n---\n{}", runbook(RESTART));
    let failed = cluster.run(&text).await.expect_state(RunState::Failed);
    let expected = ["do all/hold", "do all/restart", "restoring", "undo all/hold", "Failed"];
    assert_eq!(events(&failed), expected);
    let resumed = cluster.resume(failed.run.id(), ResumeMode::Continue).await.expect_success();
    let expected = ["do all/hold", "restoring", "undo all/hold", "Succeeded"];
    assert_eq!(events(&resumed)[5..], expected);
    assert_eq!(replicas(&cluster).await, before);
}

/// A request with the token of the first change would be answered with that, and change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_made_again_is_another_request_although_the_loop_was_forgotten() {
    let cluster = TestCluster::new().await;
    let fail = |matching: &str, nth: u32| {
        let effect = Effect::Fail { status: 422, code: "Invalid".into(), message: "no".into() };
        cluster.simulator.inject(Fault { matching: matching.into(), nth, times: 1, effect });
    };
    let text = format!(
        "name: grown
steps:
- id: group
  action: find_nodegroup
  with: {{region: us-west-2, cluster: rafay-cluster, labels: {{Name: nodegroup-relay-services}}, min_nodes: 2}}
- id: grow
  for_each: [4]
  action: scale_nodegroup
  with: {{nodegroup: \"{{{{ group }}}}\", desired: \"{{{{ each }}}}\"}}
  restore: at_end
{RESTART}"
    );
    fail("patch deployments/rafay-core/rafay-sentry*", 1);
    let failed = cluster.run(&text).await.expect_state(RunState::Failed);
    // The nodegroup cannot be read when the loop begins again.
    fail("eks:DescribeNodegroup", 1);
    let id = failed.run.id();
    cluster.resume(id, ResumeMode::Continue).await.expect_state(RunState::Failed);
    cluster.resume(id, ResumeMode::Continue).await.expect_success();
    assert_eq!(cluster.count_calls("eks:UpdateNodegroupConfig"), 4, "twice there and back");
    let state = cluster.simulator.state().await.unwrap();
    assert_eq!(state.nodegroups["relay-services-1a2b3c"].desired, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_only_restores_is_not_continued_differently() {
    let cluster = TestCluster::new().await;
    let accepted = cluster.accept(&runbook(RESTART), json!({})).await.unwrap();
    let control = Control::default();
    let mut listener = accepted.subscribe();
    let driving = cluster.drive(accepted, control.clone());
    let stopping = async {
        while let Ok(record) = listener.recv().await {
            if matches!(&record.event, Event::Run(RunEvent::RunRestoring { .. })) {
                control.shut_down();
            }
        }
    };
    let (ended, ()) = tokio::join!(driving, stopping);
    let ended = ended.expect_state(RunState::Interrupted);
    assert!(control.is_ending(), "a cancel would change nothing");
    let request = ResumeRequest { from: Some("restart".into()), ..ResumeRequest::default() };
    let refused = cluster.engine.prepare_resume(ended.run.id(), request).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "the steps of the run are over: only what is not to outlast it is still to be restored"
    );
    cluster.resume(ended.run.id(), ResumeMode::Continue).await.expect_success();
}
