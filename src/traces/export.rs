//! The way of spans to their receiver. The SDK of OpenTelemetry collects them, sends them in batches and tries again.
//! Runs never wait for it: what does not fit into its queue, or is not taken by the receiver in time, is dropped and
//! logged.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{http::HttpConnector as _, orchestrator::HttpRequest};
use aws_smithy_types::body::SdkBody;
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
use tokio::{runtime::Handle, time::timeout};

use super::{
    Traces,
    settings::Settings,
    span::{Kind, Span, Status},
};

/// Why the SDK of OpenTelemetry does not take the settings.
pub use opentelemetry_otlp::ExporterBuildError as ExporterError;

/// How many spans wait to be sent. A run over 300 nodes has some thousand calls.
const QUEUE: usize = 8192;
/// How many spans a request has, and how long one waits for others.
const BATCH: usize = 512;
const BATCH_TIME: Duration = Duration::from_secs(2);
/// How long all attempts to send a batch may take, and how often it is sent again.
const TIMEOUT: Duration = Duration::from_secs(20);
const RETRIES: usize = 3;
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(8);
/// The longest text of an attribute or a status. A message of a server can be long.
const MAX_TEXT: usize = 1024;
/// The longest response that is read. The messages of the protocol are a few bytes long.
const MAX_RESPONSE: usize = 64 << 10;

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
        let Settings { url, headers, resource } = settings;
        let retries = RetryPolicy::default()
            .with_max_retries(RETRIES)
            .with_initial_delay(FIRST_DELAY)
            .with_max_delay(MAX_DELAY);
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new(Handle::current()))
            .with_endpoint(url)
            .with_headers(headers.into_iter().collect())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(TIMEOUT)
            .with_retry_policy(retries)
            .build()?;
        let resource = resource.into_iter().map(|(key, value)| KeyValue::new(key, value));
        exporter.set_resource(&Resource::builder_empty().with_attributes(resource).build());
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
    connector: Arc<Connector>,
    runtime: Handle,
}

impl Client {
    fn new(runtime: Handle) -> Self {
        let connector =
            Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring)).build();
        Self { connector: Arc::new(connector), runtime }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let connector = Arc::clone(&self.connector);
        // The clock of a timeout is the runtime's, too.
        let sending = async move { timeout(TIMEOUT, send(connector, request)).await };
        self.runtime.spawn(sending).await??
    }
}

async fn send(
    connector: Arc<Connector>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let request = HttpRequest::try_from(request.map(SdkBody::from))?;
    let response = connector.call(request).await?.try_into_http1x()?;
    let (parts, body) = response.into_parts();
    let mut body = pin!(body);
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        read.extend_from_slice(frame?.data_ref().map(AsRef::as_ref).unwrap_or_default());
        if read.len() > MAX_RESPONSE {
            return Err("the response is too long".into());
        }
    }
    Ok(Response::from_parts(parts, read.into()))
}
