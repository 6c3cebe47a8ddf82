//! Classification of Kubernetes failures by status code, reason and kube's error type.

use kube::core::Status;

use crate::platform::error::{Classified, Error, ErrorKind, error_chain};
use crate::platform::transport;

/// The reason kube gives an error whose body is no `Status`: a proxy's page, or a path that is not served.
const NOT_A_STATUS: &str = "Failed to parse error data";
/// The reason of the cause that names a disruption budget.
const BUDGET_CAUSE: &str = "DisruptionBudget";

/// Returns the error of a failed call.
pub(super) fn into_error(call: &str, server: &str, error: kube::Error) -> Error {
    classify(&error).into_error(call, server, error)
}

/// Whether the API server refused an eviction because a disruption budget would be broken by it.
pub(super) fn is_disruption_budget(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 429 && causes.into_iter().any(|cause| cause.reason == BUDGET_CAUSE)
}

/// Returns what the API server says about the disruption budget because of which it refused an eviction; none for any
/// other error.
pub fn budget_message(error: &Error) -> Option<String> {
    let details = status_of(error)?.details.as_ref()?;
    let cause = details.causes.iter().find(|cause| cause.reason == BUDGET_CAUSE)?;
    (!cause.message.is_empty()).then(|| cause.message.clone())
}

/// Returns the delay that the API server asks for.
pub(super) fn retry_after(error: &Error) -> Option<std::time::Duration> {
    let seconds = status_of(error)?.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| std::time::Duration::from_secs(u64::from(seconds)))
}

fn status_of(error: &Error) -> Option<&Status> {
    let Error::Call { source, .. } = error else {
        return None;
    };
    match source.downcast_ref::<kube::Error>()? {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// Returns the HTTP status of a response; none without a response.
pub(super) fn status_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn classify(error: &kube::Error) -> Classified {
    match error {
        kube::Error::Api(status) => classify_status(status),
        kube::Error::Auth(error) => no_credentials(&error_chain(error)),
        kube::Error::SerdeError(error) => Classified::new(
            ErrorKind::Invalid,
            format!("the response is not what this call returns: {error}"),
        )
        .hint("check that the address is that of a Kubernetes API server"),
        kube::Error::Service(error) => classify_service_error(error.as_ref()),
        kube::Error::HyperError(error) => transport::classify(error),
        kube::Error::ReadEvents(error) => transport::classify(error),
        kube::Error::ProxyProtocolDisabled { proxy_url, .. }
        | kube::Error::ProxyProtocolUnsupported { proxy_url } => Classified::new(
            ErrorKind::Invalid,
            format!("the proxy {proxy_url} cannot be used"),
        )
        .hint("exempt the server in NO_PROXY, or unset HTTPS_PROXY or the cluster's proxy-url"),
        other => Classified::new(ErrorKind::Invalid, error_chain(other)),
    }
}

/// The middle of kube's client wraps whatever failed below it, its own authentication included.
fn classify_service_error(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Classified {
    let auth = crate::platform::error::causes(error)
        .find_map(|cause| cause.downcast_ref::<kube::client::AuthError>());
    match auth {
        Some(auth) => no_credentials(&error_chain(auth)),
        None => transport::classify(error),
    }
}

fn no_credentials(message: &str) -> Classified {
    Classified::new(ErrorKind::Denied, format!("no credentials: {message}"))
        .hint("run the command, or read the file, that the context's user names")
}

fn classify_status(status: &Status) -> Classified {
    let kind = kind_of(status);
    let classified = Classified::new(kind, status_message(status)).code(code_of(status));
    match status.code {
        401 => classified.hint(
            "the credentials are unknown or expired: log in again, or fix the context's user",
        ),
        403 => classified.hint(
            "check the permission with `kubectl auth can-i`, and grant it with a Role or ClusterRole",
        ),
        404 if status.reason == NOT_A_STATUS => classified
            .hint("check that the address is that of a Kubernetes API server"),
        _ => classified,
    }
}

fn kind_of(status: &Status) -> ErrorKind {
    match status.code {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 if status.is_already_exists() => ErrorKind::Invalid,
        409 => ErrorKind::Busy,
        429 if is_disruption_budget(status) => ErrorKind::Busy,
        408 | 410 | 429 => ErrorKind::Transient,
        // "more than one disruption budget matches this pod" stays true until the budgets are fixed
        500 if status.message.contains("PodDisruptionBudget") => ErrorKind::Invalid,
        500.. => ErrorKind::Transient,
        _ => ErrorKind::Invalid,
    }
}

fn code_of(status: &Status) -> String {
    if status.reason.is_empty() || status.reason == NOT_A_STATUS {
        status.code.to_string()
    } else {
        status.reason.clone()
    }
}

/// Returns the API server's message, or its code and reason, and the messages of the causes.
fn status_message(status: &Status) -> String {
    let mut text = match first_line(&status.message) {
        "" => format!("{} {}", status.code, status.reason).trim_end().to_owned(),
        message => format!("{} {message}", status.code),
    };
    for cause in status.details.iter().flat_map(|details| &details.causes) {
        if !cause.message.is_empty() && !text.contains(&cause.message) {
            text.push_str(": ");
            text.push_str(&cause.message);
        }
    }
    text
}

/// A proxy's error page has many lines; the first one says enough.
fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::StatusDetails;

    fn api(code: u16, reason: &str, message: &str) -> Error {
        let status = Status::failure(message, reason).with_code(code);
        into_error("get node a", "https://api:6443", kube::Error::Api(status.boxed()))
    }

    #[test]
    fn a_status_has_its_kind() {
        let kinds = [
            (401, "Unauthorized", ErrorKind::Denied),
            (403, "Forbidden", ErrorKind::Denied),
            (404, "NotFound", ErrorKind::NotFound),
            (409, "Conflict", ErrorKind::Busy),
            (409, "AlreadyExists", ErrorKind::Invalid),
            (410, "Expired", ErrorKind::Transient),
            (422, "Invalid", ErrorKind::Invalid),
            (400, "BadRequest", ErrorKind::Invalid),
            (429, "TooManyRequests", ErrorKind::Transient),
            (500, "InternalError", ErrorKind::Transient),
            (503, "ServiceUnavailable", ErrorKind::Transient),
            (504, "Timeout", ErrorKind::Transient),
        ];
        for (code, reason, kind) in kinds {
            let error = api(code, reason, "so it is");
            assert_eq!((error.kind(), error.code()), (kind, reason), "{code} {reason}");
        }
    }

    #[test]
    fn a_disruption_budget_is_busy_and_named() {
        let details: StatusDetails = serde_json::from_value(serde_json::json!({
            "causes": [{
                "reason": "DisruptionBudget",
                "message": "The disruption budget relay needs 3 healthy pods and has 3 currently",
            }],
        }))
        .unwrap();
        let status = Status::failure(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            "TooManyRequests",
        )
        .with_code(429)
        .with_details(details);
        let error =
            into_error("evict pod a/b", "https://api:6443", kube::Error::Api(status.boxed()));
        assert_eq!(error.kind(), ErrorKind::Busy);
        let message = "The disruption budget relay needs 3 healthy pods and has 3 currently";
        assert_eq!(budget_message(&error).as_deref(), Some(message));
        assert_eq!(budget_message(&api(429, "TooManyRequests", "slow down")), None);
        assert_eq!(
            error.to_string(),
            "evict pod a/b (https://api:6443): 429 Cannot evict pod as it would violate the pod's disruption \
             budget.: The disruption budget relay needs 3 healthy pods and has 3 currently"
        );
    }

    #[test]
    fn the_hint_is_apart_from_the_message() {
        let error = api(401, "Unauthorized", "Unauthorized");
        assert_eq!(error.to_string(), "get node a (https://api:6443): 401 Unauthorized");
        assert_eq!(
            error.hint(),
            Some("the credentials are unknown or expired: log in again, or fix the context's user")
        );
        assert_eq!((error.call(), error.code()), (Some("get node a"), "Unauthorized"));
        let page = api(404, NOT_A_STATUS, "<html>\n<body>nothing here</body>");
        assert_eq!(page.to_string(), "get node a (https://api:6443): 404 <html>");
        assert_eq!(page.hint(), Some("check that the address is that of a Kubernetes API server"));
    }
}
