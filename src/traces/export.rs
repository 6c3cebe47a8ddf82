//! Sends spans in batches. Runs never wait for it: what does not fit into the queue, or is not taken by its receiver in
//! time, is dropped and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{http::HttpConnector as _, orchestrator::HttpRequest};
use aws_smithy_types::body::SdkBody;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Traces,
    otlp::{self, Span},
    settings::Settings,
};
use clock::Backoff;

/// How many spans wait to be sent. A run over 300 nodes has some thousand calls.
const QUEUE: usize = 8192;
/// How many spans a request has, and how long one waits for others.
const BATCH: usize = 512;
const BATCH_TIME: Duration = Duration::from_secs(2);
/// How long a request may take, and how often it is made.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const ATTEMPTS: usize = 4;
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));

/// The way to the exporter.
#[derive(Clone)]
pub(super) struct Queue {
    sender: mpsc::Sender<Item>,
    dropped: Arc<AtomicU64>,
}

enum Item {
    Span(Box<Span>),
    /// Everything before this is to be sent now.
    Flush(oneshot::Sender<()>),
}

impl Queue {
    /// Sends a span when there is time for it.
    pub(super) fn send(&self, span: Span) {
        if self.sender.try_send(Item::Span(Box::new(span))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The task that sends spans.
pub struct Exporter {
    queue: Queue,
}

impl Exporter {
    /// Starts to send, on the runtime on which this is called.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(settings: Settings) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let dropped = Arc::default();
        let queue = Queue { sender, dropped: Arc::clone(&dropped) };
        let connector =
            Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring)).build();
        let sending = Sending { settings, connector, receiver, dropped, backoff: BACKOFF };
        tokio::spawn(sending.send_all());
        Self { queue }
    }

    /// Returns the observer whose spans are sent.
    pub fn traces(&self) -> Traces {
        Traces::new(self.queue.clone())
    }

    /// Sends what is waiting, for as long as `limit`.
    pub async fn flush(&self, limit: Duration) {
        let (sent, is_sent) = oneshot::channel();
        let flushing = async {
            if self.queue.sender.send(Item::Flush(sent)).await.is_ok() {
                // The task may have ended with its runtime.
                let _ = is_sent.await;
            }
        };
        if timeout(limit, flushing).await.is_err() {
            tracing::warn!("spans were not sent in time");
        }
    }
}

struct Sending {
    settings: Settings,
    connector: Connector,
    receiver: mpsc::Receiver<Item>,
    dropped: Arc<AtomicU64>,
    backoff: Backoff,
}

impl Sending {
    async fn send_all(mut self) {
        let mut spans = Vec::new();
        while let Some(first) = self.receiver.recv().await {
            let until = Instant::now() + BATCH_TIME;
            let mut next = Some(first);
            let mut flushed = None;
            while let Some(item) = next {
                match item {
                    Item::Span(span) => spans.push(*span),
                    Item::Flush(sent) => {
                        flushed = Some(sent);
                        break;
                    }
                }
                if spans.len() >= BATCH {
                    break;
                }
                next = timeout_at(until, self.receiver.recv()).await.ok().flatten();
            }
            self.send_batch(&spans).await;
            spans.clear();
            // Who asked may have given up.
            flushed.map(|sent| sent.send(()));
        }
    }

    /// Sends a batch, with several attempts where the receiver may take it later.
    async fn send_batch(&self, spans: &[Span]) {
        if spans.is_empty() {
            return;
        }
        let body = otlp::request(&self.settings.resource, spans);
        let mut delays = self.backoff.delays();
        let mut problem = String::new();
        for attempt in 1..=ATTEMPTS {
            match timeout(REQUEST_TIMEOUT, self.post(body.clone())).await {
                Ok(Ok(200..=299)) => return self.report_dropped(),
                Ok(Ok(status @ (408 | 429 | 500..=599))) => problem = format!("status {status}"),
                Ok(Ok(status)) => {
                    problem = format!("status {status}");
                    break;
                }
                Ok(Err(error)) => problem = error,
                Err(_) => problem = "no response in time".into(),
            }
            if attempt < ATTEMPTS {
                sleep(delays.next_delay()).await;
            }
        }
        // The host alone: an address may have a token in it.
        let host = self.settings.url.host_str().unwrap_or_default();
        tracing::warn!(host, problem, spans = spans.len(), "spans were dropped");
    }

    fn report_dropped(&self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(spans = dropped, "spans were dropped: there were too many at once");
        }
    }

    /// Returns the status of the response.
    async fn post(&self, body: Vec<u8>) -> Result<u16, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST").map_err(|error| text(&error))?;
        request.set_uri(self.settings.url.as_str()).map_err(|error| text(&error))?;
        request.headers_mut().insert("content-type", "application/x-protobuf");
        request.headers_mut().insert("user-agent", env!("CARGO_PKG_NAME"));
        for (name, value) in &self.settings.headers {
            let inserted = request.headers_mut().try_insert(name.clone(), value.clone());
            inserted.map_err(|_| format!("{name} is not a valid header"))?;
        }
        let response = self.connector.call(request).await.map_err(|error| text(&error))?;
        Ok(response.status().as_u16())
    }
}
