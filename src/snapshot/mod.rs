//! The world of a live cluster, read in pages and by reads alone: what a plan and a rehearsal start from, and a
//! scenario of the simulator. Secrets are not read, and what may hold one is dropped.
//!
//! This module uses the clients of the platforms, and the simulator's format of scenarios. It must not depend on
//! actions, the engine or the command line.

mod anonymize;
mod aws;
mod estimates;
mod fields;
mod keep;
mod kinds;
mod locate;
mod take;
mod to_scenario;

use std::collections::BTreeMap;
use std::ops::AddAssign;

use jiff::Timestamp;
use simulator::complete_cluster_object;

use crate::platform::Error;
use crate::platform::aws::{Activity, AutoScalingGroup, Instance, Nodegroup, Subnet, Update};

pub use anonymize::{AnonymizeError, Anonymized, anonymize};
pub use estimates::{Bound, Estimate, Estimates, GroupEstimates, Workload, WorkloadEstimates};
pub use keep::{FieldManager, SnapshotObject};
pub use take::take;

/// The state of a cluster and of its account at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// When reading began.
    pub taken_at: Timestamp,
    /// The account; none where EKS could not be asked.
    pub account: Option<String>,
    /// The region; none where it is not known.
    pub region: Option<String>,
    /// The name of the EKS cluster; none where it is not known.
    pub cluster: Option<String>,
    /// The Kubernetes version, as EKS reports it; none where EKS could not be asked.
    pub version: Option<String>,
    /// The objects, by kind.
    pub objects: BTreeMap<&'static str, Vec<SnapshotObject>>,
    /// The nodegroups of the cluster.
    pub nodegroups: Vec<Nodegroup>,
    /// Their Auto Scaling groups, and those of nodes that belong to no nodegroup.
    pub groups: Vec<AutoScalingGroup>,
    /// The instances of the groups and of the nodes.
    pub instances: Vec<Instance>,
    /// The latest activities of each group, the latest first.
    pub activities: BTreeMap<String, Vec<Activity>>,
    /// The updates of each nodegroup that EKS works on.
    pub updates: BTreeMap<String, Vec<Update>>,
    /// The subnets of the groups.
    pub subnets: Vec<Subnet>,
    /// How many calls were made.
    pub reads: ReadCount,
    /// The parts that could not be read, or do not suffice for a prediction.
    pub gaps: Vec<Gap>,
}

/// The EKS cluster to read. What is not named is inferred from the kubeconfig, from labels of the nodes and from tags
/// of their instances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterScope {
    /// The region.
    pub region: Option<String>,
    /// The name of the EKS cluster.
    pub cluster: Option<String>,
}

/// The objects that are read besides those of every snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The ConfigMaps, by namespace and name. No other is read.
    pub config_maps: Vec<(String, String)>,
}

/// Something that a snapshot does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// The part that is not known: `list resourcequotas`.
    pub what: String,
    /// Why: what the platform answered.
    pub why: String,
    /// The prediction that is not possible without it.
    pub unpredicted: String,
}

/// How many calls a snapshot took: pages of objects by resource, calls of AWS by operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadCount {
    /// The calls, by `nodes` or `eks:DescribeNodegroup`.
    pub by_kind: BTreeMap<String, u32>,
}

/// Why a snapshot was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Nodes or pods could not be read.
    #[error(transparent)]
    Platform(#[from] Error),
    /// The EKS cluster is not the one that the kubeconfig names.
    #[error(
        "EKS cluster {cluster} in {region} is not the cluster of the kubeconfig: its endpoint is {endpoint}, the API \
         server is {server}, and no instance of its nodegroups is a node"
    )]
    OtherCluster {
        /// The EKS cluster.
        cluster: String,
        /// Its region.
        region: String,
        /// Its endpoint.
        endpoint: String,
        /// The API server of the kubeconfig.
        server: String,
    },
}

impl SnapshotError {
    /// Returns the remedy, where one is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Platform(error) => error.hint(),
            Self::OtherCluster { .. } => Some("check --context, --region and --cluster"),
        }
    }
}

impl Snapshot {
    #[cfg(test)]
    fn empty() -> Self {
        Self {
            taken_at: Timestamp::UNIX_EPOCH,
            account: None,
            region: None,
            cluster: None,
            version: None,
            objects: BTreeMap::new(),
            nodegroups: Vec::new(),
            groups: Vec::new(),
            instances: Vec::new(),
            activities: BTreeMap::new(),
            updates: BTreeMap::new(),
            subnets: Vec::new(),
            reads: ReadCount::default(),
            gaps: Vec::new(),
        }
    }

    /// Returns the objects of a kind.
    pub fn objects_of(&self, kind: &str) -> &[SnapshotObject] {
        self.objects.get(kind).map_or(&[], Vec::as_slice)
    }

    /// Completes the objects as a simulator does that begins with them, so that all simulators share them.
    pub fn complete(&mut self) {
        let objects = self.objects.values_mut().flatten();
        objects.for_each(|object| complete_cluster_object(&mut object.object));
    }

    /// Returns one object; none if it was not read or does not exist.
    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<&SnapshotObject> {
        let mut objects = self.objects_of(kind).iter();
        objects.find(|object| object.name() == name && object.namespace() == namespace)
    }
}

impl Gap {
    /// Returns the gap that a failed call is.
    fn of(what: &str, error: &Error, unpredicted: &str) -> Self {
        let why = match error {
            Error::Call { message, .. } => message.to_string(),
            other => other.to_string(),
        };
        Self { what: what.to_owned(), why, unpredicted: unpredicted.to_owned() }
    }
}

impl ReadCount {
    /// Returns how many calls there were.
    pub fn total(&self) -> u32 {
        self.by_kind.values().sum()
    }

    fn add(&mut self, kind: impl Into<String>, calls: u32) {
        self.by_kind.entry(kind.into()).or_default().add_assign(calls);
    }

    fn extend(&mut self, other: Self) {
        other.by_kind.into_iter().for_each(|(kind, calls)| self.add(kind, calls));
    }
}

/// Returns the kinds that a snapshot lists: the API group and the resource in the plural.
pub fn listed_resources() -> impl Iterator<Item = (&'static str, &'static str)> {
    kinds::listed_kinds().map(|kind| (kind.kind.group, kind.kind.resource))
}

/// The resources of a cluster that a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallScope {
    /// The cluster.
    Cluster,
    /// Its nodegroups.
    Nodegroup,
    /// The cluster and its nodegroups.
    Both,
}

/// The IAM actions of a snapshot that can be limited to a cluster.
pub const CLUSTER_CALLS: [(&str, CallScope); 5] = [
    ("eks:DescribeCluster", CallScope::Cluster),
    ("eks:ListNodegroups", CallScope::Cluster),
    ("eks:DescribeNodegroup", CallScope::Nodegroup),
    ("eks:ListUpdates", CallScope::Both),
    ("eks:DescribeUpdate", CallScope::Both),
];

/// The IAM actions of a snapshot that can be limited to a region alone.
pub const REGION_CALLS: [&str; 4] = [
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeScalingActivities",
    "ec2:DescribeInstances",
    "ec2:DescribeSubnets",
];
