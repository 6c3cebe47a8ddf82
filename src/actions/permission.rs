//! What an action needs to be allowed, in each platform's own words.

use std::fmt;

/// One thing that must be allowed.
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

/// One of the two sides that an action talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformKind {
    /// The Kubernetes API.
    Kubernetes,
    /// The AWS APIs.
    Aws,
}

impl Permission {
    /// Verbs on a resource of the core group.
    pub const fn core(resource: &'static str, verbs: &'static [&'static str]) -> Self {
        Self::Kubernetes { group: "", resource, verbs }
    }

    /// Verbs on a resource of the group `apps`.
    pub const fn apps(resource: &'static str, verbs: &'static [&'static str]) -> Self {
        Self::Kubernetes { group: "apps", resource, verbs }
    }

    /// The side that must allow it.
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
