//! The program's own log: structured lines on standard error, asked for with `RUST_LOG` or `SOP_LOG`.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// What a person at the command line sees beside the run itself: our own warnings. The clients of Kubernetes and AWS
/// log every failed attempt as an error, although it is retried, or returned and then said once.
const FOR_A_PERSON: &str = "off,rafay_relay_sop=warn";
/// What a service logs; `audit` is one line a changed target.
const FOR_A_SERVICE: &str = "warn,kube_client=off,rafay_relay_sop=info,audit=info";

/// Starts the log. On a terminal nothing but warnings is shown unless asked for; `SOP_LOG_FORMAT=json` gives JSON
/// lines, which `serve` uses by default.
pub fn start() {
    let json = match std::env::var("SOP_LOG_FORMAT").as_deref() {
        Ok("json") => true,
        Ok(_) => false,
        Err(_) => std::env::args_os().any(|argument| argument == "serve"),
    };
    let default = if json { FOR_A_SERVICE } else { FOR_A_PERSON };
    let asked = std::env::var("SOP_LOG").or_else(|_| std::env::var("RUST_LOG"));
    // A filter that cannot be parsed is no reason not to run: the default holds.
    let filter = asked
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(default));
    let registry = tracing_subscriber::registry().with(filter);
    // Colour only where findings would have it too: not in a file, and not against NO_COLOR.
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let stderr = fmt::layer().with_ansi(colour).with_writer(std::io::stderr);
    if json {
        registry.with(stderr.json().flatten_event(true)).init();
    } else {
        registry.with(stderr.compact().without_time()).init();
    }
}
