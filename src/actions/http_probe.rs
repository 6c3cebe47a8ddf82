//! `http_probe`: until an address answers as expected.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Error, Permission, PlatformReader, Progress, Result, Wait};
use crate::platform::{
    http::{HttpTarget, ProbeError, ProbeMethod, ProbeResponse, RefusedUrl},
    wait::{self, WaitState},
};
use clock::Backoff;
use text::plural;

/// Sends GET or HEAD to a URL again and again until it answers as expected.
///
/// The request carries no credentials, follows no redirect and uses no proxy. A URL with a user name or a password is
/// refused, because a runbook and its journal hold no secrets, and so is a link-local address, by number or by name:
/// the metadata and credential services of AWS are there. The beginning of the body, 64 KiB, is compared and not kept.
/// Beside a simulated cluster only this machine is called; any other address counts as answering.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-excludes" = [["expect_body", {"method": "HEAD"}, "a response to HEAD has no body"]],
    "x-lasts" = [["successes", "every"]]
))]
pub struct Params {
    /// The URL, of http or https.
    pub url: ProbeUrl,
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// The statuses that are expected; those from 200 to 299, unless it is said.
    #[serde(default)]
    #[schemars(length(min = 1), inner(range(min = 100, max = 599)))]
    pub expect_status: Option<Vec<u32>>,
    /// A text that the body is to contain. It needs the method GET.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub expect_body: Option<String>,
    /// How many responses in a row are to be as expected.
    #[serde(default = "default_successes")]
    #[schemars(range(min = 1, max = 1000))]
    pub successes: u32,
    /// The pause between two requests; at least 1s.
    #[serde(default = "default_every")]
    #[schemars(extend("x-at-least" = "1s"))]
    pub every: runbook::Duration,
    /// How long one request may take.
    #[serde(default = "default_request_timeout")]
    pub request_timeout: runbook::Duration,
}

/// A URL that may be called.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("x-syntax" = "url"))]
pub struct ProbeUrl(HttpTarget);

impl TryFrom<String> for ProbeUrl {
    type Error = RefusedUrl;

    fn try_from(text: String) -> Result<Self, RefusedUrl> {
        HttpTarget::parse(&text).map(Self)
    }
}

/// A method that changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Method {
    /// The response with its body.
    #[default]
    #[serde(rename = "GET")]
    Get,
    /// The response without its body.
    #[serde(rename = "HEAD")]
    Head,
}

fn default_successes() -> u32 {
    1
}

fn default_every() -> runbook::Duration {
    runbook::Duration::from_secs(5)
}

fn default_request_timeout() -> runbook::Duration {
    runbook::Duration::from_secs(10)
}

/// The last response.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Its status.
    pub status: u32,
    /// The milliseconds that it took.
    pub milliseconds: u32,
    /// How many requests were sent.
    pub requests: u32,
}

pub(super) struct HttpProbe;

impl Action for HttpProbe {
    const NAME: &'static str = "http_probe";
    const PERMISSIONS: &'static [Permission] = &[];
    type Params = Params;
    type Output = Output;
}

impl Wait for HttpProbe {
    async fn wait(params: Params, reader: &PlatformReader, progress: &Progress) -> Result<Output> {
        let ProbeUrl(target) = &params.url;
        params.check()?;
        let client = reader.http();
        let statuses = params.expect_status.as_deref();
        if !client.sends_to(target) {
            progress.report(&format!("{} is not called beside a simulated cluster", target.text()));
            let status = statuses.and_then(|statuses| statuses.first()).copied().unwrap_or(200);
            return Ok(Output { status, milliseconds: 0, requests: 0 });
        }
        let (requests, in_a_row) = (AtomicU32::new(0), AtomicU32::new(0));
        let pauses = Backoff::new(params.every.std(), params.every.std());
        wait::poll(progress, reader.clock(), pauses, || async {
            requests.fetch_add(1, Relaxed);
            let limit = params.request_timeout.std();
            let unmet = match client.send(params.method.into(), target, limit).await {
                Ok(response) => match params.unmet_expectation(&response) {
                    None => {
                        if in_a_row.fetch_add(1, Relaxed) + 1 >= params.successes {
                            let milliseconds =
                                u32::try_from(response.elapsed.as_millis()).unwrap_or(u32::MAX);
                            let status = u32::from(response.status);
                            let requests = requests.load(Relaxed);
                            return Ok(WaitState::Ready(Output { status, milliseconds, requests }));
                        }
                        None
                    }
                    unmet => unmet,
                },
                Err(ProbeError::Refused(refused)) => {
                    return Err(Error::precondition(format!("{}: {refused}", target.text())));
                }
                Err(ProbeError::TimedOut(_)) => {
                    Some(format!("no response within {}", params.request_timeout))
                }
                Err(ProbeError::Untrusted(why) | ProbeError::Failed(why)) => Some(why),
            };
            if unmet.is_some() {
                in_a_row.store(0, Relaxed);
            }
            let wanted = plural(params.successes as usize, "response");
            Ok(WaitState::Pending(match unmet {
                Some(why) => format!("{} to answer as expected: {why}", target.text()),
                None => {
                    let count = in_a_row.load(Relaxed);
                    format!("{count} of {wanted} of {} in a row", target.text())
                }
            }))
        })
        .await
    }
}

impl Params {
    fn check(&self) -> Result<()> {
        if self.expect_body.is_some() && self.method == Method::Head {
            return Err(Error::precondition("`expect_body` needs the method GET"));
        }
        if self.every.std() < Duration::from_secs(1) {
            return Err(Error::precondition("`every` is less than 1s"));
        }
        let is_status = |status: &u32| (100..=599).contains(status);
        match self.expect_status.iter().flatten().find(|status| !is_status(status)) {
            Some(status) => Err(Error::precondition(format!("{status} is not a status of HTTP"))),
            None => Ok(()),
        }
    }

    /// Returns what is not as expected.
    fn unmet_expectation(&self, response: &ProbeResponse) -> Option<String> {
        let is_expected = match &self.expect_status {
            Some(statuses) => statuses.contains(&u32::from(response.status)),
            None => (200..300).contains(&response.status),
        };
        if !is_expected {
            return Some(format!("the status is {}", response.status));
        }
        let text = self.expect_body.as_ref().filter(|text| !response.body.contains(*text))?;
        let read = if response.is_cut { "the beginning of the body" } else { "the body" };
        Some(format!("{read} does not contain {text:?}"))
    }
}

impl From<Method> for ProbeMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::Get,
            Method::Head => Self::Head,
        }
    }
}
