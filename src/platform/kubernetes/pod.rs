//! Pods, as far as this program reads them, and pure functions of a Pod and its owner.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, PodCondition, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::{NamespaceResourceScope, Resource};
use serde::Deserialize;

use super::metadata::without_managed_fields;
use super::node::UNSCHEDULABLE_TAINT;

/// By what the replica set controller chooses which of several equally ready pods goes first: the cheapest.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The kubelet's own pods, made from files on the node, carry it. The API server cannot remove them.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// The kubelet's reasons for a container that does not start and, as it is, will not. Each can still heal: an image is
/// pushed, a secret is made, a database comes back.
const FAILING_REASONS: [&str; 10] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "PostStartHookError",
    "RunContainerError",
];

/// A pod. A large cluster has ten thousand, and a whole one takes several times as long to read and as much memory.
#[derive(Debug, Clone, Deserialize)]
pub struct Pod {
    /// Its metadata.
    #[serde(default, deserialize_with = "without_managed_fields")]
    pub metadata: ObjectMeta,
    /// The part that was asked for.
    pub spec: Option<PodSpec>,
    /// The part that was observed.
    pub status: Option<PodStatus>,
}

/// The specification of a pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// The node that it is bound to.
    pub node_name: Option<String>,
    /// Its containers.
    pub containers: Option<Vec<Container>>,
    /// The containers that run before those.
    pub init_containers: Option<Vec<Container>>,
    /// The taints that it tolerates.
    pub tolerations: Option<Vec<Toleration>>,
    /// Its volumes.
    pub volumes: Option<Vec<Volume>>,
}

/// A container of a pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// `Always` for a sidecar.
    pub restart_policy: Option<String>,
}

/// A volume of a pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// The directory of the node that it is.
    pub empty_dir: Option<EmptyDir>,
}

/// A directory of a node that ends with the pod.
#[derive(Debug, Clone, Deserialize)]
pub struct EmptyDir {}

/// The status of a pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// The phase.
    pub phase: Option<String>,
    /// The conditions.
    pub conditions: Option<Vec<PodCondition>>,
    /// The containers.
    pub container_statuses: Option<Vec<ContainerStatus>>,
    /// The containers that run before those.
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
}

/// The status of a container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Whether it has started.
    pub started: Option<bool>,
    /// Its state.
    pub state: Option<ContainerState>,
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The problem that keeps a pod from becoming ready, when it is more than time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodProblem {
    /// The reason that Kubernetes gives: `Unschedulable`, `CrashLoopBackOff`.
    pub reason: String,
    /// The full message, without the pod's name.
    pub message: String,
}

/// Returns whether the pod is terminating.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Returns whether the pod has finished, with or without success. Nothing runs in it any more.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Returns whether the pod is active: neither finished nor terminating. It need not be ready.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminating(pod) && !is_finished(pod)
}

/// Returns whether the pod is active and its Ready condition is True.
pub fn is_ready(pod: &Pod) -> bool {
    is_active(pod) && condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Returns why the pod is not ready; none if it is.
pub fn why_not_ready(pod: &Pod) -> Option<String> {
    if is_ready(pod) {
        return None;
    }
    if is_terminating(pod) {
        return Some(describe_termination(pod));
    }
    if let Some(problem) = problem(pod) {
        return Some(problem.message);
    }
    Some(match phase(pod) {
        "Running" => "running, not ready yet".into(),
        "Pending" if node(pod).is_none() => "waiting for a node".into(),
        "Pending" => match running_init_container(pod) {
            Some(running) => running,
            None => "starting".into(),
        },
        "" => "just created".into(),
        other => other.to_lowercase(),
    })
}

/// Returns the problem that keeps the pod from becoming ready: it cannot be scheduled, or a container of it fails.
pub fn problem(pod: &Pod) -> Option<PodProblem> {
    if !is_active(pod) {
        return None;
    }
    unschedulable(pod).or_else(|| failing_container(pod))
}

/// Returns the node that the pod is bound to.
pub fn node(pod: &Pod) -> Option<&str> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    (!node.is_empty()).then_some(node)
}

/// Returns the object that replaces the pod when it is gone.
pub fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// Returns the owner of the pod, over all revisions: `NAMESPACE/Deployment/NAME` where its replica set has a
/// deployment's name with the hash that the deployment controller puts into both, else what controls it; nothing for a
/// bare one.
pub fn workload(pod: &Pod) -> Option<String> {
    let controller = controller(&pod.metadata)?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get("pod-template-hash"));
    let deployment = hash
        .filter(|_| controller.kind == "ReplicaSet")
        .and_then(|hash| controller.name.strip_suffix(&format!("-{hash}")));
    Some(match deployment {
        Some(name) => format!("{namespace}/Deployment/{name}"),
        None => format!("{namespace}/{}/{}", controller.kind, controller.name),
    })
}

/// Returns whether the pod belongs to its node: a daemon set recreates it there, cordoned or not.
pub fn is_daemon(pod: &Pod) -> bool {
    controller(&pod.metadata).is_some_and(|owner| owner.kind == "DaemonSet")
}

/// Returns whether the kubelet created the pod from a file on its node.
pub fn is_mirror(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(MIRROR_ANNOTATION))
}

/// Returns whether the pod can be placed on a cordoned node.
pub fn tolerates_cordon(pod: &Pod) -> bool {
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let tolerates = |toleration: &Toleration| {
        let of_cordon = match toleration.key.as_deref().unwrap_or_default() {
            "" => toleration.operator.as_deref() == Some("Exists"),
            key => key == UNSCHEDULABLE_TAINT,
        };
        let effect = toleration.effect.as_deref().unwrap_or_default();
        of_cordon && matches!(effect, "" | "NoSchedule")
    };
    tolerations.into_iter().any(tolerates)
}

/// Returns whether a volume of the pod is a directory of its node, whose content ends with the pod.
pub fn has_empty_dir(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().any(|volume| volume.empty_dir.is_some())
}

/// Returns since when an active pod has not been Ready: the time of its last change to it, or else of its creation.
pub fn unready_since(pod: &Pod) -> Option<Timestamp> {
    if !is_active(pod) || is_ready(pod) {
        return None;
    }
    let changed = condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref());
    changed.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

/// Returns the pod's deletion cost, as written.
pub fn deletion_cost(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(DELETION_COST).map(String::as_str)
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn describe_termination(pod: &Pod) -> String {
    match pod.metadata.finalizers.as_deref() {
        Some(held @ [_, ..]) => format!("terminating, held by finalizer {}", held.join(", ")),
        _ => "terminating".into(),
    }
}

fn unschedulable(pod: &Pod) -> Option<PodProblem> {
    let scheduled = condition(pod, "PodScheduled")?;
    if scheduled.status == "True" || scheduled.reason.as_deref() != Some("Unschedulable") {
        return None;
    }
    Some(problem_with("Unschedulable", "cannot be scheduled", scheduled.message.as_deref()))
}

fn failing_container(pod: &Pod) -> Option<PodProblem> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let others = status.container_statuses.iter().flatten();
    let init = init.map(|status| ("init container", status));
    init.chain(others.map(|status| ("container", status))).find_map(failing)
}

/// Returns the init container that runs now, with the time since when: the pod cannot go on before it has ended. One
/// that is always restarted (a sidecar) holds nothing up once it has started.
fn running_init_container(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    let is_running = |status: &&ContainerStatus| {
        !status.started.unwrap_or(false) || !is_sidecar(pod, &status.name)
    };
    let (at, status, running) = statuses.iter().enumerate().find_map(|(at, status)| {
        let running = status.state.as_ref()?.running.as_ref()?;
        is_running(&status).then_some((at, status, running))
    })?;
    let since = running.started_at.as_ref().map(|time| format!(" since {}", time.0));
    let number = format!("{} of {}", at + 1, statuses.len());
    Some(format!("init container {} ({number}) runs{}", status.name, since.unwrap_or_default()))
}

fn is_sidecar(pod: &Pod, container: &str) -> bool {
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let mut named = init.filter(|found| found.name == container);
    named.any(|found| found.restart_policy.as_deref() == Some("Always"))
}

fn failing((kind, container): (&str, &ContainerStatus)) -> Option<PodProblem> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    if !FAILING_REASONS.contains(&reason) {
        return None;
    }
    Some(problem_with(
        reason,
        &format!("{reason} in {kind} {}", container.name),
        waiting.message.as_deref(),
    ))
}

fn problem_with(reason: &str, what: &str, message: Option<&str>) -> PodProblem {
    let text = match message.map(str::trim) {
        Some(message) if !message.is_empty() => format!("{what}: {message}"),
        _ => what.to_owned(),
    };
    PodProblem { reason: reason.into(), message: text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(status: Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "p"}, "spec": {"containers": []}, "status": status}),
        )
        .unwrap()
    }

    #[test]
    fn a_workload_outlives_its_revisions() {
        let owned = |kind: &str, name: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {
                "namespace": "n",
                "labels": {"pod-template-hash": "5d4f"},
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true},
                ],
            }}))
            .unwrap()
        };
        let of = |kind: &str, name: &str| workload(&owned(kind, name)).unwrap();
        assert_eq!(of("ReplicaSet", "web-app-5d4f"), "n/Deployment/web-app");
        assert_eq!(of("ReplicaSet", "by-hand"), "n/ReplicaSet/by-hand");
        assert_eq!(of("StatefulSet", "db-5d4f"), "n/StatefulSet/db-5d4f");
        assert_eq!(workload(&pod(json!({}))), None);
    }

    fn waiting(reason: &str) -> Value {
        json!({
            "phase": "Running",
            "containerStatuses": [{
                "name": "relay", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": reason, "message": "back-off 40s"}},
            }],
        })
    }

    #[test]
    fn only_true_is_ready() {
        let ready = |status: &str| {
            pod(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}))
        };
        assert!(is_ready(&ready("True")));
        assert_eq!(why_not_ready(&ready("True")), None);
        assert!(!is_ready(&ready("False")) && !is_ready(&ready("Unknown")));
        assert_eq!(why_not_ready(&ready("False")).unwrap(), "running, not ready yet");
        let mut ending = ready("True");
        ending.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(!is_ready(&ending) && !is_active(&ending));
        assert_eq!(why_not_ready(&ending).unwrap(), "terminating");
        ending.metadata.finalizers = Some(vec!["a/b".into()]);
        assert_eq!(why_not_ready(&ending).unwrap(), "terminating, held by finalizer a/b");
    }

    #[test]
    fn a_finished_pod_is_not_active() {
        assert!(is_finished(&pod(json!({"phase": "Succeeded"}))));
        assert!(is_finished(&pod(json!({"phase": "Failed"}))));
        assert!(is_active(&pod(json!({"phase": "Pending"}))));
    }

    #[test]
    fn a_problem_is_told_from_a_slow_start() {
        assert_eq!(problem(&pod(waiting("ContainerCreating"))), None);
        let crash = problem(&pod(waiting("CrashLoopBackOff"))).unwrap();
        assert_eq!(crash.reason, "CrashLoopBackOff");
        assert_eq!(crash.message, "CrashLoopBackOff in container relay: back-off 40s");
        let unscheduled = pod(json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/6 nodes are available: 6 node(s) were unschedulable.",
        }]}));
        assert_eq!(
            why_not_ready(&unscheduled).unwrap(),
            "cannot be scheduled: 0/6 nodes are available: 6 node(s) were unschedulable."
        );
        assert_eq!(why_not_ready(&pod(json!({"phase": "Pending"}))).unwrap(), "waiting for a node");
    }

    #[test]
    fn an_init_container_is_named_as_one() {
        let status = |name: &str, state: Value| {
            json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "started": true, "state": state})
        };
        let pending = |states: [Value; 2]| {
            let [first, second] = states;
            let mut pod = pod(json!({
                "phase": "Pending",
                "initContainerStatuses": [status("proxy", first), status("migrate", second)],
            }));
            let init = json!([
                {"name": "proxy", "restartPolicy": "Always"},
                {"name": "migrate"},
            ]);
            let spec = pod.spec.as_mut().unwrap();
            spec.init_containers = serde_json::from_value(init).unwrap();
            spec.node_name = Some("node-1".into());
            why_not_ready(&pod).unwrap()
        };
        let running = || json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        assert_eq!(
            pending([running(), running()]),
            "init container migrate (2 of 2) runs since 2026-01-01T00:00:00Z"
        );
        let failing = json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}});
        assert_eq!(
            pending([running(), failing]),
            "ImagePullBackOff in init container migrate: not found"
        );
        let waiting = json!({"waiting": {"reason": "PodInitializing"}});
        assert_eq!(pending([running(), waiting]), "starting");
    }

    #[test]
    fn a_toleration_of_the_taint_or_of_every_taint_tolerates_a_cordon() {
        let tolerates = |toleration: Value| {
            tolerates_cordon(
                &serde_json::from_value(json!({
                    "metadata": {"name": "p"},
                    "spec": {"containers": [], "tolerations": [toleration]},
                }))
                .unwrap(),
            )
        };
        let cordon = "node.kubernetes.io/unschedulable";
        assert!(tolerates(json!({"operator": "Exists"})));
        assert!(tolerates(json!({"key": cordon, "operator": "Exists", "effect": "NoSchedule"})));
        assert!(!tolerates(json!({"key": cordon, "operator": "Exists", "effect": "NoExecute"})));
        assert!(!tolerates(json!({"operator": "Exists", "effect": "NoExecute"})));
        assert!(!tolerates(json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists"})));
    }

    #[test]
    fn daemons_and_mirrors_belong_to_their_node() {
        let owned = |kind: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true},
            ]}}))
            .unwrap()
        };
        assert!(is_daemon(&owned("DaemonSet")) && !is_daemon(&owned("ReplicaSet")));
        assert_eq!(controller(&owned("ReplicaSet").metadata).unwrap().uid, "u");
        let mirror: Pod =
            serde_json::from_value(json!({"metadata": {"annotations": {MIRROR_ANNOTATION: "x"}}}))
                .unwrap();
        assert!(is_mirror(&mirror) && !is_mirror(&owned("ReplicaSet")));
    }
}
