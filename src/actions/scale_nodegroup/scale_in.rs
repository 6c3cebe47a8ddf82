//! The choice of the instances to remove when the old size of the nodegroup is restored.

use std::collections::BTreeMap;

use super::Intent;
use crate::platform::kubernetes::node::Node;
use crate::{
    actions::cordon_change::has_mark,
    platform::{
        aws::{AutoScalingGroup, GroupInstance},
        kubernetes::node,
    },
};

/// The instances of the group, by what the undo does with them.
pub(super) struct ScaleInSelection {
    /// The instances that existed before.
    pub(super) original: Vec<String>,
    /// The new instances that are kept, because as many original ones are gone.
    pub(super) retained: Vec<String>,
    /// The new instances to remove.
    pub(super) removed: Vec<String>,
}

impl ScaleInSelection {
    /// Chooses the instances to remove when the group is to have `desired` ones. A repeated undo chooses the same ones:
    /// those whose nodes it has cordoned already. Next come those that another client has cordoned, because they take
    /// no pods.
    pub(super) fn of(
        intent: &Intent,
        group: &AutoScalingGroup,
        nodes: &[Node],
        desired: u32,
    ) -> Self {
        let alive = group.instances.iter().filter(|instance| is_staying(instance));
        let (original, mut new): (Vec<String>, Vec<String>) =
            alive.map(|instance| instance.id.clone()).partition(|id| intent.instances.contains(id));
        let cordoned: BTreeMap<&str, bool> = nodes
            .iter()
            .filter(|node| node::is_cordoned(node))
            .filter_map(|node| Some((node::instance_id(node)?, has_mark(node, &intent.owner_mark))))
            .collect();
        new.sort_by(|a, b| {
            let key = |id: &str| (cordoned.get(id).copied(), id.to_owned());
            key(a).cmp(&key(b))
        });
        let staying = (desired as usize).saturating_sub(original.len()).min(new.len());
        let removed = new.split_off(staying);
        Self { original, retained: new, removed }
    }
}

fn is_staying(instance: &GroupInstance) -> bool {
    !["Terminating", "Terminated", "Detach"]
        .iter()
        .any(|prefix| instance.lifecycle.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::types::{NodegroupName, Sizes};

    fn intent() -> Intent {
        let sizes = |desired| Sizes { min: 1, max: 9, desired };
        Intent {
            nodegroup: NodegroupName {
                region: "us-west-2".into(),
                cluster: "c".into(),
                name: "g".into(),
            },
            auto_scaling_group: "asg".into(),
            before: sizes(2),
            after: sizes(4),
            instances: vec!["i-1".into(), "i-2".into()],
            nodes: Vec::new(),
            earlier_updates: Vec::new(),
            protected: Vec::new(),
            owner_mark: "ours".into(),
            removal: None,
            pending_pods: [].into(),
        }
    }

    fn group(instances: &[(&str, &str)]) -> AutoScalingGroup {
        AutoScalingGroup {
            name: "asg".into(),
            arn: String::new(),
            min: 1,
            max: 9,
            desired: 4,
            new_instances_protected: false,
            instances: instances
                .iter()
                .map(|(id, lifecycle)| GroupInstance {
                    id: (*id).into(),
                    zone: String::new(),
                    lifecycle: (*lifecycle).into(),
                    health: "Healthy".into(),
                    protected: false,
                    instance_type: String::new(),
                    launched_from: None,
                })
                .collect(),
            suspended_processes: Vec::new(),
            tags: [].into(),
            ..AutoScalingGroup::default()
        }
    }

    fn node(instance: &str, unschedulable: bool, cordoned_by: Option<&str>) -> Node {
        let annotations = cordoned_by.map(|mark| json!({"rafay-relay-sop/cordoned-by": mark}));
        serde_json::from_value(json!({
            "metadata": {"name": instance, "annotations": annotations},
            "spec": {
                "providerID": format!("aws:///us-west-2a/{instance}"),
                "unschedulable": unschedulable,
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_new_instances_are_removed() {
        let group = group(&[
            ("i-4", "Pending"),
            ("i-1", "InService"),
            ("i-3", "InService"),
            ("i-2", "InService"),
        ]);
        let selection = ScaleInSelection::of(&intent(), &group, &[], 2);
        assert_eq!(selection.original, ["i-1", "i-2"]);
        assert_eq!(
            (selection.retained.len(), selection.removed),
            (0, vec!["i-3".into(), "i-4".into()])
        );
    }

    #[test]
    fn a_new_instance_is_retained_for_a_lost_original_unless_it_was_drained() {
        let group = group(&[
            ("i-1", "InService"),
            ("i-2", "Terminating:Wait"),
            ("i-3", "InService"),
            ("i-4", "InService"),
        ]);
        let drained = node("i-3", true, Some("ours"));
        let selection = ScaleInSelection::of(&intent(), &group, &[drained], 2);
        assert_eq!(selection.original, ["i-1"]);
        assert_eq!(
            (selection.retained, selection.removed),
            (vec!["i-4".into()], vec!["i-3".into()])
        );
    }
    #[test]
    fn a_node_that_another_client_cordoned_is_removed_before_one_that_takes_pods() {
        let group = group(&[("i-3", "InService"), ("i-4", "InService"), ("i-5", "InService")]);
        let removed = |nodes: &[Node], desired| {
            ScaleInSelection::of(&intent(), &group, nodes, desired).removed
        };
        let foreign = node("i-3", true, None);
        assert_eq!(removed(std::slice::from_ref(&foreign), 2), ["i-3"]);
        assert_eq!(removed(&[foreign.clone(), node("i-4", true, Some("ours"))], 2), ["i-4"]);
        let uncordoned = node("i-4", false, Some("ours"));
        assert_eq!(removed(&[foreign, uncordoned], 2), ["i-3"], "a mark alone is no cordon");
    }
}
