//! The scheduler: finds a node for each pending pod, or reports why there is none. It has the
//! filters and preferences of the default profile, and preempts pods for capacity only.
//!
//! Pods that are alike, such as those of one replica set, are a group. For each group the scheduler
//! remembers how well every node suits it, and after a change it examines only the nodes that the
//! change concerns.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kubernetes::kinds::{NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS};
use crate::kubernetes::object::{
    self, condition, is_terminating, moment, number, put, set_condition, text,
};
use crate::kubernetes::store::ObjectChange;

use super::queue::{WorkKey, WorkQueue};
use super::{ClusterView, ControllerPlan, MAX_BATCH, Reconcile, Timers, events};

mod affinity;
mod filter;
mod group;
mod nodes;
mod preemption;
mod volumes;

pub(super) use filter::{is_selected, is_untolerated};
use group::PodGroup;
use nodes::{NodeInfo, Nodes};

const COMPONENT: &str = "default-scheduler";

/// How many groups without a pending pod are remembered.
const MAX_IDLE_GROUPS: usize = 16;

/// The namespace and the name of a pod.
type PodKey = (String, String);

/// The place of a pod in the order of scheduling: the highest priority, then the oldest, first.
type QueuePlace = (Reverse<i64>, Option<Timestamp>, String, String);

/// The scheduler. It schedules all pods in one piece of work.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    nodes: Nodes,
    groups: HashMap<Arc<str>, PodGroup>,
    /// The group of each pending pod and its place in the queue.
    pending: HashMap<PodKey, (Arc<str>, QueuePlace)>,
    /// The groups with pending pods for which something has changed.
    touched: HashSet<Arc<str>>,
    /// The groups without a pending pod, the one that was used last at the end.
    idle: VecDeque<Arc<str>>,
}

impl Reconcile for Scheduler {
    fn observe(&mut self, view: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        let object = &change.object;
        if *change.resource == NODES {
            let name = object::name(object);
            let node = Some(object).filter(|node| !change.deleted && !is_terminating(node));
            if let (Some(node), Some(info)) = (node, self.nodes.get_mut(name))
                && nodes::is_same_for_pods(&info.node, node)
            {
                info.node = Arc::clone(node);
                return;
            }
            if let Some(removed) = self.nodes.remove(name) {
                self.for_each_group(view, |group, nodes| group.remove_node(nodes, &removed));
            }
            if let Some(node) = node {
                self.nodes.add(node);
                let name = name.to_owned();
                self.for_each_group(view, |group, nodes| group.add_node(nodes, &name));
            }
        } else if *change.resource == PODS {
            self.observe_pod(view, change);
        } else if *change.resource == PERSISTENT_VOLUME_CLAIMS
            || *change.resource == PERSISTENT_VOLUMES
        {
            self.requeue_claiming_pods(view);
        }
        if !self.touched.is_empty() {
            queue.add(WorkKey::named(&PODS, "", ""));
        }
    }

    fn reconcile(
        &mut self,
        view: &ClusterView<'_>,
        _: &mut Timers,
        plan: &mut ControllerPlan,
        _: &WorkKey,
    ) {
        let mut turns: BTreeSet<(QueuePlace, Arc<str>)> = BTreeSet::new();
        for id in std::mem::take(&mut self.touched) {
            let first = self.groups.get(&id).and_then(|group| group.pending.first_key_value());
            turns.extend(first.map(|(place, _)| (place.clone(), Arc::clone(&id))));
        }
        let mut bound = 0;
        while let Some((place, id)) = turns.pop_first() {
            if bound == MAX_BATCH {
                self.touched.extend(turns.into_iter().map(|(_, id)| id).chain([id]));
                plan.requeue_at(view.time);
                break;
            }
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            group.look_at_nodes(&mut self.nodes);
            view.examine(group.take_examined());
            match group.best_node() {
                Some(node) => {
                    group.fresh.remove(&place);
                    if let Some(pod) = group.pending.remove(&place) {
                        bound += 1;
                        bind(view, plan, &pod, &node);
                        self.place(view, pod, &node);
                    }
                    let group = self.groups.get(&id);
                    match group.and_then(|group| group.pending.first_key_value()) {
                        Some((next, _)) => drop(turns.insert((next.clone(), id))),
                        None => self.retire(id),
                    }
                }
                None => {
                    let first = group.pending.get(&place).cloned();
                    let preemption = first.as_ref().map_or_else(String::new, |pod| {
                        preemption::why_not(&self.nodes, group, pod)
                    });
                    let why = unschedulable_message(self.nodes.len(), group.reasons(), &preemption);
                    let victims = first
                        .as_ref()
                        .and_then(|pod| preemption::find_victims(view, &self.nodes, group, pod));
                    let nominated = first.zip(victims).map(|(pod, (node, victims))| {
                        preemption::end(view, plan, &pod, &node, &victims);
                        mark_unschedulable(view, plan, &pod, &why, Some(&node));
                        pod
                    });
                    group.report(&why, |pod| {
                        if nominated.as_deref() != Some(pod) {
                            mark_unschedulable(view, plan, pod, &why, None);
                        }
                    });
                }
            }
        }
    }
}

impl Scheduler {
    fn observe_pod(&mut self, view: &ClusterView<'_>, change: &ObjectChange) {
        let pod = &change.object;
        let key = (object::namespace(pod).to_owned(), object::name(pod).to_owned());
        let node = text(pod, "/spec/nodeName");
        let is_placed = !change.deleted && !node.is_empty() && !is_finished(pod);
        if is_placed && self.nodes.is_known(node, pod) {
            self.nodes.replace_pod(node, &key, pod);
            return;
        }
        self.dequeue(&key);
        if let Some((node, pod)) = self.nodes.remove_pod(&key) {
            let name = node.clone();
            self.for_each_group(view, |group, nodes| group.remove_pod(nodes, &name, &pod));
        }
        if is_placed {
            let node = node.to_owned();
            self.place(view, Arc::clone(pod), &node);
        } else if !change.deleted && is_pending(pod) {
            self.enqueue(view, key, pod);
        }
    }

    /// Queues again the pending pods whose claims may be bound to other volumes now.
    fn requeue_claiming_pods(&mut self, view: &ClusterView<'_>) {
        let claiming: Vec<(PodKey, Arc<Value>)> = self
            .pending
            .iter()
            .filter_map(|(key, (id, place))| {
                let pod = self.groups.get(id)?.pending.get(place)?;
                volumes::has_claims(pod).then(|| (key.clone(), Arc::clone(pod)))
            })
            .collect();
        for (key, pod) in claiming {
            self.dequeue(&key);
            self.enqueue(view, key, &pod);
        }
    }

    /// Removes a pod from its group.
    fn dequeue(&mut self, key: &PodKey) {
        if let Some((id, place)) = self.pending.remove(key)
            && let Some(group) = self.groups.get_mut(&id)
        {
            group.pending.remove(&place);
            group.fresh.remove(&place);
            if group.pending.is_empty() {
                self.retire(id);
            }
        }
    }

    /// Puts a pod on a node.
    fn place(&mut self, view: &ClusterView<'_>, pod: Arc<Value>, node: &str) {
        let key = (object::namespace(&pod).to_owned(), object::name(&pod).to_owned());
        self.pending.remove(&key);
        self.nodes.add_pod(node, key, &pod);
        self.for_each_group(view, |group, nodes| group.add_pod(nodes, node, &pod));
    }

    fn enqueue(&mut self, view: &ClusterView<'_>, key: PodKey, pod: &Arc<Value>) {
        let volumes = volumes::required_terms(view, pod);
        let id: Arc<str> = group::identity(pod, &volumes).into();
        self.idle.retain(|idle| *idle != id);
        let group =
            self.groups.entry(Arc::clone(&id)).or_insert_with(|| PodGroup::new(pod, volumes));
        let priority = priority_of(pod);
        let created = moment(pod, "/metadata/creationTimestamp");
        let place = (Reverse(priority), created, key.1.clone(), key.0.clone());
        group.pending.insert(place.clone(), Arc::clone(pod));
        group.fresh.insert(place.clone());
        self.pending.insert(key, (Arc::clone(&id), place));
        self.touched.insert(id);
    }

    /// Tells each group that has looked at the nodes about a change.
    fn for_each_group(
        &mut self,
        view: &ClusterView<'_>,
        mut tell: impl FnMut(&mut PodGroup, &Nodes),
    ) {
        for (id, group) in self.groups.iter_mut().filter(|(_, group)| group.has_looked()) {
            tell(group, &self.nodes);
            view.examine(group.take_examined());
            if !group.pending.is_empty() {
                self.touched.insert(Arc::clone(id));
            }
        }
    }

    /// Notes that a group has no pending pod, and forgets the group that has had none for longest.
    fn retire(&mut self, id: Arc<str>) {
        self.idle.push_back(id);
        if self.idle.len() > MAX_IDLE_GROUPS
            && let Some(forgotten) = self.idle.pop_front()
        {
            self.groups.remove(&forgotten);
        }
    }
}

fn priority_of(pod: &Value) -> i64 {
    number(pod, "/spec/priority").unwrap_or(0)
}

fn is_pending(pod: &Value) -> bool {
    text(pod, "/spec/nodeName").is_empty()
        && matches!(text(pod, "/spec/schedulerName"), "" | "default-scheduler")
        && text(pod, "/status/phase") == "Pending"
        && !is_terminating(pod)
}

fn is_finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn unschedulable_message(
    nodes: usize,
    reasons: &BTreeMap<&'static str, usize>,
    preemption: &str,
) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    format!(
        "0/{nodes} nodes are available: {}. no new claims to deallocate, preemption: {preemption}.",
        join_counts(reasons.iter().map(|(reason, count)| (*count, reason))),
    )
}

fn join_counts<T: std::fmt::Display>(parts: impl Iterator<Item = (usize, T)>) -> String {
    let mut parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
    parts.sort_unstable();
    parts.join(", ")
}

fn bind(view: &ClusterView<'_>, plan: &mut ControllerPlan, pod: &Value, node: &str) {
    let mut bound = pod.clone();
    put(&mut bound, &["spec", "nodeName"], node);
    let scheduled = json!({"type": "PodScheduled", "status": "True"});
    set_condition(&mut bound, scheduled, view.now);
    plan.update(&PODS, bound);
    let message =
        format!("Successfully assigned {}/{} to {node}", object::namespace(pod), object::name(pod));
    plan.event(events::normal(COMPONENT, pod, "Scheduled", message));
}

/// Reports that a pod finds no node, and the node on which others end for it.
fn mark_unschedulable(
    view: &ClusterView<'_>,
    plan: &mut ControllerPlan,
    pod: &Value,
    why: &str,
    nominated: Option<&str>,
) {
    let known = condition(pod, "PodScheduled");
    if nominated.is_none() && known.is_some_and(|known| text(known, "/message") == why) {
        return;
    }
    let mut reported = pod.clone();
    if let Some(node) = nominated {
        put(&mut reported, &["status", "nominatedNodeName"], node);
    }
    let unscheduled = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": why,
        "observedGeneration": pod["metadata"]["generation"],
    });
    set_condition(&mut reported, unscheduled, view.now);
    plan.update(&PODS, reported);
    plan.event(events::warning(COMPONENT, pod, "FailedScheduling", why.to_owned()));
}
