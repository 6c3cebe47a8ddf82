//! The program's log: structured lines on standard error, configured by `SOP_LOG` (or `RUST_LOG`) and `SOP_LOG_FORMAT`.

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// The default filter on the command line: this program's warnings. The clients of Kubernetes and AWS log every failed
/// attempt as an error, even if it is retried, or returned and then reported once.
const CLI_FILTER: &str = "off,rafay_relay_sop=warn";
/// The default filter of a service. `audit` is one line per changed target.
const SERVICE_FILTER: &str = "warn,kube_client=off,rafay_relay_sop=info,audit=info";

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Short lines without a time, at first only warnings.
    Text,
    /// One JSON object per line, at first also what a service does.
    Json,
}

/// Starts the log. `SOP_LOG_FORMAT` (`json`, or any other value for text) takes precedence over the given default, and
/// `SOP_LOG` or `RUST_LOG` over the filter of the format.
pub fn start(default_format: LogFormat) {
    let format = match std::env::var("SOP_LOG_FORMAT").as_deref() {
        Ok("json") => LogFormat::Json,
        Ok(_) => LogFormat::Text,
        Err(_) => default_format,
    };
    let default_filter = match format {
        LogFormat::Text => CLI_FILTER,
        LogFormat::Json => SERVICE_FILTER,
    };
    let requested = std::env::var("SOP_LOG").or_else(|_| std::env::var("RUST_LOG"));
    // An invalid filter does not keep the program from running: the default filter applies.
    let filter = requested
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(default_filter));
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(has_no_credentials));
    // Colors only where diagnostics have them too: not in a file, and not with NO_COLOR.
    let color = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let stderr = fmt::layer().with_ansi(color).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => registry.with(stderr.compact().without_time()).init(),
        LogFormat::Json => registry.with(stderr.json().flatten_event(true)).init(),
    }
}

/// Whether no filter makes an event or a span log credentials. The AWS SDK logs access key ids and session tokens
/// below its warnings, and with `trace` the whole output of a `credential_process`.
fn has_no_credentials(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("aws_") || *metadata.level() <= Level::WARN
}
