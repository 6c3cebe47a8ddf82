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

use crate::clock::Clock;
use crate::simulator::scenario::{FailingImage, Times};

use super::api::{ApiServer, lock};
use super::object::{name, namespace};
use super::resources::{
    AUTOSCALERS, BUDGETS, DEPLOYMENTS, NAMESPACES, NODES, PODS, REPLICA_SETS, RESOURCES, Resource,
};
use super::store::Store;
use super::write::{Deletion, Part, Writer};

mod autoscaler;
mod collector;
mod deployment;
mod disruption;
mod events;
mod kubelet;
mod namespace_end;
mod node;
mod replica_set;
mod rollout;
mod scheduler;
mod victims;

/// What a controller sees.
pub(crate) struct View<'a> {
    pub(crate) store: &'a Store,
    pub(crate) now: Timestamp,
    pub(crate) world: &'a World,
}

/// How the simulated world behaves.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) times: Times,
    pub(crate) failing_images: Vec<FailingImage>,
}

/// What a controller wants to happen.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    actions: Vec<Action>,
    /// When it wants to be called again even if nothing changes.
    due: Option<Timestamp>,
}

#[derive(Debug)]
enum Action {
    Create(&'static Resource, Value),
    /// The object as it shall be.
    Update(&'static Resource, Value),
    Delete(&'static Resource, String, String, Deletion),
    Event(events::Occurrence),
}

/// The moments since which a controller has seen things to be so.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    since: HashMap<(&'static str, String), (Timestamp, bool)>,
}

impl Memory {
    /// Since when `what` is so of the object with this UID: from now on, if it was not so at the
    /// last look.
    pub(crate) fn since(&mut self, what: &'static str, uid: &str, now: Timestamp) -> Timestamp {
        let entry = self.since.entry((what, uid.to_owned())).or_insert((now, true));
        entry.1 = true;
        entry.0
    }

    /// Lets it be so from now on.
    pub(crate) fn restart(&mut self, what: &'static str, uid: &str, now: Timestamp) {
        self.since.insert((what, uid.to_owned()), (now, true));
    }

    /// Forgets what was not asked for since the last sweep.
    fn sweep(&mut self) {
        self.since.retain(|_, (_, asked)| std::mem::take(asked));
    }
}

impl View<'_> {
    /// The moment at which something that takes `nominal` and began at `since` is over.
    pub(crate) fn end(&self, since: Timestamp, nominal: Duration) -> Timestamp {
        let delay = SignedDuration::try_from(self.world.clock.delay(nominal));
        delay.ok().and_then(|delay| since.checked_add(delay).ok()).unwrap_or(Timestamp::MAX)
    }
}

impl Plan {
    pub(crate) fn create(&mut self, resource: &'static Resource, object: Value) {
        self.actions.push(Action::Create(resource, object));
    }

    pub(crate) fn update(&mut self, resource: &'static Resource, object: Value) {
        self.actions.push(Action::Update(resource, object));
    }

    pub(crate) fn delete(&mut self, resource: &'static Resource, object: &Value) {
        self.delete_with(resource, object, Deletion::default());
    }

    /// Removes an object without grace.
    pub(crate) fn remove(&mut self, resource: &'static Resource, object: &Value) {
        let deletion = Deletion { grace: Some(0), ..Deletion::default() };
        self.delete_with(resource, object, deletion);
    }

    fn delete_with(&mut self, resource: &'static Resource, object: &Value, deletion: Deletion) {
        let (space, called) = (namespace(object).to_owned(), name(object).to_owned());
        self.actions.push(Action::Delete(resource, space, called, deletion));
    }

    pub(crate) fn event(&mut self, occurrence: events::Occurrence) {
        self.actions.push(Action::Event(occurrence));
    }

    /// Asks to be called again at a moment.
    pub(crate) fn call_again(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// A controller at work.
struct Station {
    reads: Vec<&'static Resource>,
    plan: fn(&View<'_>, &mut Memory) -> Plan,
    memory: Memory,
    /// Everything up to this version it has seen.
    seen: u64,
    due: Option<Timestamp>,
}

impl Station {
    fn new(reads: &[&'static Resource], plan: fn(&View<'_>, &mut Memory) -> Plan) -> Self {
        Self {
            reads: reads.to_vec(),
            plan,
            memory: Memory::default(),
            seen: 0,
            due: Some(Timestamp::MIN),
        }
    }

    fn is_called(&self, store: &Store, now: Timestamp) -> bool {
        if self.due.is_some_and(|due| due <= now) {
            return true;
        }
        match store.since(self.seen) {
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
    world: World,
    stations: Vec<Station>,
}

impl ControlPlane {
    pub(crate) fn new(server: Arc<ApiServer>, world: World) -> Self {
        let stations = vec![
            Station::new(&RESOURCES, namespace_end::plan),
            Station::new(&RESOURCES, collector::plan),
            Station::new(&[&NODES, &PODS], node::plan),
            Station::new(&[&AUTOSCALERS, &DEPLOYMENTS], autoscaler::plan),
            Station::new(&[&DEPLOYMENTS, &REPLICA_SETS], deployment::plan),
            Station::new(&[&REPLICA_SETS, &PODS], replica_set::plan),
            Station::new(&[&PODS, &NODES, &NAMESPACES], scheduler::plan),
            Station::new(&[&PODS, &NODES], kubelet::plan),
            Station::new(&[&BUDGETS, &PODS, &REPLICA_SETS, &DEPLOYMENTS], disruption::plan),
        ];
        Self { server, world, stations }
    }

    /// Lets the cluster come to rest as if everything took no time, for the world at the start.
    pub(crate) fn settle(&mut self) {
        let usual = self.world.times.clone();
        self.world.times.pod_start = Duration::ZERO;
        self.world.times.pod_stop = Duration::ZERO;
        while self.round() {}
        self.world.times = usual;
    }

    /// Works until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut news = lock(&self.server.store).subscribe();
        while !stop.is_cancelled() {
            news.mark_unchanged();
            if self.round() {
                // Clients get to see the steps in between.
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.stations.iter().filter_map(|station| station.due).min();
            let wait = due.map_or(Duration::from_secs(3600), |due| {
                Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default()
            });
            tokio::select! {
                _ = news.changed() => {}
                // A millisecond more, so that the moment has come for certain.
                () = tokio::time::sleep(wait + Duration::from_millis(1)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Calls every controller that has reason to be; whether anything was changed.
    fn round(&mut self) -> bool {
        let mut changed = false;
        for station in &mut self.stations {
            let mut store = lock(&self.server.store);
            let now = Timestamp::now();
            if !station.is_called(&store, now) {
                continue;
            }
            station.seen = store.version();
            let view = View { store: &store, now, world: &self.world };
            let plan = (station.plan)(&view, &mut station.memory);
            station.memory.sweep();
            station.due = plan.due;
            for action in plan.actions {
                changed |= perform(&mut store, now, action);
            }
        }
        changed
    }
}

/// Carries out an action. One that is refused is dropped: the controller sees the cause at its next
/// look.
fn perform(store: &mut Store, now: Timestamp, action: Action) -> bool {
    let mut writer = Writer { store, now, dry_run: false };
    let done = match action {
        Action::Create(resource, object) => {
            let space = namespace(&object).to_owned();
            writer.create(resource, &space, object).map(|_| true)
        }
        Action::Update(resource, object) => {
            let (space, called) = (namespace(&object).to_owned(), name(&object).to_owned());
            let whole = Part::Whole;
            let written = writer.update(resource, &space, &called, whole, |_| Ok(object));
            written.map(|written| written.changed)
        }
        Action::Delete(resource, space, called, deletion) => {
            writer.delete(resource, &space, &called, &deletion).map(|written| written.changed)
        }
        Action::Event(occurrence) => events::record(&mut writer, occurrence).map(|()| false),
    };
    done.unwrap_or_else(|failure| {
        tracing::debug!(message = failure.message, "a simulated controller was refused");
        false
    })
}
