//! What it costs to keep runs in the cluster, for `docs/performance.md`. Nothing depends on the figures, so the tests are
//! ignored unless they are asked for: `cargo test --test control_plane -- --ignored --nocapture figures`.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use kube::api::ListParams;
use rafay_relay_sop::{
    journal::{
        DirectoryStore, Event, LockOwner, MemoryStore, Observers, RecordedEvent, RunEvent, RunId,
        RunStore, RunWriter, StoreError,
    },
    platform::kubernetes::RunEvents,
};
use test_support::{AroundAppend, ProgramOutput, TestCluster, WrappedStore, program, relay_world};

use crate::{
    accounts::{Grant, TestServiceAccount},
    cli_run::{NAMESPACE, RELAY_SCALE},
    cluster_store::{self, prepare, run_id},
    fixture::ControlPlane,
    harness::{Test, test},
    moto::{Moto, relay_cluster::RelayCluster},
};

/// How often a run is measured.
const RUNS: usize = 7;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("cluster_store_figures::appends", appends).only_on_request(),
        test("cluster_store_figures::relay_scale_in_both_stores", both_stores).only_on_request(),
    ]
}

/// Notes how long each synced append takes.
#[derive(Default)]
struct Timing {
    synced: Mutex<Vec<Duration>>,
}

#[async_trait]
impl AroundAppend for Timing {
    async fn append(
        &self,
        store: &dyn RunStore,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<(), StoreError> {
        let started = Instant::now();
        store.append(run, expected, events, sync).await?;
        if sync {
            self.synced.lock().unwrap().push(started.elapsed());
        }
        Ok(())
    }
}

/// The journal of relay-scale with this many nodes and relay pods.
async fn journal(nodes: u32) -> Vec<RecordedEvent> {
    let cluster =
        TestCluster::with_store(relay_world(nodes), Arc::new(MemoryStore::default())).await;
    cluster.run(RELAY_SCALE).await.expect_success().records
}

/// Writes a journal again, as another run.
async fn write_again(store: Arc<dyn RunStore>, id: &RunId, journal: &[RecordedEvent]) {
    let none: Observers = Arc::new([]);
    let Event::Run(RunEvent::RunStarted(spec)) = &journal[0].event else { panic!("no start") };
    let started = RunWriter::start(store, none, id.clone(), journal[0].time, (**spec).clone());
    let mut writer = started.await.unwrap();
    for RecordedEvent { time, event, .. } in &journal[1..] {
        writer.append(*time, event.clone()).await.unwrap();
    }
}

/// The value below which so many percent of the sorted values are.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

async fn appends(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let dir = tempfile::tempdir().unwrap();
    let owner = LockOwner { pid: std::process::id(), doing: "test".into(), address: None };
    let directory: Arc<dyn RunStore> =
        Arc::new(DirectoryStore::for_writing(dir.path(), &owner).unwrap());
    println!(
        "\n| nodes | JSON | store | appends | median | p95 | longest | all of a run | objects left |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for nodes in [3, 300] {
        let journal = journal(nodes).await;
        let bytes: usize =
            journal.iter().map(|event| serde_json::to_string(event).unwrap().len() + 1).sum();
        let cluster = cluster_store::store(&plane).await;
        for (name, store) in [("directory", Arc::clone(&directory)), ("cluster", cluster)] {
            let (mut times, mut runs, mut left) = (Vec::new(), Vec::new(), 0);
            let mut count = 0;
            for _ in 0..RUNS {
                let measured = WrappedStore::around(Arc::clone(&store), Timing::default());
                let measured = Arc::new(measured);
                let id = run_id("figures");
                let started = Instant::now();
                write_again(measured.clone(), &id, &journal).await;
                runs.push(started.elapsed());
                let synced = std::mem::take(&mut *measured.around.synced.lock().unwrap());
                count = synced.len();
                times.extend(synced);
                if name == "cluster" {
                    let of_run = ListParams::default().labels(&format!("sop.rafay.dev/run={id}"));
                    let parts = plane.api::<RunEvents>(cluster_store::NAMESPACE);
                    left = parts.list_metadata(&of_run).await.unwrap().items.len();
                }
            }
            times.sort();
            runs.sort();
            let (median, p95) = (ms(quantile(&times, 50)), ms(quantile(&times, 95)));
            let (longest, all) = (ms(quantile(&times, 100)), ms(quantile(&runs, 50)));
            println!(
                "| {nodes} | {} KB | {name} | {count} | {median} | {p95} | {longest} | {all} | {left} |",
                bytes / 1000
            );
        }
    }
}

/// The program as its users start it, in turns.
async fn both_stores((plane, moto): (Arc<ControlPlane>, Arc<Moto>)) {
    prepare(&plane).await;
    let (mut directory, mut cluster) = (Vec::new(), Vec::new());
    for round in 0..=RUNS {
        let in_directory = run_relay_scale(&plane, &moto, false).await;
        let in_cluster = run_relay_scale(&plane, &moto, true).await;
        // The first run finds cold caches.
        if round > 0 {
            directory.push(in_directory);
            cluster.push(in_cluster);
        }
    }
    directory.sort();
    cluster.sort();
    println!(
        "\n| relay-scale with 3 nodes, {RUNS} runs | median | shortest | longest |\n|---|---|---|---|"
    );
    for (name, times) in [("a state directory", &directory), ("the cluster", &cluster)] {
        let (shortest, longest) = (ms(times[0]), ms(times[RUNS - 1]));
        println!("| runs in {name} | {} | {shortest} | {longest} |", ms(quantile(times, 50)));
    }
    let difference = quantile(&cluster, 50).as_secs_f64() - quantile(&directory, 50).as_secs_f64();
    println!("the difference of the medians is {:.0} ms", difference * 1000.0);
}

async fn run_relay_scale(
    plane: &Arc<ControlPlane>,
    moto: &Arc<Moto>,
    in_cluster: bool,
) -> Duration {
    let world = RelayCluster::new(Arc::clone(plane), Arc::clone(moto), 3).await;
    let grant = Grant::for_runbook(RELAY_SCALE).and_store();
    let account = TestServiceAccount::new(plane, NAMESPACE, "relay-sop", grant).await;
    let dir = tempfile::tempdir().unwrap();
    let mut command = program();
    command.env("KUBECONFIG", &account.kubeconfig).env("AWS_ENDPOINT_URL", &moto.url);
    if in_cluster {
        command.args(["--store", "cluster", "--store-namespace", NAMESPACE]);
    } else {
        command.arg("--state-dir").arg::<&Path>(dir.path());
    }
    command.args(["run", "relay-scale", "--yes"]);
    let started = Instant::now();
    let ended = world.during(ProgramOutput::run_async(&mut command)).await;
    let elapsed = started.elapsed();
    ended.expect_exit_code(0);
    elapsed
}
