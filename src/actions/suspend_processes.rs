//! `suspend_processes` and `resume_processes`: what an Auto Scaling group does by itself, and what it does not.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Action, AwsScope, Change, Condition, KnownTargets, OF_GROUP, OF_NODEGROUP, Permission,
    PlannedChange, PlatformReader, PlatformWriter, Progress, RestoreCommand, Result, TargetState,
    group_target, nodegroups,
    types::{AutoScalingGroupName, NodegroupName},
};
use crate::platform::{
    aws::{AutoScalingGroup, AwsWriter},
    wait::{self, WaitState},
};
use runbook::Reversibility;
use text::join_truncated;

/// Suspends processes of an Auto Scaling group, so that the group does not end or move instances by itself meanwhile.
///
/// A process that is suspended already is left as it is, also by the undo: it resumes only what this step suspended.
/// A group that cannot launch or terminate instances does not change its size either: `scale_nodegroup`
/// refuses then, and EKS cannot update the nodegroup.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "Params",
    extend("x-exactly-one-of" = [["nodegroup", "auto_scaling_group"]], "x-opposite" = "resume_processes")
)]
pub struct SuspendParams {
    /// The nodegroup of which the group is meant.
    #[serde(default)]
    pub nodegroup: Option<NodegroupName>,
    /// The group, such as the output of `find_auto_scaling_group`.
    #[serde(default)]
    pub auto_scaling_group: Option<AutoScalingGroupName>,
    /// The processes. An empty list changes nothing.
    pub processes: BTreeSet<Process>,
}

/// Resumes suspended processes of an Auto Scaling group.
///
/// A process that is not suspended is left as it is, also by the undo: it suspends only what this step resumed. The
/// group then does what has been waiting: `Launch` and `Terminate` bring it to its desired size, `ReplaceUnhealthy`
/// ends instances that are unhealthy.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "Params",
    extend("x-exactly-one-of" = [["nodegroup", "auto_scaling_group"]], "x-opposite" = "suspend_processes")
)]
pub struct ResumeParams {
    /// The nodegroup of which the group is meant.
    #[serde(default)]
    pub nodegroup: Option<NodegroupName>,
    /// The group, such as the output of `find_auto_scaling_group`.
    #[serde(default)]
    pub auto_scaling_group: Option<AutoScalingGroupName>,
    /// The processes. An empty list changes nothing.
    pub processes: BTreeSet<Process>,
}

/// A process of an Auto Scaling group, as AWS names it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Process {
    /// Adds instances to the group.
    Launch,
    /// Removes instances from the group.
    Terminate,
    /// Adds instances to the load balancer.
    AddToLoadBalancer,
    /// Takes alarms from CloudWatch.
    AlarmNotification,
    /// Moves instances so that every zone has as many.
    AZRebalance,
    /// Checks the health of instances.
    HealthCheck,
    /// Replaces instances by an instance refresh.
    InstanceRefresh,
    /// Ends unhealthy instances and launches others.
    ReplaceUnhealthy,
    /// Performs scheduled actions.
    ScheduledActions,
}

impl Process {
    fn name(self) -> &'static str {
        match self {
            Self::Launch => "Launch",
            Self::Terminate => "Terminate",
            Self::AddToLoadBalancer => "AddToLoadBalancer",
            Self::AlarmNotification => "AlarmNotification",
            Self::AZRebalance => "AZRebalance",
            Self::HealthCheck => "HealthCheck",
            Self::InstanceRefresh => "InstanceRefresh",
            Self::ReplaceUnhealthy => "ReplaceUnhealthy",
            Self::ScheduledActions => "ScheduledActions",
        }
    }
}

/// The processes after the step.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Name of the group.
    #[schemars(extend("x-syntax" = "auto-scaling-group-name"))]
    pub auto_scaling_group: String,
    /// The processes that this step suspended or resumed; those that were as wanted before are left out.
    pub changed: Vec<Process>,
    /// All processes of the group that are suspended now.
    #[schemars(with = "Vec<Process>")]
    pub suspended: Vec<String>,
}

/// The processes to suspend or to resume; all others are as they should be.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    region: String,
    auto_scaling_group: String,
    processes: Vec<Process>,
}

/// Nothing needs to be kept: a process is suspended or it is not.
#[derive(Serialize, Deserialize)]
pub struct Receipt {}

/// The action that suspends or resumes processes.
pub(super) struct SetProcesses<const SUSPEND: bool>;

pub(super) type SuspendProcesses = SetProcesses<true>;
pub(super) type ResumeProcesses = SetProcesses<false>;

/// The request of both actions.
pub struct Request {
    nodegroup: Option<NodegroupName>,
    group: Option<AutoScalingGroupName>,
    processes: BTreeSet<Process>,
}

/// The differences between the two actions: the name, the documented parameters, and which permission is for the undo.
pub trait Direction {
    /// The name of the action.
    const NAME: &'static str;
    /// The permissions.
    const PERMISSIONS: &'static [Permission];
    /// The parameters, with their documentation.
    type Params: DeserializeOwned + JsonSchema + Send + Into<Request>;
}

impl From<SuspendParams> for Request {
    fn from(params: SuspendParams) -> Self {
        let SuspendParams { nodegroup, auto_scaling_group: group, processes } = params;
        Self { nodegroup, group, processes }
    }
}

impl From<ResumeParams> for Request {
    fn from(params: ResumeParams) -> Self {
        let ResumeParams { nodegroup, auto_scaling_group: group, processes } = params;
        Self { nodegroup, group, processes }
    }
}

const DESCRIBE_NODEGROUP: Permission =
    Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(OF_NODEGROUP))
        .only(Condition::IfGiven("nodegroup"));
const DESCRIBE_OF_NODEGROUP: Permission =
    Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_NODEGROUP))
        .only(Condition::IfGiven("nodegroup"));
const DESCRIBE_GROUP: Permission =
    Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_GROUP))
        .only(Condition::IfGiven("auto_scaling_group"));

/// The permission for a call on the group of a nodegroup.
const fn on_nodegroup(call: &'static str) -> Permission {
    Permission::aws(call, AwsScope::AutoScalingGroup(OF_NODEGROUP))
        .only(Condition::IfGiven("nodegroup"))
}

/// The permission for a call on a group that is named itself.
const fn on_group(call: &'static str) -> Permission {
    Permission::aws(call, AwsScope::NamedAutoScalingGroup(OF_GROUP))
        .only(Condition::IfGiven("auto_scaling_group"))
}

const SUSPEND: &str = "autoscaling:SuspendProcesses";
const RESUME: &str = "autoscaling:ResumeProcesses";

impl Direction for SuspendProcesses {
    const NAME: &'static str = "suspend_processes";
    const PERMISSIONS: &'static [Permission] = &[
        DESCRIBE_NODEGROUP,
        DESCRIBE_OF_NODEGROUP,
        DESCRIBE_GROUP,
        on_nodegroup(SUSPEND),
        on_group(SUSPEND),
        on_nodegroup(RESUME).for_undo(),
        on_group(RESUME).for_undo(),
    ];
    type Params = SuspendParams;
}

impl Direction for ResumeProcesses {
    const NAME: &'static str = "resume_processes";
    const PERMISSIONS: &'static [Permission] = &[
        DESCRIBE_NODEGROUP,
        DESCRIBE_OF_NODEGROUP,
        DESCRIBE_GROUP,
        on_nodegroup(RESUME),
        on_group(RESUME),
        on_nodegroup(SUSPEND).for_undo(),
        on_group(SUSPEND).for_undo(),
    ];
    type Params = ResumeParams;
}

impl<const SUSPEND: bool> Action for SetProcesses<SUSPEND>
where
    Self: Direction,
{
    const NAME: &'static str = <Self as Direction>::NAME;
    const PERMISSIONS: &'static [Permission] = <Self as Direction>::PERMISSIONS;
    type Params = <Self as Direction>::Params;
    type Output = Output;
}

impl<const SUSPEND: bool> Change for SetProcesses<SUSPEND>
where
    Self: Direction,
{
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let planned = |process: &Process| {
            PlannedChange::new(target(&intent.auto_scaling_group, *process), !SUSPEND, SUSPEND)
        };
        intent.processes.iter().map(planned).collect()
    }

    async fn prepare(
        params: <Self as Direction>::Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        _: &Progress,
    ) -> Result<Intent> {
        let Request { nodegroup, group, processes } = params.into();
        let found = group_target::find(nodegroup.as_ref(), group.as_ref(), reader).await?;
        let differs = |process: &Process| found.group.is_suspended(process.name()) != SUSPEND;
        Ok(Intent {
            region: found.region,
            processes: processes.into_iter().filter(differs).collect(),
            auto_scaling_group: found.group.name,
        })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        set(intent, SUSPEND, writer).await?;
        Ok(Receipt {})
    }

    async fn settle(
        intent: &Intent,
        _: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        let aws = reader.aws(&intent.region).await?;
        let name = &intent.auto_scaling_group;
        wait::poll(progress, reader.clock(), nodegroups::POLL_BACKOFF, || async {
            let group = nodegroups::describe_group(&aws, name).await?;
            let outdated = differing(intent, &group, SUSPEND);
            if !outdated.is_empty() {
                let what = if SUSPEND { "suspended" } else { "resumed" };
                return Ok(WaitState::Pending(format!(
                    "Auto Scaling group {name} to show as {what}: {}",
                    join_truncated(outdated)
                )));
            }
            Ok(WaitState::Ready(Output {
                auto_scaling_group: group.name,
                changed: intent.processes.clone(),
                suspended: group.suspended_processes,
            }))
        })
        .await
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        set(intent, !SUSPEND, writer).await?;
        Ok(Vec::new())
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        if intent.processes.is_empty() {
            return Ok(Vec::new());
        }
        let aws = reader.aws(&intent.region).await?;
        let name = &intent.auto_scaling_group;
        let group = nodegroups::describe_group(&aws, name).await?;
        let state = |process: &Process| {
            let call = if SUSPEND { "resume-processes" } else { "suspend-processes" };
            let restore = RestoreCommand::aws(
                &intent.region,
                [
                    "autoscaling",
                    call,
                    "--auto-scaling-group-name",
                    name,
                    "--scaling-processes",
                    process.name(),
                ],
            );
            let now = group.is_suspended(process.name());
            TargetState::new(target(name, *process), !SUSPEND, now, Some(restore))
        };
        Ok(intent.processes.iter().map(state).collect())
    }
}

fn target(group: &str, process: Process) -> String {
    format!("process {} of Auto Scaling group {group} suspended", process.name())
}

/// Returns the processes of the intent that are not as they are to be.
fn differing(intent: &Intent, group: &AutoScalingGroup, suspended: bool) -> Vec<&'static str> {
    let names = intent.processes.iter().map(|process| process.name());
    names.filter(|name| group.is_suspended(name) != suspended).collect()
}

/// Suspends or resumes the processes of the intent that are not, in one call.
async fn set(intent: &Intent, suspended: bool, writer: &PlatformWriter) -> Result<()> {
    if intent.processes.is_empty() {
        return Ok(());
    }
    let aws: AwsWriter = writer.aws(&intent.region).await?;
    let name = &intent.auto_scaling_group;
    let group = nodegroups::describe_group(aws.reader(), name).await?;
    let processes = differing(intent, &group, suspended);
    if processes.is_empty() {
        return Ok(());
    }
    match suspended {
        true => aws.suspend_processes(name, &processes).await?,
        false => aws.resume_processes(name, &processes).await?,
    }
    Ok(())
}
