//! Objects as the tables that `kubectl get` prints: the columns of each kind and their cells.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kubernetes::custom::{self, PrinterColumn};
use crate::kubernetes::object::{
    self, condition, flag, is_terminating, is_true, list, map, moment, number, text,
};
use crate::kubernetes::resources::Resource;

use super::representation::metadata_only;

/// Returns the cell of an object at a moment.
type CellOf = dyn Fn(&Value, Timestamp) -> Value;

/// A column: its name, whether only `-o wide` shows it, and its cell.
struct Column {
    name: &'static str,
    wide: bool,
    cell: Box<CellOf>,
}

fn column(name: &'static str, cell: impl Fn(&Value, Timestamp) -> Value + 'static) -> Column {
    Column { name, wide: false, cell: Box::new(cell) }
}

fn wide(name: &'static str, cell: impl Fn(&Value, Timestamp) -> Value + 'static) -> Column {
    Column { wide: true, ..column(name, cell) }
}

/// Returns a column of a custom kind.
fn custom_column(column: &'static PrinterColumn) -> Column {
    let cell = move |object: &Value, now| match column.value(object) {
        Some(_) if column.type_ == "date" => age(object, "/metadata/creationTimestamp", now),
        value => value.cloned().unwrap_or_default(),
    };
    Column { wide: column.priority > 0, ..self::column(&column.name, cell) }
}

/// The part of its object that each row includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    Nothing,
    Metadata,
    Object,
}

/// Returns the table of some objects of one kind.
pub(crate) fn table<'a>(
    resource: &Resource,
    objects: impl Iterator<Item = &'a Value>,
    include: IncludeObject,
    metadata: &Value,
    now: Timestamp,
) -> Value {
    let columns = columns(resource);
    let definitions: Vec<Value> = columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": "string",
                "format": if column.name == "Name" { "name" } else { "" },
                "description": "",
                "priority": i32::from(column.wide),
            })
        })
        .collect();
    let rows: Vec<Value> = objects
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|c| (c.cell)(object, now)).collect();
            let mut row = json!({"cells": cells});
            match include {
                IncludeObject::Nothing => {}
                IncludeObject::Metadata => row["object"] = metadata_only(object),
                IncludeObject::Object => row["object"] = object.clone(),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn columns(resource: &Resource) -> Vec<Column> {
    let named = column("Name", |object, _| object::name(object).into());
    let age = || column("Age", |object, now| age(object, "/metadata/creationTimestamp", now));
    let mut columns = vec![named];
    match resource.plural {
        "nodes" => {
            columns.push(column("Status", |node, _| node_status(node).into()));
            columns.push(column("Roles", |node, _| roles(node).into()));
            columns.push(age());
            columns.push(column("Version", |node, _| {
                text(node, "/status/nodeInfo/kubeletVersion").into()
            }));
            columns.push(wide("Internal-IP", |node, _| address(node, "InternalIP")));
            columns.push(wide("External-IP", |node, _| address(node, "ExternalIP")));
            columns
                .push(wide("OS-Image", |node, _| text_or_none(node, "/status/nodeInfo/osImage")));
            columns.push(wide("Kernel-Version", |node, _| {
                text_or_none(node, "/status/nodeInfo/kernelVersion")
            }));
            columns.push(wide("Container-Runtime", |node, _| {
                text_or_none(node, "/status/nodeInfo/containerRuntimeVersion")
            }));
        }
        "pods" => {
            columns.push(column("Ready", |pod, _| ready_containers(pod).into()));
            columns.push(column("Status", |pod, _| pod_status(pod).into()));
            columns.push(column("Restarts", |pod, _| restarts(pod).to_string().into()));
            columns.push(age());
            columns.push(wide("IP", |pod, _| text_or_none(pod, "/status/podIP")));
            columns.push(wide("Node", |pod, _| text_or_none(pod, "/spec/nodeName")));
            columns.push(wide("Nominated Node", |pod, _| {
                text_or_none(pod, "/status/nominatedNodeName")
            }));
            columns.push(wide("Readiness Gates", |_, _| "<none>".into()));
        }
        "deployments" => {
            columns.push(column("Ready", |deployment, _| {
                let ready = count(deployment, "/status/readyReplicas");
                format!("{ready}/{}", count(deployment, "/spec/replicas")).into()
            }));
            columns.push(column("Up-to-date", |deployment, _| {
                count(deployment, "/status/updatedReplicas").into()
            }));
            columns.push(column("Available", |deployment, _| {
                count(deployment, "/status/availableReplicas").into()
            }));
            columns.push(age());
            columns.push(wide("Containers", |deployment, _| containers(deployment, "/name")));
            columns.push(wide("Images", |deployment, _| containers(deployment, "/image")));
            columns.push(wide("Selector", |deployment, _| selector(deployment)));
        }
        "replicasets" => {
            columns.push(column("Desired", |set, _| count(set, "/spec/replicas").into()));
            columns.push(column("Current", |set, _| count(set, "/status/replicas").into()));
            columns.push(column("Ready", |set, _| count(set, "/status/readyReplicas").into()));
            columns.push(age());
        }
        "namespaces" => {
            columns.push(column("Status", |namespace, _| text_or_none(namespace, "/status/phase")));
            columns.push(age());
        }
        "configmaps" | "secrets" => {
            columns.push(column("Data", |object, _| {
                map(object, "/data").map_or(0, serde_json::Map::len).into()
            }));
            columns.push(age());
        }
        "poddisruptionbudgets" => {
            columns.push(column("Min Available", |budget, _| limit(budget, "minAvailable")));
            columns.push(column("Max Unavailable", |budget, _| limit(budget, "maxUnavailable")));
            columns.push(column("Allowed Disruptions", |budget, _| {
                count(budget, "/status/disruptionsAllowed").into()
            }));
            columns.push(age());
        }
        "horizontalpodautoscalers" => {
            columns.push(column("Reference", |hpa, _| {
                let kind = text(hpa, "/spec/scaleTargetRef/kind");
                format!("{kind}/{}", text(hpa, "/spec/scaleTargetRef/name")).into()
            }));
            columns.push(column("MinPods", |hpa, _| count(hpa, "/spec/minReplicas").into()));
            columns.push(column("MaxPods", |hpa, _| count(hpa, "/spec/maxReplicas").into()));
            columns.push(column("Replicas", |hpa, _| count(hpa, "/status/currentReplicas").into()));
            columns.push(age());
        }
        "resourcequotas" => {
            columns.push(column("Request", |quota, _| quota_usage(quota, false)));
            columns.push(column("Limit", |quota, _| quota_usage(quota, true)));
            columns.push(age());
        }
        "leases" => {
            columns.push(column("Holder", |lease, _| text_or_none(lease, "/spec/holderIdentity")));
            columns.push(age());
        }
        "events" => {
            columns.clear();
            columns.push(column("Last Seen", age_of));
            columns.push(column("Type", |event, _| text_or_none(event, "/type")));
            columns.push(column("Reason", |event, _| text_or_none(event, "/reason")));
            columns.push(column("Object", |event, _| {
                let kind = text(event, "/involvedObject/kind").to_lowercase();
                format!("{kind}/{}", text(event, "/involvedObject/name")).into()
            }));
            columns.push(column("Message", |event, _| text_or_none(event, "/message")));
        }
        _ => match custom::columns(resource) {
            Some(custom) => columns.extend(custom.iter().map(custom_column)),
            None => columns.push(age()),
        },
    }
    columns
}

fn text_or_none(object: &Value, pointer: &str) -> Value {
    match text(object, pointer) {
        "" => "<none>".into(),
        text => text.into(),
    }
}

fn count(object: &Value, pointer: &str) -> i64 {
    number(object, pointer).unwrap_or(0)
}

/// Returns what a quota has of each resource: `pods: 2/3`.
fn quota_usage(quota: &Value, of_limits: bool) -> Value {
    let hard = map(quota, "/status/hard").into_iter().flatten();
    let parts: Vec<String> = hard
        .filter(|(name, _)| name.starts_with("limits.") == of_limits)
        .map(|(name, hard)| {
            let used = &quota["status"]["used"][name.as_str()];
            let plain =
                |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
            format!("{name}: {}/{}", plain(used), plain(hard))
        })
        .collect();
    parts.join(", ").into()
}

fn limit(budget: &Value, field: &str) -> Value {
    match budget.pointer(&format!("/spec/{field}")) {
        Some(Value::String(share)) => share.as_str().into(),
        Some(number) => number.to_string().into(),
        None => "N/A".into(),
    }
}

fn age_of(event: &Value, now: Timestamp) -> Value {
    match moment(event, "/lastTimestamp") {
        Some(_) => age(event, "/lastTimestamp", now),
        None => age(event, "/metadata/creationTimestamp", now),
    }
}

fn age(object: &Value, pointer: &str, now: Timestamp) -> Value {
    match moment(object, pointer) {
        Some(then) => duration(now.as_second() - then.as_second()).into(),
        None => "<unknown>".into(),
    }
}

/// Formats seconds as kubectl does: with two units at most.
fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: i64, unit: char, rest: i64, small: char| match rest {
        0 => format!("{big}{unit}"),
        rest => format!("{big}{unit}{rest}{small}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, 'd', hours % 24, 'h'),
        () if days < 730 => format!("{days}d"),
        () => pair(days / 365, 'y', days % 365, 'd'),
    }
}

fn node_status(node: &Value) -> String {
    let mut status = match condition(node, "Ready") {
        Some(ready) if text(ready, "/status") == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if flag(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let labels = map(node, "/metadata/labels");
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flat_map(|labels| labels.keys())
        .filter_map(|key| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    roles.sort_unstable();
    if roles.is_empty() {
        return "<none>".to_owned();
    }
    roles.join(",")
}

fn address(node: &Value, kind: &str) -> Value {
    let found =
        list(node, "/status/addresses").iter().find(|address| text(address, "/type") == kind);
    found.map_or("<none>".into(), |address| text_or_none(address, "/address"))
}

fn containers(workload: &Value, pointer: &str) -> Value {
    let parts: Vec<&str> = list(workload, "/spec/template/spec/containers")
        .iter()
        .map(|container| text(container, pointer))
        .collect();
    parts.join(",").into()
}

fn selector(workload: &Value) -> Value {
    let labels = map(workload, "/spec/selector/matchLabels");
    let parts: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    parts.join(",").into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units_at_most() {
        let cases = [
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (3600, "60m"),
            (4 * 3600, "4h"),
            (3 * 86_400 + 7200, "3d2h"),
            (100 * 86_400, "100d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn the_status_of_a_cordoned_node_says_so() {
        let node = json!({
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        assert_eq!(node_status(&node), "Ready,SchedulingDisabled");
    }
}
