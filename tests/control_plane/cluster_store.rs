//! The store in the cluster on a real API server: what is appended is read back, one writer at a time, whatever is lost
//! on the way.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body as AxumBody, extract::Request, response::Response};
use clock::Clock;
use futures::future::join;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use rafay_relay_sop::{
    cluster_store::{self, ClusterStore},
    journal::{
        Event, Format, HeadQuery, MemoryStore, Observers, RecordedEvent, RunEvent, RunId,
        RunOutcome, RunSpec, RunState, RunStore, RunTarget, RunWriter, SharedStore as _, StepEvent,
        StepPath, StoreError,
    },
    lease::LeaseTimes,
    platform::{
        AwsAccess, KubernetesAccess, Platform, PlatformOptions,
        kubernetes::{RunEvents, RunbookRun},
    },
};
use serde_json::{Value, json};
use test_support::{ProgramOutput, effective_calls, program};
use tokio::sync::Notify;

use crate::{
    accounts::{Grant, STORE_VERBS, TestServiceAccount},
    cli_run::{self, RELAY_SCALE, SPEED, simulate_over},
    cluster::wait_until,
    fixture::ControlPlane,
    harness::{Test, test},
};

/// The namespace of the runs.
pub(crate) const NAMESPACE: &str = "cluster-store";

const RUNBOOK: &str =
    "name: two-steps\nsteps:\n- {id: one, action: sleep}\n- {id: two, action: sleep}\n";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("cluster_store::a_journal_is_read_back_as_it_was_appended", is_read_back),
        test("cluster_store::one_of_two_writers_appends", one_of_two_appends),
        test("cluster_store::a_lost_reply_to_a_change_is_recognized", lost_replies_are_recognized),
        test("cluster_store::a_crash_between_two_calls_loses_nothing", crashes_lose_nothing),
        test("cluster_store::a_writer_that_comes_back_has_lost", a_late_writer_has_lost),
        test("cluster_store::an_unfinished_run_is_not_deleted", unfinished_is_not_deleted),
        test("cluster_store::kubectl_shows_runs_and_waits_for_them", kubectl_shows_runs),
        test("cluster_store::each_missing_permission_is_named", each_permission_is_named),
        test("cluster_store::a_status_that_is_lost_is_written_again", a_status_is_rebuilt),
        test("cluster_store::a_newer_format_is_reported", a_newer_format_is_reported),
        test("cluster_store::an_old_status_is_not_written", an_old_status_is_not_written),
        test("cluster_store::relay_scale_is_resumed_after_a_kill", relay_scale_is_resumed),
        test(
            "cluster_store::a_restart_of_the_api_server_costs_time_only",
            a_restart_costs_time_only,
        ),
        test("cluster_store::missing_definitions_are_named", missing_definitions_are_named),
    ]
}

/// Makes the namespace and the definitions. What earlier runs have left is removed with their definitions.
pub(crate) async fn prepare(plane: &ControlPlane) {
    plane.namespace(NAMESPACE).await;
    for definition in cluster_store::definitions() {
        apply(plane, &definition).await;
    }
    let crds = Api::<CustomResourceDefinition>::all(plane.client.clone());
    wait_until("the definitions", async || {
        let names = ["runbookruns.sop.rafay.dev", "runevents.sop.rafay.dev"];
        let mut established = 0;
        for name in names {
            let crd = crds.get(name).await.unwrap();
            let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
            established += conditions
                .iter()
                .filter(|one| one.type_ == "Established" && one.status == "True")
                .count();
        }
        established == names.len()
    })
    .await;
    let runs = plane.api::<RunbookRun>(NAMESPACE);
    let parts = plane.api::<RunEvents>(NAMESPACE);
    let all = ListParams::default();
    wait_until("the kinds", async || {
        runs.list(&all).await.is_ok() && parts.list_metadata(&all).await.is_ok()
    })
    .await;
    for run in runs.list(&ListParams::default()).await.unwrap() {
        let no_status = json!({"status": {"state": null}});
        let name = run.name_any();
        runs.patch_status(&name, &PatchParams::default(), &Patch::Merge(no_status)).await.unwrap();
        runs.delete(&name, &DeleteParams::default()).await.unwrap();
    }
}

async fn apply(plane: &ControlPlane, object: &Value) {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap();
    let plural = match text("/kind") {
        "CustomResourceDefinition" => "customresourcedefinitions",
        "ValidatingAdmissionPolicy" => "validatingadmissionpolicies",
        "ValidatingAdmissionPolicyBinding" => "validatingadmissionpolicybindings",
        other => panic!("{other}"),
    };
    let (version, name) = (text("/apiVersion"), text("/metadata/name"));
    let request =
        http::Request::patch(format!("/apis/{version}/{plural}/{name}?fieldManager=test"))
            .header("content-type", "application/apply-patch+yaml")
            .body(object.to_string().into_bytes())
            .unwrap();
    plane.client.request::<Value>(request).await.unwrap();
}

/// A journal as a run of this many nodes writes it: its largest events grow with the nodes. Returns how long each
/// append took.
pub(crate) async fn write_journal(
    store: Arc<dyn RunStore>,
    id: &RunId,
    nodes: usize,
) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut writer = start(store, id).await;
    for step in ["one", "two"] {
        for event in step_events(nodes) {
            let event = Event::Step { path: StepPath::top_level(step), event };
            let started = Instant::now();
            writer.append(Timestamp::UNIX_EPOCH, event).await.unwrap();
            times.push(started.elapsed());
        }
    }
    end(&mut writer, RunOutcome::Succeeded).await.unwrap();
    times
}

pub(crate) async fn start(store: Arc<dyn RunStore>, id: &RunId) -> RunWriter {
    start_with_format(store, id, Format::CURRENT).await
}

async fn start_with_format(store: Arc<dyn RunStore>, id: &RunId, format: Format) -> RunWriter {
    let none: Observers = Arc::new([]);
    let spec = RunSpec {
        format,
        runbook: "two-steps".into(),
        origin: None,
        text: RUNBOOK.into(),
        digest: "0".into(),
        inputs: json!({"factor": 2}).as_object().unwrap().clone(),
        called: Vec::new(),
        actor: "test".into(),
        key: Some("a-key".into()),
        outside_window: None,
        version: "0.2.0".into(),
        target: RunTarget::default(),
        consent: Default::default(),
    };
    RunWriter::start(store, none, id.clone(), Timestamp::UNIX_EPOCH, spec).await.unwrap()
}

pub(crate) async fn end(writer: &mut RunWriter, outcome: RunOutcome) -> Result<(), StoreError> {
    let ended = RunEvent::RunEnded { outcome, failure: None, differences: None };
    writer.append(Timestamp::UNIX_EPOCH, ended).await
}

fn step_events(nodes: usize) -> Vec<StepEvent> {
    // As different from each other as the names and UIDs of nodes and pods.
    let mut random = fastrand::Rng::with_seed(nodes as u64);
    let mut list = |width: usize| -> Value {
        let item = |_| (0..width).map(|_| random.alphanumeric()).collect::<String>();
        (0..nodes).map(item).collect()
    };
    let waiting =
        |n| StepEvent::StepWaiting { message: format!("{n} of {nodes}"), waited_ms: None };
    vec![
        StepEvent::StepStarted { name: "Step".into(), description: None },
        StepEvent::StepPrepared { revision: 1, intent: list(200), changes: Vec::new() },
        waiting(1),
        StepEvent::StepApplied { generation: 0, receipt: list(40) },
        waiting(2),
        StepEvent::StepMessage { message: "half of them".into() },
        StepEvent::StepCompleted { revision: 1, output: list(400).into(), message: None },
    ]
}

pub(crate) fn run_id(name: &str) -> RunId {
    RunId::new(Timestamp::now(), name, None)
}

/// The store, as another process opens it.
pub(crate) async fn store(plane: &ControlPlane) -> Arc<ClusterStore> {
    store_of(&platform(KubernetesAccess::Inferred {
        kubeconfig: Some(plane.kubeconfig()),
        context: None,
    }))
    .await
}

pub(crate) async fn store_of(platform: &Platform) -> Arc<ClusterStore> {
    let times = LeaseTimes::default();
    let store = ClusterStore::for_writing(platform, Some(NAMESPACE), None, times).await;
    Arc::new(store.unwrap())
}

pub(crate) fn platform(kubernetes: KubernetesAccess) -> Platform {
    Platform::new(PlatformOptions {
        clock: Clock::real(),
        kubernetes,
        aws: AwsAccess::Endpoint { url: "http://127.0.0.1:9/".parse().unwrap() },
        environment: [].into(),
    })
}

/// The names of the objects with a run's events.
pub(crate) async fn parts(plane: &ControlPlane, run: &RunId) -> Vec<String> {
    let of_run = ListParams::default().labels(&format!("sop.rafay.dev/run={run}"));
    let found = plane.api::<RunEvents>(NAMESPACE).list(&of_run).await.unwrap();
    let name = |part: &RunEvents| part.name_any().strip_prefix(run.as_str()).unwrap().to_owned();
    found.iter().map(name).collect()
}

/// The journal that `write_journal` writes.
pub(crate) async fn expected_journal(id: &RunId, nodes: usize) -> Vec<RecordedEvent> {
    let memory = Arc::new(MemoryStore::default());
    write_journal(memory.clone(), id, nodes).await;
    memory.read(id, 0).await.unwrap()
}

async fn is_read_back(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    for (nodes, objects) in [(3, 1), (300, 1), (1000, 2)] {
        let id = run_id("read-back");
        let expected = expected_journal(&id, nodes).await;
        let store = store(&plane).await;
        store.ensure_usable().await.unwrap();
        let started = Instant::now();
        let mut times = write_journal(store.clone(), &id, nodes).await;
        let whole = started.elapsed();
        // Those that are kept in memory take no call.
        times.retain(|time| *time > Duration::from_millis(1));
        times.sort();
        let (count, median, longest) = (times.len(), times[times.len() / 2], times.last().unwrap());
        println!(
            "{nodes} nodes: {count} appends, median {median:?}, at most {longest:?}; all in {whole:?}"
        );
        assert_eq!(parts(&plane, &id).await.len(), objects, "{nodes} nodes, compacted");
        let other = self::store(&plane).await;
        for reader in [&store, &other] {
            assert!(reader.read(&id, 0).await.unwrap() == expected, "{nodes} nodes");
            assert_eq!(reader.read(&id, 14).await.unwrap(), expected[14..]);
            let head = reader.head(&id).await.unwrap();
            assert_eq!(head.events, expected.len() as u64);
            assert_eq!(head.state(false), RunState::Succeeded);
        }
        let entries = other.heads(HeadQuery::WithKey("a-key".into())).await.unwrap();
        assert!(entries.iter().any(|entry| entry.run == id));
    }
    let store = store(&plane).await;
    let all = store.heads(HeadQuery::All).await.unwrap();
    let names: Vec<_> = all.iter().map(|entry| entry.run.clone()).collect();
    assert_eq!(names.len(), 3);
    assert!(names.is_sorted());
    let newest = store.heads(HeadQuery::Newest(1)).await.unwrap();
    assert_eq!(newest[0].run, names[2]);
    let before = store.heads(HeadQuery::Before(names[2].clone(), 1)).await.unwrap();
    assert_eq!(before[0].run, names[1]);
    assert_eq!(store.heads(HeadQuery::Open).await.unwrap().len(), 0);
    for name in &names {
        store.remove_run(name).await.unwrap();
    }
    assert_eq!(store.heads(HeadQuery::All).await.unwrap().len(), 0);
    let error = store.read(&run_id("none"), 0).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

pub(crate) fn undo_started(seq: u64, step: &str) -> RecordedEvent {
    let event = Event::Step { path: StepPath::top_level(step), event: StepEvent::StepUndoStarted };
    RecordedEvent { seq, time: Timestamp::UNIX_EPOCH, event }
}

async fn one_of_two_appends(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let id = run_id("race");
    let stores = [store(&plane).await, store(&plane).await];
    drop(start(stores[0].clone(), &id).await);
    let mut won = Vec::new();
    for seq in 1..=100 {
        let events = ["one", "two"].map(|step| [undo_started(seq, step)]);
        let [one, two] = &stores;
        let (first, second) =
            join(one.append(&id, seq, &events[0], true), two.append(&id, seq, &events[1], true))
                .await;
        let (winner, lost) = match (first, second) {
            (Ok(()), Err(lost)) => (0, lost),
            (Err(lost), Ok(())) => (1, lost),
            other => panic!("round {seq}: {other:?}"),
        };
        assert!(matches!(lost, StoreError::Conflict { .. }), "round {seq}: {lost}");
        won.push(events[winner][0].clone());
    }
    for store in &stores {
        assert_eq!(store.read(&id, 1).await.unwrap(), won);
    }
}

/// What happens to one of the changes that pass through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is done, and the response is lost.
    LoseReply,
    /// It is not done, and there is no response.
    HangBefore,
    /// It is done, and there is no response.
    HangAfter,
}

/// A proxy in front of the API server, which speaks plain HTTP and counts changes.
struct FaultyProxy {
    platform: Platform,
    reached: Arc<Notify>,
    changes: Arc<AtomicU64>,
}

impl FaultyProxy {
    async fn start(plane: &ControlPlane, at: u64, fault: Fault) -> Self {
        let (client, reached) = (plane.client.clone(), Arc::new(Notify::new()));
        let changes = Arc::new(AtomicU64::new(0));
        let handler = {
            let (reached, changes) = (Arc::clone(&reached), Arc::clone(&changes));
            move |request: Request| {
                let (client, reached) = (client.clone(), Arc::clone(&reached));
                // Kubernetes Events are written beside the calls of a run.
                let is_event = request.uri().path().starts_with("/apis/events.k8s.io/");
                let is_change = request.method() != http::Method::GET && !is_event;
                let number =
                    if is_change { changes.fetch_add(1, Ordering::SeqCst) } else { u64::MAX };
                let fault = (is_change && number == at).then_some(fault);
                async move {
                    if fault == Some(Fault::HangBefore) {
                        reached.notify_one();
                        std::future::pending::<()>().await;
                    }
                    let response = forward(client, request).await;
                    match fault {
                        Some(Fault::HangAfter) => {
                            reached.notify_one();
                            std::future::pending().await
                        }
                        Some(_) => {
                            let mut lost = Response::new(AxumBody::empty());
                            *lost.status_mut() = http::StatusCode::GATEWAY_TIMEOUT;
                            lost
                        }
                        None => response,
                    }
                }
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let app = Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { platform: platform(KubernetesAccess::Endpoint { url }), reached, changes }
    }

    fn has_met_the_fault(&self, at: u64) -> bool {
        self.changes.load(Ordering::SeqCst) > at
    }
}

async fn forward(client: kube::Client, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(http::header::HOST);
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let request = http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let (parts, body) = client.send(request).await.unwrap().into_parts();
    Response::from_parts(parts, AxumBody::new(body))
}

async fn lost_replies_are_recognized(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    for at in 0.. {
        let proxy = FaultyProxy::start(&plane, at, Fault::LoseReply).await;
        let id = run_id("lost-reply");
        write_journal(store_of(&proxy.platform).await, &id, 3).await;
        let found = store(&plane).await.read(&id, 0).await.unwrap();
        assert!(found == expected_journal(&id, 3).await, "change {at}");
        if !proxy.has_met_the_fault(at) {
            assert!(at > 10, "a run has {at} changes");
            return;
        }
    }
}

/// A process dies at a change, and another one continues the run.
async fn crashes_lose_nothing(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        for at in 0.. {
            let proxy = FaultyProxy::start(&plane, at, fault).await;
            let id = run_id("crash");
            let expected = expected_journal(&id, 3).await;
            let crashing = store_of(&proxy.platform).await;
            tokio::select! {
                _ = write_journal(crashing.clone(), &id, 3) => {}
                () = proxy.reached.notified() => {}
            }
            drop(crashing);
            let what = format!("{fault:?} at change {at}");
            continue_journal(&plane, &id, &expected, &what).await;
            if !proxy.has_met_the_fault(at) {
                assert!(at > 10, "a run has {at} changes");
                break;
            }
        }
    }
}

/// Appends what is missing of a journal, and checks what is there before and after that.
pub(crate) async fn continue_journal(
    plane: &ControlPlane,
    id: &RunId,
    expected: &[RecordedEvent],
    what: &str,
) {
    let store = store(plane).await;
    let found = match store.read(id, 0).await {
        Ok(found) => found,
        // Without its first event there is no run.
        Err(StoreError::NotFound { .. }) => {
            let heads = store.heads(HeadQuery::All).await.unwrap();
            assert!(heads.iter().all(|entry| entry.run != *id), "{what}");
            return;
        }
        Err(error) => panic!("{what}: {error}"),
    };
    assert_eq!(found, expected[..found.len()], "{what}");
    for (seq, event) in expected.iter().enumerate().skip(found.len()) {
        let events = std::slice::from_ref(event);
        store.append(id, seq as u64, events, true).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    assert_eq!(store.read(id, 0).await.unwrap(), expected, "{what}");
    // A process that only lists runs sees the end, and so does kubectl.
    let head = self::store(plane).await.head(id).await.unwrap();
    assert_eq!(head.state(false), RunState::Succeeded, "{what}");
    let object = plane.api::<RunbookRun>(NAMESPACE).get(id.as_str()).await.unwrap();
    assert_eq!(object.status.unwrap().state.as_deref(), Some("succeeded"), "{what}");
    let parts = parts(plane, id).await;
    // And the first of this process, where it continued the run.
    assert!(parts[0] == "-000000.all" && parts.len() <= 2, "{what}: {parts:?}");
}

/// A writer that was replaced comes back when the run is over and its objects were compacted: their names are free.
async fn a_late_writer_has_lost(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let id = run_id("late");
    let (driver, reader, successor) =
        (store(&plane).await, store(&plane).await, store(&plane).await);
    drop(start(driver.clone(), &id).await);
    driver.append(&id, 1, &[undo_started(1, "one")], true).await.unwrap();
    // This process has read two events, and waits with its append.
    assert_eq!(reader.read(&id, 0).await.unwrap().len(), 2);
    successor.append(&id, 2, &[undo_started(2, "two")], true).await.unwrap();
    successor.append(&id, 3, &[undo_started(3, "two")], true).await.unwrap();
    let ended =
        RunEvent::RunEnded { outcome: RunOutcome::RolledBack, failure: None, differences: None };
    let ended = RecordedEvent { seq: 4, time: Timestamp::UNIX_EPOCH, event: ended.into() };
    successor.append(&id, 4, &[ended], true).await.unwrap();
    assert_eq!(parts(&plane, &id).await, ["-000000.all", "-000002"], "the successor's first");
    let before = successor.read(&id, 0).await.unwrap();
    for (late, seq) in [(&driver, 2), (&reader, 2), (&reader, 1)] {
        let error = late.append(&id, seq, &[undo_started(seq, "late")], true).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        assert_eq!(late.read(&id, 0).await.unwrap(), before);
    }
}

async fn unfinished_is_not_deleted(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let id = run_id("delete");
    let store = store(&plane).await;
    let mut writer = start(store.clone(), &id).await;
    let runs = plane.api::<RunbookRun>(NAMESPACE);
    let delete = async || runs.delete(id.as_str(), &DeleteParams::default()).await;
    wait_until("the status", async || {
        let run = runs.get(id.as_str()).await.unwrap();
        run.status.is_some_and(|status| status.state.is_some())
    })
    .await;
    // The API server reads new policies a moment after they were made.
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    wait_until("the policy", async || runs.delete(id.as_str(), &dry).await.is_err()).await;
    let message = delete().await.unwrap_err().to_string();
    assert!(
        message.contains(&format!("run {id} is running: cancel it first, such as ")),
        "{message}"
    );
    end(&mut writer, RunOutcome::Failed).await.unwrap();
    let message = delete().await.unwrap_err().to_string();
    assert!(
        message.contains("is failed: resume it, roll it back or abandon it first"),
        "{message}"
    );
    let abandoned = RunEvent::RunAbandoned { actor: "me".into() };
    writer.append(Timestamp::UNIX_EPOCH, abandoned).await.unwrap();
    delete().await.unwrap();
    wait_until("the collection of its events", async || parts(&plane, &id).await.is_empty()).await;
    let spec = json!({"spec": {"runbook": "other"}});
    let other = start(store, &run_id("spec")).await;
    let changed = runs
        .patch(other.run().id().as_str(), &PatchParams::default(), &Patch::Merge(spec))
        .await
        .unwrap_err()
        .to_string();
    assert!(changed.contains("a run's spec cannot be changed"), "{changed}");
    let name = format!("{}-000000", other.run().id());
    let forged = Patch::Merge(json!({"lines": "forged"}));
    let parts = plane.api::<RunEvents>(NAMESPACE);
    let changed = parts.patch(&name, &PatchParams::default(), &forged).await.unwrap_err();
    assert!(changed.to_string().contains("a journal is only appended to"), "{changed}");
}

/// The table that `kubectl get rbr` prints: names of columns, and cells.
async fn table(plane: &ControlPlane) -> Value {
    let path = format!("/apis/sop.rafay.dev/v1alpha1/namespaces/{NAMESPACE}/runbookruns");
    let request = http::Request::get(path)
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    plane.client.request::<Value>(request).await.unwrap()
}

async fn kubectl_shows_runs(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let id = run_id("table");
    let store = store(&plane).await;
    let mut writer = start(store.clone(), &id).await;
    for event in step_events(1).into_iter().take(3) {
        let event = Event::Step { path: StepPath::top_level("two"), event };
        writer.append(Timestamp::UNIX_EPOCH, event).await.unwrap();
    }
    // Those that are not synced are seen by this process at once, and by others a moment later.
    assert_eq!(store.read(&id, 0).await.unwrap().len(), 4);
    let other = self::store(&plane).await;
    wait_until("all events", async || other.read(&id, 0).await.unwrap().len() == 4).await;
    let cells = async || {
        let table = table(&plane).await;
        table["rows"][0]["cells"].as_array().unwrap().clone()
    };
    wait_until("the wait", async || cells().await.contains(&json!("1 of 1"))).await;
    let names = table(&plane).await;
    let names: Vec<&str> = names["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    let expected = ["Name", "Runbook", "State", "Step", "Done", "Age", "Waits for", "Holder"];
    assert_eq!(names, expected);
    let running = cells().await;
    let shown: Vec<&str> = running.iter().map(|cell| cell.as_str().unwrap_or_default()).collect();
    assert_eq!(shown[..5], [id.as_str(), "two-steps", "running", "two", "0/2"]);
    assert!(shown[7].contains(&std::process::id().to_string()), "{shown:?}");

    // As `kubectl wait --for=condition=Finished` does.
    let runs = plane.api::<RunbookRun>(NAMESPACE);
    let condition = async |name: &str| {
        let status = runs.get(id.as_str()).await.unwrap().status.unwrap();
        let condition = status.conditions.into_iter().find(|one| one.type_ == name).unwrap();
        (condition.status, condition.reason)
    };
    assert_eq!(condition("Finished").await, ("False".into(), "Running".into()));
    assert_eq!(condition("Succeeded").await, ("Unknown".into(), "Running".into()));
    assert_eq!(condition("Waiting").await, ("True".into(), "Running".into()));
    end(&mut writer, RunOutcome::RolledBack).await.unwrap();
    assert_eq!(condition("Finished").await, ("True".into(), "RolledBack".into()));
    assert_eq!(condition("Succeeded").await, ("False".into(), "RolledBack".into()));
    assert_eq!(condition("Waiting").await, ("False".into(), "RolledBack".into()));
    for (selector, count) in [
        ("status.state=rolled_back", 1),
        ("status.state=running", 0),
        ("spec.runbook=two-steps", 1),
    ] {
        let found = runs.list(&ListParams::default().fields(selector)).await.unwrap();
        assert_eq!(found.items.len(), count, "{selector}");
    }
}

async fn a_status_is_rebuilt(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let id = run_id("status");
    write_journal(store(&plane).await, &id, 3).await;
    let runs = plane.api::<RunbookRun>(NAMESPACE);
    let before = runs.get(id.as_str()).await.unwrap().status.unwrap();
    for stale in [json!({"head": null, "state": null}), json!({"head": "{}", "state": "running"})] {
        let patch = Patch::Merge(json!({"status": stale}));
        runs.patch_status(id.as_str(), &PatchParams::default(), &patch).await.unwrap();
        let entries = store(&plane).await.heads(HeadQuery::All).await.unwrap();
        let head = entries[0].head.as_ref().unwrap();
        assert_eq!(head.state(false), RunState::Succeeded);
        assert_eq!(runs.get(id.as_str()).await.unwrap().status.unwrap(), before);
    }
}

/// A process that was stopped, and goes on when another one has ended its run, does not write its last status.
async fn an_old_status_is_not_written(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let id = run_id("old-status");
    let proxy = FaultyProxy::start(&plane, u64::MAX, Fault::LoseReply).await;
    let (driver, successor) = (store_of(&proxy.platform).await, store(&plane).await);
    drop(start(driver.clone(), &id).await);
    let runs = plane.api::<RunbookRun>(NAMESPACE);
    let state = async || runs.get(id.as_str()).await.unwrap().status.and_then(|one| one.state);
    wait_until("the status", async || state().await.is_some()).await;
    let abandoned = RunEvent::RunAbandoned { actor: "me".into() };
    let abandoned = RecordedEvent { seq: 1, time: Timestamp::UNIX_EPOCH, event: abandoned.into() };
    successor.append(&id, 1, &[abandoned], true).await.unwrap();
    assert_eq!(state().await.as_deref(), Some("abandoned"));
    // No object is created for this, and the status is sent.
    let before = proxy.changes.load(Ordering::SeqCst);
    driver.append(&id, 1, &[undo_started(1, "one")], false).await.unwrap();
    wait_until("the status", async || proxy.changes.load(Ordering::SeqCst) > before).await;
    let error = driver.append(&id, 2, &[undo_started(2, "one")], true).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert_eq!(state().await.as_deref(), Some("abandoned"));
}

async fn a_newer_format_is_reported(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let (newer, other) = (run_id("newer"), run_id("other"));
    let Format { major, minor } = Format::CURRENT;
    let format = Format { major, minor: minor + 1 };
    drop(start_with_format(store(&plane).await, &newer, format).await);
    write_journal(store(&plane).await, &other, 3).await;
    let store = store(&plane).await;
    let error = store.read(&newer, 0).await.unwrap_err();
    assert!(matches!(error, StoreError::TooNew { .. }), "{error}");
    let entries = store.heads(HeadQuery::All).await.unwrap();
    let is_usable = |run| entries.iter().any(|entry| entry.run == run && entry.head.is_ok());
    assert_eq!((entries.len(), is_usable(newer), is_usable(other)), (2, false, true));
}

async fn each_permission_is_named(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    for (resource, verbs) in STORE_VERBS {
        for verb in verbs {
            let grant = Grant::for_store().without(verb, resource);
            let name = format!("no-{verb}-{}", resource.replace('/', "-"));
            let account = TestServiceAccount::new(&plane, NAMESPACE, &name, grant).await;
            let kubeconfig = Some(account.kubeconfig.clone());
            let access = KubernetesAccess::Inferred { kubeconfig, context: None };
            let store = store_of(&platform(access)).await;
            let error = store.ensure_usable().await.unwrap_err();
            let message = format!("the account may not {verb} {resource} of sop.rafay.dev in the");
            assert!(error.to_string().starts_with(&message), "{error}");
            let rule = format!(
                "add to a Role in the namespace {NAMESPACE}: {{apiGroups: [sop.rafay.dev], resources: \
                 [{resource}], verbs: [{verb}]}}"
            );
            assert_eq!(error.hint(), Some(rule));
        }
    }
    let grant = Grant::for_store();
    let account = TestServiceAccount::new(&plane, NAMESPACE, "all-verbs", grant).await;
    let kubeconfig = Some(account.kubeconfig.clone());
    let store = store_of(&platform(KubernetesAccess::Inferred { kubeconfig, context: None })).await;
    wait_until("the permissions", async || store.ensure_usable().await.is_ok()).await;
    write_journal(store, &run_id("all-verbs"), 3).await;
    assert_eq!(crate::audit::denied_calls(&plane, &account).await, [""; 0]);
}

/// The program as a service account on the real control plane, with the simulator's account of AWS behind it.
async fn relay_scale_is_resumed(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let namespace = cli_run::NAMESPACE;
    for parts_until_kill in [3, 8, 13] {
        plane.namespace(namespace).await;
        let simulate = simulate_over(&plane);
        cli_run::wait_until_settled(&plane).await;
        let grant = Grant::for_runbook(RELAY_SCALE).and_store();
        let account = TestServiceAccount::new(&plane, namespace, "relay-sop", grant).await;
        let command = |kubeconfig: &std::path::Path, arguments: &[&str]| {
            let mut command = program();
            let environment = simulate.environment.iter().cloned();
            command.envs(environment.filter(|(name, _)| name != "SOP_STATE_DIR"));
            command.env("KUBECONFIG", kubeconfig);
            command.args(["--store", "cluster", "--store-namespace", namespace]);
            command.args(arguments);
            command
        };
        let driving = ["--yes", "--speed", SPEED, "--lease-duration", "3s"];
        let mut run = command(&account.kubeconfig, &["run", "relay-scale"]);
        let mut process = run.args(driving).stdout(Stdio::null()).spawn().unwrap();
        let parts = plane.api::<RunEvents>(namespace);
        wait_until("the events before the kill", async || {
            parts.list_metadata(&ListParams::default()).await.unwrap().items.len()
                >= parts_until_kill
        })
        .await;
        process.kill().unwrap();
        process.wait().unwrap();

        let mut resume = command(&account.kubeconfig, &["runs", "resume", "--last"]);
        ProgramOutput::run_async(resume.args(driving)).await.expect_exit_code(0);
        let once = ["eks:UpdateNodegroupConfig"];
        let twice = ["autoscaling:SetInstanceProtection"; 2];
        let changes = effective_calls(&simulate.calls().await);
        assert_eq!(changes, [&once[..], &twice[..]].concat(), "killed at {parts_until_kill}");
        let denied = crate::audit::denied_calls(&plane, &account).await;
        assert_eq!(denied, [""; 0], "the permissions suffice");

        // From another machine.
        let kubeconfig = plane.kubeconfig();
        let list = ["runs", "list", "--output", "json"];
        let listed = ProgramOutput::run_async(&mut command(&kubeconfig, &list)).await;
        let listed: Value = serde_json::from_str(&listed.expect_exit_code(0).stdout).unwrap();
        let run = &listed.as_array().or(listed["runs"].as_array()).unwrap()[0];
        assert_eq!(run["state"], "succeeded", "{listed}");
        let show = command(&kubeconfig, &["runs", "show", "--last"]);
        let shown = ProgramOutput::run_async(&mut { show }).await.expect_exit_code(0).stdout;
        assert!(shown.contains(" desired: 3 -> 6"), "{shown}");
        let logs = command(&kubeconfig, &["runs", "logs", "--last", "--follow"]);
        let logs = ProgramOutput::run_async(&mut { logs }).await.expect_exit_code(0).stdout;
        assert_eq!(logs.matches("Starting step: Scale nodegroup to 2X").count(), 1, "{logs}");
        let prune = command(&kubeconfig, &["runs", "prune", "--keep", "0", "--yes"]);
        let pruned = ProgramOutput::run_async(&mut { prune }).await.expect_exit_code(0).stdout;
        assert!(pruned.contains("removed 1 run"), "{pruned}");
        wait_until("the collection of its events", async || {
            parts.list_metadata(&ListParams::default()).await.unwrap().items.is_empty()
        })
        .await;
    }
}

async fn a_restart_costs_time_only(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let id = run_id("restart");
    let store = store(&plane).await;
    drop(start(store.clone(), &id).await);
    let appends = async {
        for seq in 1..=200 {
            store.append(&id, seq, &[undo_started(seq, "one")], true).await.unwrap();
        }
    };
    join(appends, plane.restart_api_server(Duration::from_secs(1))).await;
    assert_eq!(self::store(&plane).await.read(&id, 0).await.unwrap().len(), 201);
}

async fn missing_definitions_are_named(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let crds = Api::<CustomResourceDefinition>::all(plane.client.clone());
    for (name, resource) in
        [("runevents.sop.rafay.dev", "runevents"), ("runbookruns.sop.rafay.dev", "runbookruns")]
    {
        crds.delete(name, &DeleteParams::default()).await.unwrap();
        wait_until("the end of a kind", async || {
            let error = store(&plane).await.ensure_usable().await.err();
            error.is_some_and(|error| {
                let hint = "apply the definitions: `rafay-relay-sop crds | kubectl apply -f -`";
                error.to_string().contains(&format!("does not serve {resource} of sop.rafay.dev"))
                    && error.hint().as_deref() == Some(hint)
            })
        })
        .await;
    }
    tokio::time::timeout(Duration::from_secs(60), prepare(&plane)).await.unwrap();
    store(&plane).await.ensure_usable().await.unwrap();
}
