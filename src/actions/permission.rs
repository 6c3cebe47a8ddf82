//! The permissions of actions, in the terms of each platform, and on what: an action names the parameters that a
//! permission is limited by, and the parts of its output that repeat a parameter, so that the permissions of a runbook
//! follow from its text.

use std::fmt;

/// A permission that an action needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The allowed calls.
    pub access: Access,
    /// Whether only the undo needs it.
    pub is_for_undo: bool,
    /// Whether the action works without it, with less to say.
    pub is_optional: bool,
    /// When the action needs it, by its parameters.
    pub condition: Condition,
}

/// The calls that a permission allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// An IAM action.
    Aws {
        /// The action, such as `eks:DescribeNodegroup`.
        action: &'static str,
        /// The resource that it is limited to.
        scope: AwsScope,
    },
    /// Verbs on a Kubernetes resource.
    Kubernetes {
        /// The API group; empty for the core group.
        group: &'static str,
        /// The resource in the plural, with its subresource: `deployments/scale`.
        resource: &'static str,
        /// The RBAC verbs.
        verbs: &'static [&'static str],
        /// Where.
        scope: KubernetesScope,
    },
    /// Verbs on the one object of any kind that the parameters `api_version`, `kind`, `resource`, `namespace` and
    /// `name` name.
    Object {
        /// The RBAC verbs.
        verbs: &'static [&'static str],
    },
}

/// The resource that an IAM action is limited to. Which action can be limited by which resource is stated by the
/// Service Authorization Reference of AWS; `tests/fixtures/iam` has the extract that a test compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AwsScope {
    /// The region alone: the action takes no resource.
    Region(AwsParams),
    /// The cluster.
    Cluster(AwsParams),
    /// The nodegroup.
    Nodegroup(AwsParams),
    /// The cluster and the nodegroup: AWS lists both, and does not say which is checked.
    ClusterAndNodegroup(AwsParams),
    /// The Auto Scaling group of the nodegroup.
    AutoScalingGroup(AwsParams),
    /// The Auto Scaling group that is named itself.
    NamedAutoScalingGroup(AwsParams),
}

/// The parameters of an action that name what it acts on in AWS, each as a path such as `nodegroup.region`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AwsParams {
    /// The region.
    pub region: &'static str,
    /// The EKS cluster; `None` where the action names none.
    pub cluster: Option<&'static str>,
    /// The nodegroup; `None` where the action searches for one.
    pub nodegroup: Option<&'static str>,
    /// The Auto Scaling group, where the action names one; `None` where it searches for one.
    pub group: Option<&'static str>,
}

/// The parameters of an action that is given a nodegroup.
pub const OF_NODEGROUP: AwsParams = AwsParams {
    region: "nodegroup.region",
    cluster: Some("nodegroup.cluster"),
    nodegroup: Some("nodegroup.name"),
    group: None,
};

/// The parameters of an action that is given an Auto Scaling group.
pub const OF_GROUP: AwsParams = AwsParams {
    region: "auto_scaling_group.region",
    cluster: None,
    nodegroup: None,
    group: Some("auto_scaling_group.name"),
};

/// Where verbs on a Kubernetes resource are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KubernetesScope {
    /// The resource has no namespace.
    Cluster,
    /// In every namespace, for this reason.
    AllNamespaces(&'static str),
    /// In the namespaces that a parameter names, as a path such as `pods[].namespace`.
    Namespace(&'static str),
    /// On the object that parameters name.
    Object {
        /// The parameter with the namespace.
        namespace: &'static str,
        /// The parameter with the name.
        name: &'static str,
    },
}

/// When an action needs a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Whatever its parameters are.
    Always,
    /// When this parameter is given.
    IfGiven(&'static str),
    /// When this parameter is true.
    IfTrue(&'static str),
    /// When this parameter is not true.
    IfNotTrue(&'static str),
}

/// A part of an output that repeats a parameter, whatever the action finds: both as paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatedParam {
    /// The path in the output, such as `pods[].namespace`.
    pub output: &'static str,
    /// The path of the parameter.
    pub param: &'static str,
}

impl RepeatedParam {
    /// Says that `output` always equals `param`.
    pub const fn new(output: &'static str, param: &'static str) -> Self {
        Self { output, param }
    }
}

/// One of the two platforms that an action calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformKind {
    /// The Kubernetes API.
    Kubernetes,
    /// The AWS APIs.
    Aws,
}

impl Permission {
    /// Returns the permission for an IAM action.
    pub const fn aws(action: &'static str, scope: AwsScope) -> Self {
        Self::of(Access::Aws { action, scope })
    }

    /// Returns the permission for verbs on a resource of the core group.
    pub const fn core(
        resource: &'static str,
        verbs: &'static [&'static str],
        scope: KubernetesScope,
    ) -> Self {
        Self::kubernetes("", resource, verbs, scope)
    }

    /// Returns the permission for verbs on a resource of the group `apps`.
    pub const fn apps(
        resource: &'static str,
        verbs: &'static [&'static str],
        scope: KubernetesScope,
    ) -> Self {
        Self::kubernetes("apps", resource, verbs, scope)
    }

    /// Returns the permission for verbs on a resource of the group `policy`.
    pub const fn policy(
        resource: &'static str,
        verbs: &'static [&'static str],
        scope: KubernetesScope,
    ) -> Self {
        Self::kubernetes("policy", resource, verbs, scope)
    }

    /// Returns the permission for verbs on a resource of a group.
    pub const fn kubernetes(
        group: &'static str,
        resource: &'static str,
        verbs: &'static [&'static str],
        scope: KubernetesScope,
    ) -> Self {
        Self::of(Access::Kubernetes { group, resource, verbs, scope })
    }

    /// Returns the permission for verbs on the object of any kind that the parameters name.
    pub const fn object(verbs: &'static [&'static str]) -> Self {
        Self::of(Access::Object { verbs })
    }

    const fn of(access: Access) -> Self {
        Self { access, is_for_undo: false, is_optional: false, condition: Condition::Always }
    }

    /// Says that only the undo needs it.
    #[must_use]
    pub const fn for_undo(self) -> Self {
        Self { is_for_undo: true, ..self }
    }

    /// Says that the action works without it.
    #[must_use]
    pub const fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    /// Says when it is needed.
    #[must_use]
    pub const fn only(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }

    /// Returns the platform that grants the permission.
    pub fn platform(&self) -> PlatformKind {
        match self.access {
            Access::Aws { .. } => PlatformKind::Aws,
            Access::Kubernetes { .. } | Access::Object { .. } => PlatformKind::Kubernetes,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.access {
            Access::Aws { action, .. } => f.write_str(action)?,
            Access::Kubernetes { group, resource, verbs, scope } => {
                let dot = if group.is_empty() { "" } else { "." };
                write!(f, "{} {resource}{dot}{group}", verbs.join(","))?;
                if let KubernetesScope::AllNamespaces(_) = scope {
                    f.write_str(" in all namespaces")?;
                }
            }
            Access::Object { verbs } => write!(f, "{} on the object", verbs.join(","))?,
        }
        let condition = match self.condition {
            Condition::Always => None,
            Condition::IfGiven(param) => Some(format!("with {param}")),
            Condition::IfTrue(param) => Some(format!("with {param}: true")),
            Condition::IfNotTrue(param) => Some(format!("without {param}: true")),
        };
        let undo = self.is_for_undo.then(|| "undo".to_owned());
        let optional = self.is_optional.then(|| "optional".to_owned());
        let notes: Vec<String> = undo.into_iter().chain(optional).chain(condition).collect();
        if notes.is_empty() { Ok(()) } else { write!(f, " ({})", notes.join(", ")) }
    }
}
