//! Webhooks and Kubernetes Events: who is told what of a run, by a receiver over a socket.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use rafay_relay_sop::{
    journal::{MemoryStore, Observers, RunId, RunObserver, RunSpec, RunStore, RunWriter},
    notify::{DeliveryResult, Links, Notifier, NotifyConfig, Reach},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
    server::TlsStream,
};

use crate::{
    service::{SimulatedService, write_secret},
    service_limits::{CERTIFICATE, KEY},
};
use test_support::{ProgramOutput, Serve, SimulateProcess, program, signal, wait_until_async};

/// A key of 24 bytes, as the specification writes it.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A message, as it arrived.
#[derive(Debug, Clone)]
struct Received {
    path: String,
    headers: HeaderMap,
    body: String,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn event_type(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }
}

/// The answer of a receiver.
enum Answer {
    Status(u16),
    /// A status, and when to come again.
    Later(u16, &'static str),
    Never,
}

/// A receiver of messages.
struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    /// Answers as the test says, which is told how many messages came before.
    async fn answering(
        answer: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (app, received) = Self::app(answer);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, received }
    }

    /// Answers over TLS, with a certificate that only a test trusts.
    async fn over_tls() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (app, received) = Self::app(|_, _| Answer::Status(204));
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, received }
    }

    /// What answers, and what it has received.
    fn app(
        answer: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static,
    ) -> (Router, Arc<Mutex<Vec<Received>>>) {
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let (kept, answer) = (Arc::clone(&received), Arc::new(answer));
        let app = Router::new().fallback(move |request: Request| {
            let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let message = Received {
                    path: parts.uri.path().to_owned(),
                    headers: parts.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                };
                let answer = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(message.clone());
                    answer(kept.len() - 1, &message)
                };
                let (status, retry_after) = match answer {
                    Answer::Status(status) => (status, None),
                    Answer::Later(status, when) => (status, Some(when)),
                    Answer::Never => std::future::pending().await,
                };
                let mut response = Response::builder().status(status);
                if let Some(when) = retry_after {
                    response = response.header("retry-after", when);
                }
                response.body(Body::from("an answer")).unwrap()
            }
        });
        (app, received)
    }

    async fn start() -> Self {
        Self::answering(|_, _| Answer::Status(204)).await
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until so many messages have come.
    async fn wait_for(&self, count: usize) -> Vec<Received> {
        wait_until_async(&format!("{count} messages"), async || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
        .await
    }
}

/// Connections that have agreed on TLS.
struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // A client that does not trust the certificate ends the handshake.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A directory for files of webhooks and of a service.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_secret(&dir.path().join("secret"), SECRET);
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes the file of webhooks.
    fn notify(&self, text: &str) -> PathBuf {
        let path = self.path().join("notify.yaml");
        fs::write(&path, text).unwrap();
        path
    }

    fn runbook(&self, name: &str, text: &str) {
        let runbooks = self.path().join("runbooks");
        fs::create_dir_all(&runbooks).unwrap();
        fs::write(runbooks.join(format!("{name}.yaml")), text).unwrap();
    }

    /// A service on this directory.
    fn serve(&self, arguments: &[&str]) -> Serve {
        let mut command = SimulatedService::command(self.path(), arguments);
        command.arg("--notify-file").arg(self.path().join("notify.yaml"));
        Serve::start(&mut command)
    }
}

async fn start(service: &Serve, runbook: &str) -> String {
    let (status, started) = service.post(&format!("/run?runbook={runbook}"), json!({})).await;
    assert_eq!(status, StatusCode::OK, "{started:#}");
    started["run"].as_str().unwrap().to_owned()
}

fn types(received: &[Received]) -> Vec<String> {
    received.iter().map(Received::event_type).collect()
}

/// The signature of a message, as its receiver computes it.
fn expected_signature(message: &Received) -> String {
    let key = BASE64_STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let (id, time) = (message.header("webhook-id"), message.header("webhook-timestamp"));
    mac.update(format!("{id}.{time}.{}", message.body).as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

const READS: &str = "name: reads\nsteps:\n- {id: region, action: read_config, with: {namespace: rafay-core, name: rafay-relay-sop-config}}\n";
const FAILS: &str = "name: fails\nsteps:\n- {id: sure, name: Make sure, action: assert, with: {that: false, message: 'not <today>'}, on_failure: stop}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_the_service_is_told_in_both_forms_and_signed() {
    let receiver = Receiver::start().await;
    let files = Files::new();
    write_secret(&files.path().join("headers"), "Authorization: Bearer token\n");
    files.runbook("fails", FAILS);
    let url = &receiver.url;
    files.notify(&format!(
        "page_url: https://sop.example.com/\nwebhooks:\n\
         - {{name: programs, url: '{url}/programs', when: [started, ended], secret_file: secret, headers_file: headers}}\n\
         - {{name: people, url: '{url}/people', when: [failed], runbooks: [fails], form: slack}}\n\
         - {{name: others, url: '{url}/others', when: [started, ended, failed], runbooks: [relay-scale]}}\n",
    ));
    let service = files.serve(&[]);
    let run = start(&service, "fails").await;
    let messages = receiver.wait_for(3).await;
    let of = |path: &str| -> Vec<Received> {
        messages.iter().filter(|message| message.path == path).cloned().collect()
    };
    assert_eq!(of("/others").len(), 0);

    let events = of("/programs");
    assert_eq!(types(&events), ["dev.rafay.sop.run.started", "dev.rafay.sop.run.failed"]);
    for message in &events {
        assert_eq!(message.header("webhook-signature"), expected_signature(message));
        assert_eq!(message.header("authorization"), "Bearer token");
        assert_eq!(message.header("content-type"), "application/cloudevents+json; charset=utf-8");
        let event = message.json();
        assert_eq!(event["id"], message.header("webhook-id"));
        assert_eq!(event["subject"], format!("runs/{run}"));
        assert_eq!(event["source"], "https://sop.example.com");
    }
    assert_eq!(events[0].json()["id"], format!("{run}/0"));
    let data = &events[1].json()["data"];
    assert_eq!((&data["runbook"], &data["state"]), (&json!("fails"), &json!("failed")));
    assert_eq!((&data["step"], &data["step_name"]), (&json!("sure"), &json!("Make sure")));
    assert!(data["failure"]["message"].as_str().unwrap().contains("not <today>"), "{data:#}");
    assert_eq!(data["page"], format!("https://sop.example.com/runs/{run}"));
    let command = data["command"].as_str().unwrap();
    assert!(command.ends_with(&format!(" runs resume {run}")), "{command}");
    assert!(command.starts_with("rafay-relay-sop --state-dir "), "{command}");

    let people = of("/people");
    assert_eq!(people[0].header("webhook-signature"), "", "it has no secret");
    let text = people[0].json()["text"].as_str().unwrap().to_owned();
    for part in [
        "*fails has failed*",
        "step sure (Make sure)",
        "not &lt;today&gt;",
        &format!("https://sop.example.com/runs/{run}"),
        &format!("runs resume {run}`"),
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(people[0].json().as_object().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_failed_is_repeated_with_its_id_and_a_refusal_is_not() {
    let receiver = Receiver::answering(|number, message| match message.path.as_str() {
        "/refuses" => Answer::Status(404),
        _ if number == 0 => Answer::Later(503, "0"),
        _ => Answer::Status(200),
    })
    .await;
    let files = Files::new();
    files.runbook("reads", READS);
    files.notify(&format!(
        "webhooks: [{{name: later, url: '{}/later', when: [started, ended]}}]",
        receiver.url
    ));
    let service = files.serve(&[]);
    start(&service, "reads").await;
    let messages = receiver.wait_for(3).await;
    let ids: Vec<&str> = messages.iter().map(|message| message.header("webhook-id")).collect();
    assert_eq!((ids[0], ids.len()), (ids[1], 3), "the first one came twice");
    assert_eq!(messages[0].body, messages[1].body);
    drop(service);

    files.notify(&format!(
        "webhooks: [{{name: refuses, url: '{}/refuses', when: [started, ended]}}]",
        receiver.url
    ));
    let service = files.serve(&["--restart-guard", "0s"]);
    start(&service, "reads").await;
    // The new webhook is told of the last minutes, too: two messages of each run, once each.
    let messages = receiver.wait_for(7).await;
    let mut refused: Vec<&str> =
        messages[3..].iter().map(|message| message.header("webhook-id")).collect();
    refused.sort_unstable();
    refused.dedup();
    assert_eq!(refused.len(), 4, "{refused:?}");
    let log = service.into_log().join("\n");
    for part in ["a notification was not delivered", "the receiver answered 404", "check `url`"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains("/refuses"), "the path of an address may be a secret: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_or_is_down_neither_fails_nor_delays_a_run() {
    let hangs = Receiver::answering(|_, _| Answer::Never).await;
    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let files = Files::new();
    files.runbook("reads", READS);
    files.notify(&format!(
        "webhooks:\n- {{name: hangs, url: '{}', when: [started, ended]}}\n- {{name: down, url: 'http://{down}', when: [started, ended]}}\n",
        hangs.url
    ));
    let service = files.serve(&[]);
    start(&service, "reads").await;
    assert_eq!(service.wait_until_ended().await["state"], "succeeded");
    let waiting = hangs.wait_for(1).await;
    assert_eq!(types(&waiting), ["dev.rafay.sop.run.started"], "the first is not answered yet");
    let log = service.into_log().join("\n");
    assert!(log.contains("connection refused"), "{log}");
    assert!(log.contains("some notifications could not be delivered in time"), "{log}");
    assert!(!log.contains("in time; the run can be resumed"), "the end is in time: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_service_has_not_told_the_next_one_tells_once() {
    let is_open = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&is_open);
    let receiver = Receiver::answering(move |_, _| match open.load(Ordering::SeqCst) {
        true => Answer::Status(200),
        false => Answer::Later(503, "600"),
    })
    .await;
    let files = Files::new();
    files.runbook("reads", READS);
    files.notify(&format!(
        "webhooks: [{{name: pager, url: '{}', when: [started, ended]}}]",
        receiver.url
    ));
    let service = files.serve(&[]);
    let run = start(&service, "reads").await;
    service.wait_until_ended().await;
    let refused = receiver.wait_for(1).await.len();
    assert_eq!(refused, 1, "the receiver has asked to come in ten minutes");
    signal(service.pid(), "KILL");
    drop(service);

    is_open.store(true, Ordering::SeqCst);
    let service = files.serve(&[]);
    let messages = receiver.wait_for(refused + 2).await;
    let told = &messages[refused..];
    assert_eq!(types(told), ["dev.rafay.sop.run.started", "dev.rafay.sop.run.succeeded"]);
    assert_eq!(told[0].header("webhook-id"), format!("{run}/0"));
    assert_eq!(told[0].header("webhook-id"), messages[0].header("webhook-id"));
    // That this is noted comes a moment after the response.
    let notified = files.path().join(format!("state/notified/{run}.json"));
    let last: u64 = told[1].header("webhook-id").split('/').next_back().unwrap().parse().unwrap();
    wait_until_async("the cursor", async || {
        let text = fs::read_to_string(&notified).ok()?;
        (text == format!("{{\"pager\":{}}}", last + 1)).then_some(())
    })
    .await;
    signal(service.pid(), "KILL");
    drop(service);

    let service = files.serve(&[]);
    let next = start(&service, "reads").await;
    let messages = receiver.wait_for(refused + 3).await;
    assert_eq!(messages[refused + 2].header("webhook-id"), format!("{next}/0"), "nothing again");
}

/// More runs than a queue has places are started while the receiver does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_a_queue_is_told_from_the_journal() {
    const RUNS: usize = 300;
    let is_open = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&is_open);
    let receiver = Receiver::answering(move |_, _| match open.load(Ordering::SeqCst) {
        true => Answer::Status(200),
        false => Answer::Status(503),
    })
    .await;
    let files = Files::new();
    let path = files
        .notify(&format!("webhooks: [{{name: slow, url: '{}', when: [started]}}]", receiver.url));
    let store: Arc<dyn RunStore> = Arc::new(MemoryStore::default());
    let (deferred, delivered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = {
        let (deferred, delivered) = (Arc::clone(&deferred), Arc::clone(&delivered));
        Arc::new(move |sink: &str, result: DeliveryResult| {
            assert_eq!(sink, "slow");
            match result {
                DeliveryResult::Deferred => deferred.fetch_add(1, Ordering::SeqCst),
                DeliveryResult::Delivered => delivered.fetch_add(1, Ordering::SeqCst),
                _ => 0,
            };
        })
    };
    let config = NotifyConfig::read(&path).unwrap();
    let links = Links::default();
    let notifier = Notifier::start(config, Arc::clone(&store), links, Reach::OwnRuns, count);
    for number in 0..RUNS {
        let id: RunId = format!("run-{number:03}").parse().unwrap();
        let observer: Arc<dyn RunObserver> = notifier.clone();
        let observers: Observers = Arc::new([observer]);
        let started = RunWriter::start(Arc::clone(&store), observers, id, Timestamp::now(), spec());
        started.await.unwrap();
    }
    assert!(deferred.load(Ordering::SeqCst) > 0, "the queue was full");
    is_open.store(true, Ordering::SeqCst);
    wait_until_async("all messages", async || {
        (delivered.load(Ordering::SeqCst) == RUNS).then_some(())
    })
    .await;
    notifier.finish(Duration::from_secs(10)).await;
    let messages = receiver.received();
    let ids = |messages: &[Received]| {
        let mut ids: Vec<String> =
            messages.iter().map(|message| message.header("webhook-id").to_owned()).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(ids(&messages).len(), RUNS);
    assert_eq!(delivered.load(Ordering::SeqCst), RUNS, "each is delivered once");
}

fn spec() -> RunSpec {
    serde_json::from_value(json!({
        "format": {"major": 1, "minor": 1}, "runbook": "reads", "text": READS, "digest": "0",
        "inputs": {}, "actor": "cli:sre", "version": "0", "target": {"simulated": true},
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stuck_is_told_once_and_again_when_it_is_left() {
    let receiver = Receiver::start().await;
    let files = Files::new();
    files.runbook(
        "rests",
        "name: rests\nsteps:\n- {id: rest, action: sleep, with: {duration: 20h}, timeout: 40h}\n",
    );
    files.notify(&format!(
        "stuck_after: 1s\nwebhooks: [{{name: pager, url: '{}', when: [stuck]}}]",
        receiver.url
    ));
    let service = files.serve(&[]);
    let run = start(&service, "rests").await;
    let stuck = receiver.wait_for(1).await.remove(0).json();
    assert_eq!(stuck["type"], "dev.rafay.sop.run.stuck");
    assert_eq!(stuck["data"]["state"], "running");
    assert_eq!(stuck["data"]["step"], "rest");
    assert_eq!(stuck["data"]["message"], "20h to pass");
    assert!(stuck["id"].as_str().unwrap().ends_with("/stuck"), "{stuck:#}");
    service.post(&format!("/runs/{run}/cancel"), json!({})).await;
    let messages = receiver.wait_for(2).await;
    let left = messages[1].json();
    assert_eq!(left["data"]["state"], "cancelled", "the first one was told once: {left:#}");
    assert_ne!(left["id"], stuck["id"]);
    let command = left["data"]["command"].as_str().unwrap().to_owned();
    assert!(command.ends_with(&format!(" runs resume {run}")), "{command}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_waits_for_approval_is_told_with_the_command_that_approves() {
    let receiver = Receiver::start().await;
    let files = Files::new();
    files.runbook(
        "asks",
        "name: asks\nsteps:\n- {id: go, action: wait_approval, with: {message: Go on?, expires: 4h}}\n",
    );
    files.notify(&format!(
        "webhooks: [{{name: people, url: '{}', when: [approval]}}]",
        receiver.url
    ));
    let service = files.serve(&[]);
    let run = start(&service, "asks").await;
    let asked = receiver.wait_for(1).await.remove(0).json();
    assert_eq!(asked["type"], "dev.rafay.sop.approval.requested");
    assert_eq!(asked["data"]["message"], "Go on?");
    let command = asked["data"]["command"].as_str().unwrap();
    assert!(command.ends_with(&format!(" runs approve {run} go")), "{command}");
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_test_says_for_each_webhook_what_came_of_it() {
    let receiver = Receiver::answering(|_, message| match message.path.as_str() {
        "/takes" => Answer::Status(202),
        _ => Answer::Status(403),
    })
    .await;
    let files = Files::new();
    let url = &receiver.url;
    let path = files.notify(&format!(
        "webhooks:\n- {{name: takes, url: '{url}/takes', secret_file: secret}}\n- {{name: refuses, url: '{url}/refuses', form: slack}}\n"
    ));
    let test = async |arguments: &[&str]| {
        let mut command = program();
        command.args(["notify", "test", "--notify-file"]).arg(&path).args(arguments);
        ProgramOutput::run_async(&mut command).await
    };
    let both = test(&[]).await.expect_exit_code(1).stdout;
    assert!(both.contains(&format!("takes: delivered to {url} with status 202 in ")), "{both}");
    let refused = format!(
        "refuses: not delivered to {url}: the receiver answered 403: an answer\n  hint: check"
    );
    assert!(both.contains(&refused), "{both}");
    test(&["--sink", "takes"]).await.expect_exit_code(0);
    let messages = receiver.received();
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[0].header("webhook-signature"), expected_signature(&messages[0]));
    assert_eq!(messages[0].event_type(), "dev.rafay.sop.test");

    let unknown = test(&["--sink", "other"]).await.expect_exit_code(2).stderr;
    assert!(unknown.contains("hint: it has: takes, refuses"), "{unknown}");
    let dry = test(&["--dry-run"]).await.expect_exit_code(0).stdout;
    assert!(dry.contains("\"specversion\":\"1.0\"") && dry.contains("{\"text\":\"*"), "{dry}");
    assert_eq!(receiver.received().len(), 3, "nothing was sent");
}

/// `https` needs a certificate that this machine trusts, or that `SSL_CERT_FILE` names.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_over_tls_must_have_a_trusted_certificate() {
    let receiver = Receiver::over_tls().await;
    let files = Files::new();
    let path = files.notify(&format!("webhooks: [{{name: a, url: '{}'}}]", receiver.url));
    let mut command = program();
    command.args(["notify", "test", "--notify-file"]).arg(&path);
    let refused = ProgramOutput::run_async(&mut command).await.expect_exit_code(1).stdout;
    assert!(refused.contains("a: not delivered") && refused.contains("certificate"), "{refused}");
    assert!(refused.contains("SSL_CERT_FILE"), "{refused}");
    assert_eq!(receiver.received().len(), 0);

    let certificate = files.path().join("ca.pem");
    fs::write(&certificate, CERTIFICATE).unwrap();
    command.env("SSL_CERT_FILE", &certificate);
    ProgramOutput::run_async(&mut command).await.expect_exit_code(0);
    assert_eq!(receiver.received()[0].event_type(), "dev.rafay.sop.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_the_command_line_is_told_before_the_program_ends() {
    let receiver = Receiver::start().await;
    let files = Files::new();
    files.runbook("fails", FAILS);
    let path = files.notify(&format!("webhooks: [{{name: a, url: '{}'}}]", receiver.url));
    let mut command = program();
    command.args(["run", "fails", "--simulate", "--notify-file"]).arg(&path);
    command.arg("--runbooks").arg(files.path().join("runbooks"));
    ProgramOutput::run_async(&mut command).await.expect_exit_code(4);
    assert_eq!(types(&receiver.received()), ["dev.rafay.sop.run.failed"]);
}

/// The example of the documents, and what its schema says of itself.
#[test]
fn the_example_is_valid() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/notify.yaml");
    let config = NotifyConfig::read(&example).unwrap();
    assert_eq!(config.webhooks.len(), 2);
    let schema = NotifyConfig::json_schema();
    let documented = schema["properties"].as_object().unwrap().values();
    assert!(documented.clone().count() >= 3);
    for property in documented {
        assert!(property["description"].is_string(), "{property:#}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_explained_before_anything_starts() {
    let files = Files::new();
    fs::write(files.path().join("open"), SECRET).unwrap();
    let mut open = fs::metadata(files.path().join("open")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o644);
    fs::set_permissions(files.path().join("open"), open).unwrap();
    write_secret(&files.path().join("short"), "whsec_c2hvcnQ=");
    let url = "url: 'https://hooks.example.com/T0/secret'";
    for (text, error, hint) in [
        ("webhooks: {}", "line 1", "hint: a valid file is: webhooks:"),
        (
            &format!("webhooks:\n- {{name: a, {url}, whne: [failed]}}\n"),
            "line 2",
            "a valid file is",
        ),
        (
            "webhooks: [{name: a, url: 'http://hooks.example.com'}]",
            "`url` is not encrypted",
            "allow_http",
        ),
        (&format!("webhooks: [{{name: a, {url}, secret_file: open}}]"), "mode 0644", "chmod 640"),
        (&format!("webhooks: [{{name: a, {url}, secret_file: short}}]"), "has 5 bytes", "urandom"),
        (&format!("webhooks: [{{name: a, {url}, headers_file: none}}]"), "cannot read", ""),
    ] {
        let path = files.notify(text);
        for arguments in
            [&["serve", "--simulate"][..], &["run", "park", "--simulate"], &["notify", "test"]]
        {
            let mut command = program();
            command.args(arguments).arg("--notify-file").arg(&path);
            let refused = ProgramOutput::run(&mut command).expect_exit_code(2).stderr;
            assert!(refused.contains(error) && refused.contains(hint), "{text}: {refused}");
            assert!(!refused.contains("T0/secret"), "{refused}");
        }
    }
}

/// Two processes of a service, which keep their runs in the cluster. The one that drives the run is killed.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_the_one_that_drives_a_run_tells_of_it() {
    let simulate = SimulateProcess::start(60.0);
    let receiver = Receiver::start().await;
    let files = Files::new();
    files.runbook(
        "rests",
        "name: rests\nsteps:\n- {id: rest, action: sleep, with: {duration: 10m}, timeout: 1h}\n",
    );
    let notify = files.notify(&format!(
        "webhooks: [{{name: pager, url: '{}', when: [started, ended]}}]",
        receiver.url
    ));
    let replica = || {
        let mut command = program();
        let environment = simulate.environment.iter();
        command.envs(environment.filter(|(name, _)| name != "SOP_STATE_DIR").cloned());
        command.args(["--store", "cluster", "--store-namespace", "rafay-core", "serve"]);
        command.args(["--lease-duration", "3s", "--speed", "60", "--no-plan"]);
        command.arg("--runbooks").arg(files.path().join("runbooks"));
        command.arg("--notify-file").arg(&notify);
        Serve::start(&mut command)
    };
    let (one, two) = (replica(), replica());
    let run = start(&one, "rests").await;
    let objects = format!(
        "{}/apis/sop.rafay.dev/v1alpha1/namespaces/rafay-core/runbookruns/{run}",
        kubernetes_url(&simulate)
    );
    let is_told_up_to = async |next: &str| {
        wait_until_async("the annotation", async || {
            let object: Value = reqwest::get(&objects).await.unwrap().json().await.unwrap();
            let told = &object["metadata"]["annotations"]["sop.rafay.dev/notified-pager"];
            (*told == next).then_some(())
        })
        .await;
    };
    is_told_up_to("1").await;
    drop(one);
    let messages = receiver.wait_for(3).await;
    let expected =
        ["started", "resumed", "succeeded"].map(|end| format!("dev.rafay.sop.run.{end}"));
    assert_eq!(types(&messages), expected);
    let last = messages[2].header("webhook-id").rsplit_once('/').unwrap().1.to_owned();
    is_told_up_to(&(last.parse::<u64>().unwrap() + 1).to_string()).await;
    drop(two);
    let three = replica();
    start(&three, "rests").await;
    let messages = receiver.wait_for(4).await;
    assert_eq!(messages[3].event_type(), "dev.rafay.sop.run.started", "nothing is told again");
    assert!(!messages[3].header("webhook-id").starts_with(&run));
}

/// The address of a simulated cluster.
fn kubernetes_url(simulate: &SimulateProcess) -> String {
    let server = simulate.environment.iter().find(|(name, _)| name == "KUBECONFIG").unwrap();
    let kubeconfig = fs::read_to_string(&server.1).unwrap();
    kubeconfig.split_once("server: \"").unwrap().1.split_once('"').unwrap().0.to_owned()
}

/// A service beside a simulated cluster in another process, which keeps its Events.
#[tokio::test(flavor = "multi_thread")]
async fn the_objects_that_a_run_changes_have_kubernetes_events_unless_they_are_turned_off() {
    let simulate = SimulateProcess::start(600.0);
    let files = Files::new();
    files.runbook(
        "restart",
        "name: restart\nsteps:\n- {id: sentry, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry}}\n",
    );
    let url = kubernetes_url(&simulate);
    let events = async || {
        let url = format!("{url}/api/v1/namespaces/rafay-core/events");
        let list: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let mut events = list["items"].as_array().unwrap().clone();
        events.retain(|event| event["reportingComponent"] == "rafay-relay-sop");
        events
    };
    let serve = |arguments: &[&str]| {
        let mut command = program();
        command.envs(simulate.environment.iter().cloned());
        command.env("SOP_STATE_DIR", files.path().join("state"));
        command.args(["serve", "--no-plan", "--speed", "600"]);
        command.arg("--runbooks").arg(files.path().join("runbooks")).args(arguments);
        Serve::start(&mut command)
    };
    let silent = serve(&["--no-events"]);
    start(&silent, "restart").await;
    assert_eq!(silent.wait_until_ended().await["state"], "succeeded");
    silent.expect_clean_end();
    assert_eq!(events().await.len(), 0);

    let service = serve(&[]);
    let run = start(&service, "restart").await;
    let event = wait_until_async("an Event", async || events().await.pop()).await;
    assert_eq!(event["reason"], "RunbookChanged", "{event:#}");
    let object = &event["involvedObject"];
    assert_eq!((&object["kind"], &object["name"]), (&json!("Deployment"), &json!("rafay-sentry")));
    assert!(object["uid"].is_string(), "kubectl describe finds it by that: {event:#}");
    let note = event["message"].as_str().unwrap();
    assert!(note.starts_with(&format!("step sentry of run {run} (restart) changed ")), "{note}");
}
