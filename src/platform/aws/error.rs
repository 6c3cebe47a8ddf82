//! What an AWS failure means. Knows the SDK's error type and the services' error codes.

use std::error::Error as StdError;
use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::platform::error::{Class, Error, Verdict, story};
use crate::platform::transport;

use super::credentials;

/// Credentials that are wrong, expired or not allowed to do this.
const DENIED: [&str; 16] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];
/// Too many calls, or a moment's contention.
const TRANSIENT: [&str; 15] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "InternalError",
    "InternalFailure",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "ResourceContention",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "ThrottledException",
];
/// Somebody else's change is under way.
const BUSY: [&str; 4] =
    ["ResourceInUse", "ResourceInUseException", "ScalingActivityInProgress", "OperationInProgress"];

/// A call: its name for messages and permissions, what it is about, and where it goes.
pub(super) struct Call<'a> {
    service: &'static str,
    operation: &'static str,
    on: &'a str,
    region: &'a str,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        service: &'static str,
        operation: &'static str,
        on: &'a str,
        region: &'a str,
    ) -> Self {
        Self { service, operation, on, region }
    }

    /// Puts a failure into words.
    pub(super) fn failed<E>(&self, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        judge(&error, self).on(&self.to_string(), &self.server(), error)
    }

    /// A field that the service documents as always there.
    pub(super) fn present<T>(&self, field: Option<T>, what: &str) -> Result<T, Error> {
        field.ok_or_else(|| Error::Answer {
            call: self.to_string().into(),
            server: self.server().into(),
            problem: format!("the answer has no {what}").into(),
        })
    }

    fn server(&self) -> String {
        format!("AWS {}", self.region)
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.operation)?;
        if !self.on.is_empty() {
            write!(f, " {}", self.on)?;
        }
        Ok(())
    }
}

fn judge<E>(error: &SdkError<E, HttpResponse>, call: &Call<'_>) -> Verdict
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(answer) => judge_answer(answer.raw(), answer.err(), call),
        SdkError::ResponseError(answer) => judge_unreadable(answer.raw()),
        SdkError::TimeoutError(_) => Verdict::new(Class::Transient, "no answer in time"),
        _ => judge_unsent(error),
    }
}

fn judge_answer<E>(raw: &HttpResponse, error: &E, call: &Call<'_>) -> Verdict
where
    E: ProvideErrorMetadata,
{
    let Some(code) = error.code() else {
        return judge_unreadable(raw);
    };
    let message = error.message().unwrap_or_default();
    let class = class(raw.status().as_u16(), code, message);
    let answer = match message {
        "" => code.to_owned(),
        message => format!("{code}: {message}"),
    };
    let verdict = Verdict::new(class, answer).code(code);
    match advice(class, code, call) {
        Some(advice) => verdict.advice(advice),
        None => verdict,
    }
}

fn class(status: u16, code: &str, message: &str) -> Class {
    if DENIED.contains(&code) {
        return Class::Denied;
    }
    if TRANSIENT.contains(&code) {
        return Class::Transient;
    }
    if BUSY.contains(&code) {
        return Class::Busy;
    }
    if code == "ResourceNotFoundException" || code.ends_with(".NotFound") || status == 404 {
        return Class::NotFound;
    }
    // Auto Scaling has no code of its own for a group that does not exist
    if code == "ValidationError" && message.contains("not found") {
        return Class::NotFound;
    }
    match status {
        401 | 403 => Class::Denied,
        429 | 500.. => Class::Transient,
        _ => Class::Invalid,
    }
}

fn advice(class: Class, code: &str, call: &Call<'_>) -> Option<String> {
    if class != Class::Denied {
        return None;
    }
    Some(match code {
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            "the credentials have expired: log in again".into()
        }
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
            format!("allow {}:{} in this role's policy", call.service, call.operation)
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            "check the secret key and this machine's clock".into()
        }
        "OptInRequired" => format!("the region {} is not enabled for this account", call.region),
        _ => "AWS does not accept these credentials: `aws sts get-caller-identity` shows whether \
              they are the ones you mean"
            .into(),
    })
}

/// An answer that is not in the service's language: a proxy's page, or another service at this address.
fn judge_unreadable(raw: &HttpResponse) -> Verdict {
    let status = raw.status().as_u16();
    let answer = format!("HTTP {status} with an answer that cannot be read: {}", beginning(raw));
    Verdict::new(class(status, "", ""), answer).code(status.to_string()).advice(
        "is the address (AWS_ENDPOINT_URL) one of this service, and are region and cluster right?",
    )
}

/// Enough of an answer to recognise who gave it.
fn beginning(raw: &HttpResponse) -> String {
    let body = String::from_utf8_lossy(raw.body().bytes().unwrap_or_default()).into_owned();
    let line = body.lines().map(str::trim).find(|line| !line.is_empty());
    match line {
        Some(line) => format!("`{}`", line.chars().take(80).collect::<String>()),
        None => "it is empty".into(),
    }
}

/// Nothing was sent, or nothing came back.
fn judge_unsent(error: &(dyn StdError + 'static)) -> Verdict {
    let words = story(error);
    if credentials::is_about(&words) {
        credentials::judge(&words, error)
    } else {
        transport::judge(error)
    }
}
