//! The way of every call through the simulator: it is named, meets its fault if there is one, is
//! answered by the service it is for, and is entered in the record. Knows no service.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::Response;
use axum::{Router, routing};

use crate::clock::Clock;

use super::authorize::Policy;
use super::faults::{Effect, Faults};
use super::record::{Operation, Record};
use super::wire::Wire;

/// The header by which the simulated instances (kubelets, the cloud's controllers) are told from
/// clients: what they do is the world's doing, so it is not recorded and meets no faults.
pub(crate) const INSIDER: HeaderName = HeaderName::from_static("x-simulator-insider");

/// No request of a client of these APIs is larger (the Kubernetes API server's own limit is 3 MiB).
const LARGEST_BODY: usize = 8 << 20;

/// After how long a stream breaks whose connection a fault drops "after the call": long enough for
/// the first events to arrive.
const STREAM_BEFORE_DROP: Duration = Duration::from_millis(200);

/// What all services share.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) clock: Clock,
    pub(crate) record: Record,
    pub(crate) faults: Faults,
    pub(crate) policy: Option<Policy>,
}

impl Front {
    pub(crate) fn new(clock: Clock, policy: Option<Policy>) -> Self {
        Self { clock, record: Record::default(), faults: Faults::default(), policy }
    }
}

/// A request that has been read whole.
pub(crate) struct Incoming {
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
    pub(crate) wire: Wire,
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

/// An answer on its way.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Body,
    /// Whether the call altered the state of the world.
    pub(crate) effective: bool,
    /// Whether the body goes on for as long as the client likes.
    pub(crate) stream: bool,
}

impl Answer {
    pub(crate) fn new(status: StatusCode, content_type: &str, body: impl Into<Body>) -> Self {
        Self {
            status,
            headers: vec![(header::CONTENT_TYPE, content_type.to_owned())],
            body: body.into(),
            effective: false,
            stream: false,
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

/// A service that is reached through the front.
pub(crate) trait Service: Send + Sync + 'static {
    /// Names the call.
    fn describe(&self, incoming: &Incoming) -> Operation;

    /// Does what the call asks for.
    fn answer(&self, incoming: Incoming) -> impl Future<Output = Answer> + Send;

    /// Refuses the call in the form that its protocol has for errors.
    fn refuse(&self, incoming: &Incoming, status: StatusCode, code: &str, message: &str) -> Answer;

    /// Refuses the call because the client may not make it.
    fn forbid(&self, incoming: &Incoming, why: &str) -> Answer;

    /// Refuses the call because there were too many.
    fn throttle(&self, incoming: &Incoming) -> Answer;
}

/// A router that sends every request through the front to `service`.
pub(crate) fn router<S: Service>(front: Arc<Front>, service: Arc<S>) -> Router {
    Router::new().fallback(routing::any(
        move |ConnectInfo(wire): ConnectInfo<Wire>, request: Request| {
            let (front, service) = (Arc::clone(&front), Arc::clone(&service));
            async move { Ok::<_, Infallible>(attend(&front, &*service, wire, request).await) }
        },
    ))
}

async fn attend<S: Service>(front: &Front, service: &S, wire: Wire, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let incoming = match axum::body::to_bytes(body, LARGEST_BODY).await {
        Ok(body) => Incoming { parts, body, wire },
        Err(_) => return plain(StatusCode::PAYLOAD_TOO_LARGE),
    };
    if incoming.parts.headers.contains_key(INSIDER) {
        return service.answer(incoming).await.into_response();
    }
    let operation = service.describe(&incoming);
    let number = front.record.begin(&operation);
    let policy = front.policy.as_ref();
    if let Some(why) = policy.and_then(|policy| policy.check(&operation.need).err()) {
        let answer = service.forbid(&incoming, &why);
        front.record.finish(number, answer.status.as_u16(), false);
        return answer.into_response();
    }
    let wire = incoming.wire.clone();
    let effect = front.faults.meet(&operation.name);
    let dropped = matches!(effect, Some(Effect::Drop { .. }));
    let answer = match effect {
        Some(Effect::Drop { before: true }) => {
            wire.cut();
            return plain(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Some(Effect::Fail { status, code, message }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            service.refuse(&incoming, status, &code, &message)
        }
        Some(Effect::Throttle) => service.throttle(&incoming),
        Some(Effect::Delay { by }) => {
            front.clock.sleep(by).await;
            service.answer(incoming).await
        }
        Some(Effect::Drop { before: false }) | None => service.answer(incoming).await,
    };
    front.record.finish(number, answer.status.as_u16(), answer.effective);
    if dropped && answer.stream {
        tokio::spawn(async move {
            tokio::time::sleep(STREAM_BEFORE_DROP).await;
            wire.cut();
        });
    } else if dropped {
        wire.cut();
    }
    answer.into_response()
}

fn plain(status: StatusCode) -> Response {
    Answer::new(status, "text/plain", status.to_string()).into_response()
}
