//! The subresources scale, binding and log. Eviction has its own module.

use axum::http::{StatusCode, header};
use serde_json::{Value, json};

use crate::gateway::Incoming;
use crate::kubernetes::kinds::{self, Kind, PODS};
use crate::kubernetes::object::{self, list, map, number, put, text, uid, version};
use crate::kubernetes::patch::{self, PatchType};
use crate::kubernetes::request::{self, ResourcePath};
use crate::kubernetes::status_error::{StatusCause, StatusError};
use crate::kubernetes::write::{ObjectPart, ObjectWriter};

use super::mutations::WriteResponse;

/// The kind in errors about a Scale.
static SCALE: Kind = kinds::grouped("autoscaling", "v1", "scales", "Scale");

/// Returns the Scale object of a workload.
pub(crate) fn scale_of(workload: &Value) -> Value {
    let mut metadata = json!({
        "name": object::name(workload),
        "namespace": object::namespace(workload),
        "uid": uid(workload),
        "resourceVersion": version(workload),
    });
    if let Some(created) = workload.pointer("/metadata/creationTimestamp") {
        metadata["creationTimestamp"] = created.clone();
    }
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": number(workload, "/spec/replicas").unwrap_or(0)},
        "status": {
            "replicas": number(workload, "/status/replicas").unwrap_or(0),
            "selector": selector_text(workload),
        },
    })
}

fn selector_text(workload: &Value) -> String {
    let labels = map(workload, "/spec/selector/matchLabels");
    let parts: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    parts.join(",")
}

/// Updates or patches a Scale.
pub(crate) fn write_scale(
    writer: &mut ObjectWriter<'_>,
    target: &ResourcePath,
    incoming: &Incoming,
) -> Result<WriteResponse, StatusError> {
    let patched = incoming.parts.method == axum::http::Method::PATCH;
    let change = request::body(incoming)?;
    let patch_type =
        if patched { Some(PatchType::of(incoming.header(header::CONTENT_TYPE))?) } else { None };
    let (resource, namespace, name) = (target.resource, target.namespace(), target.name());
    let written = writer.update(resource, namespace, name, ObjectPart::Main, |current| {
        let scale = match patch_type {
            Some(patch_type) => patch::apply(resource, patch_type, &scale_of(current), &change)?,
            None => change,
        };
        with_scale(current, &scale)
    })?;
    let mut outcome = WriteResponse::ok(&written);
    outcome.body = scale_of(&outcome.body);
    Ok(outcome)
}

fn with_scale(current: &Value, scale: &Value) -> Result<Value, StatusError> {
    let replicas = match scale.pointer("/spec/replicas") {
        None | Some(Value::Null) => 0,
        Some(value) => value.as_i64().ok_or_else(|| {
            StatusError::bad_request(
                "json: cannot unmarshal value into Go struct field ScaleSpec.spec.replicas of \
                 type int32",
            )
        })?,
    };
    if replicas < 0 {
        let message = "must be greater than or equal to 0";
        let cause = StatusCause::invalid("spec.replicas", &replicas.into(), message);
        return Err(StatusError::invalid(&SCALE, object::name(current), &[cause]));
    }
    let mut object = current.clone();
    put(&mut object, &["spec", "replicas"], replicas);
    for field in ["uid", "resourceVersion"] {
        if let Some(given) = scale["metadata"].get(field).filter(|given| !given.is_null()) {
            put(&mut object, &["metadata", field], given.clone());
        }
    }
    Ok(object)
}

/// Binds a pod to a node.
pub(crate) fn bind(
    writer: &mut ObjectWriter<'_>,
    target: &ResourcePath,
    binding: &Value,
) -> Result<WriteResponse, StatusError> {
    let node = text(binding, "/target/name").to_owned();
    let now = writer.now;
    let (namespace, name) = (target.namespace(), target.name());
    let written = writer.update(&PODS, namespace, name, ObjectPart::Whole, |pod| {
        let bound = text(pod, "/spec/nodeName");
        if !bound.is_empty() {
            let why = format!("pod {name} is already assigned to node {bound:?}");
            return Err(StatusError::conflict(&PODS, name, &why).with_subresource("binding"));
        }
        let mut pod = pod.clone();
        put(&mut pod, &["spec", "nodeName"], node.as_str());
        let scheduled = json!({"type": "PodScheduled", "status": "True"});
        crate::kubernetes::object::set_condition(&mut pod, scheduled, now);
        Ok(pod)
    })?;
    Ok(WriteResponse {
        status: StatusCode::CREATED,
        changed: written.changed,
        body: success_status(),
    })
}

pub(super) fn success_status() -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": 201,
    })
}

/// How many lines a container of a job writes before it ends.
const WORK_LINES: usize = 30;

/// Returns the log of a simulated pod: a line for each container that runs, and those of the containers that have
/// ended. At most the last `tail` lines.
pub(crate) fn logs(pod: &Value, tail: Option<usize>) -> String {
    let mut lines = Vec::new();
    for status in list(pod, "/status/containerStatuses") {
        let name = text(status, "/name");
        let Some(ended) = status.pointer("/state/terminated") else {
            let started = text(status, "/state/running/startedAt");
            lines.push(format!("{started} simulated container {name}\n"));
            continue;
        };
        let (started, code) = (text(ended, "/startedAt"), number(ended, "/exitCode").unwrap_or(0));
        lines.push(format!("{started} simulated container {name}\n"));
        lines.extend((1..=WORK_LINES).map(|line| format!("line {line} of {WORK_LINES}\n")));
        lines.push(format!("{name} ends with exit code {code}\n"));
    }
    let skipped = lines.len().saturating_sub(tail.unwrap_or(usize::MAX));
    lines.split_off(skipped).concat()
}
