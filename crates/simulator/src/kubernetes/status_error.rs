//! An error in the form of the Kubernetes API: a Status object with its reason and details.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::object::text;

/// The error response to a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StatusError {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) details: Value,
    pub(crate) retry_after: Option<u32>,
}

/// An error in one field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StatusCause {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) field: String,
}

impl StatusCause {
    pub(crate) fn required(field: &str, message: &str) -> Self {
        let dash = if message.is_empty() { "" } else { ": " };
        Self {
            reason: "FieldValueRequired",
            message: format!("Required value{dash}{message}"),
            field: field.to_owned(),
        }
    }

    pub(crate) fn invalid(field: &str, value: &Value, message: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {message}"),
            field: field.to_owned(),
        }
    }

    fn to_json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }

    pub(crate) fn forbidden(field: &str, message: &str) -> Self {
        Self {
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {message}"),
            field: field.to_owned(),
        }
    }
}

impl StatusError {
    pub(crate) fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            details: Value::Null,
            retry_after: None,
        }
    }

    /// Sets the object that the error is about.
    pub(crate) fn with_object(mut self, resource: &Kind, name: &str) -> Self {
        self.details = json!({"kind": resource.plural});
        if !name.is_empty() {
            self.details["name"] = name.into();
        }
        if !resource.group.is_empty() {
            self.details["group"] = resource.group.into();
        }
        self
    }

    pub(crate) fn path_not_found() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message).with_empty_details()
    }

    pub(crate) fn not_found(resource: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::new(404, "NotFound", message).with_object(resource, name)
    }

    pub(crate) fn already_exists(resource: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).with_object(resource, name)
    }

    pub(crate) fn conflict(resource: &Kind, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.qualified());
        Self::new(409, "Conflict", message).with_object(resource, name)
    }

    /// Changes the error to one about a subresource: `pods/binding` instead of `pods`.
    pub(crate) fn with_subresource(mut self, subresource: &str) -> Self {
        let kind = text(&self.details, "/kind").to_owned();
        let whole = format!("{kind}/{subresource}");
        self.message = self.message.replacen(&format!("on {kind} "), &format!("on {whole} "), 1);
        self.details["kind"] = whole.into();
        self
    }

    /// Returns the error for a failed precondition of a deletion.
    pub(crate) fn precondition_failed(resource: &Kind, name: &str, why: &str) -> Self {
        let kind = resource.qualified_kind();
        let message = format!("Operation cannot be fulfilled on {kind} {name:?}: {why}");
        let mut error = Self::new(409, "Conflict", message).with_object(resource, name);
        error.details["kind"] = resource.kind.into();
        error
    }

    pub(crate) fn modified(resource: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Self::conflict(resource, name, why)
    }

    pub(crate) fn forbidden(resource: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", resource.qualified());
        Self::new(403, "Forbidden", message).with_object(resource, name)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).with_empty_details()
    }

    /// Returns the error for options that contradict each other.
    pub(crate) fn bad_options(kind: &str, cause: &StatusCause) -> Self {
        let message =
            format!("{kind}.meta.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message);
        let mut error = Self::new(422, "Invalid", message);
        error.details = json!({
            "group": "meta.k8s.io",
            "kind": kind,
            "causes": [cause.to_json()],
        });
        error
    }

    fn with_empty_details(mut self) -> Self {
        self.details = json!({});
        self
    }

    /// Returns the error for an unknown patch type.
    pub(crate) fn unknown_patch_type() -> Self {
        let message = "415: Unsupported Media Type";
        Self::new(415, "UnsupportedMediaType", message).with_empty_details()
    }

    /// Returns the error for a patch of a custom object whose type needs to know the kind.
    pub(crate) fn unaccepted_patch_type() -> Self {
        let message = "the body of the request was in an unknown format - accepted media types include: \
                       application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// Returns the error for a patch that cannot be applied.
    pub(crate) fn rejected() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message).with_empty_details()
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// Returns the error for an eviction that a `PodDisruptionBudget` does not allow.
    pub(crate) fn disruption_budget_violated(message: &str, retry_after: u32, cause: &str) -> Self {
        let mut error = Self::new(429, "TooManyRequests", message);
        error.details = json!({"causes": [{"reason": "DisruptionBudget", "message": cause}]});
        if retry_after > 0 {
            error.details["retryAfterSeconds"] = retry_after.into();
            error.retry_after = Some(retry_after);
        }
        error
    }

    /// Returns the error for too many requests of any kind.
    pub(crate) fn throttled() -> Self {
        let message =
            "the server has received too many requests and has asked us to try again later";
        let mut error = Self::new(429, "TooManyRequests", message);
        error.details = json!({"retryAfterSeconds": 1});
        error.retry_after = Some(1);
        error
    }

    pub(crate) fn invalid(resource: &Kind, name: &str, causes: &[StatusCause]) -> Self {
        let list: Vec<String> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let list = match list.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let kind = resource.qualified_kind();
        let message = format!("{kind} {name:?} is invalid: {list}");
        let mut error = Self::new(422, "Invalid", message).with_object(resource, name);
        error.details["kind"] = resource.kind.into();
        error.details["causes"] = causes.iter().map(StatusCause::to_json).collect();
        error
    }

    /// Returns the Status object.
    pub(crate) fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.as_str().into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}
