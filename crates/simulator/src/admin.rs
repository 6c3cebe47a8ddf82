//! The simulator's admin API over HTTP, for processes that did not start the simulator: the call
//! log, the faults, the facts. It is served on the port of the AWS services, under `/simulator/`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use kube::Client;
use serde::Deserialize;
use serde_json::json;

use super::aws::Cloud;
use super::call_log::RecordedCall;
use super::faults::Fault;
use super::gateway::Gateway;
use super::kubernetes::api::{ApiServer, lock_store};
use super::state;

/// The state of the admin API.
#[derive(Clone)]
pub(crate) struct AdminApi {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) client: Client,
    /// The built-in API server; `None` if a real one is used.
    pub(crate) api: Option<Arc<ApiServer>>,
}

/// Returns the routes under `/simulator/`.
pub(crate) fn router(admin: AdminApi) -> Router {
    Router::new()
        .route("/simulator/calls", get(list_calls).delete(clear_calls))
        .route("/simulator/faults", post(inject_faults).delete(clear_faults))
        .route("/simulator/state", get(get_state))
        .route("/simulator/compact", post(compact))
        .with_state(admin)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Fault),
    Many(Vec<Fault>),
}

async fn list_calls(State(admin): State<AdminApi>) -> Json<Vec<RecordedCall>> {
    Json(admin.gateway.calls.list())
}

async fn clear_calls(State(admin): State<AdminApi>) -> StatusCode {
    admin.gateway.calls.clear();
    StatusCode::NO_CONTENT
}

async fn inject_faults(State(admin): State<AdminApi>, Json(faults): Json<OneOrMany>) -> StatusCode {
    let faults = match faults {
        OneOrMany::One(fault) => vec![fault],
        OneOrMany::Many(faults) => faults,
    };
    for fault in faults {
        admin.gateway.faults.inject(fault);
    }
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(admin): State<AdminApi>) -> StatusCode {
    admin.gateway.faults.clear();
    StatusCode::NO_CONTENT
}

async fn get_state(State(admin): State<AdminApi>) -> Response {
    match state::read(&admin.cloud, &admin.client).await {
        Ok(state) => Json(state).into_response(),
        Err(error) => {
            let body = Json(json!({"message": error.to_string()}));
            (StatusCode::BAD_GATEWAY, body).into_response()
        }
    }
}

/// Discards the built-in API server's history, so that a watch or a list from an earlier version
/// gets 410.
async fn compact(State(admin): State<AdminApi>) -> StatusCode {
    match &admin.api {
        Some(api) => {
            lock_store(&api.store).compact();
            StatusCode::NO_CONTENT
        }
        None => StatusCode::CONFLICT,
    }
}
