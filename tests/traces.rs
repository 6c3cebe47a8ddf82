//! Traces of a service, sent over a socket to a receiver that reads OTLP.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use serde_json::json;
use tempfile::TempDir;
use test_support::{SPEED, Serve, SimulateProcess, wait_until_async};

const FAILS: &str = r#"
name: fails
steps:
  - {id: all, action: list_nodes, with: {}}
  - id: check
    action: assert
    with: {that: "{{ all.count == 0 }}", message: "there are nodes"}
"#;

/// A run that waits long enough for its process to be killed.
const WAITS: &str = "
name: waits
steps:
  - {id: before, action: list_nodes, with: {}}
  - {id: pause, action: sleep, timeout: 5h, with: {duration: 3h}}
  - {id: after, action: list_nodes, with: {}}
";

/// The fields of a message of Protocol Buffers: numbers, and bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (number, rest) = bytes.split_at(8);
                bytes = rest;
                Field::Number(u64::from_le_bytes(number.try_into().unwrap()))
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(content)
            }
            5 => {
                let (number, rest) = bytes.split_at(4);
                bytes = rest;
                Field::Number(u32::from_le_bytes(number.try_into().unwrap()).into())
            }
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, field));
    }
    found
}

enum Field<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

/// The messages in a field.
fn messages(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let found = fields(bytes).into_iter().filter(|(field, _)| *field == number);
    found
        .filter_map(|(_, field)| match field {
            Field::Bytes(bytes) => Some(bytes),
            Field::Number(_) => None,
        })
        .collect()
}

fn text(bytes: &[u8], number: u64) -> String {
    let found = messages(bytes, number);
    found.first().map(|text| String::from_utf8(text.to_vec()).unwrap()).unwrap_or_default()
}

fn hex(bytes: &[u8], number: u64) -> String {
    let found = messages(bytes, number);
    found
        .first()
        .map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect())
        .unwrap_or_default()
}

fn number(bytes: &[u8], number: u64) -> u64 {
    let found = fields(bytes).into_iter().find(|(field, _)| *field == number);
    match found {
        Some((_, Field::Number(value))) => value,
        _ => 0,
    }
}

fn attributes(bytes: &[u8], number: u64) -> BTreeMap<String, String> {
    let entry = |entry: &[u8]| (text(entry, 1), text(messages(entry, 2)[0], 1));
    messages(bytes, number).into_iter().map(entry).collect()
}

#[derive(Debug, Clone)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    start: u64,
    end: u64,
    attributes: BTreeMap<String, String>,
    status: u64,
    message: String,
    service: String,
}

fn spans(request: &[u8]) -> Vec<Span> {
    let mut found = Vec::new();
    for resource in messages(request, 1) {
        let service = attributes(messages(resource, 1)[0], 1)["service.name"].clone();
        for span in messages(resource, 2).iter().flat_map(|scope| messages(scope, 2)) {
            let status = messages(span, 15)[0];
            found.push(Span {
                trace: hex(span, 1),
                id: hex(span, 2),
                parent: hex(span, 4),
                name: text(span, 5),
                start: number(span, 7),
                end: number(span, 8),
                attributes: attributes(span, 9),
                status: number(status, 3),
                message: text(status, 2),
                service: service.clone(),
            });
        }
    }
    found
}

#[derive(Clone, Default)]
struct Receiver {
    spans: Arc<Mutex<Vec<Span>>>,
    /// How many requests are to be refused.
    refusals: Arc<Mutex<usize>>,
}

impl Receiver {
    /// Starts it, and returns its address.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/v1/traces", post(receive)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    async fn wait_for(&self, name: &str) -> Span {
        let found = async || self.spans().into_iter().find(|span| span.name == name);
        wait_until_async(name, found).await
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["x-token"], "a b");
    assert_eq!(headers["x-share"], "5%25");
    assert_eq!(headers["x-signal"], "traces");
    assert_eq!(headers["user-agent"], concat!("rafay-relay-sop/", env!("CARGO_PKG_VERSION")));
    let mut refusals = receiver.refusals.lock().unwrap();
    if *refusals > 0 {
        *refusals -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    receiver.spans.lock().unwrap().extend(spans(&body));
    StatusCode::OK
}

/// A service before a simulated cluster.
fn service(cluster: &SimulateProcess, dir: &TempDir, endpoint: &str) -> Serve {
    let runbooks = dir.path().join("runbooks");
    fs::create_dir_all(&runbooks).unwrap();
    fs::write(runbooks.join("fails.yaml"), FAILS).unwrap();
    fs::write(runbooks.join("waits.yaml"), WAITS).unwrap();
    let mut command = cluster.program(&dir.path().join("state"));
    command.args(["serve", "--speed", &SPEED.to_string(), "--runbooks"]).arg(runbooks);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=a%20b,x-share=5%2525");
    command.env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-signal=traces");
    command.env("OTEL_SERVICE_NAME", "sop-here");
    command.env("SOP_LOG_FORMAT", "json");
    Serve::start(&mut command)
}

#[tokio::test]
async fn a_run_is_one_trace_of_steps_attempts_and_calls() {
    let receiver = Receiver::default();
    // A receiver that is restarted takes the spans later.
    *receiver.refusals.lock().unwrap() = 1;
    let endpoint = receiver.start().await;
    let (cluster, dir) = (SimulateProcess::start(SPEED), tempfile::tempdir().unwrap());
    let service = service(&cluster, &dir, &endpoint);
    let (_, started) = service.post("/run?runbook=fails", json!({})).await;
    service.wait_until_ended().await;
    let root = receiver.wait_for("run fails").await;
    let of = |name: &str| receiver.spans().into_iter().find(|span| span.name == name).unwrap();
    let (all, check) = (of("step all"), of("step check"));
    assert_eq!((root.parent.as_str(), root.status), ("", 2), "{root:?}");
    assert!(root.message.contains("there are nodes"), "{root:?}");
    assert_eq!(root.attributes["sop.run"], started["run"].as_str().unwrap());
    assert_eq!((&all.parent, &check.parent), (&root.id, &root.id));
    assert_eq!((all.status, check.status), (1, 2));
    assert_eq!(all.attributes["sop.action"], "list_nodes");
    let attempt = receiver.spans().into_iter().find(|span| span.parent == all.id).unwrap();
    assert_eq!(attempt.name, "attempt 1");
    let call = receiver.spans().into_iter().find(|span| span.parent == attempt.id).unwrap();
    assert!(call.name.starts_with("list node"), "{call:?}");
    assert_eq!(call.attributes["rpc.system"], "kubernetes");
    for span in receiver.spans() {
        assert_eq!((&span.trace, &*span.service), (&root.trace, "sop-here"), "{span:?}");
        assert_eq!((span.trace.len(), span.id.len()), (32, 16), "{span:?}");
        assert!(
            root.start <= span.start && span.start <= span.end && span.end <= root.end,
            "{span:?}"
        );
    }
    // The log says which trace it is.
    let log = service.into_log().join("\n");
    assert!(log.contains(&root.trace), "{log}");
}

#[tokio::test]
async fn a_run_that_another_process_continues_stays_one_trace() {
    let receiver = Receiver::default();
    let endpoint = receiver.start().await;
    let (cluster, dir) = (SimulateProcess::start(SPEED), tempfile::tempdir().unwrap());
    let first = service(&cluster, &dir, &endpoint);
    first.post("/run?runbook=waits", json!({})).await;
    let before = receiver.wait_for("step before").await;
    // It is killed.
    drop(first);
    let second = service(&cluster, &dir, &endpoint);
    let root = receiver.wait_for("run waits").await;
    assert_eq!(second.get("/status").await.1["status"], "Success");
    let (pause, after) =
        (receiver.wait_for("step pause").await, receiver.wait_for("step after").await);
    for span in [&before, &pause, &after] {
        assert_eq!((&span.trace, &span.parent), (&root.trace, &root.id), "{span:?}");
    }
    // The step began in the first process.
    assert!(pause.start >= before.end && pause.start < after.start, "{pause:?}");
    assert!(root.start <= before.start);
}

/// A receiver that refuses what it gets is no reason for a run to wait or to fail, and the log says what is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_spans_neither_fails_nor_delays_a_run() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let endpoint = format!("http://{address}");
    let refuse = || async { (StatusCode::BAD_REQUEST, "no such tenant") };
    let app = Router::new().route("/v1/traces", post(refuse));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let (cluster, dir) = (SimulateProcess::start(SPEED), tempfile::tempdir().unwrap());
    let service = service(&cluster, &dir, &endpoint);
    service.post("/run?runbook=fails", json!({})).await;
    service.wait_until_ended().await;
    let log = service.into_log().join("\n");
    let failed = log.lines().find(|line| line.contains("an attempt to send spans failed"));
    let failed = failed.unwrap_or_else(|| panic!("{log}"));
    assert!(failed.contains(&address) && failed.contains("status 400"), "{failed}");
    assert!(log.contains("telemetry data will be lost"), "{log}");
    assert!(!log.contains("a b"), "the log has no header: {log}");
}
