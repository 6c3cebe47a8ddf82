//! The start of a run: what is checked, planned and asked before one is accepted.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    super::{
        active_runs::Admission,
        checks::Wanted,
        error::ApiError,
        responses::{ChangeWindow, Started},
        views,
    },
    Service,
};
use crate::{
    engine::{BoundRunbook, CheckedRunbook, Preflight},
    journal::{Failure, FailureKind, HeadQuery, Run, RunHead, RunId, RunState, RunTarget},
    plan::{self, Finding, Plan, PlanOptions},
    runbook_dir::FoundRunbook,
    windows::WindowState,
};
use runbook::Source;

/// Whether a request is refused when its runbook has just succeeded on the same target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum RestartGuard {
    /// A GET: a page reload or a link preview sends one, too.
    On,
    /// A POST, or a GET that says that it means another run.
    Off,
}

/// A request for a run.
pub(in crate::server) struct StartRequest {
    /// The runbook's name.
    pub(in crate::server) runbook: String,
    pub(in crate::server) inputs: Map<String, Value>,
    /// The idempotency key.
    pub(in crate::server) key: Option<String>,
    /// The codes of the findings in spite of which the run starts.
    pub(in crate::server) accept: Vec<String>,
    /// The actor who asks.
    pub(in crate::server) actor: String,
    pub(in crate::server) guard: RestartGuard,
    /// The id, where the request has chosen it.
    pub(in crate::server) id: Option<RunId>,
    /// Why the run is to start although no change window may be open.
    pub(in crate::server) outside_window: Option<String>,
}

impl Service {
    pub(in crate::server) async fn start(
        &self,
        request: StartRequest,
    ) -> Result<Started, ApiError> {
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
    pub(in crate::server) async fn plan(
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
    pub(in crate::server) fn change_window(&self) -> Option<ChangeWindow> {
        let windows = self.shared.windows.as_ref()?;
        Some(views::change_window(windows.at(self.engine().clock().now())))
    }

    /// Returns the state of the change windows, where the service has windows.
    pub(in crate::server) fn window_state(&self) -> Option<WindowState> {
        let windows = self.shared.windows.as_ref()?;
        Some(windows.at(self.engine().clock().now()))
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

    async fn find_run_by_key(&self, key: Option<&str>) -> Result<Option<Run>, ApiError> {
        let Some(key) = key else { return Ok(None) };
        let found = self.store().heads(HeadQuery::WithKey(key.to_owned())).await?.pop();
        let Some(entry) = found else { return Ok(None) };
        Ok(Some(Run::read(self.store().as_ref(), &entry.run).await?))
    }
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
