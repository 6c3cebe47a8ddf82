//! One attempt to deliver a message: a post, and what its response means. Redirects are not followed.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimeParser};

use super::{
    config::Webhook,
    credentials::Credentials,
    forms::{Links, Message, message},
    notice::Notice,
};
use crate::platform::http::{HttpClient, PostResponse, ProbeError};
use text::printable;

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause that a receiver may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);
/// How much of a response is shown, in characters.
const SHOWN: usize = 200;

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has taken the message, and answered with this status.
    Delivered(u16),
    /// The receiver does not take it: another attempt would end in the same way.
    Refused(Problem),
    /// The receiver could not process it.
    Failed(Problem),
    /// The receiver cannot be reached, or asks to come later.
    Unavailable {
        problem: Problem,
        /// The pause that it asks for.
        retry_after: Option<Duration>,
    },
}

/// Why a message was not delivered. It holds no path of an address: that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Problem {
    fn new(message: impl Into<String>, hint: Option<&str>) -> Self {
        Self { message: message.into(), hint: hint.map(str::to_owned) }
    }
}

/// Sends a notice once.
pub(super) async fn attempt(
    client: &HttpClient,
    webhook: &Arc<Webhook>,
    notice: &Notice,
    links: &Links,
) -> Outcome {
    // A file may be on a disk that does not answer.
    let reading = Arc::clone(webhook);
    let read = tokio::task::spawn_blocking(move || reading.credentials()).await;
    let credentials = match read {
        Ok(Ok(credentials)) => credentials,
        Ok(Err(error)) => {
            let hint = error.hint();
            return unavailable(Problem::new(error.to_string(), hint.as_deref()));
        }
        Err(error) => return unavailable(Problem::new(error.to_string(), None)),
    };
    let Message { content_type, body } = message(webhook.form, notice, links);
    let headers = headers(credentials, content_type, notice, &body, Timestamp::now());
    match client.post(&webhook.target, &headers, body, TIMEOUT).await {
        Ok(response) => outcome(&response, Timestamp::now()),
        Err(ProbeError::Refused(refused)) => Outcome::Refused(Problem::new(
            refused.to_string(),
            Some("name the address of the receiver in `url`"),
        )),
        Err(ProbeError::TimedOut(limit)) => unavailable(Problem::new(
            format!("no response within {} s", limit.as_secs()),
            Some(
                "see whether the receiver answers, and whether a network policy lets this program reach it",
            ),
        )),
        Err(ProbeError::Untrusted(why)) => unavailable(Problem::new(
            why,
            Some(
                "name a file with the certificate of its authority in the environment variable SSL_CERT_FILE",
            ),
        )),
        Err(ProbeError::Failed(why)) => unavailable(Problem::new(
            why,
            Some("check the address, and that this machine can reach it"),
        )),
    }
}

fn unavailable(problem: Problem) -> Outcome {
    Outcome::Unavailable { problem, retry_after: None }
}

/// Returns the headers of a message: those of Standard Webhooks, of which the signature needs a key, and the webhook's
/// own.
pub(super) fn headers(
    credentials: Credentials,
    content_type: &str,
    notice: &Notice,
    body: &str,
    now: Timestamp,
) -> Vec<(String, String)> {
    let mut headers = credentials.headers;
    let own = [
        ("content-type", content_type.to_owned()),
        ("webhook-id", notice.id.clone()),
        ("webhook-timestamp", now.as_second().to_string()),
    ];
    headers.extend(own.map(|(name, value)| (name.to_owned(), value)));
    if let Some(key) = credentials.key {
        headers.push(("webhook-signature".to_owned(), key.sign(&notice.id, now, body)));
    }
    headers
}

/// Returns what a response means.
fn outcome(response: &PostResponse, now: Timestamp) -> Outcome {
    let PostResponse { status, retry_after, body } = response;
    let body: String = body.trim().chars().take(SHOWN).collect();
    let answer = match body.is_empty() {
        true => format!("the receiver answered {status}"),
        false => format!("the receiver answered {status}: {}", printable(&body)),
    };
    match status {
        200..=299 => Outcome::Delivered(*status),
        300..=399 => {
            let hint = "redirects are not followed: name the address to which it leads";
            Outcome::Refused(Problem::new(answer, Some(hint)))
        }
        408 | 425 | 429 | 502..=504 => Outcome::Unavailable {
            problem: Problem::new(answer, Some("the receiver asks to come later")),
            retry_after: retry_after.as_deref().and_then(|text| pause(text, now)),
        },
        400..=499 => Outcome::Refused(Problem::new(answer, Some(refusal_hint(*status)))),
        _ => Outcome::Failed(Problem::new(answer, Some("see the log of the receiver"))),
    }
}

fn refusal_hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "check `secret_file` and `headers_file`, and the token in `url`",
        404 | 405 | 410 => "check `url`: the receiver has no such webhook, or no more",
        413 => "the receiver takes only shorter messages",
        _ => "check `form`: slack is for Slack and Mattermost, cloudevents for programs",
    }
}

/// Returns the pause that a header `Retry-After` asks for: a number of seconds, or a date.
fn pause(text: &str, now: Timestamp) -> Option<Duration> {
    let pause = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
            let pause: SignedDuration = date.duration_since(now);
            Duration::try_from(pause).ok()?
        }
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::notice::tests::notices;

    fn response(status: u16, retry_after: Option<&str>) -> PostResponse {
        let retry_after = retry_after.map(str::to_owned);
        PostResponse { status, retry_after, body: "no\n".to_owned() }
    }

    #[test]
    fn a_response_is_delivered_refused_failed_or_to_be_tried_again() {
        let of = |status| outcome(&response(status, None), Timestamp::UNIX_EPOCH);
        assert_eq!(of(204), Outcome::Delivered(204));
        for status in [301, 400, 401, 404, 410] {
            assert!(matches!(of(status), Outcome::Refused(_)), "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert!(matches!(of(status), Outcome::Unavailable { .. }), "{status}");
        }
        let Outcome::Failed(problem) = of(500) else { panic!("500") };
        assert_eq!(problem.message, "the receiver answered 500: no");
    }

    #[test]
    fn a_receiver_says_when_to_come_again_within_bounds() {
        let now: Timestamp = "2026-11-27T08:00:00Z".parse().unwrap();
        let seconds = |text| pause(text, now).map(|pause| pause.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("999999999"), Some(MAX_RETRY_AFTER.as_secs()));
        assert_eq!(seconds("Fri, 27 Nov 2026 08:00:30 GMT"), Some(30));
        assert_eq!(seconds("Fri, 27 Nov 2026 07:00:00 GMT"), None);
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn a_message_without_a_key_has_no_signature() {
        let notice = notices().remove(0);
        let headers = headers(Credentials::default(), "a/b", &notice, "{}", Timestamp::UNIX_EPOCH);
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "webhook-id", "webhook-timestamp"]);
    }
}
