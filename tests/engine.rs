//! The interpreter's own promises, on the first four steps of relay-scale.

use rafay_relay_sop::{
    engine::{Control, StartError},
    journal::{Event, HeadQuery, ResumeMode, RunState, StepEvent, StepPath},
};
use serde_json::json;
use simulator::{Effect, Fault, NodegroupFacts};

use test_support::{FinishedRun, SCALE_UP, TestCluster, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn intent_receipt_and_output_are_journaled_in_that_order() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(SCALE_UP).await.expect_success();
    let kinds: Vec<&str> = ended
        .records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Step { path, event } if *path == StepPath::top_level("scale_up") => {
                match event {
                    StepEvent::StepPrepared { .. } => Some("prepared"),
                    StepEvent::StepApplied { .. } => Some("applied"),
                    StepEvent::StepCompleted { .. } => Some("completed"),
                    _ => None,
                }
            }
            _ => None,
        })
        .collect();
    assert_eq!(kinds, ["prepared", "applied", "completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_condition_is_false_is_skipped() {
    let cluster = TestCluster::new().await;
    let text = SCALE_UP
        .replace(
            "    action: wait_nodes",
            "    when: \"{{ scale_up.desired > 99 }}\"\n    action: wait_nodes",
        )
        .replace("    log: \"{{ new_nodes.count }}", "    # log: \"{{ new_nodes.count }}");
    let ended = cluster.run(&text).await.expect_success();
    let left_out = "Skipped step: Check that new nodes are showing up and node count matches (`when` is false: `{{ scale_up.desired > 99 }}` with scale_up.desired = 6)";
    assert!(ended.lines().iter().any(|line| line == left_out), "{}", ended.lines().join("\n"));
}

/// A list of nodes would hide the rest of the line, and an output that is absent has no value.
#[tokio::test(flavor = "multi_thread")]
async fn a_condition_counts_long_lists_and_names_absent_outputs() {
    let cluster = TestCluster::new().await;
    let text = format!(
        "{SCALE_UP}  - {{id: first, action: sleep, with: {{duration: 1s}}, when: \"{{{{ \
         new_nodes.new_nodes | length > 99 }}}}\"}}\n  - {{id: later, action: assert, with: {{that: \
         true, message: no}}, when: \"{{{{ first is defined and inputs.scale_factor > 9 }}}}\"}}\n"
    );
    let ended = cluster.run(&text).await.expect_success();
    let lines = ended.lines();
    let skipped: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("Skipped step: ")).collect();
    let [first, later] = skipped[..] else { panic!("{lines:#?}") };
    assert!(first.ends_with(" with new_nodes.new_nodes = a list of 3)"), "{first}");
    assert!(later.ends_with(" with first = absent, inputs.scale_factor = 2)"), "{later}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_keeps_its_lock_until_it_is_resumed() {
    let cluster = TestCluster::new().await;
    let run_writer = cluster.accept(SCALE_UP, json!({})).await.unwrap();
    let id = run_writer.run().id().clone();
    let control = Control::default();
    let mut listener = run_writer.subscribe();
    let driving = cluster.drive(run_writer, control.clone());
    let cancelling = async {
        loop {
            let record = listener.recv().await.unwrap();
            let is_start = matches!(
                &record.event,
                Event::Step { path, event: StepEvent::StepStarted { .. } }
                    if *path == StepPath::top_level("new_nodes")
            );
            if is_start {
                return control.cancel("me");
            }
        }
    };
    let (ended, ()) = tokio::join!(driving, cancelling);
    let ended = ended.expect_state(RunState::Cancelled);
    assert_eq!(ended.error(), "cancelled by me");

    let Err(refusal) = cluster.accept(SCALE_UP, json!({})).await else {
        panic!("a second run would double again")
    };
    assert!(
        matches!(&refusal, StartError::Unfinished { run, state: RunState::Cancelled, .. } if *run == id)
    );
    let hint = refusal.hint().unwrap();
    assert!(hint.contains("resume, roll back or abandon it"), "{hint}");

    cluster.resume(&id, ResumeMode::Continue).await.expect_success();
    assert_eq!(cluster.effective_calls(), ["eks:UpdateNodegroupConfig"]);
}

/// Drives a run and cancels it when its Nth event is written; whether it was cancelled before its end.
async fn cancelled_at(cluster: &TestCluster, event: u64) -> (FinishedRun, bool) {
    let run_writer = cluster.accept(SCALE_UP, json!({})).await.unwrap();
    let control = Control::default();
    let mut listener = run_writer.subscribe();
    let driving = cluster.drive(run_writer, control.clone());
    let cancelling = async {
        while let Ok(record) = listener.recv().await {
            if record.seq == event {
                control.cancel("me");
            }
        }
    };
    let (ended, ()) = tokio::join!(driving, cancelling);
    let was_cancelled = ended.state == RunState::Cancelled;
    (ended, was_cancelled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_cancelled_at_any_event_can_be_resumed_or_rolled_back() {
    for event in 1.. {
        let (forward, back) = (TestCluster::new().await, TestCluster::new().await);
        let before = back.simulator.state().await.unwrap();
        let (ended, was_cancelled) = cancelled_at(&forward, event).await;
        // The request can come too late for the last steps.
        if !was_cancelled && event < ended.records.len() as u64 {
            assert!(event >= 5, "event {event}: {}", ended.lines().join("\n"));
            continue;
        }
        if !was_cancelled {
            break;
        }
        forward.resume(ended.run.id(), ResumeMode::Continue).await.expect_success();
        assert_eq!(
            forward.effective_calls(),
            ["eks:UpdateNodegroupConfig"],
            "cancelled at {event}"
        );

        let (ended, was_cancelled) = cancelled_at(&back, event).await;
        if was_cancelled {
            back.resume(ended.run.id(), ResumeMode::Rollback)
                .await
                .expect_state(RunState::RolledBack);
            let after = back.simulator.state().await.unwrap();
            for (name, group) in &before.nodegroups {
                let now = &after.nodegroups[name];
                let sizes = |g: &NodegroupFacts| (g.min, g.max, g.desired, g.group_desired);
                assert_eq!(sizes(now), sizes(group), "{name}, cancelled at {event}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_is_finished_and_journaled_when_the_run_is_cancelled() {
    let cluster = TestCluster::new().await;
    let update = "eks:UpdateNodegroupConfig";
    cluster.simulator.inject(Fault {
        matching: update.into(),
        nth: 1,
        times: 1,
        effect: Effect::Delay { by: std::time::Duration::from_mins(2) },
    });
    let run_writer = cluster.accept(SCALE_UP, json!({})).await.unwrap();
    let control = Control::default();
    let driving = cluster.drive(run_writer, control.clone());
    let cancelling = async {
        wait_until("the call", || (cluster.count_calls(update) > 0).then_some(())).await;
        control.cancel("me");
    };
    let (ended, ()) = tokio::join!(driving, cancelling);
    let ended = ended.expect_state(RunState::Cancelled);
    assert!(ended.run.step(&StepPath::top_level("scale_up")).unwrap().receipt.is_some());
    assert_eq!(cluster.effective_calls(), [update]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_run_cannot_be_resumed() {
    let cluster = TestCluster::new().await;
    let run_writer = cluster.accept(SCALE_UP, json!({})).await.unwrap();
    let id = run_writer.run().id().clone();
    let control = Control::default();
    control.cancel("me");
    cluster.drive(run_writer, control).await.expect_state(RunState::Cancelled);
    cluster.resume(&id, ResumeMode::Rollback).await.expect_state(RunState::RolledBack);
    let Err(refusal) = cluster.engine.prepare_resume(&id, ResumeMode::Continue).await else {
        panic!("there is nothing to resume")
    };
    assert_eq!(
        refusal.to_string(),
        format!("run {id} is rolled_back: only an unfinished run can be resumed")
    );
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_response_is_lost_is_not_sent_twice() {
    for before in [true, false] {
        let cluster = TestCluster::new().await;
        cluster.simulator.inject(Fault {
            matching: "eks:UpdateNodegroupConfig".into(),
            nth: 1,
            times: 1,
            effect: Effect::Drop { before },
        });
        let ended = cluster.run(SCALE_UP).await.expect_success();
        assert_eq!(ended.output("scale_up")["desired"], json!(6));
        assert_eq!(cluster.effective_calls(), ["eks:UpdateNodegroupConfig"], "before: {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_checked_before_a_run_starts() {
    let cluster = TestCluster::new().await;
    let Err(refusal) = cluster.accept(SCALE_UP, json!({"scale_factr": 3})).await else {
        panic!("an unknown input")
    };
    assert!(refusal.hint().unwrap().contains("scale_factor"), "{refusal}");
    let Err(refusal) = cluster.accept(SCALE_UP, json!({"scale_factor": 9})).await else {
        panic!("an input above its maximum")
    };
    assert!(refusal.to_string().contains('4'), "{refusal}");
    assert!(cluster.store.heads(HeadQuery::All).await.unwrap().is_empty(), "no run was started");
}

/// A later step that must fail, whatever happens before it, is noticed before anything is changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_can_be_evaluated_early_does_not_fail_after_a_change() {
    let cluster = TestCluster::new().await;
    let with_step = |with: &str| format!("{SCALE_UP}  - {{id: last, name: The last, {with}}}\n");
    // The inputs alone decide.
    let negative = "action: scale_deployment, with: {namespace: n, deployment: d, replicas: '{{ 2 - inputs.scale_factor }}'}";
    let three = json!({"scale_factor": 3});
    let refused = cluster.accept(&with_step(negative), three).await.err().unwrap();
    let StartError::PreviewFailed { step, failure } = &refused else { panic!("{refused}") };
    assert_eq!(step, "The last");
    assert!(failure.message.contains("replicas: `{{ 2 - inputs.scale_factor }}`"), "{refused}");
    // What the first steps have read decides.
    let absent = "action: assert, with: {that: \"{{ [config.region][inputs.scale_factor] == 'a' }}\", message: m}";
    let ended = cluster.run(&with_step(absent)).await.expect_state(RunState::RolledBack);
    assert!(
        ended.error().starts_with("the later step 'The last' would fail: "),
        "{}",
        ended.error()
    );
    assert_eq!(cluster.effective_calls(), Vec::<String>::new());
    // A condition may guard a parameter, and a failure may be allowed.
    for guarded in [
        format!("when: '{{{{ inputs.scale_factor > 9 }}}}', {absent}"),
        format!("when: '{{{{ new_nodes.count > 99 }}}}', {absent}"),
    ] {
        cluster.run(&with_step(&guarded)).await.expect_success();
    }
    let ended = cluster.run(&with_step(&format!("on_failure: continue, {absent}"))).await;
    assert_eq!(ended.state, RunState::SucceededWithFailures);
}

/// The failure of the later step is not that of the change, which is allowed to fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_may_fail_is_not_skipped_for_the_failure_of_a_later_step() {
    let cluster = TestCluster::new().await;
    let text = "name: early
inputs: {n: {type: integer, default: 2, description: An index}}
steps:
  - {id: config, action: read_config, with: {namespace: rafay-core, name: rafay-relay-sop-config}}
  - {id: restart, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-relay}, on_failure: continue}
  - {id: cache, action: rollout_restart, with: {namespace: rafay-core, deployment: relay-cache}}
  - {id: last, action: assert, with: {that: \"{{ [config.region][inputs.n] == 'a' }}\", message: m}}
";
    let ended = cluster.run(text).await.expect_state(RunState::Failed);
    assert!(ended.error().starts_with("the later step 'last' would fail: "), "{}", ended.error());
    assert_eq!(cluster.effective_calls(), [""; 0]);
}
