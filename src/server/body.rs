//! The body of a request, which must arrive in time. It is received before the request counts as one that is being
//! answered: a client that sends slowly takes nothing from those that have sent.

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::{FromRequest, FromRequestParts, Request, State},
    http::{StatusCode, request::Parts},
    middleware::{self, Next},
    response::Response,
    routing::MethodRouter,
};

use super::{Service, connections::Activity, error::ApiError};

/// The whole body, for a handler of a route that is [`receiving`].
pub(super) struct RequestBody(pub(super) Bytes);

/// The body that the layer leaves to the handler.
#[derive(Clone)]
struct Received(Bytes);

/// Receives the body before anything else of the route is done. This is the outermost layer of a route.
pub(super) fn receiving(route: MethodRouter<Service>, service: &Service) -> MethodRouter<Service> {
    route.route_layer(middleware::from_fn_with_state(service.clone(), receive))
}

/// While the service waits for the body, the connection counts as idle.
async fn receive(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let bytes = match body.is_end_stream() {
        true => Bytes::new(),
        // The parts have the limit of the body's size.
        false => wait_for(Request::from_parts(parts.clone(), body), &service).await?,
    };
    parts.extensions.insert(Received(bytes));
    Ok(next.run(Request::from_parts(parts, Body::empty())).await)
}

async fn wait_for(request: Request, service: &Service) -> Result<Bytes, ApiError> {
    let limit = service.limits().body_timeout;
    let activity = request.extensions().get::<Activity>().cloned();
    let _receiving = activity.as_ref().map(Activity::receive_body);
    match tokio::time::timeout(limit, Bytes::from_request(request, service)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(ApiError::new(error.status(), &error.body_text())),
        Err(_) => {
            let message = format!("the body did not arrive within {} s", limit.as_secs_f64());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, &message))
        }
    }
}

impl FromRequestParts<Service> for RequestBody {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Service) -> Result<Self, ApiError> {
        // A route without the layer is a defect, which its first test finds.
        let Received(body) = parts.extensions.remove().ok_or_else(ApiError::unfinished)?;
        Ok(Self(body))
    }
}
