//! The control plane: controllers that move the cluster towards its specified state. Each
//! controller has a queue of the objects that it has to look at. A change of the store queues the
//! objects that it concerns, and a controller can request to look at an object again at a time.
//! For each queued object a controller makes a plan of changes from the contents of the store, the
//! time and what it remembers of earlier changes. So the work grows with the changes, not with the
//! size of the cluster. Controllers know objects and each other's kinds, and no HTTP.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::scenario::{FailingImage, Scenario, Times, WorkloadTimes};
use clock::Clock;

use super::api::{ApiServer, lock_store};
use super::cluster_objects::LoadedObjects;
use super::index::Index;
use super::kinds::{Kind, PODS};
use super::object;
use super::store::{ObjectChange, ObjectStore};
use super::write::{DeleteOptions, ObjectPart, ObjectWriter};

mod autoscaler;
mod created;
mod daemon_set;
mod deployment;
mod disruption;
mod events;
mod garbage_collector;
mod job;
mod kubelet;
mod namespace_lifecycle;
mod node_lifecycle;
mod pod_deletion_order;
mod queue;
mod quota;
mod replica_set;
mod rollout;
mod scheduler;
mod stateful_set;

pub use created::CreatedObject;
use queue::{WorkKey, WorkQueue};

/// The input of a controller.
pub(crate) struct ClusterView<'a> {
    store: &'a ObjectStore,
    /// The time of the wall clock, which is written into objects.
    pub(crate) now: Timestamp,
    /// The time by which timers and deadlines are measured. See [`Pace`].
    pub(crate) time: Timestamp,
    pub(crate) settings: &'a ControllerSettings,
    /// The number of objects that the controller has looked at.
    examined: Cell<u64>,
}

/// How much the controllers have worked since the start.
#[derive(Debug, Default)]
pub(crate) struct WorkCounter {
    /// The changes of objects.
    pub(crate) changes: AtomicU64,
    /// The objects that controllers have looked at, each as often as it was looked at.
    pub(crate) examined: AtomicU64,
    /// The nodes and pods that came into being.
    pub(crate) created: Mutex<Vec<CreatedObject>>,
}

/// The settings of the simulated cluster's behavior.
#[derive(Debug, Clone)]
pub(crate) struct ControllerSettings {
    pub(crate) clock: Clock,
    pub(crate) times: Times,
    pub(crate) failing_images: Vec<FailingImage>,
    /// The times of single workloads, by the namespace and the name.
    pub(crate) workload_times: HashMap<(String, String), WorkloadTimes>,
    pub(crate) loaded: LoadedObjects,
}

impl ControllerSettings {
    /// Returns the settings of a scenario's cluster.
    pub(crate) fn of(scenario: &Scenario, clock: Clock) -> Self {
        let key = |times: &WorkloadTimes| (times.namespace.clone(), times.workload.clone());
        let workloads = scenario.workload_times.iter();
        Self {
            clock,
            times: scenario.times.clone(),
            failing_images: scenario.failing_images.clone(),
            workload_times: workloads.map(|times| (key(times), times.clone())).collect(),
            loaded: LoadedObjects::of(&scenario.cluster_objects),
        }
    }
}

/// The changes that a controller wants.
#[derive(Debug, Default)]
pub(crate) struct ControllerPlan {
    actions: Vec<ControllerAction>,
    /// When the controller wants to be called again even if nothing changes.
    due: Option<Timestamp>,
}

#[derive(Debug)]
enum ControllerAction {
    Create(&'static Kind, Value),
    /// The pods that a replica set lacks.
    CreatePods(Value, Vec<Value>),
    /// The new object.
    Update(&'static Kind, Value),
    Delete(&'static Kind, String, String, DeleteOptions),
    Event(events::ObjectEvent),
}

/// The times at which conditions of an object, and of what belongs to it, began, as a controller has
/// observed them.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    since: HashMap<(&'static str, String), (Timestamp, bool)>,
}

impl Timers {
    /// Returns since when `condition` has held for the object with this UID: from now on, if the
    /// condition did not hold when the controller looked last.
    pub(crate) fn since(
        &mut self,
        condition: &'static str,
        uid: &str,
        now: Timestamp,
    ) -> Timestamp {
        let timer = self.since.entry((condition, uid.to_owned())).or_insert((now, true));
        timer.1 = true;
        timer.0
    }

    /// Makes a condition hold from now on.
    pub(crate) fn restart(&mut self, condition: &'static str, uid: &str, now: Timestamp) {
        self.since.insert((condition, uid.to_owned()), (now, true));
    }

    /// Removes the timers that were not used since the last sweep.
    fn sweep(&mut self) {
        self.since.retain(|_, (_, used)| std::mem::take(used));
    }
}

impl<'a> ClusterView<'a> {
    fn new(store: &'a ObjectStore, time: Timestamp, settings: &'a ControllerSettings) -> Self {
        Self { store, now: settings.clock.now(), time, settings, examined: Cell::new(0) }
    }

    /// Counts objects that the controller examines.
    pub(crate) fn examine(&self, objects: u64) {
        self.examined.set(self.examined.get() + objects);
    }

    pub(crate) fn get(
        &self,
        resource: &Kind,
        namespace: &str,
        name: &str,
    ) -> Option<&'a Arc<Value>> {
        self.examine(1);
        self.store.get(resource, namespace, name)
    }

    /// Returns the objects of a kind, of one namespace or of all.
    pub(crate) fn list(
        &self,
        resource: &Kind,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        self.store.list(resource, namespace).inspect(|_| self.examine(1))
    }

    /// Returns the objects of a namespace, of a kind that need not be kept whole.
    pub(crate) fn read_all(
        &self,
        resource: &Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = Arc<Value>> {
        self.store.read_all(resource, Some(namespace)).inspect(|_| self.examine(1))
    }

    /// Returns the objects that an index has under a value.
    pub(crate) fn find(
        &self,
        index: Index,
        value: &str,
    ) -> impl Iterator<Item = (&'static Kind, &'a Arc<Value>)> {
        self.store.find(index, value).inspect(|_| self.examine(1))
    }

    /// Returns the objects of one kind that an index has under a value.
    pub(crate) fn find_of(
        &self,
        resource: &'static Kind,
        index: Index,
        value: &str,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        let found = self.find(index, value).filter(move |(kind, _)| *kind == resource);
        found.map(|(_, object)| object)
    }

    /// Returns the pods that are bound to a node.
    pub(crate) fn pods_on(&self, node: &str) -> impl Iterator<Item = &'a Arc<Value>> {
        self.find_of(&PODS, Index::Node, node)
    }

    /// Returns the time at which something that takes `nominal` and began at `since` ends.
    pub(crate) fn deadline(&self, since: Timestamp, nominal: Duration) -> Timestamp {
        let delay = SignedDuration::try_from(self.settings.clock.delay(nominal));
        delay.ok().and_then(|delay| since.checked_add(delay).ok()).unwrap_or(Timestamp::MAX)
    }
}

impl ControllerPlan {
    pub(crate) fn create(&mut self, resource: &'static Kind, object: Value) {
        self.actions.push(ControllerAction::Create(resource, object));
    }

    /// Creates the pods that a replica set lacks, up to the first one that is rejected.
    pub(crate) fn create_pods(&mut self, set: &Value, pods: Vec<Value>) {
        self.actions.push(ControllerAction::CreatePods(set.clone(), pods));
    }

    pub(crate) fn update(&mut self, resource: &'static Kind, object: Value) {
        self.actions.push(ControllerAction::Update(resource, object));
    }

    pub(crate) fn delete(&mut self, resource: &'static Kind, object: &Value) {
        self.delete_with(resource, object, DeleteOptions::default());
    }

    /// Deletes an object without a grace period.
    pub(crate) fn remove(&mut self, resource: &'static Kind, object: &Value) {
        let deletion = DeleteOptions { grace: Some(0), ..DeleteOptions::default() };
        self.delete_with(resource, object, deletion);
    }

    fn delete_with(&mut self, resource: &'static Kind, object: &Value, deletion: DeleteOptions) {
        let (namespace, name) =
            (object::namespace(object).to_owned(), object::name(object).to_owned());
        self.actions.push(ControllerAction::Delete(resource, namespace, name, deletion));
    }

    pub(crate) fn event(&mut self, event: events::ObjectEvent) {
        self.actions.push(ControllerAction::Event(event));
    }

    /// Requests another call at a time.
    pub(crate) fn requeue_at(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// How many objects a controller reconciles in one turn, during which no client is answered.
const MAX_BATCH: usize = 256;

/// The part that differs from controller to controller.
trait Reconcile: Send {
    /// Notes a change and queues the objects that it concerns. The store may have changed further.
    fn observe(&mut self, view: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue);

    /// Plans what an object needs, which may no longer exist.
    fn reconcile(
        &mut self,
        view: &ClusterView<'_>,
        timers: &mut Timers,
        plan: &mut ControllerPlan,
        key: &WorkKey,
    );
}

/// A controller and its state.
struct Controller {
    reconciler: Box<dyn Reconcile>,
    queue: WorkQueue,
    timers: HashMap<WorkKey, Timers>,
    /// The number of changes since the start that the controller has observed.
    observed: u64,
}

impl Controller {
    fn new(reconciler: impl Reconcile + 'static) -> Self {
        Self {
            reconciler: Box::new(reconciler),
            queue: WorkQueue::default(),
            timers: HashMap::new(),
            observed: 0,
        }
    }

    /// Plans what the first queued objects need, from one state of the store.
    fn plan(&mut self, view: &ClusterView<'_>) -> ControllerPlan {
        let mut plan = ControllerPlan::default();
        for key in self.queue.take(view.time, MAX_BATCH) {
            let mut timers = self.timers.remove(&key).unwrap_or_default();
            self.reconciler.reconcile(view, &mut timers, &mut plan, &key);
            timers.sweep();
            if !timers.since.is_empty() {
                self.timers.insert(key.clone(), timers);
            }
            self.queue.set_due(&key, plan.due.take());
        }
        plan
    }
}

/// The changes that not every controller has observed yet.
#[derive(Debug, Default)]
struct ChangeLog {
    changes: VecDeque<ObjectChange>,
    /// The number of changes since the start that are no longer in the log.
    discarded: u64,
}

impl ChangeLog {
    /// Returns the changes after the first `observed` ones since the start.
    fn since(&self, observed: u64) -> impl Iterator<Item = &ObjectChange> {
        let skipped = usize::try_from(observed - self.discarded).unwrap_or(usize::MAX);
        self.changes.range(skipped.min(self.changes.len())..)
    }

    /// Returns the number of changes since the start.
    fn end(&self) -> u64 {
        self.discarded + self.changes.len() as u64
    }

    /// Discards the first `observed` changes since the start.
    fn discard(&mut self, observed: u64) {
        while self.discarded < observed && self.changes.pop_front().is_some() {
            self.discarded += 1;
        }
    }
}

/// The time by which the controllers measure. It does not advance while they work: real controllers do
/// what takes these a second within a fraction of the time that passes at a speed of 600, and no
/// deadline of a rollout may pass only because the simulator is busy. Virtual time does not pass while they work.
#[derive(Debug)]
struct Pace {
    /// The time of the latest round.
    time: Timestamp,
    /// The time that the controllers have worked.
    worked: Duration,
}

impl Pace {
    fn now(&self, clock: &Clock) -> Timestamp {
        let time = clock.now().checked_sub(self.worked).unwrap_or(self.time);
        // No two rounds have the same time.
        time.max(self.time + Duration::from_nanos(1))
    }
}

/// The controllers of a cluster.
pub(crate) struct ControlPlane {
    server: Arc<ApiServer>,
    settings: ControllerSettings,
    controllers: Vec<Controller>,
    log: ChangeLog,
    pace: Pace,
    work: Arc<WorkCounter>,
}

impl ControlPlane {
    pub(crate) fn new(
        server: Arc<ApiServer>,
        settings: ControllerSettings,
        work: Arc<WorkCounter>,
    ) -> Self {
        // Each controller sees in its turn what those before it have changed.
        let controllers = vec![
            Controller::new(namespace_lifecycle::NamespaceLifecycle::default()),
            Controller::new(garbage_collector::GarbageCollector::default()),
            Controller::new(node_lifecycle::NodeLifecycle),
            Controller::new(autoscaler::PodAutoscaler),
            Controller::new(deployment::DeploymentController),
            Controller::new(replica_set::ReplicaSetController::default()),
            Controller::new(stateful_set::StatefulSetController::default()),
            Controller::new(daemon_set::DaemonSetController::default()),
            Controller::new(job::JobController),
            Controller::new(scheduler::Scheduler::default()),
            Controller::new(kubelet::Kubelets),
            Controller::new(disruption::DisruptionController::default()),
            Controller::new(quota::QuotaController),
        ];
        let pace = Pace { time: settings.clock.now(), worked: Duration::ZERO };
        Self { server, settings, controllers, log: ChangeLog::default(), pace, work }
    }

    /// Runs the controllers until nothing changes, as if pods started and stopped at once. Used for
    /// the initial state.
    pub(crate) fn converge(&mut self) {
        let configured = self.settings.times.clone();
        let of_workloads = std::mem::take(&mut self.settings.workload_times);
        self.settings.times.pod_start = Duration::ZERO;
        self.settings.times.pod_stop = Duration::ZERO;
        while self.run_once() {}
        self.settings.times = configured;
        self.settings.workload_times = of_workloads;
    }

    /// Runs the controllers until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut versions = lock_store(&self.server.store).subscribe();
        while !stop.is_cancelled() {
            versions.mark_unchanged();
            if self.run_once() {
                // Clients can observe the intermediate states.
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.controllers.iter().filter_map(|c| c.queue.next_due()).min();
            let wait = due.map_or(Duration::from_hours(1), |due| {
                Duration::try_from(due.duration_since(self.pace.now(&self.settings.clock)))
                    .unwrap_or_default()
            });
            tokio::select! {
                _ = versions.changed() => {}
                // One millisecond more, so that the moment has certainly passed.
                () = tokio::time::sleep(wait + Duration::from_millis(1)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Gives every controller its turn; returns whether anything changed or is left to do.
    fn run_once(&mut self) -> bool {
        let mut changed = false;
        let start = Instant::now();
        self.pace.time = self.pace.now(&self.settings.clock);
        for controller in &mut self.controllers {
            let mut store = lock_store(&self.server.store);
            let untaken = store.take_changes();
            self.work.changes.fetch_add(untaken.len() as u64, Ordering::Relaxed);
            for change in &untaken {
                self.work.note_created(&store, change);
            }
            self.log.changes.extend(untaken);
            let view = ClusterView::new(&store, self.pace.time, &self.settings);
            let now = view.now;
            for change in self.log.since(controller.observed) {
                controller.reconciler.observe(&view, change, &mut controller.queue);
            }
            controller.observed = self.log.end();
            let plan = controller.plan(&view);
            self.work.examined.fetch_add(view.examined.get(), Ordering::Relaxed);
            for action in plan.actions {
                changed |= execute(&mut store, now, action);
            }
            changed |= controller.queue.has_ready();
        }
        let observed_by_all = self.controllers.iter().map(|controller| controller.observed).min();
        self.log.discard(observed_by_all.unwrap_or_default());
        self.pace.worked += start.elapsed();
        changed
    }
}

/// Carries out an action and returns whether anything changed. A rejected action is dropped: the
/// controller sees the cause at its next call.
fn execute(store: &mut ObjectStore, now: Timestamp, action: ControllerAction) -> bool {
    let mut writer = ObjectWriter { store, now, dry_run: false };
    let done = match action {
        ControllerAction::Create(resource, object) => {
            let namespace = object::namespace(&object).to_owned();
            writer.create(resource, &namespace, object).map(|_| true)
        }
        ControllerAction::CreatePods(set, pods) => {
            replica_set::create_pods(&mut writer, &set, pods)
        }
        ControllerAction::Update(resource, object) => {
            let (namespace, name) =
                (object::namespace(&object).to_owned(), object::name(&object).to_owned());
            let whole = ObjectPart::Whole;
            let written = writer.update(resource, &namespace, &name, whole, |_| Ok(object));
            written.map(|written| written.changed)
        }
        ControllerAction::Delete(resource, namespace, name, deletion) => {
            writer.delete(resource, &namespace, &name, &deletion).map(|written| written.changed)
        }
        ControllerAction::Event(event) => events::record(&mut writer, &event).map(|()| false),
    };
    done.unwrap_or_else(|error| {
        tracing::debug!(error = error.message, "rejected a write of a simulated controller");
        false
    })
}
