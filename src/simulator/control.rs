//! The simulator's own surface over HTTP, for processes that did not start it: the call record, the
//! faults, the facts. It stands beside the AWS services on their port, under `/simulator/`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Json, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use kube::Client;
use serde::Deserialize;
use serde_json::json;

use super::aws::Cloud;
use super::faults::Fault;
use super::front::Front;
use super::kubernetes::api::{ApiServer, lock};
use super::record::Call;
use super::state;

/// What the surface shows and changes.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) front: Arc<Front>,
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) client: Client,
    /// The built-in API server, unless a real one is driven.
    pub(crate) api: Option<Arc<ApiServer>>,
}

/// The routes under `/simulator/`.
pub(crate) fn router(control: Control) -> Router {
    Router::new()
        .route("/simulator/calls", get(calls).delete(forget_calls))
        .route("/simulator/faults", post(inject).delete(forget_faults))
        .route("/simulator/state", get(facts))
        .route("/simulator/compact", post(compact))
        .with_state(control)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Fault),
    More(Vec<Fault>),
}

async fn calls(Shared(control): Shared<Control>) -> Json<Vec<Call>> {
    Json(control.front.record.calls())
}

async fn forget_calls(Shared(control): Shared<Control>) -> StatusCode {
    control.front.record.clear();
    StatusCode::NO_CONTENT
}

async fn inject(Shared(control): Shared<Control>, Json(faults): Json<OneOrMore>) -> StatusCode {
    let faults = match faults {
        OneOrMore::One(fault) => vec![fault],
        OneOrMore::More(faults) => faults,
    };
    for fault in faults {
        control.front.faults.inject(fault);
    }
    StatusCode::NO_CONTENT
}

async fn forget_faults(Shared(control): Shared<Control>) -> StatusCode {
    control.front.faults.clear();
    StatusCode::NO_CONTENT
}

async fn facts(Shared(control): Shared<Control>) -> Response {
    match state::read(&control.cloud, &control.client).await {
        Ok(state) => Json(state).into_response(),
        Err(error) => {
            let body = Json(json!({"message": error.to_string()}));
            (StatusCode::BAD_GATEWAY, body).into_response()
        }
    }
}

/// Forgets the past of the built-in API server, so that a watch or a list from before gets 410.
async fn compact(Shared(control): Shared<Control>) -> StatusCode {
    match &control.api {
        Some(api) => {
            lock(&api.store).compact();
            StatusCode::NO_CONTENT
        }
        None => StatusCode::CONFLICT,
    }
}
