//! The service under load: `cargo bench --bench service` runs relay-scale with 300 nodes behind `serve`, once alone and
//! once while 64 clients follow the run and others ask for its state 1,000 times a second; then it asks as often as the
//! service answers, behind 5,000 finished runs, and with 64 large runbooks at once.
//!
//! No test depends on these.

#![expect(clippy::print_stdout, reason = "the output is the result")]

mod common;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{PROGRAM, SimulatorProcess, Usage, measure};
use serde_json::{Value, json};
use simulator::Scenario;
use tempfile::TempDir;
use test_support::{Serve, relay_world};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::MissedTickBehavior,
};

/// Slow enough that most of a run is waiting, as in a real cluster.
const SPEED: &str = "10";
const NODES: u32 = 300;
/// The clients that follow the run, and those that ask for its state.
const STREAMS: usize = 64;
const CLIENTS: usize = 20;
/// The time between two questions of one client.
const PERIOD: Duration = Duration::from_millis(20);
/// The connections that ask without a pause.
const CONNECTIONS: usize = 16;
const HISTORY: usize = 5_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("the system gives threads");
    println!(
        "| relay-scale, {NODES} nodes | the run | `/status` a second, median, 99 % | events | program |"
    );
    println!("|---|---|---|---|---|---|");
    let (simulator, dir) = (simulate(), state_dir());
    println!("| start of the simulated cluster | {} | | | | |", milliseconds(simulator.start));
    let mut run = Command::new(PROGRAM);
    run.args(["run", "relay-scale", "--yes", "--no-plan", "--speed", SPEED, "--state-dir"]);
    run.arg(dir.path()).envs(simulator.environment.iter().cloned());
    let (status, took, usage) = measure(run.stdout(Stdio::null()).stderr(Stdio::null()));
    assert!(status.success(), "relay-scale: {status}");
    let of_simulator = simulator.usage();
    println!("| by `run` | {:.1} s | | | {usage} | {of_simulator} |", took.as_secs_f64());
    for is_watched in [false, true, false, true] {
        println!("{}", runtime.block_on(watch(is_watched)));
    }
    println!("\n| what | figure |\n|---|---|");
    runtime.block_on(ask_without_a_pause());
    runtime.block_on(history());
    runtime.block_on(validate());
}

fn simulate() -> SimulatorProcess {
    SimulatorProcess::start(&relay_world(NODES), SPEED)
}

fn state_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A service with this state directory, beside a simulator.
fn serve(state_dir: &Path, simulator: &SimulatorProcess) -> Command {
    let mut command = Command::new(PROGRAM);
    command.envs(simulator.environment.iter().cloned());
    command.args(["serve", "--no-plan", "--speed", SPEED, "--max-connections-per-peer", "200"]);
    command.arg("--state-dir").arg(state_dir);
    command
}

/// Runs relay-scale, and returns the row of the table.
async fn watch(is_watched: bool) -> String {
    let (simulator, dir) = (simulate(), state_dir());
    let service = Serve::start(&mut serve(dir.path(), &simulator));
    let begun = Instant::now();
    let run = start(&service).await;
    let (mut streams, mut clients) = (JoinSet::new(), JoinSet::new());
    if is_watched {
        for _ in 0..STREAMS {
            streams.spawn(follow(service.address().to_owned(), run.clone()));
        }
        for _ in 0..CLIENTS {
            clients.spawn(ask(service.address().to_owned()));
        }
    }
    wait_until_ended(&service).await;
    let took = begun.elapsed();
    let usage = Usage::of(service.pid()).unwrap_or_default();
    let answers = sorted(clients.join_all().await.concat());
    let events: usize = streams.join_all().await.iter().sum();
    format!(
        "| {} | {:.1} s | {}, {}, {} | {events} | {usage} | {} |",
        if is_watched { "watched" } else { "alone" },
        took.as_secs_f64(),
        answers.len() as u128 * 1000 / took.as_millis(),
        milliseconds(at_percent(&answers, 50)),
        milliseconds(at_percent(&answers, 99)),
        simulator.usage(),
    )
}

async fn start(service: &Serve) -> String {
    let (_, started) = service.post("/run?runbook=relay-scale", json!({})).await;
    started["run"].as_str().unwrap_or_else(|| panic!("{started}")).to_owned()
}

/// Waits until no run is active. Its last one must have succeeded.
async fn wait_until_ended(service: &Serve) {
    let mut connection = Connection::to(service.address()).await;
    loop {
        let response = connection.get("/status").await;
        if !is_running(&response) {
            assert!(response.contains("{\"status\":\"Success\""), "{response}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A large response is not parsed: that would be most of the work.
fn is_running(response: &str) -> bool {
    response.contains("\r\n\r\n{\"status\":\"Running\"")
}

/// Follows a run to its end, and returns the number of events.
async fn follow(address: String, run: String) -> usize {
    let mut stream = TcpStream::connect(&address).await.expect("the service listens");
    let request =
        format!("GET /runs/{run}/events HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the service reads");
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.expect("the service ends the stream");
    String::from_utf8_lossy(&text).matches("{\"seq\":").count()
}

/// Asks for the state of the active run until there is none, and returns how long each answer took.
async fn ask(address: String) -> Vec<Duration> {
    let mut connection = Connection::to(&address).await;
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut took = Vec::new();
    loop {
        ticks.tick().await;
        let begun = Instant::now();
        let text = connection.get("/status").await;
        took.push(begun.elapsed());
        if !is_running(&text) {
            return took;
        }
    }
}

/// Counts the answers about an active run and to `/health` while every connection asks again at once.
async fn ask_without_a_pause() {
    let (simulator, dir) = (simulate(), state_dir());
    let service = Serve::start(&mut serve(dir.path(), &simulator));
    start(&service).await;
    for path in ["/status", "/health"] {
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let address = service.address().to_owned();
            clients.spawn(async move {
                let mut connection = Connection::to(&address).await;
                let mut took = Vec::new();
                while begun.elapsed() < Duration::from_secs(3) {
                    let begun = Instant::now();
                    connection.get(path).await;
                    took.push(begun.elapsed());
                }
                took
            });
        }
        let answers = sorted(clients.join_all().await.concat());
        print_row(
            &format!("`{path}` with {NODES} nodes: answers a second, median, 99 %"),
            format!(
                "{}, {}, {}",
                answers.len() as u128 * 1000 / begun.elapsed().as_millis(),
                milliseconds(at_percent(&answers, 50)),
                milliseconds(at_percent(&answers, 99)),
            ),
        );
    }
    let mut connection = Connection::to(service.address()).await;
    assert!(is_running(&connection.get("/status").await), "the run is too short");
}

/// What a service does behind many finished runs.
async fn history() {
    let (simulator, dir) = (SimulatorProcess::start(&Scenario::default(), SPEED), state_dir());
    let runbooks = dir.path().join("runbooks");
    std::fs::create_dir(&runbooks).expect("a directory");
    let text = "name: one\nsteps:\n  - id: only\n    action: assert\n    with: {that: true, message: no}\n";
    std::fs::write(runbooks.join("one.yaml"), text).expect("a runbook can be written");
    let state = dir.path().join("state");
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--yes", "--no-plan", "--state-dir"]).arg(&state);
    command.arg(runbooks.join("one.yaml")).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().is_ok_and(|status| status.success()));
    let journals = state.join("runs");
    let mut entries = std::fs::read_dir(&journals).expect("the directory of journals");
    let first = entries.next().and_then(Result::ok).expect("the journal of the run").path();
    for number in 0..HISTORY {
        let (hour, minute, second) = (number / 3600, number / 60 % 60, number % 60);
        let name = format!("20260101t{hour:02}{minute:02}{second:02}z-one-{number:04x}.jsonl");
        std::fs::copy(&first, journals.join(name)).expect("a journal can be copied");
    }
    let begun = Instant::now();
    let service = Serve::start(serve(&state, &simulator).arg("--runbooks").arg(&runbooks));
    print_row(&format!("start with {HISTORY} new journals"), milliseconds(begun.elapsed()));
    drop(service);
    let begun = Instant::now();
    let service = Serve::start(serve(&state, &simulator).arg("--runbooks").arg(&runbooks));
    print_row("start after that", milliseconds(begun.elapsed()));
    for path in ["/runs", "/status", "/health", "/"] {
        let mut connection = Connection::to(service.address()).await;
        let mut took = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            connection.get(path).await;
            took.push(begun.elapsed());
        }
        let median = milliseconds(at_percent(&sorted(took), 50));
        print_row(&format!("`{path}` with {HISTORY} runs, median"), median);
    }
    for with_key in [false, true] {
        let mut took = Vec::new();
        for number in 0..30 {
            let mut request =
                service.client.post(format!("{}/run?runbook=one", service.url)).json(&json!({}));
            if with_key {
                request = request.header("idempotency-key", format!("key-{number}"));
            }
            let begun = Instant::now();
            let response = request.send().await.expect("the service answers");
            assert!(response.status().is_success(), "{:?}", response.text().await);
            took.push(begun.elapsed());
            wait_until_ended(&service).await;
        }
        let median = milliseconds(at_percent(&sorted(took), 50));
        let how = if with_key { "with a key" } else { "without a key" };
        print_row(&format!("start of a run with {HISTORY} runs, {how}, median"), median);
    }
    print_row(&format!("processor and memory with {HISTORY} runs"), usage(&service));
}

/// What many large runbooks at once cost.
async fn validate() {
    let (simulator, dir) = (SimulatorProcess::start(&Scenario::default(), SPEED), state_dir());
    let service = Serve::start(&mut serve(dir.path(), &simulator));
    let mut text = "name: asserts\nsteps:\n".to_owned();
    while text.len() < 1_000_000 {
        let step = text.len();
        text += &format!(
            "  - id: s{step}\n    action: assert\n    with: {{that: \"{{{{ 1 > 0 }}}}\", message: no}}\n"
        );
    }
    let begun = Instant::now();
    let mut requests = JoinSet::new();
    for _ in 0..64 {
        let request = service.client.post(format!("{}/validate", service.url)).body(text.clone());
        requests.spawn(async move {
            let response = request.send().await.expect("the service answers");
            let code = response.status().as_u16();
            let _: Value = response.json().await.expect("it is JSON");
            code
        });
    }
    let codes = requests.join_all().await;
    let refused = codes.iter().filter(|&&code| code == 503 || code == 429).count();
    print_row(
        "64 runbooks of 1 MB at once: time, refused as busy",
        format!("{}, {refused}", milliseconds(begun.elapsed())),
    );
    print_row("processor, and most memory", usage(&service));
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid()));
    let status = status.unwrap_or_default();
    let now = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    print_row("memory afterwards", now.unwrap_or_default().trim());
}

/// A connection that is kept.
struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

impl Connection {
    async fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the service listens");
        stream.set_nodelay(true).expect("a TCP connection");
        Self { stream, host: address.to_owned(), buffer: Vec::new() }
    }

    /// Returns the whole response, which has a `content-length`.
    async fn get(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\naccept: */*\r\n\r\n", self.host);
        self.stream.write_all(request.as_bytes()).await.expect("the service reads");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("the service answers");
            assert_ne!(read, 0, "the service has closed the connection");
            if is_whole(&self.buffer) {
                return String::from_utf8_lossy(&self.buffer).into_owned();
            }
        }
    }
}

fn is_whole(response: &[u8]) -> bool {
    let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&response[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
    response.len() >= end + 4 + length
}

fn print_row(what: &str, figure: impl std::fmt::Display) {
    println!("| {what} | {figure} |");
}

fn usage(service: &Serve) -> Usage {
    Usage::of(service.pid()).unwrap_or_default()
}

fn sorted(mut durations: Vec<Duration>) -> Vec<Duration> {
    durations.sort_unstable();
    durations
}

/// Returns the duration that this part of the sorted ones does not exceed.
fn at_percent(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}
