//! What pods and the templates of workloads have in common: defaults and validation.

use serde_json::{Value, json};

use crate::kubernetes::object::{list, number, put_default, text};
use crate::kubernetes::selectors::selects;
use crate::kubernetes::status_error::StatusCause;

/// The annotation with the cost of deleting a pod.
pub(crate) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The path of the pod in a workload.
pub(super) const TEMPLATE: [&str; 3] = ["spec", "template", "spec"];

pub(super) fn pod_defaults(object: &mut Value, path: &[&str]) {
    let mut place = &mut *object;
    for key in path {
        match place.get_mut(*key) {
            Some(inner) if inner.is_object() => place = inner,
            _ => return,
        }
    }
    put_default(place, &["restartPolicy"], "Always");
    put_default(place, &["terminationGracePeriodSeconds"], 30);
    put_default(place, &["dnsPolicy"], "ClusterFirst");
    put_default(place, &["schedulerName"], "default-scheduler");
    put_default(place, &["securityContext"], json!({}));
    for field in ["containers", "initContainers"] {
        let Some(Value::Array(containers)) = place.get_mut(field) else {
            continue;
        };
        for container in containers.iter_mut().filter(|c| c.is_object()) {
            container_defaults(container);
        }
    }
}

fn container_defaults(container: &mut Value) {
    let image = text(container, "/image");
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':'));
    let latest = tag.is_none_or(|(_, tag)| tag == "latest") && !image.contains('@');
    let policy = if latest { "Always" } else { "IfNotPresent" };
    put_default(container, &["imagePullPolicy"], policy);
    put_default(container, &["resources"], json!({}));
    put_default(container, &["terminationMessagePath"], "/dev/termination-log");
    put_default(container, &["terminationMessagePolicy"], "File");
    if let Some(Value::Array(ports)) = container.get_mut("ports") {
        for port in ports.iter_mut().filter(|port| port.is_object()) {
            put_default(port, &["protocol"], "TCP");
        }
    }
}

/// Validates the pod spec at `path`.
pub(super) fn validate_pod(object: &Value, path: &[&str], causes: &mut Vec<StatusCause>) {
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
pub(super) fn validate_cost(
    annotations: Option<&Value>,
    field: &str,
    causes: &mut Vec<StatusCause>,
) {
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

pub(super) fn validate_workload(object: &Value, causes: &mut Vec<StatusCause>) {
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
