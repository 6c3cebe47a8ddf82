//! The daemon set controller: one pod on every node where it can run, also on cordoned ones, and rolling updates that
//! replace a few pods at a time. An update with a surge replaces as one without.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ids::name_hash;
use crate::kubernetes::index::Index;
use crate::kubernetes::kinds::{DAEMON_SETS, NODES, PODS, template_generation};
use crate::kubernetes::object::{
    self, as_count, controller, flag, is_terminating, is_true, label, list, moment, number, put,
    text, uid,
};
use crate::kubernetes::store::ObjectChange;

use super::queue::{WorkKey, WorkQueue};
use super::replica_set::{owner_reference, ready_since, set_count};
use super::rollout::{Rounding, scaled_value};
use super::scheduler::{is_selected, is_untolerated};
use super::stateful_set::REVISION;
use super::{ClusterView, ControllerPlan, Reconcile, Timers, events};

const COMPONENT: &str = "daemonset-controller";

/// The required node affinity of a pod.
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// The taints that every daemon pod tolerates, with their effects.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// The controller. For each set it remembers the revision of each template.
#[derive(Debug, Default)]
pub(super) struct DaemonSetController {
    revisions: HashMap<WorkKey, Revision>,
}

/// The revision of a set's template.
#[derive(Debug, Default)]
struct Revision {
    uid: String,
    template: Value,
    hash: String,
}

impl Reconcile for DaemonSetController {
    fn observe(&mut self, view: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        let object = &change.object;
        if *change.resource == DAEMON_SETS {
            queue.add(WorkKey::of(&DAEMON_SETS, object));
        } else if *change.resource == PODS {
            if let Some(owner) = controller(object).filter(|o| text(o, "/kind") == "DaemonSet") {
                let namespace = object::namespace(object);
                queue.add(WorkKey::named(&DAEMON_SETS, namespace, text(owner, "/name")));
            }
        } else if *change.resource == NODES
            && change.alters(|node| (node.pointer("/metadata/labels"), list(node, "/spec/taints")))
        {
            for set in view.list(&DAEMON_SETS, None) {
                if concerns(view, set, object, change.deleted) {
                    queue.add(WorkKey::of(&DAEMON_SETS, set));
                }
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
        let Some(set) = view.get(&DAEMON_SETS, &key.namespace, &key.name) else {
            self.revisions.remove(key);
            return;
        };
        let pods: Vec<&Arc<Value>> = view.find_of(&PODS, Index::Owner, uid(set)).collect();
        let revision = self.revisions.entry(key.clone()).or_default();
        let hash = revision.newest(set, &pods);
        let state = SetState::of(view, timers, plan, set, &pods, hash);
        if !is_terminating(set) {
            state.manage(plan, set);
        }
        state.report(plan, set);
    }
}

impl Revision {
    /// Returns the hash of the set's template.
    fn newest(&mut self, set: &Value, pods: &[&Arc<Value>]) -> String {
        let template = &set["spec"]["template"];
        if self.uid == uid(set) && self.template == *template {
            return self.hash.clone();
        }
        let is_first = self.uid != uid(set);
        self.hash = name_hash(&format!("{} {template}", uid(set)));
        // A set that was loaded has the revisions of its own cluster: the newest pod has the newest one.
        let updated = number(set, "/status/updatedNumberScheduled").unwrap_or(0);
        let is_observed =
            number(set, "/status/observedGeneration") >= number(set, "/metadata/generation");
        let newest = pods.iter().max_by_key(|pod| moment(pod, "/metadata/creationTimestamp"));
        if let Some(known) = newest.and_then(|pod| label(pod, REVISION))
            && is_first
            && is_observed
            && updated > 0
        {
            known.clone_into(&mut self.hash);
        }
        uid(set).clone_into(&mut self.uid);
        self.template = template.clone();
        self.hash.clone()
    }
}

/// A pod of a set.
struct OwnPod<'a> {
    pod: &'a Arc<Value>,
    is_available: bool,
    is_updated: bool,
}

/// A node, and the set's pods on it or for it.
struct OwnNode<'a> {
    should_run: bool,
    should_continue: bool,
    /// The pods, the oldest first.
    pods: Vec<OwnPod<'a>>,
}

/// The set and its pods as they are.
struct SetState<'a> {
    nodes: BTreeMap<&'a str, OwnNode<'a>>,
    /// The pods for nodes that are gone, which no node runs.
    lost: Vec<&'a Arc<Value>>,
    hash: String,
}

impl<'a> SetState<'a> {
    fn of(
        view: &ClusterView<'a>,
        timers: &mut Timers,
        plan: &mut ControllerPlan,
        set: &Value,
        pods: &[&'a Arc<Value>],
        hash: String,
    ) -> Self {
        let seconds = number(set, "/spec/minReadySeconds").unwrap_or(0);
        let min_ready = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let template = daemon_pod(set, "", &hash);
        let mut nodes: BTreeMap<&str, OwnNode<'_>> = BTreeMap::new();
        for node in view.list(&NODES, None) {
            let (should_run, should_continue) = fit(&template, set, node);
            nodes.insert(
                object::name(node),
                OwnNode { should_run, should_continue, pods: Vec::new() },
            );
        }
        let mut lost = Vec::new();
        for pod in pods {
            let available_at = is_true(pod, "Ready").then(|| {
                let since = ready_since(view, timers, pod);
                view.deadline(since, min_ready)
            });
            if let Some(at) = available_at.filter(|at| *at > view.time) {
                plan.requeue_at(at);
            }
            match nodes.get_mut(target(pod)) {
                Some(node) => node.pods.push(OwnPod {
                    pod,
                    is_available: available_at.is_some_and(|at| at <= view.time),
                    is_updated: label(pod, REVISION) == Some(hash.as_str()),
                }),
                None if text(pod, "/spec/nodeName").is_empty() => lost.push(*pod),
                None => {}
            }
        }
        for node in nodes.values_mut() {
            let age = |own: &OwnPod<'_>| -> (Option<Timestamp>, String) {
                let created = moment(own.pod, "/metadata/creationTimestamp");
                (created, object::name(own.pod).to_owned())
            };
            node.pods.sort_by_key(age);
        }
        Self { nodes, lost, hash }
    }

    /// Creates the pods that are missing, and deletes those that must not run or that a rolling update replaces.
    fn manage(&self, plan: &mut ControllerPlan, set: &Value) {
        let mut deleted: Vec<&Arc<Value>> = self.lost.clone();
        for (name, node) in &self.nodes {
            let living = || node.pods.iter().filter(|own| !is_terminating(own.pod));
            if node.should_run && node.pods.is_empty() {
                plan.create(&PODS, daemon_pod(set, name, &self.hash));
            }
            if node.should_continue {
                let (ended, running): (Vec<_>, Vec<_>) =
                    living().partition(|own| text(own.pod, "/status/phase") == "Failed");
                deleted.extend(ended.iter().map(|own| own.pod));
                deleted.extend(running.iter().skip(1).map(|own| own.pod));
            } else {
                deleted.extend(living().map(|own| own.pod));
            }
        }
        if text(set, "/spec/updateStrategy/type") != "OnDelete" {
            deleted.extend(self.outdated(set));
        }
        deleted.sort_by_key(|pod| uid(pod));
        deleted.dedup_by_key(|pod| uid(pod));
        for pod in deleted {
            plan.delete(&PODS, pod);
            let message = format!("Deleted pod: {}", object::name(pod));
            plan.event(events::normal(COMPONENT, set, "SuccessfulDelete", message));
        }
    }

    /// Returns the pods that a rolling update replaces now: those that are not available, and as many others as may be
    /// unavailable.
    fn outdated(&self, set: &Value) -> Vec<&'a Arc<Value>> {
        let wanted = as_count(self.nodes.values().filter(|node| node.should_run).count());
        let limit = set.pointer("/spec/updateStrategy/rollingUpdate/maxUnavailable");
        let limit = limit.map_or(1, |limit| scaled_value(Some(limit), wanted, Rounding::Up));
        let mut unavailable = 0;
        let (mut replaced, mut candidates) = (Vec::new(), Vec::new());
        for node in self.nodes.values().filter(|node| node.should_run || !node.pods.is_empty()) {
            let mut living = node.pods.iter().filter(|own| !is_terminating(own.pod));
            match (living.next(), living.next()) {
                // The pod is being deleted, is not created yet, or is one of several.
                (None, _) | (Some(_), Some(_)) => unavailable += 1,
                (Some(own), None) if own.is_updated => {
                    unavailable += i64::from(!own.is_available);
                }
                (Some(own), None) if own.is_available => candidates.push(own.pod),
                (Some(own), None) => {
                    unavailable += 1;
                    replaced.push(own.pod);
                }
            }
        }
        let more = usize::try_from(limit.max(1) - unavailable).unwrap_or(0);
        replaced.extend(candidates.into_iter().take(more));
        replaced
    }

    fn report(&self, plan: &mut ControllerPlan, set: &Value) {
        let count = |is_counted: &dyn Fn(&OwnNode<'_>) -> bool| {
            as_count(self.nodes.values().filter(|node| is_counted(node)).count())
        };
        let first = |node: &OwnNode<'_>, holds: &dyn Fn(&OwnPod<'_>) -> bool| {
            node.should_run && node.pods.first().is_some_and(holds)
        };
        let desired = count(&|node| node.should_run);
        let available = count(&|node| first(node, &|own| own.is_available));
        let mut reported = set.clone();
        for (field, count) in [
            ("desiredNumberScheduled", desired),
            ("currentNumberScheduled", count(&|node| node.should_run && !node.pods.is_empty())),
            ("numberMisscheduled", count(&|node| !node.should_run && !node.pods.is_empty())),
            ("numberReady", count(&|node| first(node, &|own| is_true(own.pod, "Ready")))),
        ] {
            put(&mut reported, &["status", field], count);
        }
        for (field, count) in [
            ("updatedNumberScheduled", count(&|node| first(node, &|own| own.is_updated))),
            ("numberAvailable", available),
            ("numberUnavailable", desired - available),
        ] {
            set_count(&mut reported, field, count);
        }
        let generation = number(set, "/metadata/generation").unwrap_or(0);
        put(&mut reported, &["status", "observedGeneration"], generation);
        if reported != *set {
            plan.update(&DAEMON_SETS, reported);
        }
    }
}

/// Returns whether a change of a node gives the controller something to do for a set: its pod is missing there, or must
/// not stay. Anything else is reported the next time.
fn concerns(view: &ClusterView<'_>, set: &Value, node: &Value, is_deleted: bool) -> bool {
    let (should_run, should_continue) = fit(&daemon_pod(set, "", ""), set, node);
    let mut pods = view.find_of(&PODS, Index::Node, object::name(node));
    let has_pod =
        pods.any(|pod| controller(pod).is_some_and(|owner| text(owner, "/uid") == uid(set)));
    if has_pod && !is_deleted { !should_continue } else { should_run }
}

/// Returns the name of the node that a pod is for.
fn target(pod: &Value) -> &str {
    let node = text(pod, "/spec/nodeName");
    if !node.is_empty() {
        return node;
    }
    let terms = format!("/spec/affinity/nodeAffinity/{REQUIRED}/nodeSelectorTerms/0/matchFields");
    let field = list(pod, &terms).iter().find(|field| text(field, "/key") == "metadata.name");
    field.map_or("", |field| text(field, "/values/0"))
}

/// Returns whether a pod of the set should run on a node, and whether one that does may go on.
fn fit(template: &Value, set: &Value, node: &Value) -> (bool, bool) {
    let unbound = json!({"spec": set["spec"]["template"]["spec"]});
    if !is_selected(node, &unbound) {
        return (false, false);
    }
    let untolerated = || list(node, "/spec/taints").iter().filter(|t| is_untolerated(t, template));
    let is_evicted = untolerated().any(|taint| text(taint, "/effect") == "NoExecute");
    (untolerated().next().is_none(), !is_evicted)
}

/// Returns the pod of a set for a node.
fn daemon_pod(set: &Value, node: &str, hash: &str) -> Value {
    let template = &set["spec"]["template"];
    let mut pod = json!({"metadata": template["metadata"], "spec": template["spec"]});
    put(&mut pod, &["metadata", "generateName"], format!("{}-", object::name(set)));
    put(&mut pod, &["metadata", "namespace"], object::namespace(set));
    put(&mut pod, &["metadata", "ownerReferences"], json!([owner_reference(set)]));
    put(&mut pod, &["metadata", "labels", REVISION], hash);
    put(&mut pod, &["metadata", "labels", "pod-template-generation"], template_generation(set));
    let by_name = json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
    let terms = json!([{"matchFields": by_name}]);
    let path = ["spec", "affinity", "nodeAffinity", REQUIRED, "nodeSelectorTerms"];
    put(&mut pod, &path, terms);
    let mut tolerations = list(&pod, "/spec/tolerations").to_vec();
    let network = ("node.kubernetes.io/network-unavailable", "NoSchedule");
    let more = flag(&pod, "/spec/hostNetwork").then_some(network);
    for (key, effect) in TOLERATED.into_iter().chain(more) {
        let toleration = json!({"key": key, "operator": "Exists", "effect": effect});
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    put(&mut pod, &["spec", "tolerations"], tolerations);
    pod
}
