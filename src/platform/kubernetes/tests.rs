//! The Kubernetes client against hand-written answers.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use serde_json::{Value as Json, json};

use crate::platform::test_server::{CannedResponse, RecordedRequest, TestServer};
use crate::platform::wait::{self, SourceEvent, WaitSource, WaitState};
use crate::platform::{
    AwsAccess, ErrorKind, KubernetesAccess, Platform, PlatformOptions, Progress, ProgressEvent,
    WriteFence,
};
use clock::Clock;

use super::{Removal, Selection};

fn platform(url: &url::Url) -> Platform {
    Platform::new(PlatformOptions {
        clock: Clock::scaled(100.0).unwrap(),
        kubernetes: KubernetesAccess::Endpoint { url: url.clone() },
        aws: AwsAccess::DefaultChain { profile: None },
        environment: BTreeMap::new(),
    })
}

async fn reader(server: &TestServer) -> super::KubernetesReader {
    platform(&server.url).reader().kubernetes().await.unwrap()
}

async fn writer(server: &TestServer) -> super::KubernetesWriter {
    let writer = platform(&server.url).writer("token", &WriteFence::unlimited());
    writer.kubernetes().await.unwrap()
}

fn status(code: u16, reason: &str) -> CannedResponse {
    CannedResponse::Json(code, status_body(code, reason))
}

fn status_body(code: u16, reason: &str) -> Json {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": format!("it is {reason}"), "reason": reason, "code": code,
    })
}

fn node(name: &str, uid: &str, version: &str) -> Json {
    json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {"name": name, "uid": uid, "resourceVersion": version},
    })
}

fn pod(name: &str, uid: &str) -> Json {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "core", "uid": uid, "resourceVersion": "1"},
    })
}

fn list(version: &str, next: &str, items: &[Json]) -> CannedResponse {
    CannedResponse::Json(
        200,
        json!({
            "kind": "NodeList", "apiVersion": "v1",
            "metadata": {"resourceVersion": version, "continue": next},
            "items": items,
        }),
    )
}

fn event(kind: &str, object: Json) -> Json {
    json!({"type": kind, "object": object})
}

fn is_watch(request: &RecordedRequest) -> bool {
    request.line.contains("watch=true")
}

fn names<K: kube::Resource>(objects: &[std::sync::Arc<K>]) -> Vec<String> {
    objects.iter().map(|object| object.name_any()).collect()
}

#[tokio::test]
async fn get_finds_one_or_none() {
    let server = TestServer::start(|request| match request.line.as_str() {
        "GET /api/v1/nodes/a" => CannedResponse::Json(200, node("a", "1", "7")),
        _ => status(404, "NotFound"),
    })
    .await;
    let reader = reader(&server).await;
    let found: Option<Node> = reader.get(None, "a").await.unwrap();
    assert_eq!(found.unwrap().name_any(), "a");
    assert!(reader.get::<Node>(None, "b").await.unwrap().is_none());
    let none = reader.get::<Pod>(Some("core"), "c").await.unwrap();
    assert!(none.is_none());
    assert_eq!(server.lines()[2], "GET /api/v1/namespaces/core/pods/c");
    assert_eq!(server.requests()[0].header("user-agent"), "rafay-relay-sop");
}

#[tokio::test]
async fn a_list_is_read_by_the_page() {
    let server = TestServer::start(|request| match request.number {
        0 => list("5", "next", &[node("a", "1", "1")]),
        _ => list("5", "", &[node("b", "2", "2")]),
    })
    .await;
    let selection = Selection::all().with_labels("pool=relay");
    let found: Vec<Node> = reader(&server).await.list(&selection).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(
        server.lines(),
        [
            "GET /api/v1/nodes?&labelSelector=pool%3Drelay&limit=500",
            "GET /api/v1/nodes?&labelSelector=pool%3Drelay&limit=500&continue=next",
        ]
    );
}

#[tokio::test]
async fn a_list_that_expires_between_pages_begins_again() {
    let server = TestServer::start(|request| match request.number {
        0 => list("5", "next", &[node("a", "1", "1")]),
        1 => status(410, "Expired"),
        _ => list("9", "", &[node("b", "2", "2")]),
    })
    .await;
    let found: Vec<Node> = reader(&server).await.list(&Selection::all()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(server.lines()[2], "GET /api/v1/nodes?&limit=500", "in pages, which are bounded");
}

#[tokio::test]
async fn a_list_that_always_expires_ends() {
    let server = TestServer::start(|request| match request.number % 2 {
        0 => list("5", &format!("next-{}", request.number), &[node("a", "1", "1")]),
        _ => status(410, "Expired"),
    })
    .await;
    let listed = reader(&server).await.list::<Node>(&Selection::all()).await;
    assert_eq!(listed.unwrap_err().code(), "Expired");
    assert_eq!(server.requests().len(), 8, "four times from the beginning");
}

#[tokio::test]
async fn a_read_is_repeated_while_that_can_help() {
    let server = TestServer::start(|request| match request.number {
        0 => status(500, "InternalError"),
        1 => {
            let mut body = status_body(429, "TooManyRequests");
            body["details"] = json!({"retryAfterSeconds": 1});
            CannedResponse::Json(429, body)
        }
        2 => CannedResponse::Text(503, "<html>no backend</html>".into()),
        _ => CannedResponse::Json(200, node("a", "1", "1")),
    })
    .await;
    let reader = reader(&server).await;
    assert!(reader.get::<Node>(None, "a").await.unwrap().is_some());
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_read_that_is_denied_is_not_repeated() {
    let server = TestServer::start(|_| status(403, "Forbidden")).await;
    let error = reader(&server).await.get::<Node>(None, "a").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Denied, "Forbidden"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_response_from_something_else_is_recognized() {
    let server =
        TestServer::start(|_| CannedResponse::Text(200, "<html>Welcome</html>".into())).await;
    let error = reader(&server).await.get::<Node>(None, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let hint = "check that the address is that of a Kubernetes API server";
    assert_eq!(error.hint(), Some(hint));
}

#[tokio::test]
async fn an_unreachable_address_is_reported() {
    let url: url::Url = "http://127.0.0.1:1".parse().unwrap();
    let reader = platform(&url).reader().kubernetes().await.unwrap();
    let error = reader.get::<Node>(None, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(error.to_string(), "get node a (http://127.0.0.1:1): connection refused");
    let hint = "check the address, that the server runs, and that this machine can reach it";
    assert_eq!(error.hint(), Some(hint));
}

#[tokio::test]
async fn the_identity_is_the_uid_of_kube_system() {
    let server = TestServer::start(|request| {
        assert_eq!(request.line, "GET /api/v1/namespaces/kube-system");
        let metadata = json!({"name": "kube-system", "uid": "cluster-1"});
        CannedResponse::Json(
            200,
            json!({"kind": "Namespace", "apiVersion": "v1", "metadata": metadata}),
        )
    })
    .await;
    let identity = platform(&server.url).kubernetes_identity().await.unwrap();
    assert_eq!(identity.uid, "cluster-1");
    assert_eq!(identity.server, server.url.as_str().trim_end_matches('/'));
    assert_eq!(identity.context, None);
}

#[tokio::test]
async fn a_watch_follows_what_happens() {
    let server = TestServer::start(|request| match request.number {
        0 => list("10", "", &[node("a", "1", "3"), node("b", "2", "4")]),
        1 => CannedResponse::Watch {
            lines: vec![
                event("ADDED", node("c", "3", "11")),
                event("MODIFIED", node("a", "1", "12")),
                event("DELETED", node("b", "2", "13")),
                // b's successor has its name and another UID
                event("ADDED", node("b", "9", "14")),
            ],
            ends: true,
        },
        _ => CannedResponse::Watch {
            lines: vec![event("DELETED", node("a", "1", "15"))],
            ends: false,
        },
    })
    .await;
    let mut nodes = reader(&server).await.watch::<Node>(&Selection::all());
    let view = nodes.view();
    assert!(view.objects().is_empty());
    assert_eq!(nodes.changed().await.unwrap(), SourceEvent::Changed);
    assert_eq!(names(&view.objects()), ["a", "b"]);
    while names(&view.objects()) != ["b", "c"] {
        nodes.changed().await.unwrap();
    }
    assert_eq!(view.objects()[0].uid().unwrap(), "9");
    let lines = server.lines();
    assert!(lines[1].contains("resourceVersion=10"), "{lines:?}");
    assert!(lines[2].contains("resourceVersion=14"), "it goes on from where it was: {lines:?}");
}

#[tokio::test]
async fn a_watch_that_expired_lists_again() {
    let server = TestServer::start(|request| match request.number {
        0 => list("10", "", &[node("a", "1", "3")]),
        1 => CannedResponse::Watch {
            lines: vec![event("ERROR", status_body(410, "Expired"))],
            ends: true,
        },
        2 => list("20", "", &[node("b", "2", "15")]),
        // refused before it begins
        3 => status(410, "Expired"),
        4 => list("30", "", &[node("c", "3", "25")]),
        _ => CannedResponse::Watch { lines: vec![], ends: false },
    })
    .await;
    let mut nodes = reader(&server).await.watch::<Node>(&Selection::all());
    for expected in ["a", "b", "c"] {
        assert_eq!(nodes.changed().await.unwrap(), SourceEvent::Changed);
        assert_eq!(names(&nodes.objects()), [expected]);
    }
}

/// Awaits a watch of nodes for half a minute of its clock, in which nothing changes, and returns the requests.
async fn requests_in_half_a_minute(server: &TestServer) -> Vec<String> {
    let mut nodes = reader(server).await.watch::<Node>(&Selection::all());
    let end = tokio::time::Instant::now() + Duration::from_millis(300);
    while tokio::time::timeout_at(end, nodes.changed()).await.is_ok() {}
    server.lines()
}

#[tokio::test]
async fn a_watch_that_the_server_ends_at_once_begins_again_after_growing_pauses() {
    let server = TestServer::start(|request| match is_watch(request) {
        false => list("10", "", &[node("a", "1", "3")]),
        true => CannedResponse::Watch { lines: vec![], ends: true },
    })
    .await;
    let lines = requests_in_half_a_minute(&server).await;
    assert!(lines.len() < 12, "{}: {lines:?}", lines.len());
    assert!(lines[1..].iter().all(|line| line.contains("resourceVersion=10")), "{lines:?}");
}

#[tokio::test]
async fn a_watch_that_ends_after_each_event_begins_again_after_growing_pauses() {
    let server = TestServer::start(|request| match is_watch(request) {
        false => list("10", "", &[node("a", "1", "3")]),
        true => CannedResponse::Watch {
            lines: vec![event("MODIFIED", node("a", "1", &format!("{}", 10 + request.number)))],
            ends: true,
        },
    })
    .await;
    let lines = requests_in_half_a_minute(&server).await;
    assert!(lines.len() < 12, "{}: {lines:?}", lines.len());
}

#[tokio::test]
async fn a_version_that_is_always_expired_is_listed_again_after_growing_pauses() {
    for in_stream in [false, true] {
        let server = TestServer::start(move |request| match is_watch(request) {
            false => list("10", "", &[node("a", "1", "3")]),
            true if in_stream => CannedResponse::Watch {
                lines: vec![event("ERROR", status_body(410, "Expired"))],
                ends: true,
            },
            true => status(410, "Expired"),
        })
        .await;
        let lines = requests_in_half_a_minute(&server).await;
        assert!(lines.len() < 24, "{in_stream}, {}: {lines:?}", lines.len());
    }
}

#[tokio::test]
async fn a_list_that_never_ends_is_an_error() {
    let server = TestServer::start(|_| list("10", "again", &[node("a", "1", "3")])).await;
    let error = reader(&server).await.list::<Node>(&Selection::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("the same continue token"), "{error}");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_successor_replaces_its_predecessor_even_if_no_deletion_was_heard_of() {
    let server = TestServer::start(|request| match request.number {
        0 => list("10", "", &[node("a", "1", "3"), node("ab", "2", "4")]),
        _ => {
            CannedResponse::Watch { lines: vec![event("ADDED", node("a", "5", "11"))], ends: false }
        }
    })
    .await;
    let mut nodes = reader(&server).await.watch::<Node>(&Selection::all());
    nodes.changed().await.unwrap();
    nodes.changed().await.unwrap();
    let uids: Vec<_> = nodes.objects().iter().filter_map(|node| node.uid()).collect();
    assert_eq!(uids, ["5", "2"]);
}

#[tokio::test]
async fn objects_with_other_uids_are_not_kept() {
    let server = TestServer::start(|request| match request.number {
        0 | 1 => list("10", "", &[node("a", "1", "3"), node("b", "2", "4"), node("c", "3", "5")]),
        _ => CannedResponse::Watch {
            lines: vec![
                event("MODIFIED", node("b", "2", "11")),
                // a's successor has its name and another UID
                event("ADDED", node("a", "9", "12")),
            ],
            ends: false,
        },
    })
    .await;
    let reader = reader(&server).await;
    let selection = Selection::all().with_uids(["1", "3"].map(str::to_owned).into());
    let listed = reader.list::<Node>(&selection).await.unwrap();
    assert_eq!(listed.iter().filter_map(ResourceExt::uid).collect::<Vec<_>>(), ["1", "3"]);
    let mut nodes = reader.watch::<Node>(&selection);
    nodes.changed().await.unwrap();
    assert_eq!(names(&nodes.objects()), ["a", "c"]);
    nodes.changed().await.unwrap();
    assert_eq!(names(&nodes.objects()), ["c"]);
}

#[tokio::test]
async fn a_list_that_is_denied_ends_at_once() {
    let server = TestServer::start(|_| status(403, "Forbidden")).await;
    let selection = Selection::in_namespace("core").named("a");
    let mut pods = reader(&server).await.watch::<Pod>(&selection);
    let error = pods.changed().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let expected = "list pods in core with metadata.name=a (";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!(server.requests().len(), 1);
}

/// An API server that restarts refuses everybody for a moment; who may list and not watch is refused for good.
#[tokio::test]
async fn a_watch_that_worked_and_is_denied_is_tried_for_a_while() {
    let server = TestServer::start(|request| match request.number {
        0 => list("10", "", &[node("a", "1", "3")]),
        1 => status(403, "Forbidden"),
        2 => {
            CannedResponse::Watch { lines: vec![event("ADDED", node("b", "2", "11"))], ends: true }
        }
        _ => status(403, "Forbidden"),
    })
    .await;
    let mut nodes = reader(&server).await.watch::<Node>(&Selection::all());
    let view = nodes.view();
    while names(&view.objects()) != ["a", "b"] {
        nodes.changed().await.unwrap();
    }
    let error = loop {
        if let Err(error) = nodes.changed().await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().starts_with("watch nodes ("), "{error}");
}

#[tokio::test]
async fn an_interrupted_watch_is_reported_and_outlasted() {
    let server = TestServer::start(|request| match request.number {
        0 | 2 | 3 => status(503, "ServiceUnavailable"),
        1 => list("10", "", &[node("a", "1", "3")]),
        _ => {
            CannedResponse::Watch { lines: vec![event("ADDED", node("b", "2", "11"))], ends: false }
        }
    })
    .await;
    let events = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let recorder = std::sync::Arc::clone(&events);
    let progress = Progress::new(move |event| recorder.lock().unwrap().push(event));
    let mut nodes = reader(&server).await.watch::<Node>(&Selection::all());
    let view = nodes.view();
    let found = wait::until(&progress, &mut [&mut nodes], || match view.objects().len() {
        2 => WaitState::Ready(names(&view.objects())),
        n => WaitState::Pending(format!("{n} of 2 nodes")),
    })
    .await
    .unwrap();
    assert_eq!(found, ["a", "b"]);
    let events = events.lock().unwrap();
    let message = |event: &ProgressEvent| matches!(event, ProgressEvent::Message(text) if text.ends_with("; trying again"));
    assert_eq!(events.iter().filter(|event| message(event)).count(), 2, "{events:?}");
    assert!(
        events.contains(&ProgressEvent::Waiting { message: "1 of 2 nodes".into(), so_far: None }),
        "{events:?}"
    );
}

/// A reader that no longer trusted its view must learn that it is current again.
#[tokio::test]
async fn the_end_of_an_interruption_is_reported_although_nothing_has_changed() {
    let server = TestServer::start(|request| match request.number {
        0 => list("10", "", &[node("a", "1", "3")]),
        1 => status(503, "ServiceUnavailable"),
        _ => CannedResponse::Watch { lines: vec![], ends: false },
    })
    .await;
    let mut nodes = reader(&server).await.watch::<Node>(&Selection::all());
    assert_eq!(nodes.changed().await.unwrap(), SourceEvent::Changed);
    assert!(matches!(nodes.changed().await.unwrap(), SourceEvent::Interrupted(_)));
    assert_eq!(nodes.changed().await.unwrap(), SourceEvent::Changed);
    assert_eq!(names(&nodes.objects()), ["a"]);
}

#[tokio::test]
async fn a_watch_that_never_got_a_response_gives_up() {
    let url: url::Url = "http://127.0.0.1:1".parse().unwrap();
    let reader = platform(&url).reader().kubernetes().await.unwrap();
    let mut nodes = reader.watch::<Node>(&Selection::all());
    let evaluate = || WaitState::<()>::Pending("nothing".into());
    let error = wait::until(&Progress::silent(), &mut [&mut nodes], evaluate).await.unwrap_err();
    let wait::Error::Platform(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_patch_is_a_merge_sent_once() {
    let server = TestServer::start(|request| match request.number {
        0 => CannedResponse::Json(200, node("a", "1", "8")),
        1 => status(409, "Conflict"),
        _ => status(503, "ServiceUnavailable"),
    })
    .await;
    let writer = writer(&server).await;
    let patch = json!({"metadata": {"resourceVersion": "7"}, "spec": {"unschedulable": true}});
    let patched: Node = writer.patch(None, "a", &patch).await.unwrap();
    assert_eq!(patched.resource_version().unwrap(), "8");
    let sent = &server.requests()[0];
    assert_eq!(sent.line, "PATCH /api/v1/nodes/a?&fieldManager=rafay-relay-sop");
    assert_eq!(sent.header("content-type"), "application/merge-patch+json");
    assert_eq!(sent.json(), patch);
    for kind in [ErrorKind::Busy, ErrorKind::Transient] {
        let error = writer.patch::<Node>(None, "a", &patch).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    assert_eq!(server.requests().len(), 3, "nothing is sent twice");
}

#[tokio::test]
async fn a_change_that_was_turned_away_unread_is_sent_again() {
    let server = TestServer::start(|request| match request.number {
        0 => status(429, "TooManyRequests"),
        _ => CannedResponse::Json(200, node("a", "1", "8")),
    })
    .await;
    let patch = json!({});
    let patched = writer(&server).await.patch::<Node>(None, "a", &patch).await;
    assert!(patched.is_ok());
}

#[tokio::test]
async fn a_deployment_is_scaled_through_its_subresource() {
    let server = TestServer::start(|request| {
        let mut scale = request.json();
        scale["metadata"]["name"] = json!("relay");
        CannedResponse::Json(200, scale)
    })
    .await;
    let writer = writer(&server).await;
    let scale = writer.scale::<Deployment>("core", "relay", 6, Some("7")).await.unwrap();
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(6));
    let sent = &server.requests()[0];
    assert_eq!(
        sent.line,
        "PATCH /apis/apps/v1/namespaces/core/deployments/relay/scale?&fieldManager=rafay-relay-sop"
    );
    let expected = json!({"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 6}});
    assert_eq!(sent.json(), expected);
}

#[tokio::test]
async fn a_pod_is_deleted_by_its_uid() {
    let server = TestServer::start(|request| match request.line.as_str() {
        "DELETE /api/v1/namespaces/core/pods/there?" => {
            CannedResponse::Json(200, pod("there", "1"))
        }
        "DELETE /api/v1/namespaces/core/pods/gone?" => status(404, "NotFound"),
        line if line.starts_with("DELETE") => status(409, "Conflict"),
        "GET /api/v1/namespaces/core/pods/successor" => {
            CannedResponse::Json(200, pod("successor", "2"))
        }
        _ => CannedResponse::Json(200, pod("contended", "1")),
    })
    .await;
    let writer = writer(&server).await;
    let delete = async |name| writer.delete_pod("core", name, "1", Some(5)).await;
    assert_eq!(delete("there").await.unwrap(), Removal::Accepted);
    let options = json!({"gracePeriodSeconds": 5, "preconditions": {"uid": "1"}});
    assert_eq!(server.requests()[0].json(), options);
    assert_eq!(delete("gone").await.unwrap(), Removal::Gone);
    assert_eq!(delete("successor").await.unwrap(), Removal::Gone);
    assert_eq!(delete("contended").await.unwrap_err().kind(), ErrorKind::Busy);
}

#[tokio::test]
async fn an_eviction_has_the_fields_the_api_knows_and_comes_back_at_once() {
    let server = TestServer::start(|request| match request.number {
        0 => CannedResponse::Json(201, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
        _ => {
            let mut body = status_body(429, "TooManyRequests");
            body["details"] = json!({
                "retryAfterSeconds": 10,
                "causes": [{"reason": "DisruptionBudget", "message": "The disruption budget b needs 3"}],
            });
            CannedResponse::Json(429, body)
        }
    })
    .await;
    let writer = writer(&server).await;
    let removal = writer.evict_pod("core", "p", "1", Some(7)).await.unwrap();
    assert_eq!(removal, Removal::Accepted);
    let sent = &server.requests()[0];
    assert_eq!(sent.line, "POST /api/v1/namespaces/core/pods/p/eviction?");
    assert_eq!(
        sent.json(),
        json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": "p", "namespace": "core"},
            "deleteOptions": {"gracePeriodSeconds": 7, "preconditions": {"uid": "1"}},
        })
    );
    let error = writer.evict_pod("core", "p", "1", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("The disruption budget b needs 3"), "{error}");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn futures_can_be_sent_between_threads() {
    fn sendable<T: Send>(_: &T) {}
    let server = TestServer::start(|_| status(404, "NotFound")).await;
    let writer = writer(&server).await;
    let selection = Selection::all();
    let mut watched = writer.reader().watch::<Deployment>(&selection);
    let progress = Progress::silent();
    sendable(&writer.reader().list::<Pod>(&selection));
    sendable(&writer.delete_pod("a", "b", "c", None));
    let mut sources: [&mut dyn WaitSource; 1] = [&mut watched];
    let waiting = wait::until(&progress, &mut sources, || WaitState::Ready(()));
    sendable(&waiting);
    let _ = tokio::time::timeout(Duration::ZERO, waiting).await;
}

#[tokio::test]
async fn silence_is_no_change() {
    let server = TestServer::start(|request| {
        if is_watch(request) {
            return CannedResponse::Watch { lines: vec![], ends: false };
        }
        list("1", "", &[])
    })
    .await;
    let mut nodes = reader(&server).await.watch::<Node>(&Selection::all());
    nodes.changed().await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(100), nodes.changed()).await;
    assert!(silent.is_err());
    let requests = server.requests();
    assert!(is_watch(requests.last().unwrap()));
    assert_eq!(requests.len(), 2);
}
