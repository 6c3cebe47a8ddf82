//! The body of a request, which must arrive in time.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::StatusCode,
};

use super::{Service, connections::Activity, error::ApiError};

/// The whole body. While the service waits for it, the connection counts as idle.
pub(super) struct RequestBody(pub(super) Bytes);

impl FromRequest<Service> for RequestBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, service: &Service) -> Result<Self, ApiError> {
        let limit = service.limits().body_timeout;
        let activity = request.extensions().get::<Activity>().cloned();
        let waiting = activity.as_ref().map(Activity::wait_for_client);
        let body = tokio::time::timeout(limit, Bytes::from_request(request, service)).await;
        drop(waiting);
        match body {
            Ok(Ok(body)) => Ok(Self(body)),
            Ok(Err(error)) => Err(ApiError::new(error.status(), &error.body_text())),
            Err(_) => {
                let message = format!("the body did not arrive within {} s", limit.as_secs_f64());
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, &message))
            }
        }
    }
}
