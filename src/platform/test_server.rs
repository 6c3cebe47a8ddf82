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
pub(super) struct Asked {
    /// How many came before it.
    pub number: usize,
    /// `GET /api/v1/nodes?limit=500`
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What comes back.
pub(super) enum Answer {
    Json(u16, Json),
    Text(u16, String),
    /// Lines of JSON, and then the end of the stream, or silence.
    Watch {
        lines: Vec<Json>,
        ends: bool,
    },
    /// An answer that takes its time.
    After(Duration, Box<Answer>),
}

pub(super) struct Server {
    pub url: url::Url,
    asked: Arc<Mutex<Vec<Asked>>>,
    serving: JoinHandle<()>,
}

impl Server {
    pub async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let notes = Arc::clone(&asked);
        let answer = Arc::new(answer);
        let app = Router::new().fallback(move |request: Request| {
            let (notes, answer) = (Arc::clone(&notes), Arc::clone(&answer));
            async move {
                let request = note(request, &notes).await;
                respond(answer(&request)).await
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url: url.parse().unwrap(), asked, serving }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn note(request: Request, notes: &Mutex<Vec<Asked>>) -> Asked {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.to_string(), value.into_owned())
    });
    let mut notes = notes.lock().unwrap();
    let asked = Asked {
        number: notes.len(),
        line: format!("{} {}", parts.method, parts.uri),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    notes.push(asked.clone());
    asked
}

async fn respond(mut answer: Answer) -> Response<Body> {
    while let Answer::After(pause, then) = answer {
        tokio::time::sleep(pause).await;
        answer = *then;
    }
    let (status, body) = match answer {
        Answer::Json(status, json) => (status, Body::from(json.to_string())),
        Answer::Text(status, text) => (status, Body::from(text)),
        Answer::Watch { lines, ends } => (200, stream(lines, ends)),
        Answer::After(..) => unreachable!("unwrapped above"),
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
