//! `call`: a runbook as a step of another.

use std::time::Duration;

use rafay_relay_sop::{
    engine::{Control, ResumeRequest},
    journal::{Event, ResumeMode, RunId, RunState, StepEvent},
};
use serde_json::json;
use simulator::{Effect, Fault};

use test_support::TestCluster;

/// Cordons a node, after which a check may fail.
const CLOSE: &str = "\
name: close
inputs:
  node: {type: string}
  fails: {type: boolean, default: false}
steps:
- id: close
  name: \"Close {{ inputs.node }}\"
  action: cordon
  with: {nodes: [\"{{ inputs.node }}\"]}
- id: check
  on_failure: stop
  action: assert
  with: {that: \"{{ not inputs.fails }}\", message: it fails}
outputs:
  closed: \"{{ close.nodes[0] }}\"
  count: \"{{ close.changed | length }}\"
";

/// A runbook that calls it, and more steps.
fn runbook(steps: &str) -> String {
    format!(
        "name: outer\nsteps:\n\
         - {{id: relay, action: list_pods, with: {{namespace: rafay-core, deployment: rafay-relay}}}}\n\
         {steps}---\n{CLOSE}"
    )
}

const EACH: &str = "\
- id: all
  for_each: \"{{ relay.nodes[:2] }}\"
  call: close
  with: {node: \"{{ each }}\"}
  log: \"{{ each }}: {{ all.count }}\"
";

fn is_prepared(event: &StepEvent) -> bool {
    matches!(event, StepEvent::StepPrepared { .. })
}

fn is_undone(event: &StepEvent) -> bool {
    matches!(event, StepEvent::StepUndoFinished { .. })
}

async fn count_cordoned(cluster: &TestCluster) -> usize {
    let state = cluster.simulator.state().await.unwrap();
    state.nodes.values().filter(|node| node.unschedulable).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outputs_of_a_called_runbook_are_the_output_of_the_step() {
    let cluster = TestCluster::new().await;
    let steps = format!(
        "{EACH}- {{id: check, action: assert, with: {{message: no, that: \
         \"{{{{ all | map(attribute='closed') | list == relay.nodes[:2] }}}}\"}}}}\n"
    );
    let ended = cluster.run(&runbook(&steps)).await.expect_success();
    assert_eq!(ended.output("all")[1]["count"], json!(1));
    assert_eq!(ended.paths_with(is_prepared), ["all[0]/close", "all[1]/close"]);
    assert_eq!(count_cordoned(&cluster).await, 2);
    // The journal has all that the run consists of.
    assert_eq!(ended.run.spec.called[0].runbook, "close");
    assert_eq!(ended.run.spec.called[0].text, CLOSE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_inside_is_one_of_the_call() {
    let cluster = TestCluster::new().await;
    let steps = "\
- id: one
  on_failure: continue
  call: close
  with: {node: \"{{ relay.nodes[0] }}\", fails: true}
- {id: after, action: assert, with: {that: \"{{ one is not defined }}\", message: no}}
";
    let ended = cluster.run(&runbook(steps)).await;
    let ended = ended.expect_state(RunState::SucceededWithFailures);
    assert_eq!(ended.paths_with(is_undone), [""; 0], "the step inside asks for no rollback");
    assert_eq!(count_cordoned(&cluster).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_inside_that_rolls_back_undoes_what_its_runbook_changed() {
    let cluster = TestCluster::new().await;
    let steps = "\
- {id: before, action: cordon, with: {nodes: \"{{ relay.nodes[1:2] }}\"}}
- id: one
  call: close
  with: {node: \"{{ relay.nodes[0] }}\", fails: true}
";
    let text = runbook(steps).replace("on_failure: stop", "on_failure: rollback");
    let failed = cluster.run(&text).await.expect_state(RunState::Failed);
    assert_eq!(failed.paths_with(is_undone), ["one/close"]);
    assert!(failed.error().starts_with("check: it fails"), "{}", failed.error());
    assert_eq!(count_cordoned(&cluster).await, 1, "and not what was changed before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_rolls_back_rolls_back_the_run() {
    let cluster = TestCluster::new().await;
    let steps = format!(
        "{EACH}- {{id: last, on_failure: rollback, call: close, with: {{node: \"{{{{ relay.nodes[2] }}}}\", fails: true}}}}\n"
    );
    let ended = cluster.run(&runbook(&steps)).await.expect_state(RunState::RolledBack);
    assert_eq!(ended.paths_with(is_undone), ["last/close", "all[1]/close", "all[0]/close"]);
    assert_eq!(count_cordoned(&cluster).await, 0);
}

/// The resumed run does not do again what was done inside.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_is_resumed_at_the_step_that_failed() {
    let cluster = TestCluster::new().await;
    let effect = Effect::Fail { status: 422, code: "Invalid".into(), message: "no".into() };
    cluster.simulator.inject(Fault { matching: "patch nodes/*".into(), nth: 2, times: 1, effect });
    let failed = cluster.run(&runbook(EACH)).await.expect_state(RunState::Failed);
    let node = failed.output("relay")["nodes"][1].as_str().unwrap().to_owned();
    let expected = format!("item 2 of 2 ({node}): Close {node}: ");
    assert!(failed.error().starts_with(&expected), "{}", failed.error());
    let resumed = cluster.resume(failed.run.id(), ResumeMode::Continue).await.expect_success();
    let called = resumed.paths_with(|event| matches!(event, StepEvent::StepCalled { .. }));
    assert_eq!(called, ["all[0]", "all[1]"], "the inputs are decided once");
    assert_eq!(resumed.paths_with(is_prepared), ["all[0]/close", "all[1]/close"]);
    assert_eq!(count_cordoned(&cluster).await, 2);
}

/// What was undone when the call failed is done again.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_undone_begins_again_when_the_run_is_resumed() {
    let cluster = TestCluster::new().await;
    let text = runbook(EACH).replace(
        "{that: \"{{ not inputs.fails }}\", message: it fails}",
        "{that: true, message: no}",
    );
    let text = text.replace(
        "- id: check\n  on_failure: stop\n  action: assert\n  with: {that: true, message: no}",
        "- id: scale\n  on_failure: rollback\n  action: scale_deployment\n  \
         with: {namespace: rafay-core, deployment: relay-cache, replicas: 1}",
    );
    let effect = Effect::Fail { status: 422, code: "Invalid".into(), message: "no".into() };
    let matching = "patch deployments/rafay-core/relay-cache/scale".to_owned();
    cluster.simulator.inject(Fault { matching, nth: 1, times: 1, effect });
    let failed = cluster.run(&text).await.expect_state(RunState::Failed);
    assert_eq!(failed.paths_with(is_undone), ["all[0]/scale", "all[0]/close"]);
    assert_eq!(count_cordoned(&cluster).await, 0);
    let resumed = cluster.resume(failed.run.id(), ResumeMode::Continue).await.expect_success();
    assert_eq!(
        resumed.paths_with(is_prepared)[2..],
        ["all[0]/close", "all[0]/scale", "all[1]/close", "all[1]/scale"]
    );
    assert_eq!(count_cordoned(&cluster).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_of_a_call_is_around_those_inside() {
    let cluster = TestCluster::new().await;
    let text = "\
name: outer
steps:
- {id: waits, timeout: 2m, call: wait}
---
name: wait
steps:
- {id: long, timeout: 9h, action: sleep, with: {duration: 8h}}
";
    let failed = cluster.run(text).await.expect_state(RunState::Failed);
    assert_eq!(
        failed.error(),
        "long: timed out after the 2m of step 'waits', waiting for 8h to pass"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_a_called_runbook_does_not_allow_are_found_before_the_run() {
    let cluster = TestCluster::new().await;
    let text = "\
name: outer
inputs: {name: {type: string}}
steps:
- {id: restart, call: restart, with: {deployment: \"{{ inputs.name }}\"}}
---
name: restart
inputs: {deployment: {type: string, syntax: kubernetes-name}}
steps:
- {id: it, action: rollout_restart, with: {namespace: rafay-core, deployment: \"{{ inputs.deployment }}\"}}
";
    let inputs = json!({"name": "Not A Name"});
    let Err(refused) = cluster.accept(text, inputs).await else { panic!("it is accepted") };
    assert!(refused.to_string().contains("deployment"), "{refused}");
}

/// A called runbook has steps that have run, too: they must stay as they were, and the others may be changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_finishes_with_a_changed_called_runbook() {
    let cluster = TestCluster::new().await;
    let text = format!(
        "name: outer\nsteps:\n- {{id: all, call: middle}}\n---\n\
         name: middle\nsteps:\n\
         - {{id: relay, action: list_pods, with: {{namespace: rafay-core, deployment: rafay-relay}}}}\n\
         - id: one\n  for_each: \"{{{{ relay.nodes[:1] }}}}\"\n  call: close\n  \
         with: {{node: \"{{{{ each }}}}\", fails: true}}\n---\n{CLOSE}"
    );
    let failed = cluster.run(&text).await.expect_state(RunState::Failed);
    let id = failed.run.id();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let runbook = test_support::checked(&text.replace(from, to)).unwrap();
        ResumeRequest { runbook: Some(runbook), ..ResumeRequest::default() }
    };
    let has_run = "has run already, and does something else in the changed runbook";
    let refused = [
        ("[\"{{ inputs.node }}\"]", "[\"{{ inputs.node }}\", other]", "all/one/close"),
        ("default: false", "default: true", "all/one"),
        ("relay.nodes[:1]", "relay.nodes[:2]", "all/one"),
        ("deployment: rafay-relay", "deployment: rafay-sentry", "all/relay"),
    ];
    for (from, to, step) in refused {
        let refused = cluster.engine.prepare_resume(id, changed(from, to)).await.err().unwrap();
        assert_eq!(refused.to_string(), format!("step '{step}' {has_run}"));
    }
    let request = changed("not inputs.fails", "true");
    let ended = cluster.resume(id, request).await.expect_success();
    assert_eq!(ended.paths_with(is_prepared), ["all/one[0]/close"], "nothing is done twice");
    let back = cluster.engine.prepare_resume(id, ResumeMode::Rollback).await;
    assert!(back.is_err(), "it has succeeded");
}

/// The rollback finds every change that the run has made, also in a called runbook that was changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_a_changed_called_runbook_is_rolled_back_whole() {
    let cluster = TestCluster::new().await;
    let text = runbook(EACH)
        .replace("message: it fails}", "message: first}")
        .replace("node: \"{{ each }}\"}", "node: \"{{ each }}\", fails: true}");
    let failed = cluster.run(&text).await.expect_state(RunState::Failed);
    let id = failed.run.id();
    let runbook = test_support::checked(&text.replace("message: first}", "message: second}"));
    let request = ResumeRequest { runbook: Some(runbook.unwrap()), ..ResumeRequest::default() };
    let again = cluster.resume(id, request).await.expect_state(RunState::Failed);
    assert!(again.error().contains("second"), "{}", again.error());
    let back = cluster.resume(id, ResumeMode::Rollback).await.expect_state(RunState::RolledBack);
    assert_eq!(back.paths_with(is_undone), ["all[0]/close"]);
    assert_eq!(count_cordoned(&cluster).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_lines_of_a_called_runbook_begin_with_their_path() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&runbook(EACH)).await.expect_success();
    let node = ended.output("relay")["nodes"][1].as_str().unwrap();
    let lines = ended.lines();
    let inside = lines.iter().filter(|line| line.starts_with("all[1]"));
    let expected = [
        format!("all[1]: Starting step: all [2/2]: {node}"),
        "all[1]: Calling runbook: close".to_owned(),
        format!("all[1]/close: Starting step: Close {node}"),
        format!("all[1]/close: Changing node {node} unschedulable: false -> true"),
        format!("all[1]/close: Completed step: Close {node}"),
        "all[1]/check: Starting step: check".to_owned(),
        "all[1]/check: Completed step: check".to_owned(),
        format!("all[1]: {node}: 1"),
        format!("all[1]: Completed step: all [2/2]: {node}"),
    ];
    assert_eq!(inside.cloned().collect::<Vec<_>>(), expected);
}

/// Lets the Nth call that matches fail, once.
fn fail(cluster: &TestCluster, matching: &str, nth: u32) {
    let effect = Effect::Fail { status: 422, code: "Invalid".into(), message: "no".into() };
    cluster.simulator.inject(Fault { matching: matching.into(), nth, times: 1, effect });
}

/// What was undone is done again, also in a loop and in a call that had come to their end; what cannot be undone is
/// still there, and is not done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_undone_begins_again_with_its_loops_and_calls() {
    let cluster = TestCluster::new().await;
    let text = format!(
        "\
name: outer
steps:
- {{id: all, call: inner}}
---
name: inner
defaults: {{on_failure: rollback}}
steps:
- {{id: relay, action: list_pods, with: {{namespace: rafay-core, deployment: rafay-relay}}}}
- id: looped
  for_each: \"{{{{ relay.nodes[:1] }}}}\"
  action: cordon
  with: {{nodes: [\"{{{{ each }}}}\"]}}
- {{id: called, call: close, with: {{node: \"{{{{ relay.nodes[1] }}}}\"}}}}
- {{id: restart, action: rollout_restart, with: {{namespace: rafay-core, deployment: rafay-sentry}}}}
- {{id: last, action: rollout_restart, with: {{namespace: rafay-core, deployment: relay-cache}}}}
---
{CLOSE}"
    );
    fail(&cluster, "patch deployments/rafay-core/relay-cache*", 1);
    let failed = cluster.run(&text).await.expect_state(RunState::Failed);
    assert_eq!(count_cordoned(&cluster).await, 0, "{:#?}", failed.lines());
    cluster.resume(failed.run.id(), ResumeMode::Continue).await.expect_success();
    assert_eq!(count_cordoned(&cluster).await, 2);
    let restarts = cluster.count_calls("patch deployments/rafay-core/rafay-sentry");
    assert_eq!(restarts, 1, "a restart is not undone, and not repeated");
}

/// Runs until the undo of a step has begun, and shuts down then.
async fn shut_down_in_undo(cluster: &TestCluster, text: &str, step: &str) -> RunId {
    // The undo hangs until it is interrupted.
    let effect = Effect::Delay { by: Duration::from_secs(3_600_000) };
    let matching = "patch nodes/*".to_owned();
    cluster.simulator.inject(Fault { matching, nth: 4, times: 1, effect });
    let accepted = cluster.accept(text, json!({})).await.unwrap();
    let control = Control::default();
    let mut listener = accepted.subscribe();
    let driving = cluster.drive(accepted, control.clone());
    let simulator = &cluster.simulator;
    let stopping = async {
        while let Ok(record) = listener.recv().await {
            if let Event::Step { path, event: StepEvent::StepUndoStarted } = &record.event
                && path.to_string() == step
            {
                let sent = || {
                    let calls = simulator.calls();
                    let sent =
                        calls.iter().filter(|call| call.operation.starts_with("patch nodes/"));
                    (sent.count() >= 4).then_some(())
                };
                test_support::wait_until("the second undo of a node", sent).await;
                control.shut_down();
            }
        }
    };
    let (ended, ()) = tokio::join!(driving, stopping);
    ended.expect_state(RunState::Interrupted).run.id().clone()
}

/// A runbook that closes two nodes, fails and opens them again.
const ROLLED_BACK: &str = "\
name: outer
steps:
- {id: all, on_failure: continue, call: inner}
- {id: next, action: sleep, with: {duration: 1s}}
---
name: inner
defaults: {on_failure: rollback}
steps:
- {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
- {id: close, action: cordon, with: {nodes: \"{{ relay.nodes[:2] }}\"}}
- {id: check, action: assert, with: {that: \"{{ relay.count < 0 }}\", message: it fails}}
";

/// The rollback comes to its end, and the run is not continued differently before.
#[tokio::test(flavor = "multi_thread")]
async fn the_rollback_of_a_called_runbook_is_finished_when_the_run_is_resumed() {
    let cluster = TestCluster::new().await;
    let id = shut_down_in_undo(&cluster, ROLLED_BACK, "all/close").await;
    let changed = ROLLED_BACK.replace("id: check", "id: sure").replace("count < 0", "count > 0");
    let runbook = test_support::checked(&changed).unwrap();
    let request = ResumeRequest { runbook: Some(runbook), ..ResumeRequest::default() };
    let refused = cluster.engine.prepare_resume(&id, request).await.err().unwrap();
    let expected = "step 'all' has failed, and what follows from that is not done yet";
    assert_eq!(refused.to_string(), expected);
    let ended = cluster.resume(&id, ResumeMode::Continue).await;
    ended.expect_state(RunState::SucceededWithFailures);
    assert_eq!(count_cordoned(&cluster).await, 0);
}

/// An item whose rollback was cut off is brought to its end although another has failed before.
#[tokio::test(flavor = "multi_thread")]
async fn the_rollback_of_an_item_is_finished_when_the_run_is_resumed() {
    let cluster = TestCluster::new().await;
    let text = ROLLED_BACK
        .replace("call: inner}\n- {id: next", "call: middle}\n- {id: next")
        .replace(
            "---\n",
            "---\nname: middle\nsteps:\n- id: both\n  for_each: [0, 2]\n  at_once: 2\n  \
             call: inner\n  with: {count: \"{{ each }}\"}\n---\n",
        )
        .replace("name: inner\n", "name: inner\ninputs: {count: {type: integer}}\n")
        .replace(
            "relay.nodes[:2] }}\"}",
            "relay.nodes[:inputs.count] }}\"}, when: \"{{ inputs.count > 0 }}\"",
        );
    let id = shut_down_in_undo(&cluster, &text, "all/both[1]/close").await;
    let ended = cluster.resume(&id, ResumeMode::Continue).await;
    ended.expect_state(RunState::SucceededWithFailures);
    assert_eq!(count_cordoned(&cluster).await, 0);
}

/// A call that was skipped, and is run after all, tries again what had failed in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_skipped_can_be_run_after_all() {
    let cluster = TestCluster::new().await;
    let text = runbook(
        "- {id: all, call: close, with: {node: \"{{ relay.nodes[0] }}\"}}\n\
         - {id: restart, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry}}\n",
    );
    fail(&cluster, "patch nodes/*", 1);
    fail(&cluster, "patch deployments/rafay-core/rafay-sentry*", 1);
    let failed = cluster.run(&text).await.expect_state(RunState::Failed);
    let id = failed.run.id();
    let request = ResumeRequest { skip: vec!["all".into()], ..ResumeRequest::default() };
    cluster.resume(id, request).await.expect_state(RunState::Failed);
    let request = ResumeRequest { from: Some("all".into()), ..ResumeRequest::default() };
    cluster.resume(id, request).await.expect_success();
    assert_eq!(count_cordoned(&cluster).await, 1);
}

/// It would never run.
#[tokio::test(flavor = "multi_thread")]
async fn a_called_runbook_that_has_ended_gets_no_more_steps() {
    let cluster = TestCluster::new().await;
    let text = runbook(
        "- {id: all, call: close, with: {node: \"{{ relay.nodes[0] }}\"}}\n\
         - {id: fail, action: assert, with: {that: false, message: no}}\n",
    );
    let failed = cluster.run(&text).await.expect_state(RunState::Failed);
    let more = "- {id: more, action: sleep, with: {duration: 1s}}\noutputs:\n";
    let runbook = test_support::checked(&text.replace("outputs:\n", more)).unwrap();
    let request = ResumeRequest { runbook: Some(runbook), ..ResumeRequest::default() };
    let refused = cluster.engine.prepare_resume(failed.run.id(), request).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "step 'all' has run already, and does something else in the changed runbook"
    );
}

/// A later step that would fail in any case is a failure of the called runbook, and of nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_step_that_would_fail_is_a_failure_of_its_own_runbook() {
    let cluster = TestCluster::new().await;
    let text = "\
name: outer
inputs: {names: {type: list of string, default: [a]}}
steps:
- {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
- id: all
  on_failure: continue
  call: inner
  with: {names: \"{{ inputs.names }}\", node: \"{{ relay.nodes[0] }}\", place: \"{{ relay.count + 5 }}\"}
- {id: optional, on_failure: continue, action: assert, with: {that: \"{{ relay.count < 0 }}\", message: no}}
- {id: next, action: sleep, with: {duration: 1s}}
---
name: inner
inputs: {names: {type: list of string}, node: {type: string}, place: {type: integer}}
steps:
- {id: close, action: cordon, with: {nodes: [\"{{ inputs.node }}\"]}}
- id: bad
  action: assert
  with: {that: \"{{ inputs.names[inputs.place] == 'a' }}\", message: no}
";
    let ended = cluster.run(text).await.expect_state(RunState::SucceededWithFailures);
    let lines = ended.lines();
    assert!(lines.iter().any(|line| line == "Completed step: next"), "{lines:#?}");
}
