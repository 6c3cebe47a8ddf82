//! Daemon sets.

use serde_json::{Value, json};

use crate::kubernetes::object::{map, put, put_default, text};
use crate::kubernetes::status_error::StatusCause;

use super::check::{keep_selector, validate_share};
use super::column::{AGE, NAME, column, containers, count, selector, wide};
use super::pod_spec::{TEMPLATE, pod_defaults, validate_workload};
use super::{Kind, grouped};

/// The annotation that counts the templates of a set.
const GENERATION: &str = "deprecated.daemonset.template.generation";

pub(crate) static DAEMON_SETS: Kind = Kind {
    short_names: &["ds"],
    subresources: &["status"],
    generation: true,
    common: true,
    set_defaults: defaults,
    admit,
    validate,
    validate_update: keep_selector,
    note_change: count_template,
    columns: &[
        NAME,
        column("Desired", |set, _| count(set, "/status/desiredNumberScheduled").into()),
        column("Current", |set, _| count(set, "/status/currentNumberScheduled").into()),
        column("Ready", |set, _| count(set, "/status/numberReady").into()),
        column("Up-to-date", |set, _| count(set, "/status/updatedNumberScheduled").into()),
        column("Available", |set, _| count(set, "/status/numberAvailable").into()),
        column("Node Selector", |set, _| node_selector(set)),
        AGE,
        wide("Containers", |set, _| containers(set, "/name")),
        wide("Images", |set, _| containers(set, "/image")),
        wide("Selector", |set, _| selector(set)),
    ],
    ..grouped("apps", "v1", "daemonsets", "DaemonSet")
};

fn defaults(object: &mut Value) {
    put_default(object, &["metadata", "annotations", GENERATION], "1");
    put_default(object, &["spec", "revisionHistoryLimit"], 10);
    put_default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
    if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        let rolling = ["spec", "updateStrategy", "rollingUpdate"];
        put_default(object, &[&rolling[..], &["maxUnavailable"]].concat(), 1);
        put_default(object, &[&rolling[..], &["maxSurge"]].concat(), 0);
    }
    pod_defaults(object, &TEMPLATE);
}

fn admit(object: &mut Value) {
    let counts =
        ["currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"];
    for count in counts {
        put_default(object, &["status", count], 0);
    }
}

fn validate(object: &Value, causes: &mut Vec<StatusCause>) {
    validate_workload(object, causes);
    let field = "spec.updateStrategy.rollingUpdate";
    let rolling = object.pointer("/spec/updateStrategy/rollingUpdate").unwrap_or(&Value::Null);
    for name in ["maxUnavailable", "maxSurge"] {
        validate_share(rolling.get(name), &format!("{field}.{name}"), causes);
    }
    let is_zero = |name: &str| rolling.get(name).is_some_and(|share| *share == 0 || *share == "0%");
    if is_zero("maxUnavailable") && is_zero("maxSurge") {
        let message = "cannot be 0 when maxSurge is 0";
        causes.push(StatusCause::required(&format!("{field}.maxUnavailable"), message));
    }
}

/// Counts another template in the annotation, which no client can set.
fn count_template(old: &Value, new: &mut Value) {
    let counted: i64 = template_generation(old).parse().unwrap_or(1);
    let is_other = old.pointer("/spec/template") != new.pointer("/spec/template");
    let now = if is_other { counted + 1 } else { counted };
    put(new, &["metadata", "annotations", GENERATION], now.to_string());
}

/// Returns the number of a set's template.
pub(crate) fn template_generation(set: &Value) -> &str {
    let annotations = map(set, "/metadata/annotations");
    annotations.and_then(|all| all.get(GENERATION)?.as_str()).unwrap_or("1")
}

fn node_selector(set: &Value) -> Value {
    let labels = map(set, "/spec/template/spec/nodeSelector").into_iter().flatten();
    let parts: Vec<String> = labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if parts.is_empty() { json!("<none>") } else { parts.join(",").into() }
}
