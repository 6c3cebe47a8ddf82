//! The handlers: parse, call one function of the service, render.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{
    Json,
    extract::{ConnectInfo, Path, Query, State, rejection::QueryRejection},
    http::{Method, Uri},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    Service,
    body::RequestBody,
    error::ApiError,
    service::{RestartGuard, StartRequest},
    views,
};
use crate::{
    engine::{AnswerRequest, ResumeRequest, Verdict},
    journal::{Failure, FailureKind, ResumeMode, RunId, StepPath},
    plan::PlanOptions,
};

type ApiResult = Result<Json<Value>, ApiError>;

/// The runbook that `/run` runs when none is named, as in the Go service.
const DEFAULT_RUNBOOK: &str = "relay-scale";

/// How many runs a page of `GET /runs` has, unless the request says otherwise, and at most.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartQuery {
    runbook: Option<String>,
    /// Whether a GET means another run of a runbook that has just succeeded.
    #[serde(default)]
    again: bool,
    /// Why the run is to start although no change window is open.
    outside_window: Option<String>,
}

/// The body of `POST /run`. A runbook's text is never run from a request; only `/validate` takes one.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StartBody {
    #[serde(default)]
    inputs: Map<String, Value>,
    key: Option<String>,
    /// The codes of the findings in spite of which the run starts.
    #[serde(default)]
    accept: Vec<String>,
}

/// The body of `POST /plan`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PlanBody {
    inputs: Map<String, Value>,
    answers: BTreeMap<String, String>,
    rehearse: bool,
}

impl Default for PlanBody {
    fn default() -> Self {
        Self { inputs: Map::new(), answers: BTreeMap::new(), rehearse: true }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanQuery {
    runbook: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValidateQuery {
    /// The name of the file that the text is of; findings print it, and the runbook's name must equal its stem.
    name: Option<String>,
}

/// A page of `GET /runs`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunsQuery {
    limit: Option<usize>,
    /// The last run of the page before.
    r#continue: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusQuery {
    run: Option<String>,
}

pub(super) async fn health(State(service): State<Service>) -> Json<Value> {
    let mut health = json!({"status": "healthy"});
    if let Some(window) = service.change_window() {
        health["change_window"] = window;
    }
    Json(health)
}

pub(super) async fn ready(State(service): State<Service>) -> ApiResult {
    service.check_ready().await?;
    Ok(Json(json!({"status": "ready"})))
}

pub(super) async fn start(
    State(service): State<Service>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    query: Result<Query<StartQuery>, QueryRejection>,
    RequestBody(body): RequestBody,
) -> ApiResult {
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
    let actor = actor(peer);
    let request =
        StartRequest { runbook, inputs, key, accept, actor, guard, id: None, outside_window };
    Ok(Json(service.start(request).await?))
}

pub(super) async fn plan(
    State(service): State<Service>,
    query: Result<Query<PlanQuery>, QueryRejection>,
    RequestBody(body): RequestBody,
) -> ApiResult {
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
    let plan = service.plan(&runbook, inputs, options).await?;
    Ok(Json(json!(plan)))
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
) -> ApiResult {
    let Query(query) = query.map_err(|error| ApiError::bad_request(&error.body_text()))?;
    let name = query.name.unwrap_or_else(|| "<body>".into());
    Ok(Json(service.validate(name, body.into()).await?))
}

pub(super) async fn status(
    State(service): State<Service>,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> ApiResult {
    let Query(query) = query.map_err(|error| ApiError::bad_request(&error.body_text()))?;
    let id = query.run.as_deref().map(parse_run_id).transpose()?;
    Ok(Json(service.status(id.as_ref()).await?))
}

pub(super) async fn runbooks(State(service): State<Service>) -> ApiResult {
    Ok(Json(json!({"runbooks": service.runbooks().await?})))
}

pub(super) async fn runs(
    State(service): State<Service>,
    query: Result<Query<RunsQuery>, QueryRejection>,
) -> ApiResult {
    let Query(query) = query.map_err(|error| ApiError::bad_request(&error.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::bad_request(&format!("limit must be 1 to {MAX_PAGE}, not {limit}")));
    }
    let before = query.r#continue.as_deref().map(parse_run_id).transpose()?;
    Ok(Json(service.runs(limit, before.as_ref()).await?))
}

pub(super) async fn run(State(service): State<Service>, Path(id): Path<String>) -> ApiResult {
    Ok(Json(service.run(&parse_run_id(&id)?).await?))
}

pub(super) async fn cancel(
    State(service): State<Service>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
) -> ApiResult {
    let id = parse_run_id(&id)?;
    service.cancel(&id, &actor(peer)).await?;
    Ok(Json(json!({"status": "cancelling", "run": id})))
}

/// The body of `POST /runs/ID/approve`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ApproveBody {
    step: Option<String>,
    answers: Map<String, Value>,
    note: Option<String>,
}

pub(super) async fn approve(
    State(service): State<Service>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    RequestBody(body): RequestBody,
) -> ApiResult {
    let form = r#"{"step": "…", "answers": {…}, "note": "…"}"#;
    let ApproveBody { step, answers, note } = json_body(&body, form)?;
    let verdict = Verdict::Approve { answers, texts: BTreeMap::new(), note };
    answer(&service, &id, step, &actor(peer), verdict).await
}

/// The body of `POST /runs/ID/reject`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RejectBody {
    step: Option<String>,
    reason: String,
}

pub(super) async fn reject(
    State(service): State<Service>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    RequestBody(body): RequestBody,
) -> ApiResult {
    let RejectBody { step, reason } = json_body(&body, r#"{"step": "…", "reason": "…"}"#)?;
    if reason.trim().is_empty() {
        return Err(ApiError::bad_request("the body has no `reason`"));
    }
    answer(&service, &id, step, &actor(peer), Verdict::Reject { reason }).await
}

async fn answer(
    service: &Service,
    id: &str,
    step: Option<String>,
    actor: &str,
    verdict: Verdict,
) -> ApiResult {
    let id = parse_run_id(id)?;
    let step = step.map(|step| step.parse::<StepPath>()).transpose();
    let step = step.map_err(|error| ApiError::bad_request(&error.to_string()))?;
    let word = match verdict {
        Verdict::Approve { .. } => "approved",
        Verdict::Reject { .. } => "rejected",
    };
    let request = AnswerRequest { step, actor: actor.to_owned(), verdict };
    let answered = service.answer(&id, request).await?;
    Ok(Json(views::answered(&id, &answered, word)))
}

/// The changes to the rest of a run. `confirm` has the ids of `from` and `skip`, separated by spaces, so that
/// no step is skipped by a slip of the hand.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ResumeBody {
    runbook: Option<String>,
    from: Option<String>,
    skip: Vec<String>,
    confirm: Option<String>,
}

pub(super) async fn resume(
    State(service): State<Service>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    RequestBody(body): RequestBody,
) -> ApiResult {
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
    Ok(Json(service.resume(&id, request, runbook.as_deref(), &actor(peer)).await?))
}

pub(super) async fn rollback(
    State(service): State<Service>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
) -> ApiResult {
    let request = ResumeMode::Rollback.into();
    Ok(Json(service.resume(&parse_run_id(&id)?, request, None, &actor(peer)).await?))
}

pub(super) async fn abandon(
    State(service): State<Service>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
) -> ApiResult {
    let id = parse_run_id(&id)?;
    service.abandon(&id, &actor(peer)).await?;
    Ok(Json(json!({"status": "abandoned", "run": id})))
}

pub(super) async fn route_not_found(uri: Uri) -> ApiError {
    ApiError::not_found(&format!("no such route: {}", uri.path()))
}

pub(super) async fn method_not_allowed(uri: Uri) -> ApiError {
    ApiError::method_not_allowed(&format!("method not allowed for {}", uri.path()))
}

fn parse_run_id(text: &str) -> Result<RunId, ApiError> {
    text.parse().map_err(|error: <RunId as std::str::FromStr>::Err| {
        ApiError::bad_request(&error.to_string())
    })
}

/// A static token does not name its user, so the audit log has the address.
fn actor(peer: SocketAddr) -> String {
    format!("http:{}", peer.ip())
}
