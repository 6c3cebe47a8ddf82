//! The metrics of a service, as Prometheus reads them. What is counted comes from the events of the runs that this
//! process drives ([`RunObserver`]), from the calls to the platforms ([`PlatformObserver`]), from the store
//! ([`MeasuredStore`]), and from the server, which calls the functions of [`Metrics`].
//!
//! A label never holds the name of a run, a pod, a node or an instance, nor the text of an error: each series stays in
//! memory for as long as the process lives. Names of runbooks are those of runs and of the directory of runbooks, up to
//! [`MAX_RUNBOOKS`]; everything else is one of a fixed list. The id of a run is an exemplar.
//!
//! This module uses the journal and the observer of the platform. It must not depend on the engine or the server.
//!
//! [`RunObserver`]: crate::journal::RunObserver

mod exposition;
mod labels;
mod open_runs;
mod run_events;
mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::SystemTime,
};

use prometheus_client::{
    metrics::{
        counter::Counter,
        exemplar::{CounterWithExemplar, HistogramWithExemplars},
        family::Family,
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Registry, Unit},
};

pub use self::exposition::Exposition;
pub use self::open_runs::ObservedRun;
pub use self::store::MeasuredStore;

use self::{
    labels::{
        Action, ApiCall, ApiOperation, Build, Change, Kind, Notification, Request, RunLabel,
        RunResult, Runbook, StepResult, Store, Wait,
    },
    open_runs::RunStates,
    run_events::DrivenRuns,
};
use crate::platform::{CallEnd, LeaseChange, ObservedCall, PlatformObserver};

/// How many runbooks have series of their own. The runs of others are counted together.
pub const MAX_RUNBOOKS: usize = 100;

/// The label of what is not one of a fixed list, or too much.
const OTHER: &str = "other";

/// The bounds of the buckets, in seconds: a run takes from a second to two hours, a step likewise.
const RUN_BUCKETS: [f64; 12] =
    [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0];
const CALL_BUCKETS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];
const APPEND_BUCKETS: [f64; 9] = [0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

type MakeHistogram = fn() -> Histogram;
type MakeRunHistogram = fn() -> HistogramWithExemplars<RunLabel>;
/// A counter of seconds.
type Seconds = Counter<f64, AtomicU64>;
/// A gauge of a moment, in seconds since 1970.
type Moment = Gauge<f64, AtomicU64>;

/// The metrics of a process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    families: Families,
    driven: DrivenRuns,
    states: RunStates,
    runbooks: Mutex<BTreeSet<String>>,
}

#[derive(Clone)]
struct Families {
    runbook_valid: Family<Runbook, Gauge>,
    runs: Family<RunResult, CounterWithExemplar<RunLabel>>,
    run_duration: Family<RunResult, HistogramWithExemplars<RunLabel>, MakeRunHistogram>,
    steps: Family<StepResult, Counter>,
    step_duration: Family<Action, Histogram, MakeHistogram>,
    attempts: Family<Action, Counter>,
    changes: Family<Change, Counter>,
    left_alone: Family<Kind, Counter>,
    waits: Family<Wait, Seconds>,
    api_requests: Family<ApiCall, Counter>,
    api_duration: Family<ApiOperation, Histogram, MakeHistogram>,
    append_duration: Family<Store, Histogram, MakeHistogram>,
    journal_errors: Family<Store, Counter>,
    lease_held: Gauge,
    lease_transitions: Counter,
    lease_losses: Counter,
    notifications: Family<Notification, Counter>,
    requests: Family<Request, Counter>,
    streams: Gauge,
}

/// A stream of events to a client, which counts for as long as this is held.
pub struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Families {
    fn default() -> Self {
        let call: MakeHistogram = || Histogram::new(CALL_BUCKETS);
        let append: MakeHistogram = || Histogram::new(APPEND_BUCKETS);
        let step: MakeHistogram = || Histogram::new(RUN_BUCKETS);
        let run: MakeRunHistogram = || HistogramWithExemplars::new(RUN_BUCKETS.into_iter());
        Self {
            runbook_valid: Family::default(),
            runs: Family::default(),
            run_duration: Family::new_with_constructor(run),
            steps: Family::default(),
            step_duration: Family::new_with_constructor(step),
            attempts: Family::default(),
            changes: Family::default(),
            left_alone: Family::default(),
            waits: Family::default(),
            api_requests: Family::default(),
            api_duration: Family::new_with_constructor(call),
            append_duration: Family::new_with_constructor(append),
            journal_errors: Family::default(),
            lease_held: Gauge::default(),
            lease_transitions: Counter::default(),
            lease_losses: Counter::default(),
            notifications: Family::default(),
            requests: Family::default(),
            streams: Gauge::default(),
        }
    }
}

impl Families {
    /// Registers all of them. The help is what a person reads who meets the name for the first time.
    fn register(&self, registry: &mut Registry) {
        let seconds = || Unit::Seconds;
        let help = "1 where the runbook of the directory has no errors, else 0";
        registry.register("runbook_valid", help, self.runbook_valid.clone());
        let help = "Runs that stopped in this process, by how";
        registry.register("runs", help, self.runs.clone());
        let help = "Time from the start of a run until it stopped, interruptions included";
        registry.register_with_unit("run_duration", help, seconds(), self.run_duration.clone());
        let help = "Steps, and items of steps, that ended in this process";
        registry.register("steps", help, self.steps.clone());
        let help = "Time until a step completed or failed, without times in which no process drove the run";
        registry.register_with_unit("step_duration", help, seconds(), self.step_duration.clone());
        let help = "Attempts of steps, each of which completed or failed";
        registry.register("step_attempts", help, self.attempts.clone());
        let help = "Changes that were sent to the platforms, object by object";
        registry.register("changes", help, self.changes.clone());
        let help =
            "Changes that an undo did not restore: changed by another client, or not reversible";
        registry.register("left_alone", help, self.left_alone.clone());
        let help = "Time in which steps waited";
        registry.register_with_unit("wait", help, seconds(), self.waits.clone());
        let help = "Requests to Kubernetes and AWS; a call that is retried has several";
        registry.register("api_requests", help, self.api_requests.clone());
        let help = "Time until the response to a request to Kubernetes or AWS, or until it failed";
        let duration = self.api_duration.clone();
        registry.register_with_unit("api_request_duration", help, seconds(), duration);
        let help = "Time until events were in the store";
        let duration = self.append_duration.clone();
        registry.register_with_unit("journal_append_duration", help, seconds(), duration);
        let help = "Failures of the store of runs";
        registry.register("journal_errors", help, self.journal_errors.clone());
        let help = "Leases of clusters that this process holds";
        registry.register("lease_held", help, self.lease_held.clone());
        let help = "Times that this process took a lease, gave it back or lost it";
        registry.register("lease_transitions", help, self.lease_transitions.clone());
        let help = "Leases that were lost while a run needed them";
        registry.register("lease_losses", help, self.lease_losses.clone());
        let help = "Notifications, by what became of them";
        registry.register("notifications", help, self.notifications.clone());
        let help = "Requests to this service";
        registry.register("http_requests", help, self.requests.clone());
        let help = "Open streams of events to clients";
        registry.register("streams", help, self.streams.clone());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Returns metrics of which nothing has been counted.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sop");
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
            revision: option_env!("SOP_REVISION").unwrap_or("unknown"),
        };
        registry.register("build", "The program", Info::new(build));
        let families = Families::default();
        families.register(&mut registry);
        let states = RunStates::default();
        registry.register_collector(Box::new(states.clone()));
        let (driven, runbooks) = (DrivenRuns::default(), Mutex::default());
        Self { shared: Arc::new(Shared { registry, families, driven, states, runbooks }) }
    }

    fn families(&self) -> &Families {
        &self.shared.families
    }

    /// Takes note of a notification. `sink` is one of the configuration's, `result` one of a fixed list.
    pub fn notifications(&self, sink: &str, result: &'static str) {
        let labels = Notification { sink: sink.to_owned(), result };
        self.families().notifications.get_or_create(&labels).inc();
    }

    /// Takes note of a request that was answered. `route` is the pattern of the route.
    pub fn request(&self, route: Option<&str>, method: &str, code: u16) {
        let method = labels::METHODS.iter().find(|known| **known == method).unwrap_or(&OTHER);
        let labels = Request { route: route.unwrap_or(OTHER).to_owned(), method, code };
        self.families().requests.get_or_create(&labels).inc();
    }

    /// Takes note of a stream that begins; it ends with the result.
    #[must_use]
    pub fn stream(&self) -> OpenStream {
        let streams = self.families().streams.clone();
        streams.inc();
        OpenStream(streams)
    }

    /// Takes note of which runbooks of the directory have no errors. One that is not in the list is gone.
    pub fn set_runbooks(&self, valid: &BTreeMap<String, bool>) {
        let family = &self.families().runbook_valid;
        family.clear();
        for (name, is_valid) in valid.iter().take(MAX_RUNBOOKS) {
            let runbook = self.runbook(name);
            family.get_or_create(&Runbook { runbook }).set((*is_valid).into());
        }
    }

    /// Takes note of the runs of the store: those that are not over, and the latest ones, of which there may be more in
    /// the next call. `unreadable` is how many there are whose journal cannot be read.
    pub fn set_runs(&self, runs: &[ObservedRun], unreadable: usize) {
        let progress = |run: &ObservedRun| self.shared.driven.last_progress(&run.head.run);
        self.shared.states.set(runs, unreadable, &|name| self.runbook(name), &progress);
    }

    /// Returns the metrics as text.
    pub fn encode(&self, exposition: Exposition) -> String {
        exposition.encode(&self.shared.registry)
    }

    /// Returns the label of a runbook, whose name comes from a run or from the directory.
    fn runbook(&self, name: &str) -> String {
        let mut known = lock(&self.shared.runbooks);
        if known.contains(name) {
            return name.to_owned();
        }
        if known.len() >= MAX_RUNBOOKS {
            return OTHER.into();
        }
        known.insert(name.to_owned());
        name.to_owned()
    }
}

impl PlatformObserver for Metrics {
    fn on_call(&self, call: &ObservedCall<'_>) {
        let code = match call.end {
            CallEnd::Answered(status) => status.to_string(),
            CallEnd::Failed => "none".into(),
            CallEnd::Dropped => "dropped".into(),
        };
        let (service, operation) = (call.service, call.operation.to_owned());
        let labels = ApiOperation { service, operation: operation.clone() };
        let duration = self.families().api_duration.get_or_create_owned(&labels);
        duration.observe(call.duration.as_secs_f64());
        let labels = ApiCall { service, operation, code };
        self.families().api_requests.get_or_create(&labels).inc();
    }

    fn on_lease(&self, change: LeaseChange) {
        let Families { lease_held, lease_transitions, lease_losses, .. } = self.families();
        lease_transitions.inc();
        match change {
            LeaseChange::Taken => lease_held.inc(),
            LeaseChange::GivenBack => lease_held.dec(),
            LeaseChange::Lost => {
                lease_losses.inc();
                lease_held.dec()
            }
        };
    }
}

/// Returns a time by the wall clock, for an exemplar.
fn system_time(time: jiff::Timestamp) -> SystemTime {
    SystemTime::from(time)
}

/// Every change of what is locked is whole: a panic leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
