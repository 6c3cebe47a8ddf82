//! The HTTP service under load and attack: connections, requests, time-outs, descriptors and the end of the process.

use std::{fs, path::PathBuf, sync::Arc};

use futures::{StreamExt as _, stream::FuturesUnordered};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{ProgramOutput, SCALE_UP, Serve, WAIT_TIMEOUT, program};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use crate::service::{SimulatedService, write_secret};

/// `serve` on a cluster whose API server takes connections and never answers.
struct StuckService {
    serve: Serve,
    api_server: TcpListener,
    /// The connections that it took, which must stay open.
    taken: Vec<TcpStream>,
    _dir: TempDir,
}

impl StuckService {
    async fn start(arguments: &[&str]) -> Self {
        let api_server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = api_server.local_addr().unwrap();
        let user = "user: {}";
        let (serve, dir) = serve_on(&address.to_string(), user, arguments);
        Self { serve, api_server, taken: Vec::new(), _dir: dir }
    }

    /// Sends a request to start a run, and waits until the service has asked the API server.
    async fn start_stuck_run(&mut self) -> JoinHandle<reqwest::Result<StatusCode>> {
        let request = self.serve.client.post(format!("{}/run", self.serve.url));
        let request = tokio::spawn(async move { Ok(request.send().await?.status()) });
        let accepted = tokio::time::timeout(WAIT_TIMEOUT, self.api_server.accept()).await;
        self.taken.push(accepted.unwrap().unwrap().0);
        request
    }
}

/// Starts `serve` with a kubeconfig.
fn serve_on(api_server: &str, user: &str, arguments: &[&str]) -> (Serve, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let runbook = SCALE_UP.replace("name: scale-up", "name: relay-scale");
    fs::write(dir.path().join("relay-scale.yaml"), runbook).unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    let text = format!(
        "current-context: c\nclusters: [{{name: c, cluster: {{server: 'http://{api_server}'}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers:\n- name: u\n  {user}\n"
    );
    fs::write(&kubeconfig, text).unwrap();
    let mut command = program();
    command.arg("serve").arg("--kubeconfig").arg(&kubeconfig).args(arguments);
    command.arg("--runbooks").arg(dir.path()).arg("--state-dir").arg(dir.path().join("state"));
    (Serve::start(&mut command), dir)
}

async fn connect(serve: &Serve, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(serve.address()).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// Everything that the service sends until it closes the connection.
async fn read_to_end(mut stream: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(WAIT_TIMEOUT, stream.read_to_end(&mut bytes)).await;
    // A reset closes the connection as well.
    let _ = read.expect("the service closes the connection");
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn idle_connections_lock_out_no_client() {
    let service = SimulatedService::start(&["--max-connections-per-peer", "4"]);
    let mut idle = Vec::new();
    for bytes in ["", "GET /health HTTP/1.1\r\nhost: ", "POST /run HTTP/1.1\r\n"].repeat(4) {
        idle.push(connect(&service, bytes).await);
    }
    assert_eq!(service.get("/health").await.0, StatusCode::OK);
    assert_eq!(service.post("/run", json!({})).await.0, StatusCode::OK);
    let first = idle.remove(0);
    assert_eq!(read_to_end(first).await, "");
    assert_eq!(service.wait_until_ended().await["status"], "Success");
}

/// More connections than there are descriptors, while a run calls the cluster and writes its journal.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_leave_descriptors_to_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let command = SimulatedService::command(dir.path(), &["--max-connections-per-peer", "1000"]);
    let mut service = Serve::start(&mut test_support::with_descriptors(&command, 256));
    // A connection that this client kept would be the one that is idle for longest.
    service.client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let mut open = Vec::new();
    for _ in 0..150 {
        open.push(connect(&service, "GET /health HTTP/1.1\r\n").await);
    }
    assert_eq!(service.post("/run", json!({})).await.0, StatusCode::OK);
    for _ in 0..150 {
        open.push(connect(&service, "GET /health HTTP/1.1\r\n").await);
    }
    let status = service.wait_until_ended().await;
    assert_eq!(status["state"], "succeeded", "{status:#}");
}

#[test]
fn limits_with_which_no_request_could_be_answered_are_refused() {
    for (arguments, expected) in [
        (["--header-timeout", "0"], "--header-timeout is 0"),
        (["--body-timeout", "0s"], "--body-timeout is 0"),
        (["--max-connections", "0"], "--max-connections"),
        (["--max-requests-per-route", "99999999999"], "--max-requests-per-route"),
    ] {
        let mut command = program();
        command.args(["serve", "--simulate", "--listen", "127.0.0.1:0"]).args(arguments);
        let refused = ProgramOutput::run(&mut command).expect_exit_code(2).stderr;
        assert!(refused.contains(expected), "{refused}");
    }
    #[cfg(target_os = "linux")]
    {
        let mut command = program();
        command.args(["serve", "--simulate", "--listen", "127.0.0.1:0"]);
        let mut command = test_support::with_descriptors(&command, 100);
        let refused = ProgramOutput::run(&mut command).expect_exit_code(2).stderr;
        assert!(refused.contains("this process may open 100 files"), "{refused}");
        assert!(refused.contains("hint: allow at least 248 (`ulimit -n`)"), "{refused}");
    }
}

#[tokio::test]
async fn a_connection_above_the_limit_is_told_when_to_come_again() {
    let mut service = StuckService::start(&["--max-connections-per-peer", "2"]).await;
    let _first = service.start_stuck_run().await;
    let _second = service.start_stuck_run().await;
    let refused = connect(&service.serve, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let response = read_to_end(refused).await;
    assert!(response.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{response}");
    assert!(response.contains("\r\nretry-after: 1\r\n"), "{response}");
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"], "the service has too many connections");
}

/// A request that is being accepted waits for the cluster. No other request waits for it.
#[tokio::test]
async fn a_request_that_hangs_holds_up_no_other_route() {
    let mut service = StuckService::start(&["--max-requests-per-route", "1"]).await;
    let _hanging = service.start_stuck_run().await;
    let serve = &service.serve;
    let again = serve.client.post(format!("{}/run", serve.url)).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(again.headers()["retry-after"], "1");
    let body: Value = again.json().await.unwrap();
    assert_eq!(body["failure"]["kind"], "busy");
    for operation in ["cancel", "abandon"] {
        let (code, _) = serve.post(&format!("/runs/none/{operation}"), json!({})).await;
        assert_eq!(code, StatusCode::NOT_FOUND, "{operation}");
    }
    assert_eq!(serve.get("/status").await.0, StatusCode::OK);
    assert_eq!(serve.get("/ready").await.0, StatusCode::OK);
}

#[tokio::test]
async fn half_a_request_and_a_slow_api_server_do_not_delay_the_end_of_the_service() {
    let mut service = StuckService::start(&[]).await;
    let _hanging = service.start_stuck_run().await;
    let host = "host: localhost\r\n";
    let half = [
        String::new(),
        format!("GET /health HTTP/1.1\r\n{host}"),
        format!("POST /validate HTTP/1.1\r\n{host}content-length: 100\r\n\r\nname: x"),
    ];
    let mut open = Vec::new();
    for bytes in half {
        open.push(connect(&service.serve, &bytes).await);
    }
    service.serve.expect_clean_end();
}

#[tokio::test]
async fn a_credential_plugin_that_hangs_does_not_delay_the_end_of_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let started = dir.path().join("started");
    // It ends when the directory is removed.
    let script = format!("touch {0}; while [ -e {0} ]; do sleep 0.1; done", started.display());
    let user = format!(
        "user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, \
         command: sh, args: [-c, '{script}']}}}}"
    );
    let (serve, _state) = serve_on("127.0.0.1:1", &user, &[]);
    let request = serve.client.post(format!("{}/run", serve.url));
    let _hanging = tokio::spawn(request.send());
    test_support::wait_until("the plugin", || started.exists().then_some(())).await;
    serve.expect_clean_end();
}

#[tokio::test]
async fn a_request_that_does_not_arrive_ends() {
    let limits = ["--header-timeout", "300ms", "--body-timeout", "300ms"];
    let service = SimulatedService::start(&limits);
    let header = connect(&service, "GET /health HTTP/1.1\r\nhost: localhost\r\n").await;
    let body = "POST /run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"inputs\":";
    let body = connect(&service, body).await;
    let header = read_to_end(header).await;
    assert!(!header.contains("200 OK"), "{header}");
    let body = read_to_end(body).await;
    assert!(body.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{body}");
    assert!(body.contains("the body did not arrive within 0.3 s"), "{body}");
    assert_eq!(service.get("/status").await.1["status"], "Idle");
}

/// Sends the header of a POST, and waits until the service wants its body.
async fn begin_post(service: &Serve, path: &str) -> TcpStream {
    let header = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n"
    );
    let mut stream = connect(service, &header).await;
    let mut response = [0; 25];
    let read = tokio::time::timeout(WAIT_TIMEOUT, stream.read_exact(&mut response)).await;
    read.expect("the service asks for the body").unwrap();
    assert_eq!(&response, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn a_body_that_arrives_slowly_takes_no_place_of_its_route() {
    let service =
        SimulatedService::start(&["--max-requests-per-route", "1", "--validate-queue", "0"]);
    let mut slow = Vec::new();
    for (path, expected) in [
        ("/validate", StatusCode::UNPROCESSABLE_ENTITY),
        ("/run", StatusCode::OK),
        ("/runs/none/resume", StatusCode::NOT_FOUND),
    ] {
        slow.push(begin_post(&service, path).await);
        slow.push(begin_post(&service, path).await);
        assert_eq!(service.post(path, json!({})).await.0, expected, "{path}");
    }
    assert_eq!(service.wait_until_ended().await["status"], "Success");
    for mut stream in slow {
        stream.write_all(" ".repeat(100).as_bytes()).await.unwrap();
        let mut response = [0; 12];
        stream.read_exact(&mut response).await.unwrap();
        assert!(response.starts_with(b"HTTP/1.1 "), "the whole body is answered");
    }
}

#[tokio::test]
async fn a_body_above_the_limit_takes_the_place_of_the_one_that_takes_longest() {
    let service = SimulatedService::start(&["--max-bodies", "2"]);
    let first = begin_post(&service, "/validate").await;
    let mut second = begin_post(&service, "/run").await;
    assert_eq!(service.post("/validate", json!({})).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(read_to_end(first).await, "", "the connection is closed");
    second.write_all(" ".repeat(100).as_bytes()).await.unwrap();
    let mut response = [0; 15];
    second.read_exact(&mut response).await.unwrap();
    assert_eq!(&response, b"HTTP/1.1 200 OK");
}

/// A pipe in the place of a runbook is a disk that does not answer.
#[tokio::test]
async fn a_runbook_that_cannot_be_read_holds_up_no_other_request_and_no_run() {
    let service = SimulatedService::start(&[]);
    let stuck = service.dir.path().join("runbooks/stuck.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&stuck).status().unwrap().success());
    let (code, run) = service.post("/run", json!({})).await;
    assert_eq!(code, StatusCode::OK, "{run:#}");
    let mut requests = Vec::new();
    for _ in 0..4 {
        let request = service.client.post(format!("{}/run?runbook=stuck", service.url));
        requests.push(tokio::spawn(request.send()));
    }
    // It can be opened when a request reads the other end.
    let pipe = stuck.clone();
    let pipe = tokio::task::spawn_blocking(move || fs::OpenOptions::new().write(true).open(pipe));
    let _pipe = pipe.await.unwrap().unwrap();
    for path in ["/health", "/ready", "/status", "/runs"] {
        assert_eq!(service.get(path).await.0, StatusCode::OK, "{path}");
    }
    let (code, _) = service.post("/validate", json!({})).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(service.wait_until_ended().await["state"], "succeeded");
    service.expect_clean_end();
}

/// A runbook of almost as many bytes as `/validate` takes, whose check ends long after a short one's.
fn long_runbook() -> String {
    let step = |n: usize| format!("- {{id: s{n}, action: sleep, with: {{duration: 1s}}}}\n");
    let mut text = "name: long\nsteps:\n".to_owned();
    for n in 0.. {
        text += &step(n);
        if text.len() > 1_000_000 {
            break;
        }
    }
    text
}

/// The length of the queue is the flag's, whatever the limit of the other routes; and the end of a request ends its
/// check, so that the next one begins.
#[tokio::test]
async fn as_many_texts_wait_as_the_flag_says() {
    let text = long_runbook();
    for (flag, waiting) in [("0", 0), ("2", 2)] {
        let arguments = ["--validate-queue", flag, "--max-requests-per-route", "1"];
        let service = SimulatedService::start(&arguments);
        let validate = |text: &str| {
            let request = service.client.post(format!("{}/validate", service.url));
            let request = request.body(text.to_owned()).send();
            async { request.await.unwrap().status() }
        };
        let (mut long, mut checked) = (tokio::spawn(validate(&text)), 0);
        // Until the long text is being checked, short ones are checked at once.
        let answers = loop {
            let mut short: FuturesUnordered<_> =
                (0..=waiting).map(|_| validate("name: short")).collect();
            if short.next().await.unwrap() == StatusCode::SERVICE_UNAVAILABLE {
                break short;
            }
            while short.next().await.is_some() {}
            if long.is_finished() {
                // It was refused because of a short one, or checked while this process was given no time.
                checked += usize::from(long.await.unwrap() == StatusCode::OK);
                assert!(checked < 20, "no short text was refused while the long one was checked");
                long = tokio::spawn(validate(&text));
            }
        };
        assert!(!long.is_finished());
        long.abort();
        let answers: Vec<StatusCode> = answers.collect().await;
        assert_eq!(answers, vec![StatusCode::UNPROCESSABLE_ENTITY; waiting], "{flag}");
    }
}

#[tokio::test]
async fn many_probes_at_once_write_nothing() {
    let service = SimulatedService::start(&[]);
    let state = service.dir.path().join("state");
    let modified = || {
        let dirs = [state.clone(), state.join("runs")];
        dirs.map(|dir| fs::metadata(dir).unwrap().modified().unwrap())
    };
    let before = modified();
    let probe = async || service.get("/ready").await;
    let answers = futures::future::join_all((0..50).map(|_| probe())).await;
    for answer in answers {
        assert_eq!(answer, (StatusCode::OK, json!({"status": "ready"})));
    }
    assert_eq!(modified(), before);
    fs::remove_dir_all(state.join("runs")).unwrap();
    let not_ready = async || {
        let (code, _) = service.get("/ready").await;
        (code == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    };
    test_support::wait_until_async("the missing directory", not_ready).await;
}

/// A certificate of `localhost`, which signs itself.
pub(crate) const CERTIFICATE: &str = include_str!("fixtures/tls/cert.pem");
/// Its key.
pub(crate) const KEY: &str = include_str!("fixtures/tls/key.pem");
const RENEWED_CERTIFICATE: &str = include_str!("fixtures/tls/renewed-cert.pem");
const RENEWED_KEY: &str = include_str!("fixtures/tls/renewed-key.pem");

/// What a client of `https://localhost` gets that trusts the certificate of the tests only.
async fn get_over_tls(serve: &Serve, path: &str) -> String {
    get_trusting(CERTIFICATE, serve, path).await.unwrap()
}

/// What a client of `https://localhost` gets that trusts one certificate only.
async fn get_trusting(certificate: &str, serve: &Serve, path: &str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(serve.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(read_to_end(stream).await)
}

/// A service with a certificate, and the files that it has the certificate and the key from.
struct TlsService {
    service: SimulatedService,
    certificate: PathBuf,
    key: PathBuf,
    _dir: TempDir,
}

impl TlsService {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        fs::write(&certificate, CERTIFICATE).unwrap();
        write_secret(&key, KEY);
        let paths = [&certificate, &key].map(|path| path.display().to_string());
        let service = SimulatedService::start(&["--tls-cert", &paths[0], "--tls-key", &paths[1]]);
        Self { service, certificate, key, _dir: dir }
    }
}

#[tokio::test]
async fn https_is_spoken_with_a_certificate() {
    let TlsService { service, _dir, .. } = TlsService::start();
    assert!(service.url.starts_with("https://127.0.0.1:"), "{}", service.url);
    let answer = get_over_tls(&service, "/health").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    // A client that speaks plain HTTP gets nothing of the service's.
    let plain = connect(&service, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(!read_to_end(plain).await.contains("healthy"));
    // The subcommands do not speak TLS: they say what does.
    let answer = get_over_tls(&service, "/run").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let mut cancel = program();
    cancel.arg("--state-dir").arg(service.dir.path().join("state"));
    let cancel = ProgramOutput::run(cancel.args(["runs", "cancel", "--last"]));
    let refused = cancel.expect_exit_code(2).stderr;
    assert!(refused.contains("hint: `curl --cacert FILE -X POST https://127.0.0.1:"), "{refused}");
}

/// A renewal replaces one file after the other; between the two the old certificate is used.
#[tokio::test]
async fn a_renewed_certificate_is_used_for_the_next_connection() {
    let TlsService { service, certificate, key, _dir } = TlsService::start();
    let assert_uses = async |used: &str, other: &str| {
        let answer = get_trusting(used, &service, "/health").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(get_trusting(other, &service, "/health").await.is_err());
    };
    assert_uses(CERTIFICATE, RENEWED_CERTIFICATE).await;
    for half in ["", "renewed", RENEWED_CERTIFICATE] {
        fs::write(&certificate, half).unwrap();
        assert_uses(CERTIFICATE, RENEWED_CERTIFICATE).await;
    }
    write_secret(&key, RENEWED_KEY);
    assert_uses(RENEWED_CERTIFICATE, CERTIFICATE).await;
    let log = service.into_log();
    let count = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    // Each failure once, whatever the number of connections: no certificate, and one that does not fit the key.
    assert_eq!(count("the changed certificate is not used"), 2, "{log:#?}");
    assert_eq!(count("the certificate has changed"), 1, "{log:#?}");
}

#[test]
fn a_key_that_cannot_be_used_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    fs::write(&certificate, CERTIFICATE).unwrap();
    let start = || {
        let mut command = program();
        command.args(["serve", "--simulate", "--listen", "127.0.0.1:0", "--tls-cert"]);
        let ended = ProgramOutput::run(command.arg(&certificate).arg("--tls-key").arg(&key));
        ended.expect_exit_code(2).stderr
    };
    fs::write(&key, KEY).unwrap();
    assert!(start().contains("can be read or written by every user"));
    write_secret(&dir.path().join("other"), CERTIFICATE);
    fs::rename(dir.path().join("other"), &key).unwrap();
    assert!(start().contains("has no private key in PEM"));
}

/// A preface of HTTP/2 is not HTTP/1.1, and is refused as such.
#[tokio::test]
async fn http_2_in_cleartext_is_off() {
    let service = SimulatedService::start(&[]);
    let preface = connect(&service, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let response = read_to_end(preface).await;
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 400"), "{response}");
    let upgrade = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings, close\r\n\
                   upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let response = read_to_end(connect(&service, upgrade).await).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
}

/// A journal stays open while its run is driven, and no longer. `cargo bench --bench soak` makes 2,000 runs.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn descriptors_and_memory_do_not_grow_with_the_number_of_runs() {
    let (first, last) = test_support::soak(250).await;
    assert!(last.descriptors <= first.descriptors + 4, "{first:?}, {last:?}");
    assert!(last.memory <= first.memory + 32 * 1024, "{first:?}, {last:?}");
}
