//! The subresources that are more than a part of their object: scale, binding and the log. Eviction
//! has a room of its own.

use axum::http::{StatusCode, header};
use serde_json::{Value, json};

use crate::simulator::front::Incoming;
use crate::simulator::kubernetes::failure::{Cause, Failure};
use crate::simulator::kubernetes::object::{
    list, map, name, namespace, number, put, text, uid, version,
};
use crate::simulator::kubernetes::patch::{self, PatchType};
use crate::simulator::kubernetes::request::{self, Target};
use crate::simulator::kubernetes::resources::{PODS, Resource};
use crate::simulator::kubernetes::write::{Part, Writer};

use super::change::Outcome;

/// What a Scale calls itself when it is refused.
static SCALE: Resource = Resource {
    group: "autoscaling",
    version: "v1",
    plural: "scales",
    kind: "Scale",
    namespaced: true,
    short_names: &[],
    subresources: &[],
    generation: false,
    common: false,
};

/// The Scale object of a workload.
pub(crate) fn scale_of(workload: &Value) -> Value {
    let mut metadata = json!({
        "name": name(workload),
        "namespace": namespace(workload),
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

/// Writes a Scale, given whole or as a patch.
pub(crate) fn write_scale(
    writer: &mut Writer<'_>,
    target: &Target,
    incoming: &Incoming,
) -> Result<Outcome, Failure> {
    let patched = incoming.parts.method == axum::http::Method::PATCH;
    let change = request::body(incoming)?;
    let kind = match patched {
        true => Some(PatchType::of(incoming.header(header::CONTENT_TYPE))?),
        false => None,
    };
    let (resource, space, called) = (target.resource, target.space(), target.name());
    let written = writer.update(resource, space, called, Part::Main, |current| {
        let scale = match kind {
            Some(kind) => patch::apply(resource, kind, &scale_of(current), &change)?,
            None => change,
        };
        scaled(current, &scale)
    })?;
    let mut outcome = Outcome::ok(written);
    outcome.body = scale_of(&outcome.body);
    Ok(outcome)
}

fn scaled(current: &Value, scale: &Value) -> Result<Value, Failure> {
    let replicas = match scale.pointer("/spec/replicas") {
        None | Some(Value::Null) => 0,
        Some(value) => value.as_i64().ok_or_else(|| {
            Failure::bad_request(
                "json: cannot unmarshal value into Go struct field ScaleSpec.spec.replicas of \
                 type int32",
            )
        })?,
    };
    if replicas < 0 {
        let message = "must be greater than or equal to 0";
        let cause = Cause::invalid("spec.replicas", &replicas.into(), message);
        return Err(Failure::invalid(&SCALE, name(current), vec![cause]));
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
    writer: &mut Writer<'_>,
    target: &Target,
    binding: &Value,
) -> Result<Outcome, Failure> {
    let node = text(binding, "/target/name").to_owned();
    let now = writer.now;
    let (space, called) = (target.space(), target.name());
    let written = writer.update(&PODS, space, called, Part::Whole, |pod| {
        let bound = text(pod, "/spec/nodeName");
        if !bound.is_empty() {
            let why = format!("pod {called} is already assigned to node {bound:?}");
            return Err(Failure::conflict(&PODS, called, &why).of_subresource("binding"));
        }
        let mut pod = pod.clone();
        put(&mut pod, &["spec", "nodeName"], node.as_str());
        let scheduled = json!({"type": "PodScheduled", "status": "True"});
        crate::simulator::kubernetes::object::set_condition(&mut pod, scheduled, now);
        Ok(pod)
    })?;
    Ok(Outcome { status: StatusCode::CREATED, changed: written.changed, body: success() })
}

pub(super) fn success() -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": 201,
    })
}

/// The logs of a simulated container.
pub(crate) fn logs(pod: &Value) -> String {
    let statuses = list(pod, "/status/containerStatuses");
    let lines = statuses.iter().map(|status| {
        let started = text(status, "/state/running/startedAt");
        format!("{started} simulated container {}\n", text(status, "/name"))
    });
    lines.collect()
}
