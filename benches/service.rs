//! The service under load: `cargo bench --bench service` runs relay-scale with 300 nodes behind `serve`, once alone and
//! once while 64 clients follow the run and others ask for its state 1,000 times a second; then it asks as often as the
//! service answers, behind 5,000 finished runs, and with 64 large runbooks at once.
//!
//! `cargo bench --bench service -- 1` measures the load alone, at the real durations: ten minutes.
//!
//! No test depends on these.

#![expect(clippy::print_stdout, reason = "the output is the result")]

use std::{
    path::Path,
    process::Command,
    sync::LazyLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use simulator::Scenario;
use tempfile::TempDir;
use test_support::{
    Serve, asserts, copy_journal,
    measure::{
        Figures, Measured, Short, SimulatorProcess, Times, Usage, measure, print_conditions,
        resident,
    },
    program, relay_world,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::MissedTickBehavior,
};

/// How many times as fast as in reality the simulator is: a number behind `--`, which measures the load alone. At a
/// tenth of the real durations, most of a run is waiting, as in a real cluster.
static SPEED: LazyLock<String> =
    LazyLock::new(|| requested_speed().unwrap_or_else(|| "10".to_owned()));
const NODES: u32 = 300;
/// The clients that follow the run, and those that ask for its state.
const STREAMS: usize = 64;
const CLIENTS: usize = 20;
/// The time between two questions of one client.
const PERIOD: Duration = Duration::from_millis(20);
/// The connections that ask without a pause.
const CONNECTIONS: usize = 16;
const HISTORY: usize = 5_000;

fn requested_speed() -> Option<String> {
    std::env::args().skip(1).find(|argument| argument.parse::<u32>().is_ok())
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("the system gives threads");
    print_conditions("The first of several answers or runs is not counted.");
    println!(
        "| relay-scale, {NODES} nodes | the run | `/status` a second, median, 99 % | events | program | simulator |\n\
         |---|---|---|---|---|---|"
    );
    if requested_speed().is_some() {
        // In turns, so that what else the machine does is shared by both.
        let turns = [(); 2].map(|()| [false, true].map(|watched| runtime.block_on(watch(watched))));
        let [[alone, watched], [alone_again, watched_again]] = turns;
        println!("{}", row(false, &[alone, alone_again]));
        println!("{}", row(true, &[watched, watched_again]));
        return;
    }
    run();
    let runs = [run(), run(), run()];
    let [program, simulator] =
        [Run::program, Run::simulator].map(|of| Measured::of_all(runs.iter().map(of)));
    println!("| by `run` | {} | | | {} | {} |", program.times, program.usage(), simulator.usage());
    for is_watched in [false, true] {
        let runs = [(); 3].map(|()| runtime.block_on(watch(is_watched)));
        println!("{}", row(is_watched, &runs));
    }
    println!();
    let figures = Figures::start();
    runtime.block_on(ask_without_a_pause(&figures));
    runtime.block_on(history(&figures));
    runtime.block_on(validate(&figures));
}

/// A run of relay-scale, with what its two processes used.
struct Run {
    took: Duration,
    program: Usage,
    simulator: Usage,
    answers: Vec<Duration>,
    events: usize,
}

impl Run {
    fn program(&self) -> (Duration, Usage) {
        (self.took, self.program)
    }

    fn simulator(&self) -> (Duration, Usage) {
        (self.took, self.simulator)
    }
}

/// Runs relay-scale by `run`.
fn run() -> Run {
    let (simulator, dir) = (simulate(), state_dir());
    let mut run = program();
    run.args(["run", "relay-scale", "--yes", "--no-plan", "--speed", &SPEED, "--state-dir"]);
    let (took, program) =
        measure(run.arg(dir.path()).envs(simulator.environment.iter().cloned()), 0);
    Run { took, program, simulator: simulator.usage(), answers: Vec::new(), events: 0 }
}

/// Returns the row of some runs by the service.
fn row(is_watched: bool, runs: &[Run]) -> String {
    let [program, simulator] =
        [Run::program, Run::simulator].map(|of| Measured::of_all(runs.iter().map(of)));
    let answers: Times = runs.iter().flat_map(|run| run.answers.iter().copied()).collect();
    let took: Duration = runs.iter().map(|run| run.took).sum();
    let events: usize = runs.iter().map(|run| run.events).sum();
    let asked = if is_watched {
        format!(
            "{}, {}, {}",
            answers.count() as u128 * 1000 / took.as_millis(),
            Short(answers.median()),
            Short(answers.at_percent(99)),
        )
    } else {
        String::new()
    };
    format!(
        "| by the service, {} | {} | {asked} | {} | {} | {} |",
        if is_watched { "watched" } else { "alone" },
        program.times,
        events / runs.len(),
        program.usage(),
        simulator.usage(),
    )
}

fn simulate() -> SimulatorProcess {
    SimulatorProcess::start(&relay_world(NODES), &SPEED)
}

fn state_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A service with this state directory, beside a simulator.
fn serve(state_dir: &Path, simulator: &SimulatorProcess) -> Command {
    let mut command = program();
    command.envs(simulator.environment.iter().cloned());
    command.args(["serve", "--no-plan", "--speed", &SPEED, "--max-connections-per-peer", "200"]);
    command.arg("--state-dir").arg(state_dir);
    command
}

/// Runs relay-scale by the service.
async fn watch(is_watched: bool) -> Run {
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
    let program = usage(&service);
    let answers = clients.join_all().await.concat();
    let events = streams.join_all().await.iter().sum();
    Run { took, program, simulator: simulator.usage(), answers, events }
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
async fn ask_without_a_pause(figures: &Figures) {
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
        let answers: Times = clients.join_all().await.concat().into_iter().collect();
        let goal = if path == "/status" { "10,000 a second" } else { "" };
        let rate = answers.count() as u128 * 1000 / begun.elapsed().as_millis();
        let what = format!(
            "`{path}` of a live run with {NODES} nodes, {CONNECTIONS} connections without a pause"
        );
        figures.figure(&what, goal, format!("{rate} a second, median {}", Short(answers.median())));
    }
    let mut connection = Connection::to(service.address()).await;
    assert!(is_running(&connection.get("/status").await), "the run is too short");
}

/// What a service does behind many finished runs.
async fn history(figures: &Figures) {
    let (simulator, dir) = (SimulatorProcess::start(&Scenario::default(), &SPEED), state_dir());
    let runbooks = dir.path().join("runbooks");
    std::fs::create_dir(&runbooks).expect("a directory");
    std::fs::write(runbooks.join("one.yaml"), asserts(1)).expect("a runbook can be written");
    let state = dir.path().join("state");
    let mut command = program();
    command.args(["run", "--yes", "--no-plan", "--state-dir"]).arg(&state);
    measure(command.arg(runbooks.join("one.yaml")), 0);
    copy_journal(&state.join("runs"), HISTORY);
    let begun = Instant::now();
    let service = Serve::start(serve(&state, &simulator).arg("--runbooks").arg(&runbooks));
    let what = format!("start of `serve` with {HISTORY} journals that are not in the index");
    figures.figure(&what, "", Short(begun.elapsed()));
    drop(service);
    let starts =
        Times::of(5, || Serve::start(serve(&state, &simulator).arg("--runbooks").arg(&runbooks)));
    figures.times("start of `serve` with the index", "", &starts);
    let service = Serve::start(serve(&state, &simulator).arg("--runbooks").arg(&runbooks));
    for path in ["/runs", "/status", "/health", "/"] {
        let mut connection = Connection::to(service.address()).await;
        let mut took = Vec::new();
        for _ in 0..201 {
            let begun = Instant::now();
            connection.get(path).await;
            took.push(begun.elapsed());
        }
        let goal = if path == "/runs" { "20 ms" } else { "" };
        figures.times(
            &format!("`{path}` with {HISTORY} runs"),
            goal,
            &took.into_iter().skip(1).collect(),
        );
    }
    for with_key in [false, true] {
        let mut took = Vec::new();
        for number in 0..31 {
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
        let how = if with_key { "with" } else { "without" };
        let what = format!("start of a run with {HISTORY} runs, {how} an idempotency key");
        figures.times(&what, "20 ms", &took.into_iter().skip(1).collect());
    }
    figures.figure("memory after all of that", "50 MiB", resident(service.pid()));
}

/// What many large runbooks at once cost.
async fn validate(figures: &Figures) {
    let (simulator, dir) = (SimulatorProcess::start(&Scenario::default(), &SPEED), state_dir());
    let service = Serve::start(&mut serve(dir.path(), &simulator));
    // 1 MB.
    let text = asserts(11_757);
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
    let what = "64 runbooks of 1 MB at `/validate` at once: time, those refused as busy";
    figures.figure(what, "", format!("{}, {refused}", Short(begun.elapsed())));
    figures.figure(
        "most memory of that, and afterwards",
        "",
        format!("{}, {}", usage(&service).memory(), resident(service.pid())),
    );
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

fn usage(service: &Serve) -> Usage {
    Usage::of(service.pid()).unwrap_or_default()
}
