//! The interpreter's own promises, on the first four steps of relay-scale.

use rafay_relay_sop::{
    engine::{Control, Direction, Refusal},
    journal::{Event, State},
    simulator::{Effect, Fault, NodegroupFacts},
};
use serde_json::json;

use crate::support::{Ended, SCALE_UP, World, until};

#[tokio::test(flavor = "multi_thread")]
async fn intent_receipt_and_output_are_journaled_in_that_order() {
    let world = World::new().await;
    let ended = world.run(SCALE_UP).await.succeeded();
    let kinds: Vec<&str> = ended
        .records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Prepared { step, .. } if step == "scale_up" => Some("prepared"),
            Event::Applied { step, .. } if step == "scale_up" => Some("applied"),
            Event::Completed { step, .. } if step == "scale_up" => Some("completed"),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, ["prepared", "applied", "completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_condition_is_false_is_left_out() {
    let world = World::new().await;
    let text = SCALE_UP
        .replace(
            "    action: wait_nodes",
            "    when: \"{{ scale_up.desired > 99 }}\"\n    action: wait_nodes",
        )
        .replace("    log: \"{{ new_nodes.count }}", "    # log: \"{{ new_nodes.count }}");
    let ended = world.run(&text).await.succeeded();
    let left_out = "Skipped step: Check that new nodes are showing up and node count matches (its `when` is false)";
    assert!(ended.lines().iter().any(|line| line == left_out), "{}", ended.lines().join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_keeps_its_lock_until_it_is_resumed() {
    let world = World::new().await;
    let recorder = world.accept(SCALE_UP, json!({})).await.unwrap();
    let id = recorder.run().id.clone();
    let control = Control::default();
    let mut listener = recorder.listen();
    let driving = world.drive(recorder, control.clone());
    let cancelling = async {
        loop {
            let record = listener.recv().await.unwrap();
            if matches!(&record.event, Event::StepStarted { step, .. } if step == "new_nodes") {
                return control.cancel("me");
            }
        }
    };
    let (ended, ()) = tokio::join!(driving, cancelling);
    let ended = ended.is(State::Cancelled);
    assert_eq!(ended.error(), "cancelled by me");

    let Err(refusal) = world.accept(SCALE_UP, json!({})).await else {
        panic!("a second run would double again")
    };
    assert!(
        matches!(&refusal, Refusal::Unfinished { run, state: State::Cancelled, .. } if *run == id)
    );
    assert!(refusal.to_string().contains("resume it, roll it back or abandon it"), "{refusal}");

    world.take_up(&id, Direction::On).await.succeeded();
    assert_eq!(world.effective(), ["eks:UpdateNodegroupConfig"]);
}

/// Drives a run and cancels it when its Nth event is written; whether it was cancelled before its end.
async fn cancelled_at(world: &World, event: u64) -> (Ended, bool) {
    let recorder = world.accept(SCALE_UP, json!({})).await.unwrap();
    let control = Control::default();
    let mut listener = recorder.listen();
    let driving = world.drive(recorder, control.clone());
    let cancelling = async {
        while let Ok(record) = listener.recv().await {
            if record.seq == event {
                control.cancel("me");
            }
        }
    };
    let (ended, ()) = tokio::join!(driving, cancelling);
    let was_cancelled = ended.state == State::Cancelled;
    (ended, was_cancelled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_cancelled_at_any_event_can_go_on_or_back() {
    for event in 1.. {
        let (forward, back) = (World::new().await, World::new().await);
        let before = back.simulator.state().await.unwrap();
        let (ended, was_cancelled) = cancelled_at(&forward, event).await;
        if !was_cancelled {
            assert!(event >= 12, "event {event}: {}", ended.lines().join("\n"));
            break;
        }
        forward.take_up(&ended.run.id, Direction::On).await.succeeded();
        assert_eq!(forward.effective(), ["eks:UpdateNodegroupConfig"], "cancelled at {event}");

        let (ended, was_cancelled) = cancelled_at(&back, event).await;
        if was_cancelled {
            back.take_up(&ended.run.id, Direction::Back).await.is(State::RolledBack);
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
    let world = World::new().await;
    let update = "eks:UpdateNodegroupConfig";
    world.simulator.inject(Fault {
        matching: update.into(),
        nth: 1,
        times: 1,
        effect: Effect::Delay { by: std::time::Duration::from_secs(120) },
    });
    let recorder = world.accept(SCALE_UP, json!({})).await.unwrap();
    let control = Control::default();
    let driving = world.drive(recorder, control.clone());
    let cancelling = async {
        until("the call", || (world.count(update) > 0).then_some(())).await;
        control.cancel("me");
    };
    let (ended, ()) = tokio::join!(driving, cancelling);
    let ended = ended.is(State::Cancelled);
    assert!(ended.run.step("scale_up").unwrap().receipt.is_some());
    assert_eq!(world.effective(), [update]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_run_is_over() {
    let world = World::new().await;
    let recorder = world.accept(SCALE_UP, json!({})).await.unwrap();
    let id = recorder.run().id.clone();
    let control = Control::default();
    control.cancel("me");
    world.drive(recorder, control).await.is(State::Cancelled);
    world.take_up(&id, Direction::Back).await.is(State::RolledBack);
    let Err(refusal) = world.engine.take_up(&id, Direction::On, "me").await else {
        panic!("there is nothing to resume")
    };
    assert_eq!(
        refusal.to_string(),
        format!("run {id} is rolled_back: only a run that is not finished can be resumed")
    );
    assert_eq!(world.effective(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_not_sent_twice() {
    for before in [true, false] {
        let world = World::new().await;
        world.simulator.inject(Fault {
            matching: "eks:UpdateNodegroupConfig".into(),
            nth: 1,
            times: 1,
            effect: Effect::Drop { before },
        });
        let ended = world.run(SCALE_UP).await.succeeded();
        assert_eq!(ended.output("scale_up")["desired"], json!(6));
        assert_eq!(world.effective(), ["eks:UpdateNodegroupConfig"], "before: {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_checked_before_anything_moves() {
    let world = World::new().await;
    let Err(refusal) = world.accept(SCALE_UP, json!({"scale_factr": 3})).await else {
        panic!("an unknown input")
    };
    assert!(refusal.to_string().contains("scale_factor"), "{refusal}");
    let Err(refusal) = world.accept(SCALE_UP, json!({"scale_factor": 9})).await else {
        panic!("an input above its maximum")
    };
    assert!(refusal.to_string().contains('4'), "{refusal}");
    assert!(world.store.list().unwrap().is_empty(), "no run was begun");
}
