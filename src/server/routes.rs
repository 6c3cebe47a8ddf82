//! The handlers: parse, call one function of the service, render.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{Method, Uri, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    Service, api,
    auth::Actor,
    body::RequestBody,
    error::ApiError,
    responses::{AnswerTaken, Done, Health, Ready, Runbooks, RunsPage, Started, Valid},
    runs_page::{RunsFilter, RunsRequest},
    service::{RestartGuard, StartRequest},
    views,
};
use crate::{
    engine::{AnswerRequest, ResumeRequest, Verdict},
    journal::{Failure, FailureKind, ResumeMode, RunId, RunState, RunSummary, StepPath},
    plan::{Plan, PlanOptions},
};

type ApiResult<T> = Result<Json<T>, ApiError>;

/// The runbook that `/run` runs when none is named, as in the Go service.
const DEFAULT_RUNBOOK: &str = "relay-scale";

/// How many runs a page of `GET /runs` has, unless the request says otherwise, and at most.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StartQuery {
    /// The runbook's name; `relay-scale` if it is left out.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,120}$"))]
    runbook: Option<String>,
    /// Whether a GET means another run of a runbook that has just succeeded.
    #[serde(default)]
    again: bool,
    /// Why the run is to start although no change window is open.
    #[schemars(regex(pattern = r"\S"))]
    outside_window: Option<String>,
}

/// The body of `POST /run`. A runbook's text is never run from a request; only `/validate` takes one.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StartBody {
    /// The inputs of the runbook that have no default, or another value.
    #[serde(default)]
    inputs: Map<String, Value>,
    /// The idempotency key: the same key never starts a second run.
    key: Option<String>,
    /// The codes of the findings in spite of which the run starts.
    #[serde(default)]
    accept: Vec<String>,
}

/// The body of `POST /plan`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PlanBody {
    /// The inputs of the runbook that have no default, or another value.
    inputs: Map<String, Value>,
    /// The answers to questions of approvals.
    answers: BTreeMap<String, String>,
    /// Whether the run is rehearsed on a copy of the cluster.
    rehearse: bool,
}

impl Default for PlanBody {
    fn default() -> Self {
        Self { inputs: Map::new(), answers: BTreeMap::new(), rehearse: true }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanQuery {
    /// The runbook's name; `relay-scale` if it is left out.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,120}$"))]
    runbook: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ValidateQuery {
    /// The name of the file that the text is of; findings print it, and the runbook's name must equal its stem.
    name: Option<String>,
}

/// A page of `GET /runs`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunsQuery {
    /// How many runs the page has at most; 100 if it is left out.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    /// The last run of the page before.
    #[schemars(with = "Option<RunId>")]
    r#continue: Option<String>,
    /// Only runs in this state, or in one of these, separated by commas.
    state: Option<String>,
    /// Only runs of this runbook.
    runbook: Option<String>,
}

/// Events of a run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// The first event that is wanted: its `seq`. The header `Last-Event-ID` counts more.
    #[serde(default)]
    pub(super) from: u64,
    /// Whether the answer goes on with the events that follow, until no process drives the run.
    #[serde(default = "yes")]
    pub(super) follow: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusQuery {
    /// The run; the active one, or the latest, if it is left out.
    #[schemars(with = "Option<RunId>")]
    run: Option<String>,
}

pub(super) async fn health(State(service): State<Service>) -> Json<Health> {
    Json(Health { status: "healthy", change_window: service.change_window() })
}

pub(super) async fn ready(State(service): State<Service>) -> ApiResult<Ready> {
    service.check_ready().await?;
    Ok(Json(Ready { status: "ready" }))
}

pub(super) async fn start(
    State(service): State<Service>,
    Actor(actor): Actor,
    method: Method,
    query: Result<Query<StartQuery>, QueryRejection>,
    RequestBody(body): RequestBody,
) -> ApiResult<Started> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(&error.body_text()))?;
    let runbook = query.runbook.unwrap_or_else(|| DEFAULT_RUNBOOK.to_owned());
    let form = r#"{"inputs": {…}, "key": "…", "accept": […]}"#;
    let StartBody { inputs, key, accept } = json_body(&body, form)?;
    let guard = match method == Method::GET && !query.again {
        true => RestartGuard::On,
        false => RestartGuard::Off,
    };
    let outside_window = query.outside_window;
    if outside_window.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        return Err(ApiError::bad_request("`outside_window` has no reason"));
    }
    let request =
        StartRequest { runbook, inputs, key, accept, actor, guard, id: None, outside_window };
    Ok(Json(service.start(request).await?))
}

pub(super) async fn plan(
    State(service): State<Service>,
    query: Result<Query<PlanQuery>, QueryRejection>,
    RequestBody(body): RequestBody,
) -> ApiResult<Plan> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(&error.body_text()))?;
    let runbook = query.runbook.unwrap_or_else(|| DEFAULT_RUNBOOK.to_owned());
    let form = r#"{"inputs": {…}, "answers": {…}, "rehearse": true}"#;
    let PlanBody { inputs, answers, rehearse } = json_body(&body, form)?;
    let options = PlanOptions {
        rehearse,
        answers,
        ranges: true,
        check_permissions: false,
        checks_start: true,
    };
    Ok(Json(service.plan(&runbook, inputs, options).await?))
}

/// Reads a body that may be left out. `form` shows what it may hold.
fn json_body<T: Default + DeserializeOwned>(body: &[u8], form: &str) -> Result<T, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(&format!("the body is not a valid {form}: {error}")))
}

pub(super) async fn validate(
    State(service): State<Service>,
    query: Result<Query<ValidateQuery>, QueryRejection>,
    RequestBody(body): RequestBody,
) -> ApiResult<Valid> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(&error.body_text()))?;
    let name = query.name.unwrap_or_else(|| "<body>".into());
    Ok(Json(service.validate(name, body.into()).await?))
}

pub(super) async fn status(
    State(service): State<Service>,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(&error.body_text()))?;
    let id = query.run.as_deref().map(parse_run_id).transpose()?;
    let json = service.status(id.as_ref()).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

pub(super) async fn runbooks(State(service): State<Service>) -> ApiResult<Runbooks> {
    Ok(Json(Runbooks { runbooks: service.runbooks().await? }))
}

pub(super) async fn runs(
    State(service): State<Service>,
    query: Result<Query<RunsQuery>, QueryRejection>,
) -> ApiResult<RunsPage> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(&error.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::bad_request(&format!("limit must be 1 to {MAX_PAGE}, not {limit}")));
    }
    let before = query.r#continue.as_deref().map(parse_run_id).transpose()?;
    let states = query.state.as_deref().map_or_else(|| Ok(Vec::new()), parse_states)?;
    let filter = RunsFilter { runbook: query.runbook, states };
    Ok(Json(service.runs(RunsRequest { limit, before, filter }).await?))
}

/// Reads the names of states, separated by commas.
fn parse_states(text: &str) -> Result<Vec<RunState>, ApiError> {
    let parse = |name: &str| {
        RunState::ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| {
            let known: Vec<&str> = RunState::ALL.into_iter().map(RunState::as_str).collect();
            let message = format!("`state`: {name:?} is not a state of a run");
            let hint = format!("the states are {}", known.join(", "));
            Failure::new(FailureKind::Usage, message).with_hint(Some(hint)).into()
        })
    };
    text.split(',').map(|name| parse(name.trim())).collect()
}

pub(super) async fn run(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> ApiResult<RunSummary> {
    Ok(Json(service.run(&parse_run_id(&id)?).await?))
}

pub(super) async fn cancel(
    State(service): State<Service>,
    Actor(actor): Actor,
    Path(id): Path<String>,
) -> ApiResult<Done> {
    let run = parse_run_id(&id)?;
    service.cancel(&run, &actor).await?;
    Ok(Json(Done { status: "cancelling", run }))
}

/// The body of `POST /runs/ID/approve`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ApproveBody {
    /// The step; needed where several wait.
    step: Option<String>,
    /// The answers to its questions.
    answers: Map<String, Value>,
    /// A remark.
    note: Option<String>,
}

pub(super) async fn approve(
    State(service): State<Service>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    RequestBody(body): RequestBody,
) -> ApiResult<AnswerTaken> {
    let form = r#"{"step": "…", "answers": {…}, "note": "…"}"#;
    let ApproveBody { step, answers, note } = json_body(&body, form)?;
    let verdict = Verdict::Approve { answers, texts: BTreeMap::new(), note };
    answer(&service, &id, step, actor, verdict).await
}

/// The body of `POST /runs/ID/reject`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RejectBody {
    /// The step; needed where several wait.
    step: Option<String>,
    /// Why.
    reason: String,
}

pub(super) async fn reject(
    State(service): State<Service>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    RequestBody(body): RequestBody,
) -> ApiResult<AnswerTaken> {
    let RejectBody { step, reason } = json_body(&body, r#"{"step": "…", "reason": "…"}"#)?;
    if reason.trim().is_empty() {
        return Err(ApiError::bad_request("the body has no `reason`"));
    }
    answer(&service, &id, step, actor, Verdict::Reject { reason }).await
}

async fn answer(
    service: &Service,
    id: &str,
    step: Option<String>,
    actor: String,
    verdict: Verdict,
) -> ApiResult<AnswerTaken> {
    let id = parse_run_id(id)?;
    let step = step.map(|step| step.parse::<StepPath>()).transpose();
    let step = step.map_err(|error| ApiError::bad_request(&error.to_string()))?;
    let word = match verdict {
        Verdict::Approve { .. } => "approved",
        Verdict::Reject { .. } => "rejected",
    };
    let request = AnswerRequest { step, actor, verdict };
    let answered = service.answer(&id, request).await?;
    Ok(Json(views::answered(id, answered, word)))
}

/// The changes to the rest of a run. `confirm` has the ids of `from` and `skip`, separated by spaces, so that
/// no step is skipped by a slip of the hand.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ResumeBody {
    /// The name of the runbook with which the run goes on instead of its own text.
    runbook: Option<String>,
    /// The step from which it goes on.
    from: Option<String>,
    /// The steps that are not run.
    skip: Vec<String>,
    /// The ids of `from` and `skip`, separated by spaces.
    confirm: Option<String>,
}

pub(super) async fn resume(
    State(service): State<Service>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    RequestBody(body): RequestBody,
) -> ApiResult<Started> {
    let form = r#"{"runbook": "…", "from": "…", "skip": […], "confirm": "…"}"#;
    let ResumeBody { runbook, from, skip, confirm } = json_body(&body, form)?;
    let request = ResumeRequest { from, skip, ..ResumeRequest::default() };
    if let Some(words) = request.confirmation().filter(|words| confirm.as_ref() != Some(words)) {
        let message = "the body changes which steps are run, and does not confirm it";
        let failure = Failure::new(FailureKind::Usage, message);
        let hint = format!("add \"confirm\": \"{words}\"");
        return Err(failure.with_hint(Some(hint)).into());
    }
    let id = parse_run_id(&id)?;
    Ok(Json(service.resume(&id, request, runbook.as_deref(), &actor).await?))
}

pub(super) async fn rollback(
    State(service): State<Service>,
    Actor(actor): Actor,
    Path(id): Path<String>,
) -> ApiResult<Started> {
    let request = ResumeMode::Rollback.into();
    Ok(Json(service.resume(&parse_run_id(&id)?, request, None, &actor).await?))
}

pub(super) async fn abandon(
    State(service): State<Service>,
    Actor(actor): Actor,
    Path(id): Path<String>,
) -> ApiResult<Done> {
    let run = parse_run_id(&id)?;
    service.abandon(&run, &actor).await?;
    Ok(Json(Done { status: "abandoned", run }))
}

pub(super) async fn route_not_found(uri: Uri) -> ApiError {
    ApiError::unknown_route(uri.path(), &api::PATHS)
}

pub(super) async fn method_not_allowed(uri: Uri) -> ApiError {
    ApiError::method_not_allowed(&format!("method not allowed for {}", uri.path()))
}

pub(super) fn parse_run_id(text: &str) -> Result<RunId, ApiError> {
    text.parse().map_err(|error: <RunId as std::str::FromStr>::Err| {
        ApiError::bad_request(&error.to_string())
    })
}
