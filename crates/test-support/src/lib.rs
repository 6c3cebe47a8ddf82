//! Helpers for tests: a simulated cluster, runs of runbooks on it, and checks of their results.

#![expect(missing_docs, reason = "test helpers are named to be read in tests")]
#![expect(
    clippy::return_self_not_must_use,
    reason = "an expectation may be the last thing of a test"
)]

mod child_guard;
mod crash;
mod interrupting_store;
mod large;
pub mod measure;
mod process;
mod serve;
#[cfg(target_os = "linux")]
mod soak;
mod virtual_cluster;
mod watchdog;
mod wrapped_store;

use std::{sync::Arc, time::Duration};

use clock::Clock;
use rafay_relay_sop::{
    engine::{AcceptedRun, CheckedRunbook, Control, Engine, ResumeRequest, StartError},
    journal::{
        DirectoryStore, Event, Failure, LockOwner, LogLines, MemoryStore, RecordedEvent,
        RecordedJson, Run, RunId, RunState, RunStore, StepEvent, StepPath,
    },
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
};
use runbook::Source;
use serde_json::{Map, Value};
use simulator::{AccessPolicy, RecordedCall, Scenario, Simulator};
use tempfile::TempDir;

pub use child_guard::ChildGuard;
pub use crash::{CrashPlan, CrashStore, has_crashed, run_as_crash_child};
pub use interrupting_store::{InterruptingStore, Moment, Point};
pub use large::{asserts, copy_journal, waits};
pub use process::{
    ProgramOutput, SimulateProcess, journal, on_terminal, program, program_path, read_until, signal,
};
pub use serve::Serve;
#[cfg(target_os = "linux")]
pub use soak::{Usage, soak, with_descriptors};
pub use virtual_cluster::{VirtualCluster, in_virtual_time};
pub use watchdog::Watchdog;
pub use wrapped_store::{AroundAppend, WrappedStore};

/// Fast enough that a minute of boot time is a tenth of a second.
pub const SPEED: f64 = 600.0;

/// The time after which a wait for a condition fails. A passing test never waits that long.
pub const WAIT_TIMEOUT: Duration = Duration::from_mins(2);

/// The first four steps of relay-scale.
pub const SCALE_UP: &str = include_str!("../../../tests/fixtures/runbooks/scale-up.yaml");

/// A simulated cluster, an engine that acts on it, and a state directory.
pub struct TestCluster {
    pub simulator: Simulator,
    pub engine: Arc<Engine>,
    pub store: Arc<dyn RunStore>,
    _dir: Option<TempDir>,
}

/// Checks the first of several texts, divided by `---`, that can call the others.
pub fn checked(texts: &str) -> Result<CheckedRunbook, StartError> {
    let mut texts = texts.split("\n---\n");
    let first = texts.next().unwrap_or_default();
    let called = |text: &str| {
        let name = text.lines().find_map(|line| line.strip_prefix("name: "));
        Source::new(format!("{}.yaml", name.expect("a runbook has a name")), text)
    };
    let called: Vec<Source> = texts.map(called).collect();
    CheckedRunbook::in_library(Source::new("<test>", first), &called)
}

/// The default world with this many nodes and pods of the relay, of which the first instance is protected.
pub fn relay_world(nodes: u32) -> Scenario {
    let mut scenario = Scenario::default();
    for group in scenario.nodegroups.iter_mut().filter(|group| group.max == 4) {
        (group.desired, group.max, group.protected) = (nodes, nodes, vec![1]);
    }
    for deployment in scenario.deployments.iter_mut().filter(|d| d.name == "rafay-relay") {
        deployment.replicas = nodes;
    }
    scenario
}

/// A run that has stopped.
pub struct FinishedRun {
    pub state: RunState,
    pub run: Run,
    pub records: Vec<RecordedEvent>,
}

impl TestCluster {
    /// The default scenario.
    pub async fn new() -> Self {
        Self::with_scenario(Scenario::default()).await
    }

    pub async fn with_scenario(scenario: Scenario) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let owner = LockOwner { pid: std::process::id(), doing: "test".into(), address: None };
        let store = Arc::new(DirectoryStore::for_writing(dir.path(), &owner).unwrap());
        Self { _dir: Some(dir), ..Self::with_store(scenario, store).await }
    }

    pub async fn with_store(scenario: Scenario, store: Arc<dyn RunStore>) -> Self {
        Self::with_clock(scenario, store, Clock::scaled(SPEED).unwrap()).await
    }

    /// A program with a clock of its own on a world of the usual speed.
    pub async fn with_clock(scenario: Scenario, store: Arc<dyn RunStore>, clock: Clock) -> Self {
        let world = Clock::scaled(SPEED).unwrap();
        let options = simulator::Options { clock: world, ..simulator::Options::default() };
        let simulator = Simulator::start(scenario, options).await.unwrap();
        let access = KubernetesAccess::Endpoint { url: simulator.kubernetes_url().clone() };
        let engine = Self::engine(&simulator, access, &store, clock);
        Self { simulator, engine, store, _dir: None }
    }

    /// A world whose clients may do only what a policy allows, and a program that checks its permissions first.
    pub async fn with_policy(scenario: Scenario, policy: AccessPolicy) -> Self {
        let clock = Clock::scaled(SPEED).unwrap();
        let options =
            simulator::Options { clock, policy: Some(policy), ..simulator::Options::default() };
        let simulator = Simulator::start(scenario, options).await.unwrap();
        let access = KubernetesAccess::Endpoint { url: simulator.kubernetes_url().clone() };
        let platform = Self::platform(&simulator, access, clock);
        let store: Arc<dyn RunStore> = Arc::new(MemoryStore::default());
        let engine = Engine::new(platform, Arc::clone(&store), true).checking_permissions(true);
        Self { simulator, engine: Arc::new(engine), store, _dir: None }
    }

    /// The same, with runs that do not say that they are simulated.
    pub fn as_real(self) -> Self {
        let access = KubernetesAccess::Endpoint { url: self.simulator.kubernetes_url().clone() };
        let platform = Self::platform(&self.simulator, access, Clock::scaled(SPEED).unwrap());
        let engine = Arc::new(Engine::new(platform, Arc::clone(&self.store), false));
        Self { engine, ..self }
    }

    /// The same world for another process, whose runs are in another store.
    pub fn with_other_process(self, store: Arc<dyn RunStore>) -> Self {
        let access = KubernetesAccess::Endpoint { url: self.simulator.kubernetes_url().clone() };
        let engine = Self::engine(&self.simulator, access, &store, Clock::scaled(SPEED).unwrap());
        Self { engine, store, ..self }
    }

    /// Releases the lease of a process that is dead, as its end would be seen after a minute. The lock of the run
    /// stays.
    pub async fn let_lease_expire(&self) {
        let path = "apis/coordination.k8s.io/v1/namespaces/kube-system/leases/rafay-relay-sop";
        let url = self.simulator.kubernetes_url().join(path).unwrap();
        let released = serde_json::json!({"spec": {"holderIdentity": null}}).to_string();
        let request = reqwest::Client::new().patch(url).body(released);
        let sent = request.header("content-type", "application/merge-patch+json").send();
        let response = sent.await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    }

    /// The same, with another way to a Kubernetes cluster.
    pub fn with_kubernetes(self, access: KubernetesAccess) -> Self {
        let clock = Clock::scaled(SPEED).unwrap();
        let engine = Self::engine(&self.simulator, access, &self.store, clock);
        Self { engine, ..self }
    }

    fn engine(
        simulator: &Simulator,
        kubernetes: KubernetesAccess,
        store: &Arc<dyn RunStore>,
        clock: Clock,
    ) -> Arc<Engine> {
        let platform = Self::platform(simulator, kubernetes, clock);
        Arc::new(Engine::new(platform, Arc::clone(store), true))
    }

    fn platform(simulator: &Simulator, kubernetes: KubernetesAccess, clock: Clock) -> Platform {
        Platform::new(PlatformOptions {
            clock,
            kubernetes,
            aws: AwsAccess::Endpoint { url: simulator.aws_url().clone() },
            environment: [].into(),
        })
    }

    pub async fn run(&self, text: &str) -> FinishedRun {
        self.run_with(text, Value::Object(Map::new())).await
    }

    pub async fn run_with(&self, text: &str, inputs: Value) -> FinishedRun {
        let accepted = self.accept(text, inputs).await.unwrap_or_else(|why| panic!("{why}"));
        self.drive(accepted, Control::default()).await
    }

    pub async fn accept(&self, text: &str, inputs: Value) -> Result<AcceptedRun, StartError> {
        let Value::Object(inputs) = inputs else { panic!("inputs are a mapping") };
        let checked = checked(text)?;
        let preflight = self.engine.prepare(checked, &inputs).await?;
        self.engine.accept(preflight, "test", None).await
    }

    pub async fn drive(&self, accepted: AcceptedRun, control: Control) -> FinishedRun {
        let run = self.engine.drive(accepted, control).await.unwrap();
        FinishedRun::read(self.store.as_ref(), run).await
    }

    pub async fn resume(&self, id: &RunId, request: impl Into<ResumeRequest>) -> FinishedRun {
        self.drive(self.accept_resume(id, request).await, Control::default()).await
    }

    pub async fn accept_resume(
        &self,
        id: &RunId,
        request: impl Into<ResumeRequest>,
    ) -> AcceptedRun {
        let preflight = self.engine.prepare_resume(id, request).await.unwrap();
        self.engine.resume(preflight, "test").await.unwrap()
    }

    /// The calls that changed something, in order.
    pub fn effective_calls(&self) -> Vec<String> {
        effective_calls(&self.simulator.calls())
    }

    /// Counts the calls of an operation, effective or not.
    pub fn count_calls(&self, operation: &str) -> usize {
        self.simulator.calls().iter().filter(|call| call.operation.starts_with(operation)).count()
    }
}

/// The operations that changed something, in order. The bookkeeping of a run is not counted.
pub fn effective_calls(calls: &[RecordedCall]) -> Vec<String> {
    let is_effective = |call: &&RecordedCall| call.effective && !is_bookkeeping(&call.operation);
    calls.iter().filter(is_effective).map(|call| call.operation.clone()).collect()
}

/// Whether an operation reads or writes what a run keeps of itself in the cluster: the lease, the objects of the run.
pub fn is_bookkeeping(operation: &str) -> bool {
    ["leases", "runbookruns", "runevents"].iter().any(|resource| operation.contains(resource))
        || operation.split([' ', '/']).nth(1) == Some("events")
}

impl FinishedRun {
    /// The run with its journal, which folds to the same.
    pub async fn read(store: &dyn RunStore, run: Run) -> Self {
        let records = store.read(run.id(), 0).await.unwrap();
        let head = store.head(run.id()).await.unwrap();
        assert_eq!(head, run.head, "the store's head is the run's");
        Self { state: run.state(false), run, records }
    }

    /// The run, if it succeeded.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert_eq!(self.state, RunState::Succeeded, "{}", self.lines().join("\n"));
        self
    }

    #[track_caller]
    pub fn expect_state(self, state: RunState) -> Self {
        assert_eq!(self.state, state, "{}", self.lines().join("\n"));
        self
    }

    /// The log lines without their times.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = LogLines::default();
        self.records.iter().flat_map(|recorded| lines.texts(&recorded.event)).collect()
    }

    /// The paths that have an event of this kind, in the order of the events.
    pub fn paths_with(&self, kind: impl Fn(&StepEvent) -> bool) -> Vec<String> {
        let path = |event: &Event| match event {
            Event::Step { path, event } if kind(event) => Some(path.to_string()),
            _ => None,
        };
        self.records.iter().filter_map(|record| path(&record.event)).collect()
    }

    /// The lines that do not depend on the moments of reading.
    pub fn lines_without_waits(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| !line.starts_with("Waiting: ")).collect()
    }

    #[track_caller]
    pub fn output(&self, step: &str) -> &Value {
        let path = StepPath::top_level(step);
        let step = self.run.step(&path);
        let output = step.and_then(|step| step.output()).map(RecordedJson::to_value);
        let output =
            output.unwrap_or_else(|| panic!("step {path} has no output: {:#?}", self.lines()));
        // A test ends soon.
        Box::leak(Box::new(output))
    }

    #[track_caller]
    pub fn error(&self) -> &str {
        &self.failure().message
    }

    #[track_caller]
    pub fn failure(&self) -> &Failure {
        self.run.head.failure.as_ref().expect("the run has a failure")
    }
}

/// Waits until `condition` holds.
pub async fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    wait_until_async(what, async || condition()).await
}

/// Waits until `condition`, which may wait itself, holds.
pub async fn wait_until_async<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + WAIT_TIMEOUT;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
