//! The kubelets of all nodes: they start the pods that are bound to their nodes, let the containers
//! of failing images fail, and stop the pods that are deleted.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kubernetes::object::{
    self, condition, is_terminating, is_true, list, number, put, put_default, set_condition, text,
    time, uid,
};
use crate::kubernetes::resources::{NODES, PODS};
use crate::scenario::{ContainerFailure, FailingImage};

use super::{ClusterView, ControllerPlan, Timers, events};

const COMPONENT: &str = "kubelet";

/// The first back-off after a container's failure; it doubles up to [`MAX_BACKOFF`].
const INITIAL_BACKOFF: Duration = Duration::from_secs(10);
const MAX_BACKOFF: Duration = Duration::from_mins(5);

pub(super) fn plan(view: &ClusterView<'_>, timers: &mut Timers) -> ControllerPlan {
    let mut plan = ControllerPlan::default();
    for pod in view.store.list(&PODS, None) {
        let Some(node) = view.store.get(&NODES, "", text(pod, "/spec/nodeName")) else {
            continue;
        };
        if is_terminating(pod) && is_alive(node) {
            stop_pod(view, timers, &mut plan, pod);
        } else if is_true(node, "Ready")
            && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
        {
            sync_pod(view, timers, &mut plan, node, pod);
        }
    }
    plan
}

/// Returns whether the node's kubelet reports. One that does not cannot confirm that a pod has ended.
fn is_alive(node: &Value) -> bool {
    let ready = condition(node, "Ready");
    ready.is_none_or(|ready| text(ready, "/status") != "Unknown")
}

/// Removes a pod whose containers have stopped.
fn stop_pod(view: &ClusterView<'_>, timers: &mut Timers, plan: &mut ControllerPlan, pod: &Value) {
    let grace = number(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
    let since = timers.since("stopping", uid(pod), view.now);
    let end = view.deadline(since, view.settings.times.pod_stop.min(grace));
    if end > view.now {
        plan.requeue_at(end);
        return;
    }
    plan.remove(&PODS, pod);
}

/// Brings a pod to its state at this moment.
fn sync_pod(
    view: &ClusterView<'_>,
    timers: &mut Timers,
    plan: &mut ControllerPlan,
    node: &Value,
    pod: &Value,
) {
    let since = timers.since("bound", uid(pod), view.now);
    let started = view.deadline(since, view.settings.times.pod_start);
    let mut synced = pod.clone();
    if started > view.now {
        plan.requeue_at(started);
        if list(pod, "/status/containerStatuses").is_empty() {
            write_status(&mut synced, view.now, &ContainerStage::Creating);
        }
    } else {
        let stage = match failure_of(view, pod) {
            Some(failing) => failing_stage(view, plan, failing, started),
            None => ContainerStage::Running,
        };
        if list(pod, "/status/podIPs").is_empty() {
            assign_address(&mut synced, node);
        }
        write_status(&mut synced, view.now, &stage);
        emit_events(plan, pod, &synced, &stage);
    }
    if synced != *pod {
        plan.update(&PODS, synced);
    }
}

/// The stage of a pod's containers.
#[derive(Debug, Clone, PartialEq)]
enum ContainerStage {
    Creating,
    Running,
    Unready,
    Waiting {
        reason: &'static str,
        message: String,
        /// Whether the container ran and exited.
        crashed: bool,
        restarts: i64,
    },
}

/// Returns how the pod fails, if the scenario has a failing image for it.
fn failure_of<'a>(view: &ClusterView<'a>, pod: &Value) -> Option<&'a FailingImage> {
    let failing = &view.settings.failing_images;
    failing.iter().find(|failing| {
        list(pod, "/spec/containers")
            .iter()
            .any(|container| text(container, "/image").contains(&failing.image))
    })
}

/// Returns the stage of a failing container. The container fails, waits and is restarted, and runs
/// after the configured number of failures.
fn failing_stage(
    view: &ClusterView<'_>,
    plan: &mut ControllerPlan,
    failing: &FailingImage,
    started: Timestamp,
) -> ContainerStage {
    if failing.failure == ContainerFailure::NeverReady {
        return ContainerStage::Unready;
    }
    let (mut attempt, mut next, mut backoff) = (1_u32, started, INITIAL_BACKOFF);
    loop {
        let over = view.deadline(next, backoff);
        if over > view.now {
            break;
        }
        (attempt, next) = (attempt + 1, over);
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
    if failing.times.is_some_and(|times| attempt > times) {
        return ContainerStage::Running;
    }
    plan.requeue_at(view.deadline(next, backoff));
    let image = &failing.image;
    match failing.failure {
        ContainerFailure::ImagePull if attempt == 1 => ContainerStage::Waiting {
            reason: "ErrImagePull",
            message: format!("failed to pull and unpack image {image:?}: not found"),
            crashed: false,
            restarts: 0,
        },
        ContainerFailure::ImagePull => ContainerStage::Waiting {
            reason: "ImagePullBackOff",
            message: format!("Back-off pulling image {image:?}"),
            crashed: false,
            restarts: 0,
        },
        ContainerFailure::CrashLoop | ContainerFailure::NeverReady => ContainerStage::Waiting {
            reason: "CrashLoopBackOff",
            message: format!("back-off {}s restarting failed container", backoff.as_secs()),
            crashed: true,
            restarts: i64::from(attempt) - 1,
        },
    }
}

fn assign_address(pod: &mut Value, node: &Value) {
    // The address is derived from the UID, so that it is stable without being recorded.
    let uid = uid(pod).to_owned();
    let byte = |at: usize| u8::from_str_radix(uid.get(at..at + 2).unwrap_or("0"), 16).unwrap_or(0);
    let address = format!("10.1.{}.{}", byte(0), byte(2));
    let host = list(node, "/status/addresses")
        .iter()
        .find(|address| text(address, "/type") == "InternalIP")
        .map(|address| text(address, "/address"))
        .unwrap_or_default();
    put(pod, &["status", "hostIP"], host);
    put(pod, &["status", "hostIPs"], json!([{"ip": host}]));
    put(pod, &["status", "podIP"], address.as_str());
    put(pod, &["status", "podIPs"], json!([{"ip": address}]));
}

/// Writes the stage into the pod's status.
fn write_status(pod: &mut Value, now: Timestamp, stage: &ContainerStage) {
    put_default(pod, &["status", "startTime"], time(now));
    let ready = *stage == ContainerStage::Running;
    let running = matches!(stage, ContainerStage::Running | ContainerStage::Unready)
        || matches!(stage, ContainerStage::Waiting { crashed: true, .. });
    put(pod, &["status", "phase"], if running { "Running" } else { "Pending" });
    let containers: Vec<Value> = list(pod, "/spec/containers")
        .iter()
        .map(|container| container_status(pod, container, now, stage))
        .collect();
    let names: Vec<&str> = containers.iter().map(|status| text(status, "/name")).collect();
    let message = format!("containers with unready status: [{}]", names.join(" "));
    put(pod, &["status", "containerStatuses"], containers);
    let created = *stage != ContainerStage::Creating;
    set_pod_condition(pod, now, "PodReadyToStartContainers", created, None);
    set_pod_condition(pod, now, "Initialized", true, None);
    let why = (!ready).then_some(message.as_str());
    set_pod_condition(pod, now, "Ready", ready, why);
    set_pod_condition(pod, now, "ContainersReady", ready, why);
}

fn set_pod_condition(
    pod: &mut Value,
    now: Timestamp,
    kind: &str,
    status: bool,
    unready: Option<&str>,
) {
    let mut condition = json!({"type": kind, "status": if status { "True" } else { "False" }});
    if let Some(message) = unready {
        condition["reason"] = "ContainersNotReady".into();
        condition["message"] = message.into();
    }
    set_condition(pod, condition, now);
}

fn container_status(
    pod: &Value,
    container: &Value,
    now: Timestamp,
    stage: &ContainerStage,
) -> Value {
    let name = text(container, "/name");
    let image = text(container, "/image");
    let before =
        list(pod, "/status/containerStatuses").iter().find(|status| text(status, "/name") == name);
    let since = before
        .map(|status| text(status, "/state/running/startedAt"))
        .filter(|since| !since.is_empty())
        .map_or_else(|| time(now), str::to_owned);
    let waiting =
        |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
    let is_running = matches!(stage, ContainerStage::Running | ContainerStage::Unready);
    let (container_state, restarts) = match stage {
        ContainerStage::Creating => (json!({"waiting": {"reason": "ContainerCreating"}}), 0),
        ContainerStage::Running | ContainerStage::Unready => {
            let before = before.and_then(|status| number(status, "/restartCount"));
            (json!({"running": {"startedAt": since}}), before.unwrap_or(0))
        }
        ContainerStage::Waiting { reason, message, restarts, .. } => {
            (waiting(reason, message), *restarts)
        }
    };
    let mut status = json!({
        "name": name,
        "image": image,
        "imageID": "",
        "ready": *stage == ContainerStage::Running,
        "started": is_running,
        "restartCount": restarts,
        "state": container_state,
        "lastState": {},
    });
    if is_running {
        status["containerID"] = format!("containerd://{}-{name}", uid(pod)).into();
        status["imageID"] = image.into();
    }
    if matches!(stage, ContainerStage::Waiting { crashed: true, .. }) {
        status["lastState"] = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
    }
    status
}

/// Emits events about what has changed.
fn emit_events(plan: &mut ControllerPlan, before: &Value, after: &Value, stage: &ContainerStage) {
    match stage {
        ContainerStage::Running if !is_true(before, "Ready") && is_true(after, "Ready") => {
            for container in list(after, "/spec/containers") {
                let message = format!("Started container {}", text(container, "/name"));
                plan.event(events::normal(COMPONENT, after, "Started", message));
            }
        }
        ContainerStage::Waiting { reason, message, .. } if before["status"] != after["status"] => {
            let event = if *reason == "ErrImagePull" { "Failed" } else { "BackOff" };
            let message = format!("{message} of pod {}", object::name(after));
            plan.event(events::warning(COMPONENT, after, event, message));
        }
        _ => {}
    }
}
