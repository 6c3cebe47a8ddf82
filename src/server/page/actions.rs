//! The forms of the page of a run: each calls the same function of the service as the JSON interface, and leads back to
//! the page of the run. What was refused is said there, with what was typed.

use std::collections::BTreeMap;

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use serde_json::Map;

use super::{
    caches::Caches,
    fields::Typed,
    forms::Form,
    login::is_signed_in,
    render,
    run_page::{self, Refused},
    run_view::RefusedAnswer,
};
use crate::{
    engine::{AnswerRequest, ResumeRequest, Verdict},
    journal::{FailureKind, ResumeMode, StepPath},
    server::{Service, auth::Actor, body::RequestBody, error::ApiError, routes},
};

/// `POST /page/runs/{id}/cancel`.
pub(super) async fn cancel(
    State(service): State<Service>,
    Extension(caches): Extension<Caches>,
    Actor(actor): Actor,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let done = async { service.cancel(&routes::parse_run_id(&id)?, &actor).await };
    done_or_refused(done.await, &service, &caches, &headers, &id).await
}

/// `POST /page/runs/{id}/resume`.
pub(super) async fn resume(
    State(service): State<Service>,
    Extension(caches): Extension<Caches>,
    Actor(actor): Actor,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let done = continue_run(&service, &id, ResumeMode::Continue, &actor).await;
    done_or_refused(done, &service, &caches, &headers, &id).await
}

/// `POST /page/runs/{id}/rollback`.
pub(super) async fn rollback(
    State(service): State<Service>,
    Extension(caches): Extension<Caches>,
    Actor(actor): Actor,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let done = continue_run(&service, &id, ResumeMode::Rollback, &actor).await;
    done_or_refused(done, &service, &caches, &headers, &id).await
}

async fn continue_run(
    service: &Service,
    id: &str,
    mode: ResumeMode,
    actor: &str,
) -> Result<(), ApiError> {
    let id = routes::parse_run_id(id)?;
    service.resume(&id, ResumeRequest::from(mode), None, actor).await.map(drop)
}

/// `POST /page/runs/{id}/abandon`.
pub(super) async fn abandon(
    State(service): State<Service>,
    Extension(caches): Extension<Caches>,
    Actor(actor): Actor,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let done = async { service.abandon(&routes::parse_run_id(&id)?, &actor).await };
    done_or_refused(done.await, &service, &caches, &headers, &id).await
}

/// `POST /page/runs/{id}/approve`.
pub(super) async fn approve(
    State(service): State<Service>,
    Extension(caches): Extension<Caches>,
    Actor(actor): Actor,
    headers: HeaderMap,
    Path(id): Path<String>,
    RequestBody(body): RequestBody,
) -> Response {
    let form = Form::read(&body);
    let answers = form.inputs().into_iter().filter(|(_, text)| !text.trim().is_empty());
    let texts: BTreeMap<String, String> = answers.collect();
    let note = form.text("note").map(str::to_owned);
    let verdict = Verdict::Approve { answers: Map::new(), texts, note };
    let answered = answer(&service, &id, &form, &actor, verdict).await;
    answered_or_refused(answered, &form, &service, &caches, &headers, &id).await
}

/// `POST /page/runs/{id}/reject`.
pub(super) async fn reject(
    State(service): State<Service>,
    Extension(caches): Extension<Caches>,
    Actor(actor): Actor,
    headers: HeaderMap,
    Path(id): Path<String>,
    RequestBody(body): RequestBody,
) -> Response {
    let form = Form::read(&body);
    let answered = match form.text("reason") {
        Some(reason) => {
            let verdict = Verdict::Reject { reason: reason.to_owned() };
            answer(&service, &id, &form, &actor, verdict).await
        }
        None => Err(render::refused(FailureKind::Usage, "a rejection needs a reason")),
    };
    answered_or_refused(answered, &form, &service, &caches, &headers, &id).await
}

async fn answer(
    service: &Service,
    id: &str,
    form: &Form,
    actor: &str,
    verdict: Verdict,
) -> Result<(), ApiError> {
    let id = routes::parse_run_id(id)?;
    let step = form.text("step").map(str::parse::<StepPath>).transpose();
    let step = step.map_err(|error| ApiError::bad_request(&error.to_string()))?;
    let request = AnswerRequest { step, actor: actor.to_owned(), verdict };
    service.answer(&id, request).await.map(drop)
}

async fn answered_or_refused(
    answered: Result<(), ApiError>,
    form: &Form,
    service: &Service,
    caches: &Caches,
    headers: &HeaderMap,
    id: &str,
) -> Response {
    let Err(error) = answered else { return back_to(id) };
    let texts = |name: &str| form.text(name).unwrap_or_default().to_owned();
    let answer = RefusedAnswer {
        path: texts("step"),
        typed: Typed { texts: form.inputs(), ..Typed::default() },
        note: texts("note"),
        reason: texts("reason"),
        error: message(&error),
    };
    // Where the approval is not open any more, the page has no form to say it at.
    let refused =
        Refused { status: error.status(), error: Some(message(&error)), answer: Some(answer) };
    run_page::page(service, caches, id, is_signed_in(headers), false, refused).await
}

async fn done_or_refused(
    done: Result<(), ApiError>,
    service: &Service,
    caches: &Caches,
    headers: &HeaderMap,
    id: &str,
) -> Response {
    let Err(error) = done else { return back_to(id) };
    let refused = Refused { status: error.status(), error: Some(message(&error)), answer: None };
    run_page::page(service, caches, id, is_signed_in(headers), false, refused).await
}

/// Leads back to the page of the run. Its id was read before, so it needs no escape.
fn back_to(id: &str) -> Response {
    Redirect::to(&format!("/runs/{id}")).into_response()
}

fn message(error: &ApiError) -> String {
    match render::message_and_hint(error) {
        (message, Some(hint)) => format!("{message}; {hint}"),
        (message, None) => message,
    }
}
