//! Answers that are not the good ones: a status code and a JSON body that says what to do.

use std::any::Any;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{engine::StartError, journal::StoreError, runbook_dir::LookupError};
use runbook::render;

/// A refused request.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: Value,
}

impl ApiError {
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
    pub(super) fn busy(run: &str, state: &str, message: &str, next_actions: &[&str]) -> Self {
        let next_actions: Vec<String> =
            next_actions.iter().map(|action| format!("POST /runs/{run}/{action}")).collect();
        Self {
            status: StatusCode::CONFLICT,
            body: json!({
                "status": "busy",
                "message": message,
                "run": run,
                "state": state,
                "choices": next_actions,
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
pub(super) fn panic_response(cause: Box<dyn Any + Send>) -> Response {
    let cause = cause.downcast_ref::<&str>().copied().unwrap_or("a panic without words");
    tracing::error!(cause, "a handler panicked");
    let message = "this is a fault of the service; its log has more";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
}

impl IntoResponse for ApiError {
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

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        let message = error.to_string();
        match &error {
            StartError::Invalid { source_text, findings } => {
                Self::invalid(&message, render::json(source_text, findings))
            }
            StartError::Inputs(errors) => {
                let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Self::invalid(&message, json!({ "inputs": each }))
            }
            StartError::Unfinished { run, state, .. } => {
                let next_actions = ["resume", "rollback", "abandon"];
                Self::busy(run.as_str(), state.as_str(), &message, &next_actions)
            }
            StartError::AlreadyFinished { .. } => Self::conflict(&message),
            StartError::RevisionMismatch { .. } | StartError::TargetMismatch(_) => {
                Self::conflict(&message)
            }
            StartError::Platform(_) | StartError::PreviewFailed { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, &message)
            }
            StartError::Store(StoreError::NoSuchRun { .. }) => Self::not_found(&message),
            StartError::Store(_) => Self::unavailable(&message),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        StartError::from(error).into()
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        let message = error.to_string();
        match error {
            LookupError::NotFound { .. } => Self::not_found(&message),
            LookupError::InvalidName(_) => Self::bad_request(&message),
            LookupError::ReadFailed { .. } => Self::unavailable(&message),
            LookupError::NotUtf8 { .. } => Self::invalid(&message, json!([])),
        }
    }
}
