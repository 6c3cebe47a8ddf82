//! `set_protection`: protect instances of a nodegroup from scale-in, or no longer.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, AwsScope, Change, Condition, Error, KnownTargets, KubernetesScope, OF_NODEGROUP,
    Permission, PlannedChange, PlatformReader, PlatformWriter, Progress, Result, TargetState,
    known_targets::report_gone,
    node_targets, nodegroups,
    protection::{self, SkippedInstance},
    types::NodegroupName,
};
use crate::platform::{
    aws::{AutoScalingGroup, AwsReader},
    kubernetes::{self, node},
    wait::{self, WaitState},
};
use runbook::Reversibility;
use text::join_truncated;

/// Protects instances of a nodegroup from scale-in, or lifts their protection.
///
/// The instances are named themselves or by the nodes that they run. An instance that is not the nodegroup's is
/// refused. The flag of an instance that is just starting or ending cannot be set: it is skipped, and said. An instance
/// or a node that an earlier step listed and that has ended since is reported as gone. An empty list changes nothing.
/// Instances are set fifty at a time.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["instances", "nodes"]]))]
pub struct Params {
    /// The nodegroup.
    pub nodegroup: NodegroupName,
    /// Ids of the instances.
    #[serde(default)]
    pub instances: Option<Vec<String>>,
    /// Names of the nodes that the instances run.
    #[serde(default)]
    pub nodes: Option<Vec<String>>,
    /// Whether they are to be protected.
    pub protected: bool,
}

/// The instances after the step.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Ids of the instances whose flag this step set; those that had it already are left out.
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
    pub id: String,
    /// Why.
    pub reason: String,
}

/// The instances whose flag is to be turned; all others are as they should be.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    nodegroup: NodegroupName,
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
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(OF_NODEGROUP)),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_NODEGROUP)),
        Permission::aws(
            "autoscaling:SetInstanceProtection",
            AwsScope::AutoScalingGroup(OF_NODEGROUP),
        ),
        Permission::core("nodes", &["list"], KubernetesScope::Cluster)
            .only(Condition::IfGiven("nodes")),
        // For instances that an earlier step listed and that are no longer in the group.
        Permission::aws("ec2:DescribeInstances", AwsScope::Region(OF_NODEGROUP)),
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
        let aws = reader.aws(&params.nodegroup.region).await?;
        let nodegroup = nodegroups::describe(&aws, &params.nodegroup).await?;
        let group = nodegroups::describe_group(&aws, nodegroups::group_name(&nodegroup)?).await?;
        // The instance of a node that exists has existed.
        let has_existed = |id: &str| params.instances.is_none() || known.has_instance(id);
        let (named, gone) = match (&params.instances, &params.nodes) {
            (Some(instances), _) => (instances.clone(), Vec::new()),
            (None, nodes) => {
                let nodes = nodes.as_deref().unwrap_or_default();
                instances_of(nodes, known, &reader.kubernetes().await?).await?
            }
        };
        report_gone(progress, "node", &gone);
        let mut named: BTreeSet<String> = named.into_iter().collect();
        let ended = ended_instances(&named, &group, has_existed, &aws).await?;
        report_gone(progress, "instance", &ended);
        named.retain(|id| !ended.contains(id));
        reject_foreign_instances(&named, &group, &params.nodegroup)?;
        let (skipped, settable): (Vec<_>, Vec<_>) =
            named.into_iter().partition(|id| protection::skip_reason(&group, id).is_some());
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
            nodegroup: params.nodegroup,
            auto_scaling_group: group.name.clone(),
            protected: params.protected,
            instances: settable.into_iter().filter(differs).collect(),
            skipped,
            gone: [gone, ended].concat(),
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
        let region = &intent.nodegroup.region;
        let aws = reader.aws(region).await?;
        let group = nodegroups::describe_group(&aws, &intent.auto_scaling_group).await?;
        let state = |id: &String| protection::target_state(region, &group, id, !intent.protected);
        Ok(intent.instances.iter().map(state).collect())
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
    let aws = writer.aws(&intent.nodegroup.region).await?;
    protection::set_protected(&aws, &intent.auto_scaling_group, &intent.instances, protected).await
}

/// Returns the instances that these nodes run on, and the nodes that are gone.
async fn instances_of(
    names: &[String],
    known: &KnownTargets,
    kubernetes: &kubernetes::KubernetesReader,
) -> Result<(Vec<String>, Vec<String>)> {
    let (nodes, gone) = node_targets::find(names, known, kubernetes).await?;
    let instances = nodes.iter().map(|node| {
        node::instance_id(node).map(str::to_owned).ok_or_else(|| {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            Error::precondition(format!("node {name} does not run on an EC2 instance"))
        })
    });
    Ok((instances.collect::<Result<_>>()?, gone))
}

/// Returns the instances that have existed, that are not in the group, and that EC2 has ended or forgotten. One that
/// still runs is another group's, or was detached from this one.
async fn ended_instances(
    named: &BTreeSet<String>,
    group: &AutoScalingGroup,
    has_existed: impl Fn(&str) -> bool,
    aws: &AwsReader,
) -> Result<Vec<String>> {
    let is_missing =
        |id: &&String| protection::find_instance(group, id).is_none() && has_existed(id);
    let missing: Vec<String> = named.iter().filter(is_missing).cloned().collect();
    if missing.is_empty() {
        return Ok(missing);
    }
    let found = aws.describe_instances(&missing).await?;
    let runs = |id: &String| {
        found.iter().any(|instance| instance.id == *id && !instance.is_ending_or_ended())
    };
    Ok(missing.into_iter().filter(|id| !runs(id)).collect())
}

fn reject_foreign_instances(
    named: &BTreeSet<String>,
    group: &AutoScalingGroup,
    nodegroup: &NodegroupName,
) -> Result<()> {
    let foreign: Vec<&String> =
        named.iter().filter(|id| protection::find_instance(group, id).is_none()).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    Err(Error::precondition(format!(
        "{} of the given instances {} not in nodegroup {} (Auto Scaling group {}): {}",
        foreign.len(),
        if foreign.len() == 1 { "is" } else { "are" },
        nodegroup.name,
        group.name,
        join_truncated(foreign)
    )))
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
    let aws = reader.aws(&intent.nodegroup.region).await?;
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
