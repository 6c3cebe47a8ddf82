//! `get_protection` and `set_protection`.

use std::collections::BTreeSet;

use rafay_relay_sop::{
    journal::State,
    simulator::{Effect, Fault, Scenario},
};
use serde_json::json;

use super::{GROUP, RELAY, book, left_alone, protected, resumed, rolled_back, texts};
use crate::support::World;

const SET: &str = "autoscaling:SetInstanceProtection";

async fn instances(world: &World) -> Vec<String> {
    let state = world.simulator.state().await.unwrap();
    state.nodegroups[RELAY].instances.keys().cloned().collect()
}

fn set(of: &str, protected: bool) -> String {
    format!(
        "  - {{id: it, action: set_protection, with: {{nodegroup: {GROUP}, {of}, protected: {protected}}}}}\n"
    )
}

fn named(instances: &[String]) -> String {
    format!("instances: {}", json!(instances))
}

#[tokio::test(flavor = "multi_thread")]
async fn protections_are_told_as_the_group_has_them() {
    let world = World::new().await;
    let steps = format!("  - {{id: it, action: get_protection, with: {{nodegroup: {GROUP}}}}}\n");
    let ended = world.run(&book(&steps)).await.succeeded();
    let output = ended.output("it");
    assert_eq!(texts(&output["protected"]), protected(&world).await);
    assert_eq!(output["instances"].as_array().unwrap().len(), 3);
    assert_eq!(output["new_instances_protected"], json!(false));
    assert_eq!(output["instances"][0]["lifecycle"], json!("InService"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_set_and_only_that_is_put_back() {
    let world = World::new().await;
    let all = instances(&world).await;
    let before = protected(&world).await;
    assert_eq!(before.len(), 2);
    let ended = world.run(&book(&set(&named(&all), true))).await.succeeded();
    assert_eq!(ended.output("it")["changed"].as_array().unwrap().len(), 1);
    assert_eq!(protected(&world).await, all.iter().cloned().collect());
    assert_eq!(world.effective(), [SET]);

    rolled_back(&world, &set(&named(&all), false), async || {}).await.is(State::RolledBack);
    assert_eq!(protected(&world).await, all.iter().cloned().collect());
    assert_eq!(world.effective(), [SET, SET, SET]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_stand_for_their_instances() {
    let world = World::new().await;
    let state = world.simulator.state().await.unwrap();
    let members = &state.nodegroups[RELAY].instances;
    let nodes: Vec<&String> = members.values().map(|instance| &instance.node).collect();
    world.run(&book(&set(&format!("nodes: {}", json!(nodes)), true))).await.succeeded();
    assert_eq!(protected(&world).await, members.keys().cloned().collect::<BTreeSet<_>>());

    let steps = set("nodes: [nobody]", true);
    let ended = world.run(&book(&steps)).await.is(State::Failed);
    assert!(ended.error().ends_with("the cluster has no node nobody"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_another_group_is_refused() {
    let world = World::new().await;
    let state = world.simulator.state().await.unwrap();
    let other = state.nodegroups["core-services"].instances.keys().next().unwrap().clone();
    let ended =
        world.run(&book(&set(&named(std::slice::from_ref(&other)), true))).await.is(State::Failed);
    let error = ended.error();
    assert!(error.contains(&other) && error.contains("not in nodegroup"), "{error}");
    assert_eq!(world.effective(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_a_time() {
    let mut scenario = Scenario::default();
    for group in &mut scenario.nodegroups {
        if group.name == RELAY {
            (group.desired, group.max, group.protected) = (120, 120, Vec::new());
        }
    }
    let world = World::of(scenario).await;
    let all = instances(&world).await;
    let ended = world.run(&book(&set(&named(&all), true))).await.succeeded();
    assert_eq!(ended.output("it")["changed"].as_array().unwrap().len(), 120);
    assert_eq!(world.effective(), [SET; 3]);
}

/// A group that has just been told to grow.
fn growing(then: &str) -> String {
    format!(
        "  - {{id: grow, action: scale_nodegroup, with: {{nodegroup: {GROUP}, desired: 6, raise_max: true}}}}\n  \
         - {{id: group, action: get_protection, with: {{nodegroup: {GROUP}}}}}\n{then}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_just_starting_is_skipped_and_said() {
    let mut scenario = Scenario::default();
    scenario.times.boot = std::time::Duration::from_secs(6000);
    scenario.nodegroups.iter_mut().for_each(|group| group.slow.clear());
    let world = World::of(scenario).await;
    let all = "instances: \"{{ group.instances | map(attribute='id') | list }}\"";
    let ended = world.run(&book(&growing(&set(all, true)))).await.succeeded();
    let output = ended.output("it");
    let skipped = output["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 3, "{output}");
    assert_eq!(skipped[0]["reason"], json!("it is Pending"));
    let said =
        ended.lines().into_iter().filter(|line| line.contains("cannot be set: it is Pending"));
    assert_eq!(said.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_not_sent_twice() {
    for before in [true, false] {
        let world = World::new().await;
        let all = instances(&world).await;
        let effect = Effect::Drop { before };
        world.simulator.inject(Fault { matching: SET.into(), nth: 1, times: 1, effect });
        let text = book(&set(&named(&all), true)).replace("attempts: 1", "attempts: 3");
        let ended = world.run(&text).await.succeeded();
        assert_eq!(ended.output("it")["changed"].as_array().unwrap().len(), 1);
        assert_eq!(world.effective(), [SET], "before: {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_leaves_the_group_meanwhile_is_left_alone() {
    let world = World::new().await;
    let all = instances(&world).await;
    let open: Vec<String> = {
        let before = protected(&world).await;
        all.into_iter().filter(|id| !before.contains(id)).collect()
    };
    let ended = rolled_back(&world, &set(&named(&open), true), async || {
        terminate(&world, &open[0]).await;
    })
    .await
    .is(State::RolledBack);
    left_alone(&ended, &format!("the protection of instance {} was left as it is", open[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_leaves_before_it_is_set_is_skipped() {
    let world = World::new().await;
    let all = instances(&world).await;
    let before = protected(&world).await;
    let open: Vec<String> = all.into_iter().filter(|id| !before.contains(id)).collect();
    let ended = resumed(&world, &set(&named(&open), true), SET, async || {
        terminate(&world, &open[0]).await;
    })
    .await
    .succeeded();
    assert_eq!(ended.output("it")["changed"], json!([]));
    assert_eq!(ended.output("it")["skipped"][0]["id"], json!(open[0]));
}

/// Ends an instance behind everybody's back.
async fn terminate(world: &World, id: &str) {
    let config = aws_sdk_autoscaling::Config::builder()
        .behavior_version(aws_sdk_autoscaling::config::BehaviorVersion::latest())
        .region(aws_sdk_autoscaling::config::Region::new("us-west-2"))
        .endpoint_url(world.simulator.aws_url().as_str())
        .credentials_provider(aws_sdk_autoscaling::config::Credentials::new(
            "a", "b", None, None, "test",
        ))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_autoscaling::Client::from_conf(config)
        .terminate_instance_in_auto_scaling_group()
        .instance_id(id)
        .should_decrement_desired_capacity(false)
        .send()
        .await
        .unwrap();
}
