//! The store in the cluster when processes die, the API server restarts, the network is cut, a namespace goes, or a
//! permission does: on a real API server.
//!
//! The child that dies is this very binary (`CrashPlan`); the program continues its runs, as another process. The lease
//! of a process that died is not waited for: `cluster_lock` tests that.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    time::Duration,
};

use futures::future::join;
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Namespace};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use rafay_relay_sop::{
    cluster_store::ClusterStore,
    journal::{
        Event, HeadQuery, RecordedEvent, RunId, RunState, RunStore, StepEvent, StepPath, StoreError,
    },
    lease::LeaseTimes,
    platform::{
        KubernetesAccess,
        kubernetes::{LEASE_NAME, LEASE_NAMESPACE, RunEvents, RunbookRun},
    },
};
use serde_json::{Map, json};
use test_support::{
    CrashPlan, CrashStore, Moment, Point, ProgramOutput, SimulateProcess, effective_calls,
    has_crashed, program, run_as_crash_child,
};

use crate::{
    accounts::{Grant, STORE_VERBS, TestServiceAccount},
    audit,
    cli_run::{self, RELAY_SCALE, SPEED, simulate_over},
    cluster::wait_until,
    cluster_store::{
        NAMESPACE, continue_journal, expected_journal, platform, prepare, run_id, start, store,
        store_of, undo_started,
    },
    fixture::ControlPlane,
    harness::{Test, test},
    moto::{
        Moto,
        relay_cluster::RelayCluster,
        relay_scale::{AWS_CHANGES, facts_after_success},
        request_log::RequestLog,
    },
};

/// Every kind of change, except the size of a nodegroup: the cluster is then as it was for the next run.
const EVERY_CHANGE: &str = r#"
name: every-change
inputs:
  replicas: {type: integer}
  protected: {type: boolean}
defaults: {timeout: 5m, retry: {attempts: 3}, on_failure: stop}
steps:
  - {id: config, action: read_config, with: {namespace: rafay-core, name: rafay-relay-sop-config}}
  - id: group
    action: find_nodegroup
    with: {region: "{{ config.region }}", cluster: "{{ config.cluster }}", labels: {Name: nodegroup-relay-services}, min_nodes: 2}
  - {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
  - {id: cordon, action: cordon, with: {nodes: "{{ relay.nodes[:1] }}"}}
  - {id: restart, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry}}
  - id: scale
    action: scale_deployment
    with: {namespace: rafay-core, deployment: relay-cache, replicas: "{{ inputs.replicas }}"}
  - {id: caches, action: list_pods, with: {namespace: rafay-core, deployment: relay-cache}}
  - {id: delete, action: delete_pods, with: {pods: "{{ caches.pods }}"}}
  - {id: replaced, action: wait_pods, with: {namespace: rafay-core, deployment: relay-cache}}
  - id: protect
    action: set_protection
    with: {nodegroup: "{{ group }}", instances: "{{ relay.instances }}", protected: "{{ inputs.protected }}"}
  - {id: uncordon, action: uncordon, with: {nodes: "{{ relay.nodes[:1] }}"}}
"#;

/// More synced appends than any run here has.
const BEYOND_LAST_APPEND: u64 = 10_000;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(
            "cluster_store_crashes::a_crash_before_any_synced_append_changes_nothing",
            async |plane| each_crash_is_resumed(plane, Moment::BeforeEvent).await,
        ),
        test(
            "cluster_store_crashes::a_crash_after_any_synced_append_changes_nothing",
            async |plane| each_crash_is_resumed(plane, Moment::AfterEvent).await,
        ),
        test("cluster_store_crashes::relay_scale_is_resumed", relay_scale_is_resumed),
        test(
            "cluster_store_crashes::restarts_of_the_api_server_lose_nothing",
            restarts_lose_nothing,
        ),
        test("cluster_store_crashes::a_writer_that_is_cut_off_appends_once", cut_off_appends_once),
        test("cluster_store_crashes::a_writer_that_is_cut_off_for_long_gives_up", cut_off_gives_up),
        test("cluster_store_crashes::a_deleted_namespace_stops_the_run", deleted_namespace_stops),
        test("cluster_store_crashes::a_withdrawn_permission_is_named", withdrawn_is_named),
    ]
}

/// Runs the child, if this binary was started as the process to die.
pub(crate) fn run_as_child() -> Option<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run_as_crash_child()).then_some(ExitCode::SUCCESS)
}

/// Runs a plan beside other work; whether the process has died where it was to die.
async fn crashes(plan: &CrashPlan, environment: impl Iterator<Item = (String, String)>) -> bool {
    let mut command = plan.command();
    // What misleads the program misleads the child.
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") || name == "KUBECONFIG" {
            command.env_remove(name);
        }
    }
    command.envs(environment);
    let ended = tokio::task::spawn_blocking(move || command.status()).await;
    has_crashed(ended.unwrap().unwrap())
}

/// Releases the lease of a process that is dead, as its end would be seen after a minute. The lock of the run stays.
async fn let_lease_expire(plane: &ControlPlane) {
    let released = Patch::Merge(json!({"spec": {"holderIdentity": null}}));
    let leases = plane.api::<Lease>(LEASE_NAMESPACE);
    leases.patch(LEASE_NAME, &PatchParams::default(), &released).await.unwrap();
}

/// The world of the crash matrix: the simulator's account, whose instances are nodes of the control plane.
struct World {
    plane: Arc<ControlPlane>,
    simulate: SimulateProcess,
    account: TestServiceAccount,
    /// The runs that were there before.
    known_runs: BTreeSet<String>,
    runs: u64,
}

/// What a run has changed, and the state that it has left.
#[derive(Debug, PartialEq)]
struct Effects {
    aws_calls: Vec<String>,
    /// By how much the specifications of the deployments have changed.
    generations: Vec<i64>,
    deleted_pods: usize,
    facts: Vec<String>,
}

impl World {
    async fn new(plane: Arc<ControlPlane>) -> Self {
        prepare(&plane).await;
        plane.namespace(cli_run::NAMESPACE).await;
        let simulate = simulate_over(&plane);
        cli_run::wait_until_settled(&plane).await;
        let grant = Grant::for_runbook(EVERY_CHANGE).and_store();
        let account = TestServiceAccount::new(&plane, cli_run::NAMESPACE, "matrix", grant).await;
        let mut world = Self { plane, simulate, account, known_runs: BTreeSet::new(), runs: 0 };
        world.known_runs = world.run_names().await;
        world
    }

    async fn run_names(&self) -> BTreeSet<String> {
        let runs = self.plane.api::<RunbookRun>(cli_run::NAMESPACE);
        let found = runs.list_metadata(&ListParams::default()).await.unwrap();
        found.iter().map(kube::ResourceExt::name_any).collect()
    }

    fn environment(&self) -> impl Iterator<Item = (String, String)> {
        let kubeconfig = ("KUBECONFIG".to_owned(), self.account.kubeconfig.display().to_string());
        let names = ["SOP_STATE_DIR", "KUBECONFIG"];
        let given = self.simulate.environment.iter().cloned();
        given.filter(move |(name, _)| !names.contains(&name.as_str())).chain([kubeconfig])
    }

    fn plan(&self, point: Point, moment: Moment) -> CrashPlan {
        // Each run finds the other state.
        let is_even = self.runs.is_multiple_of(2);
        let inputs = json!({"replicas": if is_even { 3 } else { 2 }, "protected": is_even});
        CrashPlan {
            runbook: EVERY_CHANGE.into(),
            inputs: inputs.as_object().unwrap().clone(),
            store: CrashStore::Namespace(cli_run::NAMESPACE.into()),
            point,
            moment,
            speed: SPEED.parse().unwrap(),
        }
    }

    /// Runs the runbook until it dies there, and resumes it. Returns whether it died, and what both have changed.
    async fn run(&mut self, point: Point, moment: Moment) -> (bool, Effects) {
        let before = self.counters().await;
        let plan = self.plan(point, moment);
        let has_crashed = crashes(&plan, self.environment()).await;
        if has_crashed {
            let_lease_expire(&self.plane).await;
            match self.new_run().await {
                Some(run) => self.resume(&run).await,
                // Nothing was accepted.
                None => {
                    let again = self.plan(Point::Synced(BEYOND_LAST_APPEND), moment);
                    assert!(!crashes(&again, self.environment()).await);
                }
            }
        }
        let run = self.new_run().await.unwrap();
        let head = self.store().await.head(&run).await.unwrap();
        assert_eq!(head.state(false), RunState::Succeeded, "{:?}", head.failure);
        self.known_runs.insert(run.to_string());
        self.runs += 1;
        let after = self.counters().await;
        let generations = before.generations.iter().zip(after.generations);
        let deleted: BTreeSet<_> = after.deleted_pods.difference(&before.deleted_pods).collect();
        let state = self.simulate.state().await;
        let deployments = state.deployments.iter().map(|(name, it)| {
            format!("{name} {}/{}, {} of the newest", it.ready, it.replicas, it.updated)
        });
        let nodes = state.nodes.iter().map(|(name, node)| {
            format!("{name} ready={} cordoned={}", node.ready, node.unschedulable)
        });
        let groups = state.nodegroups.iter().map(|(name, group)| format!("{name} {group:?}"));
        let effects = Effects {
            aws_calls: after.aws_calls[before.aws_calls.len()..].to_vec(),
            generations: generations.map(|(before, after)| after - before).collect(),
            deleted_pods: deleted.len(),
            facts: deployments.chain(nodes).chain(groups).collect(),
        };
        (has_crashed, effects)
    }

    async fn store(&self) -> Arc<ClusterStore> {
        let kubeconfig = Some(self.plane.kubeconfig());
        let platform = platform(KubernetesAccess::Inferred { kubeconfig, context: None });
        let store = ClusterStore::for_writing(
            &platform,
            Some(cli_run::NAMESPACE),
            None,
            LeaseTimes::default(),
        );
        Arc::new(store.await.unwrap())
    }

    /// The run that was not there before. One whose events were never written is none.
    async fn new_run(&self) -> Option<RunId> {
        let heads = self.store().await.heads(HeadQuery::All).await.unwrap();
        let mut new = heads.into_iter().filter(|one| !self.known_runs.contains(one.run.as_str()));
        let run = new.next().map(|entry| entry.run);
        assert!(new.next().is_none(), "two runs");
        run
    }

    async fn resume(&self, run: &RunId) {
        if self.store().await.head(run).await.unwrap().is_final() {
            return;
        }
        let mut command = program();
        command.envs(self.environment());
        command.args(["--store", "cluster", "--store-namespace", cli_run::NAMESPACE]);
        command.args(["runs", "resume", run.as_str(), "--yes", "--speed", SPEED]);
        ProgramOutput::run_async(&mut command).await.expect_exit_code(0);
    }

    async fn counters(&self) -> Counters {
        let deployments = self.plane.api::<Deployment>(cli_run::NAMESPACE);
        let mut generations = Vec::new();
        for name in ["rafay-sentry", "relay-cache", "rafay-relay"] {
            let deployment = deployments.get(name).await.unwrap();
            generations.push(deployment.metadata.generation.unwrap());
        }
        let mutations = audit::mutations(&self.plane, &self.account).await;
        let deleted = mutations.into_iter().filter(|change| change.starts_with("delete pods/"));
        Counters {
            aws_calls: effective_calls(&self.simulate.calls().await),
            generations,
            deleted_pods: deleted.collect(),
        }
    }
}

/// What can be counted of the changes so far.
struct Counters {
    aws_calls: Vec<String>,
    generations: Vec<i64>,
    deleted_pods: BTreeSet<String>,
}

async fn each_crash_is_resumed(plane: Arc<ControlPlane>, moment: Moment) {
    let mut world = World::new(plane).await;
    // The first run finds what no other finds; after it, they take turns.
    let mut undisturbed = Vec::new();
    for _ in 0..3 {
        let beyond = Point::Synced(BEYOND_LAST_APPEND);
        let (has_crashed, effects) = world.run(beyond, Moment::AfterEvent).await;
        assert!(!has_crashed);
        undisturbed.push(effects);
    }
    for append in 1.. {
        let expected = if world.runs.is_multiple_of(2) { &undisturbed[2] } else { &undisturbed[1] };
        let (has_crashed, effects) = world.run(Point::Synced(append), moment).await;
        assert_eq!(&effects, expected, "{moment:?} {append}");
        if !has_crashed {
            // The start, a decision and a receipt of each of six changes, and the end.
            assert_eq!(append, 1 + 2 * 6 + 1 + 1);
            return;
        }
    }
}

/// One crash for each kind of event. That of the nodegroup is the change that the matrix above does not have.
async fn relay_scale_is_resumed((plane, moto): (Arc<ControlPlane>, Arc<Moto>)) {
    prepare(&plane).await;
    let end = Point::Named("run_ended".into(), None);
    for (point, moment) in [
        (Point::of_step("step_prepared", "scale_up"), Moment::AfterEvent),
        (Point::of_step("step_applied", "scale_up"), Moment::BeforeEvent),
        (Point::of_step("step_prepared", "delete_old"), Moment::BeforeEvent),
        (Point::of_step("step_completed", "scale_back"), Moment::BeforeEvent),
        (end, Moment::BeforeEvent),
    ] {
        let namespace = cli_run::NAMESPACE;
        let cluster = RelayCluster::new(Arc::clone(&plane), Arc::clone(&moto), 3).await;
        let grant = Grant::for_runbook(RELAY_SCALE).and_store();
        let account = TestServiceAccount::new(&plane, namespace, "relay-sop", grant).await;
        let requests = RequestLog::start(&moto);
        let environment = [
            ("KUBECONFIG".to_owned(), account.kubeconfig.display().to_string()),
            ("AWS_ENDPOINT_URL".to_owned(), moto.url.clone()),
        ];
        let store = CrashStore::Namespace(namespace.into());
        let (runbook, inputs) = (RELAY_SCALE.to_owned(), Map::new());
        let what = format!("{moment:?} {point:?}");
        let plan = CrashPlan { runbook, inputs, store, point, moment, speed: 1.0 };
        let mut resume = program();
        resume.envs(environment.iter().cloned());
        resume.args(["--store", "cluster", "--store-namespace", namespace]);
        resume.args(["runs", "resume", "--last", "--yes"]);
        let resumed = cluster.during(async {
            assert!(crashes(&plan, environment.iter().cloned()).await, "{what}");
            let_lease_expire(&plane).await;
            ProgramOutput::run_async(&mut resume).await
        });
        resumed.await.expect_exit_code(0);
        assert_eq!(cluster.facts().await, facts_after_success(3), "{what}");
        assert_eq!(requests.changes(), AWS_CHANGES, "{what}");
        assert_eq!(audit::denied_calls(&plane, &account).await, [""; 0], "{what}");
        let parts = plane.api::<RunEvents>(namespace);
        let newest = parts.list_metadata(&ListParams::default()).await.unwrap();
        let run = newest.iter().map(kube::ResourceExt::name_any).max().unwrap();
        let run = run.rsplit_once('-').unwrap().0.to_owned();
        let of_run = ListParams::default().labels(&format!("sop.rafay.dev/run={run}"));
        // All events, and the first of the process that has continued the run.
        let left = parts.list_metadata(&of_run).await.unwrap().items.len();
        assert!(left <= 2, "{what}: {left} objects");
    }
}

/// An event that says which one it is.
fn message(seq: u64) -> RecordedEvent {
    let event = StepEvent::StepMessage { message: format!("event {seq}") };
    let event = Event::Step { path: StepPath::top_level("one"), event };
    RecordedEvent { seq, time: Timestamp::UNIX_EPOCH, event }
}

/// At random moments, so in the middle of appends, and for clients that see each phase of the server's start.
async fn restarts_lose_nothing(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let id = run_id("restarts");
    let store = store(&plane).await;
    drop(start(store.clone(), &id).await);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (done, is_done) = tokio::sync::watch::channel(false);
    // Before the restarts, because only an append is sent again.
    let mut appended = store.read(&id, 0).await.unwrap();
    let appends = async {
        while appended.len() < 300 || !*is_done.borrow() {
            let event = message(appended.len() as u64);
            let events = std::slice::from_ref(&event);
            store.append(&id, event.seq, events, true).await.unwrap();
            appended.push(event);
        }
        appended
    };
    let restarts = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(random.u64(..300))).await;
            plane.restart_api_server_exposed(Duration::from_millis(random.u64(..1000))).await;
        }
        done.send_replace(true);
    };
    let (appended, ()) = join(appends, restarts).await;
    assert_eq!(self::store(&plane).await.read(&id, 0).await.unwrap(), appended);
}

/// The store of an account that reaches the API server through the load balancer, which can cut it off.
async fn store_behind_load_balancer(plane: &ControlPlane, name: &str) -> Arc<ClusterStore> {
    let account = TestServiceAccount::new(plane, NAMESPACE, name, Grant::for_store()).await;
    let kubeconfig = Some(account.kubeconfig.clone());
    let store = store_of(&platform(KubernetesAccess::Inferred { kubeconfig, context: None })).await;
    wait_until("the permissions", async || store.ensure_usable().await.is_ok()).await;
    store
}

/// The request is lost on the way, or the response is.
async fn cut_off_appends_once(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let store = store_behind_load_balancer(&plane, "cut-off").await;
    let other = self::store(&plane).await;
    for drops_requests in [true, false] {
        let id = run_id("cut-off");
        drop(start(store.clone(), &id).await);
        let balancer = &plane.load_balancer;
        if drops_requests {
            balancer.isolate();
        } else {
            balancer.drop_responses();
        }
        let event = [undo_started(1, "one")];
        let append = store.append(&id, 1, &event, true);
        let healing = async {
            if drops_requests {
                // The length of the outage, on which nothing depends.
                tokio::time::sleep(Duration::from_secs(2)).await;
                assert_eq!(other.read(&id, 0).await.unwrap().len(), 1, "nothing came through");
            } else {
                wait_until("the event", async || other.read(&id, 0).await.unwrap().len() == 2)
                    .await;
            }
            balancer.open();
        };
        let (appended, ()) = join(append, healing).await;
        appended.unwrap();
        store.append(&id, 2, &[undo_started(2, "one")], true).await.unwrap();
        let found = self::store(&plane).await.read(&id, 1).await.unwrap();
        assert_eq!(found, [undo_started(1, "one"), undo_started(2, "one")]);
    }
}

async fn cut_off_gives_up(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let account = TestServiceAccount::new(&plane, NAMESPACE, "gives-up", Grant::for_store()).await;
    let kubeconfig = Some(account.kubeconfig.clone());
    let platform = platform(KubernetesAccess::Inferred { kubeconfig, context: None });
    let store = ClusterStore::for_writing(&platform, Some(NAMESPACE), None, LeaseTimes::default())
        .await
        .unwrap();
    let store = Arc::new(store.with_patience(Duration::from_secs(3)));
    wait_until("the permissions", async || store.ensure_usable().await.is_ok()).await;
    let id = run_id("gives-up");
    let expected = expected_journal(&id, 3).await;
    drop(start(store.clone(), &id).await);
    plane.load_balancer.close();
    let error = store.append(&id, 1, &expected[1..3], true).await.unwrap_err();
    plane.load_balancer.open();
    let server = format!("https://127.0.0.1:{}", plane.load_balancer.port);
    let message = error.to_string();
    assert!(message.contains("create runevents ") && message.contains(&server), "{message}");
    assert_eq!(error.hint().as_deref(), Some("when the API server answers again, resume the run"));
    continue_journal(&plane, &id, &expected, "after a cut").await;
    // The one that was cut off comes back.
    let late = store.append(&id, 1, &expected[1..3], true).await.unwrap_err();
    assert!(matches!(late, StoreError::Conflict { .. }), "{late}");
}

/// The program with a kubeconfig and a runbook of this directory, and its runs in a namespace.
fn run_in(namespace: &str, kubeconfig: &Path, runbook: &Path) -> Command {
    let mut command = program();
    command.env("KUBECONFIG", kubeconfig).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9/");
    command.args(["--store", "cluster", "--store-namespace", namespace]);
    command.args(["run", "--yes", "--lease-duration", "3s"]).arg(runbook);
    command
}

/// A runbook that changes a node again and again.
fn endless(dir: &Path) -> PathBuf {
    let steps = (0..400).map(|n| {
        let action = if n % 2 == 0 { "cordon" } else { "uncordon" };
        format!("- {{id: s{n}, action: {action}, with: {{nodes: [n1]}}}}\n")
    });
    let path = dir.join("endless.yaml");
    std::fs::write(&path, format!("name: endless\nsteps:\n{}", steps.collect::<String>())).unwrap();
    path
}

async fn deleted_namespace_stops(plane: Arc<ControlPlane>) {
    const DOOMED: &str = "doomed";
    prepare(&plane).await;
    plane.namespace(DOOMED).await;
    plane.node("n1", json!({})).await;
    let dir = tempfile::tempdir().unwrap();
    let mut command = run_in(DOOMED, &plane.kubeconfig(), &endless(dir.path()));
    let parts = plane.api::<RunEvents>(DOOMED);
    let namespaces = Api::<Namespace>::all(plane.client.clone());
    let deletion = async {
        wait_until("some events", async || {
            parts.list_metadata(&ListParams::default()).await.unwrap().items.len() > 5
        })
        .await;
        namespaces.delete(DOOMED, &DeleteParams::default()).await.unwrap();
    };
    let (ended, ()) = join(ProgramOutput::run_async(&mut command), deletion).await;
    wait_until("the end of the namespace", async || {
        namespaces.get_opt(DOOMED).await.unwrap().is_none()
    })
    .await;
    let stderr = ended.expect_exit_code(4).stderr;
    let lines: Vec<&str> = stderr.lines().collect();
    let [error, hint] = lines[..] else { panic!("{stderr}") };
    assert!(
        error.contains("the run stops here, because its journal cannot be written: "),
        "{stderr}"
    );
    assert!(hint.contains("hint: ") && hint.contains("runs abandon --lock"), "{stderr}");
}

async fn withdrawn_is_named(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    for (resource, verbs) in STORE_VERBS {
        for verb in verbs {
            let name = format!("withdrawn-{verb}-{}", resource.replace('/', "-"));
            let account =
                TestServiceAccount::new(&plane, NAMESPACE, &name, Grant::for_store()).await;
            let kubeconfig = Some(account.kubeconfig.clone());
            let access = KubernetesAccess::Inferred { kubeconfig, context: None };
            let store = store_of(&platform(access)).await;
            wait_until("the permissions", async || store.ensure_usable().await.is_ok()).await;
            let id = run_id(&name);
            let expected = expected_journal(&id, 3).await;
            drop(start(store.clone(), &id).await);
            store.append(&id, 1, &expected[1..2], true).await.unwrap();
            account.replace_grant(&plane, Grant::for_store().without(verb, resource)).await;
            wait_until("the withdrawal", async || store.ensure_usable().await.is_err()).await;
            let error = store.ensure_usable().await.unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("the account may not {verb} {resource} "))
            );
            let rest = async {
                for event in &expected[2..] {
                    store.append(&id, event.seq, std::slice::from_ref(event), true).await?;
                }
                Ok::<_, StoreError>(())
            };
            let what = format!("{verb} {resource}");
            match rest.await {
                // The other verbs are for the status, for the end, and for what a run that is driven does not need.
                Ok(()) => assert_ne!(what, "create runevents"),
                Err(error) => {
                    assert_eq!(what, "create runevents", "{error}");
                    let rule = format!(
                        "add to a Role in the namespace {NAMESPACE}: {{apiGroups: [sop.rafay.dev], resources: \
                         [{resource}], verbs: [{verb}]}}"
                    );
                    assert_eq!(error.hint(), Some(rule), "{error}");
                }
            }
            continue_journal(&plane, &id, &expected, &what).await;
        }
    }
}
