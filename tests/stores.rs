//! The promises of every store: a run that stops at any event is resumed to the same end, and listing and locks work on
//! heads. A run is checked and identified once.

use std::sync::Arc;

use clock::Clock;
use futures::future::BoxFuture;
use rafay_relay_sop::{
    cluster_store::ClusterStore,
    engine::{Control, StartError},
    journal::{DirectoryStore, HeadQuery, LockOwner, MemoryStore, ResumeMode, RunState, RunStore},
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
};
use serde_json::json;
use simulator::Scenario;
use tempfile::TempDir;
use test_support::{
    InterruptingStore, Moment, Point, ProgramOutput, SCALE_UP, SimulateProcess, TestCluster,
};
use tokio::sync::Notify;

use crate::crash::{RELAY_SCALE, change_kinds, facts};

/// What keeps a store alive.
enum Medium {
    Directory(#[expect(dead_code, reason = "removed at the end")] TempDir),
    Cluster(#[expect(dead_code, reason = "stopped at the end")] Box<TestCluster>),
    Memory,
}

/// A store that is being opened.
type Opening = BoxFuture<'static, (Arc<dyn RunStore>, Medium)>;

/// The kinds of stores.
const KINDS: [fn() -> Opening; 3] = [directory_store, memory_store, cluster_store];

fn directory_store() -> Opening {
    let directory = tempfile::tempdir().unwrap();
    let owner = LockOwner { pid: std::process::id(), doing: "test".into(), address: None };
    let store = DirectoryStore::for_writing(directory.path(), &owner).unwrap();
    Box::pin(async { (Arc::new(store) as Arc<dyn RunStore>, Medium::Directory(directory)) })
}

fn memory_store() -> Opening {
    Box::pin(async { (Arc::new(MemoryStore::default()) as Arc<dyn RunStore>, Medium::Memory) })
}

/// A store in a cluster of its own. `tests/control_plane/cluster_store.rs` has the tests on a real API server.
fn cluster_store() -> Opening {
    Box::pin(async {
        let cluster = TestCluster::new().await;
        let store = store_in(&cluster).await;
        (store as Arc<dyn RunStore>, Medium::Cluster(Box::new(cluster)))
    })
}

/// The store in a cluster, as another process opens it.
async fn store_in(cluster: &TestCluster) -> Arc<ClusterStore> {
    let url = cluster.simulator.kubernetes_url().clone();
    let platform = Platform::new(PlatformOptions {
        clock: Clock::real(),
        kubernetes: KubernetesAccess::Endpoint { url },
        aws: AwsAccess::DefaultChain { profile: None },
        environment: [].into(),
    });
    let store = ClusterStore::for_writing(&platform, Some("rafay-core"), None).await;
    Arc::new(store.unwrap())
}

/// Runs until the Nth event on a store and resumes there; whether the run had that event.
async fn stops_and_resumes(store: Arc<dyn RunStore>, stop_at: u64, moment: Moment) -> bool {
    let stopped = Arc::new(Notify::new());
    let stop = {
        let stopped = Arc::clone(&stopped);
        move || -> BoxFuture<'static, ()> {
            stopped.notify_one();
            Box::pin(std::future::pending())
        }
    };
    let stopping =
        Arc::new(InterruptingStore::new(Arc::clone(&store), Point::Event(stop_at), moment, stop));
    let cluster = TestCluster::with_store(Scenario::default(), stopping).await;
    let driving = async {
        let accepted = cluster.accept(SCALE_UP, json!({})).await.unwrap();
        cluster.drive(accepted, Control::default()).await.expect_success();
    };
    let has_stopped = tokio::select! {
        () = driving => false,
        () = stopped.notified() => true,
    };
    let heads = store.heads(HeadQuery::Newest(1)).await.unwrap();
    let Some(head) = heads.into_iter().next().and_then(|entry| entry.head.ok()) else {
        return has_stopped;
    };
    if has_stopped && head.state(false).is_unfinished() {
        // Of other stores it is known that no other process writes to them.
        if store.location().exclusive_id.is_none() {
            cluster.let_lease_expire().await;
        }
        cluster.resume(&head.run, ResumeMode::Continue).await.expect_success();
    }
    assert_eq!(cluster.effective_calls(), ["eks:UpdateNodegroupConfig"], "event {stop_at}");
    has_stopped
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stops_at_any_event_reaches_the_same_end_on_every_store() {
    let at_each_event = async |kind: usize, moment: Moment| {
        for event in 2.. {
            let (store, _medium) = KINDS[kind]().await;
            if !stops_and_resumes(store, event, moment).await {
                assert!(event > 12, "the run has {event} events");
                break;
            }
        }
    };
    tokio::join!(
        at_each_event(0, Moment::BeforeEvent),
        at_each_event(0, Moment::AfterEvent),
        at_each_event(1, Moment::BeforeEvent),
        at_each_event(1, Moment::AfterEvent),
        at_each_event(2, Moment::BeforeEvent),
        at_each_event(2, Moment::AfterEvent),
    );
}

/// Runs relay-scale, with its runs in a cluster, until the Nth synced append, and resumes it in another process. Returns
/// whether the run had that append, the changes, and the state in the end.
async fn relay_scale_stops_and_is_resumed(
    append: u64,
    moment: Moment,
) -> (bool, Vec<String>, Vec<String>) {
    let medium = TestCluster::new().await;
    let stopped = Arc::new(Notify::new());
    let stop = {
        let stopped = Arc::clone(&stopped);
        move || -> BoxFuture<'static, ()> {
            stopped.notify_one();
            Box::pin(std::future::pending())
        }
    };
    let (store, point) = (store_in(&medium).await, Point::Synced(append));
    let stopping = Arc::new(InterruptingStore::new(store, point, moment, stop));
    let mut cluster = TestCluster::with_store(Scenario::default(), stopping).await;
    let has_stopped = tokio::select! {
        ended = cluster.run(RELAY_SCALE) => {
            ended.expect_success();
            false
        }
        () = stopped.notified() => true,
    };
    if has_stopped {
        let store = store_in(&medium).await;
        cluster = cluster.with_other_process(Arc::clone(&store) as Arc<dyn RunStore>);
        cluster.let_lease_expire().await;
        let heads = store.heads(HeadQuery::All).await.unwrap();
        match heads.first().map(|entry| entry.head.as_ref().unwrap()) {
            None => drop(cluster.run(RELAY_SCALE).await.expect_success()),
            Some(head) if head.is_final() => {}
            Some(head) => {
                cluster.resume(&head.run, ResumeMode::Continue).await.expect_success();
            }
        }
    }
    let heads = store_in(&medium).await.heads(HeadQuery::All).await.unwrap();
    assert_eq!(heads.len(), 1);
    assert_eq!(heads[0].head.as_ref().unwrap().state(false), RunState::Succeeded);
    let state = cluster.simulator.state().await.unwrap();
    (has_stopped, change_kinds(cluster.effective_calls()), facts(&state))
}

/// `tests/control_plane/cluster_store_crashes.rs` has the same with a real API server for each kind of change.
#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_that_stops_at_any_synced_append_to_a_cluster_reaches_the_same_end() {
    let (has_stopped, changes, facts) =
        relay_scale_stops_and_is_resumed(u64::MAX, Moment::AfterEvent).await;
    assert!(!has_stopped);
    let at_each_append = async |moment: Moment| {
        for append in 1.. {
            let (has_stopped, found_changes, found_facts) =
                relay_scale_stops_and_is_resumed(append, moment).await;
            let at = format!("{moment:?} {append}");
            assert_eq!(found_changes, changes, "{at}");
            assert_eq!(found_facts, facts, "{at}");
            if !has_stopped {
                assert!(append > 15, "the run has {append} synced appends");
                break;
            }
        }
    };
    tokio::join!(at_each_append(Moment::BeforeEvent), at_each_append(Moment::AfterEvent));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_run_holds_the_lock_of_its_target_and_of_no_other() {
    for kind in KINDS {
        let (store, _medium) = kind().await;
        let one = TestCluster::with_store(Scenario::default(), Arc::clone(&store)).await;
        let two = TestCluster::with_store(Scenario::default(), Arc::clone(&store)).await;
        // A run that was cancelled before it changed something holds no lock.
        let control = Control::default();
        control.cancel("me");
        let accepted = one.accept(SCALE_UP, json!({})).await.unwrap();
        one.drive(accepted, control).await.expect_state(RunState::Cancelled);
        let stops =
            "  - {id: sure, action: assert, with: {that: false, message: no}, on_failure: stop}\n";
        let stopped = one.run(&format!("{SCALE_UP}{stops}")).await.expect_state(RunState::Failed);
        let Err(StartError::Unfinished { run, .. }) = one.accept(SCALE_UP, json!({})).await else {
            panic!("a second run would double again")
        };
        assert_eq!(run, *stopped.run.id());
        two.run(SCALE_UP).await.expect_success();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_reports_each_change_to_those_who_watch() {
    for kind in KINDS {
        let (store, _medium) = kind().await;
        let mut changes = store.watch();
        let cluster = TestCluster::with_store(Scenario::default(), Arc::clone(&store)).await;
        let ended = cluster.run(SCALE_UP).await.expect_success();
        for events in 1..=ended.run.head.events {
            assert_eq!(changes.recv().await.unwrap().events, events);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn preparing_and_accepting_a_run_identifies_its_cluster_and_account_once() {
    let cluster = TestCluster::new().await;
    cluster.accept(SCALE_UP, json!({})).await.unwrap();
    assert_eq!(cluster.count_calls("get namespaces/kube-system"), 1);
    assert_eq!(cluster.count_calls("sts:GetCallerIdentity"), 1);
    let lease = ["get", "create", "update"].map(|verb| format!("{verb} leases"));
    assert_eq!(lease.map(|call| cluster.count_calls(&call)), [2, 1, 1], "the first in a cluster");
    assert_eq!(cluster.simulator.calls().len(), 6, "nothing else is called");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_makes_no_call_before_it_refuses_to_act_without_a_terminal() {
    let simulate = SimulateProcess::start(60.0);
    let directory = tempfile::tempdir().unwrap();
    let mut command = simulate.program(directory.path());
    let refused = ProgramOutput::run(command.args(["run", "relay-scale"])).expect_exit_code(2);
    assert!(refused.stderr.contains("hint: pass --yes"), "{}", refused.stderr);
    assert_eq!(simulate.calls().await.len(), 0);
}

/// Counted by what the program logs of each check.
#[tokio::test(flavor = "multi_thread")]
async fn run_checks_its_runbook_once_and_identifies_its_cluster_once() {
    let simulate = SimulateProcess::start(600.0);
    let directory = tempfile::tempdir().unwrap();
    let runbook = directory.path().join("scale-up.yaml");
    std::fs::write(&runbook, SCALE_UP).unwrap();
    let mut command = simulate.program(directory.path());
    command.args(["run", "--yes", "--speed", "600", "--input", "scale_factor=2"]).arg(&runbook);
    command.env("SOP_LOG", "rafay_relay_sop=debug");
    let ended = ProgramOutput::run(&mut command).expect_exit_code(0);
    assert_eq!(ended.stderr.matches("checked the runbook").count(), 1, "{}", ended.stderr);
    let calls = simulate.calls().await;
    let count = |operation: &str| calls.iter().filter(|call| call.operation == operation).count();
    assert_eq!(count("get namespaces/kube-system"), 1);
    assert_eq!(count("sts:GetCallerIdentity"), 1);
}
