//! `set_protection`: protect instances of an Auto Scaling group from scale-in, or no longer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::{InstanceId, NodeName};
use super::{
    Action, AwsScope, Change, Condition, KnownTargets, KubernetesScope, OF_GROUP, OF_NODEGROUP,
    Permission, PlannedChange, PlatformReader, PlatformWriter, Progress, Result, TargetState,
    group_instances, group_target,
    known_targets::report_gone,
    nodegroups,
    protection::{self, SkippedInstance},
    types::{AutoScalingGroupName, NodegroupName},
};
use crate::platform::wait::{self, WaitState};
use runbook::Reversibility;
use text::join_truncated;

/// Protects instances of a nodegroup, or of another Auto Scaling group, from scale-in, or lifts their protection.
///
/// The instances are named themselves or by the nodes that they run. An instance that is not the group's is
/// refused. The flag of an instance that is just starting or ending cannot be set: it is skipped, and said. An instance
/// or a node that an earlier step listed and that has ended since is reported as gone. An empty list changes nothing.
/// Instances are set fifty at a time.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["nodegroup", "auto_scaling_group"], ["instances", "nodes"]]))]
pub struct Params {
    /// The nodegroup.
    #[serde(default)]
    pub nodegroup: Option<NodegroupName>,
    /// The group, where it is not a nodegroup's: such as the output of `find_auto_scaling_group`.
    #[serde(default)]
    pub auto_scaling_group: Option<AutoScalingGroupName>,
    /// Ids of the instances.
    #[serde(default)]
    #[schemars(with = "Option<Vec<InstanceId>>")]
    pub instances: Option<Vec<String>>,
    /// Names of the nodes that the instances run.
    #[serde(default)]
    #[schemars(with = "Option<Vec<NodeName>>")]
    pub nodes: Option<Vec<String>>,
    /// Whether they are to be protected.
    pub protected: bool,
}

/// The instances after the step.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Ids of the instances whose flag this step set; those that had it already are left out.
    #[schemars(with = "Vec<InstanceId>")]
    pub changed: Vec<String>,
    /// The instances whose flag cannot be set in the state that they are in.
    pub skipped: Vec<Skipped>,
    /// The instances, or the nodes where `nodes` was given, that have ended since an earlier step listed them.
    #[serde(default)]
    pub gone: Vec<String>,
}

/// An instance whose flag was not set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// Its id.
    #[schemars(extend("x-syntax" = "instance-id"))]
    pub id: String,
    /// Why.
    pub reason: String,
}

/// The instances whose flag is to be turned; all others are as they should be.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nodegroup: Option<NodegroupName>,
    /// The region, where no nodegroup says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    auto_scaling_group: String,
    protected: bool,
    instances: Vec<String>,
    skipped: Vec<Skipped>,
    /// The instances, or nodes, that were gone already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

/// The instances that, after the step was prepared, entered a state in which their flag cannot be set, or left the
/// group.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    skipped: Vec<Skipped>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

pub(super) struct SetProtection;

impl Action for SetProtection {
    const NAME: &'static str = "set_protection";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(OF_NODEGROUP))
            .only(Condition::IfGiven("nodegroup")),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_NODEGROUP))
            .only(Condition::IfGiven("nodegroup")),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_GROUP))
            .only(Condition::IfGiven("auto_scaling_group")),
        Permission::aws(
            "autoscaling:SetInstanceProtection",
            AwsScope::AutoScalingGroup(OF_NODEGROUP),
        )
        .only(Condition::IfGiven("nodegroup")),
        Permission::aws(
            "autoscaling:SetInstanceProtection",
            AwsScope::NamedAutoScalingGroup(OF_GROUP),
        )
        .only(Condition::IfGiven("auto_scaling_group")),
        Permission::core("nodes", &["list"], KubernetesScope::Cluster)
            .only(Condition::IfGiven("nodes")),
        // For instances that an earlier step listed and that are no longer in the group.
        Permission::aws("ec2:DescribeInstances", AwsScope::Region(OF_NODEGROUP))
            .only(Condition::IfGiven("nodegroup")),
        Permission::aws("ec2:DescribeInstances", AwsScope::Region(OF_GROUP))
            .only(Condition::IfGiven("auto_scaling_group")),
    ];
    type Params = Params;
    type Output = Output;
}

impl Change for SetProtection {
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let planned = |id: &String| {
            PlannedChange::new(protection::target(id), !intent.protected, intent.protected)
        };
        intent.instances.iter().map(planned).collect()
    }

    async fn prepare(
        params: Params,
        known: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let (nodegroup, group) = (params.nodegroup.as_ref(), params.auto_scaling_group.as_ref());
        let target = group_target::find(nodegroup, group, reader).await?;
        let (instances, nodes) = (params.instances.as_ref(), params.nodes.as_ref());
        let named =
            group_instances::find(instances, nodes, &target, known, reader, progress).await?;
        let group = target.group;
        let (skipped, settable): (Vec<_>, Vec<_>) =
            named.ids.into_iter().partition(|id| protection::skip_reason(&group, id).is_some());
        let skipped: Vec<Skipped> = skipped
            .iter()
            .filter_map(|id| protection::skip_reason(&group, id))
            .map(Skipped::from)
            .collect();
        report_skipped(&skipped, progress);
        let differs = |id: &String| {
            protection::find_instance(&group, id)
                .is_some_and(|instance| instance.protected != params.protected)
        };
        Ok(Intent {
            region: params.nodegroup.is_none().then_some(target.region),
            nodegroup: params.nodegroup,
            auto_scaling_group: group.name.clone(),
            protected: params.protected,
            instances: settable.into_iter().filter(differs).collect(),
            skipped,
            gone: named.gone,
        })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let skipped = set_flags(intent, intent.protected, writer).await?;
        let (gone, skipped): (Vec<_>, Vec<_>) =
            skipped.into_iter().partition(|instance| instance.is_gone);
        Ok(Receipt {
            skipped: skipped.into_iter().map(Skipped::from).collect(),
            gone: gone.into_iter().map(|instance| instance.id).collect(),
        })
    }

    async fn settle(
        intent: &Intent,
        receipt: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        report_skipped(&receipt.skipped, progress);
        report_gone(progress, "instance", &receipt.gone);
        let was_skipped = |id: &&String| {
            receipt.skipped.iter().any(|instance| instance.id == **id) || receipt.gone.contains(id)
        };
        let changed: Vec<String> =
            intent.instances.iter().filter(|id| !was_skipped(id)).cloned().collect();
        wait_for_protection(intent, &changed, reader, progress).await?;
        Ok(Output {
            changed,
            skipped: [&intent.skipped[..], &receipt.skipped[..]].concat(),
            gone: [&intent.gone[..], &receipt.gone[..]].concat(),
        })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        let skipped = set_flags(intent, !intent.protected, writer).await?;
        let not_restored = |instance: SkippedInstance| {
            format!(
                "left the protection of instance {} unchanged: {}",
                instance.id, instance.reason
            )
        };
        Ok(skipped.into_iter().map(not_restored).collect())
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        if intent.instances.is_empty() {
            return Ok(Vec::new());
        }
        let region = intent.region();
        let aws = reader.aws(region).await?;
        let group = nodegroups::describe_group(&aws, &intent.auto_scaling_group).await?;
        let state = |id: &String| protection::target_state(region, &group, id, !intent.protected);
        Ok(intent.instances.iter().map(state).collect())
    }
}

impl Intent {
    fn region(&self) -> &str {
        let of_nodegroup = self.nodegroup.as_ref().map(|nodegroup| nodegroup.region.as_str());
        of_nodegroup.or(self.region.as_deref()).unwrap_or_default()
    }
}

impl From<SkippedInstance> for Skipped {
    fn from(SkippedInstance { id, reason, .. }: SkippedInstance) -> Self {
        Self { id, reason }
    }
}

async fn set_flags(
    intent: &Intent,
    protected: bool,
    writer: &PlatformWriter,
) -> Result<Vec<SkippedInstance>> {
    if intent.instances.is_empty() {
        return Ok(Vec::new());
    }
    let aws = writer.aws(intent.region()).await?;
    protection::set_protected(&aws, &intent.auto_scaling_group, &intent.instances, protected).await
}

fn report_skipped(skipped: &[Skipped], progress: &Progress) {
    for instance in skipped {
        progress.report(&format!(
            "the protection of instance {} cannot be set: {}",
            instance.id, instance.reason
        ));
    }
}

/// Waits until the group shows the flags, so that the next read finds them. An instance that leaves the group has none.
async fn wait_for_protection(
    intent: &Intent,
    ids: &[String],
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let aws = reader.aws(intent.region()).await?;
    wait::poll(progress, reader.clock(), nodegroups::POLL_BACKOFF, || async {
        let group = nodegroups::describe_group(&aws, &intent.auto_scaling_group).await?;
        let differs = |id: &&String| {
            protection::find_instance(&group, id)
                .is_some_and(|instance| instance.protected != intent.protected)
        };
        let outdated: Vec<&String> = ids.iter().filter(differs).collect();
        if outdated.is_empty() {
            return Ok(WaitState::Ready(()));
        }
        Ok(WaitState::Pending(format!(
            "Auto Scaling group {} to show the protection of {}",
            group.name,
            join_truncated(outdated)
        )))
    })
    .await
}
