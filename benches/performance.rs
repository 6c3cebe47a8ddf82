//! The first table of `docs/performance.md`: `cargo bench --bench performance` prints it. It takes four minutes, two of
//! which are a run of relay-scale at real speed.
//!
//! No test depends on these: a slow machine prints larger numbers and fails nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
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
use test_support::{
    SCALE_UP, Serve, asserts, copy_journal, is_bookkeeping,
    measure::{Figures, Measured, Times, WARM_UP, measure, print_conditions, resident},
    program, program_path, relay_world, waits,
};

/// The allocator of the program, so that what is measured in this process is what the program does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RELAY_SCALE: &str = include_str!("../runbooks/relay-scale.yaml");

/// As fast as the simulator can be.
const FAST: f64 = 600.0;

#[tokio::main]
async fn main() {
    print_conditions(WARM_UP);
    let figures = Figures::start();
    starts(&figures);
    runs_of_asserts(&figures);
    engine(&figures).await;
    figures.times("reaction of `wait_nodes` to the last Ready", "50 ms", &reaction().await);
    for nodes in [3, 30, 300] {
        calls(&figures, nodes, FAST, &relay_scale(nodes, FAST).await);
    }
    // Both wait for most of the time.
    let (small, large) = tokio::join!(relay_scale(3, 1.0), relay_scale(30, 1.0));
    calls(&figures, 3, 1.0, &small);
    calls(&figures, 30, 1.0, &large);
    history(&figures);
    serve(&figures);
    let size = std::fs::metadata(program_path()).expect("cargo has built the program").len();
    let tenths = size / 100_000;
    figures.figure("size of the program", "30 MB", format!("{}.{} MB", tenths / 10, tenths % 10));
}

/// What the shortest commands take as whole processes, and what a check is of that.
fn starts(figures: &Figures) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a runbook can be written");
        path
    };
    let validate = |path: &Path| {
        let mut command = program();
        command.arg("validate").arg(path);
        command
    };
    let version = Times::of_processes(50, || {
        let mut command = program();
        command.arg("--version");
        command
    });
    figures.times("`--version`, whole process", "", &version);
    let relay_scale = file("relay-scale.yaml", RELAY_SCALE);
    let times = Times::of_processes(50, || validate(&relay_scale));
    figures.times("`validate` of relay-scale, whole process", "10 ms", &times);
    let asserts = file("asserts.yaml", &asserts(10_000));
    let times = Times::of_processes(10, || validate(&asserts));
    figures.times("`validate` of 10,000 asserts, whole process", "300 ms", &times);
    let waits = file("waits.yaml", &waits(10_000));
    let times = Times::of_processes(10, || validate(&waits));
    let what = "`validate` of 10,000 steps that use the output of the one before, whole process";
    figures.times(what, "300 ms", &times);
    // Apart from the times: reading the memory disturbs them.
    let runs = Measured::of(5, || measure(&mut validate(&waits), 0));
    figures.figure("memory of that, the most of 5", "80 MiB", runs.usage().memory());
    let source = Source::new("relay-scale.yaml", RELAY_SCALE);
    let registry = actions::registry();
    let check = Times::of(200, || runbook::check(&source, registry));
    figures.times("check of relay-scale, in the process", "", &check);
}

/// What runs of asserts take as whole processes, each in a state directory of its own.
fn runs_of_asserts(figures: &Figures) {
    for (steps, tries, goal) in [(1, 30, ""), (100, 20, ""), (1_000, 10, ""), (10_000, 5, "300 ms")]
    {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("asserts.yaml");
        std::fs::write(&path, asserts(steps)).expect("a runbook can be written");
        let mut number = 0;
        let times = Times::of_processes(tries, || {
            number += 1;
            let mut command = program();
            command.arg("--state-dir").arg(dir.path().join(format!("state-{number}")));
            command.arg("run").arg(&path).args(["--yes", "--no-plan"]);
            command
        });
        let plural = if steps == 1 { "" } else { "s" };
        let what = format!("`run` of {steps} `assert` step{plural}, whole process");
        figures.times(&what, goal, &times);
    }
}

/// A state directory with finished runs.
struct History {
    dir: TempDir,
}

impl History {
    const RUNBOOK: &str = "asserts.yaml";

    fn of(runs: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join(Self::RUNBOOK), asserts(1))
            .expect("a runbook can be written");
        let history = Self { dir };
        let run = ["run", Self::RUNBOOK, "--yes"];
        Times::of_processes(1, || history.call(&run));
        copy_journal(&history.dir.path().join("state/runs"), runs);
        history
    }

    fn call(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.current_dir(self.dir.path()).args(["--state-dir", "state"]).args(arguments);
        command
    }
}

/// What 5,000 finished runs in the state directory cost a new run, and a list. The warm-up indexes the new journals.
fn history(figures: &Figures) {
    let (none, many) = (History::of(0), History::of(5_000));
    let commands: [(&str, &[&str]); 2] = [
        ("`run` of one `assert`", &["run", History::RUNBOOK, "--yes"]),
        ("`runs list`", &["runs", "list"]),
    ];
    for (what, arguments) in commands {
        let [none, many] =
            [&none, &many].map(|history| Times::of_processes(40, || history.call(arguments)));
        let ratio = many.median().as_secs_f64() / none.median().as_secs_f64();
        figures.times(&format!("{what}, whole process, with no earlier runs"), "", &none);
        figures.times(&format!("{what}, whole process, with 5,000 earlier runs"), "", &many);
        figures.figure(&format!("{what}: ratio of the two"), "1.5x", format!("{ratio:.1}x"));
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
    async fn on(scenario: Option<Scenario>, speed: f64) -> Self {
        let clock = Clock::scaled(speed).expect("a speed");
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

/// What a run takes in the process, with the journal in a directory.
async fn engine(figures: &Figures) {
    let text = asserts(1_000);
    let mut times = Vec::new();
    for _ in 0..11 {
        times.push(Bench::on(None, FAST).await.run(&text).await.1);
    }
    let times = times.into_iter().skip(1).collect();
    figures.times("a run of 1,000 `assert` steps, in the process, journal on", "200 ms", &times);
}

/// Measures the time from when an independent watch sees the last node Ready to the completion of the step.
async fn reaction() -> Times {
    let mut reactions = Vec::new();
    for _ in 0..6 {
        let bench = Bench::on(Some(Scenario::default()), FAST).await;
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
            reactions.push(Duration::from_micros(u64::try_from(reaction).unwrap_or(0)));
        }
    }
    reactions.into_iter().skip(1).collect()
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

/// The calls of a run of relay-scale, and the time that it took.
struct Calls {
    changes: usize,
    reads: usize,
    took: Duration,
}

async fn relay_scale(nodes: u32, speed: f64) -> Calls {
    let bench = Bench::on(Some(relay_world(nodes)), speed).await;
    let (_, took) = bench.run(RELAY_SCALE).await;
    let record = bench.simulator.as_ref().expect("it has a simulator").calls();
    // The lease of the cluster is written three or four times by any run, however large the cluster is.
    let is_change = |call: &&RecordedCall| call.mutating && !is_bookkeeping(&call.operation);
    let changes = record.iter().filter(is_change).count();
    Calls { changes, reads: record.len() - changes, took }
}

/// Prints the calls of a run. What changes something is the same at any speed; how often a wait looks is not.
fn calls(figures: &Figures, nodes: u32, speed: f64, calls: &Calls) {
    let name = if speed > 1.0 {
        format!("relay-scale with {nodes} nodes, {speed} times as fast")
    } else {
        format!("relay-scale with {nodes} nodes at real speed")
    };
    let goal = match nodes {
        3 => "18",
        30 => "126",
        _ => "1211",
    };
    figures.figure(&format!("{name}: calls that change something"), goal, calls.changes);
    figures.figure(&format!("{name}: calls that look, and those of the lease"), "", calls.reads);
    figures.figure(&format!("{name}: time"), "", format!("{:.1} s", calls.took.as_secs_f64()));
}

/// Time until `serve` listens, and its memory then.
fn serve(figures: &Figures) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut memory = String::new();
    let mut start = || {
        let mut command = program();
        command.args(["serve", "--state-dir"]).arg(dir.path());
        let begin = Instant::now();
        let mut service = Serve::start(&mut command);
        let took = begin.elapsed();
        memory = resident(service.pid());
        service.terminate();
        took
    };
    start();
    let times: Times = (0..10).map(|_| start()).collect();
    figures.times("start of `serve` until it listens", "", &times);
    figures.figure("memory of `serve`, idle", "", memory);
}
