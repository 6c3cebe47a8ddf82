//! Classification of AWS failures by the SDK's error type and the services' error codes.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::platform::WriteFence;
use crate::platform::bounded::TooLong;
use crate::platform::error::{Classified, Error, ErrorKind, error_chain};
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
/// Too many calls, or brief contention.
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
/// Another client's change is in progress.
const BUSY: [&str; 4] =
    ["ResourceInUse", "ResourceInUseException", "ScalingActivityInProgress", "OperationInProgress"];

/// A call: its name for messages and permissions, what it is about, and where it goes.
pub(super) struct AwsCall<'a> {
    service: &'static str,
    operation: &'static str,
    resource: &'a str,
    region: &'a str,
}

impl<'a> AwsCall<'a> {
    pub(super) fn new(
        service: &'static str,
        operation: &'static str,
        resource: &'a str,
        region: &'a str,
    ) -> Self {
        Self { service, operation, resource, region }
    }

    /// Returns the error of a failed call.
    pub(super) fn to_error<E>(&self, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        classify(&error, self).into_error(&self.to_string(), &self.server(), error)
    }

    /// Returns a field that the service documents as required.
    pub(super) fn require<T>(&self, field: Option<T>, what: &str) -> Result<T, Error> {
        field.ok_or_else(|| Error::InvalidResponse {
            call: self.to_string().into(),
            server: self.server().into(),
            message: format!("the response has no {what}").into(),
        })
    }

    /// Sends the call while the fence is open.
    pub(super) async fn guard<T>(
        &self,
        fence: &WriteFence,
        sending: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        fence.guard(&self.to_string(), &self.server(), sending).await
    }

    fn server(&self) -> String {
        format!("AWS {}", self.region)
    }
}

impl fmt::Display for AwsCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.operation)?;
        if !self.resource.is_empty() {
            write!(f, " {}", self.resource)?;
        }
        Ok(())
    }
}

fn classify<E>(error: &SdkError<E, HttpResponse>, call: &AwsCall<'_>) -> Classified
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(response) => classify_response(response.raw(), response.err(), call),
        SdkError::ResponseError(response) => match TooLong::among_causes(error) {
            // The next one would be as long.
            Some(too_long) => Classified::new(ErrorKind::Invalid, too_long.to_string()),
            None => classify_unreadable(response.raw()),
        },
        SdkError::TimeoutError(_) => Classified::new(ErrorKind::Transient, "timed out"),
        _ => classify_unsent(error),
    }
}

fn classify_response<E>(raw: &HttpResponse, error: &E, call: &AwsCall<'_>) -> Classified
where
    E: ProvideErrorMetadata,
{
    let Some(code) = error.code() else {
        return classify_unreadable(raw);
    };
    let message = error.message().unwrap_or_default();
    let kind = kind_of(raw.status().as_u16(), code, message);
    let text = match message {
        "" => code.to_owned(),
        message => format!("{code}: {message}"),
    };
    let classified = Classified::new(kind, text).code(code);
    match hint_for(kind, code, call) {
        Some(hint) => classified.hint(hint),
        None => classified,
    }
}

fn kind_of(status: u16, code: &str, message: &str) -> ErrorKind {
    if DENIED.contains(&code) {
        return ErrorKind::Denied;
    }
    if TRANSIENT.contains(&code) {
        return ErrorKind::Transient;
    }
    if BUSY.contains(&code) {
        return ErrorKind::Busy;
    }
    if code == "ResourceNotFoundException" || code.ends_with(".NotFound") || status == 404 {
        return ErrorKind::NotFound;
    }
    // Auto Scaling has no code of its own for a group that does not exist
    if code == "ValidationError" && message.contains("not found") {
        return ErrorKind::NotFound;
    }
    match status {
        401 | 403 => ErrorKind::Denied,
        429 | 500.. => ErrorKind::Transient,
        _ => ErrorKind::Invalid,
    }
}

fn hint_for(kind: ErrorKind, code: &str, call: &AwsCall<'_>) -> Option<String> {
    if kind != ErrorKind::Denied {
        return None;
    }
    Some(match code {
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            "log in again: the credentials have expired".into()
        }
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
            format!("allow `{}:{}` in the role's policy", call.service, call.operation)
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            "check the secret key and this machine's clock".into()
        }
        "OptInRequired" => format!("enable region {} for this account", call.region),
        _ => "check the credentials with `aws sts get-caller-identity`: AWS does not accept them"
            .into(),
    })
}

/// Classifies a response that is not in the service's protocol: a proxy's page, or another service at the address.
fn classify_unreadable(raw: &HttpResponse) -> Classified {
    let status = raw.status().as_u16();
    let text =
        format!("HTTP {status} with a response that cannot be parsed: {}", body_excerpt(raw));
    Classified::new(kind_of(status, "", ""), text)
        .code(status.to_string())
        .hint("check the endpoint (AWS_ENDPOINT_URL), the region and the cluster")
}

/// Returns enough of a response to recognize its server.
fn body_excerpt(raw: &HttpResponse) -> String {
    let body = String::from_utf8_lossy(raw.body().bytes().unwrap_or_default()).into_owned();
    let line = body.lines().map(str::trim).find(|line| !line.is_empty());
    match line {
        Some(line) => format!("`{}`", line.chars().take(80).collect::<String>()),
        None => "an empty body".into(),
    }
}

/// Classifies a call that was not sent, or that got no response.
fn classify_unsent(error: &(dyn StdError + 'static)) -> Classified {
    let text = error_chain(error);
    if credentials::is_credentials_error(&text) {
        credentials::classify(&text, error)
    } else {
        transport::classify(error)
    }
}
