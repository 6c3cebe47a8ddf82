//! `assert` and `sleep`.

use rafay_relay_sop::journal::State;

use super::book;
use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_that_holds_lets_the_run_go_on() {
    let world = World::new().await;
    let steps = "  - {id: pause, action: sleep, with: {duration: 1m}}\n  \
                 - {id: sure, action: assert, with: {that: true, message: never said}}\n";
    world.run(&book(steps)).await.succeeded();
    assert!(world.simulator.calls().iter().all(|call| !call.mutating));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_hold_fails_with_its_own_words_and_is_not_tried_again() {
    let world = World::new().await;
    let steps =
        "  - {id: sure, action: assert, with: {that: false, message: 'the moon is full'}}\n";
    let ended = world.run(&book(steps)).await.is(State::Failed);
    assert!(ended.error().ends_with("the moon is full"), "{}", ended.error());
}
