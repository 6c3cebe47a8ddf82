//! What the API server adds to objects and refuses in them, kind by kind: defaults, fields that it
//! leaves out when they say nothing, and validation. Pure functions over JSON.

use serde_json::{Map, Value, json};

use super::failure::Cause;
use super::object::{flag, is_terminating, list, map, number, put, put_default, remove, text};
use super::resources::Resource;
use super::selectors::selects;
use super::write::Part;

/// Fills in what the API server fills in.
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
        "statefulsets" => {
            put_default(object, &["spec", "replicas"], 1);
            pod_defaults(object, &["spec", "template", "spec"]);
        }
        "daemonsets" => pod_defaults(object, &["spec", "template", "spec"]),
        "namespaces" => {
            // One that is going loses its finalizer when it is empty, and must not get it back.
            if !is_terminating(object) {
                put_default(object, &["spec", "finalizers"], json!(["kubernetes"]));
            }
            put_default(object, &["status", "phase"], "Active");
            let name = text(object, "/metadata/name").to_owned();
            put(object, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
        }
        "horizontalpodautoscalers" => put_default(object, &["spec", "minReplicas"], 1),
        "secrets" => put_default(object, &["type"], "Opaque"),
        "services" => put_default(object, &["spec", "type"], "ClusterIP"),
        _ => {}
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

/// What a new object gets from admission plugins, and the status with which its kind begins.
pub(crate) fn admit(resource: &Resource, object: &mut Value) {
    match resource.plural {
        // A new node takes no pods before the node controller has looked at its conditions.
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
        "poddisruptionbudgets" => {
            let counts = ["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"];
            for count in counts {
                put_default(object, &["status", count], 0);
            }
        }
        _ => {}
    }
}

/// The admission plugin DefaultTolerationSeconds.
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

/// Leaves out what the API server does not write: nulls, and fields whose zero value says nothing.
pub(crate) fn normalise(resource: &Resource, object: &mut Value) {
    prune_nulls(object);
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let path = ["metadata", field];
        if is_empty(object.pointer(&format!("/metadata/{field}"))) {
            remove(object, &path);
        }
    }
    let silent: &[&[&str]] = match resource.plural {
        "nodes" => &[&["spec", "unschedulable"], &["spec", "taints"]],
        "deployments" => &[&["spec", "paused"], &["spec", "minReadySeconds"]],
        "replicasets" => &[&["spec", "minReadySeconds"]],
        "pods" => &[&["spec", "nodeName"], &["spec", "tolerations"]],
        "configmaps" => &[&["data"], &["binaryData"], &["immutable"]],
        _ => &[],
    };
    for path in silent {
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

/// What is wrong with an object, by itself.
pub(crate) fn validate(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    validate_name(resource, object, &mut causes);
    match resource.plural {
        "pods" => validate_pod(object, &["spec"], &mut causes),
        "deployments" | "replicasets" | "daemonsets" | "statefulsets" => {
            validate_workload(object, &mut causes);
        }
        "poddisruptionbudgets" => validate_budget(object, &mut causes),
        "horizontalpodautoscalers" => validate_autoscaler(object, &mut causes),
        _ => {}
    }
    causes
}

fn validate_name(resource: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    let name = text(object, "/metadata/name");
    if name.is_empty() {
        let message = "name or generateName is required";
        causes.push(Cause::required("metadata.name", message));
        return;
    }
    let good_label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty()
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let (good, message) = if matches!(resource.plural, "namespaces" | "services") {
        let message = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
                       characters or '-', and must start and end with an alphanumeric character \
                       (e.g. 'my-name',  or '123-abc', regex used for validation is \
                       '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
        (good_label(name) && name.len() <= 63, message)
    } else {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                       characters, '-' or '.', and must start and end with an alphanumeric \
                       character (e.g. 'example.com', regex used for validation is \
                       '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        (name.split('.').all(good_label) && name.len() <= 253, message)
    };
    if !good {
        causes.push(Cause::invalid("metadata.name", &name.into(), message));
    }
}

/// Checks the pod spec at `path`.
fn validate_pod(object: &Value, path: &[&str], causes: &mut Vec<Cause>) {
    let field = path.join(".");
    let containers = list(object, &format!("/{}/containers", path.join("/")));
    if containers.is_empty() {
        causes.push(Cause::required(&format!("{field}.containers"), ""));
    }
    for (at, container) in containers.iter().enumerate() {
        for key in ["name", "image"] {
            if text(container, &format!("/{key}")).is_empty() {
                causes.push(Cause::required(&format!("{field}.containers[{at}].{key}"), ""));
            }
        }
    }
}

fn validate_workload(object: &Value, causes: &mut Vec<Cause>) {
    if let Some(replicas) = number(object, "/spec/replicas").filter(|replicas| *replicas < 0) {
        let message = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.replicas", &replicas.into(), message));
    }
    let selector = object.pointer("/spec/selector");
    let template = object.pointer("/spec/template").unwrap_or(&Value::Null);
    if selector.is_none() {
        causes.push(Cause::required("spec.selector", ""));
    }
    if !selects(selector, template) {
        let labels = template.pointer("/metadata/labels").unwrap_or(&Value::Null);
        let message = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, message));
    }
    validate_pod(object, &["spec", "template", "spec"], causes);
}

fn validate_budget(object: &Value, causes: &mut Vec<Cause>) {
    let both = ["minAvailable", "maxUnavailable"]
        .iter()
        .all(|field| object.pointer(&format!("/spec/{field}")).is_some());
    if both {
        let message = "minAvailable and maxUnavailable cannot be both set";
        let spec = object.pointer("/spec").unwrap_or(&Value::Null);
        causes.push(Cause::invalid("spec", spec, message));
    }
}

fn validate_autoscaler(object: &Value, causes: &mut Vec<Cause>) {
    let min = number(object, "/spec/minReplicas").unwrap_or(1);
    match number(object, "/spec/maxReplicas") {
        None => {
            let message = "must be greater than 0";
            causes.push(Cause::invalid("spec.maxReplicas", &0.into(), message));
        }
        Some(max) if max < min => {
            let message = "must be greater than or equal to `minReplicas`";
            causes.push(Cause::invalid("spec.maxReplicas", &max.into(), message));
        }
        Some(_) => {}
    }
}

/// What is wrong with a change.
pub(crate) fn validate_update(resource: &Resource, old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match resource.plural {
        "deployments" | "replicasets" | "daemonsets" | "statefulsets" => {
            immutable(old, new, "spec.selector", &mut causes);
        }
        "nodes" => validate_node_update(old, new, &mut causes),
        "pods" => validate_pod_update(old, new, &mut causes),
        "configmaps" if flag(old, "/immutable") => {
            for field in ["data", "binaryData", "immutable"] {
                if old.get(field) != new.get(field) {
                    let message = "field is immutable when `immutable` is set";
                    causes.push(Cause::forbidden(field, message));
                }
            }
        }
        _ => {}
    }
    causes
}

fn immutable(old: &Value, new: &Value, field: &str, causes: &mut Vec<Cause>) {
    let pointer = format!("/{}", field.replace('.', "/"));
    if old.pointer(&pointer) != new.pointer(&pointer) {
        let value = new.pointer(&pointer).unwrap_or(&Value::Null);
        causes.push(Cause::invalid(field, value, "field is immutable"));
    }
}

fn validate_node_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let before = text(old, "/spec/providerID");
    if !before.is_empty() && before != text(new, "/spec/providerID") {
        let message = "node updates may not change providerID except from \"\" to valid";
        causes.push(Cause::forbidden("spec.providerID", message));
    }
}

fn validate_pod_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let fixed = |pod: &Value| {
        let mut spec = pod.get("spec").cloned().unwrap_or_default();
        for field in ["activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations"] {
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
        causes.push(Cause::forbidden("spec", message));
    }
}

/// Whether the API counts this change in metadata.generation.
pub(crate) fn counts_as_generation(
    resource: &Resource,
    part: Part,
    old: &Value,
    new: &Value,
) -> bool {
    let annotations = "/metadata/annotations";
    // Clients' annotations of a deployment count, those that its controller writes with the status
    // do not.
    let spec = |object: &Value| {
        let mut spec = object.get("spec").cloned().unwrap_or_default();
        if resource.plural == "pods" {
            // Its binding is not a change of what the pod shall be.
            remove(&mut spec, &["nodeName"]);
        }
        spec
    };
    spec(old) != spec(new)
        || (resource.plural == "deployments"
            && part == Part::Main
            && old.pointer(annotations) != new.pointer(annotations))
}

/// The type of a field that is not what the kind says, in the words of the decoder.
pub(crate) fn mistyped(resource: &Resource, object: &Value) -> Option<String> {
    let integers: &[&str] = match resource.plural {
        "deployments" => &["replicas", "minReadySeconds", "progressDeadlineSeconds"],
        "replicasets" | "statefulsets" => &["replicas", "minReadySeconds"],
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
