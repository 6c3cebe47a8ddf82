//! The promises of every store: a run that stops at any event is resumed to the same end, and listing and locks work on
//! heads. A run is checked and identified once.

use std::{sync::Arc, time::Duration};

use clock::Clock;
use futures::future::BoxFuture;
use k8s_openapi::api::{core::v1::Event as CoreEvent, events::v1::Event as KubernetesEvent};
use kube::api::{Api, ListParams};
use rafay_relay_sop::{
    cluster_store::ClusterStore,
    engine::{Control, StartError},
    journal::{
        DirectoryStore, HeadQuery, LockOwner, MemoryStore, ResumeMode, RunId, RunState, RunStore,
    },
    lease::LeaseTimes,
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
};
use serde_json::json;
use simulator::{Effect, Fault, Scenario};
use tempfile::TempDir;
use test_support::{
    InterruptingStore, Moment, Point, ProgramOutput, SCALE_UP, SimulateProcess, TestCluster,
};

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
    let times = LeaseTimes::default();
    let store = ClusterStore::for_writing(&platform, Some("rafay-core"), None, times).await;
    Arc::new(store.unwrap())
}

/// Runs until the Nth event on a store and resumes there; whether the run had that event.
async fn stops_and_resumes(store: Arc<dyn RunStore>, stop_at: u64, moment: Moment) -> bool {
    let (stopping, stopped) =
        InterruptingStore::stopping(Arc::clone(&store), Point::Event(stop_at), moment);
    let cluster = TestCluster::with_store(Scenario::default(), Arc::new(stopping)).await;
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
    let (store, point) = (store_in(&medium).await, Point::Synced(append));
    let (stopping, stopped) = InterruptingStore::stopping(store, point, moment);
    let mut cluster = TestCluster::with_store(Scenario::default(), Arc::new(stopping)).await;
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

/// What `kubectl events --for rbr/RUN` lists, in the order of the run.
async fn kubernetes_events(cluster: &TestCluster, run: &RunId) -> Vec<String> {
    let url = cluster.simulator.kubernetes_url().as_str().parse().unwrap();
    let client = kube::Client::try_from(kube::Config::new(url)).unwrap();
    let of_run = format!("involvedObject.kind=RunbookRun,involvedObject.name={run}");
    let found = Api::<CoreEvent>::namespaced(client.clone(), "rafay-core")
        .list(&ListParams::default().fields(&of_run))
        .await
        .unwrap();
    let of_run = format!("regarding.kind=RunbookRun,regarding.name={run}");
    let same = Api::<KubernetesEvent>::namespaced(client, "rafay-core")
        .list(&ListParams::default().fields(&of_run))
        .await
        .unwrap();
    let notes = same.iter().map(|event| &event.note);
    assert!(found.iter().map(|event| &event.message).eq(notes), "two forms of the same objects");
    let line = |event: &CoreEvent| {
        let count = event.series.as_ref().map_or(1, |series| series.count.unwrap());
        let text = |text: &Option<String>| text.clone().unwrap();
        let (kind, reason) = (text(&event.type_), text(&event.reason));
        format!("{kind} {reason} x{count}: {}", text(&event.message))
    };
    found.iter().map(line).collect()
}

/// Its first step fails twice, and the last one for good.
const RETRIED: &str = "name: retried
defaults: {retry: {attempts: 4, backoff: 1s, max_backoff: 1s}}
steps:
  - {id: pods, name: List pods, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
  - {id: skipped, name: Skipped, when: \"{{ pods.count == 0 }}\", action: sleep, with: {duration: 1s}}
  - {id: sure, name: Make sure, action: assert, with: {that: \"{{ pods.count == 0 }}\", message: not today}, on_failure: stop}
";

fn fault(matching: &str, times: u32, effect: Effect) -> Fault {
    Fault { matching: matching.into(), nth: 1, times, effect }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_run_on_the_cluster_store_are_kubernetes_events() {
    let keeping = TestCluster::new().await;
    // Responses are lost, too: what was created twice is there once.
    keeping.simulator.inject(fault("create events/*", 3, Effect::Drop { before: false }));
    let store = store_in(&keeping).await;
    let cluster = TestCluster::with_store(Scenario::default(), store).await;
    let (code, message) = ("InternalError".into(), "no".into());
    let failing = Effect::Fail { status: 500, code, message };
    // Two attempts of the step, each with four of the client.
    cluster.simulator.inject(fault("list pods*", 8, failing));
    let ended = cluster.run(RETRIED).await.expect_state(RunState::Failed);
    let id = ended.run.id();
    let url = cluster.simulator.kubernetes_url().as_str().trim_end_matches('/');
    let found = kubernetes_events(&keeping, id).await;
    // The client names the server.
    let found: Vec<String> = found.iter().map(|line| line.replace(url, "URL")).collect();
    let expected = [
        "Normal RunStarted x1: Started runbook: retried on the simulator, requested by test",
        "Normal StepStarted x1: Starting step: List pods",
        "Warning StepRetried x2: pods: Attempt 1 failed: list pods in rafay-core with app=rafay-relay (URL): 500 no; \
         retrying in 0.0 s",
        "Normal StepCompleted x1: Completed step: List pods",
        "Normal StepSkipped x1: Skipped step: Skipped (`when` is false: `{{ pods.count == 0 }}` with pods.count = 3)",
        "Normal StepStarted x1: Starting step: Make sure",
        "Warning StepFailed x1: Failed step: Make sure: not today (`that` is false: `{{ pods.count == 0 }}` with \
         pods.count = 3)",
        "Warning RunFailed x1: Failed",
    ];
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_without_kubernetes_events_that_it_may_not_write() {
    let keeping = TestCluster::new().await;
    let (code, message) = ("Forbidden".into(), "cannot create resource events".into());
    let refused = Effect::Fail { status: 403, code, message };
    keeping.simulator.inject(fault("create events/*", u32::MAX, refused));
    let cluster = TestCluster::with_store(Scenario::default(), store_in(&keeping).await).await;
    for _ in 0..2 {
        let ended = cluster.run(SCALE_UP).await.expect_success();
        assert_eq!(kubernetes_events(&keeping, ended.run.id()).await, [""; 0]);
    }
    assert_eq!(keeping.count_calls("create events/"), 1, "it is not tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_not_wait_for_kubernetes_events_that_are_not_answered() {
    let keeping = TestCluster::new().await;
    let by = Duration::from_hours(24);
    keeping.simulator.inject(fault("create events/*", u32::MAX, Effect::Delay { by }));
    let cluster = TestCluster::with_store(Scenario::default(), store_in(&keeping).await).await;
    cluster.run(SCALE_UP).await.expect_success();
    assert_eq!(keeping.count_calls("create events/"), 1, "the first one is not answered");
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
