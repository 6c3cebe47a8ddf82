//! The copy of the live cluster on which a run is rehearsed: a snapshot of it, as scenarios with short, likely and long
//! durations.

use futures::future::join_all;
use serde_json::Value;
use simulator::Scenario;

use super::model::{Existing, Gap, Reads};
use crate::{
    engine::ReadAhead,
    permissions::{self, Access, Need, Requirement},
    platform::{self, Platform, Progress, kubernetes::AccessQuestion},
    snapshot::{self, Bound, ClusterScope, Estimate, Snapshot, SnapshotError, Wanted},
};

/// The calls of AWS without which a copy has not what runs act on. The kinds of Kubernetes are [`NEEDED_KINDS`].
const NEEDED_CALLS: [&str; 3] =
    ["eks:ListNodegroups", "eks:DescribeNodegroup", "autoscaling:DescribeAutoScalingGroups"];

/// A copy of a cluster.
#[derive(Debug)]
pub(super) struct World {
    /// The snapshot.
    pub(super) snapshot: Snapshot,
    /// With likely durations, until it is rehearsed on.
    pub(super) typical: Option<Scenario>,
    /// With short and with long ones, where the range is asked for.
    pub(super) others: Vec<Scenario>,
    /// The sources of the durations, a sentence each.
    pub(super) duration_sources: Vec<String>,
}

impl World {
    /// Returns what is not known of it.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        let each = self.snapshot.gaps.iter().map(|gap| Gap {
            what: gap.what.clone(),
            why: format!("{}; not predicted: {}", short(&gap.why), gap.unpredicted),
        });
        each.collect()
    }

    /// Returns why nothing can be rehearsed on it: what a run acts on could not be read.
    pub(super) fn why_incomplete(&self) -> Option<String> {
        let is_needed = |gap: &&snapshot::Gap| {
            let is_kind = NEEDED_KINDS.iter().any(|(_, kind)| gap.what == format!("list {kind}"));
            let is_call = NEEDED_CALLS.iter().any(|call| gap.what.starts_with(call));
            (is_kind || is_call) && !is_not_served(&gap.why)
        };
        let gap = self.snapshot.gaps.iter().find(is_needed)?;
        Some(format!("{} failed: {}", gap.what, short(&gap.why)))
    }

    /// Returns the names of what exists.
    pub(super) fn existing(&self) -> Existing {
        let names = |kind| {
            let objects = self.snapshot.objects_of(kind).iter();
            objects.map(|object| object.name().to_owned())
        };
        let instances = self.snapshot.groups.iter().flat_map(|group| &group.instances);
        let instances = instances.map(|instance| instance.id.clone());
        Existing { nodes: names("Node").chain(instances).collect(), pods: names("Pod").collect() }
    }

    /// Returns the calls by which it was read.
    pub(super) fn reads(&self) -> Reads {
        let mut reads = Reads::default();
        for (kind, calls) in &self.snapshot.reads.by_kind {
            // `eks:DescribeNodegroup`; `nodes`
            let of = if kind.contains(':') { &mut reads.aws } else { &mut reads.kubernetes };
            *of += u64::from(*calls);
        }
        reads
    }
}

fn is_not_served(why: &str) -> bool {
    why.contains(": 404 ")
}

/// Returns the first line of the answer of a platform.
fn short(why: &str) -> &str {
    why.lines().next().unwrap_or(why)
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorldError {
    /// The account has the permissions of the runbook, and not those of a snapshot.
    #[error(
        "this account may not list {0} in all namespaces; `permissions --snapshot` prints what a rehearsal needs"
    )]
    NotAllowed(&'static str),
    /// The cluster could not be asked.
    #[error(transparent)]
    Platform(#[from] platform::Error),
    /// The snapshot was not taken.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// The kinds without which nothing can be rehearsed, by group and resource.
const NEEDED_KINDS: [(&str, &str); 6] = [
    ("", "nodes"),
    ("", "pods"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
];

/// Asks before anything is read: an account with the least permissions of its runbooks makes no call that is denied.
async fn ensure_allowed(platform: &Platform) -> Result<(), WorldError> {
    let reader = platform.reader().kubernetes().await?;
    let ask = |(group, resource): (&'static str, &'static str)| {
        let (verb, namespace, name) = ("list", None, None);
        let reader = &reader;
        let question = AccessQuestion { verb, group, resource, namespace, name };
        async move { (resource, reader.is_allowed(question).await) }
    };
    for (resource, answer) in join_all(NEEDED_KINDS.map(ask)).await {
        if !answer? {
            return Err(WorldError::NotAllowed(resource));
        }
    }
    Ok(())
}

/// Reads the live cluster, as far as a runbook needs it, of which this was read ahead and these permissions are needed.
///
/// # Errors
/// The account may not read it, its nodes or pods cannot be read, or the account has another cluster of the name.
pub(super) async fn read(
    platform: &Platform,
    ahead: &ReadAhead,
    needed: &[Requirement],
    ranges: bool,
) -> Result<World, WorldError> {
    ensure_allowed(platform).await?;
    let mut wanted = wanted_by(ahead);
    wanted.config_maps.extend(permissions::config_maps(needed));
    wanted.config_maps.sort();
    wanted.config_maps.dedup();
    let scope = scope_of(ahead);
    let progress = Progress::silent();
    let mut snapshot = snapshot::take(&platform.reader(), &scope, &wanted, &progress).await?;
    snapshot.complete();
    let bounds: &[Bound] = if ranges { &[Bound::Low, Bound::High] } else { &[] };
    let others = bounds.iter().map(|bound| snapshot.to_scenario_at(*bound)).collect();
    Ok(World {
        typical: Some(snapshot.to_scenario()),
        others,
        duration_sources: duration_sources(&snapshot),
        snapshot,
    })
}

/// Returns why nothing can be rehearsed: a step reads objects of a kind that a copy does not have, and would fail
/// there.
pub(super) fn not_copied(needed: &[Requirement]) -> Option<String> {
    let is_copied = |group: &str, resource: &str| {
        // A ConfigMap that is named is read, and the copy writes its own events.
        matches!((group, resource), ("", "configmaps") | (_, "events"))
            || snapshot::listed_resources().any(|listed| listed == (group, resource))
    };
    needed.iter().find_map(|requirement| {
        let Access::Kubernetes(access) = &requirement.access else { return None };
        let is_read = permissions::is_read_verb(&access.verb) || access.verb == "patch";
        let (group, resource) = (access.group.as_str(), access.resource.as_str());
        if !is_read || resource.contains('/') || is_copied(group, resource) {
            return None;
        }
        let step = requirement.needed_by.iter().find_map(|need| match need {
            Need::Step { step, .. } => Some(step.as_str()),
            Need::Run(_) | Need::Service(_) | Need::Snapshot => None,
        })?;
        Some(format!("step {step} uses {resource}, of which a copy of the cluster has none"))
    })
}

/// Returns the cluster that the parameters of the steps name.
fn scope_of(ahead: &ReadAhead) -> ClusterScope {
    let mut scope = ClusterScope::default();
    let arguments = ahead.steps.iter().filter_map(|step| step.arguments.as_ref());
    arguments.for_each(|arguments| find_scope(arguments, &mut scope));
    scope
}

fn find_scope(value: &Value, scope: &mut ClusterScope) {
    match value {
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
            if let (Some(region), Some(cluster)) = (text("region"), text("cluster"))
                && scope.cluster.is_none()
            {
                (scope.region, scope.cluster) = (Some(region), Some(cluster));
            }
            fields.values().for_each(|field| find_scope(field, scope));
        }
        Value::Array(items) => items.iter().for_each(|item| find_scope(item, scope)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the config maps that the steps read.
fn wanted_by(ahead: &ReadAhead) -> Wanted {
    let config_maps = ahead.steps.iter().filter_map(|step| {
        let arguments = step.arguments.as_ref()?;
        let text = |name: &str| arguments.get(name)?.as_str().map(str::to_owned);
        let reads = step.action == "read_config" || text("kind").as_deref() == Some("ConfigMap");
        reads.then(|| Some((text("namespace")?, text("name")?)))?
    });
    Wanted { config_maps: config_maps.collect() }
}

/// The end of what is said of a duration that is a default.
pub const NOT_OBSERVED: &str = ", a default: nothing was observed";

/// Says where the durations come from.
fn duration_sources(snapshot: &Snapshot) -> Vec<String> {
    let durations = snapshot.durations();
    let source = |what: &str, estimate: &Estimate| {
        let seconds = |duration: std::time::Duration| duration.as_secs();
        let range = format!(
            "{} s ({} to {} s)",
            seconds(estimate.typical),
            seconds(estimate.low),
            seconds(estimate.high)
        );
        match estimate.is_default() {
            true => format!("{what}: {range}{NOT_OBSERVED}"),
            false => format!("{what}: {range}, of {} observed", estimate.samples),
        }
    };
    let group = &durations.any_group;
    let workload = &durations.any_workload;
    vec![
        source("boot of an instance", &group.boot),
        source("until a new node is Ready", &group.node_ready),
        source("end of an instance", &group.terminate),
        source("start of a pod", &workload.start),
        source("end of a pod", &workload.stop),
    ]
}
