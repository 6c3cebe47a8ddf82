//! `update_nodegroup_version`: replace the nodes of a nodegroup by nodes of another version.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Action, AwsScope, Change, Error, Impact, KnownTargets, KubernetesScope, OF_NODEGROUP,
    Permission, PlannedChange, PlatformReader, PlatformWriter, Progress, RepeatedParam, Result,
    TargetState,
    nodegroup_update::{self, list_nodes},
    nodegroups,
    types::{NodeRecord, NodegroupName},
};
use crate::platform::aws::{AwsReader, LaunchTemplate, Nodegroup, NodegroupVersion, UpdateStatus};
use runbook::{LimitKind, Reversibility};
use text::plural;

/// Replaces the nodes of a managed nodegroup by nodes of another Kubernetes version or image release, and waits until
/// EKS has done so.
///
/// EKS drains and replaces as many nodes at a time as the nodegroup's update config allows (`set_nodegroup`), within
/// disruption budgets; it gives up a node after 15 minutes, unless `force` is set. Without a version and a release
/// version, the nodes get the latest release of the version that they have. Nothing restores the version before: EKS
/// does not lower a Kubernetes version, and the nodes that were replaced are gone. An update in progress cannot be
/// stopped either. Updates often take longer than an hour: give the step a `timeout` that fits.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The nodegroup.
    pub nodegroup: NodegroupName,
    /// The Kubernetes version, such as `1.35`. It cannot be greater than the cluster's.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "kubernetes-version"))]
    pub version: Option<String>,
    /// The release of the EKS image, such as `1.35.2-20260901`; the latest one of the version if nothing is given.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "eks-release"))]
    pub release_version: Option<String>,
    /// The version of the nodegroup's own launch template.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub launch_template_version: Option<String>,
    /// Whether EKS ends pods that it cannot evict, such as those that a disruption budget protects.
    #[serde(default)]
    pub force: bool,
}

/// The nodegroup after the update.
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
    /// The Kubernetes version of its nodes.
    pub version: String,
    /// The release of their image.
    pub release_version: String,
    /// The nodes that it has now.
    pub nodes: Vec<NodeRecord>,
    /// The nodegroup before the update.
    pub before: Before,
}

/// A nodegroup before an update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Before {
    /// The Kubernetes version of its nodes.
    pub version: String,
    /// The release of their image.
    pub release_version: String,
    /// The nodes that it had.
    pub nodes: Vec<NodeRecord>,
}

/// The wanted version, and the nodegroup before.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    nodegroup: NodegroupName,
    version: Option<String>,
    release_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    launch_template: Option<TemplateChange>,
    force: bool,
    /// Whether the nodegroup has the wanted release already.
    is_done: bool,
    before: Before,
    earlier_updates: Vec<String>,
}

/// The launch template of a nodegroup with its version before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct TemplateChange {
    id: String,
    before: String,
    after: String,
}

/// The update that EKS makes; none where there was nothing to change.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    update: Option<String>,
}

pub(super) struct UpdateNodegroupVersion;

impl Action for UpdateNodegroupVersion {
    const NAME: &'static str = "update_nodegroup_version";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::aws("eks:DescribeNodegroup", AwsScope::Nodegroup(OF_NODEGROUP)),
        Permission::aws("eks:UpdateNodegroupVersion", AwsScope::Nodegroup(OF_NODEGROUP)),
        Permission::aws("eks:ListUpdates", AwsScope::ClusterAndNodegroup(OF_NODEGROUP)),
        Permission::aws("eks:DescribeUpdate", AwsScope::ClusterAndNodegroup(OF_NODEGROUP)),
        Permission::core("nodes", &["list"], KubernetesScope::Cluster),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] = &[
        RepeatedParam::new("region", "nodegroup.region"),
        RepeatedParam::new("cluster", "nodegroup.cluster"),
        RepeatedParam::new("name", "nodegroup.name"),
    ];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        let all = output.before.nodes.iter().chain(&output.nodes);
        all.for_each(|node| known.add_node(&node.name, Some(&node.instance)));
    }
}

impl Change for UpdateNodegroupVersion {
    const LIMITS: &'static [LimitKind] = Impact::REMOVES_PODS;
    const REVERSIBILITY: Reversibility = Reversibility::Irreversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        if intent.is_done {
            return Vec::new();
        }
        let name = &intent.nodegroup.name;
        let before = &intent.before;
        let mut planned = Vec::new();
        if let Some(version) = intent.version.as_ref().filter(|after| **after != before.version) {
            let before = before.version.clone();
            planned.push(PlannedChange::new(target(name, "version"), before, version.clone()));
        }
        let release = match &intent.release_version {
            Some(release) => release.clone(),
            None => {
                let version = intent.version.as_ref().unwrap_or(&before.version);
                format!("the latest of {version}")
            }
        };
        let before_release = before.release_version.clone();
        planned.push(PlannedChange::new(target(name, "release version"), before_release, release));
        if let Some(TemplateChange { before, after, .. }) = &intent.launch_template {
            let what = target(name, "launch template version");
            planned.push(PlannedChange::new(what, before.clone(), after.clone()));
        }
        let replaced = |node: &NodeRecord| {
            PlannedChange::new(format!("node {}", node.name), node.uid.clone(), Value::Null)
        };
        planned.extend(before.nodes.iter().map(replaced));
        planned
    }

    fn impact(intent: &Intent) -> Impact {
        Impact { takes_others: !intent.is_done, ..Impact::default() }
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let aws = reader.aws(&params.nodegroup.region).await?;
        let nodegroup = nodegroups::describe(&aws, &params.nodegroup).await?;
        nodegroup_update::ensure_can_be_updated(&nodegroup, "updated", progress)?;
        ensure_not_lowered(params.version.as_deref(), &nodegroup)?;
        let launch_template = template_change(params.launch_template_version, &nodegroup)?;
        let is_wanted = |wanted: &Option<String>, now: &String| {
            wanted.as_ref().is_none_or(|wanted| wanted == now)
        };
        // Without a release, EKS alone knows whether there is a later one.
        let is_done = params.release_version.as_ref() == Some(&nodegroup.release_version)
            && is_wanted(&params.version, &nodegroup.version)
            && launch_template.as_ref().is_none_or(|change| change.before == change.after);
        let nodes = list_nodes(&nodegroup.name, &reader.kubernetes().await?).await?;
        Ok(Intent {
            earlier_updates: aws.list_updates(&nodegroup.cluster, &nodegroup.name).await?,
            nodegroup: params.nodegroup,
            version: params.version,
            release_version: params.release_version,
            launch_template,
            force: params.force,
            is_done,
            before: Before {
                version: nodegroup.version,
                release_version: nodegroup.release_version,
                nodes,
            },
        })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        if intent.is_done {
            return Ok(Receipt { update: None });
        }
        let name = &intent.nodegroup;
        let aws = writer.aws(&name.region).await?;
        // An earlier attempt may have begun it, and its response was lost.
        if let Some(update) = find_own_update(intent, aws.reader()).await? {
            return Ok(Receipt { update: Some(update) });
        }
        let nodegroup = nodegroups::describe(aws.reader(), name).await?;
        if nodegroup.status == "UPDATING" {
            return Err(nodegroup_update::busy(&name.name));
        }
        ensure_unchanged(intent, &nodegroup)?;
        let template = intent
            .launch_template
            .as_ref()
            .map(|change| LaunchTemplate { id: change.id.clone(), version: change.after.clone() });
        let to = NodegroupVersion {
            version: intent.version.clone(),
            release_version: intent.release_version.clone(),
            launch_template: template,
            force: intent.force,
        };
        let update = aws.update_nodegroup_version(&name.cluster, &name.name, &to).await?;
        Ok(Receipt { update: Some(update.id) })
    }

    async fn settle(
        intent: &Intent,
        receipt: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        let name = &intent.nodegroup;
        let aws = reader.aws(&name.region).await?;
        let kubernetes = reader.kubernetes().await?;
        if let Some(id) = &receipt.update {
            let replaced = intent.before.nodes.as_slice();
            nodegroup_update::follow(name, id, &aws, reader, progress, Some(replaced)).await?;
        }
        let nodegroup = nodegroups::describe(&aws, name).await?;
        let nodes = list_nodes(&name.name, &kubernetes).await?;
        let NodegroupName { region, cluster, name } = name.clone();
        Ok(Output {
            region,
            cluster,
            name,
            version: nodegroup.version,
            release_version: nodegroup.release_version,
            nodes,
            before: intent.before.clone(),
        })
    }

    async fn undo(
        intent: &Intent,
        receipt: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        if intent.is_done {
            return Ok(Vec::new());
        }
        let name = &intent.nodegroup;
        let aws = writer.reader().aws(&name.region).await?;
        let nodegroup = nodegroups::describe(&aws, name).await?;
        let mut not_restored = Vec::new();
        let update = match receipt.and_then(|receipt| receipt.update.clone()) {
            Some(update) => Some(update),
            None => find_own_update(intent, &aws).await?,
        };
        if let Some(update) = update.filter(|_| nodegroup.status == "UPDATING") {
            not_restored.push(format!(
                "update {update} of nodegroup {} cannot be stopped: EKS goes on replacing nodes",
                name.name
            ));
        }
        let (before, now) = (&intent.before.release_version, &nodegroup.release_version);
        if before != now {
            not_restored.push(format!(
                "left {} at {now}: EKS does not restore {before}",
                target(&name.name, "release version")
            ));
        }
        let nodes = list_nodes(&name.name, &writer.reader().kubernetes().await?).await?;
        let is_left = |old: &&NodeRecord| !nodes.iter().any(|node| node.uid == old.uid);
        let replaced = intent.before.nodes.iter().filter(is_left).count();
        if replaced > 0 {
            not_restored.push(format!(
                "{} of nodegroup {} cannot be restored: the update has replaced {}",
                plural(replaced, "node"),
                name.name,
                if replaced == 1 { "it" } else { "them" }
            ));
        }
        Ok(not_restored)
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        if intent.is_done {
            return Ok(Vec::new());
        }
        let name = &intent.nodegroup;
        let aws = reader.aws(&name.region).await?;
        let nodegroup = nodegroups::describe(&aws, name).await?;
        let nodes = list_nodes(&name.name, &reader.kubernetes().await?).await?;
        let before = &intent.before;
        let mut targets = Vec::new();
        let mut state = |what: &str, before: &str, now: String| {
            targets.push(TargetState::new(target(&name.name, what), before, now, None));
        };
        if intent.version.as_ref().is_some_and(|after| *after != before.version) {
            state("version", &before.version, nodegroup.version);
        }
        state("release version", &before.release_version, nodegroup.release_version);
        if let Some(change) = &intent.launch_template {
            let now = nodegroup.launch_template.map(|template| template.version);
            state("launch template version", &change.before, now.unwrap_or_default());
        }
        // EKS goes on replacing nodes after the end of a run that did not wait for it.
        let update = match nodegroup.status.as_str() {
            "UPDATING" => find_own_update(intent, &aws).await?,
            _ => None,
        };
        targets.extend(update.map(|id| {
            TargetState::new(target(&name.name, "update in progress"), Value::Null, id, None)
        }));
        targets.extend(before.nodes.iter().map(|old| {
            let is_there = nodes.iter().any(|node| node.uid == old.uid);
            let now = if is_there { old.uid.clone().into() } else { Value::Null };
            TargetState::new(format!("node {}", old.name), old.uid.clone(), now, None)
        }));
        Ok(targets)
    }
}

fn target(nodegroup: &str, what: &str) -> String {
    format!("nodegroup {nodegroup} {what}")
}

/// Refuses a Kubernetes version that is less than that of the nodes.
fn ensure_not_lowered(wanted: Option<&str>, nodegroup: &Nodegroup) -> Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let number = |version: &str| {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    let Some(after) = number(wanted) else {
        return Err(Error::precondition(format!("{wanted:?} is not a valid Kubernetes version"))
            .with_hint("a version is two numbers, such as 1.35, in quotes"));
    };
    match number(&nodegroup.version) {
        Some(before) if after < before => Err(Error::precondition(format!(
            "nodegroup {} has Kubernetes version {}, which EKS does not lower to {wanted}",
            nodegroup.name, nodegroup.version
        ))
        .with_hint("make a new nodegroup of that version, and move the pods to it")),
        _ => Ok(()),
    }
}

fn template_change(
    wanted: Option<String>,
    nodegroup: &Nodegroup,
) -> Result<Option<TemplateChange>> {
    let Some(after) = wanted else { return Ok(None) };
    match nodegroup.launch_template.clone() {
        Some(LaunchTemplate { id, version: before }) => {
            Ok(Some(TemplateChange { id, before, after }))
        }
        None => Err(Error::precondition(format!(
            "nodegroup {} has no launch template of its own, so there is no version to choose",
            nodegroup.name
        ))
        .with_hint("leave out `launch_template_version`")),
    }
}

/// Refuses when another client has changed the version since the step was prepared.
fn ensure_unchanged(intent: &Intent, nodegroup: &Nodegroup) -> Result<()> {
    let before = &intent.before;
    for (what, expected, found) in [
        ("version", &before.version, &nodegroup.version),
        ("release version", &before.release_version, &nodegroup.release_version),
    ] {
        if expected != found {
            return Err(Error::Conflict {
                target: target(&nodegroup.name, what),
                expected: expected.clone(),
                found: found.clone(),
            });
        }
    }
    Ok(())
}

/// Returns an update that began after the step was prepared and that asks for what this step asks for.
async fn find_own_update(intent: &Intent, aws: &AwsReader) -> Result<Option<String>> {
    let name = &intent.nodegroup;
    for id in aws.list_updates(&name.cluster, &name.name).await? {
        if intent.earlier_updates.contains(&id) {
            continue;
        }
        let Some(update) = aws.describe_update(&name.cluster, &name.name, &id).await? else {
            continue;
        };
        let has_failed = matches!(update.status, UpdateStatus::Failed | UpdateStatus::Cancelled);
        let is_same = update.version.as_ref().is_some_and(|requested| {
            // EKS may name what the request left to it.
            let matches = |wanted: &Option<String>, requested: &Option<String>| {
                wanted.is_none() || wanted == requested
            };
            matches(&intent.version, &requested.version)
                && matches(&intent.release_version, &requested.release_version)
        });
        if is_same && !has_failed {
            return Ok(Some(id));
        }
    }
    Ok(None)
}
