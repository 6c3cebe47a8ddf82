//! The path of every call through the simulator: the call is named, an injected fault is applied to
//! it if there is one, its service answers it, and it is added to the call log. Knows no service.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::Response;
use axum::{Router, routing};

use clock::Clock;

use super::authorize::AccessPolicy;
use super::call_log::{CallInfo, CallLog};
use super::connection::ConnectionHandle;
use super::faults::{Effect, FaultInjector};

/// The header that distinguishes the simulated instances (kubelets, the cloud's controllers) from
/// clients. Their calls are not recorded and no fault is applied to them.
pub(crate) const INTERNAL_CLIENT: HeaderName = HeaderName::from_static("x-simulator-insider");

/// The largest request body (the Kubernetes API server's own limit is 3 MiB).
const MAX_BODY_SIZE: usize = 8 << 20;

/// The time after which a stream breaks whose connection a fault drops "after the call": long
/// enough for the first events to arrive.
const STREAM_DROP_DELAY: Duration = Duration::from_millis(200);

/// The state that all services share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) clock: Clock,
    pub(crate) calls: CallLog,
    pub(crate) faults: FaultInjector,
    pub(crate) policy: Option<AccessPolicy>,
}

impl Gateway {
    pub(crate) fn new(clock: Clock, policy: Option<AccessPolicy>) -> Self {
        Self { clock, calls: CallLog::new(clock), faults: FaultInjector::default(), policy }
    }
}

/// A request whose body has been read completely.
pub(crate) struct Incoming {
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
    pub(crate) connection: ConnectionHandle,
}

impl Incoming {
    pub(crate) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    pub(crate) fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: HeaderName) -> &str {
        let value = self.parts.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The response of a service.
pub(crate) struct ServiceResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Body,
    /// Whether the call changed the state of the cluster or the account.
    pub(crate) effective: bool,
    /// Whether the body is a stream that lasts until the client closes it.
    pub(crate) is_stream: bool,
}

impl ServiceResponse {
    pub(crate) fn new(status: StatusCode, content_type: &str, body: impl Into<Body>) -> Self {
        Self {
            status,
            headers: vec![(header::CONTENT_TYPE, content_type.to_owned())],
            body: body.into(),
            effective: false,
            is_stream: false,
        }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn effective(mut self, effective: bool) -> Self {
        self.effective = effective;
        self
    }

    fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// A service behind the gateway.
pub(crate) trait SimulatedService: Send + Sync + 'static {
    /// Names the call.
    fn describe(&self, incoming: &Incoming) -> CallInfo;

    /// Performs the call.
    fn respond(&self, incoming: Incoming) -> impl Future<Output = ServiceResponse> + Send;

    /// Rejects the call with an error in the format of its protocol.
    fn error_response(
        &self,
        incoming: &Incoming,
        status: StatusCode,
        code: &str,
        message: &str,
    ) -> ServiceResponse;

    /// Rejects the call because the client may not make it.
    fn forbidden_response(&self, incoming: &Incoming, why: &str) -> ServiceResponse;

    /// Rejects the call because there were too many.
    fn throttled_response(&self, incoming: &Incoming) -> ServiceResponse;
}

/// Returns a router that sends every request through the gateway to `service`.
pub(crate) fn router<S: SimulatedService>(gateway: Arc<Gateway>, service: Arc<S>) -> Router {
    Router::new().fallback(routing::any(
        move |ConnectInfo(connection): ConnectInfo<ConnectionHandle>, request: Request| {
            let (gateway, service) = (Arc::clone(&gateway), Arc::clone(&service));
            async move { Ok::<_, Infallible>(handle(&gateway, &*service, connection, request).await) }
        },
    ))
}

async fn handle<S: SimulatedService>(
    gateway: &Gateway,
    service: &S,
    connection: ConnectionHandle,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let incoming = match axum::body::to_bytes(body, MAX_BODY_SIZE).await {
        Ok(body) => Incoming { parts, body, connection },
        Err(_) => return plain_response(StatusCode::PAYLOAD_TOO_LARGE),
    };
    if incoming.parts.headers.contains_key(INTERNAL_CLIENT) {
        return service.respond(incoming).await.into_response();
    }
    let operation = service.describe(&incoming);
    let number = gateway.calls.begin(&operation);
    let policy = gateway.policy.as_ref();
    if let Some(why) = policy.and_then(|policy| policy.check(&operation.permission).err()) {
        let response = service.forbidden_response(&incoming, &why);
        gateway.calls.finish(number, response.status.as_u16(), false);
        return response.into_response();
    }
    let connection = incoming.connection.clone();
    let effect = gateway.faults.take(&operation.name);
    let dropped = matches!(effect, Some(Effect::Drop { .. }));
    let response = match effect {
        Some(Effect::Drop { before: true }) => {
            connection.abort();
            return plain_response(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Some(Effect::Fail { status, code, message }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            service.error_response(&incoming, status, &code, &message)
        }
        Some(Effect::Throttle) => service.throttled_response(&incoming),
        Some(Effect::Delay { by }) => {
            gateway.clock.sleep(by).await;
            service.respond(incoming).await
        }
        Some(Effect::Drop { before: false }) | None => service.respond(incoming).await,
    };
    gateway.calls.finish(number, response.status.as_u16(), response.effective);
    if dropped && response.is_stream {
        tokio::spawn(async move {
            tokio::time::sleep(STREAM_DROP_DELAY).await;
            connection.abort();
        });
    } else if dropped {
        connection.abort();
    }
    response.into_response()
}

fn plain_response(status: StatusCode) -> Response {
    ServiceResponse::new(status, "text/plain", status.to_string()).into_response()
}
