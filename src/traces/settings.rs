//! Where traces are sent to: the environment variables of OpenTelemetry.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

/// The place that traces are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The address.
    pub(super) url: String,
    /// Headers of each request, such as a token. Their values are marked as sensitive.
    pub(super) headers: HeaderMap,
    /// The attributes of this process.
    pub(super) resource: Vec<(String, String)>,
}

/// A variable that cannot be used. It names no value: a header may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The address is not one of HTTP.
    #[error("{0} is not a valid URL; it must start with http:// or https://")]
    Endpoint(&'static str),
    /// The protocol is one that this program does not speak.
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL is {0:?}, and traces are sent as http/protobuf only")]
    Protocol(String),
    /// Not a list of `key=value`, or not one of valid headers.
    #[error("{0} is not a list such as key=value,key=value")]
    List(&'static str),
}

impl Settings {
    /// Reads the variables of the process; none where no traces are wanted.
    ///
    /// # Errors
    /// A variable cannot be used.
    pub fn from_environment() -> Result<Option<Self>, SettingsError> {
        Self::read(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    pub(super) fn read(
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let (name, address) = match (variable(TRACES), variable(ALL)) {
            _ if is_off => return Ok(None),
            (Some(address), _) => (TRACES, address),
            // The signal's path is appended to an address of all signals.
            (None, Some(base)) => (ALL, format!("{}/v1/traces", base.trim_end_matches('/'))),
            (None, None) => return Ok(None),
        };
        let url = Url::parse(&address).map_err(|_| SettingsError::Endpoint(name))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(SettingsError::Endpoint(name));
        }
        let protocol = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
        if let Some(protocol) = protocol.iter().find_map(|name| variable(name))
            && protocol != "http/protobuf"
        {
            return Err(SettingsError::Protocol(protocol));
        }
        let list = |name: &'static str| match variable(name) {
            Some(text) => entries(&text).ok_or(SettingsError::List(name)),
            None => Ok(Vec::new()),
        };
        let mut resource: BTreeMap<String, String> = [
            ("service.name".to_owned(), env!("CARGO_PKG_NAME").to_owned()),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ]
        .into();
        resource.extend(list("OTEL_RESOURCE_ATTRIBUTES")?);
        resource.extend(variable("OTEL_SERVICE_NAME").map(|name| ("service.name".into(), name)));
        let mut headers = HeaderMap::new();
        // Those of traces go before those of all signals.
        for variable in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
            for (name, value) in list(variable)? {
                let valid = header(&name, &value);
                let (name, value) = valid.ok_or(SettingsError::List(variable))?;
                headers.insert(name, value);
            }
        }
        Ok(Some(Self { url: url.into(), headers, resource: resource.into_iter().collect() }))
    }
}

/// Reads `key=value,key=value`, whose values may have `%20` and the like.
fn entries(text: &str) -> Option<Vec<(String, String)>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let (key, value) = entry.split_once('=')?;
            let pair = format!("value={}", value.trim().replace('+', "%2B").replace('&', "%26"));
            let (_, value) = url::form_urlencoded::parse(pair.as_bytes()).next()?;
            let (key, value) = (key.trim(), value.into_owned());
            let is_usable = !key.is_empty() && !value.chars().any(char::is_control);
            is_usable.then(|| (key.to_owned(), value))
        })
        .collect()
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some((name.parse().ok()?, value))
}
