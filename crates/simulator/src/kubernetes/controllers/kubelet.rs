//! The kubelets of all nodes: they start the pods that are bound to their nodes, let the containers
//! of failing images fail, and stop the pods that are deleted.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kubernetes::index::{Index, event_subject};
use crate::kubernetes::kinds::{EVENTS, NODES, PODS, REPLICA_SETS};
use crate::kubernetes::object::{
    self, condition, controller, is_terminating, is_true, list, number, put, put_default,
    set_condition, text, time, uid,
};
use crate::kubernetes::store::ObjectChange;
use crate::scenario::{ContainerFailure, FailingImage, WorkloadTimes};

use super::queue::{WorkKey, WorkQueue};
use super::{ClusterView, ControllerPlan, Reconcile, Timers, events};

const COMPONENT: &str = "kubelet";

/// The first back-off after a container's failure; it doubles up to [`MAX_BACKOFF`].
const INITIAL_BACKOFF: Duration = Duration::from_secs(10);
const MAX_BACKOFF: Duration = Duration::from_mins(5);

/// The report of a kubelet on EKS whose node has no free address left.
const SANDBOX_FAILURE: &str = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network \
                               for sandbox: plugin type=\"aws-cni\" name=\"aws-cni\" failed (add): add cmd: failed \
                               to assign an IP address to container";

/// The report of a kubelet about a volume from a missing object.
const MOUNT_FAILURE: &str =
    "MountVolume.SetUp failed for volume \"config\" : configmap \"config\" not found";

/// The kubelets.
pub(super) struct Kubelets;

impl Reconcile for Kubelets {
    fn observe(&mut self, view: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        let object = &change.object;
        if *change.resource == PODS {
            queue.add(WorkKey::of(&PODS, object));
        } else if *change.resource == NODES {
            let status = |node| condition(node, "Ready").map(|ready| text(ready, "/status"));
            if change.alters(status) {
                queue.add_pods_on(view, object);
            }
        }
    }

    fn reconcile(
        &mut self,
        view: &ClusterView<'_>,
        timers: &mut Timers,
        plan: &mut ControllerPlan,
        key: &WorkKey,
    ) {
        let Some(pod) = view.get(&PODS, &key.namespace, &key.name) else {
            return;
        };
        let Some(node) = view.get(&NODES, "", text(pod, "/spec/nodeName")) else {
            return;
        };
        if is_terminating(pod) && is_alive(node) {
            stop_pod(view, timers, plan, pod);
        } else if is_true(node, "Ready")
            && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
        {
            sync_pod(view, timers, plan, node, pod);
        }
    }
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
    let since = timers.since("stopping", uid(pod), view.time);
    if since == view.time {
        for status in list(pod, "/status/containerStatuses") {
            if status.pointer("/state/running").is_some() {
                let message = format!("Stopping container {}", text(status, "/name"));
                plan.event(events::normal(COMPONENT, pod, "Killing", message));
            }
        }
    }
    let stop = workload_times(view, pod).and_then(|times| times.stop);
    let stop = stop.unwrap_or(view.settings.times.pod_stop);
    let end = view.deadline(since, stop.min(grace));
    if end > view.time {
        plan.requeue_at(end);
        return;
    }
    plan.remove(&PODS, pod);
}

/// Returns the times of the workload that a pod belongs to, if the workload has times of its own.
fn workload_times<'a>(view: &ClusterView<'a>, pod: &Value) -> Option<&'a WorkloadTimes> {
    let times = &view.settings.workload_times;
    if times.is_empty() {
        return None;
    }
    let namespace = object::namespace(pod);
    let owner = controller(pod)?;
    let name = text(owner, "/name");
    let deployment = (text(owner, "/kind") == "ReplicaSet")
        .then(|| controller(view.get(&REPLICA_SETS, namespace, name)?))
        .flatten();
    let name = deployment.map_or(name, |deployment| text(deployment, "/name"));
    times.get(&(namespace.to_owned(), name.to_owned()))
}

/// Brings a pod to its state at this moment.
fn sync_pod(
    view: &ClusterView<'_>,
    timers: &mut Timers,
    plan: &mut ControllerPlan,
    node: &Value,
    pod: &Value,
) {
    if view.settings.loaded.has_settled_pod(uid(pod)) {
        return;
    }
    let since = timers.since("bound", uid(pod), view.time);
    let start = workload_times(view, pod).and_then(|times| times.start);
    let started = view.deadline(since, start.unwrap_or(view.settings.times.pod_start));
    let mut synced = pod.clone();
    if started > view.time {
        plan.requeue_at(started);
        if list(pod, "/status/containerStatuses").is_empty() {
            write_status(&mut synced, view.now, &PodStage::CREATING);
        }
    } else {
        let failure = failure_of(view, pod);
        let exit_code = exit_code(pod, failure.as_ref().map(|(failing, _)| failing.failure));
        let stage = match failure.filter(|_| exit_code.is_none_or(|code| code == 0)) {
            Some((failing, place)) => {
                let stage = failing_stage(view, plan, failing, &place.image, started);
                PodStage { failing: Some(place), stage }
            }
            None => PodStage { failing: None, stage: ContainerStage::Running },
        };
        let has_sandbox = !matches!(stage.stage, ContainerStage::NotCreated { .. });
        if has_sandbox && list(pod, "/status/podIPs").is_empty() {
            assign_address(&mut synced, node);
        }
        write_status(&mut synced, view.now, &stage);
        emit_events(view, plan, pod, &synced, &stage);
        if let (Some(code), ContainerStage::Running) = (exit_code, &stage.stage) {
            let end = view.deadline(started, view.settings.times.job);
            if end > view.time {
                plan.requeue_at(end);
            } else {
                end_containers(&mut synced, code, view.now);
            }
        }
    }
    if synced != *pod {
        plan.update(&PODS, synced);
    }
}

/// Returns the exit code with which the containers of a job's pod end; none for any other pod, whose containers run on.
fn exit_code(pod: &Value, failure: Option<ContainerFailure>) -> Option<u8> {
    let is_of_job = controller(pod).is_some_and(|owner| text(owner, "/kind") == "Job");
    is_of_job.then_some(match failure {
        Some(ContainerFailure::Exit(code)) => code,
        _ => 0,
    })
}

/// Ends the containers of a pod.
fn end_containers(pod: &mut Value, code: u8, now: Timestamp) {
    let mut statuses = list(pod, "/status/containerStatuses").to_vec();
    for status in &mut statuses {
        let started = text(status, "/state/running/startedAt").to_owned();
        let mut ended = json!({
            "exitCode": code,
            "reason": if code == 0 { "Completed" } else { "Error" },
            "startedAt": started,
            "finishedAt": time(now),
            "containerID": status["containerID"],
        });
        if code != 0 {
            let name = text(status, "/name");
            ended["message"] = format!("simulated container {name} has failed").into();
        }
        status["state"] = json!({"terminated": ended});
        status["ready"] = false.into();
        status["started"] = false.into();
    }
    put(pod, &["status", "containerStatuses"], statuses);
    put(pod, &["status", "phase"], if code == 0 { "Succeeded" } else { "Failed" });
    let why = if code == 0 { "PodCompleted" } else { "PodFailed" };
    for kind in ["Ready", "ContainersReady"] {
        set_condition(pod, json!({"type": kind, "status": "False", "reason": why}), now);
    }
}

/// The stage of a pod.
#[derive(Debug, Clone, PartialEq)]
struct PodStage {
    /// The containers that have the stage; all of them if `None`. The others are running or completed, or wait for
    /// these.
    failing: Option<FailingContainer>,
    stage: ContainerStage,
}

/// The containers that fail.
#[derive(Debug, Clone, PartialEq)]
struct FailingContainer {
    image: String,
    /// Whether they are init containers.
    is_init: bool,
}

impl PodStage {
    const CREATING: Self = Self { failing: None, stage: ContainerStage::Creating };

    /// Returns the stage of one of the pod's containers.
    fn of(&self, container: &Value, is_init: bool) -> ContainerStage {
        let image = text(container, "/image");
        match &self.failing {
            None => self.stage.clone(),
            Some(failing) if failing.is_init == is_init && failing.image == image => {
                self.stage.clone()
            }
            Some(_) if !self.stage.is_created() => self.stage.clone(),
            // The containers behind an init container that has not completed.
            Some(failing) if failing.is_init && self.stage != ContainerStage::Running => {
                ContainerStage::Creating
            }
            Some(_) => ContainerStage::Running,
        }
    }

    /// Returns whether the init containers have completed.
    fn is_initialized(&self) -> bool {
        let is_init = self.failing.as_ref().is_some_and(|failing| failing.is_init);
        self.stage.is_created() && (!is_init || self.stage == ContainerStage::Running)
    }
}

/// The stage of a container.
#[derive(Debug, Clone, PartialEq)]
enum ContainerStage {
    Creating,
    /// Something that the container needs first is lacking; an event says what.
    NotCreated {
        reason: &'static str,
        message: String,
    },
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

impl ContainerStage {
    fn is_created(&self) -> bool {
        !matches!(self, Self::Creating | Self::NotCreated { .. })
    }
}

/// Returns how the pod fails and where, if the scenario has a failing image for it.
fn failure_of<'a>(
    view: &ClusterView<'a>,
    pod: &Value,
) -> Option<(&'a FailingImage, FailingContainer)> {
    let of = |field: &str, is_init| {
        view.settings.failing_images.iter().find_map(|failing| {
            let images = list(pod, field).iter().map(|container| text(container, "/image"));
            let image = images.into_iter().find(|image| image.contains(&failing.image))?;
            Some((failing, FailingContainer { image: image.to_owned(), is_init }))
        })
    };
    of("/spec/initContainers", true).or_else(|| of("/spec/containers", false))
}

/// Returns the stage of a failing container. The container fails, waits and is restarted, and runs
/// after the configured number of failures.
fn failing_stage(
    view: &ClusterView<'_>,
    plan: &mut ControllerPlan,
    failing: &FailingImage,
    image: &str,
    started: Timestamp,
) -> ContainerStage {
    if failing.failure == ContainerFailure::NeverReady {
        return ContainerStage::Unready;
    }
    let (mut attempt, mut next, mut backoff) = (1_u32, started, INITIAL_BACKOFF);
    loop {
        let over = view.deadline(next, backoff);
        if over > view.time {
            break;
        }
        (attempt, next) = (attempt + 1, over);
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
    if failing.times.is_some_and(|times| attempt > times) {
        return ContainerStage::Running;
    }
    plan.requeue_at(view.deadline(next, backoff));
    match failing.failure {
        ContainerFailure::Sandbox => ContainerStage::NotCreated {
            reason: "FailedCreatePodSandBox",
            message: SANDBOX_FAILURE.to_owned(),
        },
        ContainerFailure::Mount => {
            ContainerStage::NotCreated { reason: "FailedMount", message: MOUNT_FAILURE.to_owned() }
        }
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
        ContainerFailure::CrashLoop | ContainerFailure::NeverReady | ContainerFailure::Exit(_) => {
            ContainerStage::Waiting {
                reason: "CrashLoopBackOff",
                message: format!("back-off {}s restarting failed container", backoff.as_secs()),
                crashed: true,
                restarts: i64::from(attempt) - 1,
            }
        }
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
fn write_status(pod: &mut Value, now: Timestamp, stage: &PodStage) {
    put_default(pod, &["status", "startTime"], time(now));
    let initialized = stage.is_initialized();
    let is_running = |stage: ContainerStage| {
        matches!(
            stage,
            ContainerStage::Running
                | ContainerStage::Unready
                | ContainerStage::Waiting { crashed: true, .. }
        )
    };
    let specified = list(pod, "/spec/containers");
    let running =
        initialized && specified.iter().any(|container| is_running(stage.of(container, false)));
    let containers: Vec<Value> = specified
        .iter()
        .map(|container| container_status(pod, container, now, &stage.of(container, false)))
        .collect();
    let initial: Vec<Value> = list(pod, "/spec/initContainers")
        .iter()
        .map(|container| init_status(pod, container, now, stage))
        .collect();
    let has_initial = !initial.is_empty();
    let incomplete = unready_names(&initial);
    let unready = unready_names(&containers);
    put(pod, &["status", "phase"], if running { "Running" } else { "Pending" });
    put(pod, &["status", "containerStatuses"], containers);
    if has_initial {
        put(pod, &["status", "initContainerStatuses"], initial);
    }
    let created = stage.stage.is_created();
    set_pod_condition(pod, now, "PodReadyToStartContainers", created, None);
    let why = incomplete.map(|names| {
        ("ContainersNotInitialized", format!("containers with incomplete status: {names}"))
    });
    set_pod_condition(pod, now, "Initialized", why.is_none(), why.as_ref());
    let why = unready
        .map(|names| ("ContainersNotReady", format!("containers with unready status: {names}")));
    set_pod_condition(pod, now, "Ready", why.is_none(), why.as_ref());
    set_pod_condition(pod, now, "ContainersReady", why.is_none(), why.as_ref());
}

/// Returns the names of the containers that are not ready, as a condition's message has them.
fn unready_names(statuses: &[Value]) -> Option<String> {
    let unready = statuses.iter().filter(|status| status["ready"] != true);
    let names: Vec<&str> = unready.map(|status| text(status, "/name")).collect();
    (!names.is_empty()).then(|| format!("[{}]", names.join(" ")))
}

/// Returns the status of an init container. It ends before the other containers start.
fn init_status(pod: &Value, container: &Value, now: Timestamp, stage: &PodStage) -> Value {
    let own = stage.of(container, true);
    let mut status = container_status(pod, container, now, &own);
    if own == ContainerStage::Running {
        let since = list(pod, "/status/initContainerStatuses")
            .iter()
            .find(|before| before["name"] == container["name"])
            .map(|before| text(before, "/state/terminated/finishedAt"))
            .filter(|since| !since.is_empty())
            .map_or_else(|| time(now), str::to_owned);
        status["state"] = json!({"terminated": {
            "exitCode": 0, "reason": "Completed", "startedAt": since, "finishedAt": since,
        }});
        status["started"] = false.into();
    }
    status
}

fn set_pod_condition(
    pod: &mut Value,
    now: Timestamp,
    kind: &str,
    status: bool,
    failure: Option<&(&str, String)>,
) {
    let mut condition = json!({"type": kind, "status": if status { "True" } else { "False" }});
    if let Some((reason, message)) = failure {
        condition["reason"] = (*reason).into();
        condition["message"] = message.as_str().into();
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
        ContainerStage::Creating | ContainerStage::NotCreated { .. } => {
            let has_initial = !list(pod, "/spec/initContainers").is_empty();
            let reason = if has_initial { "PodInitializing" } else { "ContainerCreating" };
            (json!({"waiting": {"reason": reason}}), 0)
        }
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
fn emit_events(
    view: &ClusterView<'_>,
    plan: &mut ControllerPlan,
    before: &Value,
    after: &Value,
    stage: &PodStage,
) {
    let name = failing_name(after, stage);
    match &stage.stage {
        ContainerStage::Running if !is_true(before, "Ready") && is_true(after, "Ready") => {
            for field in ["/spec/initContainers", "/spec/containers"] {
                for container in list(after, field) {
                    let message = format!("Started container {}", text(container, "/name"));
                    plan.event(events::normal(COMPONENT, after, "Started", message));
                }
            }
        }
        ContainerStage::NotCreated { reason, message }
            if !was_just_reported(view, after, reason) =>
        {
            plan.event(events::warning(COMPONENT, after, reason, message.clone()));
        }
        ContainerStage::Waiting { crashed: true, .. } if before["status"] != after["status"] => {
            let (pod, namespace) = (object::name(after), object::namespace(after));
            let message = format!(
                "Back-off restarting failed container {name} in pod {pod}_{namespace}({})",
                uid(after)
            );
            plan.event(events::warning(COMPONENT, after, "BackOff", message));
        }
        ContainerStage::Waiting { reason, message, .. } if before["status"] != after["status"] => {
            if *reason == "ErrImagePull" {
                let image = stage.failing.as_ref().map_or("", |failing| failing.image.as_str());
                let pulling = format!("Pulling image {image:?}");
                plan.event(events::normal(COMPONENT, after, "Pulling", pulling));
                let failed = format!("Failed to pull image {image:?}: {message}");
                plan.event(events::warning(COMPONENT, after, "Failed", failed));
            } else {
                plan.event(events::normal(COMPONENT, after, "BackOff", message.clone()));
            }
            let error = format!("Error: {reason}");
            plan.event(events::warning(COMPONENT, after, "Failed", error));
        }
        ContainerStage::Unready
            if stage.is_initialized() && before["status"] != after["status"] =>
        {
            let message = "Readiness probe failed: HTTP probe failed with statuscode: 503";
            plan.event(events::warning(COMPONENT, after, "Unhealthy", message.to_owned()));
        }
        _ => {}
    }
}

/// Returns whether an event of this second reports this about a pod.
fn was_just_reported(view: &ClusterView<'_>, pod: &Value, reason: &str) -> bool {
    let subject = event_subject(uid(pod), reason);
    let mut events = view.find_of(&EVENTS, Index::Subject, &subject);
    events.any(|event| text(event, "/lastTimestamp") == time(view.now))
}

/// Returns the name of the container that fails.
fn failing_name<'a>(pod: &'a Value, stage: &PodStage) -> &'a str {
    let Some(failing) = &stage.failing else {
        return "";
    };
    let field = if failing.is_init { "/spec/initContainers" } else { "/spec/containers" };
    let found = list(pod, field).iter().find(|c| text(c, "/image") == failing.image);
    found.map_or("", |container| text(container, "/name"))
}
