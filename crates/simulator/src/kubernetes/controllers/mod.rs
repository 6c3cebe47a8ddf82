//! The control plane: controllers that move the cluster towards its specified state. Each
//! controller is a function from the contents of the store, the time and its own timers to a plan
//! of changes; it is called when something that it reads has changed or when a time that it
//! requested has come. Controllers know objects and each other's kinds, and no HTTP.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::scenario::{FailingImage, Times};
use clock::Clock;

use super::api::{ApiServer, lock_store};
use super::object;
use super::resources::{
    AUTOSCALERS, BUDGETS, DEPLOYMENTS, LIMIT_RANGES, NAMESPACES, NODES, PODS, REPLICA_SETS,
    RESOURCE_QUOTAS, RESOURCES, Resource,
};
use super::store::ObjectStore;
use super::write::{DeleteOptions, ObjectPart, ObjectWriter};

mod autoscaler;
mod deployment;
mod disruption;
mod events;
mod garbage_collector;
mod kubelet;
mod namespace_lifecycle;
mod node_lifecycle;
mod pod_deletion_order;
mod quota;
mod replica_set;
mod rollout;
mod scheduler;

/// The input of a controller.
pub(crate) struct ClusterView<'a> {
    pub(crate) store: &'a ObjectStore,
    pub(crate) now: Timestamp,
    pub(crate) settings: &'a ControllerSettings,
}

/// The settings of the simulated cluster's behavior.
#[derive(Debug, Clone)]
pub(crate) struct ControllerSettings {
    pub(crate) clock: Clock,
    pub(crate) times: Times,
    pub(crate) failing_images: Vec<FailingImage>,
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
    Create(&'static Resource, Value),
    /// The pods that a replica set lacks.
    CreatePods(Value, Vec<Value>),
    /// The new object.
    Update(&'static Resource, Value),
    Delete(&'static Resource, String, String, DeleteOptions),
    Event(events::ObjectEvent),
}

/// The times at which conditions began, as a controller has observed them.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    since: HashMap<(&'static str, String), (Timestamp, bool)>,
}

impl Timers {
    /// Returns since when `condition` has held for the object with this UID: from now on, if the
    /// condition did not hold at the previous call.
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

impl ClusterView<'_> {
    /// Returns the time at which something that takes `nominal` and began at `since` ends.
    pub(crate) fn deadline(&self, since: Timestamp, nominal: Duration) -> Timestamp {
        let delay = SignedDuration::try_from(self.settings.clock.delay(nominal));
        delay.ok().and_then(|delay| since.checked_add(delay).ok()).unwrap_or(Timestamp::MAX)
    }
}

impl ControllerPlan {
    pub(crate) fn create(&mut self, resource: &'static Resource, object: Value) {
        self.actions.push(ControllerAction::Create(resource, object));
    }

    /// Creates the pods that a replica set lacks, up to the first one that is rejected.
    pub(crate) fn create_pods(&mut self, set: &Value, pods: Vec<Value>) {
        self.actions.push(ControllerAction::CreatePods(set.clone(), pods));
    }

    pub(crate) fn update(&mut self, resource: &'static Resource, object: Value) {
        self.actions.push(ControllerAction::Update(resource, object));
    }

    pub(crate) fn delete(&mut self, resource: &'static Resource, object: &Value) {
        self.delete_with(resource, object, DeleteOptions::default());
    }

    /// Deletes an object without a grace period.
    pub(crate) fn remove(&mut self, resource: &'static Resource, object: &Value) {
        let deletion = DeleteOptions { grace: Some(0), ..DeleteOptions::default() };
        self.delete_with(resource, object, deletion);
    }

    fn delete_with(
        &mut self,
        resource: &'static Resource,
        object: &Value,
        deletion: DeleteOptions,
    ) {
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

/// A controller and its state.
struct Controller {
    reads: Vec<&'static Resource>,
    plan: fn(&ClusterView<'_>, &mut Timers) -> ControllerPlan,
    timers: Timers,
    /// The version up to which the controller has seen all changes.
    seen_version: u64,
    due: Option<Timestamp>,
}

impl Controller {
    fn new(
        reads: &[&'static Resource],
        plan: fn(&ClusterView<'_>, &mut Timers) -> ControllerPlan,
    ) -> Self {
        Self {
            reads: reads.to_vec(),
            plan,
            timers: Timers::default(),
            seen_version: 0,
            due: Some(Timestamp::MIN),
        }
    }

    fn is_due(&self, store: &ObjectStore, now: Timestamp) -> bool {
        if self.due.is_some_and(|due| due <= now) {
            return true;
        }
        match store.since(self.seen_version) {
            Ok(mut changes) => changes
                .any(|change| self.reads.iter().any(|resource| resource.key() == change.resource)),
            // The changes are no longer in the history, so any of them may matter.
            Err(_) => true,
        }
    }
}

/// The controllers of a cluster.
pub(crate) struct ControlPlane {
    server: Arc<ApiServer>,
    settings: ControllerSettings,
    controllers: Vec<Controller>,
}

impl ControlPlane {
    pub(crate) fn new(server: Arc<ApiServer>, settings: ControllerSettings) -> Self {
        let controllers = vec![
            Controller::new(&RESOURCES, namespace_lifecycle::plan),
            Controller::new(&RESOURCES, garbage_collector::plan),
            Controller::new(&[&NODES, &PODS], node_lifecycle::plan),
            Controller::new(&[&AUTOSCALERS, &DEPLOYMENTS], autoscaler::plan),
            Controller::new(&[&DEPLOYMENTS, &REPLICA_SETS], deployment::plan),
            Controller::new(
                &[&REPLICA_SETS, &PODS, &RESOURCE_QUOTAS, &LIMIT_RANGES],
                replica_set::plan,
            ),
            Controller::new(&[&PODS, &NODES, &NAMESPACES], scheduler::plan),
            Controller::new(&[&PODS, &NODES], kubelet::plan),
            Controller::new(&[&BUDGETS, &PODS, &REPLICA_SETS, &DEPLOYMENTS], disruption::plan),
            Controller::new(&RESOURCES, quota::plan),
        ];
        Self { server, settings, controllers }
    }

    /// Runs the controllers until nothing changes, as if pods started and stopped at once. Used for
    /// the initial state.
    pub(crate) fn converge(&mut self) {
        let configured = self.settings.times.clone();
        self.settings.times.pod_start = Duration::ZERO;
        self.settings.times.pod_stop = Duration::ZERO;
        while self.run_once() {}
        self.settings.times = configured;
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
            let due = self.controllers.iter().filter_map(|controller| controller.due).min();
            let wait = due.map_or(Duration::from_hours(1), |due| {
                Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default()
            });
            tokio::select! {
                _ = versions.changed() => {}
                // One millisecond more, so that the moment has certainly passed.
                () = tokio::time::sleep(wait + Duration::from_millis(1)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Calls every controller that is due; returns whether anything changed.
    fn run_once(&mut self) -> bool {
        let mut changed = false;
        for controller in &mut self.controllers {
            let mut store = lock_store(&self.server.store);
            let now = Timestamp::now();
            if !controller.is_due(&store, now) {
                continue;
            }
            controller.seen_version = store.version();
            let view = ClusterView { store: &store, now, settings: &self.settings };
            let plan = (controller.plan)(&view, &mut controller.timers);
            controller.timers.sweep();
            controller.due = plan.due;
            for action in plan.actions {
                changed |= execute(&mut store, now, action);
            }
        }
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
