//! The way back to the old sizes, with exactly the new instances going.
//!
//! Lowering the desired size lets the Auto Scaling group choose who goes, and asks no disruption budget. So the new
//! nodes are emptied first, and the choice is narrowed to them by protecting all others. Every part can be repeated:
//! an undo that was cut off looks again and goes on.

use k8s_openapi::api::core::v1::Node;

use super::{Intent, Receipt, drain, leavers::Parting, nodes_of, resize, target};
use crate::{
    actions::{
        Error, Progress, Result, Writer,
        cordoning::{Cordoning, carries},
        nodegroups,
        pauses::Pauses,
        protection::{self, Unset},
        records::Sizes,
        words::{counted, listed},
    },
    platform::{
        aws::{self, AutoScalingGroup, Nodegroup},
        kubernetes::node,
    },
};

pub(super) async fn undo(
    intent: &Intent,
    receipt: Option<&Receipt>,
    writer: &Writer,
    progress: &Progress,
) -> Result<Vec<String>> {
    let reader = writer.reader();
    let aws = reader.aws(&intent.nodegroup.region).await?;
    let nodegroup = follow_ours(intent, receipt, writer, &aws, progress).await?;
    let group = nodegroups::group(&aws, &intent.auto_scaling_group).await?;
    let (now, goal, mut left_alone) = way_back(intent, &nodegroup, &group);
    let shrinks = goal.desired < intent.after.desired;
    let parting = if shrinks && group.desired > goal.desired {
        let parting = empty_all(intent, goal.desired, writer, progress).await?;
        narrow_the_choice(intent, &parting, writer, progress).await?;
        parting
    } else {
        let nodes = reader.kubernetes().await?.list::<Node>(&nodes_of(&nodegroup.name)).await?;
        Parting::of(intent, &group, &nodes, goal.desired)
    };
    left_alone.extend(open_stayers(intent, &parting, writer).await?);
    let sent = resize::send(intent, now, goal, writer).await?;
    resize::follow(intent, &sent, reader, &aws, progress).await?;
    resize::group_carries(intent, now, goal, reader, &aws, progress).await?;
    if shrinks {
        until_gone(intent, &parting.leavers, writer, progress).await?;
    }
    left_alone.extend(lost(intent, &aws).await?);
    let unset = restore_flags(intent, &parting, &group, writer).await?;
    left_alone.extend(unset.into_iter().map(|one| {
        format!("the protection of instance {} was left as it is: {}", one.id, one.reason)
    }));
    Ok(left_alone)
}

/// Our own update may still be under way, even one of whose sending nobody heard. How it ends shows in the sizes.
async fn follow_ours(
    intent: &Intent,
    receipt: Option<&Receipt>,
    writer: &Writer,
    aws: &aws::Reader,
    progress: &Progress,
) -> Result<Nodegroup> {
    let found = nodegroups::describe(aws, &intent.nodegroup).await?;
    let update = match receipt {
        Some(receipt) => receipt.update.clone(),
        None if found.status == "UPDATING" => resize::our_update(intent, aws, intent.after).await?,
        None => None,
    };
    let Some(update) = update else { return Ok(found) };
    let receipt = Receipt { update: Some(update), already_done: false };
    match resize::follow(intent, &receipt, writer.reader(), aws, progress).await {
        Ok(()) | Err(Error::Failed(_)) => nodegroups::describe(aws, &intent.nodegroup).await,
        Err(error) => Err(error),
    }
}

/// The sizes as they are, the sizes to restore, and what is left as somebody else has set it. EKS's own desired size
/// can lag behind the group's: either of them may stand where we left it.
fn way_back(
    intent: &Intent,
    nodegroup: &Nodegroup,
    group: &AutoScalingGroup,
) -> (Sizes, Sizes, Vec<String>) {
    let (before, after) = (intent.before, intent.after);
    let ours = |size: u32, before: u32, after: u32| size == before || size == after;
    let known = ours(nodegroup.desired, before.desired, after.desired);
    let desired = if known { nodegroup.desired } else { group.desired };
    let found = Sizes { desired, min: nodegroup.min, max: nodegroup.max };
    let mut left_alone = Vec::new();
    let mut restore = |what: &str, now: u32, before: u32, after: u32| {
        if ours(now, before, after) {
            return before;
        }
        let target = target(&intent.nodegroup.name, what);
        left_alone.push(format!("{target} stays {now}: somebody else changed it from {after}"));
        now
    };
    let mut goal = Sizes {
        desired: restore("desired", found.desired, before.desired, after.desired),
        min: restore("min", found.min, before.min, after.min),
        max: restore("max", found.max, before.max, after.max),
    };
    // A size that somebody else has set may need the room that we made.
    let name = &intent.nodegroup.name;
    for (what, size, now, fits) in [
        ("max", &mut goal.max, found.max, goal.desired <= before.max),
        ("min", &mut goal.min, found.min, goal.desired >= before.min),
    ] {
        if !fits && *size != now {
            *size = now;
            left_alone.push(format!(
                "{} stays {now}: desired is {}",
                target(name, what),
                goal.desired
            ));
        }
    }
    // What is to be restored stands where we left it, or is restored already.
    let from = |now: u32, goal: u32, after: u32| if now == goal { goal } else { after };
    let now = Sizes {
        desired: from(found.desired, goal.desired, after.desired),
        min: from(found.min, goal.min, after.min),
        max: from(found.max, goal.max, after.max),
    };
    (now, goal, left_alone)
}

/// Empties the nodes that go, those included that join while others are being emptied: the slow node for which a wait
/// was given up is the emptiest one when it comes, and the evicted pods would land on it.
async fn empty_all(
    intent: &Intent,
    desired: u32,
    writer: &Writer,
    progress: &Progress,
) -> Result<Parting> {
    let aws = writer.reader().aws(&intent.nodegroup.region).await?;
    let kubernetes = writer.reader().kubernetes().await?;
    let mut is_first = true;
    loop {
        let group = nodegroups::group(&aws, &intent.auto_scaling_group).await?;
        let nodes = kubernetes.list::<Node>(&nodes_of(&intent.nodegroup.name)).await?;
        let parting = Parting::of(intent, &group, &nodes, desired);
        let leaving = on_instances(&nodes, &parting.leavers);
        // The first time also what an attempt that was cut off has cordoned: it may not be empty.
        let is_new = !leaving.iter().all(|node| carries(node, &intent.mark));
        if leaving.is_empty() || !(is_first || is_new) {
            return Ok(parting);
        }
        empty(intent, &leaving, writer, progress).await?;
        is_first = false;
    }
}

fn on_instances(nodes: &[Node], instances: &[String]) -> Vec<Node> {
    let is_on = |node: &&Node| {
        let instance = node::instance_id(node);
        instance.is_some_and(|id| instances.iter().any(|one| one == id))
    };
    nodes.iter().filter(is_on).cloned().collect()
}

/// Opens the nodes that an earlier attempt has cordoned and that stay after all, because somebody wants more nodes.
async fn open_stayers(intent: &Intent, parting: &Parting, writer: &Writer) -> Result<Vec<String>> {
    let kubernetes = writer.kubernetes().await?;
    let nodes = kubernetes.reader().list::<Node>(&nodes_of(&intent.nodegroup.name)).await?;
    let mut staying = on_instances(&nodes, &parting.stayers);
    staying.retain(|node| carries(node, &intent.mark));
    if staying.is_empty() {
        return Ok(Vec::new());
    }
    Cordoning::on_open_nodes(&staying, intent.mark.clone()).undo(&kubernetes).await
}

/// Cordons nodes that go, and moves their pods away.
async fn empty(
    intent: &Intent,
    leaving: &[Node],
    writer: &Writer,
    progress: &Progress,
) -> Result<()> {
    let names: Vec<String> = leaving.iter().filter_map(|node| node.metadata.name.clone()).collect();
    progress.say(&format!("emptying {}: {}", counted(names.len(), "new node"), listed(&names)));
    let cordoning = Cordoning::of(leaving, true, intent.mark.clone());
    cordoning.apply(&writer.kubernetes().await?).await?;
    drain::drain(&names, &intent.waiting_pods, writer, progress).await.map_err(|error| match error {
        Error::Hopeless(why) => Error::Hopeless(format!(
            "the new nodes of nodegroup {} could not be emptied, so its size was not lowered: {why}",
            intent.nodegroup.name
        )),
        other => other,
    })
}

/// Leaves the group nobody to choose but those who are to go.
async fn narrow_the_choice(
    intent: &Intent,
    parting: &Parting,
    writer: &Writer,
    progress: &Progress,
) -> Result<()> {
    let aws = writer.aws(&intent.nodegroup.region).await?;
    let group = &intent.auto_scaling_group;
    let staying = [&parting.originals[..], &parting.stayers[..]].concat();
    for unset in protection::protect(&aws, group, &staying, true).await? {
        progress.say(&format!("instance {} cannot be protected: {}", unset.id, unset.reason));
    }
    // One that is just starting cannot be set yet; it is set below when it has started.
    protection::protect(&aws, group, &parting.leavers, false).await.map(drop)
}

/// Waits until the group has let them go.
async fn until_gone(
    intent: &Intent,
    leavers: &[String],
    writer: &Writer,
    progress: &Progress,
) -> Result<()> {
    let aws = writer.aws(&intent.nodegroup.region).await?;
    let mut pauses = Pauses::default();
    loop {
        let group = nodegroups::group(aws.reader(), &intent.auto_scaling_group).await?;
        let there: Vec<_> =
            leavers.iter().filter_map(|id| protection::member(&group, id)).collect();
        if there.is_empty() {
            return Ok(());
        }
        let born_protected: Vec<String> = there
            .iter()
            .filter(|one| one.protected && one.is_protectable())
            .map(|one| one.id.clone())
            .collect();
        if !born_protected.is_empty() {
            protection::protect(&aws, &group.name, &born_protected, false).await?;
        }
        let named = there.iter().map(|one| format!("{} ({})", one.id, one.lifecycle));
        progress.waiting(&format!("Auto Scaling group {} to end {}", group.name, listed(named)));
        writer.reader().clock().sleep(pauses.next()).await;
    }
}

/// Original instances that are not there any more, which no undo brings back.
async fn lost(intent: &Intent, aws: &aws::Reader) -> Result<Option<String>> {
    let group = nodegroups::group(aws, &intent.auto_scaling_group).await?;
    let is_lost = |id: &&String| protection::member(&group, id).is_none();
    let lost: Vec<&String> = intent.instances.iter().filter(is_lost).collect();
    Ok((!lost.is_empty()).then(|| {
        let many = counted(lost.len(), "instance");
        format!(
            "{many} that nodegroup {} had before {} gone meanwhile: {}",
            intent.nodegroup.name,
            if lost.len() == 1 { "has" } else { "have" },
            listed(lost)
        )
    }))
}

/// Gives the originals the flags that they had, and the new ones that stay the one that the group gives.
async fn restore_flags(
    intent: &Intent,
    parting: &Parting,
    group: &AutoScalingGroup,
    writer: &Writer,
) -> Result<Vec<Unset>> {
    let aws = writer.aws(&intent.nodegroup.region).await?;
    let (mut protected, mut open): (Vec<String>, Vec<String>) =
        parting.originals.iter().cloned().partition(|id| intent.protected.contains(id));
    let stayers = parting.stayers.iter().cloned();
    if group.new_instances_protected {
        protected.extend(stayers)
    } else {
        open.extend(stayers)
    }
    let mut unset = protection::protect(&aws, &group.name, &protected, true).await?;
    unset.extend(protection::protect(&aws, &group.name, &open, false).await?);
    Ok(unset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::records::NodegroupName;

    const BEFORE: Sizes = Sizes { min: 2, max: 4, desired: 3 };
    const AFTER: Sizes = Sizes { min: 2, max: 6, desired: 6 };

    fn way(nodegroup: (u32, u32, u32), group_desired: u32) -> (Sizes, Sizes, Vec<String>) {
        let (min, max, desired) = nodegroup;
        let intent = Intent {
            nodegroup: NodegroupName { region: "r".into(), cluster: "c".into(), name: "g".into() },
            auto_scaling_group: "asg".into(),
            before: BEFORE,
            after: AFTER,
            instances: Vec::new(),
            nodes: Vec::new(),
            earlier_updates: Vec::new(),
            protected: Vec::new(),
            mark: "ours".into(),
            waiting_pods: [].into(),
        };
        let nodegroup = Nodegroup {
            name: "g".into(),
            arn: String::new(),
            cluster: "c".into(),
            status: "ACTIVE".into(),
            labels: [].into(),
            min,
            max,
            desired,
            auto_scaling_groups: vec!["asg".into()],
            health: Vec::new(),
        };
        let group = AutoScalingGroup {
            name: "asg".into(),
            min,
            max,
            desired: group_desired,
            new_instances_protected: false,
            instances: Vec::new(),
            suspended_processes: Vec::new(),
            tags: [].into(),
        };
        way_back(&intent, &nodegroup, &group)
    }

    #[test]
    fn what_stands_as_we_left_it_is_put_back() {
        assert_eq!(way((2, 6, 6), 6), (AFTER, BEFORE, vec![]));
        assert_eq!(way((2, 4, 3), 3), (BEFORE, BEFORE, vec![]), "it is back already");
        assert_eq!(way((2, 6, 3), 6).1, BEFORE, "EKS's own number lags behind");
    }

    #[test]
    fn what_somebody_else_has_set_stays_and_keeps_its_room() {
        let (now, goal, left_alone) = way((2, 9, 6), 6);
        assert_eq!((now.max, goal), (9, Sizes { max: 9, ..BEFORE }));
        assert_eq!(left_alone, ["nodegroup g max stays 9: somebody else changed it from 6"]);
        let (now, goal, left_alone) = way((2, 6, 5), 5);
        assert_eq!(goal, Sizes { min: 2, max: 6, desired: 5 });
        assert_eq!((now.desired, left_alone.len()), (5, 2));
        let (_, goal, _) = way((0, 6, 1), 1);
        assert_eq!(goal, Sizes { min: 0, max: 4, desired: 1 });
    }
}
