//! The runs of a service, and everything that can be asked of them.

use std::{borrow::Borrow, collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::{
    runtime::Handle,
    sync::{Mutex, Semaphore},
    task::JoinHandle,
    time::Instant,
};

use super::{
    active_runs::{ActiveRuns, Admission, Phase, RunningGuard},
    checks::{self, Checks, Wanted},
    error::ApiError,
    limits::{Limits, ValidateQueue},
    monitoring::Monitoring,
    responses::{ChangeWindow, Started, Status, Valid},
    run_feed::{ObservedRun, RunFeeds},
    status_cache::{StatusCache, StatusKey, to_json},
    streams::{StreamPermit, Streams},
    views,
};
use crate::{
    engine::{
        AcceptedRun, AnswerRequest, Answered, BoundRunbook, CheckedResume, CheckedRunbook, Control,
        Engine, Preflight, ResumePreflight, ResumeRequest, StartError, answer_approval,
    },
    journal::{
        Failure, FailureKind, HeadQuery, RecordedEvent, ResumeMode, Run, RunHead, RunId, RunState,
        RunStore, RunSummary, RunTarget, StoreError, with_liveness,
    },
    metrics::Metrics,
    plan::{self, Finding, Plan, PlanOptions},
    runbook_dir::{self, FoundRunbook, RunbookDir},
    windows::{ChangeWindows, WindowState},
};
use runbook::Source;

/// For how long the result of a check of the store is the answer to `/ready`: many probes at once make one check.
const READINESS_AGE: Duration = Duration::from_secs(1);

/// How many requests read journals or heads at a time; others wait. A journal may be large, and the runs need the
/// store, too.
const MAX_READERS: usize = 2;

/// How long a client waits until the lock of a run that it abandons is removed from the cluster.
const CLEAR_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request to cancel a run waits until others know it.
const RECORD_CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Whether a request is refused when its runbook has just succeeded on the same target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestartGuard {
    /// A GET: a page reload or a link preview sends one, too.
    On,
    /// A POST, or a GET that says that it means another run.
    Off,
}

/// A request for a run.
pub(super) struct StartRequest {
    /// The runbook's name.
    pub(super) runbook: String,
    pub(super) inputs: Map<String, Value>,
    /// The idempotency key.
    pub(super) key: Option<String>,
    /// The codes of the findings in spite of which the run starts.
    pub(super) accept: Vec<String>,
    /// The actor who asks.
    pub(super) actor: String,
    pub(super) guard: RestartGuard,
    /// The id, where the request has chosen it.
    pub(super) id: Option<RunId>,
    /// Why the run is to start although no change window may be open.
    pub(super) outside_window: Option<String>,
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

    pub(super) async fn start(&self, request: StartRequest) -> Result<Started, ApiError> {
        let (runbook, actor) = (request.runbook.clone(), request.actor.clone());
        let started = self.try_start(request).await;
        if let Err(error) = &started {
            // The response is the client's alone; who reads the log must see that nothing was started.
            let (status, error) = (error.status().as_u16(), error.message());
            tracing::warn!(runbook, actor, status, error, "a run was not started");
        }
        started
    }

    async fn try_start(&self, request: StartRequest) -> Result<Started, ApiError> {
        if let Some(unknown) = plan::unknown_code(&request.accept) {
            let message = format!("`accept`: there is no finding with the code {unknown:?}");
            return Err(ApiError::bad_request(&message));
        }
        let FoundRunbook { source, origin, library } = self.find_runbook(&request.runbook).await?;
        if request.key.is_some() {
            let _reading = self.shared.reading.acquire().await;
            if let Some(earlier) = self.find_run_by_key(request.key.as_deref()).await? {
                return response_to_same_request(&earlier, &source, &request.inputs);
            }
        }
        let (text, given) = (source.clone(), request.inputs.clone());
        let check = move |_: &Wanted| -> Result<BoundRunbook, ApiError> {
            Ok(CheckedRunbook::with_origin(text, origin.to_string(), &library)?.bind(&given)?)
        };
        let bound = self.shared.checks.run(check).await??;
        let reason = request.outside_window.clone();
        let outside_window = self.ensure_in_window(bound.checked(), reason)?;
        let prepare =
            move |service: Self| async move { service.shared.engine.prepare_bound(bound).await };
        let mut preflight = self.prepare_on_runs_runtime(prepare).await??;
        preflight.outside_window = outside_window;
        self.ensure_acceptable(&mut preflight, &request).await?;
        // It may have closed while the run was planned.
        preflight.outside_window = self
            .ensure_in_window(&preflight.checked, request.outside_window.clone())?
            .or(preflight.outside_window);
        let accept = move |service: Self| async move {
            let admission = service.admit().await?;
            // Another request with the same key may have been accepted meanwhile.
            if let Some(earlier) = service.find_run_by_key(request.key.as_deref()).await? {
                return response_to_same_request(&earlier, &source, &request.inputs);
            }
            service.accept(&admission, preflight, request).await
        };
        self.accept_on_runs_runtime(accept).await?
    }

    /// Returns the plan of a run. One is made at a time: each holds a copy of the cluster.
    pub(super) async fn plan(
        &self,
        runbook: &str,
        inputs: Map<String, Value>,
        options: PlanOptions,
    ) -> Result<Plan, ApiError> {
        let FoundRunbook { source, origin, library } = self.find_runbook(runbook).await?;
        let check = move |_: &Wanted| -> Result<BoundRunbook, ApiError> {
            Ok(CheckedRunbook::with_origin(source, origin.to_string(), &library)?.bind(&inputs)?)
        };
        let bound = self.shared.checks.run(check).await??;
        let prepare =
            move |service: Self| async move { service.shared.engine.prepare_to_plan(bound).await };
        let preflight = self.prepare_on_runs_runtime(prepare).await??;
        self.make_plan(preflight, options).await
    }

    async fn make_plan(
        &self,
        preflight: Preflight,
        options: PlanOptions,
    ) -> Result<Plan, ApiError> {
        let _turn = self.shared.planning.acquire().await;
        let make = move |service: Self| async move {
            plan::make(&service.shared.engine, &preflight, &options).await
        };
        self.prepare_on_runs_runtime(make).await
    }

    /// Refuses a run against which a finding speaks that is not accepted.
    async fn ensure_acceptable(
        &self,
        preflight: &mut Preflight,
        request: &StartRequest,
    ) -> Result<(), ApiError> {
        let accepted = &request.accept;
        let changes = preflight.checked.changes_something();
        if !self.shared.plans_before_runs || preflight.target.simulated || !changes {
            return Ok(());
        }
        // What is refused anyway is not planned, and what another run is changing speaks against nothing.
        if request.guard == RestartGuard::On {
            let runbook = &preflight.checked.runbook().name;
            self.ensure_not_repeated(runbook, &preflight.target).await?;
        }
        let (target, actor) = (preflight.clone(), request.actor.clone());
        let check = move |service: Self| async move {
            service.engine().ensure_target_is_free(&target, &actor).await
        };
        self.prepare_on_runs_runtime(check).await??;
        let options = PlanOptions { ranges: false, ..PlanOptions::default() };
        let plan = self.make_plan(preflight.clone(), options).await?;
        let how = |codes: &[&str]| format!("\"accept\": {} in the body", json!(codes));
        if let Some(failure) = plan.refusal(accepted, how) {
            let errors: Vec<&Finding> = plan.errors(accepted).collect();
            return Err(ApiError::refused_by_findings(failure, &errors));
        }
        preflight.consent.accepted = plan.needed_consent(accepted);
        Ok(())
    }

    async fn accept(
        &self,
        admission: &Admission<'_>,
        preflight: Preflight,
        request: StartRequest,
    ) -> Result<Started, ApiError> {
        let StartRequest { key, actor, guard, id, .. } = request;
        if guard == RestartGuard::On {
            let runbook = &preflight.checked.runbook().name;
            self.ensure_not_repeated(runbook, &preflight.target).await?;
        }
        let warnings = preflight.warnings.clone();
        let accepted = match id {
            Some(id) => self.engine().accept_as(preflight, &actor, key, id).await?,
            None => self.engine().accept(preflight, &actor, key).await?,
        };
        let mut response = views::started(accepted.run());
        response.warnings = warnings;
        self.drive(admission, accepted);
        Ok(response)
    }

    /// Checks that a run may start now. Returns why it may all the same where no change window is open.
    fn ensure_in_window(
        &self,
        checked: &CheckedRunbook,
        reason: Option<String>,
    ) -> Result<Option<String>, ApiError> {
        let Some(windows) = self.shared.windows.as_ref().filter(|_| checked.changes_something())
        else {
            return Ok(None);
        };
        match (windows.ensure_open(self.engine().clock().now()), reason) {
            (Ok(()), _) => Ok(None),
            (Err(_), Some(reason)) => Ok(Some(reason)),
            (Err(outside), None) => {
                Err(ApiError::outside_window(&checked.runbook().name, &outside))
            }
        }
    }

    /// Returns whether a change window is open, where the service has windows.
    pub(super) fn change_window(&self) -> Option<ChangeWindow> {
        let windows = self.shared.windows.as_ref()?;
        Some(views::change_window(windows.at(self.engine().clock().now())))
    }

    /// Returns the state of the change windows, where the service has windows.
    pub(super) fn window_state(&self) -> Option<WindowState> {
        let windows = self.shared.windows.as_ref()?;
        Some(windows.at(self.engine().clock().now()))
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

    /// Checks that a runbook has not succeeded on the same target just now. The caller has the right to start a run, so
    /// that no run can end in between.
    async fn ensure_not_repeated(&self, runbook: &str, target: &RunTarget) -> Result<(), ApiError> {
        let guard = self.shared.restart_guard;
        let is_recent = |head: &RunHead| {
            // A clock that was set back since makes the age negative: the run has just ended.
            head.ended_at.is_some_and(|end| {
                Duration::try_from(Timestamp::now() - end).unwrap_or_default() < guard
            })
        };
        let is_repeated = |head: &RunHead| {
            head.runbook == runbook
                && matches!(
                    head.state(false),
                    RunState::Succeeded | RunState::SucceededWithFailures
                )
                && head.target.overlaps(target)
                && is_recent(head)
        };
        // An unfinished run on the target is the more important answer, which `accept` gives.
        let heads = self.store().heads(HeadQuery::All).await?;
        let heads: Vec<RunHead> = heads.into_iter().filter_map(|entry| entry.head.ok()).collect();
        if heads.iter().any(|head| !head.is_final() && head.target.overlaps(target)) {
            return Ok(());
        }
        match heads.iter().rev().find(|head| is_repeated(head)) {
            Some(head) => Err(ApiError::repeated(head, guard)),
            None => Ok(()),
        }
    }

    pub(super) async fn resume(
        &self,
        id: &RunId,
        mut request: ResumeRequest,
        runbook: Option<&str>,
        actor: &str,
    ) -> Result<Started, ApiError> {
        let mode = request.mode;
        let found = match runbook {
            Some(name) => Some(self.find_runbook(name).await?),
            None => None,
        };
        let writer = {
            let _reading = self.shared.reading.acquire().await;
            self.wait_until_released(id).await?;
            self.ensure_not_live(id).await?;
            self.shared.engine.open(id).await?
        };
        let check = move |_: &Wanted| {
            if let Some(FoundRunbook { source, origin, library }) = found {
                request.runbook =
                    Some(CheckedRunbook::with_origin(source, origin.to_string(), &library)?);
            }
            Ok::<_, ApiError>(CheckedResume::new(writer, request)?)
        };
        let checked = self.shared.checks.run(check).await??;
        let prepare = move |service: Self| async move {
            service.shared.engine.prepare_checked_resume(checked).await
        };
        let preflight = self.prepare_on_runs_runtime(prepare).await??;
        // Before the run is resumed: it reads a file, which may be on a disk that does not answer.
        let note = self.change_note(&preflight).await?;
        let actor = actor.to_owned();
        let accept = move |service: Self| async move {
            service.accept_resume(preflight, mode, &actor).await
        };
        let mut response = self.accept_on_runs_runtime(accept).await??;
        response.note = note;
        Ok(response)
    }

    /// Finds and reads a runbook of the directory.
    pub(super) async fn find_runbook(&self, name: &str) -> Result<FoundRunbook, ApiError> {
        let (runbook_dir, name) = (self.shared.runbook_dir.clone(), name.to_owned());
        Ok(self.shared.checks.run(move |_| runbook_dir.find(&name)).await??)
    }

    /// Returns a note where the file of a run's runbook is no longer the text with which the run continues.
    async fn change_note(&self, preflight: &ResumePreflight) -> Result<Option<String>, ApiError> {
        if preflight.rolls_back() {
            return Ok(None);
        }
        let run = preflight.run();
        let (origin, name) = (preflight.origin().map(str::to_owned), run.spec.runbook.clone());
        let text = preflight.checked().source().text().to_owned();
        let note = move |_: &Wanted| runbook_dir::change_note(origin.as_deref(), &name, &text);
        self.shared.checks.run(note).await
    }

    async fn accept_resume(
        &self,
        preflight: ResumePreflight,
        mode: ResumeMode,
        actor: &str,
    ) -> Result<Started, ApiError> {
        let admission = self.admit().await?;
        // Another request may have resumed the run meanwhile.
        self.ensure_not_live(preflight.run().id()).await?;
        let accepted = self.shared.engine.resume(preflight, actor).await?;
        let response = views::resumed(accepted.run(), mode);
        self.drive(&admission, accepted);
        Ok(response)
    }

    /// Checks that this service does not drive a run now, nor another process of it.
    async fn ensure_not_live(&self, id: &RunId) -> Result<(), ApiError> {
        if !self.is_live(id) && !self.is_live_elsewhere(id).await? {
            return Ok(());
        }
        let head = self.store().head(id).await?;
        let (state, target) = (head.state(true), Box::new(head.target));
        Err(StartError::Unfinished { run: id.clone(), state, target, cause: None }.into())
    }

    pub(super) async fn cancel(&self, id: &RunId, actor: &str) -> Result<(), ApiError> {
        match self.shared.active.phase(id) {
            Some(Phase::Running(control)) if control.is_ending() => Err(is_restoring(id)),
            Some(Phase::Running(control)) => {
                // Another process may have continued the run, or will when this one dies before it has journaled that.
                // Before the run ends by this, so that it cannot stop a later one.
                if let Some(shared) = self.store().shared() {
                    let recorded = shared.request_cancel(id, actor);
                    match tokio::time::timeout(RECORD_CANCEL_TIMEOUT, recorded).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => {
                            tracing::warn!(%error, run = id.as_str(), "the request to cancel is known here only");
                        }
                        Err(_) => {
                            tracing::warn!(
                                run = id.as_str(),
                                "the request to cancel may be known here only"
                            );
                        }
                    }
                }
                control.cancel(actor);
                Ok(())
            }
            Some(Phase::Recovering { .. }) => {
                let failure =
                    Failure::new(FailureKind::Conflict, format!("run {id} is about to be resumed"));
                Err(failure.with_hint(Some("abandon it or roll it back instead")).into())
            }
            Some(Phase::JournalFailed(_)) | None => {
                let _reading = self.shared.reading.acquire().await;
                let head = self.store().head(id).await?;
                let (head, is_live) = with_liveness(self.store().as_ref(), head).await?;
                if is_live && head.restoring().is_some() {
                    return Err(is_restoring(id));
                }
                if let Some(shared) = self.store().shared().filter(|_| is_live) {
                    return Ok(shared.request_cancel(id, actor).await?);
                }
                let state = head.state(false);
                let message = format!("run {id} is {state}: nothing to cancel");
                Err(Failure::new(FailureKind::Conflict, message).into())
            }
        }
    }

    /// Answers an approval of a run, whichever process drives it.
    pub(super) async fn answer(
        &self,
        id: &RunId,
        request: AnswerRequest,
    ) -> Result<Answered, ApiError> {
        let answered = answer_approval(self.store().as_ref(), id, request).await;
        answered.map_err(|error| error.failure().into())
    }

    pub(super) async fn abandon(&self, id: &RunId, actor: &str) -> Result<(), ApiError> {
        let admission = self.admit().await?;
        if self.is_live(id) || self.is_live_elsewhere(id).await? {
            let failure = Failure::new(FailureKind::Conflict, format!("run {id} is active"));
            return Err(failure.with_hint(Some("cancel it first")).into());
        }
        self.engine().abandon(id, actor).await?;
        // A cluster that does not answer must not keep other requests waiting.
        drop(admission);
        if self.store().head(id).await?.target.kubernetes.is_some() {
            let (service, id) = (self.clone(), id.clone());
            let clearing = self.shared.runs.spawn(async move {
                service.shared.engine.clear_lock(&id).await;
            });
            // The run is over whatever the cluster says; the rest goes on without the client.
            let _ = tokio::time::timeout(CLEAR_LOCK_TIMEOUT, clearing).await;
        }
        Ok(())
    }

    /// Reports on the run that was asked for; else the active one; else the latest; else idle. Returns JSON.
    pub(super) async fn status(&self, id: Option<&RunId>) -> Result<Bytes, ApiError> {
        let id = match id.cloned().or_else(|| self.shared.active.running()) {
            Some(id) => id,
            None => match self.latest().await? {
                Some(head) => head.run,
                None => {
                    let idle = Status { change_window: self.change_window(), ..views::idle() };
                    return Ok(to_json(&idle));
                }
            },
        };
        // What this service drives, it observes: a client that polls costs no reading.
        let feed = self.shared.active.phase(&id).filter(|phase| matches!(phase, Phase::Running(_)));
        if feed.is_some() {
            return self.observed_status(&id).await;
        }
        let _place = self.shared.status_cache.enter()?;
        let _reading = self.shared.reading.acquire().await;
        let (events, is_live) = self.read(&id).await?;
        let key = self.status_key(&id, events.len() as u64, is_live);
        self.render_status(key, events).await
    }

    /// Reports on a run that this service drives. Those who ask while an answer is being made share the next one.
    async fn observed_status(&self, id: &RunId) -> Result<Bytes, ApiError> {
        let cache = &self.shared.status_cache;
        let find = |run: &ObservedRun| cache.find(&self.status_key(id, run.count, run.is_live));
        if let Some(json) = find(&self.feeds().observed(self, id).await?) {
            return Ok(json);
        }
        let _turn = cache.wait_for_turn().await;
        // What has happened since is in this answer.
        let run = self.feeds().observed(self, id).await?;
        if let Some(json) = find(&run) {
            return Ok(json);
        }
        self.render_status(self.status_key(id, run.count, run.is_live), run.events()).await
    }

    /// Returns all that an answer about a run depends on, of which `count` events are known.
    fn status_key(&self, id: &RunId, count: u64, is_live: bool) -> StatusKey {
        StatusKey {
            run: id.clone(),
            events: count,
            is_live,
            phase: format!("{:?}", self.shared.active.phase(id)),
            change_window: self.change_window(),
        }
    }

    /// Returns the answer about a run with these events, and keeps it.
    async fn render_status<E: Borrow<RecordedEvent> + Send + 'static>(
        &self,
        key: StatusKey,
        events: Vec<E>,
    ) -> Result<Bytes, ApiError> {
        if let Some(json) = self.shared.status_cache.find(&key) {
            return Ok(json);
        }
        let phase = self.shared.active.phase(&key.run);
        let (id, is_live, change_window) =
            (key.run.clone(), key.is_live, key.change_window.clone());
        let json = render(move || {
            let run = Run::of(&id, &events).ok_or_else(|| no_start(&id))?;
            let status = views::status(&run, &events, phase.as_ref(), is_live);
            Ok(to_json(&Status { change_window, ..status }))
        })
        .await?;
        self.shared.status_cache.keep(key, json.clone());
        Ok(json)
    }

    /// Reads a run, with whether it is being written to.
    ///
    /// That is asked first: a run that ends in between then has its end in what is read, and counts as ended. Asked
    /// afterwards, it would seem to have been interrupted. A run that was resumed in between is asked again: what is
    /// read of it says that it has not ended.
    async fn read(&self, id: &RunId) -> Result<(Vec<RecordedEvent>, bool), StoreError> {
        let was_live = self.is_written(id).await;
        let events = self.store().read(id, 0).await?;
        Ok((events, was_live || self.is_written(id).await))
    }

    /// Whether this service writes to a run. The store knows that from before the run's first event can be read until
    /// its last one can be.
    pub(super) async fn is_written(&self, id: &RunId) -> bool {
        self.is_live(id) || (!self.is_left(id) && self.store().is_live(id).await)
    }

    /// Whether it is known here that no process writes to a run, whatever its store says: it is about to be resumed, or
    /// its driver has ended without the run's end. In a store to which several processes write, another one may.
    fn is_left(&self, id: &RunId) -> bool {
        match self.active().phase(id) {
            Some(Phase::Recovering { .. }) => true,
            Some(Phase::JournalFailed(_)) => self.store().shared().is_none(),
            Some(Phase::Running(_)) | None => false,
        }
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

    /// Returns a head that was read, with whether the service writes to its run.
    pub(super) async fn with_liveness(&self, head: RunHead) -> Result<(RunHead, bool), StoreError> {
        match self.is_left(&head.run) {
            true => Ok((head, false)),
            false => with_liveness(self.store().as_ref(), head).await,
        }
    }

    pub(super) async fn run(&self, id: &RunId) -> Result<RunSummary, ApiError> {
        let _reading = self.shared.reading.acquire().await;
        let (events, is_live) = self.read(id).await?;
        let id = id.clone();
        // Without the differences between runbooks: no route that needs no token shows their text.
        render(move || {
            let run = Run::of(&id, &events).ok_or_else(|| no_start(&id))?;
            Ok(RunSummary::of(&run, is_live))
        })
        .await
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

    async fn find_run_by_key(&self, key: Option<&str>) -> Result<Option<Run>, ApiError> {
        let Some(key) = key else { return Ok(None) };
        let found = self.store().heads(HeadQuery::WithKey(key.to_owned())).await?.pop();
        let Some(entry) = found else { return Ok(None) };
        Ok(Some(Run::read(self.store().as_ref(), &entry.run).await?))
    }

    /// Returns the head of the newest run that can be read.
    pub(super) async fn latest(&self) -> Result<Option<RunHead>, StoreError> {
        match self.store().heads(HeadQuery::Newest(1)).await?.pop() {
            Some(entry) => entry.head.map(Some),
            None => Ok(None),
        }
    }

    /// Waits for the moment between the last event of a run and the end of its driver, in which it still is active.
    async fn wait_until_released(&self, id: &RunId) -> Result<(), StoreError> {
        if self.is_live(id) && !self.store().head(id).await?.state(true).is_active() {
            self.shared.active.wait_until_released(id).await;
        }
        Ok(())
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

fn is_restoring(id: &RunId) -> ApiError {
    let message = format!("run {id} is at its end: it restores what is not to outlast it");
    Failure::new(FailureKind::Conflict, message).into()
}

fn no_start(id: &RunId) -> ApiError {
    let message = format!("the journal of run {id} has no first event");
    Failure::new(FailureKind::Store, message).into()
}

/// Makes a response that may be large, beside the threads that answer requests.
async fn render<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::unfinished())?
}

/// Returns the response to a key that has started a run before: that run, if the request is the same.
fn response_to_same_request(
    earlier: &Run,
    source: &Source,
    inputs: &Map<String, Value>,
) -> Result<Started, ApiError> {
    let spec = &earlier.spec;
    let is_same = spec.text == source.text()
        && inputs.iter().all(|(name, value)| spec.inputs.get(name) == Some(value));
    if is_same {
        return Ok(views::started(earlier));
    }
    let message = format!(
        "this key started run {} of {}, with another runbook or other inputs",
        earlier.id(),
        spec.runbook
    );
    let failure = Failure::new(FailureKind::Conflict, message);
    Err(failure.with_hint(Some("use a different idempotency key")).into())
}
