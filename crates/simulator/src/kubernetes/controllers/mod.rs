//! The control plane: controllers that move the cluster towards what its objects say. Each is a
//! function from what stands in the store, the time and its own memory to a plan of changes; it is
//! called when something that it reads has changed or a moment that it named has come. They know
//! objects and each other's kinds, and no HTTP.

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
    AUTOSCALERS, BUDGETS, DEPLOYMENTS, NAMESPACES, NODES, PODS, REPLICA_SETS, RESOURCES, Resource,
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
mod replica_set;
mod rollout;
mod scheduler;

/// What a controller sees.
pub(crate) struct ClusterView<'a> {
    pub(crate) store: &'a ObjectStore,
    pub(crate) now: Timestamp,
    pub(crate) settings: &'a ControllerSettings,
}

/// How the simulated world behaves.
#[derive(Debug, Clone)]
pub(crate) struct ControllerSettings {
    pub(crate) clock: Clock,
    pub(crate) times: Times,
    pub(crate) failing_images: Vec<FailingImage>,
}

/// What a controller wants to happen.
#[derive(Debug, Default)]
pub(crate) struct ControllerPlan {
    actions: Vec<ControllerAction>,
    /// When it wants to be called again even if nothing changes.
    due: Option<Timestamp>,
}

#[derive(Debug)]
enum ControllerAction {
    Create(&'static Resource, Value),
    /// The object as it shall be.
    Update(&'static Resource, Value),
    Delete(&'static Resource, String, String, DeleteOptions),
    Event(events::ObjectEvent),
}

/// The moments since which a controller has seen things to be so.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    since: HashMap<(&'static str, String), (Timestamp, bool)>,
}

impl Timers {
    /// Since when `condition` is so of the object with this UID: from now on, if it was not so at the
    /// last look.
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

    /// Lets it be so from now on.
    pub(crate) fn restart(&mut self, condition: &'static str, uid: &str, now: Timestamp) {
        self.since.insert((condition, uid.to_owned()), (now, true));
    }

    /// Forgets what was not asked for since the last sweep.
    fn sweep(&mut self) {
        self.since.retain(|_, (_, used)| std::mem::take(used));
    }
}

impl ClusterView<'_> {
    /// The moment at which something that takes `nominal` and began at `since` is over.
    pub(crate) fn deadline(&self, since: Timestamp, nominal: Duration) -> Timestamp {
        let delay = SignedDuration::try_from(self.settings.clock.delay(nominal));
        delay.ok().and_then(|delay| since.checked_add(delay).ok()).unwrap_or(Timestamp::MAX)
    }
}

impl ControllerPlan {
    pub(crate) fn create(&mut self, resource: &'static Resource, object: Value) {
        self.actions.push(ControllerAction::Create(resource, object));
    }

    pub(crate) fn update(&mut self, resource: &'static Resource, object: Value) {
        self.actions.push(ControllerAction::Update(resource, object));
    }

    pub(crate) fn delete(&mut self, resource: &'static Resource, object: &Value) {
        self.delete_with(resource, object, DeleteOptions::default());
    }

    /// Removes an object without grace.
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

    /// Asks to be called again at a moment.
    pub(crate) fn requeue_at(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// A controller at work.
struct Controller {
    reads: Vec<&'static Resource>,
    plan: fn(&ClusterView<'_>, &mut Timers) -> ControllerPlan,
    timers: Timers,
    /// Everything up to this version it has seen.
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
            // What happened meanwhile is forgotten: look at everything.
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
            Controller::new(&[&REPLICA_SETS, &PODS], replica_set::plan),
            Controller::new(&[&PODS, &NODES, &NAMESPACES], scheduler::plan),
            Controller::new(&[&PODS, &NODES], kubelet::plan),
            Controller::new(&[&BUDGETS, &PODS, &REPLICA_SETS, &DEPLOYMENTS], disruption::plan),
        ];
        Self { server, settings, controllers }
    }

    /// Lets the cluster come to rest as if everything took no time, for the world at the start.
    pub(crate) fn converge(&mut self) {
        let configured = self.settings.times.clone();
        self.settings.times.pod_start = Duration::ZERO;
        self.settings.times.pod_stop = Duration::ZERO;
        while self.run_once() {}
        self.settings.times = configured;
    }

    /// Works until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut versions = lock_store(&self.server.store).subscribe();
        while !stop.is_cancelled() {
            versions.mark_unchanged();
            if self.run_once() {
                // Clients get to see the steps in between.
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.controllers.iter().filter_map(|controller| controller.due).min();
            let wait = due.map_or(Duration::from_secs(3600), |due| {
                Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default()
            });
            tokio::select! {
                _ = versions.changed() => {}
                // A millisecond more, so that the moment has come for certain.
                () = tokio::time::sleep(wait + Duration::from_millis(1)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Calls every controller that has reason to be; whether anything was changed.
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

/// Carries out an action. One that is refused is dropped: the controller sees the cause at its next
/// look.
fn execute(store: &mut ObjectStore, now: Timestamp, action: ControllerAction) -> bool {
    let mut writer = ObjectWriter { store, now, dry_run: false };
    let done = match action {
        ControllerAction::Create(resource, object) => {
            let namespace = object::namespace(&object).to_owned();
            writer.create(resource, &namespace, object).map(|_| true)
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
        ControllerAction::Event(event) => events::record(&mut writer, event).map(|()| false),
    };
    done.unwrap_or_else(|error| {
        tracing::debug!(message = error.message, "a simulated controller was refused");
        false
    })
}
