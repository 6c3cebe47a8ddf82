//! `http_probe`, at a server that the test starts.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rafay_relay_sop::journal::RunState;
use serde_json::json;

use super::{codes, runbook_yaml};
use test_support::TestCluster;

/// A server that answers the nth request, counted from 0, with what `answer` says, a status and a body.
struct Server {
    address: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(usize) -> (u16, &'static str) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests: Arc<AtomicUsize> = Arc::default();
        let counted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 4096]);
                let (status, body) = answer(counted.fetch_add(1, Ordering::SeqCst));
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n");
                let _ = write!(stream, "{head}connection: close\r\n\r\n{body}");
            }
        });
        Self { address, requests }
    }

    fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn step(&self, more: &str) -> String {
        probe(&format!("http://{}/health?deep=1", self.address), more)
    }
}

fn probe(url: &str, more: &str) -> String {
    format!("  - {{id: it, action: http_probe, with: {{url: '{url}'{more}}}}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn http_probe_waits_for_the_expected_responses_in_a_row() {
    let server = Server::start(|number| match number {
        0 => (503, "starting"),
        2 => (200, "not yet"),
        _ => (200, "all is well"),
    });
    let cluster = TestCluster::new().await;
    let step = server.step(", expect_body: is well, successes: 2, every: 1s");
    let ended = cluster.run(&runbook_yaml(&step)).await.expect_success();
    assert_eq!(ended.output("it")["status"], json!(200));
    assert_eq!(ended.output("it")["requests"], json!(5));
    assert_eq!(server.count(), 5);
    let journal = format!("{:?}", ended.output("it"));
    assert!(!journal.contains("well"), "the body is not kept: {journal}");
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_probe_says_what_is_not_as_expected_when_its_time_is_up() {
    let cluster = TestCluster::new().await;
    for (more, expected) in [
        ("", "to answer as expected: the status is 404"),
        (", method: HEAD", "to answer as expected: the status is 404"),
        (", expect_status: [404], expect_body: b", "the body does not contain \"b\""),
    ] {
        let server = Server::start(|_| (404, ""));
        let text = runbook_yaml(&server.step(more)).replace("timeout: 5m", "timeout: 20s");
        let ended = cluster.run(&text).await.expect_state(RunState::Failed);
        assert!(ended.error().contains(expected), "{}", ended.error());
        assert!(!ended.error().contains("deep=1"), "the query is left out: {}", ended.error());
    }
    let other = Server::start(|_| (404, ""));
    cluster.run(&runbook_yaml(&other.step(", expect_status: [404]"))).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn http_probe_refuses_secrets_link_local_addresses_and_other_schemes() {
    for url in [
        "http://user:hidden@relay.example.com/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "ftp://relay.example.com/",
    ] {
        assert_eq!(codes(&runbook_yaml(&probe(url, ""))), ["RB017"], "{url}");
    }
    let status = ", expect_status: [20]";
    assert_eq!(codes(&runbook_yaml(&probe("http://localhost/", status))), ["RB016"]);
    for (more, code) in [(", method: HEAD, expect_body: a", "RB100"), (", every: 10ms", "RB016")] {
        assert_eq!(codes(&runbook_yaml(&probe("http://localhost/", more))), [code], "{more}");
    }
    // Values that are known during a run are checked by the step.
    let inputs = "inputs: {method: {type: enum, values: [GET, HEAD], default: HEAD}, \
                  pause: {type: duration, default: 10ms}}";
    let cluster = TestCluster::new().await;
    for (more, expected) in [
        (", method: '{{ inputs.method }}', expect_body: a", "needs the method GET"),
        (", every: '{{ inputs.pause }}'", "`every` is less than 1s"),
    ] {
        let text = runbook_yaml(&probe("http://localhost/", more));
        let ended = cluster.run(&text.replacen("steps:", &format!("{inputs}\nsteps:"), 1)).await;
        let ended = ended.expect_state(RunState::Failed);
        assert!(ended.error().contains(expected), "{}", ended.error());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_probe_calls_no_other_machine_beside_a_simulated_cluster() {
    let cluster = TestCluster::new().await;
    let step = probe("https://relay.example.com/health", ", expect_status: [204]");
    let ended = cluster.run(&runbook_yaml(&step)).await.expect_success();
    assert_eq!(*ended.output("it"), json!({"status": 204, "milliseconds": 0, "requests": 0}));
}
