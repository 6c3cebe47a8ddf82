//! `wait_nodes`: startup taints, and groups that cannot launch.

use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt as _, api::ListParams};
use rafay_relay_sop::{engine::Control, journal::RunState};
use serde_json::{Value, json};
use simulator::{Nodegroup, Scenario, Taint};

use super::{GROUP, RELAY, client, end_node, patch_node, runbook_yaml};
use test_support::{SCALE_UP, TestCluster, wait_until_async};

const CILIUM: &str = "node.cilium.io/agent-not-ready";

/// The default scenario with the relay nodegroup changed.
fn scenario(change: impl FnOnce(&mut Nodegroup)) -> Scenario {
    let mut scenario = Scenario::default();
    change(scenario.nodegroups.iter_mut().find(|group| group.name == RELAY).unwrap());
    scenario
}

fn taint(key: &str) -> Taint {
    Taint { key: key.into(), value: String::new(), effect: "NoSchedule".into() }
}

/// Steps 1 to 4 of relay-scale with parameters added to `wait_nodes`.
fn scale_up(parameters: &str) -> String {
    let last = "previous: \"{{ scale_up.before.nodes }}\"";
    SCALE_UP
        .replace(last, &format!("{last}\n      {parameters}"))
        .replace("on_failure: rollback", "on_failure: stop")
}

/// Removes a taint from every node that has it, as the agent that a node waits for does.
async fn remove_taint(cluster: &TestCluster, key: &str) {
    let nodes: Api<Node> = Api::all(client(cluster));
    for node in nodes.list(&ListParams::default()).await.unwrap() {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        if taints.iter().any(|taint| taint.key == key) {
            let others: Vec<_> = taints.into_iter().filter(|taint| taint.key != key).collect();
            patch_node(cluster, &node.name_any(), json!({"spec": {"taints": others}})).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_startup_taint_is_named_and_waited_for() {
    let cluster =
        TestCluster::with_scenario(scenario(|group| group.startup_taints = vec![taint(CILIUM)]))
            .await;
    let accepted = cluster.accept(&scale_up(""), json!({})).await.unwrap();
    let id = accepted.run().id().clone();
    let agent = async {
        wait_until_async("the taint in a message", async || {
            let records = format!("{:?}", cluster.store.read(&id, 0).await.ok()?);
            records.contains(&format!("(taint {CILIUM}:NoSchedule)")).then_some(())
        })
        .await;
        loop {
            remove_taint(&cluster, CILIUM).await;
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::select! {
        ended = cluster.drive(accepted, Control::default()) => ended,
        () = agent => unreachable!("the agent never ends"),
    };
    assert_eq!(ended.expect_success().output("new_nodes")["count"], json!(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_startup_taint_that_stays_fails_wait_nodes() {
    let cluster =
        TestCluster::with_scenario(scenario(|group| group.startup_taints = vec![taint("own")]))
            .await;
    let ended = cluster.run(&scale_up("ready_within: 30s")).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.contains("(taint own:NoSchedule) did not become Ready"), "{error}");
    assert!(ended.failure().hint.as_ref().unwrap().contains("`ignore_taints`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_and_ignored_taints_are_not_waited_for() {
    let cluster = TestCluster::with_scenario(scenario(|group| {
        group.taints = vec![Taint { value: "relay".into(), ..taint("dedicated") }];
        group.startup_taints = vec![taint("own")];
    }))
    .await;
    let ended = cluster.run(&scale_up("ignore_taints: [own]")).await.expect_success();
    assert_eq!(ended.output("new_nodes")["count"], json!(6));
}

/// Suspends a process of the relay nodegroup's Auto Scaling group, and returns the group's name.
async fn suspend(cluster: &TestCluster, process: &str) -> String {
    let with = "{region: us-west-2, cluster: rafay-cluster, labels: {Name: nodegroup-relay-services}, min_nodes: 2}";
    let steps = format!("  - {{id: it, action: find_nodegroup, with: {with}}}\n");
    let found = cluster.run(&runbook_yaml(&steps)).await.expect_success();
    let group = found.output("it")["auto_scaling_group"].as_str().unwrap().to_owned();
    super::autoscaling(cluster)
        .suspend_processes()
        .auto_scaling_group_name(&group)
        .scaling_processes(process)
        .send()
        .await
        .unwrap();
    group
}

fn step(action: &str, with: &str) -> String {
    runbook_yaml(&format!(
        "  - {{id: it, action: {action}, timeout: 1h, with: {{nodegroup: {GROUP}, {with}}}}}\n"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_may_not_launch_is_named() {
    let cluster = TestCluster::new().await;
    let group = suspend(&cluster, "Launch").await;
    let ended = cluster
        .run(&step("wait_nodes", "count: 4, give_up_after: 1s"))
        .await
        .expect_state(RunState::Failed);
    assert_eq!(
        ended.error(),
        format!(
            "the process Launch of Auto Scaling group {group} is suspended (for 1s); 3 of 4 nodes are Ready"
        )
    );
    assert!(ended.failure().hint.as_ref().unwrap().contains("aws autoscaling resume-processes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodegroup_that_may_not_launch_is_not_scaled() {
    let cluster = TestCluster::new().await;
    suspend(&cluster, "Launch").await;
    let ended = cluster.run(&step("scale_nodegroup", "desired: 4, raise_max: true")).await;
    let ended = ended.expect_state(RunState::Failed);
    assert!(
        ended.error().contains("is suspended, so its size would not change"),
        "{}",
        ended.error()
    );
    assert_eq!(cluster.effective_calls(), ["autoscaling:SuspendProcesses"], "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maximum_below_the_target_is_named() {
    let cluster = TestCluster::with_scenario(scenario(|group| group.max = 5)).await;
    let ended = cluster
        .run(&step("wait_nodes", "count: 6, give_up_after: 1s"))
        .await
        .expect_state(RunState::Failed);
    assert!(
        ended.error().starts_with("the maximum size of Auto Scaling group"),
        "{}",
        ended.error()
    );
    assert!(ended.error().contains("is 5 (for 1s)"), "{}", ended.error());
    let hint: Value = json!(ended.failure().hint);
    assert!(hint.as_str().unwrap().contains("raise_max: true"), "{hint}");
}

fn gone_step(names: &[&String]) -> String {
    format!("  - {{id: it, action: wait_nodes, with: {{gone: {}}}}}\n", json!(names))
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_to_be_gone_are_waited_for_and_named() {
    let cluster = TestCluster::new().await;
    let state = cluster.simulator.state().await.unwrap();
    let mut names: Vec<&String> =
        state.nodegroups[RELAY].instances.values().take(2).map(|instance| &instance.node).collect();
    names.sort();
    let accepted = cluster.accept(&runbook_yaml(&gone_step(&names)), json!({})).await.unwrap();
    let id = accepted.run().id().clone();
    let ending = async {
        wait_until_async("the nodes in a message", async || {
            let records = format!("{:?}", cluster.store.read(&id, 0).await.ok()?);
            let message =
                format!("2 of 2 nodes are still there: {} (Ready), {} (Ready)", names[0], names[1]);
            records.contains(&message).then_some(())
        })
        .await;
        for name in &names {
            end_node(&cluster, name).await;
        }
    };
    let (ended, ()) = tokio::join!(cluster.drive(accepted, Control::default()), ending);
    let output = ended.expect_success().output("it").clone();
    assert_eq!(
        (&output["count"], &output["gone"], &output["nodes"]),
        (&json!(2), &json!(names), &json!([]))
    );

    // The group has replaced the instances, and a name that no node has is gone.
    let other = "ip-10-9-9-9.us-west-2.compute.internal".to_owned();
    let ended = cluster.run(&runbook_yaml(&gone_step(&[&other]))).await.expect_success();
    assert_eq!(ended.output("it")["gone"], json!([other]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_count_all_nodes_that_the_group_is_to_have_are_waited_for() {
    let cluster = TestCluster::new().await;
    let step = format!("  - {{id: it, action: wait_nodes, with: {{nodegroup: {GROUP}}}}}\n");
    let ended = cluster.run(&runbook_yaml(&step)).await.expect_success();
    assert_eq!(ended.output("it")["count"], json!(3));
}
