//! The API server's validation of objects, kind by kind. Pure functions over JSON.

use serde_json::Value;

use crate::kubernetes::custom;
use crate::kubernetes::object::{flag, list, number, remove, text};
use crate::kubernetes::resources::Resource;
use crate::kubernetes::selectors::selects;
use crate::kubernetes::status_error::StatusCause;

/// The annotation with the cost of deleting a pod.
pub(crate) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Returns what is invalid in an object by itself.
pub(crate) fn validate(resource: &Resource, object: &Value) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    validate_name(resource, object, &mut causes);
    match resource.plural {
        "pods" => {
            let annotations = object.pointer("/metadata/annotations");
            validate_cost(annotations, "metadata.annotations", &mut causes);
            validate_pod(object, &["spec"], &mut causes);
        }
        "deployments" | "replicasets" | "daemonsets" | "statefulsets" => {
            validate_workload(object, &mut causes);
            if resource.plural == "deployments" {
                validate_deployment(object, &mut causes);
            }
        }
        "jobs" => validate_job(object, &mut causes),
        "poddisruptionbudgets" => validate_budget(object, &mut causes),
        "horizontalpodautoscalers" => validate_autoscaler(object, &mut causes),
        _ => causes.extend(custom::validate(resource, object)),
    }
    causes
}

fn validate_name(resource: &Resource, object: &Value, causes: &mut Vec<StatusCause>) {
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
    let (valid, message) = if matches!(resource.plural, "namespaces" | "services") {
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

/// Validates the pod spec at `path`.
fn validate_pod(object: &Value, path: &[&str], causes: &mut Vec<StatusCause>) {
    let field = path.join(".");
    let containers = list(object, &format!("/{}/containers", path.join("/")));
    if containers.is_empty() {
        causes.push(StatusCause::required(&format!("{field}.containers"), ""));
    }
    for (at, container) in containers.iter().enumerate() {
        for key in ["name", "image"] {
            if text(container, &format!("/{key}")).is_empty() {
                causes.push(StatusCause::required(&format!("{field}.containers[{at}].{key}"), ""));
            }
        }
    }
}

/// Validates the annotation with the deletion cost.
fn validate_cost(annotations: Option<&Value>, field: &str, causes: &mut Vec<StatusCause>) {
    let Some(cost) = annotations.and_then(|all| all.get(DELETION_COST)) else {
        return;
    };
    if cost.as_str().and_then(parse_cost).is_none() {
        let field = format!("{field}[{DELETION_COST}]");
        causes.push(StatusCause::invalid(&field, cost, "must be a 32bit integer"));
    }
}

/// Parses a deletion cost, which has no plus sign and no leading zeros.
pub(crate) fn parse_cost(cost: &str) -> Option<i32> {
    let is_canonical =
        cost == "0" || cost.starts_with(['-', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    is_canonical.then(|| cost.parse().ok()).flatten()
}

fn validate_job(object: &Value, causes: &mut Vec<StatusCause>) {
    validate_pod(object, &["spec", "template", "spec"], causes);
    let field = "spec.template.spec.restartPolicy";
    let policy = text(object, "/spec/template/spec/restartPolicy");
    if !matches!(policy, "OnFailure" | "Never") {
        let message = "valid values: \"OnFailure\", \"Never\"";
        causes.push(StatusCause::required(field, message));
    }
}

fn validate_workload(object: &Value, causes: &mut Vec<StatusCause>) {
    if let Some(replicas) = number(object, "/spec/replicas").filter(|replicas| *replicas < 0) {
        let message = "must be greater than or equal to 0";
        causes.push(StatusCause::invalid("spec.replicas", &replicas.into(), message));
    }
    let selector = object.pointer("/spec/selector");
    let template = object.pointer("/spec/template").unwrap_or(&Value::Null);
    if selector.is_none() {
        causes.push(StatusCause::required("spec.selector", ""));
    }
    if !selects(selector, template) {
        let labels = template.pointer("/metadata/labels").unwrap_or(&Value::Null);
        let message = "`selector` does not match template `labels`";
        causes.push(StatusCause::invalid("spec.template.metadata.labels", labels, message));
    }
    // The API server omits `metadata` from the field's name here.
    let annotations = template.pointer("/metadata/annotations");
    validate_cost(annotations, "spec.template.annotations", causes);
    validate_pod(object, &["spec", "template", "spec"], causes);
}

/// Validates the strategy of a deployment, and the times that it allows.
fn validate_deployment(object: &Value, causes: &mut Vec<StatusCause>) {
    let negative = "must be greater than or equal to 0";
    for field in ["minReadySeconds", "revisionHistoryLimit"] {
        if let Some(value) = number(object, &format!("/spec/{field}")).filter(|value| *value < 0) {
            causes.push(StatusCause::invalid(&format!("spec.{field}"), &value.into(), negative));
        }
    }
    let strategy = text(object, "/spec/strategy/type");
    let rolling = object.pointer("/spec/strategy/rollingUpdate");
    match strategy {
        "RollingUpdate" => {
            let field = "spec.strategy.rollingUpdate";
            let share = |name: &str| rolling.and_then(|rolling| rolling.get(name));
            for name in ["maxUnavailable", "maxSurge"] {
                validate_share(share(name), &format!("{field}.{name}"), causes);
            }
            let is_zero = |name: &str| {
                share(name).is_some_and(|share| *share == 0 || *share == "0%" || *share == "0")
            };
            if is_zero("maxUnavailable") && is_zero("maxSurge") {
                let message = "may not be 0 when `maxSurge` is 0";
                let value = share("maxUnavailable").unwrap_or(&Value::Null);
                let field = format!("{field}.maxUnavailable");
                causes.push(StatusCause::invalid(&field, value, message));
            }
            if let Some(Value::String(percent)) = share("maxUnavailable")
                && percent.trim_end_matches('%').parse::<i64>().is_ok_and(|share| share > 100)
            {
                let field = format!("{field}.maxUnavailable");
                let message = "must not be greater than 100%";
                causes.push(StatusCause::invalid(&field, &percent.as_str().into(), message));
            }
        }
        "Recreate" if rolling.is_some() => {
            let message = "may not be specified when strategy `type` is 'Recreate'";
            causes.push(StatusCause::forbidden("spec.strategy.rollingUpdate", message));
        }
        _ => {}
    }
    let min_ready = number(object, "/spec/minReadySeconds").unwrap_or(0);
    if let Some(deadline) = number(object, "/spec/progressDeadlineSeconds") {
        let field = "spec.progressDeadlineSeconds";
        if deadline < 0 {
            causes.push(StatusCause::invalid(field, &deadline.into(), negative));
        }
        if deadline <= min_ready {
            let message = "must be greater than minReadySeconds";
            causes.push(StatusCause::invalid(field, &deadline.into(), message));
        }
    }
}

/// Validates a number of pods, or a share of them in percent.
fn validate_share(share: Option<&Value>, field: &str, causes: &mut Vec<StatusCause>) {
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

fn validate_budget(object: &Value, causes: &mut Vec<StatusCause>) {
    let both = ["minAvailable", "maxUnavailable"]
        .iter()
        .all(|field| object.pointer(&format!("/spec/{field}")).is_some());
    if both {
        let message = "minAvailable and maxUnavailable cannot be both set";
        let spec = object.pointer("/spec").unwrap_or(&Value::Null);
        causes.push(StatusCause::invalid("spec", spec, message));
    }
    for name in ["minAvailable", "maxUnavailable"] {
        let share = object.pointer(&format!("/spec/{name}"));
        validate_share(share, &format!("spec.{name}"), causes);
    }
}

fn validate_autoscaler(object: &Value, causes: &mut Vec<StatusCause>) {
    let min = number(object, "/spec/minReplicas").unwrap_or(1);
    match number(object, "/spec/maxReplicas") {
        None => {
            let message = "must be greater than 0";
            causes.push(StatusCause::invalid("spec.maxReplicas", &0.into(), message));
        }
        Some(max) if max < min => {
            let message = "must be greater than or equal to `minReplicas`";
            causes.push(StatusCause::invalid("spec.maxReplicas", &max.into(), message));
        }
        Some(_) => {}
    }
}

/// Returns what is invalid in a change of an object.
pub(crate) fn validate_update(resource: &Resource, old: &Value, new: &Value) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    match resource.plural {
        "deployments" | "replicasets" | "daemonsets" | "statefulsets" => {
            require_immutable(old, new, "spec.selector", &mut causes);
        }
        "nodes" => validate_node_update(old, new, &mut causes),
        "pods" => validate_pod_update(old, new, &mut causes),
        "configmaps" if flag(old, "/immutable") => {
            for field in ["data", "binaryData", "immutable"] {
                if old.get(field) != new.get(field) {
                    let message = "field is immutable when `immutable` is set";
                    causes.push(StatusCause::forbidden(field, message));
                }
            }
        }
        _ => causes.extend(custom::validate_update(resource, old, new)),
    }
    causes
}

fn require_immutable(old: &Value, new: &Value, field: &str, causes: &mut Vec<StatusCause>) {
    let pointer = format!("/{}", field.replace('.', "/"));
    if old.pointer(&pointer) != new.pointer(&pointer) {
        let value = new.pointer(&pointer).unwrap_or(&Value::Null);
        causes.push(StatusCause::invalid(field, value, "field is immutable"));
    }
}

fn validate_node_update(old: &Value, new: &Value, causes: &mut Vec<StatusCause>) {
    let before = text(old, "/spec/providerID");
    if !before.is_empty() && before != text(new, "/spec/providerID") {
        let message = "node updates may not change providerID except from \"\" to valid";
        causes.push(StatusCause::forbidden("spec.providerID", message));
    }
}

fn validate_pod_update(old: &Value, new: &Value, causes: &mut Vec<StatusCause>) {
    let fixed = |pod: &Value| {
        let mut spec = pod.get("spec").cloned().unwrap_or_default();
        for field in ["activeDeadlineSeconds", "tolerations"] {
            remove(&mut spec, &[field]);
        }
        for containers in ["containers", "initContainers"] {
            if let Some(Value::Array(containers)) = spec.get_mut(containers) {
                for container in containers {
                    remove(container, &["image"]);
                }
            }
        }
        spec
    };
    if fixed(old) != fixed(new) {
        let message = "pod updates may not change fields other than \
                       `spec.containers[*].image`,`spec.initContainers[*].image`,\
                       `spec.activeDeadlineSeconds`,`spec.tolerations` \
                       (only additions to existing \
                       tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to \
                       1 if it was previously negative)";
        causes.push(StatusCause::forbidden("spec", message));
    }
}
