//! The deployment controller: replica sets for each template, rollouts between them, and the
//! deployment's status.

use serde_json::{Value, json};

use crate::ids::name_hash;
use crate::kubernetes::index::Index;
use crate::kubernetes::kinds;
use crate::kubernetes::kinds::{DEPLOYMENTS, Kind, PODS, REPLICA_SETS};
use crate::kubernetes::object::{
    self, annotation, controller, flag, is_controlled_by, is_terminating, list, moment, number,
    put, remove, text, uid,
};
use crate::kubernetes::selectors::selects;
use crate::kubernetes::store::ObjectChange;

use super::queue::{WorkKey, WorkQueue};
use super::replica_set::owner_reference;
use super::rollout::{
    Bounds, DESIRED, MAXIMUM, available, newest_size, old_sizes, proportional_sizes, replicas,
};
use super::{ClusterView, ControllerPlan, Reconcile, Timers, events};

use status::{is_complete, report};

mod status;

const COMPONENT: &str = "deployment-controller";
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The annotation with the revisions that a replica set had before a rollout went back to its
/// template.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The timer of the progress deadline.
const PROGRESS: &str = "progress";

/// The controller.
pub(super) struct DeploymentController;

impl Reconcile for DeploymentController {
    fn observe(&mut self, view: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        let object = &change.object;
        if *change.resource == DEPLOYMENTS {
            queue.add(WorkKey::of(&DEPLOYMENTS, object));
        } else if *change.resource == REPLICA_SETS {
            let namespace = object::namespace(object);
            for set in change.before.iter().chain([object]) {
                if let Some(owner) = controller(set).filter(|o| text(o, "/kind") == "Deployment") {
                    queue.add(WorkKey::named(&DEPLOYMENTS, namespace, text(owner, "/name")));
                }
            }
            if !change.deleted && controller(object).is_none() {
                for deployment in view.list(&DEPLOYMENTS, Some(namespace)) {
                    queue.add(WorkKey::of(&DEPLOYMENTS, deployment));
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
        let Some(deployment) = view.get(&DEPLOYMENTS, &key.namespace, &key.name) else {
            return;
        };
        // This call keeps the timer, which not every path below uses.
        timers.since(PROGRESS, uid(deployment), view.time);
        let owned = OwnedReplicaSets::of(view, deployment);
        if is_terminating(deployment) {
            report(view, timers, plan, deployment, &owned, None);
            return;
        }
        adopt(view, plan, deployment);
        let progress = reconcile(view, timers, plan, deployment, &owned);
        report(view, timers, plan, deployment, &owned, progress);
    }
}

/// The replica sets of a deployment.
struct OwnedReplicaSets<'a> {
    newest: Option<&'a Value>,
    /// The other sets, oldest first.
    old: Vec<&'a Value>,
}

impl<'a> OwnedReplicaSets<'a> {
    fn of(view: &ClusterView<'a>, deployment: &Value) -> Self {
        let owner = uid(deployment);
        let template = bare_template(deployment);
        let mut old: Vec<&Value> = view
            .find_of(&REPLICA_SETS, Index::Owner, owner)
            .map(AsRef::as_ref)
            .filter(|set: &&Value| is_controlled_by(set, owner))
            .collect();
        old.sort_by_key(|set| (moment(set, "/metadata/creationTimestamp"), revision(set)));
        let at = old.iter().position(|set| bare_template(set) == template).or_else(|| {
            // An object that was loaded from a cluster may lack defaults that others have.
            let template = defaulted_template(&DEPLOYMENTS, deployment);
            old.iter().position(|set| defaulted_template(&REPLICA_SETS, set) == template)
        });
        let newest = at.map(|at| old.remove(at));
        Self { newest, old }
    }

    fn all(&self) -> impl Iterator<Item = &'a Value> {
        self.newest.into_iter().chain(self.old.iter().copied())
    }

    fn sum(&self, count: fn(&Value) -> i64) -> i64 {
        self.all().map(count).sum()
    }
}

fn bare_template(workload: &Value) -> Value {
    let mut template = workload["spec"]["template"].clone();
    remove(&mut template, &["metadata", "labels", TEMPLATE_HASH]);
    remove(&mut template, &["metadata", "creationTimestamp"]);
    template
}

fn defaulted_template(resource: &Kind, workload: &Value) -> Value {
    let mut defaulted = workload.clone();
    kinds::normalize(resource, &mut defaulted);
    kinds::set_defaults(resource, &mut defaulted);
    bare_template(&defaulted)
}

fn revision(object: &Value) -> i64 {
    annotation(object, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Adopts the matching replica sets that have no controller.
fn adopt(view: &ClusterView<'_>, plan: &mut ControllerPlan, deployment: &Value) {
    for set in view.find_of(&REPLICA_SETS, Index::Uncontrolled, object::namespace(deployment)) {
        if !is_terminating(set) && selects(deployment.pointer("/spec/selector"), set) {
            let mut adopted = Value::clone(set);
            let mut owners = list(set, "/metadata/ownerReferences").to_vec();
            owners.push(owner_reference(deployment));
            put(&mut adopted, &["metadata", "ownerReferences"], owners);
            plan.update(&REPLICA_SETS, adopted);
        }
    }
}

/// The reason and the message of the condition Progressing.
type ProgressReason = (&'static str, String);

/// Moves the replica sets one step towards the specified state.
fn reconcile(
    view: &ClusterView<'_>,
    timers: &mut Timers,
    plan: &mut ControllerPlan,
    deployment: &Value,
    owned: &OwnedReplicaSets<'_>,
) -> Option<ProgressReason> {
    let bounds = Bounds::of(deployment);
    if flag(deployment, "/spec/paused") || was_scaled(bounds, owned) {
        rescale(plan, deployment, owned, bounds);
        return None;
    }
    let recreate = text(deployment, "/spec/strategy/type") == "Recreate";
    let Some(newest) = owned.newest else {
        if recreate && !scale_down_old_sets(view, plan, deployment, owned) {
            return None;
        }
        timers.restart(PROGRESS, uid(deployment), view.time);
        return Some(create_newest_set(plan, deployment, owned, bounds));
    };
    if let Some(progress) = promote(view, timers, plan, deployment, newest, owned) {
        return Some(progress);
    }
    if recreate {
        if scale_down_old_sets(view, plan, deployment, owned) {
            resize(plan, deployment, newest, bounds.replicas);
        }
    } else {
        roll_out(plan, deployment, owned, newest, bounds);
    }
    if is_complete(deployment, &deployment["status"]) {
        clean_up_old_sets(plan, deployment, owned);
    }
    None
}

/// Makes one step of a rolling update: grows the newest set or shrinks the old ones.
fn roll_out(
    plan: &mut ControllerPlan,
    deployment: &Value,
    owned: &OwnedReplicaSets<'_>,
    newest: &Value,
    bounds: Bounds,
) {
    let size = newest_size(bounds, replicas(newest), owned.sum(replicas));
    if size != replicas(newest) {
        resize(plan, deployment, newest, size);
        return;
    }
    if owned.old.iter().all(|set| replicas(set) == 0) {
        return;
    }
    let sizes = old_sizes(bounds, &owned.old, newest);
    for (set, size) in owned.old.iter().zip(sizes) {
        resize(plan, deployment, set, size);
    }
}

/// Creates the replica set of a new template.
fn create_newest_set(
    plan: &mut ControllerPlan,
    deployment: &Value,
    owned: &OwnedReplicaSets<'_>,
    bounds: Bounds,
) -> ProgressReason {
    let template = bare_template(deployment);
    let hash = name_hash(&format!("{} {template}", uid(deployment)));
    let name = format!("{}-{hash}", object::name(deployment));
    let size = newest_size(bounds, 0, owned.sum(replicas));
    let next = owned.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
    let mut template = template;
    put(&mut template, &["metadata", "labels", TEMPLATE_HASH], hash.as_str());
    let mut selector = deployment["spec"]["selector"].clone();
    put(&mut selector, &["matchLabels", TEMPLATE_HASH], hash.as_str());
    let mut set = json!({
        "metadata": {
            "name": name,
            "namespace": object::namespace(deployment),
            "labels": template["metadata"]["labels"],
            "annotations": inherited_annotations(deployment),
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {"replicas": size, "selector": selector, "template": template},
    });
    if let Some(seconds) = number(deployment, "/spec/minReadySeconds").filter(|s| *s > 0) {
        put(&mut set, &["spec", "minReadySeconds"], seconds);
    }
    annotate_sizes(&mut set, bounds, Some(next));
    plan.create(&REPLICA_SETS, set);
    if size > 0 {
        let message = format!("Scaled up replica set {name} from 0 to {size}");
        plan.event(events::normal(COMPONENT, deployment, "ScalingReplicaSet", message));
    }
    ("NewReplicaSetCreated", format!("Created new replica set {name:?}"))
}

/// Returns the deployment's annotations that its replica sets inherit.
fn inherited_annotations(deployment: &Value) -> Value {
    let own = ["kubectl.kubernetes.io/last-applied-configuration", REVISION, DESIRED, MAXIMUM];
    let annotations = deployment.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations
        .into_iter()
        .flatten()
        .filter(|(key, _)| !own.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn annotate_sizes(set: &mut Value, bounds: Bounds, revision: Option<i64>) {
    let annotations = ["metadata", "annotations"];
    let mut write = |key: &str, number: i64| {
        put(set, &[annotations[0], annotations[1], key], number.to_string());
    };
    write(DESIRED, bounds.replicas);
    write(MAXIMUM, bounds.max_total());
    if let Some(revision) = revision {
        write(REVISION, revision);
    }
}

/// Returns the revisions that a set has had, including its current one.
fn revision_history(set: &Value) -> String {
    let last = revision(set).to_string();
    annotation(set, HISTORY).map_or_else(|| last.clone(), |before| format!("{before},{last}"))
}

/// Gives the newest set the highest revision, if a rollout went back to an older template.
fn promote(
    view: &ClusterView<'_>,
    timers: &mut Timers,
    plan: &mut ControllerPlan,
    deployment: &Value,
    newest: &Value,
    owned: &OwnedReplicaSets<'_>,
) -> Option<ProgressReason> {
    let highest = owned.old.iter().map(|set| revision(set)).max().unwrap_or(0);
    let stale = revision(newest) <= highest;
    let min_ready_seconds = |set: &Value| number(set, "/spec/minReadySeconds").unwrap_or(0);
    if !stale && min_ready_seconds(newest) == min_ready_seconds(deployment) {
        return None;
    }
    let mut promoted = newest.clone();
    if stale {
        put(&mut promoted, &["metadata", "annotations", REVISION], (highest + 1).to_string());
        put(&mut promoted, &["metadata", "annotations", HISTORY], revision_history(newest));
    }
    put(&mut promoted, &["spec", "minReadySeconds"], min_ready_seconds(deployment));
    plan.update(&REPLICA_SETS, promoted);
    if !stale {
        return None;
    }
    timers.restart(PROGRESS, uid(deployment), view.time);
    Some(("FoundNewReplicaSet", format!("Found new replica set {:?}", object::name(newest))))
}

/// Scales the old sets to 0, for the strategy Recreate, and returns whether their pods are gone.
fn scale_down_old_sets(
    view: &ClusterView<'_>,
    plan: &mut ControllerPlan,
    deployment: &Value,
    owned: &OwnedReplicaSets<'_>,
) -> bool {
    for set in &owned.old {
        resize(plan, deployment, set, 0);
    }
    !owned.old.iter().any(|set| {
        view.find_of(&PODS, Index::Owner, uid(set)).any(|pod| is_controlled_by(pod, uid(set)))
    })
}

/// Returns whether the deployment's size has changed since its sets were last sized.
fn was_scaled(bounds: Bounds, owned: &OwnedReplicaSets<'_>) -> bool {
    owned.all().filter(|set| replicas(set) > 0).any(|set| {
        let known: Option<i64> = annotation(set, DESIRED).and_then(|text| text.parse().ok());
        known.is_some_and(|known| known != bounds.replicas)
    })
}

/// Sizes the sets after a change of the deployment's size, without advancing a rollout.
fn rescale(
    plan: &mut ControllerPlan,
    deployment: &Value,
    owned: &OwnedReplicaSets<'_>,
    bounds: Bounds,
) {
    let active: Vec<&Value> = owned.all().filter(|set| replicas(set) > 0).collect();
    let only = match active.as_slice() {
        [] => owned.newest.or(owned.old.last().copied()),
        [one] => Some(*one),
        _ => None,
    };
    if let Some(only) = only {
        resize(plan, deployment, only, bounds.replicas);
        return;
    }
    if owned.newest.is_some_and(|newest| is_saturated(newest, bounds)) {
        for set in &owned.old {
            resize(plan, deployment, set, 0);
        }
        return;
    }
    let mut sets: Vec<&Value> =
        owned.newest.into_iter().chain(owned.old.iter().rev().copied()).collect();
    sets.retain(|set| replicas(set) > 0);
    let sizes = proportional_sizes(bounds, &sets);
    for (set, size) in sets.iter().zip(sizes) {
        resize(plan, deployment, set, size);
    }
}

fn is_saturated(set: &Value, bounds: Bounds) -> bool {
    let desired = annotation(set, DESIRED).and_then(|text| text.parse().ok());
    replicas(set) == bounds.replicas
        && desired == Some(bounds.replicas)
        && available(set) == bounds.replicas
}

/// Sets the size of a replica set and records the deployment's size in its annotations.
fn resize(plan: &mut ControllerPlan, deployment: &Value, set: &Value, size: i64) {
    let before = replicas(set);
    let mut sized = set.clone();
    put(&mut sized, &["spec", "replicas"], size);
    if before != 0 || size != 0 {
        annotate_sizes(&mut sized, Bounds::of(deployment), None);
    }
    if sized == *set {
        return;
    }
    plan.update(&REPLICA_SETS, sized);
    if before != size {
        let direction = if size > before { "up" } else { "down" };
        let name = object::name(set);
        let message = format!("Scaled {direction} replica set {name} from {before} to {size}");
        plan.event(events::normal(COMPONENT, deployment, "ScalingReplicaSet", message));
    }
}

/// Deletes the oldest empty sets beyond the history limit.
fn clean_up_old_sets(plan: &mut ControllerPlan, deployment: &Value, owned: &OwnedReplicaSets<'_>) {
    let limit = number(deployment, "/spec/revisionHistoryLimit").unwrap_or(10);
    let empty = |set: &&&Value| {
        replicas(set) == 0
            && number(set, "/status/replicas").unwrap_or(0) == 0
            && !is_terminating(set)
    };
    let mut empty: Vec<&&Value> = owned.old.iter().filter(empty).collect();
    empty.sort_by_key(|set| revision(set));
    let surplus = empty.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    for set in empty.into_iter().take(surplus) {
        plan.delete(&REPLICA_SETS, set);
    }
}
