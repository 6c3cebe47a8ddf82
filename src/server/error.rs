//! Error responses: a status code and a JSON body that says what to do.

use std::{any::Any, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    engine::StartError,
    journal::{Failure, FailureKind, RunHead, StoreError, timestamp},
    plan::Finding,
    runbook_dir::LookupError,
    windows::OutsideWindow,
};
use runbook::render;

/// A refused request.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: Value,
    /// How to authenticate, where that is what the request lacks.
    challenge: Option<&'static str>,
}

/// After how many seconds a request that is refused for now may be sent again.
pub(super) const RETRY_AFTER_SECONDS: u16 = 1;

impl ApiError {
    /// Returns a response with that status; also for what a layer or an extractor made of the request.
    pub(super) fn new(status: StatusCode, message: &str) -> Self {
        Self { status, body: json!({"status": "error", "error": message}), challenge: None }
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Returns a response for a request without a token.
    pub(super) fn unauthorized(message: &str) -> Self {
        let challenge = Some("Bearer realm=\"rafay-relay-sop\"");
        Self { challenge, ..Self::new(StatusCode::UNAUTHORIZED, message) }
    }

    /// Returns a response for a request with a token that is not accepted.
    pub(super) fn invalid_token(message: &str) -> Self {
        let challenge = Some("Bearer realm=\"rafay-relay-sop\", error=\"invalid_token\"");
        Self { challenge, ..Self::new(StatusCode::FORBIDDEN, message) }
    }

    /// Returns a response for a request that the service cannot answer now.
    pub(super) fn unavailable(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Returns a response for a request above a limit of the service.
    pub(super) fn overloaded(message: &str) -> Self {
        let failure = Failure::new(FailureKind::Busy, message);
        let hint = format!("send it again after {RETRY_AFTER_SECONDS} s");
        let mut error = Self::from(failure.with_hint(Some(hint)));
        error.status = StatusCode::SERVICE_UNAVAILABLE;
        error
    }

    /// Returns a response for a request whose work has panicked, or was cut off by the end of the process.
    pub(super) fn unfinished() -> Self {
        let message = "the request was not finished; see the server log";
        Failure::new(FailureKind::Internal, message).into()
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// Returns a response for a path that is not one of the API's, with those that are.
    pub(super) fn unknown_route(path: &str, routes: &[&str]) -> Self {
        let failure = Failure::new(FailureKind::Usage, format!("no such route: {path}"));
        let hint = format!("the routes are {}; /openapi.json describes them", routes.join(", "));
        let mut error = Self::from(failure.with_hint(Some(hint)));
        error.status = StatusCode::NOT_FOUND;
        error
    }

    pub(super) fn method_not_allowed(message: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message)
    }

    /// Returns the kind of the failure, where the body has one.
    pub(super) fn kind(&self) -> Option<FailureKind> {
        serde_json::from_value(self.body["failure"]["kind"].clone()).ok()
    }

    /// Returns a member of the body; null where the body has none of that name.
    pub(super) fn member(&self, name: &str) -> &Value {
        &self.body[name]
    }

    /// Returns what was refused, and why, in one line.
    pub(super) fn message(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    /// Returns the status code.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the body as text: the message, what is wrong with the runbook and where, and the remedy.
    pub(super) fn as_text(&self) -> String {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let message = text(&self.body["error"]).or_else(|| text(&self.body["message"]));
        let mut lines = vec![message.unwrap_or_else(|| self.status.to_string())];
        lines.extend(self.body["diagnostics"].as_array().into_iter().flatten().map(|one| {
            format!(
                "{}:{}: {} {}",
                one["line"],
                one["column"],
                text(&one["code"]).unwrap_or_default(),
                text(&one["message"]).unwrap_or_default()
            )
        }));
        let hint = text(&self.body["hint"]).or_else(|| text(&self.body["failure"]["hint"]));
        lines.extend(hint.map(|hint| format!("hint: {hint}")));
        lines.join("\n")
    }

    /// Another run holds the lock: which, and what can be done about it.
    fn busy(run: &str, state: &str, failure: &Failure, next_actions: &[&str]) -> Self {
        let next_actions: Vec<String> =
            next_actions.iter().map(|action| format!("POST /runs/{run}/{action}")).collect();
        Self {
            status: status_of(failure.kind),
            body: json!({
                "status": "busy",
                "message": failure.message,
                "hint": failure.hint,
                "run": run,
                "state": state,
                "choices": next_actions,
            }),
            challenge: None,
        }
    }

    /// Returns a response for a GET that would repeat a run that has just succeeded.
    pub(super) fn repeated(earlier: &RunHead, guard: Duration) -> Self {
        let (run, runbook) = (&earlier.run, &earlier.runbook);
        let ended =
            earlier.ended_at.map_or_else(String::new, |end| format!(" at {}", timestamp(end)));
        let guard = runbook::Duration::from(guard);
        let message = format!(
            "{runbook} succeeded here{ended} as run {run}: a GET does not start it again within {guard}"
        );
        let hint = format!(
            "to run it again, send POST /run?runbook={runbook}, or GET /run?runbook={runbook}&again=true"
        );
        let failure = Failure::new(FailureKind::Conflict, message).with_hint(Some(hint));
        let mut error = Self::from(failure);
        error.body["run"] = json!(run);
        error
    }

    /// Returns a response for a run that would change something while no change window is open.
    pub(super) fn outside_window(runbook: &str, outside: &OutsideWindow) -> Self {
        let message = format!("{runbook} changes something, and {outside}");
        let hint =
            "wait until then, or add `outside_window=REASON` to the query, which is recorded";
        let failure = Failure::new(FailureKind::Conflict, message).with_hint(Some(hint));
        let mut error = Self::from(failure);
        error.body["change_window"] = json!({"open": false, "opens": outside.opens});
        error
    }

    /// Returns a response for a run against which findings of its plan speak.
    pub(super) fn refused_by_findings(failure: Failure, findings: &[&Finding]) -> Self {
        let mut error = Self::from(failure);
        error.status = StatusCode::CONFLICT;
        error.body["findings"] = json!(findings);
        error
    }

    /// Returns whether the request only has to wait until a change window opens; false where none ever does, none where
    /// it was not refused for this.
    pub(super) fn waits_for_window(&self) -> Option<bool> {
        self.body.get("change_window").map(|window| !window["opens"].is_null())
    }

    /// Returns a response for a request that cannot be run, with everything that is wrong with it.
    fn invalid(message: &str, diagnostics: Value) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            body: json!({"status": "invalid", "error": message, "diagnostics": diagnostics}),
            challenge: None,
        }
    }
}

/// Returns the status of a kind of failure. Whatever a platform does wrong is a bad gateway.
fn status_of(kind: FailureKind) -> StatusCode {
    match kind {
        FailureKind::Usage => StatusCode::BAD_REQUEST,
        FailureKind::InvalidRunbook | FailureKind::InvalidInputs => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        FailureKind::RunbookNotFound | FailureKind::RunNotFound => StatusCode::NOT_FOUND,
        FailureKind::Conflict => StatusCode::CONFLICT,
        FailureKind::Store | FailureKind::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
        FailureKind::Denied
        | FailureKind::NotFound
        | FailureKind::Invalid
        | FailureKind::Busy
        | FailureKind::Transient
        | FailureKind::Unreachable
        | FailureKind::Precondition
        | FailureKind::Unrecoverable
        | FailureKind::TimedOut
        | FailureKind::Template => StatusCode::BAD_GATEWAY,
        FailureKind::Internal | FailureKind::Other => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Returns the response of a handler that panicked. The cause is in the log.
pub(super) fn panic_response(cause: Box<dyn Any + Send>) -> Response {
    let cause = cause.downcast_ref::<&str>().copied().unwrap_or("panic with a non-string payload");
    tracing::error!(cause, "a handler panicked");
    let failure = Failure::new(FailureKind::Internal, "internal error; see the server log");
    ApiError::from(failure).into_response()
}

impl ApiError {
    /// Adds the members of RFC 9457 to the body. Its `status` is not the number of that standard: it is the word of the
    /// Go service, so the body stays `application/json`.
    fn describe(&mut self) {
        let reason = self.status.canonical_reason().unwrap_or("Error");
        let kind = self.kind().map(|kind| json!(kind));
        let kind = kind.as_ref().and_then(Value::as_str);
        let problem =
            kind.map_or_else(|| "about:blank".into(), |kind| format!("urn:rafay-relay-sop:{kind}"));
        let (detail, hint) = (self.message().to_owned(), self.body["failure"]["hint"].clone());
        let message = self.body["message"].as_str().map(str::to_owned);
        self.body["type"] = json!(problem);
        self.body["title"] =
            json!(kind.map_or_else(|| reason.to_owned(), |kind| kind.replace('_', " ")));
        self.body["detail"] = json!(message.filter(|_| detail.is_empty()).unwrap_or(detail));
        // Where a person finds it, whatever the kind of refusal.
        if self.body.get("hint").is_none() && !hint.is_null() {
            self.body["hint"] = hint;
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(mut self) -> Response {
        self.describe();
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        // The rest of the body is not read, so the connection ends here: a client that is not told sends the next
        // request into it.
        if matches!(self.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let mut error = Self::new(status_of(failure.kind), &failure.message);
        error.body["failure"] = json!(failure);
        error
    }
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        let failure = Failure::from(&error);
        match &error {
            StartError::InvalidRunbook { source_text, diagnostics } => {
                Self::invalid(&failure.message, render::json(source_text, diagnostics))
            }
            StartError::Inputs(errors) => {
                let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Self::invalid(&failure.message, json!({ "inputs": each }))
            }
            StartError::Unfinished { run, state, .. } => {
                let next_actions: &[&str] = if state.is_active() {
                    &["cancel"]
                } else {
                    &["resume", "rollback", "abandon"]
                };
                Self::busy(run.as_str(), state.as_str(), &failure, next_actions)
            }
            _ => failure.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Failure::from(&error).into()
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        let message = error.to_string();
        let kind = match error {
            LookupError::NotFound { .. } => FailureKind::RunbookNotFound,
            LookupError::InvalidName(_) => FailureKind::Usage,
            LookupError::UnusableDir { .. } | LookupError::ReadFailed { .. } => FailureKind::Store,
            LookupError::NotUtf8 { .. } => return Self::invalid(&message, json!([])),
        };
        Failure::new(kind, message).with_hint(error.hint()).into()
    }
}
