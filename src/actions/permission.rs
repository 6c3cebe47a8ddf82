//! The permissions of actions, in the terms of each platform.

use std::fmt;

/// A permission that an action needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// An IAM action such as `eks:DescribeNodegroup`.
    Aws(&'static str),
    /// Verbs on a Kubernetes resource.
    Kubernetes {
        /// The API group; empty for the core group.
        group: &'static str,
        /// The resource in the plural, with its subresource: `deployments/scale`.
        resource: &'static str,
        /// The RBAC verbs.
        verbs: &'static [&'static str],
    },
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
    /// Returns the permission for verbs on a resource of the core group.
    pub const fn core(resource: &'static str, verbs: &'static [&'static str]) -> Self {
        Self::Kubernetes { group: "", resource, verbs }
    }

    /// Returns the permission for verbs on a resource of the group `apps`.
    pub const fn apps(resource: &'static str, verbs: &'static [&'static str]) -> Self {
        Self::Kubernetes { group: "apps", resource, verbs }
    }

    /// Returns the permission for verbs on a resource of the group `policy`.
    pub const fn policy(resource: &'static str, verbs: &'static [&'static str]) -> Self {
        Self::Kubernetes { group: "policy", resource, verbs }
    }

    /// Returns the platform that grants the permission.
    pub fn platform(&self) -> PlatformKind {
        match self {
            Self::Aws(_) => PlatformKind::Aws,
            Self::Kubernetes { .. } => PlatformKind::Kubernetes,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aws(action) => f.write_str(action),
            Self::Kubernetes { group, resource, verbs } => {
                let dot = if group.is_empty() { "" } else { "." };
                write!(f, "{} {resource}{dot}{group}", verbs.join(","))
            }
        }
    }
}
