//! The instances that a drained scale-down removes: chosen once, then drained, then terminated one by one.
//!
//! Lowering the desired size lets the Auto Scaling group choose who goes, and asks no disruption budget. So the step
//! chooses, and ends exactly these instances, each of which lowers the desired size by one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Intent, target};
use crate::platform::kubernetes::node::Node;
use crate::{
    actions::{
        Change, Error, Impact, KnownTargets, PlannedChange, PlatformReader, PlatformWriter,
        Progress, Result, TargetState,
        drain::{self, Drain},
        nodegroups,
        protection::find_instance,
    },
    platform::{
        NODE_NAME,
        aws::{AutoScalingGroup, GroupInstance},
        kubernetes::node,
    },
};
use text::{join_truncated, plural};

/// The instances that go, and the drain of their nodes.
#[derive(Serialize, Deserialize)]
pub(super) struct Removal {
    pub(super) instances: Vec<String>,
    drain: drain::Intent,
}

impl Removal {
    /// Chooses as many instances as are to go, and decides on the drain of their nodes.
    ///
    /// # Errors
    /// The group is not settled, too many of its instances are protected from scale-in, or the drain is refused.
    pub(super) async fn prepare(
        group: &AutoScalingGroup,
        nodes: &[Node],
        after: u32,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Self> {
        let active = active_instances(group).count();
        if active != group.desired as usize {
            return Err(Error::busy(format!(
                "Auto Scaling group {} has {} and is to have {}",
                group.name,
                plural(active, "instance"),
                group.desired
            )));
        }
        let by_instance: BTreeMap<&str, &Node> =
            nodes.iter().filter_map(|node| Some((node::instance_id(node)?, node))).collect();
        let pods = drain::count_pods(&reader.kubernetes().await?, &names_of(nodes)).await?;
        let own = reader.environment(NODE_NAME);
        let cost = |instance: &GroupInstance| {
            let node = by_instance.get(instance.id.as_str()).copied();
            let name = node.and_then(|node| node.metadata.name.as_deref());
            Cost {
                runs_this_process: name.is_some() && name == own,
                takes_pods: node.is_some_and(|node| !node::is_cordoned(node)),
                pods: name.and_then(|name| pods.get(name)).copied().unwrap_or(0),
                age: node
                    .and_then(|node| node.metadata.creation_timestamp.as_ref())
                    .map(|time| time.0),
            }
        };
        let count = (group.desired - after) as usize;
        let instances = choose(group, count, cost)?;
        let leaving: Vec<Node> = instances
            .iter()
            .filter_map(|id| by_instance.get(id.as_str()).copied().cloned())
            .collect();
        let params = drain::Params::of(names_of(&leaving));
        let drain = Drain::prepare(params, &KnownTargets::default(), reader, progress).await;
        Ok(Self { instances, drain: drain.map_err(without_own_parameters)? })
    }

    /// Returns the instances that end, with the cordons and the evictions before that.
    pub(super) fn planned_changes(&self) -> Vec<PlannedChange> {
        let ends = |id: &String| PlannedChange::new(format!("instance {id}"), true, Value::Null);
        let drained = Drain::planned_changes(&self.drain);
        drained.into_iter().chain(self.instances.iter().map(ends)).collect()
    }

    /// Returns what the drain takes away.
    pub(super) fn impact(&self) -> Impact {
        Drain::impact(&self.drain)
    }

    /// Drains the nodes in rounds, and then ends the instances. An instance is asked for before it is ended: a call
    /// that was sent and not answered must not lower the desired size once more.
    ///
    /// # Errors
    /// [`Error::Busy`] until the pods have left and are replaced; [`Error::Conflict`] where another client has changed
    /// the desired size.
    pub(super) async fn apply(&self, intent: &Intent, writer: &PlatformWriter) -> Result<()> {
        Drain::apply(&self.drain, writer).await?;
        drain::ensure_empty(&self.drain, writer.reader()).await?;
        let aws = writer.aws(&intent.nodegroup.region).await?;
        let group = nodegroups::describe_group(aws.reader(), &intent.auto_scaling_group).await?;
        let is_left =
            |id: &&String| find_instance(&group, id).is_some_and(|instance| !instance.is_leaving());
        let left: Vec<&String> = self.instances.iter().filter(is_left).collect();
        let expected = intent.after.desired as usize + left.len();
        if group.desired as usize != expected {
            return Err(Error::Conflict {
                target: target(&intent.nodegroup.name, "desired"),
                expected: expected.to_string(),
                found: group.desired.to_string(),
            });
        }
        for id in left {
            aws.terminate_instance(id, true).await?;
        }
        Ok(())
    }

    /// Uncordons the nodes that still exist.
    pub(super) async fn undo(
        &self,
        writer: &PlatformWriter,
        progress: &Progress,
    ) -> Result<Vec<String>> {
        Drain::undo(&self.drain, None, writer, progress).await
    }

    pub(super) async fn read_targets(&self, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        Drain::read_targets(&self.drain, reader).await
    }

    /// Returns the names of the nodes that are drained.
    pub(super) fn nodes(&self) -> Vec<String> {
        self.drain.nodes()
    }
}

/// The cost of the end of an instance; the least is chosen first, and of equal ones the oldest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    /// Whether this program runs there: the run would have to be continued elsewhere.
    runs_this_process: bool,
    /// Whether it has a node that is not cordoned.
    takes_pods: bool,
    /// How many pods would be evicted.
    pods: usize,
    /// When its node was created; none for an instance without a node.
    age: Option<jiff::Timestamp>,
}

/// Chooses instances one by one, each from the zone that has the most, so that the group does not rebalance its zones
/// afterwards.
fn choose(
    group: &AutoScalingGroup,
    count: usize,
    cost: impl Fn(&GroupInstance) -> Cost,
) -> Result<Vec<String>> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for instance in active_instances(group) {
        *sizes.entry(instance.zone.as_str()).or_default() += 1;
    }
    let mut candidates: BTreeSet<_> = active_instances(group)
        .filter(|instance| !instance.protected)
        .map(|instance| (cost(instance), instance.id.as_str(), instance.zone.as_str()))
        .collect();
    let available = candidates.len();
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let size = |zone: &str| sizes.get(zone).copied().unwrap_or(0);
        let next = candidates.iter().min_by_key(|(_, _, zone)| Reverse(size(zone))).cloned();
        let Some(next) = next else {
            return Err(too_many_protected(group, count, available));
        };
        candidates.remove(&next);
        *sizes.entry(next.2).or_default() -= 1;
        chosen.push(next.1.to_owned());
    }
    Ok(chosen)
}

/// Checks that a group can become as small as it is to be: instances that are protected from scale-in stay.
///
/// # Errors
/// More of them are protected than there are to be.
pub(super) fn ensure_unprotected(group: &AutoScalingGroup, after: u32) -> Result<()> {
    let active = active_instances(group).count();
    let available = active_instances(group).filter(|instance| !instance.protected).count();
    let count = active.saturating_sub(after as usize);
    if available < count { Err(too_many_protected(group, count, available)) } else { Ok(()) }
}

fn too_many_protected(group: &AutoScalingGroup, count: usize, available: usize) -> Error {
    Error::precondition(format!(
        "{} of Auto Scaling group {} are to go, and {available} of {} are not protected from scale-in",
        plural(count, "instance"),
        group.name,
        active_instances(group).count()
    ))
    .with_hint("`set_protection` with `protected: false` removes the protection of instances")
}

fn active_instances(group: &AutoScalingGroup) -> impl Iterator<Item = &GroupInstance> {
    group.instances.iter().filter(|instance| !instance.is_leaving())
}

fn names_of(nodes: &[Node]) -> Vec<String> {
    nodes.iter().filter_map(|node| node.metadata.name.clone()).collect()
}

/// Replaces a remedy that names parameters of `drain`.
fn without_own_parameters(error: Error) -> Error {
    match error {
        Error::Precondition { message, .. } if message.contains("would be lost") => {
            Error::precondition(message).with_hint(
                "move these pods first, or let the steps `drain` and `terminate_instances` end nodes that you choose",
            )
        }
        other => other,
    }
}

/// Returns the instances, for messages.
pub(super) fn describe(instances: &[&GroupInstance]) -> String {
    join_truncated(instances.iter().map(|one| format!("{} ({})", one.id, one.lifecycle)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(instances: &[(&str, &str, bool)]) -> AutoScalingGroup {
        AutoScalingGroup {
            name: "asg".into(),
            arn: String::new(),
            min: 0,
            max: 9,
            desired: u32::try_from(instances.len()).unwrap(),
            new_instances_protected: false,
            instances: instances
                .iter()
                .map(|(id, zone, protected)| GroupInstance {
                    id: (*id).into(),
                    zone: (*zone).into(),
                    lifecycle: "InService".into(),
                    health: "Healthy".into(),
                    protected: *protected,
                    instance_type: String::new(),
                    launched_from: None,
                })
                .collect(),
            suspended_processes: Vec::new(),
            tags: [].into(),
            ..AutoScalingGroup::default()
        }
    }

    fn cost(pods: usize) -> Cost {
        Cost { runs_this_process: false, takes_pods: true, pods, age: None }
    }

    #[test]
    fn the_emptiest_instance_of_the_fullest_zone_goes_first() {
        let group = group(&[
            ("i-1", "a", false),
            ("i-2", "a", false),
            ("i-3", "b", false),
            ("i-4", "b", false),
            ("i-5", "b", false),
        ]);
        let pods = |instance: &GroupInstance| match instance.id.as_str() {
            "i-1" => cost(0),
            "i-2" => cost(7),
            "i-3" => cost(3),
            "i-4" => cost(2),
            _ => cost(5),
        };
        assert_eq!(choose(&group, 3, pods).unwrap(), ["i-4", "i-1", "i-3"]);
    }

    #[test]
    fn a_cordoned_node_goes_before_an_open_one_and_the_own_node_last() {
        let group = group(&[("i-1", "a", false), ("i-2", "a", false), ("i-3", "a", false)]);
        let cost = |instance: &GroupInstance| match instance.id.as_str() {
            "i-1" => Cost { runs_this_process: true, ..cost(0) },
            "i-2" => cost(1),
            _ => Cost { takes_pods: false, ..cost(9) },
        };
        assert_eq!(choose(&group, 3, cost).unwrap(), ["i-3", "i-2", "i-1"]);
    }

    #[test]
    fn protected_instances_stay() {
        let group = group(&[("i-1", "a", true), ("i-2", "a", false)]);
        assert_eq!(choose(&group, 1, |_| cost(0)).unwrap(), ["i-2"]);
        assert_eq!(
            choose(&group, 2, |_| cost(0)).unwrap_err().to_string(),
            "2 instances of Auto Scaling group asg are to go, and 1 of 2 are not protected from scale-in"
        );
    }
}
