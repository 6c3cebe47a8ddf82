//! `set_nodegroup`: the limits, labels, taints and update config of a nodegroup.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Action, AwsScope, Change, Error, KnownTargets, OF_NODEGROUP, Permission, PlannedChange,
    PlatformReader, PlatformWriter, Progress, RepeatedParam, RestoreCommand, Result, TargetState,
    compare_and_set::{WriteDecision, decide_write},
    nodegroup_update, nodegroups,
    types::NodegroupName,
};
use crate::platform::aws::{AwsReader, Nodegroup, NodegroupChange, NodegroupTaint, UpdateConfig};
use runbook::Reversibility;

/// Sets the limits, labels, taints and update config of a managed nodegroup, and waits until EKS has done so.
///
/// What is not given stays as it is: labels and taints are merged into those of the nodegroup, as EKS merges them.
/// The number of nodes is set by `scale_nodegroup`; limits that it does not fit into are refused. The undo restores
/// each value that is still as this step left it, and names the others.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-excludes" = [["max_unavailable", "max_unavailable_percentage"]],
    "x-any-of" = [[
        "min", "max", "labels", "taints", "remove_taints", "max_unavailable", "max_unavailable_percentage"
    ]],
    "x-distinct" = [{"of": ["taints", "remove_taints"], "by": ["key", "effect"]}]
))]
pub struct Params {
    /// The nodegroup.
    pub nodegroup: NodegroupName,
    /// The least number of nodes that it may have.
    #[serde(default)]
    pub min: Option<u32>,
    /// The greatest number of nodes that it may have.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max: Option<u32>,
    /// Labels to add or to change, by key. A value of `null` removes the label.
    #[serde(default)]
    #[schemars(extend("x-keys" = "label-key"))]
    pub labels: BTreeMap<String, Option<String>>,
    /// Taints to add or to change. One with the same key and effect gets the value that is given here.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// Taints to remove.
    #[serde(default)]
    pub remove_taints: Vec<TaintKey>,
    /// How many nodes an update of the nodegroup may replace at a time.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub max_unavailable: Option<u32>,
    /// How many nodes an update may replace at a time, as a percentage. Not together with `max_unavailable`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub max_unavailable_percentage: Option<u32>,
}

/// A taint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Taint {
    /// Its key.
    #[schemars(extend("x-syntax" = "label-key"))]
    pub key: String,
    /// Its value.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "label-value"))]
    pub value: String,
    /// Its effect.
    pub effect: TaintEffect,
}

/// Names a taint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaintKey {
    /// Its key.
    #[schemars(extend("x-syntax" = "label-key"))]
    pub key: String,
    /// Its effect.
    pub effect: TaintEffect,
}

/// The effect of a taint, as Kubernetes names it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum TaintEffect {
    /// No new pod that does not tolerate the taint.
    NoSchedule,
    /// No new pod, and those that are there end.
    NoExecute,
    /// No new pod where another node takes it.
    PreferNoSchedule,
}

impl TaintEffect {
    fn name(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::NoExecute => "NoExecute",
            Self::PreferNoSchedule => "PreferNoSchedule",
        }
    }
}

/// The nodegroup after the step.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// AWS region of the cluster.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the EKS cluster.
    #[schemars(extend("x-syntax" = "cluster-name"))]
    pub cluster: String,
    /// Name of the nodegroup.
    #[schemars(extend("x-syntax" = "nodegroup-name"))]
    pub name: String,
    /// The least number of nodes that it may have.
    pub min: u32,
    /// The greatest number of nodes that it may have.
    pub max: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The values that this step changed; those that were as wanted before are left out.
    pub changed: Vec<String>,
}

/// The values to change; all others are as they should be.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    nodegroup: NodegroupName,
    changes: Vec<FieldChange>,
}

/// One value of a nodegroup, before and after; null where the nodegroup does not have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FieldChange {
    field: Field,
    before: Value,
    after: Value,
}

/// A value of a nodegroup that is changed, compared and restored by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Field {
    Min,
    Max,
    Label {
        key: String,
    },
    Taint {
        key: String,
        effect: String,
    },
    /// A number of nodes, or a text such as `33%`.
    MaxUnavailable,
}

/// The update that EKS makes; none where there was nothing to change.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    update: Option<String>,
}

pub(super) struct SetNodegroup;

impl Action for SetNodegroup {
    const NAME: &'static str = "set_nodegroup";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(OF_NODEGROUP)),
        Permission::aws("eks:UpdateNodegroupConfig", AwsScope::Nodegroup(OF_NODEGROUP)),
        Permission::aws("eks:DescribeUpdate", AwsScope::ClusterAndNodegroup(OF_NODEGROUP)),
        Permission::aws("autoscaling:DescribeAutoScalingGroups", AwsScope::Region(OF_NODEGROUP)),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] = &[
        RepeatedParam::new("region", "nodegroup.region"),
        RepeatedParam::new("cluster", "nodegroup.cluster"),
        RepeatedParam::new("name", "nodegroup.name"),
    ];
    type Params = Params;
    type Output = Output;
}

impl Change for SetNodegroup {
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let planned = |change: &FieldChange| {
            let target = target(&intent.nodegroup.name, &change.field);
            PlannedChange::new(target, change.before.clone(), change.after.clone())
        };
        intent.changes.iter().map(planned).collect()
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let wanted = wanted_values(&params)?;
        let aws = reader.aws(&params.nodegroup.region).await?;
        let nodegroup = nodegroups::describe(&aws, &params.nodegroup).await?;
        nodegroup_update::ensure_can_be_updated(&nodegroup, "changed", progress)?;
        if params.min.is_some() || params.max.is_some() {
            ensure_limits_fit(&params, &nodegroup, group_desired(&nodegroup, &aws).await?)?;
        }
        let change = |(field, after): (Field, Value)| {
            let before = value_of(&field, &nodegroup);
            (before != after).then_some(FieldChange { field, before, after })
        };
        Ok(Intent {
            changes: wanted.into_iter().filter_map(change).collect(),
            nodegroup: params.nodegroup,
        })
    }

    /// Sends the whole change also where an earlier attempt may have sent it: EKS knows the client token, and takes the
    /// repetition for the same update.
    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        if intent.changes.is_empty() {
            return Ok(Receipt { update: None });
        }
        let name = &intent.nodegroup;
        let aws = writer.aws(&name.region).await?;
        let nodegroup = nodegroups::describe(aws.reader(), name).await?;
        let mut is_needed = nodegroup.status == "UPDATING";
        for FieldChange { field, before, after } in &intent.changes {
            let now = value_of(field, &nodegroup);
            let decision = decide_write(&target(&name.name, field), &now, before, after)?;
            is_needed |= decision == WriteDecision::Needed;
        }
        if !is_needed {
            return Ok(Receipt { update: None });
        }
        let steps = intent.changes.iter().map(|one| (&one.field, &one.before, &one.after));
        let change = nodegroup_change(steps);
        let update = aws.update_nodegroup_config(&name.cluster, &name.name, &change).await?;
        Ok(Receipt { update: Some(update.id) })
    }

    async fn settle(
        intent: &Intent,
        receipt: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        let aws = reader.aws(&intent.nodegroup.region).await?;
        follow(intent, receipt, &aws, reader, progress).await?;
        let found = nodegroups::describe(&aws, &intent.nodegroup).await?;
        let NodegroupName { region, cluster, name } = intent.nodegroup.clone();
        let changed = intent.changes.iter().map(|change| target(&name, &change.field)).collect();
        Ok(Output {
            region,
            cluster,
            name,
            min: found.min,
            max: found.max,
            labels: found.labels,
            changed,
        })
    }

    async fn undo(
        intent: &Intent,
        receipt: Option<&Receipt>,
        writer: &PlatformWriter,
        progress: &Progress,
    ) -> Result<Vec<String>> {
        if intent.changes.is_empty() {
            return Ok(Vec::new());
        }
        let name = &intent.nodegroup;
        let aws = writer.aws(&name.region).await?;
        if let Some(receipt) = receipt {
            match follow(intent, receipt, aws.reader(), writer.reader(), progress).await {
                // What a failed update has left is seen below.
                Ok(()) | Err(Error::OperationFailed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let nodegroup = nodegroups::describe(aws.reader(), name).await?;
        let desired = group_desired(&nodegroup, aws.reader()).await?;
        let (restored, not_restored) = plan_restore(intent, &nodegroup, desired);
        let is_updating = nodegroup.status == "UPDATING";
        if restored.is_empty() && is_updating {
            // An update whose response was lost may yet set the values.
            return Err(nodegroup_update::busy(&name.name));
        }
        if !restored.is_empty() {
            let steps = restored.iter().map(|one| (&one.field, &one.after, &one.before));
            let change = nodegroup_change(steps);
            let update = aws.update_nodegroup_config(&name.cluster, &name.name, &change).await?;
            let receipt = Receipt { update: Some(update.id) };
            follow(intent, &receipt, aws.reader(), writer.reader(), progress).await?;
        }
        Ok(not_restored)
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        if intent.changes.is_empty() {
            return Ok(Vec::new());
        }
        let aws = reader.aws(&intent.nodegroup.region).await?;
        let nodegroup = nodegroups::describe(&aws, &intent.nodegroup).await?;
        let state = |change: &FieldChange| {
            TargetState::new(
                target(&intent.nodegroup.name, &change.field),
                change.before.clone(),
                value_of(&change.field, &nodegroup),
                Some(restore_command(&intent.nodegroup, change)),
            )
        };
        Ok(intent.changes.iter().map(state).collect())
    }
}

/// Returns the values that the parameters name, each field once.
fn wanted_values(params: &Params) -> Result<Vec<(Field, Value)>> {
    let mut wanted = Vec::new();
    wanted.extend(params.min.map(|min| (Field::Min, min.into())));
    wanted.extend(params.max.map(|max| (Field::Max, max.into())));
    for (key, value) in &params.labels {
        wanted.push((Field::Label { key: key.clone() }, value.clone().into()));
    }
    let mut taints = BTreeSet::new();
    let added =
        params.taints.iter().map(|taint| (&taint.key, taint.effect, taint.value.clone().into()));
    let removed = params.remove_taints.iter().map(|taint| (&taint.key, taint.effect, Value::Null));
    for (key, effect, value) in added.chain(removed) {
        let effect = effect.name();
        if !taints.insert((key, effect)) {
            return Err(Error::precondition(format!("taint {key}:{effect} is given twice")));
        }
        wanted.push((Field::Taint { key: key.clone(), effect: effect.into() }, value));
    }
    match (params.max_unavailable, params.max_unavailable_percentage) {
        (Some(_), Some(_)) => {
            return Err(Error::precondition(
                "`max_unavailable` and `max_unavailable_percentage` exclude each other",
            ));
        }
        (Some(count), None) => wanted.push((Field::MaxUnavailable, count.into())),
        (None, Some(percentage)) => {
            wanted.push((Field::MaxUnavailable, format!("{percentage}%").into()));
        }
        (None, None) => {}
    }
    if wanted.is_empty() {
        return Err(Error::precondition("no value to set is given").with_hint(
            "give at least one of `min`, `max`, `labels`, `taints`, `remove_taints`, `max_unavailable` and `max_unavailable_percentage`",
        ));
    }
    Ok(wanted)
}

/// Returns the number of nodes that the nodegroup is to have, as its group has it.
async fn group_desired(nodegroup: &Nodegroup, aws: &AwsReader) -> Result<u32> {
    Ok(nodegroups::describe_group(aws, nodegroups::group_name(nodegroup)?).await?.desired)
}

/// Refuses limits that EKS would refuse, or by which the group would change its size.
fn ensure_limits_fit(params: &Params, nodegroup: &Nodegroup, group_desired: u32) -> Result<()> {
    let min = params.min.unwrap_or(nodegroup.min);
    let max = params.max.unwrap_or(nodegroup.max);
    let name = &nodegroup.name;
    if min > max {
        return Err(Error::precondition(format!(
            "nodegroup {name} would have a minimum of {min} and a maximum of {max}"
        )));
    }
    for desired in [group_desired, nodegroup.desired] {
        if !(min..=max).contains(&desired) {
            return Err(Error::precondition(format!(
                "nodegroup {name} is to have {desired} nodes, which is not between {min} and {max}"
            ))
            .with_hint("set the number of nodes first, with `scale_nodegroup`"));
        }
    }
    Ok(())
}

/// Returns a value of a nodegroup as it is.
fn value_of(field: &Field, nodegroup: &Nodegroup) -> Value {
    match field {
        Field::Min => nodegroup.min.into(),
        Field::Max => nodegroup.max.into(),
        Field::Label { key } => nodegroup.labels.get(key).cloned().into(),
        Field::Taint { key, effect } => {
            let is_it = |taint: &&NodegroupTaint| taint.key == *key && taint.effect == *effect;
            nodegroup.taints.iter().find(is_it).map(|taint| taint.value.clone()).into()
        }
        Field::MaxUnavailable => match nodegroup.update_config {
            UpdateConfig::Count(count) => count.into(),
            UpdateConfig::Percentage(percentage) => format!("{percentage}%").into(),
        },
    }
}

/// Returns the call that changes fields from a value to another.
fn nodegroup_change<'a>(
    steps: impl Iterator<Item = (&'a Field, &'a Value, &'a Value)>,
) -> NodegroupChange {
    let mut change = NodegroupChange::default();
    for (field, from, to) in steps {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let number = |value: &Value| value.as_u64().and_then(|size| u32::try_from(size).ok());
        match field {
            Field::Min => change.scaling.min = number(to),
            Field::Max => change.scaling.max = number(to),
            Field::Label { key } => match text(to) {
                Some(value) => {
                    change.labels.insert(key.clone(), value);
                }
                None => change.remove_labels.push(key.clone()),
            },
            Field::Taint { key, effect } => {
                let taint =
                    |value| NodegroupTaint { key: key.clone(), value, effect: effect.clone() };
                match text(to) {
                    Some(value) => change.taints.push(taint(value)),
                    None => change.remove_taints.push(taint(text(from).unwrap_or_default())),
                }
            }
            Field::MaxUnavailable => change.update_config = update_config(to),
        }
    }
    change
}

fn update_config(value: &Value) -> Option<UpdateConfig> {
    match value {
        Value::String(text) => text.strip_suffix('%')?.parse().ok().map(UpdateConfig::Percentage),
        value => u32::try_from(value.as_u64()?).ok().map(UpdateConfig::Count),
    }
}

async fn follow(
    intent: &Intent,
    receipt: &Receipt,
    aws: &AwsReader,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<()> {
    let Some(id) = &receipt.update else { return Ok(()) };
    nodegroup_update::follow(&intent.nodegroup, id, aws, reader, progress, None).await
}

/// Returns the changes to take back: of what is still as the step left it. The others are named, a sentence each.
fn plan_restore<'i>(
    intent: &'i Intent,
    nodegroup: &Nodegroup,
    desired: u32,
) -> (Vec<&'i FieldChange>, Vec<String>) {
    let (mut restored, mut not_restored) = (Vec::new(), Vec::new());
    for change in &intent.changes {
        let (name, now) = (&intent.nodegroup.name, value_of(&change.field, nodegroup));
        if now == change.before {
            continue;
        }
        let target = target(name, &change.field);
        if now != change.after {
            let after = &change.after;
            not_restored
                .push(format!("left {target} at {now}: another client changed it from {after}"));
            continue;
        }
        let limit = change.before.as_u64().unwrap_or_default();
        let fits = match change.field {
            Field::Min => u64::from(desired) >= limit,
            Field::Max => u64::from(desired) <= limit,
            Field::Label { .. } | Field::Taint { .. } | Field::MaxUnavailable => true,
        };
        if fits {
            restored.push(change);
        } else {
            not_restored.push(format!("left {target} at {now}: desired is {desired}"));
        }
    }
    (restored, not_restored)
}

fn target(nodegroup: &str, field: &Field) -> String {
    let what = match field {
        Field::Min => "min".to_owned(),
        Field::Max => "max".to_owned(),
        Field::Label { key } => format!("label {key}"),
        Field::Taint { key, effect } => format!("taint {key}:{effect}"),
        Field::MaxUnavailable => "max unavailable".to_owned(),
    };
    format!("nodegroup {nodegroup} {what}")
}

fn restore_command(name: &NodegroupName, change: &FieldChange) -> RestoreCommand {
    let before = change.before.as_str();
    let (flag, value) = match &change.field {
        Field::Min => ("--scaling-config", format!("minSize={}", change.before)),
        Field::Max => ("--scaling-config", format!("maxSize={}", change.before)),
        Field::Label { key } => {
            let value = match before {
                Some(before) => format!("addOrUpdateLabels={{{key}={before}}}"),
                None => format!("removeLabels={key}"),
            };
            ("--labels", value)
        }
        Field::Taint { key, effect } => {
            let other = change.after.as_str();
            let (call, value) = match before {
                Some(before) => ("addOrUpdateTaints", before),
                None => ("removeTaints", other.unwrap_or_default()),
            };
            let effect = NodegroupTaint::eks_effect(effect);
            ("--taints", format!("{call}=[{{key={key},value={value},effect={effect}}}]"))
        }
        Field::MaxUnavailable => {
            let value = match before.and_then(|before| before.strip_suffix('%')) {
                Some(percentage) => format!("maxUnavailablePercentage={percentage}"),
                None => format!("maxUnavailable={}", change.before),
            };
            ("--update-config", value)
        }
    };
    let NodegroupName { region, cluster, name } = name;

    RestoreCommand::aws(
        region,
        [
            "eks",
            "update-nodegroup-config",
            "--cluster-name",
            cluster,
            "--nodegroup-name",
            name,
            flag,
            &value,
        ],
    )
}
