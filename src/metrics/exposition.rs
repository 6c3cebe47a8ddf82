//! The formats in which metrics are written, and which of them a client wants.

use prometheus_client::{
    encoding::{prometheus_text, text},
    registry::Registry,
};

/// A format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
    /// The older text format of Prometheus.
    Text,
}

impl Exposition {
    /// Returns the format that a client wants by the `Accept` of its request: OpenMetrics, unless it would rather have
    /// plain text, as a browser would.
    pub fn wanted(accept: Option<&str>) -> Self {
        let Some(accept) = accept else { return Self::OpenMetrics };
        let weight = |types: &[&str]| {
            accept
                .split(',')
                .filter_map(|range| {
                    let mut parts = range.split(';').map(str::trim);
                    let name = parts.next()?.to_ascii_lowercase();
                    let weight = parts.find_map(|part| part.strip_prefix("q="));
                    let weight = weight.map_or(Some(1.0), |weight| weight.parse::<f32>().ok());
                    types.contains(&name.as_str()).then_some(weight.unwrap_or(0.0))
                })
                .fold(0.0, f32::max)
        };
        let open_metrics = weight(&["application/openmetrics-text"]);
        match weight(&["text/plain", "text/html", "text/*"]) > open_metrics {
            true => Self::Text,
            false => Self::OpenMetrics,
        }
    }

    /// Returns the value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => prometheus_text::CONTENT_TYPE,
        }
    }

    pub(super) fn encode(self, registry: &Registry) -> String {
        let mut written = String::new();
        let encoded = match self {
            Self::OpenMetrics => text::encode(&mut written, registry),
            Self::Text => prometheus_text::encode(&mut written, registry),
        };
        if let Err(error) = encoded {
            // A String takes everything, and the encoders of this crate refuse nothing.
            tracing::error!(%error, "the metrics cannot be written");
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::Exposition::{self, OpenMetrics, Text};

    #[test]
    fn a_client_gets_the_format_that_it_would_rather_have() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, format) in [
            (None, OpenMetrics),
            (Some("*/*"), OpenMetrics),
            (Some(prometheus), OpenMetrics),
            (Some("text/plain"), Text),
            (Some("text/plain;version=0.0.4;q=0.5, application/openmetrics-text;q=0.2"), Text),
            (Some("text/plain;q=x"), OpenMetrics),
            (Some(browser), Text),
        ] {
            assert_eq!(Exposition::wanted(accept), format, "{accept:?}");
        }
    }
}
