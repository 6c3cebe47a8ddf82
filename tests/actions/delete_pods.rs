//! `delete_pods`.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use rafay_relay_sop::{
    engine::Control,
    journal::State,
    simulator::{Effect, Fault},
};
use serde_json::json;

use super::{
    SPACE, book, budget, create, delete_pod, left_alone, pods_of, resumed, rolled_back, uids,
    uids_of,
};
use crate::support::{World, until};

const DELETE: &str = "  - {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n  - {id: it, action: delete_pods, with: {pods: '{{ relay.pods }}'}}\n";

fn evicting() -> String {
    DELETE.replace("relay.pods }}'", "relay.pods }}', evict: true")
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_these_pods_go_one_call_each() {
    let world = World::new().await;
    let before = uids_of(&world, "rafay-relay").await;
    let ended = world.run(&book(DELETE)).await.succeeded();
    assert_eq!(uids(&ended.output("it")["deleted"]), before);
    assert!(uids_of(&world, "rafay-relay").await.is_disjoint(&before));
    assert_eq!(world.count(&format!("delete pods/{SPACE}/")), 3);
    assert_eq!(world.effective().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_went_by_itself_meanwhile_needs_no_call() {
    let world = World::new().await;
    // All three calls are refused: they are sent together.
    for nth in [2, 3] {
        let effect = Effect::Fail { status: 403, code: "Forbidden".into(), message: "no".into() };
        world.simulator.inject(Fault { matching: "delete pods/*".into(), nth, times: 1, effect });
    }
    let ended = resumed(&world, DELETE, "delete pods/*", async || {
        let (name, _) = pods_of(&world, "rafay-relay").await.remove(0);
        delete_pod(&world, &name).await;
    })
    .await
    .succeeded();
    assert_eq!(ended.output("it")["deleted"].as_array().unwrap().len(), 3);
    let deleted = world.effective().into_iter().filter(|call| call.starts_with("delete pods/"));
    assert_eq!(deleted.count(), 3, "one by somebody else, two by the run");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_undo_says_that_there_is_none() {
    let world = World::new().await;
    let ended = rolled_back(&world, DELETE, async || {}).await.is(State::RolledBack);
    left_alone(&ended, "3 deleted pods cannot be brought back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_goes_as_far_as_the_budget_allows() {
    let world = World::new().await;
    create::<PodDisruptionBudget>(&world, budget("rafay-relay", 2)).await;
    until_budget_is_seen(&world).await;
    let before = uids_of(&world, "rafay-relay").await;
    let ended = world.run(&book(&evicting())).await.succeeded();
    assert_eq!(uids(&ended.output("it")["deleted"]), before);
    assert_eq!(world.effective().iter().filter(|call| call.contains("eviction")).count(), 3);
}

/// Until then every eviction is turned away.
async fn until_budget_is_seen(world: &World) {
    let budgets: kube::Api<PodDisruptionBudget> =
        kube::Api::namespaced(super::client(world), SPACE);
    for _ in 0..1000 {
        let found = budgets.get("rafay-relay-budget").await.unwrap();
        if found.status.is_some_and(|status| status.observed_generation.is_some()) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the disruption controller has not seen the budget");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_allows_nothing_is_named_while_the_step_waits_for_it() {
    let world = World::new().await;
    create::<PodDisruptionBudget>(&world, budget("rafay-relay", 3)).await;
    until_budget_is_seen(&world).await;
    let recorder = world.accept(&book(&evicting()), json!({})).await.unwrap();
    let id = recorder.run().id.clone();
    let control = Control::default();
    let driving = world.drive(recorder, control.clone());
    let cancelling = async {
        until("the wait", || {
            let records = world.store.read(&id).ok()?;
            let text = format!("{records:?}");
            text.contains("The disruption budget rafay-relay-budget needs 3").then_some(())
        })
        .await;
        control.cancel("me");
    };
    let (ended, ()) = tokio::join!(driving, cancelling);
    ended.is(State::Cancelled);
    assert!(!world.effective().iter().any(|call| call.contains("eviction")));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_budgets_over_one_pod_fail_at_once() {
    let world = World::new().await;
    create::<PodDisruptionBudget>(&world, budget("rafay-relay", 1)).await;
    let mut second = budget("rafay-relay", 1);
    second["metadata"]["name"] = json!("another");
    create::<PodDisruptionBudget>(&world, second).await;
    let ended = world.run(&book(&evicting())).await.is(State::Failed);
    assert!(ended.error().contains("more than one PodDisruptionBudget"), "{}", ended.error());
}
