//! Checks that several kinds have in common.

use serde_json::Value;

use crate::kubernetes::object::text;
use crate::kubernetes::status_error::StatusCause;

use super::Kind;

pub(super) fn validate_name(kind: &Kind, object: &Value, causes: &mut Vec<StatusCause>) {
    let name = text(object, "/metadata/name");
    if name.is_empty() {
        let message = "name or generateName is required";
        causes.push(StatusCause::required("metadata.name", message));
        return;
    }
    let is_label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty()
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let (valid, message) = if kind.name_is_label {
        let message = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
                       characters or '-', and must start and end with an alphanumeric character \
                       (e.g. 'my-name',  or '123-abc', regex used for validation is \
                       '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
        (is_label(name) && name.len() <= 63, message)
    } else {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                       characters, '-' or '.', and must start and end with an alphanumeric \
                       character (e.g. 'example.com', regex used for validation is \
                       '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        (name.split('.').all(is_label) && name.len() <= 253, message)
    };
    if !valid {
        causes.push(StatusCause::invalid("metadata.name", &name.into(), message));
    }
}

/// Validates a number of pods, or a share of them in percent.
pub(super) fn validate_share(share: Option<&Value>, field: &str, causes: &mut Vec<StatusCause>) {
    match share {
        Some(Value::String(text)) => {
            let digits = text.strip_suffix('%').unwrap_or_default();
            if digits.is_empty() || !digits.chars().all(|digit| digit.is_ascii_digit()) {
                let message = "a valid percent string must be a numeric string followed by an \
                               ending '%' (e.g. '1%',  or '93%', regex used for validation is \
                               '[0-9]+%')";
                causes.push(StatusCause::invalid(field, &text.as_str().into(), message));
            }
        }
        Some(number) if number.as_i64().is_some_and(|number| number < 0) => {
            let message = "must be greater than or equal to 0";
            causes.push(StatusCause::invalid(field, number, message));
        }
        _ => {}
    }
}

pub(super) fn require_immutable(
    old: &Value,
    new: &Value,
    field: &str,
    causes: &mut Vec<StatusCause>,
) {
    let pointer = format!("/{}", field.replace('.', "/"));
    if old.pointer(&pointer) != new.pointer(&pointer) {
        let value = new.pointer(&pointer).unwrap_or(&Value::Null);
        causes.push(StatusCause::invalid(field, value, "field is immutable"));
    }
}

/// Checks that the selector of a workload is not changed.
pub(super) fn keep_selector(old: &Value, new: &Value, causes: &mut Vec<StatusCause>) {
    require_immutable(old, new, "spec.selector", causes);
}
