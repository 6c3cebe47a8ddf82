//! Pods.

use serde_json::{Map, Value, json};

use crate::kubernetes::object::{
    flag, is_terminating, is_true, list, map, number, put_default, remove, text,
};
use crate::kubernetes::status_error::StatusCause;
use crate::kubernetes::write::DeleteOptions;
use crate::kubernetes::write::ObjectPart;

use super::column::{AGE, NAME, column, count, text_or_none, wide};
use super::pod_spec::{pod_defaults, validate_cost, validate_pod};
use super::{Kind, core};

pub(crate) static PODS: Kind = Kind {
    short_names: &["po"],
    subresources: &["status", "eviction", "binding", "log"],
    generation: true,
    common: true,
    set_defaults: defaults,
    omitted_when_empty: &[&["spec", "nodeName"], &["spec", "tolerations"]],
    validate,
    validate_update,
    counts,
    grace: Some(grace),
    is_shown_when_deleted: true,
    status_metadata: &["labels", "annotations"],
    fields: &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ],
    columns: &[
        NAME,
        column("Ready", |pod, _| ready_containers(pod).into()),
        column("Status", |pod, _| pod_status(pod).into()),
        column("Restarts", |pod, _| restarts(pod).to_string().into()),
        AGE,
        wide("IP", |pod, _| text_or_none(pod, "/status/podIP")),
        wide("Node", |pod, _| text_or_none(pod, "/spec/nodeName")),
        wide("Nominated Node", |pod, _| text_or_none(pod, "/status/nominatedNodeName")),
        wide("Readiness Gates", |_, _| "<none>".into()),
    ],
    ..core("pods", "Pod", true)
};

fn defaults(object: &mut Value) {
    pod_defaults(object, &["spec"]);
    tolerations(object);
    put_default(object, &["status", "phase"], "Pending");
    put_default(object, &["status", "qosClass"], qos_class(object));
}

/// Adds the tolerations of the admission plugin `DefaultTolerationSeconds`.
fn tolerations(pod: &mut Value) {
    put_default(pod, &["spec", "tolerations"], json!([]));
    let Some(Value::Array(tolerations)) = pod.pointer_mut("/spec/tolerations") else {
        return;
    };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covered = tolerations.iter().any(|toleration| {
            let keys = ["", key];
            let effects = ["", "NoExecute"];
            keys.contains(&text(toleration, "/key"))
                && effects.contains(&text(toleration, "/effect"))
        });
        if !covered {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
            }));
        }
    }
}

fn qos_class(pod: &Value) -> &'static str {
    let containers = list(pod, "/spec/containers");
    let none = containers.iter().all(|container| {
        map(container, "/resources/requests").is_none_or(Map::is_empty)
            && map(container, "/resources/limits").is_none_or(Map::is_empty)
    });
    let full = containers.iter().all(|container| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = container.pointer(&format!("/resources/limits/{name}"));
            let request = container.pointer(&format!("/resources/requests/{name}"));
            limit.is_some() && (request.is_none() || request == limit)
        })
    });
    match (none, full) {
        (true, _) => "BestEffort",
        (false, true) => "Guaranteed",
        (false, false) => "Burstable",
    }
}

fn validate(object: &Value, causes: &mut Vec<StatusCause>) {
    let annotations = object.pointer("/metadata/annotations");
    validate_cost(annotations, "metadata.annotations", causes);
    validate_pod(object, &["spec"], causes);
}

fn validate_update(old: &Value, new: &Value, causes: &mut Vec<StatusCause>) {
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

/// Returns whether a change counts in the generation. The binding is not a change of the specification.
fn counts(_: ObjectPart, old: &Value, new: &Value) -> bool {
    let fields = |object| {
        let spec = map(object, "/spec").into_iter().flatten();
        spec.filter(|(field, _)| *field != "nodeName")
    };
    let is_changed = |(field, value): (&String, &Value)| new["spec"].get(field) != Some(value);
    fields(old).count() != fields(new).count() || fields(old).any(is_changed)
}

/// Returns for how many seconds a deleted pod stays: one that a kubelet runs has a grace period.
fn grace(current: &Value, deletion: &DeleteOptions) -> i64 {
    let finished = matches!(text(current, "/status/phase"), "Succeeded" | "Failed");
    if finished || text(current, "/spec/nodeName").is_empty() {
        return 0;
    }
    let requested = deletion
        .grace
        .or_else(|| number(current, "/spec/terminationGracePeriodSeconds"))
        .unwrap_or(30)
        .max(0);
    match number(current, "/metadata/deletionGracePeriodSeconds") {
        Some(current_grace) => requested.min(current_grace),
        None => requested,
    }
}

fn ready_containers(pod: &Value) -> String {
    let statuses = list(pod, "/status/containerStatuses");
    let ready = statuses.iter().filter(|status| flag(status, "/ready")).count();
    format!("{ready}/{}", list(pod, "/spec/containers").len())
}

fn restarts(pod: &Value) -> i64 {
    let statuses = list(pod, "/status/containerStatuses");
    statuses.iter().map(|status| count(status, "/restartCount")).sum()
}

fn pod_status(pod: &Value) -> String {
    if is_terminating(pod) {
        return "Terminating".to_owned();
    }
    if let Some(status) = init_container_status(pod) {
        return status;
    }
    let waiting = list(pod, "/status/containerStatuses").iter().rev().find_map(|status| {
        let reasons = ["/state/waiting/reason", "/state/terminated/reason"];
        reasons.iter().map(|pointer| text(status, pointer)).find(|reason| !reason.is_empty())
    });
    let reason = text(pod, "/status/reason");
    match waiting {
        Some(waiting) => waiting.to_owned(),
        None if !reason.is_empty() => reason.to_owned(),
        None if text(pod, "/status/phase") == "Pending" && is_true(pod, "PodScheduled") => {
            "ContainerCreating".to_owned()
        }
        None => text(pod, "/status/phase").to_owned(),
    }
}

/// Returns the status of a pod whose init containers have not completed: `Init:1/2`, `Init:CrashLoopBackOff`.
fn init_container_status(pod: &Value) -> Option<String> {
    let statuses = list(pod, "/status/initContainerStatuses");
    let at = statuses.iter().position(|status| !flag(status, "/ready"))?;
    match text(&statuses[at], "/state/waiting/reason") {
        "" | "PodInitializing" => Some(format!("Init:{at}/{}", statuses.len())),
        reason => Some(format!("Init:{reason}")),
    }
}
