//! The API server's treatment of objects, kind by kind: defaults, fields that are omitted when they
//! are empty, and validation. Pure functions over JSON.

use serde_json::{Map, Value, json};

use super::custom;
use super::object::{is_terminating, list, map, put, put_default, remove, text};
use super::resources::Resource;
use super::write::ObjectPart;

pub(crate) use validate::{DELETION_COST, parse_cost, validate, validate_update};

mod validate;

/// Sets the defaults of an object.
pub(crate) fn set_defaults(resource: &Resource, object: &mut Value) {
    match resource.plural {
        "pods" => {
            pod_defaults(object, &["spec"]);
            pod_tolerations(object);
            put_default(object, &["status", "phase"], "Pending");
            put_default(object, &["status", "qosClass"], qos_class(object));
        }
        "deployments" => deployment_defaults(object),
        "replicasets" => {
            put_default(object, &["spec", "replicas"], 1);
            pod_defaults(object, &["spec", "template", "spec"]);
        }
        "statefulsets" => stateful_set_defaults(object),
        "daemonsets" => daemon_set_defaults(object),
        "jobs" => job_defaults(object),
        "namespaces" => {
            // A terminating namespace loses its finalizer when it is empty, and must not get it
            // again.
            if !is_terminating(object) {
                put_default(object, &["spec", "finalizers"], json!(["kubernetes"]));
            }
            put_default(object, &["status", "phase"], "Active");
            let name = text(object, "/metadata/name").to_owned();
            put(object, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
        }
        "horizontalpodautoscalers" => put_default(object, &["spec", "minReplicas"], 1),
        "limitranges" => limit_range_defaults(object),
        "secrets" => put_default(object, &["type"], "Opaque"),
        "services" => put_default(object, &["spec", "type"], "ClusterIP"),
        _ => {}
    }
}

/// A container's default limit is its maximum, and its default request the default limit or the minimum.
fn limit_range_defaults(object: &mut Value) {
    let Some(Value::Array(limits)) = object.pointer_mut("/spec/limits") else {
        return;
    };
    for limit in limits.iter_mut().filter(|limit| text(limit, "/type") == "Container") {
        for (field, source) in
            [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")]
        {
            for (name, quantity) in map(limit, &format!("/{source}")).cloned().unwrap_or_default() {
                put_default(limit, &[field, &name], quantity);
            }
        }
    }
}

fn deployment_defaults(object: &mut Value) {
    put_default(object, &["spec", "replicas"], 1);
    put_default(object, &["spec", "revisionHistoryLimit"], 10);
    put_default(object, &["spec", "progressDeadlineSeconds"], 600);
    put_default(object, &["spec", "strategy", "type"], "RollingUpdate");
    if text(object, "/spec/strategy/type") == "RollingUpdate" {
        let rolling = ["spec", "strategy", "rollingUpdate"];
        put_default(object, &[&rolling[..], &["maxSurge"]].concat(), "25%");
        put_default(object, &[&rolling[..], &["maxUnavailable"]].concat(), "25%");
    }
    pod_defaults(object, &["spec", "template", "spec"]);
}

fn stateful_set_defaults(object: &mut Value) {
    put_default(object, &["spec", "replicas"], 1);
    put_default(object, &["spec", "revisionHistoryLimit"], 10);
    put_default(object, &["spec", "podManagementPolicy"], "OrderedReady");
    put_default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
    if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        put_default(object, &["spec", "updateStrategy", "rollingUpdate", "partition"], 0);
    }
    for moment in ["whenDeleted", "whenScaled"] {
        let path = ["spec", "persistentVolumeClaimRetentionPolicy", moment];
        put_default(object, &path, "Retain");
    }
    pod_defaults(object, &["spec", "template", "spec"]);
}

fn daemon_set_defaults(object: &mut Value) {
    put_default(object, &["spec", "revisionHistoryLimit"], 10);
    put_default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
    if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        let rolling = ["spec", "updateStrategy", "rollingUpdate"];
        put_default(object, &[&rolling[..], &["maxUnavailable"]].concat(), 1);
        put_default(object, &[&rolling[..], &["maxSurge"]].concat(), 0);
    }
    pod_defaults(object, &["spec", "template", "spec"]);
}

fn job_defaults(object: &mut Value) {
    put_default(object, &["spec", "parallelism"], 1);
    put_default(object, &["spec", "completions"], 1);
    put_default(object, &["spec", "backoffLimit"], 6);
    put_default(object, &["spec", "completionMode"], "NonIndexed");
    put_default(object, &["spec", "suspend"], false);
    put_default(object, &["spec", "manualSelector"], false);
    put_default(object, &["spec", "podReplacementPolicy"], "TerminatingOrFailed");
    pod_defaults(object, &["spec", "template", "spec"]);
}

fn pod_defaults(object: &mut Value, path: &[&str]) {
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

/// Sets what admission plugins add to a new object, and the initial status of its kind.
pub(crate) fn admit(resource: &Resource, object: &mut Value) {
    match resource.plural {
        // A new node is tainted until the node controller has seen its conditions.
        "nodes" => {
            let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
            let mut taints = list(object, "/spec/taints").to_vec();
            if !taints.contains(&taint) {
                taints.push(taint);
            }
            put(object, &["spec", "taints"], taints);
        }
        "deployments" => put_default(object, &["status"], json!({})),
        "replicasets" => put_default(object, &["status"], json!({"replicas": 0})),
        "statefulsets" => {
            put_default(object, &["status"], json!({"replicas": 0, "availableReplicas": 0}));
        }
        "daemonsets" => {
            let counts = [
                "currentNumberScheduled",
                "desiredNumberScheduled",
                "numberMisscheduled",
                "numberReady",
            ];
            for count in counts {
                put_default(object, &["status", count], 0);
            }
        }
        "jobs" => put_default(object, &["status"], json!({})),
        "poddisruptionbudgets" => {
            let counts = ["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"];
            for count in counts {
                put_default(object, &["status", count], 0);
            }
        }
        _ => {}
    }
}

/// Adds the tolerations of the admission plugin `DefaultTolerationSeconds`.
fn pod_tolerations(pod: &mut Value) {
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

/// Removes the fields that the API server does not write: nulls, and fields whose zero value is
/// omitted.
pub(crate) fn normalize(resource: &Resource, object: &mut Value) {
    if custom::is_custom(resource) {
        // Their members may be null.
        object.get_mut("metadata").into_iter().for_each(prune_nulls);
        custom::prune_and_default(resource, object);
    } else {
        prune_nulls(object);
    }
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let path = ["metadata", field];
        if is_empty(object.pointer(&format!("/metadata/{field}"))) {
            remove(object, &path);
        }
    }
    let omitted_when_empty: &[&[&str]] = match resource.plural {
        "nodes" => &[&["spec", "unschedulable"], &["spec", "taints"]],
        "deployments" => &[&["spec", "paused"], &["spec", "minReadySeconds"]],
        "replicasets" => &[&["spec", "minReadySeconds"]],
        "pods" => &[&["spec", "nodeName"], &["spec", "tolerations"]],
        "configmaps" => &[&["data"], &["binaryData"], &["immutable"]],
        _ => &[],
    };
    for path in omitted_when_empty {
        if is_empty(object.pointer(&format!("/{}", path.join("/")))) {
            remove(object, path);
        }
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(flag)) => !flag,
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        _ => false,
    }
}

fn prune_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(prune_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

/// Returns whether the API counts this change in `metadata.generation`.
pub(crate) fn bumps_generation(
    resource: &Resource,
    part: ObjectPart,
    old: &Value,
    new: &Value,
) -> bool {
    if custom::is_custom(resource) {
        let without = |object: &Value| {
            let mut rest = object.clone();
            remove(&mut rest, &["metadata"]);
            if resource.has_status() {
                remove(&mut rest, &["status"]);
            }
            rest
        };
        return without(old) != without(new);
    }
    let annotations = "/metadata/annotations";
    // A client's change of a deployment's annotations counts; the annotations that its controller
    // writes together with the status do not.
    let spec = |object: &Value| {
        let mut spec = object.get("spec").cloned().unwrap_or_default();
        if resource.plural == "pods" {
            // The binding is not a change of the pod's specification.
            remove(&mut spec, &["nodeName"]);
        }
        spec
    };
    spec(old) != spec(new)
        || (resource.plural == "deployments"
            && part == ObjectPart::Main
            && old.pointer(annotations) != new.pointer(annotations))
}

/// Returns the decoder's message about a field of the wrong type, if there is one.
pub(crate) fn type_error(resource: &Resource, object: &Value) -> Option<String> {
    let integers: &[&str] = match resource.plural {
        "deployments" => &["replicas", "minReadySeconds", "progressDeadlineSeconds"],
        "replicasets" | "statefulsets" => &["replicas", "minReadySeconds"],
        "jobs" => &["parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished"],
        "horizontalpodautoscalers" => &["minReplicas", "maxReplicas"],
        _ => &[],
    };
    let is_integer = |value: &Value| value.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
    let field = integers.iter().find(|field| {
        let value = object.pointer(&format!("/spec/{field}"));
        value.is_some_and(|value| !value.is_null() && !is_integer(value))
    })?;
    let kind = resource.kind;
    let value = match &object["spec"][*field] {
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        _ => "object",
    };
    Some(format!(
        "json: cannot unmarshal {value} into Go struct field {kind}Spec.spec.{field} of type int32"
    ))
}
