//! What findings are made from: the copy of the cluster, what the run would do to it, and what was found out beside.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::journal::StepPath;
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
    ) -> Self {
        Self { world, steps, rehearsal, rehearsed, own_node }
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

    /// Returns every change of the run, in order.
    pub(in crate::plan) fn changes(&self) -> impl Iterator<Item = ChangedObject<'e>> {
        let steps = self.steps.iter().filter(|step| step.effect == Effect::Changes);
        steps.flat_map(|step| {
            step.changes.iter().map(|change| {
                let (kind, rest) = split_kind(&change.target);
                let (name, part) = rest.split_once(' ').unwrap_or((rest, ""));
                let (before, after) = (&change.before, &change.after);
                ChangedObject { kind, name, part, before, after, step: &step.path }
            })
        })
    }

    /// Returns the changes of one kind of object, one for each part of an object and step.
    pub(in crate::plan) fn changed_once(&self, kind: &str) -> Vec<ChangedObject<'e>> {
        let mut seen = BTreeSet::new();
        let of_kind = self.changes().filter(|change| change.kind == kind);
        of_kind.filter(|change| seen.insert((change.name, change.part, change.step))).collect()
    }

    /// Returns the objects of a kind in the copy of the cluster.
    pub(in crate::plan) fn objects(&self, kind: &'e str) -> impl Iterator<Item = &'e Value> {
        let objects = self.snapshot().into_iter().flat_map(move |world| world.objects_of(kind));
        objects.map(|object| &object.object)
    }

    /// Returns an object by `NAMESPACE/NAME`, or by its name where it has no namespace.
    pub(in crate::plan) fn object(&self, kind: &'e str, path: &str) -> Option<&'e Value> {
        let (namespace, name) = path.split_once('/').unwrap_or(("", path));
        self.objects(kind).find(|object| {
            text(object, "/metadata/name") == name
                && text(object, "/metadata/namespace") == namespace
        })
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
