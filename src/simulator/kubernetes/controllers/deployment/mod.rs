//! The deployment controller: replica sets for each template, rollouts between them, and what the
//! status says of it.

use serde_json::{Value, json};

use crate::simulator::ids::name_hash;
use crate::simulator::kubernetes::object::{
    annotation, controller, flag, is_controlled_by, is_terminating, list, moment, name, namespace,
    number, put, remove, text, uid,
};
use crate::simulator::kubernetes::resources::{DEPLOYMENTS, PODS, REPLICA_SETS};
use crate::simulator::kubernetes::selectors::selects;

use super::replica_set::reference;
use super::rollout::{
    Bounds, DESIRED, MAXIMUM, available, newest_size, old_sizes, proportional_sizes, replicas,
};
use super::{Memory, Plan, View, events};

use status::{is_complete, report};

mod status;

const COMPONENT: &str = "deployment-controller";
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The revisions that a replica set had before a rollout went back to its template.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const HASH: &str = "pod-template-hash";

/// What is in progress since when, for the progress deadline.
const PROGRESS: &str = "progress";

pub(super) fn plan(view: &View<'_>, memory: &mut Memory) -> Plan {
    let mut plan = Plan::default();
    for deployment in view.store.list(&DEPLOYMENTS, None) {
        // Kept alive whether or not it is asked for below.
        memory.since(PROGRESS, uid(deployment), view.now);
        let family = Family::of(view, deployment);
        if is_terminating(deployment) {
            report(view, memory, &mut plan, deployment, &family, None);
            continue;
        }
        adopt(view, &mut plan, deployment);
        let note = reconcile(view, memory, &mut plan, deployment, &family);
        report(view, memory, &mut plan, deployment, &family, note);
    }
    plan
}

/// A deployment's replica sets.
struct Family<'a> {
    newest: Option<&'a Value>,
    /// Oldest first.
    old: Vec<&'a Value>,
}

impl<'a> Family<'a> {
    fn of(view: &View<'a>, deployment: &Value) -> Self {
        let owner = uid(deployment);
        let template = bare_template(deployment);
        let mut old: Vec<&Value> = view
            .store
            .list(&REPLICA_SETS, None)
            .map(AsRef::as_ref)
            .filter(|set: &&Value| is_controlled_by(set, owner))
            .collect();
        old.sort_by_key(|set| (moment(set, "/metadata/creationTimestamp"), revision(set)));
        let at = old.iter().position(|set| bare_template(set) == template);
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
    remove(&mut template, &["metadata", "labels", HASH]);
    remove(&mut template, &["metadata", "creationTimestamp"]);
    template
}

fn revision(object: &Value) -> i64 {
    annotation(object, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Takes over replica sets that fit and that nobody manages.
fn adopt(view: &View<'_>, plan: &mut Plan, deployment: &Value) {
    for set in view.store.list(&REPLICA_SETS, None) {
        if namespace(set) == namespace(deployment)
            && controller(set).is_none()
            && !is_terminating(set)
            && selects(deployment.pointer("/spec/selector"), set)
        {
            let mut adopted = Value::clone(set);
            let mut owners = list(set, "/metadata/ownerReferences").to_vec();
            owners.push(reference(deployment));
            put(&mut adopted, &["metadata", "ownerReferences"], owners);
            plan.update(&REPLICA_SETS, adopted);
        }
    }
}

/// A reason and the words for the condition Progressing.
type Note = (&'static str, String);

/// Moves the replica sets one step on.
fn reconcile(
    view: &View<'_>,
    memory: &mut Memory,
    plan: &mut Plan,
    deployment: &Value,
    family: &Family<'_>,
) -> Option<Note> {
    let bounds = Bounds::of(deployment);
    if flag(deployment, "/spec/paused") || was_scaled(bounds, family) {
        rescale(plan, deployment, family, bounds);
        return None;
    }
    let recreate = text(deployment, "/spec/strategy/type") == "Recreate";
    let Some(newest) = family.newest else {
        if recreate && !old_pods_are_gone(view, plan, deployment, family) {
            return None;
        }
        memory.restart(PROGRESS, uid(deployment), view.now);
        return Some(begin(plan, deployment, family, bounds));
    };
    if let Some(note) = promote(view, memory, plan, deployment, newest, family) {
        return Some(note);
    }
    if recreate {
        if old_pods_are_gone(view, plan, deployment, family) {
            resize(plan, deployment, newest, bounds.replicas);
        }
    } else {
        roll(plan, deployment, family, newest, bounds);
    }
    if is_complete(deployment, &deployment["status"]) {
        forget_history(plan, deployment, family);
    }
    None
}

/// One step of a rolling update: grow the newest set, or shrink the old ones.
fn roll(plan: &mut Plan, deployment: &Value, family: &Family<'_>, newest: &Value, bounds: Bounds) {
    let size = newest_size(bounds, replicas(newest), family.sum(replicas));
    if size != replicas(newest) {
        resize(plan, deployment, newest, size);
        return;
    }
    if family.old.iter().all(|set| replicas(set) == 0) {
        return;
    }
    let sizes = old_sizes(bounds, &family.old, newest);
    for (set, size) in family.old.iter().zip(sizes) {
        resize(plan, deployment, set, size);
    }
}

/// Makes the replica set of a new template.
fn begin(plan: &mut Plan, deployment: &Value, family: &Family<'_>, bounds: Bounds) -> Note {
    let template = bare_template(deployment);
    let hash = name_hash(&format!("{} {template}", uid(deployment)));
    let called = format!("{}-{hash}", name(deployment));
    let size = newest_size(bounds, 0, family.sum(replicas));
    let next = family.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
    let mut template = template;
    put(&mut template, &["metadata", "labels", HASH], hash.as_str());
    let mut selector = deployment["spec"]["selector"].clone();
    put(&mut selector, &["matchLabels", HASH], hash.as_str());
    let mut set = json!({
        "metadata": {
            "name": called,
            "namespace": namespace(deployment),
            "labels": template["metadata"]["labels"],
            "annotations": inherited_annotations(deployment),
            "ownerReferences": [reference(deployment)],
        },
        "spec": {"replicas": size, "selector": selector, "template": template},
    });
    if let Some(seconds) = number(deployment, "/spec/minReadySeconds").filter(|s| *s > 0) {
        put(&mut set, &["spec", "minReadySeconds"], seconds);
    }
    mark(&mut set, bounds, Some(next));
    plan.create(&REPLICA_SETS, set);
    if size > 0 {
        let message = format!("Scaled up replica set {called} from 0 to {size}");
        plan.event(events::normal(COMPONENT, deployment, "ScalingReplicaSet", message));
    }
    ("NewReplicaSetCreated", format!("Created new replica set {called:?}"))
}

/// The deployment's annotations that its replica sets carry too.
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

fn mark(set: &mut Value, bounds: Bounds, revision: Option<i64>) {
    let annotations = ["metadata", "annotations"];
    let mut write = |key: &str, number: i64| {
        put(set, &[annotations[0], annotations[1], key], number.to_string());
    };
    write(DESIRED, bounds.replicas);
    write(MAXIMUM, bounds.most());
    if let Some(revision) = revision {
        write(REVISION, revision);
    }
}

/// The revisions that a set has had, the one included that it still has.
fn history(set: &Value) -> String {
    let last = revision(set).to_string();
    annotation(set, HISTORY).map_or_else(|| last.clone(), |before| format!("{before},{last}"))
}

/// Gives the newest set the highest revision, when a rollout went back to an older template.
fn promote(
    view: &View<'_>,
    memory: &mut Memory,
    plan: &mut Plan,
    deployment: &Value,
    newest: &Value,
    family: &Family<'_>,
) -> Option<Note> {
    let highest = family.old.iter().map(|set| revision(set)).max().unwrap_or(0);
    let stale = revision(newest) <= highest;
    let patience = |set: &Value| number(set, "/spec/minReadySeconds").unwrap_or(0);
    if !stale && patience(newest) == patience(deployment) {
        return None;
    }
    let mut promoted = newest.clone();
    if stale {
        put(&mut promoted, &["metadata", "annotations", REVISION], (highest + 1).to_string());
        put(&mut promoted, &["metadata", "annotations", HISTORY], history(newest));
    }
    put(&mut promoted, &["spec", "minReadySeconds"], patience(deployment));
    plan.update(&REPLICA_SETS, promoted);
    if !stale {
        return None;
    }
    memory.restart(PROGRESS, uid(deployment), view.now);
    Some(("FoundNewReplicaSet", format!("Found new replica set {:?}", name(newest))))
}

/// For Recreate: scales the old sets to nothing, and says whether their pods are gone.
fn old_pods_are_gone(
    view: &View<'_>,
    plan: &mut Plan,
    deployment: &Value,
    family: &Family<'_>,
) -> bool {
    for set in &family.old {
        resize(plan, deployment, set, 0);
    }
    let of_old = |pod: &Value| family.old.iter().any(|set| is_controlled_by(pod, uid(set)));
    !view.store.list(&PODS, None).any(|pod| of_old(pod))
}

/// Whether the deployment's size has changed since its sets were last sized.
fn was_scaled(bounds: Bounds, family: &Family<'_>) -> bool {
    family.all().filter(|set| replicas(set) > 0).any(|set| {
        let known: Option<i64> = annotation(set, DESIRED).and_then(|text| text.parse().ok());
        known.is_some_and(|known| known != bounds.replicas)
    })
}

/// Sizes the sets after a change of the deployment's size, without moving a rollout on.
fn rescale(plan: &mut Plan, deployment: &Value, family: &Family<'_>, bounds: Bounds) {
    let active: Vec<&Value> = family.all().filter(|set| replicas(set) > 0).collect();
    let only = match active.as_slice() {
        [] => family.newest.or(family.old.last().copied()),
        [one] => Some(*one),
        _ => None,
    };
    if let Some(only) = only {
        resize(plan, deployment, only, bounds.replicas);
        return;
    }
    if family.newest.is_some_and(|newest| is_saturated(newest, bounds)) {
        for set in &family.old {
            resize(plan, deployment, set, 0);
        }
        return;
    }
    let mut sets: Vec<&Value> =
        family.newest.into_iter().chain(family.old.iter().rev().copied()).collect();
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

/// Gives a set a size, and notes what size the deployment had then.
fn resize(plan: &mut Plan, deployment: &Value, set: &Value, size: i64) {
    let before = replicas(set);
    let mut sized = set.clone();
    put(&mut sized, &["spec", "replicas"], size);
    if before != 0 || size != 0 {
        mark(&mut sized, Bounds::of(deployment), None);
    }
    if sized == *set {
        return;
    }
    plan.update(&REPLICA_SETS, sized);
    if before != size {
        let way = if size > before { "up" } else { "down" };
        let called = name(set);
        let message = format!("Scaled {way} replica set {called} from {before} to {size}");
        plan.event(events::normal(COMPONENT, deployment, "ScalingReplicaSet", message));
    }
}

/// Deletes the oldest empty sets beyond the history limit.
fn forget_history(plan: &mut Plan, deployment: &Value, family: &Family<'_>) {
    let limit = number(deployment, "/spec/revisionHistoryLimit").unwrap_or(10);
    let empty = |set: &&&Value| {
        replicas(set) == 0
            && number(set, "/status/replicas").unwrap_or(0) == 0
            && !is_terminating(set)
    };
    let mut empty: Vec<&&Value> = family.old.iter().filter(empty).collect();
    empty.sort_by_key(|set| revision(set));
    let surplus = empty.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    for set in empty.into_iter().take(surplus) {
        plan.delete(&REPLICA_SETS, set);
    }
}
