//! What the step and its undo have changed, as it is now: the sizes, the instances, their protection, and cordons.

use serde_json::Value;

use super::{Intent, nodes_selection, target};
use crate::platform::kubernetes::node::Node;
use crate::{
    actions::{
        PlatformReader, RestoreCommand, Result, TargetState,
        cordon_change::{self, has_mark},
        nodegroups, protection,
    },
    platform::aws::{AutoScalingGroup, GroupInstance, Nodegroup},
};

/// Reads the nodegroup, its group and its nodes.
pub(super) async fn read(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
    let region = intent.nodegroup.region.as_str();
    let aws = reader.aws(region).await?;
    let nodegroup = nodegroups::describe(&aws, &intent.nodegroup).await?;
    let group = nodegroups::describe_group(&aws, &intent.auto_scaling_group).await?;
    let nodes = reader.kubernetes().await?.list::<Node>(&nodes_selection(&nodegroup.name)).await?;
    let mut targets = sizes(intent, &nodegroup, &group);
    for id in &intent.instances {
        // One that is ending cannot be kept.
        if protection::find_instance(&group, id).is_none_or(GroupInstance::is_leaving) {
            targets.push(TargetState::new(format!("instance {id}"), true, Value::Null, None));
        } else {
            let before = intent.protected.contains(id);
            targets.push(protection::target_state(region, &group, id, before));
        }
    }
    // The undo cordons the new nodes before it drains them.
    let cordoned = nodes.iter().filter(|node| has_mark(node, &intent.owner_mark));
    targets.extend(cordoned.map(|node| {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        cordon_change::target_state(name, false, Some(node))
    }));
    if let Some(removal) = &intent.removal {
        targets.extend(removal.read_targets(reader).await?);
    }
    Ok(targets)
}

/// Returns the sizes that the step changed. One command restores all of them, but only where no node would have to go:
/// the group chooses which, and asks no disruption budget. Then only the rollback restores them.
fn sizes(intent: &Intent, nodegroup: &Nodegroup, group: &AutoScalingGroup) -> Vec<TargetState> {
    let (name, before, after) = (&intent.nodegroup, intent.before, intent.after);
    let scaling =
        format!("minSize={},maxSize={},desiredSize={}", before.min, before.max, before.desired);
    let arguments = [
        "eks",
        "update-nodegroup-config",
        "--cluster-name",
        &name.cluster,
        "--nodegroup-name",
        &name.name,
        "--scaling-config",
        &scaling,
    ];
    let restore =
        (group.desired <= before.desired).then(|| RestoreCommand::aws(&name.region, arguments));
    [
        ("desired", before.desired, after.desired, group.desired),
        ("min", before.min, after.min, nodegroup.min),
        ("max", before.max, after.max, nodegroup.max),
    ]
    .into_iter()
    .filter(|(_, before, after, _)| before != after)
    .map(|(what, before, _, now)| {
        TargetState::new(target(&name.name, what), before, now, restore.clone())
    })
    .collect()
}
