//! A server on loopback that answers as a test tells it, for the tests of the clients.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Response;
use futures::StreamExt;
use serde_json::Value as Json;
use tokio::task::JoinHandle;

/// A request, as it came.
#[derive(Debug, Clone)]
pub(super) struct RecordedRequest {
    /// How many came before it.
    pub number: usize,
    /// `GET /api/v1/nodes?limit=500`
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl RecordedRequest {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// The response.
pub(super) enum CannedResponse {
    Json(u16, Json),
    Text(u16, String),
    /// Lines of JSON, and then the end of the stream, or silence.
    Watch {
        lines: Vec<Json>,
        ends: bool,
    },
    /// An answer that takes its time.
    After(Duration, Box<CannedResponse>),
}

pub(super) struct TestServer {
    pub url: url::Url,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
    serving: JoinHandle<()>,
}

impl TestServer {
    pub async fn start(
        respond_with: impl Fn(&RecordedRequest) -> CannedResponse + Send + Sync + 'static,
    ) -> Self {
        let requests: Arc<Mutex<Vec<RecordedRequest>>> = Arc::default();
        let recorded = Arc::clone(&requests);
        let respond_with = Arc::new(respond_with);
        let app = Router::new().fallback(move |incoming: Request| {
            let (recorded, respond_with) = (Arc::clone(&recorded), Arc::clone(&respond_with));
            async move {
                let request = record_request(incoming, &recorded).await;
                respond(respond_with(&request)).await
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url: url.parse().unwrap(), requests, serving }
    }

    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn record_request(
    incoming: Request,
    recorded: &Mutex<Vec<RecordedRequest>>,
) -> RecordedRequest {
    let (parts, body) = incoming.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.to_string(), value.into_owned())
    });
    let mut recorded = recorded.lock().unwrap();
    let request = RecordedRequest {
        number: recorded.len(),
        line: format!("{} {}", parts.method, parts.uri),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    recorded.push(request.clone());
    request
}

async fn respond(mut response: CannedResponse) -> Response<Body> {
    while let CannedResponse::After(delay, then) = response {
        tokio::time::sleep(delay).await;
        response = *then;
    }
    let (status, body) = match response {
        CannedResponse::Json(status, json) => (status, Body::from(json.to_string())),
        CannedResponse::Text(status, text) => (status, Body::from(text)),
        CannedResponse::Watch { lines, ends } => (200, stream(lines, ends)),
        CannedResponse::After(..) => unreachable!("unwrapped above"),
    };
    let response = Response::builder().status(status);

    response.header("content-type", "application/json").body(body).unwrap()
}

fn stream(lines: Vec<Json>, ends: bool) -> Body {
    let lines =
        lines.into_iter().map(|line| Ok::<_, std::io::Error>(Bytes::from(format!("{line}\n"))));
    let lines = futures::stream::iter(lines);
    if ends {
        Body::from_stream(lines)
    } else {
        Body::from_stream(lines.chain(futures::stream::pending()))
    }
}
