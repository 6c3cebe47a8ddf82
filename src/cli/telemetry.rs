//! The program's own log: structured lines on standard error, asked for with `RUST_LOG` or `SOP_LOG`.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// What a person at the command line sees beside the run itself: our own warnings. The clients of Kubernetes and AWS
/// log every failed attempt as an error, although it is retried, or returned and then said once.
const CLI_FILTER: &str = "off,rafay_relay_sop=warn";
/// What a service logs; `audit` is one line a changed target.
const SERVICE_FILTER: &str = "warn,kube_client=off,rafay_relay_sop=info,audit=info";

/// Starts the log. On a terminal nothing but warnings is shown unless asked for; `SOP_LOG_FORMAT=json` gives JSON
/// lines, which `serve` uses by default.
pub fn start() {
    let json = match std::env::var("SOP_LOG_FORMAT").as_deref() {
        Ok("json") => true,
        Ok(_) => false,
        Err(_) => std::env::args_os().any(|argument| argument == "serve"),
    };
    let default = if json { SERVICE_FILTER } else { CLI_FILTER };
    let requested = std::env::var("SOP_LOG").or_else(|_| std::env::var("RUST_LOG"));
    // A filter that cannot be parsed is no reason not to run: the default holds.
    let filter = requested
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(default));
    let registry = tracing_subscriber::registry().with(filter);
    // Colour only where findings would have it too: not in a file, and not against NO_COLOR.
    let color = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let stderr = fmt::layer().with_ansi(color).with_writer(std::io::stderr);
    if json {
        registry.with(stderr.json().flatten_event(true)).init();
    } else {
        registry.with(stderr.compact().without_time()).init();
    }
}
