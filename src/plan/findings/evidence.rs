//! What findings are made from: the copy of the cluster, what the run would do to it, and what was found out beside.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::Value;

use crate::journal::{StepOutcome, StepPath};
use crate::plan::{
    model::{Effect, PlannedStep, Rehearsal},
    rehearsal::Rehearsed,
    world::World,
};
use crate::platform::aws::{Activity, AutoScalingGroup, Nodegroup, Subnet};
use crate::snapshot::{FieldManager, Snapshot};

/// The facts by which findings are made.
pub(in crate::plan) struct Evidence<'e> {
    /// The copy of the cluster; `None` where it was not read.
    pub(in crate::plan) world: Option<&'e World>,
    /// The steps.
    pub(in crate::plan) steps: &'e [PlannedStep],
    /// The rehearsal.
    pub(in crate::plan) rehearsal: &'e Rehearsal,
    /// The rehearsed run.
    pub(in crate::plan) rehearsed: Option<&'e Rehearsed>,
    /// The name of the node on which this process runs.
    pub(in crate::plan) own_node: Option<&'e str>,
    /// The objects that steps are to change to which the rehearsal does not come. Their values are not known.
    intended: &'e [ChangedObject<'e>],
    /// The objects of the copy, by kind, namespace and name.
    objects: HashMap<[&'e str; 3], &'e Value>,
}

/// An object that a step changes, as the target of the change names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) struct ChangedObject<'e> {
    /// The kind: `deployment`, `node`, `nodegroup`, `Auto Scaling group`, ….
    pub(in crate::plan) kind: &'e str,
    /// The name: `NAME` or `NAMESPACE/NAME`.
    pub(in crate::plan) name: &'e str,
    /// The rest: `replicas`, `desired`, ….
    pub(in crate::plan) part: &'e str,
    /// The value before.
    pub(in crate::plan) before: &'e Value,
    /// The value after.
    pub(in crate::plan) after: &'e Value,
    /// The step.
    pub(in crate::plan) step: &'e StepPath,
}

impl<'e> Evidence<'e> {
    /// Returns the evidence of a plan.
    pub(in crate::plan) fn new(
        world: Option<&'e World>,
        steps: &'e [PlannedStep],
        rehearsal: &'e Rehearsal,
        rehearsed: Option<&'e Rehearsed>,
        own_node: Option<&'e str>,
        intended: &'e [ChangedObject<'e>],
    ) -> Self {
        let snapshot = world.map(|world| &world.snapshot);
        let objects = snapshot.into_iter().flat_map(|snapshot| snapshot.objects.iter());
        let objects = objects.flat_map(|(kind, objects)| {
            objects
                .iter()
                .map(|object| ([*kind, object.namespace(), object.name()], &*object.object))
        });
        let objects = objects.collect();
        Self { world, steps, rehearsal, rehearsed, own_node, intended, objects }
    }

    fn snapshot(&self) -> Option<&'e Snapshot> {
        self.world.map(|world| &world.snapshot)
    }

    /// Returns a nodegroup by its name.
    pub(in crate::plan) fn nodegroup(&self, name: &str) -> Option<&'e Nodegroup> {
        self.snapshot()?.nodegroups.iter().find(|nodegroup| nodegroup.name == name)
    }

    /// Returns an Auto Scaling group by its name.
    pub(in crate::plan) fn group(&self, name: &str) -> Option<&'e AutoScalingGroup> {
        self.snapshot()?.groups.iter().find(|group| group.name == name)
    }

    /// Returns the first Auto Scaling group of a nodegroup.
    pub(in crate::plan) fn group_of(&self, nodegroup: &Nodegroup) -> Option<&'e AutoScalingGroup> {
        self.group(nodegroup.auto_scaling_groups.first()?)
    }

    /// Returns the ids of the updates of a nodegroup that are in progress.
    pub(in crate::plan) fn updates_of(&self, nodegroup: &str) -> Vec<&'e str> {
        let updates = self.snapshot().and_then(|snapshot| snapshot.updates.get(nodegroup));
        updates.into_iter().flatten().map(|update| update.id.as_str()).collect()
    }

    /// Returns the latest activities of a group, the latest first.
    pub(in crate::plan) fn activities_of(&self, group: &str) -> &'e [Activity] {
        let activities = self.snapshot().and_then(|snapshot| snapshot.activities.get(group));
        activities.map_or(&[], Vec::as_slice)
    }

    /// Returns the clients that have set the replicas of a workload.
    pub(in crate::plan) fn replicas_managers(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> &'e [FieldManager] {
        let found = self.snapshot().and_then(|snapshot| snapshot.object(kind, namespace, name));
        found.map_or(&[], |object| object.replicas_managers.as_slice())
    }

    /// Returns the subnets of a group, as far as they were read.
    pub(in crate::plan) fn subnets_of(&self, group: &AutoScalingGroup) -> Vec<&'e Subnet> {
        let subnets = self.snapshot().into_iter().flat_map(|snapshot| &snapshot.subnets);
        subnets.filter(|subnet| group.subnets.contains(&subnet.id)).collect()
    }

    /// Whether the rehearsal comes to the end of a step.
    pub(in crate::plan) fn has_reached(&self, step: &StepPath) -> bool {
        self.rehearsed
            .is_some_and(|all| all.run.step(step).is_some_and(|ran| ran.outcome.is_some()))
    }

    /// Whether a step succeeds in the rehearsal.
    pub(in crate::plan) fn has_passed(&self, step: &StepPath) -> bool {
        let outcome = self.rehearsed.and_then(|all| all.run.step(step)?.outcome.as_ref());
        matches!(outcome, Some(StepOutcome::Completed { .. }))
    }

    /// Returns what adds nodes when pods find no place, where the cluster has something that does.
    pub(in crate::plan) fn adds_nodes(&self) -> Option<&'e str> {
        let known = ["karpenter", "cluster-autoscaler"];
        let runs = |deployment: &&Value| {
            number(deployment, "/status/readyReplicas") > Some(0)
                && known.iter().any(|name| text(deployment, "/metadata/name").contains(name))
        };
        let has_pool =
            |node: &&Value| node.pointer("/metadata/labels/karpenter.sh~1nodepool").is_some();
        let found = self.objects("Deployment").find(runs);
        let found = found.map(|deployment| text(deployment, "/metadata/name"));
        found.or_else(|| self.objects("Node").find(has_pool).map(|_| "Karpenter"))
    }

    /// Returns when the copy was made.
    pub(in crate::plan) fn taken_at(&self) -> Option<Timestamp> {
        self.snapshot().map(|snapshot| snapshot.taken_at)
    }

    /// Returns every change of the run, in order.
    pub(in crate::plan) fn changes(&self) -> impl Iterator<Item = ChangedObject<'e>> {
        self.steps.iter().flat_map(|step| self.changes_of(step))
    }

    /// Returns every change of a step, in order.
    pub(super) fn changes_of(
        &self,
        step: &'e PlannedStep,
    ) -> impl Iterator<Item = ChangedObject<'e>> {
        let changes = matches!(step.effect, Effect::Changes | Effect::Fails { .. });
        let changes = step.changes.iter().filter(move |_| changes);
        changes.map(|change| {
            let (kind, rest) = split_kind(&change.target);
            let (name, part) = self.split_name(kind, rest);
            let (before, after) = (&change.before, &change.after);
            ChangedObject { kind, name, part, before, after, step: &step.path }
        })
    }

    /// Returns the name that a text begins with, and the rest. The name of a group may have spaces.
    fn split_name<'t>(&self, kind: &str, text: &'t str) -> (&'t str, &'t str) {
        let groups = self.snapshot().into_iter().flat_map(|snapshot| &snapshot.groups);
        let with_spaces = groups.filter(|group| kind == GROUP && group.name.contains(' '));
        for group in with_spaces {
            let rest =
                text.strip_prefix(group.name.as_str()).and_then(|rest| rest.strip_prefix(' '));
            if let Some(rest) = rest {
                return (&text[..group.name.len()], rest);
            }
        }
        text.split_once(' ').unwrap_or((text, ""))
    }

    /// Returns the changes of one kind of object, one for each part of an object and step. A run that fails before it
    /// comes to a step would come to it once that is put right, so what it is to change counts, too.
    pub(in crate::plan) fn changed_once(&self, kind: &str) -> Vec<ChangedObject<'e>> {
        let mut seen = BTreeSet::new();
        let all = self.changes().chain(self.intended.iter().copied());
        let of_kind = all.filter(|change| change.kind == kind);
        of_kind.filter(|change| seen.insert((change.name, change.part, change.step))).collect()
    }

    /// Returns the objects of a kind in the copy of the cluster.
    pub(in crate::plan) fn objects(&self, kind: &'e str) -> impl Iterator<Item = &'e Value> {
        let objects = self.snapshot().into_iter().flat_map(move |world| world.objects_of(kind));
        objects.map(|object| &*object.object)
    }

    /// Returns an object by `NAMESPACE/NAME`, or by its name where it has no namespace.
    pub(in crate::plan) fn object(&self, kind: &'e str, path: &str) -> Option<&'e Value> {
        let (namespace, name) = path.split_once('/').unwrap_or(("", path));
        self.objects.get(&[kind, namespace, name]).copied()
    }
}

/// The kind whose name has spaces.
pub(in crate::plan) const GROUP: &str = "Auto Scaling group";

/// Returns the kind that a target begins with, and the rest.
fn split_kind(target: &str) -> (&str, &str) {
    match target.strip_prefix(GROUP) {
        Some(rest) => (GROUP, rest.trim_start()),
        None => target.split_once(' ').unwrap_or((target, "")),
    }
}

/// Returns a text in an object; an empty one where there is none.
pub(in crate::plan) fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns a number in an object.
pub(in crate::plan) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}
