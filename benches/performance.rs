//! The figures of `docs/performance.md`: `cargo bench --bench performance` prints them as a table.
//!
//! No test depends on these: a slow machine prints larger numbers and fails nothing.

#![expect(clippy::print_stdout, reason = "the output is the result")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use clock::Clock;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use rafay_relay_sop::{
    actions,
    engine::{CheckedRunbook, Control, Engine},
    journal::{
        DirectoryStore, Event, LockOwner, RecordedEvent, RunState, RunStore, StepEvent, StepPath,
    },
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
};
use runbook::Source;
use simulator::{RecordedCall, Scenario, Simulator};
use tempfile::TempDir;
use test_support::{is_bookkeeping, relay_world};

const RELAY_SCALE: &str = include_str!("../runbooks/relay-scale.yaml");
const SCALE_UP: &str = include_str!("../tests/fixtures/runbooks/scale-up.yaml");
const PROGRAM: &str = env!("CARGO_BIN_EXE_rafay-relay-sop");

#[tokio::main]
async fn main() {
    println!("| what | figure |\n|---|---|");
    validate();
    print_row("a run of 1,000 `assert` steps, journal on", asserts().await);
    print_row("reaction of `wait_nodes` to the last Ready (median of 5)", reaction().await);
    for nodes in [3, 30, 300] {
        let (mutations, reads, took) = relay_scale(nodes).await;
        print_row(
            &format!("relay-scale with {nodes} nodes: calls that change something"),
            mutations,
        );
        print_row(&format!("relay-scale with {nodes} nodes: calls that look"), reads);
        print_row(&format!("relay-scale with {nodes} nodes: time, 600 times as fast"), took);
    }
    history();
    serve();
    let size = std::fs::metadata(PROGRAM).expect("cargo has built the program").len();
    print_row(
        "size of the program",
        format!("{}.{} MiB", size >> 20, ((size & 0xf_ffff) * 10) >> 20),
    );
}

fn print_row(what: &str, figure: impl std::fmt::Display) {
    println!("| {what} | {figure} |");
}

/// Returns the shortest of several measurements, which other load disturbs least.
fn min_duration<T>(tries: u32, mut work: impl FnMut() -> T) -> Duration {
    let timed = (0..tries).map(|_| {
        let start = Instant::now();
        std::hint::black_box(work());
        start.elapsed()
    });
    timed.min().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// Returns a runbook of that many asserts, each of which reads an input.
fn asserts_runbook(steps: usize) -> String {
    let mut text = "name: asserts\ninputs:\n  n: {type: integer, default: 1}\nsteps:\n".to_owned();
    for step in 0..steps {
        let _ = writeln!(
            text,
            "  - id: s{step}\n    action: assert\n    with: {{that: \"{{{{ inputs.n > 0 }}}}\", message: no}}"
        );
    }
    text
}

fn validate() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let long = dir.path().join("asserts.yaml");
    std::fs::write(&long, asserts_runbook(10_000)).expect("a runbook can be written");
    let program = |path: &std::path::Path| {
        let status = Command::new(PROGRAM)
            .arg("validate")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    };
    let short = std::path::Path::new("runbooks/relay-scale.yaml");
    print_row(
        "`validate` of relay-scale, whole process",
        milliseconds(min_duration(20, || program(short))),
    );
    print_row(
        "`validate` of 10,000 steps, whole process",
        milliseconds(min_duration(5, || program(&long))),
    );
    let source = Source::new("relay-scale.yaml", RELAY_SCALE);
    let registry = actions::registry();
    let check = min_duration(200, || runbook::check(&source, registry));
    print_row("check of relay-scale, in the process", milliseconds(check));
}

/// A state directory with finished runs.
struct History {
    dir: TempDir,
}

impl History {
    const RUNBOOK: &str = "asserts.yaml";

    fn of(runs: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join(Self::RUNBOOK), asserts_runbook(1))
            .expect("a runbook can be written");
        let history = Self { dir };
        history.call(&["run", Self::RUNBOOK, "--yes"]);
        // The name of a run is only in the name of its journal.
        let journals = history.dir.path().join("state/runs");
        let mut entries = std::fs::read_dir(&journals).expect("the directory of journals");
        let first = entries.next().and_then(Result::ok).expect("the journal of the run").path();
        for number in 0..runs {
            let (hour, minute, second) = (number / 3600, number / 60 % 60, number % 60);
            let name =
                format!("20260101t{hour:02}{minute:02}{second:02}z-asserts-{number:04x}.jsonl");
            std::fs::copy(&first, journals.join(name)).expect("a journal can be copied");
        }
        history.call(&["run", Self::RUNBOOK, "--yes"]);
        history
    }

    fn call(&self, arguments: &[&str]) {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.dir.path()).args(["--state-dir", "state"]).args(arguments);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

/// What 5,000 finished runs in the state directory cost a new run, and a list.
fn history() {
    let (none, many) = (History::of(0), History::of(5_000));
    let commands: [(&str, &[&str]); 2] = [
        ("`run` of one `assert`", &["run", History::RUNBOOK, "--yes"]),
        ("`runs list`", &["runs", "list"]),
    ];
    for (what, arguments) in commands {
        let [none, many] =
            [&none, &many].map(|history| min_duration(40, || history.call(arguments)));
        let ratio = many.as_secs_f64() / none.as_secs_f64();
        print_row(
            &format!("{what}, whole process, with no earlier runs and with 5,000"),
            format!("{}, {} ({ratio:.1}x)", milliseconds(none), milliseconds(many)),
        );
    }
}

/// An engine on a simulator, or on nothing.
struct Bench {
    engine: Engine,
    store: Arc<dyn RunStore>,
    simulator: Option<Simulator>,
    _dir: TempDir,
}

impl Bench {
    async fn on(scenario: Option<Scenario>) -> Self {
        let clock = Clock::scaled(600.0).expect("600 is a speed");
        let simulator = match scenario {
            Some(scenario) => {
                let options = simulator::Options { clock, ..simulator::Options::default() };
                Some(Simulator::start(scenario, options).await.expect("the simulator starts"))
            }
            None => None,
        };
        let nowhere = || "http://127.0.0.1:1".parse().expect("an address");
        let platform = Platform::new(PlatformOptions {
            clock,
            kubernetes: KubernetesAccess::Endpoint {
                url: simulator.as_ref().map_or_else(nowhere, |s| s.kubernetes_url().clone()),
            },
            aws: AwsAccess::Endpoint {
                url: simulator.as_ref().map_or_else(nowhere, |s| s.aws_url().clone()),
            },
            environment: BTreeMap::new(),
        });
        let dir = tempfile::tempdir().expect("a temporary directory");
        let owner = LockOwner { pid: 0, doing: "bench".into(), address: None };
        let store: Arc<dyn RunStore> =
            Arc::new(DirectoryStore::for_writing(dir.path(), &owner).expect("a state directory"));
        let engine = Engine::new(platform, Arc::clone(&store), true);
        Self { engine, store, simulator, _dir: dir }
    }

    /// Runs a text and returns its records and the time that it took.
    async fn run(&self, text: &str) -> (Vec<RecordedEvent>, Duration) {
        let start = Instant::now();
        let source = Source::new("<bench>", text);
        let inputs = serde_json::Map::new();
        let checked = CheckedRunbook::new(source).expect("the runbook is valid");
        let preflight = self.engine.prepare(checked, &inputs).await.expect("the inputs fit");
        let accepted =
            self.engine.accept(preflight, "bench", None).await.expect("the lock is free");
        let driven = self.engine.drive(accepted, Control::default()).await;
        let run = driven.expect("the journal can be written");
        assert_eq!(run.state(false), RunState::Succeeded);
        let events = self.store.read(run.id(), 0).await.expect("the journal can be read");
        (events, start.elapsed())
    }
}

async fn asserts() -> String {
    let text = asserts_runbook(1_000);
    let mut best = Duration::MAX;
    for _ in 0..5 {
        best = best.min(Bench::on(None).await.run(&text).await.1);
    }
    milliseconds(best)
}

/// Measures the time from when an independent watch sees the last node Ready to the completion of the step.
async fn reaction() -> String {
    let mut reactions = Vec::new();
    for _ in 0..5 {
        let bench = Bench::on(Some(Scenario::default())).await;
        let url = bench.simulator.as_ref().expect("it has a simulator").kubernetes_url().clone();
        let client = kube::Client::try_from(kube::Config::new(
            url.as_str().parse().expect("a URL is a URI"),
        ))
        .expect("a client");
        let last_ready = Arc::new(Mutex::new(None));
        let watching = tokio::spawn(watch_nodes(client, Arc::clone(&last_ready)));
        let (records, _) = bench.run(SCALE_UP).await;
        watching.abort();
        let completed = records.iter().find_map(|record| match &record.event {
            Event::Step { path, event: StepEvent::StepCompleted { .. } }
                if *path == StepPath::top_level("new_nodes") =>
            {
                Some(record.time)
            }
            _ => None,
        });
        let last = *last_ready.lock().expect("no holder panics");
        if let (Some(completed), Some(last)) = (completed, last) {
            let reaction = completed.duration_since(last).as_micros();
            reactions.push(u64::try_from(reaction).unwrap_or(0));
        }
    }
    reactions.sort_unstable();
    let median = reactions.get(reactions.len() / 2).copied().unwrap_or_default();
    milliseconds(Duration::from_micros(median))
}

/// Notes when a node last became Ready, until it is aborted.
async fn watch_nodes(client: kube::Client, last_ready: Arc<Mutex<Option<jiff::Timestamp>>>) {
    use kube::runtime::watcher::{Config, Event as Seen};
    let nodes: kube::Api<Node> = kube::Api::all(client);
    let mut ready = BTreeSet::new();
    let mut events = std::pin::pin!(kube::runtime::watcher(nodes, Config::default()));
    while let Some(event) = events.next().await {
        let Ok(Seen::Apply(node) | Seen::InitApply(node)) = event else { continue };
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let is_ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        if is_ready && ready.insert(node.metadata.name) {
            *last_ready.lock().expect("no holder panics") = Some(jiff::Timestamp::now());
        }
    }
}

async fn relay_scale(nodes: u32) -> (usize, usize, String) {
    let bench = Bench::on(Some(relay_world(nodes))).await;
    let (_, took) = bench.run(RELAY_SCALE).await;
    let record = bench.simulator.as_ref().expect("it has a simulator").calls();
    // The lease of the cluster is written three or four times by any run, however large the cluster is.
    let is_change = |call: &&RecordedCall| call.mutating && !is_bookkeeping(&call.operation);
    let mutations = record.iter().filter(is_change).count();
    (mutations, record.len() - mutations, format!("{:.1} s", took.as_secs_f64()))
}

/// Time until `serve` listens, and its memory then.
fn serve() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let start = Instant::now();
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--state-dir"])
        .arg(dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let _listens = stderr.lines().map_while(Result::ok).find(|line| line.starts_with("listening"));
    print_row("start of `serve`", milliseconds(start.elapsed()));
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let memory = status.ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    });
    print_row("memory of `serve`", format!("{:.1} MiB", memory.unwrap_or_default() / 1024.0));
    let _ = child.kill();
    let _ = child.wait();
}
