//! The runs of a service, and everything that can be asked of them.

mod resume;
mod start;
mod status;
mod stop;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{Mutex, Semaphore},
    task::JoinHandle,
    time::Instant,
};

pub(super) use self::start::{RestartGuard, StartRequest};

use super::{
    active_runs::{ActiveRuns, Admission, Phase, RunningGuard},
    checks::{self, Checks, Wanted},
    error::ApiError,
    limits::{Limits, ValidateQueue},
    monitoring::Monitoring,
    responses::Valid,
    run_feed::RunFeeds,
    status_cache::StatusCache,
    streams::{StreamPermit, Streams},
    views,
};
use crate::{
    engine::{AcceptedRun, CheckedRunbook, Control, Engine, StartError},
    journal::{Failure, FailureKind, RunId, RunStore, StoreError, with_liveness},
    metrics::Metrics,
    runbook_dir::{FoundRunbook, RunbookDir},
    windows::ChangeWindows,
};
use runbook::Source;

/// For how long the result of a check of the store is the answer to `/ready`: many probes at once make one check.
const READINESS_AGE: Duration = Duration::from_secs(1);

/// How many requests read journals or heads at a time; others wait. A journal may be large, and the runs need the
/// store, too.
const MAX_READERS: usize = 2;

/// The service; clones share it.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    runbook_dir: RunbookDir,
    restart_guard: Duration,
    windows: Option<ChangeWindows>,
    active: ActiveRuns,
    feeds: RunFeeds,
    streams: Streams,
    status_cache: StatusCache,
    limits: Limits,
    monitoring: Monitoring,
    validate_queue: ValidateQueue,
    checks: Checks,
    /// A permit for each request that reads journals or heads for its client.
    reading: Semaphore,
    readiness: Mutex<Option<(Instant, Result<(), StoreError>)>>,
    /// A permit for each plan that is being made.
    planning: Semaphore,
    /// Whether a run is planned before it starts.
    plans_before_runs: bool,
    /// The runtime of the runs and of the clients that they use. Requests are answered on another.
    runs: Handle,
}

/// A task that ends with the request for which it works.
struct TaskOfRequest<T>(JoinHandle<T>);

impl<T> Drop for TaskOfRequest<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Service {
    /// Returns a service that runs the runbooks of `runbook_dir`. A GET does not start a runbook again that succeeded
    /// on the same target within `restart_guard`, and outside `windows` nothing is started that changes something. The
    /// runs are driven on the runtime on which this is called.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new(
        engine: Engine,
        runbook_dir: RunbookDir,
        restart_guard: Duration,
        windows: Option<ChangeWindows>,
        limits: Limits,
    ) -> Self {
        let feeds = RunFeeds::default();
        let engine = engine.observed_by(Arc::new(feeds.clone()));
        let shared = Shared {
            engine,
            runbook_dir,
            restart_guard,
            windows,
            active: ActiveRuns::default(),
            feeds,
            streams: Streams::default(),
            status_cache: StatusCache::new(&limits),
            validate_queue: ValidateQueue::new(&limits),
            checks: Checks::default(),
            limits,
            monitoring: Monitoring::default(),
            reading: Semaphore::new(MAX_READERS),
            readiness: Mutex::default(),
            planning: Semaphore::new(1),
            plans_before_runs: false,
            runs: Handle::current(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Lets a run be refused, before it starts, against which a finding of its plan speaks.
    ///
    /// # Panics
    /// The service is in use already.
    #[must_use]
    pub fn planning_before_runs(mut self, plans: bool) -> Self {
        let shared = Arc::get_mut(&mut self.shared);
        // It is called where the service is made, before it is shared.
        shared.expect("the service is not in use yet").plans_before_runs = plans;
        self
    }

    /// Lets the service count in `metrics`, and answer `/metrics` with them.
    ///
    /// # Panics
    /// The service is in use already.
    #[must_use]
    pub fn measured_by(mut self, metrics: Metrics) -> Self {
        let shared = Arc::get_mut(&mut self.shared);
        // It is called where the service is made, before it is shared.
        shared.expect("the service is not in use yet").monitoring = Monitoring::of(metrics);
        self
    }

    /// Returns what is measured.
    pub(super) fn monitoring(&self) -> &Monitoring {
        &self.shared.monitoring
    }

    /// Returns the limits of the service.
    pub(super) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Starts no more runs, leaves the active ones to be resumed, and waits until their calls in flight are journaled.
    pub async fn shut_down(&self) {
        self.shared.active.shut_down().await;
    }

    /// Asks the cluster and the account what must be known before a run is accepted, on the runtime of the runs, where
    /// the clients are. This may take long, and ends with the request.
    async fn prepare_on_runs_runtime<T: Send + 'static, F>(
        &self,
        work: impl FnOnce(Self) -> F,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut task = TaskOfRequest(self.shared.runs.spawn(work(self.clone())));
        (&mut task.0).await.map_err(|_| ApiError::unfinished())
    }

    /// Accepts a run on the runtime of the runs. This asks the store only, and is finished even if the request ends: a
    /// run that is in the store must be driven.
    async fn accept_on_runs_runtime<T: Send + 'static, F>(
        &self,
        work: impl FnOnce(Self) -> F,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.shared.runs.spawn(work(self.clone())).await.map_err(|_| ApiError::unfinished())
    }

    /// Finds and reads a runbook of the directory.
    pub(super) async fn find_runbook(&self, name: &str) -> Result<FoundRunbook, ApiError> {
        let (runbook_dir, name) = (self.shared.runbook_dir.clone(), name.to_owned());
        Ok(self.shared.checks.run(move |_| runbook_dir.find(&name)).await??)
    }

    /// Checks a runbook's text, which is then forgotten: nothing that is sent here can be run. A text that takes long
    /// to check holds up no request but those that wait for the same.
    pub(super) async fn validate(&self, name: String, text: Vec<u8>) -> Result<Valid, ApiError> {
        let (_place, turn) = self.shared.validate_queue.wait().await?;
        let library = self.shared.runbook_dir.library();
        let check = move |wanted: &Wanted| {
            let (source, runbook, diagnostics) = match Source::from_bytes(name, text) {
                Ok(source) => {
                    let registry = crate::engine::registry();
                    let checked =
                        runbook::check_while(&source, registry, &library, &|| wanted.is_wanted())?;
                    (source, checked.runbook, checked.diagnostics)
                }
                Err(error) => (error.readable, None, vec![error.diagnostic]),
            };
            Some(match runbook {
                Some(runbook) => Ok(views::valid(&runbook, &source, &diagnostics)),
                None => {
                    let source_text = Box::new(source);
                    Err(ApiError::from(StartError::InvalidRunbook { source_text, diagnostics }))
                }
            })
        };
        // A check ends soon after its request; the next one waits for that.
        checks::run(turn, check).await?.ok_or_else(ApiError::unfinished)?
    }

    /// Returns every runbook of the directory, at most `limit` of them, with whether it has no errors.
    pub(super) async fn check_runbooks(
        &self,
        limit: usize,
    ) -> Result<BTreeMap<String, bool>, ApiError> {
        let runbook_dir = self.shared.runbook_dir.clone();
        let is_valid = move |name: String| {
            let is_valid = runbook_dir.find(&name).is_ok_and(|found| {
                let FoundRunbook { source, origin, library } = found;
                CheckedRunbook::with_origin(source, origin.to_string(), &library).is_ok()
            });
            (name, is_valid)
        };
        let names = self.runbooks().await?.into_iter().take(limit);
        self.shared.checks.run(move |_| names.map(is_valid).collect()).await
    }

    pub(super) async fn runbooks(&self) -> Result<Vec<String>, ApiError> {
        let runbook_dir = self.shared.runbook_dir.clone();
        self.shared.checks.run(move |_| runbook_dir.names()).await
    }

    /// Checks that a run could be journaled now, or a moment ago.
    pub(super) async fn check_ready(&self) -> Result<(), StoreError> {
        // One request checks; those that come meanwhile wait for its result.
        let mut last = self.shared.readiness.lock().await;
        if let Some((checked_at, result)) = &*last
            && checked_at.elapsed() < READINESS_AGE
        {
            return result.clone();
        }
        let result = self.store().check_writable().await;
        *last = Some((Instant::now(), result.clone()));
        result
    }

    /// Drives a run in the background.
    pub(super) fn drive(&self, admission: &Admission<'_>, accepted: AcceptedRun) {
        let control = Control::default();
        let id = accepted.run().id().clone();
        admission.run(&id, &control);
        let service = self.clone();
        self.shared.runs.spawn(async move {
            let Shared { engine, active, .. } = &*service.shared;
            let _guard = RunningGuard::new(active, &id);
            match engine.drive(accepted, control).await {
                Ok(run) => {
                    tracing::info!(run = id.as_str(), state = %run.state(false), "the run has stopped");
                }
                Err(error @ StoreError::Conflict { .. }) if service.store().shared().is_some() => {
                    tracing::warn!(run = id.as_str(), %error, "another process has continued the run");
                }
                Err(error) => {
                    tracing::error!(run = id.as_str(), %error, "the journal cannot be written");
                    // Others may continue the run: the store knows.
                    if service.store().shared().is_none() {
                        active.journal_failed(&id, error.to_string());
                    }
                }
            }
        });
    }

    async fn admit(&self) -> Result<Admission<'_>, ApiError> {
        self.shared.active.admit().await.ok_or_else(|| {
            Failure::new(FailureKind::Interrupted, "the server is shutting down").into()
        })
    }

    pub(super) fn is_live(&self, id: &RunId) -> bool {
        matches!(self.shared.active.phase(id), Some(Phase::Running(_)))
    }

    /// Whether another process seems to drive a run, in a store to which several write.
    async fn is_live_elsewhere(&self, id: &RunId) -> Result<bool, StoreError> {
        let is_own =
            matches!(self.active().phase(id), Some(Phase::Running(_) | Phase::Recovering { .. }));
        if is_own || self.store().shared().is_none() {
            return Ok(false);
        }
        let head = self.store().head(id).await?;
        Ok(with_liveness(self.store().as_ref(), head).await?.1)
    }

    pub(super) fn store(&self) -> &Arc<dyn RunStore> {
        self.shared.engine.store()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// Whether the service is about to continue a run.
    pub(super) fn is_recovering(&self, id: &RunId) -> bool {
        matches!(self.active().phase(id), Some(Phase::Recovering { .. }))
    }

    /// Returns the runs that are being watched.
    pub(super) fn feeds(&self) -> &RunFeeds {
        &self.shared.feeds
    }

    /// Returns the right to open one more stream.
    ///
    /// # Errors
    /// As many are open as may be.
    pub(super) fn open_stream(&self) -> Result<StreamPermit, ApiError> {
        self.shared.streams.open(self.monitoring().metrics())
    }

    /// Returns the permits of requests that read journals or heads.
    pub(super) fn reading(&self) -> &Semaphore {
        &self.shared.reading
    }

    /// Returns the right to read and check runbooks.
    pub(super) fn checks(&self) -> &Checks {
        &self.shared.checks
    }

    pub(super) fn active(&self) -> &ActiveRuns {
        &self.shared.active
    }
}
