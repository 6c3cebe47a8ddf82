//! Answers that are not the good ones: a status code and a JSON body that says what to do.

use std::any::Any;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{engine::Refusal, journal::StoreError, runbook_dir::LookupError};
use runbook::render;

/// A refused request.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    body: Value,
}

impl Refused {
    /// An answer with that status; also what a layer or an extractor made of the request, in our form.
    pub(super) fn new(status: StatusCode, message: &str) -> Self {
        Self { status, body: json!({"status": "error", "error": message}) }
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(super) fn not_found(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn method_not_allowed(message: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message)
    }

    pub(super) fn conflict(message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(super) fn unavailable(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Another run is in the way: which, and what can be done about it.
    pub(super) fn busy(run: &str, state: &str, message: &str, choices: &[&str]) -> Self {
        let choices: Vec<String> =
            choices.iter().map(|choice| format!("POST /runs/{run}/{choice}")).collect();
        Self {
            status: StatusCode::CONFLICT,
            body: json!({
                "status": "busy",
                "message": message,
                "run": run,
                "state": state,
                "choices": choices,
            }),
        }
    }

    /// What was sent cannot be run, with everything that is wrong with it.
    fn invalid(message: &str, diagnostics: Value) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            body: json!({"status": "invalid", "error": message, "diagnostics": diagnostics}),
        }
    }
}

/// The answer of a handler that panicked. What it panicked with is in the log.
pub(super) fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let cause = cause.downcast_ref::<&str>().copied().unwrap_or("a panic without words");
    tracing::error!(cause, "a handler panicked");
    let message = "this is a fault of the service; its log has more";
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        // The rest of what was sent is not read, so the connection ends here: who is not told sends the next request
        // into it.
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match &refusal {
            Refusal::Invalid { source_text, findings } => {
                Self::invalid(&message, render::json(source_text, findings))
            }
            Refusal::Inputs(errors) => {
                let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Self::invalid(&message, json!({ "inputs": each }))
            }
            Refusal::Unfinished { run, state, .. } => {
                let choices = ["resume", "rollback", "abandon"];
                Self::busy(run.as_str(), state.as_str(), &message, &choices)
            }
            Refusal::Over { .. } => Self::conflict(&message),
            Refusal::OtherRevision { .. } | Refusal::OtherTarget(_) => Self::conflict(&message),
            Refusal::Platform(_) | Refusal::LookAhead { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, &message)
            }
            Refusal::Store(StoreError::NoSuchRun { .. }) => Self::not_found(&message),
            Refusal::Store(_) => Self::unavailable(&message),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<LookupError> for Refused {
    fn from(error: LookupError) -> Self {
        let message = error.to_string();
        match error {
            LookupError::Unknown { .. } => Self::not_found(&message),
            LookupError::NotAName(_) => Self::bad_request(&message),
            LookupError::Unreadable { .. } => Self::unavailable(&message),
            LookupError::NotText { .. } => Self::invalid(&message, json!([])),
        }
    }
}
