//! The kubelets of all nodes: they start the pods that are bound to them, let containers fail whose
//! image is said to, and end the pods that are deleted.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::simulator::kubernetes::object::{
    is_terminating, is_true, list, name, number, put, put_default, set_condition, text, time, uid,
};
use crate::simulator::kubernetes::resources::{NODES, PODS};
use crate::simulator::scenario::{ContainerFailure, FailingImage};

use super::{Memory, Plan, View, events};

const COMPONENT: &str = "kubelet";

/// The first pause after a container's failure; it doubles up to the longest.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

pub(super) fn plan(view: &View<'_>, memory: &mut Memory) -> Plan {
    let mut plan = Plan::default();
    for pod in view.store.list(&PODS, None) {
        let Some(node) = view.store.get(&NODES, "", text(pod, "/spec/nodeName")) else {
            continue;
        };
        if is_terminating(pod) {
            stop(view, memory, &mut plan, pod);
        } else if is_true(node, "Ready")
            && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
        {
            keep(view, memory, &mut plan, node, pod);
        }
    }
    plan
}

/// Removes a pod whose containers have stopped.
fn stop(view: &View<'_>, memory: &mut Memory, plan: &mut Plan, pod: &Value) {
    let grace = number(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
    let since = memory.since("stopping", uid(pod), view.now);
    let end = view.end(since, view.world.times.pod_stop.min(grace));
    if end > view.now {
        plan.call_again(end);
        return;
    }
    plan.remove(&PODS, pod);
}

/// Brings a pod to the state that it has at this moment.
fn keep(view: &View<'_>, memory: &mut Memory, plan: &mut Plan, node: &Value, pod: &Value) {
    let since = memory.since("bound", uid(pod), view.now);
    let started = view.end(since, view.world.times.pod_start);
    let mut kept = pod.clone();
    if started > view.now {
        plan.call_again(started);
        if list(pod, "/status/containerStatuses").is_empty() {
            show(&mut kept, view.now, &Stage::Creating);
        }
    } else {
        let stage = match failure_of(view, pod) {
            Some(failing) => failing_stage(view, plan, failing, started),
            None => Stage::Running,
        };
        if list(pod, "/status/podIPs").is_empty() {
            give_address(&mut kept, node);
        }
        show(&mut kept, view.now, &stage);
        tell(plan, pod, &kept, &stage);
    }
    if kept != *pod {
        plan.update(&PODS, kept);
    }
}

/// How a pod's containers stand.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Creating,
    Running,
    Unready,
    Waiting {
        reason: &'static str,
        message: String,
        /// Whether the container ran and ended.
        crashed: bool,
        restarts: i64,
    },
}

/// How the pod fails, if the scenario says so.
fn failure_of<'a>(view: &View<'a>, pod: &Value) -> Option<&'a FailingImage> {
    let failing = &view.world.failing_images;
    failing.iter().find(|failing| {
        list(pod, "/spec/containers")
            .iter()
            .any(|container| text(container, "/image").contains(&failing.image))
    })
}

/// Where a failing container stands: it fails, pauses, is tried again, and works after as many
/// failures as it is said.
fn failing_stage(
    view: &View<'_>,
    plan: &mut Plan,
    failing: &FailingImage,
    started: Timestamp,
) -> Stage {
    if failing.failure == ContainerFailure::NeverReady {
        return Stage::Unready;
    }
    let (mut attempt, mut next, mut pause) = (1_u32, started, FIRST_BACK_OFF);
    loop {
        let over = view.end(next, pause);
        if over > view.now {
            break;
        }
        (attempt, next) = (attempt + 1, over);
        pause = (pause * 2).min(LONGEST_BACK_OFF);
    }
    if failing.times.is_some_and(|times| attempt > times) {
        return Stage::Running;
    }
    plan.call_again(view.end(next, pause));
    let image = &failing.image;
    match failing.failure {
        ContainerFailure::ImagePull if attempt == 1 => Stage::Waiting {
            reason: "ErrImagePull",
            message: format!("failed to pull and unpack image {image:?}: not found"),
            crashed: false,
            restarts: 0,
        },
        ContainerFailure::ImagePull => Stage::Waiting {
            reason: "ImagePullBackOff",
            message: format!("Back-off pulling image {image:?}"),
            crashed: false,
            restarts: 0,
        },
        ContainerFailure::CrashLoop | ContainerFailure::NeverReady => Stage::Waiting {
            reason: "CrashLoopBackOff",
            message: format!("back-off {}s restarting failed container", pause.as_secs()),
            crashed: true,
            restarts: i64::from(attempt) - 1,
        },
    }
}

fn give_address(pod: &mut Value, node: &Value) {
    // Derived from the UID, so that it stays the same and needs no books.
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
fn show(pod: &mut Value, now: Timestamp, stage: &Stage) {
    put_default(pod, &["status", "startTime"], time(now));
    let ready = *stage == Stage::Running;
    let running = matches!(stage, Stage::Running | Stage::Unready)
        || matches!(stage, Stage::Waiting { crashed: true, .. });
    put(pod, &["status", "phase"], if running { "Running" } else { "Pending" });
    let containers: Vec<Value> = list(pod, "/spec/containers")
        .iter()
        .map(|container| container_status(pod, container, now, stage))
        .collect();
    let names: Vec<&str> = containers.iter().map(|status| text(status, "/name")).collect();
    let message = format!("containers with unready status: [{}]", names.join(" "));
    put(pod, &["status", "containerStatuses"], containers);
    let created = *stage != Stage::Creating;
    condition(pod, now, "PodReadyToStartContainers", created, None);
    condition(pod, now, "Initialized", true, None);
    let why = (!ready).then_some(message.as_str());
    condition(pod, now, "Ready", ready, why);
    condition(pod, now, "ContainersReady", ready, why);
}

fn condition(pod: &mut Value, now: Timestamp, kind: &str, holds: bool, unready: Option<&str>) {
    let mut condition = json!({"type": kind, "status": if holds { "True" } else { "False" }});
    if let Some(message) = unready {
        condition["reason"] = "ContainersNotReady".into();
        condition["message"] = message.into();
    }
    set_condition(pod, condition, now);
}

fn container_status(pod: &Value, container: &Value, now: Timestamp, stage: &Stage) -> Value {
    let called = text(container, "/name");
    let image = text(container, "/image");
    let before = list(pod, "/status/containerStatuses")
        .iter()
        .find(|status| text(status, "/name") == called);
    let since = before
        .map(|status| text(status, "/state/running/startedAt"))
        .filter(|since| !since.is_empty())
        .map_or_else(|| time(now), str::to_owned);
    let waiting =
        |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
    let runs = matches!(stage, Stage::Running | Stage::Unready);
    let (state, restarts) = match stage {
        Stage::Creating => (json!({"waiting": {"reason": "ContainerCreating"}}), 0),
        Stage::Running | Stage::Unready => {
            let before = before.and_then(|status| number(status, "/restartCount"));
            (json!({"running": {"startedAt": since}}), before.unwrap_or(0))
        }
        Stage::Waiting { reason, message, restarts, .. } => (waiting(reason, message), *restarts),
    };
    let mut status = json!({
        "name": called,
        "image": image,
        "imageID": "",
        "ready": *stage == Stage::Running,
        "started": runs,
        "restartCount": restarts,
        "state": state,
        "lastState": {},
    });
    if runs {
        status["containerID"] = format!("containerd://{}-{called}", uid(pod)).into();
        status["imageID"] = image.into();
    }
    if matches!(stage, Stage::Waiting { crashed: true, .. }) {
        status["lastState"] = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
    }
    status
}

/// Tells of what is new.
fn tell(plan: &mut Plan, before: &Value, after: &Value, stage: &Stage) {
    match stage {
        Stage::Running if !is_true(before, "Ready") && is_true(after, "Ready") => {
            for container in list(after, "/spec/containers") {
                let message = format!("Started container {}", text(container, "/name"));
                plan.event(events::normal(COMPONENT, after, "Started", message));
            }
        }
        Stage::Waiting { reason, message, .. } if before["status"] != after["status"] => {
            let event = if *reason == "ErrImagePull" { "Failed" } else { "BackOff" };
            let message = format!("{message} of pod {}", name(after));
            plan.event(events::warning(COMPONENT, after, event, message));
        }
        _ => {}
    }
}
