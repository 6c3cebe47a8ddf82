//! The verbs of the Kubernetes API.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{
        DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent,
        WatchParams,
    },
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use simulator::{Scenario, Simulator};

use super::{NAMESPACE, client, names, refusal, start};

async fn bare() -> Simulator {
    start(Scenario::empty()).await
}

fn config_map(name: &str, labels: Value, data: Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "data": data}))
        .unwrap()
}

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let simulator = bare().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&simulator));
    let post = PostParams::default();
    let made = maps.create(&post, &config_map("a", json!({}), json!({"k": "1"}))).await.unwrap();
    assert!(made.uid().is_some() && made.creation_timestamp().is_some());
    let again = maps.create(&post, &config_map("a", json!({}), json!({}))).await;
    assert_eq!(refusal(again), (409, "AlreadyExists".into()));
    let bad = maps.create(&post, &config_map("A_b", json!({}), json!({}))).await;
    assert_eq!(refusal(bad), (422, "Invalid".into()));

    let mut changed = made.clone();
    changed.data.get_or_insert_default().insert("k".into(), "2".into());
    let changed = maps.replace("a", &post, &changed).await.unwrap();
    assert_ne!(changed.resource_version(), made.resource_version());
    // An unchanged object keeps its version, and an older version is rejected.
    let same = maps.replace("a", &post, &changed).await.unwrap();
    assert_eq!(same.resource_version(), changed.resource_version());
    assert_eq!(refusal(maps.replace("a", &post, &made).await), (409, "Conflict".into()));

    let other = Preconditions { uid: Some("other".into()), resource_version: None };
    let guarded = DeleteParams::default().preconditions(other);
    assert_eq!(refusal(maps.delete("a", &guarded).await), (409, "Conflict".into()));
    let gone = maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(gone.right().unwrap().is_success());
    assert_eq!(refusal(maps.get("a").await), (404, "NotFound".into()));
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn every_patch_type_is_applied() {
    let simulator = start(Scenario::default()).await;
    let nodes: Api<Node> = Api::all(client(&simulator));
    let name = names(&nodes.list(&ListParams::default()).await.unwrap().items).remove(0);
    let parameters = PatchParams::default();

    let merge = Patch::Merge(json!({"spec": {"unschedulable": true},
        "metadata": {"annotations": {"who": "me"}}}));
    let node = nodes.patch(&name, &parameters, &merge).await.unwrap();
    assert_eq!(node.spec.as_ref().unwrap().unschedulable, Some(true));
    assert_eq!(node.annotations()["who"], "me");

    let stale = node.resource_version().unwrap();
    let guarded = |version: &str, value: &str| {
        Patch::Merge(
            json!({"metadata": {"resourceVersion": version, "annotations": {"who": value}}}),
        )
    };
    let node = nodes.patch(&name, &parameters, &guarded(&stale, "you")).await;
    // The node controller may have added its taint in the meantime; a conflict is then correct.
    if let Ok(node) = node {
        assert_eq!(node.annotations()["who"], "you");
    }
    let late = nodes.patch(&name, &parameters, &guarded("1", "late")).await;
    assert_eq!(refusal(late), (409, "Conflict".into()));

    let json_patch: json_patch::Patch = serde_json::from_value(json!([
        {"op": "test", "path": "/spec/unschedulable", "value": true},
        {"op": "remove", "path": "/spec/unschedulable"},
    ]))
    .unwrap();
    let node =
        nodes.patch(&name, &parameters, &Patch::Json::<()>(json_patch.clone())).await.unwrap();
    assert_eq!(node.spec.as_ref().unwrap().unschedulable, None);
    let again = nodes.patch(&name, &parameters, &Patch::Json::<()>(json_patch)).await;
    assert_eq!(refusal(again), (422, "Invalid".into()));

    let status = json!({"status": {"conditions": [{"type": "Mine", "status": "True"}]}});
    let node = nodes.patch_status(&name, &parameters, &Patch::Strategic(status)).await.unwrap();
    let conditions = node.status.unwrap().conditions.unwrap();
    assert!(conditions.iter().any(|condition| condition.type_ == "Mine"));
    assert!(conditions.iter().any(|condition| condition.type_ == "Ready"), "merged by type");

    let applied = Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "applied"}, "data": {"a": "b"}}));
    let maps: Api<ConfigMap> = Api::namespaced(client(&simulator), NAMESPACE);
    let made = maps.patch("applied", &PatchParams::apply("test"), &applied).await.unwrap();
    let same = maps.patch("applied", &PatchParams::apply("test"), &applied).await.unwrap();
    assert_eq!(made.resource_version(), same.resource_version());
}

#[tokio::test]
async fn dry_runs_change_nothing() {
    let simulator = bare().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&simulator));
    let post = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&post, &config_map("a", json!({}), json!({}))).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
    assert!(simulator.calls().iter().all(|call| !call.effective && !call.mutating));
}

#[tokio::test]
async fn lists_come_in_pages_and_by_selectors() {
    let simulator = bare().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&simulator));
    for number in 0..7 {
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        let map = config_map(&format!("m{number}"), json!({"parity": parity}), json!({}));
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let mut all = Vec::new();
    let mut page = ListParams::default().limit(3);
    loop {
        let found = maps.list(&page).await.unwrap();
        all.extend(names(&found.items));
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(all, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    let odd = maps.list(&ListParams::default().labels("parity in (odd)")).await.unwrap();
    assert_eq!(names(&odd.items), ["m1", "m3", "m5"]);
    let one = maps.list(&ListParams::default().fields("metadata.name=m4")).await.unwrap();
    assert_eq!(names(&one.items), ["m4"]);
    let unknown = maps.list(&ListParams::default().fields("data.k=1")).await;
    assert_eq!(refusal(unknown).0, 400);
}

#[tokio::test]
async fn a_watch_delivers_events_since_its_version() {
    let simulator = bare().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&simulator));
    let post = PostParams::default();
    let wanted = json!({"watched": "yes"});
    maps.create(&post, &config_map("before", wanted.clone(), json!({}))).await.unwrap();
    let since = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    maps.create(&post, &config_map("other", json!({}), json!({}))).await.unwrap();
    maps.create(&post, &config_map("a", wanted, json!({}))).await.unwrap();
    let unlabel = Patch::Merge(json!({"metadata": {"labels": {"watched": null}}}));
    let touch = Patch::Merge(json!({"data": {"x": "y"}}));
    maps.patch("before", &PatchParams::default(), &touch).await.unwrap();
    maps.patch("a", &PatchParams::default(), &unlabel).await.unwrap();
    maps.delete("before", &DeleteParams::default()).await.unwrap();

    // The last bookmark of a watch is sent two seconds before its end.
    let selected = WatchParams::default().labels("watched=yes").timeout(3);
    let events: Vec<WatchEvent<ConfigMap>> =
        maps.watch(&selected, &since).await.unwrap().try_collect().await.unwrap();
    let events_seen: Vec<String> = events
        .iter()
        .map(|event| match event {
            WatchEvent::Added(map) => format!("added {}", map.name_any()),
            WatchEvent::Modified(map) => format!("modified {}", map.name_any()),
            WatchEvent::Deleted(map) => format!("deleted {}", map.name_any()),
            WatchEvent::Bookmark(_) => "bookmark".to_owned(),
            WatchEvent::Error(error) => format!("error {}", error.code),
        })
        .collect();
    assert_eq!(
        events_seen,
        ["added a", "modified before", "deleted a", "deleted before", "bookmark"]
    );
}

#[tokio::test]
async fn a_watch_from_a_compacted_version_gets_410() {
    let simulator = bare().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&simulator));
    maps.create(&PostParams::default(), &config_map("a", json!({}), json!({}))).await.unwrap();
    let url = simulator.aws_url().join("simulator/compact").unwrap();
    assert!(reqwest::Client::new().post(url).send().await.unwrap().status().is_success());
    let mut events = maps.watch(&WatchParams::default(), "2").await.unwrap().boxed();
    match events.next().await.unwrap().unwrap() {
        WatchEvent::Error(error) => assert_eq!((error.code, &*error.reason), (410, "Expired")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_kube_watcher_works_with_lists_and_with_streaming_lists() {
    let simulator = start(Scenario::default()).await;
    let nodes: Api<Node> = Api::all(client(&simulator));
    let expected: BTreeSet<String> =
        names(&nodes.list(&ListParams::default()).await.unwrap().items).into_iter().collect();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let seen: Vec<Node> = watcher(nodes.clone(), config)
            .applied_objects()
            .take(expected.len())
            .try_collect()
            .await
            .unwrap();
        assert_eq!(names(&seen).into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

#[tokio::test]
async fn a_missing_object_gets_the_kubernetes_not_found_status() {
    let simulator = bare().await;
    let client = client(&simulator);
    let pods: Api<Pod> = Api::namespaced(client.clone(), "nowhere");
    let Err(kube::Error::Api(status)) = pods.get("p").await else { panic!() };
    assert_eq!(status.message, "pods \"p\" not found");
    let pod = serde_json::from_value(
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    )
    .unwrap();
    let Err(kube::Error::Api(status)) = pods.create(&PostParams::default(), &pod).await else {
        panic!()
    };
    assert_eq!(status.message, "namespaces \"nowhere\" not found");
    let response = reqwest::get(simulator.kubernetes_url().join("apis/none/v1/things").unwrap());
    assert_eq!(response.await.unwrap().status(), 404);
}

#[tokio::test]
async fn two_simulators_differ_in_identity_unless_given_one() {
    async fn uid(simulator: &Simulator) -> String {
        let namespaces: Api<Namespace> = Api::all(client(simulator));
        namespaces.get("kube-system").await.unwrap().uid().unwrap()
    }
    let (one, other) = (bare().await, bare().await);
    assert_ne!(uid(&one).await, uid(&other).await);
    let mut scenario = Scenario::empty();
    scenario.cluster_uid = Some("11111111-2222-4333-8444-555555555555".into());
    let given = start(scenario.clone()).await;
    assert_eq!(uid(&given).await, scenario.cluster_uid.unwrap());
}
