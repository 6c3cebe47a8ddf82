//! `assert` and `sleep`.

use rafay_relay_sop::journal::RunState;

use super::runbook_yaml;
use test_support::TestCluster;

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_that_holds_lets_the_run_go_on() {
    let cluster = TestCluster::new().await;
    let steps = "  - {id: pause, action: sleep, with: {duration: 1m}}\n  \
                 - {id: sure, action: assert, with: {that: true, message: never said}}\n";
    cluster.run(&runbook_yaml(steps)).await.expect_success();
    assert!(cluster.simulator.calls().iter().all(|call| !call.mutating));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_that_fails_reports_its_message_and_is_not_retried() {
    let cluster = TestCluster::new().await;
    let steps =
        "  - {id: sure, action: assert, with: {that: false, message: 'the moon is full'}}\n";
    let ended = cluster.run(&runbook_yaml(steps)).await.expect_state(RunState::Failed);
    assert!(ended.error().ends_with("the moon is full"), "{}", ended.error());
}

/// The message alone does not say which values were compared.
#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_that_fails_shows_the_values_of_its_condition() {
    let cluster = TestCluster::new().await;
    let steps = "  - {id: config, action: read_config, with: {namespace: rafay-core, name: \
                 rafay-relay-sop-config}}\n  - id: sure\n    action: assert\n    with:\n      \
                 that: \"{{ config.region == 'mars' and config.cluster != '' }}\"\n      \
                 message: wrong region\n";
    let ended = cluster.run(&runbook_yaml(steps)).await.expect_state(RunState::Failed);
    let expected = "wrong region (`that` is false: `{{ config.region == 'mars' and config.cluster \
                    != '' }}` with config.cluster = \"rafay-cluster\", config.region = \
                    \"us-west-2\")";
    assert_eq!(ended.error(), expected);
}
