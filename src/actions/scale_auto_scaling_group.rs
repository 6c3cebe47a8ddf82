//! `scale_auto_scaling_group`: more instances, or fewer, in a group that belongs to no nodegroup.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::kinds::InstanceId;
use super::{
    Action, AwsScope, Change, Error, Impact, KnownTargets, OF_GROUP, Permission, PlannedChange,
    PlatformReader, PlatformWriter, Progress, RepeatedParam, RestoreCommand, Result, SizeChange,
    TargetState,
    compare_and_set::{WriteDecision, decide_write},
    nodegroups,
    protection::find_instance,
    types::{AutoScalingGroupName, Sizes, default_give_up_after},
};
use crate::platform::{
    ErrorKind,
    aws::{Activity, AutoScalingGroup, AwsReader, Scaling},
    wait::{self, GraceTimer, WaitState},
};
use runbook::{LimitKind, Reversibility};
use text::{join_truncated, plural};

/// The tag of a group that belongs to a nodegroup.
const OF_A_NODEGROUP: &str = "eks:nodegroup-name";

/// Sets how many instances an Auto Scaling group is to have, and waits until they are in service.
///
/// The group of a nodegroup is refused: `scale_nodegroup` changes it through EKS. The size is decided once, when the
/// step begins. Of fewer instances, the group chooses which go, and evicts no pod: use `set_protection` on those that
/// are to stay, or `terminate_instances`. The undo of a larger size ends exactly the instances that the group did not
/// have before. The undo of a smaller one cannot bring ended instances back, but others in their place. A launch that
/// fails for longer than `give_up_after` fails the step.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The group, such as the output of `find_auto_scaling_group`.
    pub auto_scaling_group: AutoScalingGroupName,
    /// The number of instances that it is to have.
    pub desired: u32,
    /// Whether its maximum may be raised to that number, if it is less.
    #[serde(default)]
    pub raise_max: bool,
    /// Whether its minimum may be lowered to that number, if it is greater.
    #[serde(default)]
    pub lower_min: bool,
    /// How long launches may fail before the wait is given up.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: runbook::Duration,
}

/// The group after the step.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// AWS region of the group.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the group.
    #[schemars(extend("x-syntax" = "auto-scaling-group-name"))]
    pub name: String,
    /// The least number of instances that it may have.
    pub min: u32,
    /// The greatest number of instances that it may have.
    pub max: u32,
    /// The number of instances that it is to have.
    pub desired: u32,
    /// Ids of its instances.
    #[schemars(with = "Vec<InstanceId>")]
    pub instances: Vec<String>,
    /// The group before the step.
    pub before: Before,
}

/// A group before it was scaled.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Before {
    /// The least number of instances that it could have.
    pub min: u32,
    /// The greatest number of instances that it could have.
    pub max: u32,
    /// The number of instances that it was to have.
    pub desired: u32,
    /// Ids of its instances.
    #[schemars(with = "Vec<InstanceId>")]
    pub instances: Vec<String>,
}

/// The sizes before and after, and the instances before.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    region: String,
    auto_scaling_group: String,
    before: Sizes,
    after: Sizes,
    instances: Vec<String>,
    prepared_at: Timestamp,
    give_up_after: runbook::Duration,
}

/// Nothing needs to be kept: the group has the sizes or it has not.
#[derive(Serialize, Deserialize)]
pub struct Receipt {}

pub(super) struct ScaleAutoScalingGroup;

impl Action for ScaleAutoScalingGroup {
    const NAME: &'static str = "scale_auto_scaling_group";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_GROUP)),
        Permission::aws(
            "autoscaling:UpdateAutoScalingGroup",
            AwsScope::NamedAutoScalingGroup(OF_GROUP),
        ),
        Permission::aws(
            "autoscaling:TerminateInstanceInAutoScalingGroup",
            AwsScope::NamedAutoScalingGroup(OF_GROUP),
        )
        .for_undo(),
        // To say why instances are missing.
        Permission::aws("autoscaling:DescribeScalingActivities", AwsScope::Region(OF_GROUP))
            .optional(),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] = &[
        RepeatedParam::new("region", "auto_scaling_group.region"),
        RepeatedParam::new("name", "auto_scaling_group.name"),
    ];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        let all = output.before.instances.iter().chain(&output.instances);
        all.for_each(|id| known.add_instance(id));
    }
}

impl Change for ScaleAutoScalingGroup {
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    const LIMITS: &'static [LimitKind] = Impact::SIZES;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let name = &intent.auto_scaling_group;
        let changed = sizes(intent).into_iter().filter(|(_, before, after)| before != after);
        changed
            .map(|(what, before, after)| PlannedChange::new(target(name, what), before, after))
            .collect()
    }

    fn impact(intent: &Intent) -> Impact {
        let size = SizeChange {
            group: intent.auto_scaling_group.clone(),
            name: format!("Auto Scaling group {}", intent.auto_scaling_group),
            before: intent.before.desired,
            after: intent.after.desired,
        };
        Impact {
            takes_others: size.after < size.before,
            sizes: (size.before != size.after).then_some(size).into_iter().collect(),
            ..Impact::default()
        }
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        _: &Progress,
    ) -> Result<Intent> {
        let AutoScalingGroupName { region, name } = &params.auto_scaling_group;
        let aws = reader.aws(region).await?;
        let group = nodegroups::describe_group(&aws, name).await?;
        if let Some(nodegroup) = group.tags.get(OF_A_NODEGROUP) {
            return Err(Error::precondition(format!(
                "Auto Scaling group {name} belongs to nodegroup {nodegroup}, whose size EKS keeps"
            ))
            .with_hint("use `scale_nodegroup`"));
        }
        let before = Sizes { min: group.min, max: group.max, desired: group.desired };
        let after = merge_sizes(&params, before)?;
        ensure_not_suspended(&group, after.desired)?;
        Ok(Intent {
            region: region.clone(),
            before,
            after,
            instances: group.instances.iter().map(|instance| instance.id.clone()).collect(),
            auto_scaling_group: group.name,
            prepared_at: reader.clock().now(),
            give_up_after: params.give_up_after,
        })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let aws = writer.reader().aws(&intent.region).await?;
        let name = &intent.auto_scaling_group;
        let group = nodegroups::describe_group(&aws, name).await?;
        let now = [group.desired, group.min, group.max];
        let mut is_needed = false;
        for ((what, before, after), now) in sizes(intent).into_iter().zip(now) {
            is_needed |=
                decide_write(&target(name, what), &now, &before, &after)? == WriteDecision::Needed;
        }
        if is_needed {
            let scaling = scaling(intent.before, intent.after);
            writer.aws(&intent.region).await?.update_auto_scaling_group(name, scaling).await?;
        }
        Ok(Receipt {})
    }

    async fn settle(
        intent: &Intent,
        _: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        let group = wait_for_size(intent, intent.after.desired, reader, progress).await?;
        let Sizes { min, max, desired } = intent.after;
        let before = intent.before;
        Ok(Output {
            region: intent.region.clone(),
            name: group.name,
            min,
            max,
            desired,
            instances: group.instances.into_iter().map(|instance| instance.id).collect(),
            before: Before {
                min: before.min,
                max: before.max,
                desired: before.desired,
                instances: intent.instances.clone(),
            },
        })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        progress: &Progress,
    ) -> Result<Vec<String>> {
        let name = &intent.auto_scaling_group;
        let aws = writer.aws(&intent.region).await?;
        let group = nodegroups::describe_group(aws.reader(), name).await?;
        let (goal, mut not_restored) = plan_restore(intent, &group);
        let excess = group.desired.saturating_sub(goal.desired) as usize;
        if excess > 0 {
            let is_new = |id: &&String| !intent.instances.contains(id);
            let staying = group.instances.iter().filter(|instance| !instance.is_leaving());
            let all: Vec<String> = staying.map(|instance| instance.id.clone()).collect();
            let new: Vec<&String> = all.iter().filter(is_new).take(excess).collect();
            if !new.is_empty() {
                progress.report(&format!(
                    "ending {}: {}",
                    plural(new.len(), "new instance"),
                    join_truncated(&new)
                ));
            }
            for id in new {
                aws.terminate_instance(id, true).await?;
            }
        }
        let group = nodegroups::describe_group(aws.reader(), name).await?;
        let now = Sizes { min: group.min, max: group.max, desired: group.desired };
        if now != goal {
            aws.update_auto_scaling_group(name, scaling(now, goal)).await?;
        }
        let group = wait_for_size(intent, goal.desired, writer.reader(), progress).await?;
        let is_lost = |id: &&String| find_instance(&group, id).is_none();
        let lost: Vec<&String> = intent.instances.iter().filter(is_lost).collect();
        if !lost.is_empty() {
            not_restored.push(format!(
                "{} that {name} had before {} gone: {}",
                plural(lost.len(), "instance"),
                if lost.len() == 1 { "is" } else { "are" },
                join_truncated(lost)
            ));
        }
        Ok(not_restored)
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        let aws = reader.aws(&intent.region).await?;
        let name = &intent.auto_scaling_group;
        let group = nodegroups::describe_group(&aws, name).await?;
        let (before, after) = (intent.before, intent.after);
        let [min, max, desired] = [before.min, before.max, before.desired].map(|n| n.to_string());
        let arguments = [
            "autoscaling",
            "update-auto-scaling-group",
            "--auto-scaling-group-name",
            name,
            "--min-size",
            &min,
            "--max-size",
            &max,
            "--desired-capacity",
            &desired,
        ];
        // The group would choose which instances go: only the undo ends the new ones.
        let restore = (group.desired <= before.desired)
            .then(|| RestoreCommand::aws(&intent.region, arguments));
        let mut targets = Vec::new();
        for (what, before, after, now) in [
            ("desired", before.desired, after.desired, group.desired),
            ("min", before.min, after.min, group.min),
            ("max", before.max, after.max, group.max),
        ] {
            if before != after {
                targets.push(TargetState::new(target(name, what), before, now, restore.clone()));
            }
        }
        let lost = intent.instances.iter().filter(|id| find_instance(&group, id).is_none());
        targets.extend(
            lost.map(|id| TargetState::new(format!("instance {id}"), true, Value::Null, None)),
        );
        Ok(targets)
    }
}

fn target(group: &str, what: &str) -> String {
    format!("Auto Scaling group {group} {what}")
}

/// Returns each size with its value before and after: desired, min, max.
fn sizes(intent: &Intent) -> [(&'static str, u32, u32); 3] {
    let (before, after) = (intent.before, intent.after);
    [
        ("desired", before.desired, after.desired),
        ("min", before.min, after.min),
        ("max", before.max, after.max),
    ]
}

/// Returns what a call must say to get from some sizes to others.
fn scaling(from: Sizes, to: Sizes) -> Scaling {
    Scaling {
        min: (from.min != to.min).then_some(to.min),
        max: (from.max != to.max).then_some(to.max),
        desired: Some(to.desired),
    }
}

fn merge_sizes(params: &Params, before: Sizes) -> Result<Sizes> {
    let (name, desired) = (&params.auto_scaling_group.name, params.desired);
    let mut after = Sizes { desired, ..before };
    let instances = plural(desired as usize, "instance");
    if desired > after.max {
        if !params.raise_max {
            return Err(Error::precondition(format!(
                "{instances} exceeds the maximum of Auto Scaling group {name}, which is {}",
                after.max
            ))
            .with_hint("set `raise_max: true` to raise the maximum"));
        }
        after.max = desired;
    }
    if desired < after.min {
        if !params.lower_min {
            return Err(Error::precondition(format!(
                "{instances} is below the minimum of Auto Scaling group {name}, which is {}",
                after.min
            ))
            .with_hint("set `lower_min: true` to lower the minimum"));
        }
        after.min = desired;
    }
    Ok(after)
}

/// Refuses a change that the group would accept and never carry out.
fn ensure_not_suspended(group: &AutoScalingGroup, desired: u32) -> Result<()> {
    let process = match desired.cmp(&group.desired) {
        std::cmp::Ordering::Greater => "Launch",
        std::cmp::Ordering::Less => "Terminate",
        std::cmp::Ordering::Equal => return Ok(()),
    };
    if !group.is_suspended(process) {
        return Ok(());
    }
    Err(Error::precondition(format!(
        "the process {process} of Auto Scaling group {} is suspended, so its size would not change",
        group.name
    ))
    .with_hint(nodegroups::resume_hint(&group.name, process)))
}

/// Returns the sizes to restore, and those that are left because another client set them.
fn plan_restore(intent: &Intent, group: &AutoScalingGroup) -> (Sizes, Vec<String>) {
    let name = &intent.auto_scaling_group;
    let mut not_restored = Vec::new();
    let now = [group.desired, group.min, group.max];
    let [desired, mut min, mut max] = std::array::from_fn(|index| {
        let ((what, before, after), now) = (sizes(intent)[index], now[index]);
        if now == before || now == after {
            return before;
        }
        not_restored.push(format!(
            "left {} at {now}: another client changed it from {after}",
            target(name, what)
        ));
        now
    });
    // A size that another client has set may need the limits that this step moved.
    if desired > max {
        max = group.max;
        not_restored.push(format!("left {} at {max}: desired is {desired}", target(name, "max")));
    }
    if desired < min {
        min = group.min;
        not_restored.push(format!("left {} at {min}: desired is {desired}", target(name, "min")));
    }
    (Sizes { min, max, desired }, not_restored)
}

/// Waits until the group has this many instances, all in service. A failed launch is repeated by the group; after
/// `give_up_after` the wait fails with its cause.
async fn wait_for_size(
    intent: &Intent,
    desired: u32,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<AutoScalingGroup> {
    let aws = reader.aws(&intent.region).await?;
    let name = &intent.auto_scaling_group;
    let grace = GraceTimer::new(reader.clock().deadline(intent.give_up_after.std()));
    let grace = std::sync::Mutex::new(grace);
    wait::poll(progress, reader.clock(), nodegroups::POLL_BACKOFF, || async {
        let group = nodegroups::describe_group(&aws, name).await?;
        if group.desired != desired {
            return Err(Error::Conflict {
                target: target(name, "desired"),
                expected: desired.to_string(),
                found: group.desired.to_string(),
            });
        }
        let ready = group.instances.iter().filter(|instance| instance.is_in_service()).count();
        if ready == desired as usize && group.instances.len() == ready {
            return Ok(WaitState::Ready(group));
        }
        let is_short =
            group.instances.iter().filter(|one| !one.is_leaving()).count() < desired as usize;
        let failure = if is_short { launch_failure(&aws, intent).await? } else { None };
        let problem = failure.clone().map(|why| ("launch", why));
        // No code panics while it holds the lock.
        let mut grace = grace.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(why) = grace.expired(Instant::now(), problem) {
            return Ok(WaitState::failed(format!(
                "Auto Scaling group {name} cannot launch: {why}"
            )));
        }
        let rest: Vec<String> = group
            .instances
            .iter()
            .filter(|instance| !instance.is_in_service())
            .map(|instance| format!("{} ({})", instance.id, instance.lifecycle))
            .collect();
        let rest = match rest.is_empty() {
            true => String::new(),
            false => format!("; {}", join_truncated(rest)),
        };
        let failure = failure.map(|why| format!("; a launch failed: {why}")).unwrap_or_default();
        Ok(WaitState::Pending(format!(
            "Auto Scaling group {name} to have {} in service: it has {ready}{rest}{failure}",
            plural(desired as usize, "instance")
        )))
    })
    .await
}

/// Returns why the latest launch since the step began has failed; none if it has not, or if that may not be read.
async fn launch_failure(aws: &AwsReader, intent: &Intent) -> Result<Option<String>> {
    // The clocks of AWS and of this process may differ.
    let since = intent.prepared_at.checked_sub(SignedDuration::from_secs(30));
    let since = since.unwrap_or(intent.prepared_at);
    match aws.scaling_activities(&intent.auto_scaling_group, since).await {
        Ok(activities) => {
            let mut launches =
                activities.into_iter().filter(|one| one.description.starts_with("Launching"));
            let latest = launches.next().filter(Activity::has_failed);
            Ok(latest.map(|latest| latest.message.unwrap_or(latest.description)))
        }
        Err(error) if error.kind() == ErrorKind::Denied => Ok(None),
        Err(error) => Err(error.into()),
    }
}
