//! Injected faults and their entries in the call log.

use std::time::{Duration, Instant};

use aws_sdk_eks::error::ProvideErrorMetadata;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::{
    Api,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;
use simulator::{ClusterState, Effect, Fault, RecordedCall, Scenario};

use super::{RELAY, aws_client, client, refusal, start};

fn fault(matching: &str, nth: u32, effect: Effect) -> Fault {
    Fault { matching: matching.into(), nth, times: 1, effect }
}

#[tokio::test]
async fn the_nth_call_fails_as_the_fault_says() {
    let simulator = start(Scenario::default()).await;
    let effect =
        Effect::Fail { status: 500, code: "ServerException".into(), message: "broken".into() };
    simulator.inject(fault("eks:ListNodegroups", 2, effect));
    let eks = aws_client!(aws_sdk_eks, simulator);
    let list = || eks.list_nodegroups().cluster_name("rafay-cluster").send();
    list().await.unwrap();
    let error = list().await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Some("ServerException"), Some("broken")));
    list().await.unwrap();
    let statuses: Vec<u16> = simulator.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [200, 500, 200]);
}

#[tokio::test]
async fn throttling_is_reported_in_each_services_format() {
    let simulator = start(Scenario::default()).await;
    simulator.inject(Fault { times: 9, ..fault("*", 1, Effect::Throttle) });
    let eks = aws_client!(aws_sdk_eks, simulator).list_clusters().send().await;
    assert_eq!(eks.unwrap_err().code(), Some("ThrottlingException"));
    let groups = aws_client!(aws_sdk_autoscaling, simulator).describe_auto_scaling_groups().send();
    assert_eq!(groups.await.unwrap_err().code(), Some("Throttling"));
    let instances = aws_client!(aws_sdk_ec2, simulator).describe_instances().send().await;
    assert_eq!(instances.unwrap_err().code(), Some("RequestLimitExceeded"));
    let nodes: Api<Node> = Api::all(client(&simulator));
    let refused = refusal(nodes.list(&ListParams::default()).await);
    assert_eq!(refused, (429, "TooManyRequests".into()));
}

#[tokio::test]
async fn a_response_can_be_dropped_before_or_after_the_change() {
    let simulator = start(Scenario::empty()).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&simulator));
    let map = |name: &str| -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    };
    simulator.inject(fault("create configmaps/default", 1, Effect::Drop { before: true }));
    simulator.inject(fault("create configmaps/default", 2, Effect::Drop { before: false }));
    for (name, done) in [("lost", false), ("done", true)] {
        let answer = maps.create(&PostParams::default(), &map(name)).await;
        assert!(!matches!(answer, Ok(_) | Err(kube::Error::Api(_))), "{answer:?}");
        assert_eq!(maps.get_opt(name).await.unwrap().is_some(), done, "{name}");
    }
    let creates: Vec<(u16, bool)> = simulator
        .calls()
        .iter()
        .filter(|call| call.mutating)
        .map(|call| (call.status, call.effective))
        .collect();
    assert_eq!(creates, [(0, false), (201, true)]);
}

#[tokio::test]
async fn a_fault_can_delay_a_call() {
    let simulator = start(Scenario::empty()).await;
    // A minute at speed 300.
    simulator.inject(fault("list nodes", 1, Effect::Delay { by: Duration::from_mins(1) }));
    let nodes: Api<Node> = Api::all(client(&simulator));
    let began = Instant::now();
    nodes.list(&ListParams::default()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_fault_can_break_a_watch() {
    let simulator = start(Scenario::default()).await;
    simulator.inject(fault("watch nodes", 1, Effect::Drop { before: false }));
    let nodes: Api<Node> = Api::all(client(&simulator));
    // The client does not distinguish a broken stream from one that has ended.
    let events: Vec<WatchEvent<Node>> =
        nodes.watch(&WatchParams::default(), "0").await.unwrap().try_collect().await.unwrap();
    assert!(events.len() >= 6, "{events:?}");
}

#[tokio::test]
async fn dropping_the_simulator_closes_all_connections() {
    let simulator = start(Scenario::default()).await;
    let nodes: Api<Node> = Api::all(client(&simulator));
    let watch = nodes.watch(&WatchParams::default(), "0").await.unwrap();
    drop(simulator);
    let ended = tokio::time::timeout(Duration::from_secs(30), watch.count()).await;
    ended.expect("the watch ends");
    assert!(nodes.list(&ListParams::default()).await.is_err());
}

#[tokio::test]
async fn other_processes_query_the_simulator_over_http() {
    let simulator = start(Scenario::default()).await;
    let http = reqwest::Client::new();
    let url = |path: &str| simulator.aws_url().join(path).unwrap();
    let fault =
        json!({"matching": "sts:*", "effect": {"fail": {"status": 403, "code": "AccessDenied"}}});
    let sent = http.post(url("simulator/faults")).json(&fault).send().await.unwrap();
    assert_eq!(sent.status(), 204);
    let denied = aws_client!(aws_sdk_sts, simulator).get_caller_identity().send().await;
    assert_eq!(denied.unwrap_err().code(), Some("AccessDenied"));
    let calls: Vec<RecordedCall> =
        http.get(url("simulator/calls")).send().await.unwrap().json().await.unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!((&*calls[0].operation, calls[0].status), ("sts:GetCallerIdentity", 403));
    http.delete(url("simulator/calls")).send().await.unwrap();
    assert!(simulator.calls().is_empty());
    let state: ClusterState =
        http.get(url("simulator/state")).send().await.unwrap().json().await.unwrap();
    assert_eq!(state.nodegroups[RELAY].desired, 3);
    assert_eq!(state.nodes.len(), 6);
}
