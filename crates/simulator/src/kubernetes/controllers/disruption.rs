//! The disruption controller: computes how many pods of each budget may be disrupted now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kubernetes::api::eviction::set_allowed_condition;
use crate::kubernetes::index::{Index, label_value};
use crate::kubernetes::kinds::{
    BUDGETS, DEPLOYMENTS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS,
};
use crate::kubernetes::object::{
    self, as_count, controller, is_terminating, is_true, map, moment, number, put, text, uid,
};
use crate::kubernetes::selectors::selects;
use crate::kubernetes::store::ObjectChange;

use super::queue::{WorkKey, WorkQueue};
use super::rollout::{Rounding, scaled_value};
use super::{ClusterView, ControllerPlan, Reconcile, Timers};

/// How long an allowed eviction counts as a disruption although its pod still exists.
const DISRUPTED_POD_TIMEOUT: Duration = Duration::from_mins(2);

/// The controller. For each budget it remembers the pods that the budget selects, so that a change
/// of a pod costs the same however many pods there are.
#[derive(Debug, Default)]
pub(super) struct DisruptionController {
    budgets: BTreeMap<WorkKey, SelectedPods>,
    /// The budgets by the first label that they select, so that a pod is not compared with the
    /// selectors of all budgets.
    by_label: HashMap<SelectedLabel, BTreeSet<WorkKey>>,
    /// The budgets by the namespace and each workload that owns selected pods.
    by_owner: HashMap<(String, Owner), BTreeSet<WorkKey>>,
}

/// The kind and the name of a workload that owns pods.
type Owner = (String, String);

/// A namespace, and one of the labels that a selector requires, if it requires any.
type SelectedLabel = (String, Option<(String, String)>);

/// The pods that a budget selects.
#[derive(Debug)]
struct SelectedPods {
    uid: String,
    selector: Value,
    /// The names of the pods that have changed since the budget was last looked at.
    changed: BTreeSet<String>,
    pods: HashMap<String, SelectedPod>,
    /// How many pods are Ready and not being deleted.
    healthy: i64,
    /// How many pods each workload owns.
    owners: BTreeMap<Owner, usize>,
}

/// The part of a pod that counts.
#[derive(Debug)]
struct SelectedPod {
    is_healthy: bool,
    is_terminating: bool,
    owner: Option<Owner>,
}

impl Reconcile for DisruptionController {
    fn observe(&mut self, view: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        let object = &change.object;
        if *change.resource == BUDGETS {
            self.observe_budget(view, change);
            queue.add(WorkKey::of(&BUDGETS, object));
        } else if *change.resource == PODS {
            for pod in change.before.iter().chain([object]) {
                self.note_pod(view, pod, queue);
            }
        } else if [&REPLICA_SETS, &STATEFUL_SETS, &REPLICATION_CONTROLLERS]
            .contains(&change.resource)
            && has_new_scale(change)
        {
            self.queue_budgets_of(object, queue);
        } else if *change.resource == DEPLOYMENTS && has_new_scale(change) {
            for set in view.find_of(&REPLICA_SETS, Index::Owner, uid(object)) {
                self.queue_budgets_of(set, queue);
            }
        }
    }

    fn reconcile(
        &mut self,
        view: &ClusterView<'_>,
        _: &mut Timers,
        plan: &mut ControllerPlan,
        key: &WorkKey,
    ) {
        let Some(budget) = view.get(&BUDGETS, &key.namespace, &key.name) else {
            return;
        };
        let Some(selected) = self.budgets.get_mut(key) else {
            return;
        };
        for name in std::mem::take(&mut selected.changed) {
            selected.replace(view, key, name, &mut self.by_owner);
        }
        sync(view, plan, budget, selected);
    }
}

/// Returns whether the size or the owner of a workload has changed.
fn has_new_scale(change: &ObjectChange) -> bool {
    change.alters(|object| (number(object, "/spec/replicas"), controller(object)))
}

/// Returns the key under which a selector is found.
fn selected_label(namespace: &str, selector: &Value) -> SelectedLabel {
    let first = map(selector, "/matchLabels").and_then(|labels| labels.iter().next());
    let label = first.and_then(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    (namespace.to_owned(), label)
}

impl DisruptionController {
    fn observe_budget(&mut self, view: &ClusterView<'_>, change: &ObjectChange) {
        let budget = &change.object;
        let key = WorkKey::of(&BUDGETS, budget);
        let selector = budget.pointer("/spec/selector").cloned().unwrap_or_default();
        let known = self.budgets.get(&key);
        let is_known = known.is_some_and(|k| k.uid == uid(budget) && k.selector == selector);
        if is_known && !change.deleted {
            return;
        }
        if let Some(known) = self.budgets.remove(&key) {
            let place = selected_label(&key.namespace, &known.selector);
            if let Some(budgets) = self.by_label.get_mut(&place) {
                budgets.remove(&key);
            }
            for owner in known.owners.keys() {
                let owner = (key.namespace.clone(), owner.clone());
                if let Some(budgets) = self.by_owner.get_mut(&owner) {
                    budgets.remove(&key);
                }
            }
        }
        if change.deleted {
            return;
        }
        let place = selected_label(&key.namespace, &selector);
        let name = |pod: &Arc<Value>| object::name(pod).to_owned();
        let changed = match &place.1 {
            Some((label, value)) => {
                let value = label_value(&key.namespace, label, value);
                view.find_of(&PODS, Index::Label, &value).map(name).collect()
            }
            None => view.list(&PODS, Some(object::namespace(budget))).map(name).collect(),
        };
        let selected = SelectedPods {
            uid: uid(budget).to_owned(),
            changed,
            pods: HashMap::new(),
            healthy: 0,
            owners: BTreeMap::new(),
            selector,
        };
        self.by_label.entry(place).or_default().insert(key.clone());
        self.budgets.insert(key, selected);
    }

    /// Notes a pod for the budgets that select it.
    fn note_pod(&mut self, view: &ClusterView<'_>, pod: &Value, queue: &mut WorkQueue) {
        let namespace = object::namespace(pod);
        let labels = map(pod, "/metadata/labels").into_iter().flatten();
        let labels =
            labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        for label in labels.map(Some).chain([None]) {
            let Some(budgets) = self.by_label.get(&(namespace.to_owned(), label)) else {
                continue;
            };
            view.examine(budgets.len() as u64);
            for key in budgets {
                if let Some(selected) = self.budgets.get_mut(key)
                    && selects(Some(&selected.selector).filter(|s| !s.is_null()), pod)
                {
                    selected.changed.insert(object::name(pod).to_owned());
                    queue.add(key.clone());
                }
            }
        }
    }

    /// Queues the budgets that select pods of a workload.
    fn queue_budgets_of(&self, workload: &Value, queue: &mut WorkQueue) {
        let owner = (text(workload, "/kind").to_owned(), object::name(workload).to_owned());
        let place = (object::namespace(workload).to_owned(), owner);
        for key in self.by_owner.get(&place).into_iter().flatten() {
            queue.add(key.clone());
        }
    }
}

impl SelectedPods {
    /// Replaces what is remembered of a pod by what is true of it now.
    fn replace(
        &mut self,
        view: &ClusterView<'_>,
        key: &WorkKey,
        name: String,
        by_owner: &mut HashMap<(String, Owner), BTreeSet<WorkKey>>,
    ) {
        let place = |owner: &Owner| (key.namespace.clone(), owner.clone());
        if let Some(old) = self.pods.remove(&name) {
            self.healthy -= i64::from(old.is_healthy);
            if let Some(owner) = &old.owner
                && let Some(count) = self.owners.get_mut(owner)
            {
                *count -= 1;
                if *count == 0 {
                    self.owners.remove(owner);
                    if let Some(budgets) = by_owner.get_mut(&place(owner)) {
                        budgets.remove(key);
                    }
                }
            }
        }
        let selector = Some(&self.selector).filter(|selector| !selector.is_null());
        let pod = view.get(&PODS, &key.namespace, &name);
        let Some(pod) = pod.filter(|pod| selects(selector, pod)) else {
            return;
        };
        let new = SelectedPod {
            is_healthy: is_true(pod, "Ready") && !is_terminating(pod),
            is_terminating: is_terminating(pod),
            owner: controller(pod)
                .map(|owner| (text(owner, "/kind").to_owned(), text(owner, "/name").to_owned())),
        };
        self.healthy += i64::from(new.is_healthy);
        if let Some(owner) = &new.owner {
            *self.owners.entry(owner.clone()).or_default() += 1;
            by_owner.entry(place(owner)).or_default().insert(key.clone());
        }
        self.pods.insert(name, new);
    }
}

fn sync(
    view: &ClusterView<'_>,
    plan: &mut ControllerPlan,
    budget: &Value,
    selected: &SelectedPods,
) {
    let disrupted = disrupted_pods(view, plan, budget, selected);
    let (expected, desired) = expected_and_desired(view, budget, selected);
    let is_healthy = |name| selected.pods.get(name).is_some_and(|pod| pod.is_healthy);
    let disrupted_count = disrupted.iter().filter(|(name, _)| is_healthy(name)).count();
    let healthy = selected.healthy - as_count(disrupted_count);
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let mut reported = budget.clone();
    for (field, count) in [
        ("currentHealthy", healthy),
        ("desiredHealthy", desired),
        ("disruptionsAllowed", allowed),
        ("expectedPods", expected),
        ("observedGeneration", number(budget, "/metadata/generation").unwrap_or(0)),
    ] {
        put(&mut reported, &["status", field], count);
    }
    let disrupted: serde_json::Map<String, Value> = disrupted.into_iter().collect();
    if disrupted.is_empty() {
        crate::kubernetes::object::remove(&mut reported, &["status", "disruptedPods"]);
    } else {
        put(&mut reported, &["status", "disruptedPods"], disrupted);
    }
    set_allowed_condition(&mut reported, view.now);
    if reported != *budget {
        plan.update(&BUDGETS, reported);
    }
}

/// Returns the pods whose eviction was allowed and whose deletion has not started.
fn disrupted_pods(
    view: &ClusterView<'_>,
    plan: &mut ControllerPlan,
    budget: &Value,
    selected: &SelectedPods,
) -> Vec<(String, Value)> {
    let mut disrupted = Vec::new();
    for (name, since) in map(budget, "/status/disruptedPods").into_iter().flatten() {
        let exists = selected.pods.get(name).is_some_and(|pod| !pod.is_terminating);
        let wrapped = json!({"since": since});
        let end =
            moment(&wrapped, "/since").map(|since| view.deadline(since, DISRUPTED_POD_TIMEOUT));
        if let Some(end) = end.filter(|end| exists && *end > view.now) {
            plan.requeue_at(view.time + (end - view.now));
            disrupted.push((name.clone(), since.clone()));
        }
    }
    disrupted
}

/// Returns the number of expected pods of a budget, and how many of them must be healthy.
fn expected_and_desired(
    view: &ClusterView<'_>,
    budget: &Value,
    selected: &SelectedPods,
) -> (i64, i64) {
    let scale = || expected_scale(view, object::namespace(budget), selected);
    let spec = &budget["spec"];
    if let Some(limit) = spec.get("maxUnavailable") {
        let expected = scale();
        let desired = expected - scaled_value(Some(limit), expected, Rounding::Up);
        return (expected, desired.max(0));
    }
    match spec.get("minAvailable") {
        Some(limit @ Value::String(_)) => {
            let expected = scale();
            (expected, scaled_value(Some(limit), expected, Rounding::Up))
        }
        Some(limit) => (as_count(selected.pods.len()), limit.as_i64().unwrap_or(0)),
        // A budget with neither limit allows no disruption and requires no healthy pods.
        None => (0, 0),
    }
}

/// Returns the sum of the sizes of the workloads that manage the pods.
fn expected_scale(view: &ClusterView<'_>, namespace: &str, selected: &SelectedPods) -> i64 {
    let mut sizes: HashMap<&str, i64> = HashMap::new();
    for (kind, owner) in selected.owners.keys() {
        let resource = match kind.as_str() {
            "ReplicaSet" => &REPLICA_SETS,
            "StatefulSet" => &STATEFUL_SETS,
            "ReplicationController" => &REPLICATION_CONTROLLERS,
            _ => continue,
        };
        let Some(set) = view.get(resource, namespace, owner) else {
            continue;
        };
        let top = controller(set)
            .and_then(|owner| view.get(&DEPLOYMENTS, namespace, text(owner, "/name")))
            .unwrap_or(set);
        sizes.insert(uid(top), number(top, "/spec/replicas").unwrap_or(0));
    }
    sizes.values().sum()
}
