//! The way of spans to their receiver. The SDK of OpenTelemetry collects them, sends them in batches and tries again.
//! Runs never wait for it: what does not fit into its queue, or is not taken by the receiver in time, is dropped and
//! logged.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector as _, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_smithy_types::body::SdkBody;
use http::{
    HeaderMap, Uri,
    header::{HeaderValue, USER_AGENT},
};
use http_body::Body as _;
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status as SpanStatus, TraceState},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter as _, SpanLinks,
        SpanProcessor as _,
    },
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Traces,
    settings::Settings,
    span::{Kind, Span, Status},
};
use crate::platform::error_chain;

/// Why the SDK of OpenTelemetry does not take the settings.
pub use opentelemetry_otlp::ExporterBuildError as ExporterError;

/// How many spans wait to be sent. A run over 300 nodes has some thousand calls.
const QUEUE: usize = 8192;
/// How many spans a request has, and how long one waits for others.
const BATCH: usize = 512;
const BATCH_TIME: Duration = Duration::from_secs(2);
/// How long one attempt to send a batch may take. The SDK does not limit it.
const ATTEMPT: Duration = Duration::from_secs(4);
/// How long after the start of its first attempt a batch may be sent again, and how often. The SDK sends again where no
/// response came, and where the status is 429, 502, 503 or 504. Its pauses double from the first one, or are as long as
/// `Retry-After` asks. A pause that would reach the deadline is not begun; an attempt goes on beyond it.
const DEADLINE: Duration = Duration::from_secs(20);
const RETRIES: usize = 3;
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(8);
/// The longest text of an attribute or a status. A message of a server can be long.
const MAX_TEXT: usize = 1024;
/// The longest part of a response that is read. The messages of the protocol are a few bytes long.
const MAX_RESPONSE: usize = 64 << 10;
/// The name of this program in the requests.
const PROGRAM: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// The thread that sends spans.
pub struct Exporter {
    processor: Arc<BatchSpanProcessor>,
}

impl Exporter {
    /// Starts to send.
    ///
    /// # Errors
    /// A setting is not one that the SDK takes.
    ///
    /// # Panics
    /// Outside a runtime: requests are sent on it.
    pub fn start(settings: Settings) -> Result<Self, ExporterError> {
        let connector =
            Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring)).build();
        let exporter = exporter(settings, SharedHttpConnector::new(connector))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(BATCH_TIME)
            .build();
        let processor = BatchSpanProcessor::new(exporter, batches);
        Ok(Self { processor: Arc::new(processor) })
    }

    /// Returns the observer whose spans are sent.
    pub fn traces(&self) -> Traces {
        let processor = Arc::clone(&self.processor);
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Traces::new(move |span| processor.on_end(to_data(span, scope.clone())))
    }

    /// Sends what is waiting, for as long as `limit`. No span is sent after that.
    pub async fn end(self, limit: Duration) {
        let processor = self.processor;
        let ending = tokio::task::spawn_blocking(move || processor.shutdown_with_timeout(limit));
        match timeout(limit, ending).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(problem))) => tracing::warn!(%problem, "spans were not sent"),
            Ok(Err(_)) | Err(_) => tracing::warn!("spans were not sent in time"),
        }
    }
}

/// Returns what the SDK sends batches with.
fn exporter(
    settings: Settings,
    connector: SharedHttpConnector,
) -> Result<SpanExporter, ExporterError> {
    let Settings { url, headers, resource } = settings;
    let retries = RetryPolicy::default()
        .with_max_retries(RETRIES)
        .with_initial_delay(FIRST_DELAY)
        .with_max_delay(MAX_DELAY);
    // The headers are those of the client: the SDK would decode their values again, and drop what is not valid.
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new(connector, headers))
        .with_endpoint(url)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(DEADLINE)
        .with_retry_policy(retries)
        .build()?;
    let resource = resource.into_iter().map(|(key, value)| KeyValue::new(key, value));
    exporter.set_resource(&Resource::builder_empty().with_attributes(resource).build());
    Ok(exporter)
}

fn to_data(span: Span, scope: InstrumentationScope) -> SpanData {
    let id = |id: u64| SpanId::from_bytes(id.to_be_bytes());
    let (trace, flags) = (TraceId::from_bytes(span.trace), TraceFlags::SAMPLED);
    let attributes = span.attributes.into_iter();
    SpanData {
        span_context: SpanContext::new(trace, id(span.id), flags, false, TraceState::default()),
        parent_span_id: span.parent.map_or(SpanId::INVALID, id),
        parent_span_is_remote: false,
        span_kind: match span.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Client => SpanKind::Client,
        },
        name: span.name.into(),
        start_time: span.start.into(),
        // A clock that was set back makes no span that ends before it begins.
        end_time: span.end.max(span.start).into(),
        attributes: attributes.map(|(key, value)| KeyValue::new(key, shortened(value))).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: match span.status {
            Status::Ok => SpanStatus::Ok,
            Status::Error(text) => SpanStatus::error(shortened(text)),
        },
        instrumentation_scope: scope,
    }
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

/// The HTTP client of the AWS SDK, whose TLS is the only one in this program. The thread of the SDK of OpenTelemetry is
/// outside the runtime that connections need.
#[derive(Debug)]
struct Client {
    connector: SharedHttpConnector,
    /// Headers of each request. They go before those of the SDK.
    headers: HeaderMap,
    runtime: Handle,
}

impl Client {
    /// Returns a client that sends these headers, and the name of this program unless they have another one.
    fn new(connector: SharedHttpConnector, mut headers: HeaderMap) -> Self {
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(PROGRAM));
        Self { connector, headers, runtime: Handle::current() }
    }
}

#[async_trait]
impl HttpClient for Client {
    /// Sends a request once. The SDK logs the reason of a failure only where it also logs the address and the response,
    /// which may have credentials; here the host and the reason are logged.
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        request.headers_mut().extend(self.headers.clone());
        let host = host_of(request.uri());
        // Connections and the clock of a timeout are the runtime's.
        let sending = self.runtime.spawn(send(self.connector.clone(), request));
        let result = sending.await.unwrap_or_else(|ended| Err(ended.into()));
        let problem = match &result {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the response has status {}", response.status())),
            Err(error) => Some(error_chain(error.as_ref())),
        };
        if let Some(problem) = problem {
            tracing::warn!(%host, %problem, "an attempt to send spans failed");
        }
        result
    }
}

/// Returns the host and the port of an address, without a user and a password.
fn host_of(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

/// Returns the response, for whose body there is the time that is left of the attempt. A status is returned whatever
/// follows it: without one, the SDK would send again what the receiver has accepted. It ignores a body that is cut.
async fn send(
    connector: SharedHttpConnector,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let end = Instant::now() + ATTEMPT;
    let request = HttpRequest::try_from(request.map(SdkBody::from))?;
    let response = timeout_at(end, connector.call(request)).await;
    let response = response.map_err(|_| format!("no response within {ATTEMPT:?}"))??;
    let (parts, body) = response.try_into_http1x()?.into_parts();
    let mut read = Vec::new();
    // What was read until then is enough.
    let _ = timeout_at(end, read_beginning(body, &mut read)).await;
    read.truncate(MAX_RESPONSE);
    Ok(Response::from_parts(parts, read.into()))
}

/// Reads until the body ends, breaks, or is longer than [`MAX_RESPONSE`].
async fn read_beginning(mut body: SdkBody, read: &mut Vec<u8>) {
    while read.len() <= MAX_RESPONSE
        && let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        read.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::Mutex,
        task::{Context, Poll},
    };

    use aws_smithy_runtime_api::{
        client::{
            http::{HttpConnector, HttpConnectorFuture},
            orchestrator::HttpResponse,
            result::ConnectorError,
        },
        http::StatusCode,
    };
    use http_body::Frame;
    use jiff::Timestamp;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tracing_subscriber::{fmt, layer::SubscriberExt as _};

    use super::*;

    type Answer = fn() -> HttpConnectorFuture;

    /// The connection to a receiver, which answers every request in the same way.
    #[derive(Debug)]
    struct Receiver {
        requests: UnboundedSender<Instant>,
        answer: Answer,
    }

    impl HttpConnector for Receiver {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            self.requests.send(Instant::now()).unwrap();
            (self.answer)()
        }
    }

    /// Returns the connection to a receiver, and the times of its requests.
    fn receiver(answer: Answer) -> (SharedHttpConnector, UnboundedReceiver<Instant>) {
        let (requests, times) = unbounded_channel();
        (SharedHttpConnector::new(Receiver { requests, answer }), times)
    }

    fn exporter_to(connector: SharedHttpConnector) -> SpanExporter {
        let (url, headers) = ("http://receiver:4318/v1/traces".to_owned(), HeaderMap::new());
        exporter(Settings { url, headers, resource: Vec::new() }, connector).unwrap()
    }

    fn batch() -> Vec<SpanData> {
        let (trace, start, end) = ([1; 16], Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let (name, attributes) = ("step".to_owned(), Vec::new());
        let (kind, status) = (Kind::Internal, Status::Ok);
        let span = Span { trace, id: 1, parent: None, name, kind, start, end, attributes, status };
        vec![to_data(span, InstrumentationScope::default())]
    }

    fn response(status: u16, body: SdkBody) -> HttpConnectorFuture {
        let status = StatusCode::try_from(status).unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, body)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_hangs_is_asked_more_than_once() {
        let (connector, mut times) = receiver(|| HttpConnectorFuture::new(std::future::pending()));
        let exporter = exporter_to(connector);
        let mut exporting = std::pin::pin!(exporter.export(batch()));
        let mut next = async || {
            tokio::select! {
                result = exporting.as_mut() => panic!("{result:?}"),
                time = times.recv() => time.unwrap(),
            }
        };
        // The pauses of the SDK are no time of this clock.
        let (first, second) = (next().await, next().await);
        assert_eq!((second - first).as_secs(), ATTEMPT.as_secs());
        let until_the_last = (ATTEMPT * 3) + FIRST_DELAY * (1 + 2 + 4);
        assert!(until_the_last < DEADLINE, "the last attempt begins in time");
    }

    /// The beginning of a body, after which nothing comes.
    struct Stalled(Option<Bytes>);

    impl http_body::Body for Stalled {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            self.0.take().map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data)))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn accepted_spans_are_not_sent_again_because_of_a_bad_response() {
        let answers: [Answer; 3] = [
            || response(200, SdkBody::from(vec![b'x'; MAX_RESPONSE + 1])),
            || response(200, SdkBody::from("no message of the protocol")),
            || response(200, SdkBody::from_body_1_x(Stalled(Some(Bytes::from_static(b"\n"))))),
        ];
        for answer in answers {
            let (connector, mut times) = receiver(answer);
            exporter_to(connector).export(batch()).await.unwrap();
            assert!(times.recv().await.is_some());
            assert!(times.recv().await.is_none(), "there is one request");
        }
    }

    #[tokio::test]
    async fn a_long_response_is_cut_and_keeps_its_status() {
        let (connector, _times) = receiver(|| response(400, SdkBody::from(vec![b'x'; 1 << 20])));
        let client = Client::new(connector, HeaderMap::new());
        let response = client.send_bytes(Request::new(Bytes::new())).await.unwrap();
        assert_eq!((response.status().as_u16(), response.body().len()), (400, MAX_RESPONSE));
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_attempt_is_logged_with_the_host_and_the_reason_and_without_credentials() {
        let answers: [(Answer, &str); 4] = [
            (|| response(400, SdkBody::from("s3cret")), "status 400"),
            (|| response(302, SdkBody::empty()), "status 302"),
            (|| HttpConnectorFuture::new(std::future::pending()), "no response within 4s"),
            (
                || {
                    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                    HttpConnectorFuture::ready(Err(ConnectorError::io(refused.into())))
                },
                "connection refused",
            ),
        ];
        for (answer, reason) in answers {
            let log = Log::default();
            let writer = log.clone();
            let layer = fmt::layer().with_ansi(false).with_writer(move || writer.clone());
            let _guard =
                tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
            let (connector, _times) = receiver(answer);
            let client = Client::new(connector, HeaderMap::new());
            let request = Request::post("http://user:s3cret@receiver:4318/v1/traces?key=s3cret")
                .header("authorization", "s3cret")
                .body(Bytes::new());
            let _ = client.send_bytes(request.unwrap()).await;
            let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            assert!(text.contains("WARN") && text.contains("host=receiver:4318"), "{text}");
            assert!(text.contains(reason) && !text.contains("s3cret"), "{text}");
        }
    }
}
