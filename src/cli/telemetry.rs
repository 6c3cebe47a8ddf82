//! The program's log: structured lines on standard error, configured by `SOP_LOG` (or `RUST_LOG`) and `SOP_LOG_FORMAT`.

use std::io::{self, IsTerminal as _, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use super::live::above;

/// The default filter on the command line: warnings of this program, and of the SDK of OpenTelemetry, which says what
/// spans are lost. The clients of Kubernetes and AWS log every failed attempt as an error, even if it is retried, or
/// returned and then reported once.
const CLI_FILTER: &str = "off,rafay_relay_sop=warn,opentelemetry_sdk=warn,opentelemetry-otlp=warn";
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
    match format {
        // Without colors: what is colored is an escape, and all of those are made visible.
        LogFormat::Text => {
            let text = fmt::layer().compact().without_time().with_ansi(false);
            registry.with(text.with_writer(|| PrintableLines(BesideLiveLines))).init();
        }
        LogFormat::Json => {
            let json = fmt::layer().json().flatten_event(true);
            registry.with(json.with_writer(io::stderr)).init();
        }
    }
}

/// Writes each line of the log as one line, whatever is in its fields: names, messages of servers, paths of requests.
struct PrintableLines<W>(W);

impl<W: Write> Write for PrintableLines<W> {
    /// Writes a whole line: the log is written line by line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        self.0.write_all(format!("{}\n", text::printable(text)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Standard error. While live lines are drawn on the same terminal, each line appears above them.
struct BesideLiveLines;

impl Write for BesideLiveLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let is_kept = io::stderr().is_terminal() && above::keep(text.trim_end());
        if !is_kept {
            io::stderr().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Whether no filter makes an event or a span log credentials. The AWS SDK logs access key ids and session tokens
/// below its warnings, and with `trace` the whole output of a `credential_process`. The SDK of OpenTelemetry logs below
/// its warnings the address of the receiver and its response; its targets are the names of its crates, some with `-`.
fn has_no_credentials(metadata: &Metadata<'_>) -> bool {
    let may_have = ["aws_", "opentelemetry"].iter().any(|name| metadata.target().starts_with(name));
    !may_have || *metadata.level() <= Level::WARN
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_line_of_the_log_is_one_line() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&written);
        let layer = fmt::layer().compact().without_time().with_ansi(false);
        let layer = layer.with_writer(move || PrintableLines(Shared(Arc::clone(&shared))));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let error = "a\nINFO audit: forged\x1b[31m\u{202e}";
            tracing::info!(%error, name = "b\r\nc", "c\nd {error}");
        });
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.ends_with('\n') && !text.trim_end().contains(char::is_control), "{text:?}");
        assert!(text.contains("\\u{1b}[31m\\u{202e}"), "{text}");
    }

    /// Returns what is logged through a filter, besides the one of credentials.
    fn logged(filter: &str, log: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&written);
        let layer = fmt::layer().with_writer(move || Shared(Arc::clone(&shared)));
        let registry = tracing_subscriber::registry()
            .with(EnvFilter::try_new(filter).unwrap())
            .with(filter_fn(has_no_credentials))
            .with(layer);
        tracing::subscriber::with_default(registry, log);
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn no_filter_shows_what_the_sdks_log_with_credentials() {
        let text = logged("trace", || {
            tracing::debug!(target: "opentelemetry-otlp", url = "s3cret");
            tracing::info!(target: "opentelemetry_sdk", "s3cret");
            tracing::debug!(target: "opentelemetry", "s3cret");
            tracing::trace!(target: "aws_config::credential_process", "s3cret");
            tracing::warn!(target: "opentelemetry-otlp", "lost");
            tracing::debug!(target: "rafay_relay_sop", "seen");
        });
        assert!(text.contains("lost") && text.contains("seen"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[test]
    fn the_command_line_shows_which_spans_are_lost() {
        let text = logged(CLI_FILTER, || {
            tracing::warn!(target: "opentelemetry-otlp", "first");
            tracing::error!(target: "opentelemetry_sdk", "second");
            tracing::error!(target: "kube_client", "third");
        });
        assert!(text.contains("first") && text.contains("second"), "{text}");
        assert!(!text.contains("third"), "{text}");
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
