//! Deployments.

use serde_json::{Value, json};

use crate::kubernetes::object::{number, put_default, text};
use crate::kubernetes::status_error::StatusCause;
use crate::kubernetes::write::ObjectPart;

use super::check::{keep_selector, validate_share};
use super::column::{AGE, NAME, column, containers, count, selector, wide};
use super::pod_spec::{TEMPLATE, pod_defaults, validate_workload};
use super::{Kind, grouped};

pub(crate) static DEPLOYMENTS: Kind = Kind {
    short_names: &["deploy"],
    subresources: &["status", "scale"],
    generation: true,
    common: true,
    set_defaults: defaults,
    admit: |deployment| put_default(deployment, &["status"], json!({})),
    omitted_when_empty: &[&["spec", "paused"], &["spec", "minReadySeconds"]],
    integers: &["replicas", "minReadySeconds", "progressDeadlineSeconds"],
    validate,
    validate_update: keep_selector,
    counts,
    status_metadata: &["annotations"],
    columns: &[
        NAME,
        column("Ready", |deployment, _| {
            let ready = count(deployment, "/status/readyReplicas");
            format!("{ready}/{}", count(deployment, "/spec/replicas")).into()
        }),
        column("Up-to-date", |deployment, _| count(deployment, "/status/updatedReplicas").into()),
        column("Available", |deployment, _| count(deployment, "/status/availableReplicas").into()),
        AGE,
        wide("Containers", |deployment, _| containers(deployment, "/name")),
        wide("Images", |deployment, _| containers(deployment, "/image")),
        wide("Selector", |deployment, _| selector(deployment)),
    ],
    ..grouped("apps", "v1", "deployments", "Deployment")
};

fn defaults(object: &mut Value) {
    put_default(object, &["spec", "replicas"], 1);
    put_default(object, &["spec", "revisionHistoryLimit"], 10);
    put_default(object, &["spec", "progressDeadlineSeconds"], 600);
    put_default(object, &["spec", "strategy", "type"], "RollingUpdate");
    if text(object, "/spec/strategy/type") == "RollingUpdate" {
        let rolling = ["spec", "strategy", "rollingUpdate"];
        put_default(object, &[&rolling[..], &["maxSurge"]].concat(), "25%");
        put_default(object, &[&rolling[..], &["maxUnavailable"]].concat(), "25%");
    }
    pod_defaults(object, &TEMPLATE);
}

fn validate(object: &Value, causes: &mut Vec<StatusCause>) {
    validate_workload(object, causes);
    validate_strategy(object, causes);
}

/// Validates the strategy of a deployment, and the times that it allows.
fn validate_strategy(object: &Value, causes: &mut Vec<StatusCause>) {
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

/// Returns whether a change counts in the generation. A client's change of the annotations does; the annotations that
/// the controller writes together with the status do not.
fn counts(part: ObjectPart, old: &Value, new: &Value) -> bool {
    let annotations = "/metadata/annotations";
    old.get("spec") != new.get("spec")
        || (part == ObjectPart::Main && old.pointer(annotations) != new.pointer(annotations))
}
