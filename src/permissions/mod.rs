//! The least permissions of a runbook, of its undo and of the service, as data: derived from the text of the runbook
//! and from what its actions declare, and rendered as an IAM policy and as RBAC roles.
//!
//! Nothing is widened silently. A value that is not known is a named [`Value::Placeholder`], and what is wider than the
//! runbook needs has a note that says why.
//!
//! This module uses actions by their erased declarations, and what the store and the lease declare. It calls nothing,
//! and must not depend on the engine or the command line.

mod derive;
mod iam;
mod merge;
mod program;
mod rbac;
mod report;

use std::{collections::BTreeSet, fmt};

pub use derive::{RunbookContext, of_runbook};
pub use iam::{Partition, arns, condition, policy};
pub use merge::{merge, merge_equal};
pub use program::{of_run, of_service, of_snapshot};
pub use rbac::{RbacNames, Role, Subject, roles, to_yaml};
pub use report::{AnswerSource, Missing, PermissionReport, Unchecked, describe_all};

use crate::actions::AwsScope;

/// A value that limits a permission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// The value.
    Known(String),
    /// The name of a value that is not known, in capitals, to be replaced.
    Placeholder(String),
}

impl Value {
    /// Returns the value, if it is known.
    pub fn known(&self) -> Option<&str> {
        match self {
            Self::Known(value) => Some(value),
            Self::Placeholder(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Known(text) | Self::Placeholder(text)) = self;
        f.write_str(text)
    }
}

/// One permission, and what needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The allowed call.
    pub access: Access,
    /// Everything that needs it.
    pub needed_by: BTreeSet<Need>,
    /// Whether everything works without it, with less to say.
    pub is_optional: bool,
    /// Why it is wider than what needs it.
    pub notes: BTreeSet<String>,
}

/// Something that needs a permission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A step of a runbook.
    Step {
        /// The name of the runbook.
        runbook: String,
        /// The id of the step.
        step: String,
        /// Whether only its undo needs it.
        is_undo: bool,
    },
    /// Every run, for this purpose.
    Run(&'static str),
    /// The service, for this purpose.
    Service(&'static str),
    /// A snapshot of the cluster.
    Snapshot,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { runbook, step, is_undo } => {
                write!(f, "{runbook}/{step}{}", if *is_undo { " (undo)" } else { "" })
            }
            Self::Run(purpose) => write!(f, "every run ({purpose})"),
            Self::Service(purpose) => write!(f, "the service ({purpose})"),
            Self::Snapshot => f.write_str("a snapshot"),
        }
    }
}

/// The call that a permission allows: one verb, or one IAM action.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// A verb on a Kubernetes resource.
    Kubernetes(KubernetesAccess),
    /// An IAM action.
    Aws(AwsAccess),
}

/// A verb on a Kubernetes resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KubernetesAccess {
    /// Where.
    pub place: Place,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource in the plural, with its subresource: `deployments/scale`.
    pub resource: String,
    /// The object; `None` for all.
    pub name: Option<Value>,
    /// The verb.
    pub verb: String,
}

/// Returns the ConfigMaps that requirements name, by namespace and name.
pub fn config_maps(requirements: &[Requirement]) -> Vec<(String, String)> {
    let config_map = |requirement: &Requirement| match &requirement.access {
        Access::Kubernetes(access)
            if access.group.is_empty() && access.resource == "configmaps" =>
        {
            let namespace = access.place.namespace()?.known()?.to_owned();
            Some((namespace, access.name.as_ref()?.known()?.to_owned()))
        }
        Access::Kubernetes(_) | Access::Aws(_) => None,
    };
    requirements.iter().filter_map(config_map).collect()
}

/// Where a verb is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The resource has no namespace, or every namespace is meant.
    Cluster,
    /// One namespace.
    Namespace(Value),
    /// One namespace that is known only when the run has read it; a role has to allow every namespace.
    NamespaceAtRunTime,
}

impl Place {
    /// Returns the one namespace; `None` where a role has to allow all of them, or there is none.
    pub fn namespace(&self) -> Option<&Value> {
        match self {
            Self::Namespace(namespace) => Some(namespace),
            Self::Cluster | Self::NamespaceAtRunTime => None,
        }
    }
}

/// An IAM action, and what it is limited to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AwsAccess {
    /// The action, such as `eks:DescribeNodegroup`.
    pub action: String,
    /// The resource that it is limited to.
    pub resource: AwsResource,
}

/// The resource that an IAM action is limited to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AwsResource {
    /// A resource of a cluster.
    OfCluster {
        /// The kind of resource.
        kind: AwsResourceKind,
        /// The region.
        region: Value,
        /// The account.
        account: Value,
        /// The EKS cluster.
        cluster: Value,
        /// The nodegroup; `None` for all of the cluster.
        nodegroup: Option<Value>,
    },
    /// An Auto Scaling group that is named itself.
    AutoScalingGroup {
        /// The region.
        region: Value,
        /// The account.
        account: Value,
        /// The name; `None` for all of the region.
        name: Option<Value>,
    },
    /// The region alone.
    Region(Value),
    /// A role of the account: that of the program itself.
    Role {
        /// The partition.
        partition: Partition,
        /// The account.
        account: Value,
        /// The name of the role.
        role: Value,
    },
}

/// A kind of AWS resource that belongs to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AwsResourceKind {
    /// The cluster.
    Cluster,
    /// A nodegroup.
    Nodegroup,
    /// The cluster and a nodegroup.
    ClusterAndNodegroup,
    /// The Auto Scaling group of a nodegroup.
    AutoScalingGroup,
}

impl AwsResourceKind {
    /// Returns the kind of a scope; `None` for what belongs to no cluster.
    fn of(scope: AwsScope) -> Option<Self> {
        match scope {
            AwsScope::Region(_) | AwsScope::NamedAutoScalingGroup(_) => None,
            AwsScope::Cluster(_) => Some(Self::Cluster),
            AwsScope::Nodegroup(_) => Some(Self::Nodegroup),
            AwsScope::ClusterAndNodegroup(_) => Some(Self::ClusterAndNodegroup),
            AwsScope::AutoScalingGroup(_) => Some(Self::AutoScalingGroup),
        }
    }
}

/// Returns whether an IAM action only reads, by the words that AWS begins such actions with.
pub fn is_read(action: &str) -> bool {
    let name = action.split_once(':').map_or(action, |(_, name)| name);
    ["Describe", "List", "Get", "Simulate"].iter().any(|word| name.starts_with(word))
}

/// Returns whether a verb of RBAC only reads.
pub fn is_read_verb(verb: &str) -> bool {
    matches!(verb, "get" | "list" | "watch")
}

impl Access {
    /// Returns the region of an IAM action.
    pub fn region(&self) -> Option<&Value> {
        match self {
            Self::Kubernetes(_) => None,
            Self::Aws(AwsAccess { resource, .. }) => match resource {
                AwsResource::OfCluster { region, .. }
                | AwsResource::AutoScalingGroup { region, .. }
                | AwsResource::Region(region) => Some(region),
                AwsResource::Role { .. } => None,
            },
        }
    }

    /// Returns the values that limit it.
    pub fn values(&self) -> Vec<&Value> {
        match self {
            Self::Kubernetes(KubernetesAccess { place, name, .. }) => {
                place.namespace().into_iter().chain(name).collect()
            }
            Self::Aws(AwsAccess { resource, .. }) => match resource {
                AwsResource::OfCluster { region, account, cluster, nodegroup, .. } => {
                    [region, account, cluster].into_iter().chain(nodegroup).collect()
                }
                AwsResource::AutoScalingGroup { region, account, name } => {
                    [region, account].into_iter().chain(name).collect()
                }
                AwsResource::Region(region) => vec![region],
                AwsResource::Role { account, role, .. } => vec![account, role],
            },
        }
    }
}

/// Returns the placeholders of some requirements.
pub fn placeholders<'r>(
    requirements: impl IntoIterator<Item = &'r Requirement>,
) -> BTreeSet<&'r str> {
    let values = requirements.into_iter().flat_map(|requirement| requirement.access.values());
    let placeholders = values.filter_map(|value| match value {
        Value::Placeholder(name) => Some(name.as_str()),
        Value::Known(_) => None,
    });
    placeholders.collect()
}
