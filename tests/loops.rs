//! `for_each`: a step that runs once for each of several items.

use std::collections::BTreeSet;

use rafay_relay_sop::{
    engine::{Control, ResumeRequest},
    journal::{Event, ResumeMode, RunState, RunSummary, StepEvent, StepState},
};
use serde_json::{Value, json};
use simulator::{Effect, Fault};

use test_support::TestCluster;

/// A runbook over two nodes of the relay, with more steps after the first.
fn runbook(steps: &str) -> String {
    format!(
        "name: loop\ninputs: {{names: {{type: list of string, default: []}}}}\nsteps:\n\
         - {{id: relay, action: list_pods, with: {{namespace: rafay-core, deployment: rafay-relay}}}}\n{steps}"
    )
}

const CORDON: &str = "\
- id: close
  name: Close the nodes
  for_each: \"{{ relay.nodes[:2] }}\"
  retry: {attempts: 2, backoff: 1s}
  action: cordon
  with: {nodes: [\"{{ each }}\"]}
  log: \"{{ each }} is closed: {{ close.changed | length }}\"
";

/// Lets every change of a node fail that is made by the Nth call from now on.
fn fail(cluster: &TestCluster, nth: u32, times: u32) {
    let effect = Effect::Fail { status: 422, code: "Invalid".into(), message: "no".into() };
    cluster.simulator.inject(Fault { matching: "patch nodes/*".into(), nth, times, effect });
}

fn is_undone(event: &StepEvent) -> bool {
    matches!(event, StepEvent::StepUndoFinished { .. })
}

fn is_started(event: &StepEvent) -> bool {
    matches!(event, StepEvent::StepStarted { .. })
}

fn is_completed(event: &StepEvent) -> bool {
    matches!(event, StepEvent::StepCompleted { .. })
}

async fn cordoned(cluster: &TestCluster) -> BTreeSet<String> {
    let state = cluster.simulator.state().await.unwrap();
    let nodes = state.nodes.into_iter().filter(|(_, node)| node.unschedulable);
    nodes.map(|(name, _)| name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_is_a_list_in_the_order_of_the_items() {
    let cluster = TestCluster::new().await;
    let steps = format!(
        "{CORDON}- {{id: check, action: assert, with: {{message: no, that: \
         \"{{{{ close | map(attribute='nodes') | map('first') | list == relay.nodes[:2] }}}}\"}}}}\n"
    );
    let ended = cluster.run(&runbook(&steps)).await.expect_success();
    let nodes = ended.output("relay")["nodes"].as_array().unwrap()[..2].to_vec();
    let closed: Vec<Value> =
        ended.output("close").as_array().unwrap().iter().map(|o| o["nodes"][0].clone()).collect();
    assert_eq!(closed, nodes);
    let expected: BTreeSet<String> =
        nodes.iter().map(|node| node.as_str().unwrap().to_owned()).collect();
    assert_eq!(cordoned(&cluster).await, expected);
    let lines = ended.lines_without_waits();
    let [first, second] = [nodes[0].as_str().unwrap(), nodes[1].as_str().unwrap()];
    let after = lines.iter().position(|line| line == "Starting step: Close the nodes").unwrap();
    assert_eq!(
        lines[after + 1..after + 11],
        [
            "2 items".to_owned(),
            format!("close[0]: Starting step: Close the nodes [1/2]: {first}"),
            format!("close[0]: Changing node {first} unschedulable: false -> true"),
            format!("close[0]: {first} is closed: 1"),
            format!("close[0]: Completed step: Close the nodes [1/2]: {first}"),
            format!("close[1]: Starting step: Close the nodes [2/2]: {second}"),
            format!("close[1]: Changing node {second} unschedulable: false -> true"),
            format!("close[1]: {second} is closed: 1"),
            format!("close[1]: Completed step: Close the nodes [2/2]: {second}"),
            "Completed step: Close the nodes".to_owned(),
        ]
    );
    // One step with its items, for those who read it as data.
    let summary = RunSummary::of(&ended.run, false);
    assert_eq!(summary.steps.len(), 3);
    assert_eq!((summary.steps[1].item_count, summary.steps[1].items.len()), (Some(2), 2));
    assert_eq!(summary.steps[1].items[1].id.to_string(), "close[1]");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_over_a_map_is_a_map() {
    let cluster = TestCluster::new().await;
    let steps = "\
- id: pods
  for_each: {a: rafay-relay, b: rafay-sentry}
  action: list_pods
  with: {namespace: rafay-core, deployment: \"{{ each.value }}\"}
  log: \"{{ each.key }}: {{ pods.count }}\"
- {id: check, action: assert, with: {that: \"{{ pods.a.count == relay.count }}\", message: no}}
";
    let ended = cluster.run(&runbook(steps)).await.expect_success();
    let keys: Vec<&String> = ended.output("pods").as_object().unwrap().keys().collect();
    assert_eq!(keys, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_succeeds_and_does_nothing() {
    let cluster = TestCluster::new().await;
    let steps = CORDON.replace("relay.nodes[:2]", "inputs.names");
    let ended = cluster.run(&runbook(&steps)).await.expect_success();
    assert_eq!(*ended.output("close"), json!([]));
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

/// All that are worked on at a time begin before the first of them comes to its end.
#[tokio::test(flavor = "multi_thread")]
async fn some_items_are_worked_on_at_a_time() {
    let cluster = TestCluster::new().await;
    let steps = "\
- id: waits
  for_each: [1, 2, 3, 4, 5]
  at_once: 3
  action: sleep
  with: {duration: \"{{ each }}m\"}
";
    let ended = cluster.run(&runbook(steps)).await.expect_success();
    let started = ended.paths_with(is_started);
    assert_eq!(
        started,
        ["relay", "waits", "waits[0]", "waits[1]", "waits[2]", "waits[3]", "waits[4]"]
    );
    let order = |name: &str, kind: fn(&StepEvent) -> bool| {
        let is_it = |event: &Event| match event {
            Event::Step { path, event } => path.to_string() == name && kind(event),
            Event::Run(_) => false,
        };
        ended.records.iter().position(|record| is_it(&record.event)).unwrap()
    };
    assert!(order("waits[2]", is_started) < order("waits[0]", is_completed));
    assert!(order("waits[3]", is_started) > order("waits[0]", is_completed));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_is_retried_by_itself() {
    let cluster = TestCluster::new().await;
    let effect = Effect::Fail { status: 500, code: "InternalError".into(), message: "x".into() };
    cluster.simulator.inject(Fault { matching: "patch nodes/*".into(), nth: 2, times: 1, effect });
    let ended = cluster.run(&runbook(CORDON)).await.expect_success();
    let retried = ended.paths_with(|event| matches!(event, StepEvent::StepAttemptFailed { .. }));
    assert_eq!(retried, ["close[1]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_begins_no_other_item_and_the_resumed_run_does_only_what_is_left() {
    let cluster = TestCluster::new().await;
    fail(&cluster, 2, 1);
    let text = runbook(&CORDON.replace("[:2]", ""));
    let failed = cluster.run(&text).await.expect_state(RunState::Failed);
    let nodes = failed.output("relay")["nodes"].as_array().unwrap().clone();
    assert!(nodes.len() >= 3, "there is an item after the one that fails");
    let (second, count) = (nodes[1].as_str().unwrap(), nodes.len());
    let expected = format!("item 2 of {count} ({second}): ");
    assert!(failed.error().starts_with(&expected), "{}", failed.error());
    assert_eq!(failed.paths_with(is_completed), ["relay", "close[0]"]);
    assert!(!failed.paths_with(is_started).contains(&"close[2]".to_owned()));
    let resumed = cluster.resume(failed.run.id(), ResumeMode::Continue).await.expect_success();
    let completed = resumed.paths_with(is_completed);
    let items: Vec<String> = (0..count).map(|index| format!("close[{index}]")).collect();
    assert_eq!(completed[1..=count], items, "each once, and in order");
    assert_eq!(cordoned(&cluster).await.len(), count);
}

/// The items were decided on before the first change: what is read later does not change them.
#[tokio::test(flavor = "multi_thread")]
async fn items_stay_the_same_once_one_has_changed_something() {
    let cluster = TestCluster::new().await;
    fail(&cluster, 2, 1);
    let failed = cluster.run(&runbook(CORDON)).await.expect_state(RunState::Failed);
    let resumed = cluster.resume(failed.run.id(), ResumeMode::Continue).await.expect_success();
    let decided = resumed.paths_with(|event| matches!(event, StepEvent::StepItemsDecided { .. }));
    assert_eq!(decided, ["close"]);
    assert_eq!(*resumed.output("relay"), *failed.output("relay"), "and it is not read again");
}

/// Nothing was changed, so a person may have mended what the list comes from.
#[tokio::test(flavor = "multi_thread")]
async fn items_are_decided_again_where_none_has_changed_anything() {
    let cluster = TestCluster::new().await;
    let steps = "\
- id: pods
  for_each: \"{{ relay.nodes }}\"
  action: list_pods
  with: {namespace: rafay-core, deployment: \"none-{{ each }}\"}
";
    let failed = cluster.run(&runbook(steps)).await.expect_state(RunState::Failed);
    let resumed = cluster.resume(failed.run.id(), ResumeMode::Continue).await;
    let decided = resumed.paths_with(|event| matches!(event, StepEvent::StepItemsDecided { .. }));
    assert_eq!(decided, ["pods", "pods"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_undoes_the_items_backwards() {
    let cluster = TestCluster::new().await;
    let steps = format!(
        "{CORDON}- {{id: no, on_failure: rollback, action: assert, with: {{that: false, message: no}}}}\n"
    );
    let ended = cluster.run(&runbook(&steps)).await.expect_state(RunState::RolledBack);
    assert_eq!(ended.paths_with(is_undone), ["close[1]", "close[0]"]);
    assert_eq!(cordoned(&cluster).await, BTreeSet::new());
    let summary = RunSummary::of(&ended.run, false);
    assert_eq!(summary.steps[1].state, StepState::Undone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_item_rolls_back_those_before_it() {
    let cluster = TestCluster::new().await;
    fail(&cluster, 2, 1);
    let steps = CORDON.replace("  action: cordon", "  on_failure: rollback\n  action: cordon");
    let ended = cluster.run(&runbook(&steps)).await.expect_state(RunState::RolledBack);
    assert_eq!(ended.paths_with(is_undone), ["close[1]", "close[0]"]);
    assert_eq!(cordoned(&cluster).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn under_continue_a_failed_item_is_null_and_the_others_are_run() {
    let cluster = TestCluster::new().await;
    fail(&cluster, 1, 1);
    let steps = CORDON.replace("  action: cordon", "  on_failure: continue\n  action: cordon");
    let steps = format!(
        "{steps}- {{id: check, action: assert, with: {{message: no, that: \
         \"{{{{ close[0] is none and close | reject('none') | list | length == 1 }}}}\"}}}}\n"
    );
    let ended = cluster.run(&runbook(&steps)).await;
    let ended = ended.expect_state(RunState::SucceededWithFailures);
    assert_eq!(ended.output("close")[0], Value::Null);
    assert_eq!(cordoned(&cluster).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_items_than_allowed_change_nothing() {
    let cluster = TestCluster::new().await;
    let names: Vec<String> = (0..1001).map(|index| format!("node-{index}")).collect();
    let text = runbook(&CORDON.replace("relay.nodes[:2]", "inputs.names"));
    let Err(refused) = cluster.accept(&text, json!({ "names": names })).await else {
        panic!("1001 items are accepted")
    };
    let message = refused.to_string();
    assert!(message.contains("1001 items, and at most 1000 are allowed"), "{message}");
}

/// The parameters of every item are evaluated before the run, where the items are known.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_would_fail_is_found_before_the_run() {
    let cluster = TestCluster::new().await;
    let steps = "\
- id: list
  for_each: \"{{ inputs.names }}\"
  action: list_pods
  with: {namespace: \"{{ each }}\", deployment: rafay-relay}
";
    let names = json!({"names": ["rafay-core", "Not A Name"]});
    let Err(refused) = cluster.accept(&runbook(steps), names).await else {
        panic!("a namespace with spaces is accepted")
    };
    assert!(refused.to_string().contains("namespace"), "{refused}");
}

/// Waits as long as the item says, or fails at once.
const WAITS: &str = "\
name: waits
steps:
- id: all
  for_each: [0, 600]
  at_once: 2
  call: wait
  with: {minutes: \"{{ each }}\"}
---
name: wait
inputs: {minutes: {type: integer}}
steps:
- {id: check, action: assert, with: {that: \"{{ inputs.minutes > 0 }}\", message: no time}}
- {id: sleep, timeout: 20h, action: sleep, with: {duration: 3h}}
";

/// As long as others are at work, the run can be asked to stop. Then the failure counts, which is in the journal, unless
/// a person has cancelled the run: a person who continues it wants the item to be tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_while_others_are_at_work_after_an_item_has_failed() {
    type Case = (fn(&Control), RunState, usize);
    let cases: [Case; 2] = [
        (|control| control.cancel("me"), RunState::Cancelled, 2),
        (Control::shut_down, RunState::Interrupted, 1),
    ];
    for (request, state, times) in cases {
        let cluster = TestCluster::new().await;
        let text = WAITS.replace("  at_once", "  timeout: 20h\n  at_once");
        let accepted = cluster.accept(&text, json!({})).await.unwrap();
        let (id, control) = (accepted.run().id().clone(), Control::default());
        let mut listener = accepted.subscribe();
        let driving = cluster.drive(accepted, control.clone());
        let stopping = async {
            let (mut has_failed, mut sleeps, mut is_asked) = (false, false, false);
            while let Ok(record) = listener.recv().await {
                if let Event::Step { path, event } = &record.event {
                    let path = path.to_string();
                    has_failed |= path == "all[0]" && matches!(event, StepEvent::StepFailed { .. });
                    sleeps |= path == "all[1]/sleep" && is_started(event);
                    if has_failed && sleeps && !is_asked {
                        is_asked = true;
                        let run = cluster.engine.open(&id).await.unwrap();
                        assert_eq!(run.run().state(true), RunState::Running);
                        assert_eq!(run.run().state(false), RunState::Interrupted);
                        request(&control);
                    }
                }
            }
        };
        let (ended, ()) = tokio::join!(driving, stopping);
        ended.expect_state(state);
        let failed = cluster.resume(&id, ResumeMode::Continue).await.expect_state(RunState::Failed);
        assert_eq!(
            failed.error(),
            "item 1 of 2 (0): check: no time (`that` is false: `{{ inputs.minutes > 0 }}` with inputs.minutes = 0)"
        );
        assert_eq!(failed.run.head.failed_step.as_ref().unwrap().to_string(), "all");
        assert!(failed.paths_with(is_completed).contains(&"all[1]".to_owned()), "it has ended");
        let tried = failed.paths_with(|event| matches!(event, StepEvent::StepFailed { .. }));
        assert_eq!(tried.iter().filter(|path| *path == "all[0]/check").count(), times);
    }
}

/// A person has changed what the items come from, and nothing was changed yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_runbook_has_other_items_where_none_has_changed_anything() {
    let cluster = TestCluster::new().await;
    let text = WAITS.replace("[0, 600]", "[600, 601]");
    let accepted = cluster.accept(&text, json!({})).await.unwrap();
    let control = Control::default();
    let mut listener = accepted.subscribe();
    let driving = cluster.drive(accepted, control.clone());
    let stopping = async {
        while let Ok(record) = listener.recv().await {
            if let Event::Step { path, event } = &record.event
                && path.to_string() == "all[1]/sleep"
                && is_started(event)
            {
                control.shut_down();
            }
        }
    };
    let (ended, ()) = tokio::join!(driving, stopping);
    let ended = ended.expect_state(RunState::Interrupted);
    let changed = test_support::checked(&text.replace("[600, 601]", "[1]").replace("3h", "1m"));
    let request = ResumeRequest { runbook: Some(changed.unwrap()), ..ResumeRequest::default() };
    let resumed = cluster.resume(ended.run.id(), request).await.expect_success();
    assert_eq!(resumed.output("all").as_array().unwrap().len(), 1);
}
