//! The kind of an object: what an API server calls it in URLs, and whether its objects have a namespace.

use std::fmt;

use crate::diagnostics::spelling;

/// A kind of object, as an API server serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectKind {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version in the group.
    pub version: String,
    /// The kind, such as `Deployment`.
    pub kind: String,
    /// The kind in URLs and permissions, in the plural: `deployments`.
    pub resource: String,
}

/// Why parameters name no kind of object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectKindError {
    /// The text is no API version.
    #[error("'{0}' is not an API version, such as v1 or apps/v1")]
    InvalidVersion(String),
    /// The text is no kind.
    #[error("'{0}' is not a kind, such as Deployment")]
    InvalidKind(String),
    /// Kubernetes itself does not have the kind, so its plural cannot be known.
    #[error(
        "{kind} is not a kind of Kubernetes itself: 'resource' must give its plural, as `kubectl api-resources` shows it"
    )]
    UnknownPlural {
        /// The kind.
        kind: String,
        /// A kind that is similar.
        similar: Option<&'static str>,
    },
    /// The kind is in another API group of Kubernetes itself.
    #[error("{kind} is in {api_version}, not in {given}")]
    OtherGroup {
        /// The kind.
        kind: String,
        /// The API version that has it.
        api_version: String,
        /// The given one.
        given: String,
    },
    /// The given plural is that of another kind.
    #[error("the resource of {kind} is {resource}, not {given}")]
    OtherPlural {
        /// The kind.
        kind: String,
        /// Its plural.
        resource: &'static str,
        /// The given one.
        given: String,
    },
    /// The objects of the kind have a namespace, and none is given.
    #[error("'namespace' is missing: every {0} is in one")]
    MissingNamespace(String),
    /// The objects of the kind have no namespace, and one is given.
    #[error("a {0} is in no namespace")]
    NoNamespace(String),
}

/// A kind that Kubernetes itself has.
struct BuiltIn {
    group: &'static str,
    kind: &'static str,
    resource: &'static str,
    is_namespaced: bool,
}

const fn namespaced(group: &'static str, kind: &'static str, resource: &'static str) -> BuiltIn {
    BuiltIn { group, kind, resource, is_namespaced: true }
}

const fn cluster(group: &'static str, kind: &'static str, resource: &'static str) -> BuiltIn {
    BuiltIn { group, kind, resource, is_namespaced: false }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

/// The kinds of Kubernetes 1.35, in all their versions.
static BUILT_IN: [BuiltIn; 49] = [
    namespaced("", "ConfigMap", "configmaps"),
    namespaced("", "Endpoints", "endpoints"),
    namespaced("", "Event", "events"),
    namespaced("", "LimitRange", "limitranges"),
    cluster("", "Namespace", "namespaces"),
    cluster("", "Node", "nodes"),
    cluster("", "PersistentVolume", "persistentvolumes"),
    namespaced("", "PersistentVolumeClaim", "persistentvolumeclaims"),
    namespaced("", "Pod", "pods"),
    namespaced("", "PodTemplate", "podtemplates"),
    namespaced("", "ReplicationController", "replicationcontrollers"),
    namespaced("", "ResourceQuota", "resourcequotas"),
    namespaced("", "Secret", "secrets"),
    namespaced("", "Service", "services"),
    namespaced("", "ServiceAccount", "serviceaccounts"),
    namespaced("apps", "ControllerRevision", "controllerrevisions"),
    namespaced("apps", "DaemonSet", "daemonsets"),
    namespaced("apps", "Deployment", "deployments"),
    namespaced("apps", "ReplicaSet", "replicasets"),
    namespaced("apps", "StatefulSet", "statefulsets"),
    namespaced("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    namespaced("batch", "CronJob", "cronjobs"),
    namespaced("batch", "Job", "jobs"),
    namespaced("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
    namespaced("networking.k8s.io", "Ingress", "ingresses"),
    cluster("networking.k8s.io", "IngressClass", "ingressclasses"),
    namespaced("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
    cluster(RBAC, "ClusterRole", "clusterroles"),
    cluster(RBAC, "ClusterRoleBinding", "clusterrolebindings"),
    namespaced(RBAC, "Role", "roles"),
    namespaced(RBAC, "RoleBinding", "rolebindings"),
    cluster("storage.k8s.io", "CSIDriver", "csidrivers"),
    cluster("storage.k8s.io", "CSINode", "csinodes"),
    namespaced("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities"),
    cluster("storage.k8s.io", "StorageClass", "storageclasses"),
    cluster("storage.k8s.io", "VolumeAttachment", "volumeattachments"),
    namespaced("coordination.k8s.io", "Lease", "leases"),
    namespaced("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    namespaced("events.k8s.io", "Event", "events"),
    cluster("scheduling.k8s.io", "PriorityClass", "priorityclasses"),
    cluster("node.k8s.io", "RuntimeClass", "runtimeclasses"),
    cluster("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions"),
    cluster("apiregistration.k8s.io", "APIService", "apiservices"),
    cluster("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests"),
    cluster(ADMISSION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
    cluster(ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
    cluster(ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
    cluster(ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    cluster("flowcontrol.apiserver.k8s.io", "FlowSchema", "flowschemas"),
];

impl ObjectKind {
    /// Returns the kind that parameters name. `resource` is the plural, which is required where Kubernetes itself does
    /// not have the kind.
    ///
    /// # Errors
    /// The parameters name no kind, or not its plural, or they contradict each other.
    pub fn new(
        api_version: &str,
        kind: &str,
        resource: Option<&str>,
        has_namespace: bool,
    ) -> Result<Self, ObjectKindError> {
        let (group, version) = split_version(api_version)
            .ok_or_else(|| ObjectKindError::InvalidVersion(api_version.to_owned()))?;
        let is_kind = kind.starts_with(|first: char| first.is_ascii_uppercase())
            && kind.chars().all(|char| char.is_ascii_alphanumeric());
        if !is_kind {
            return Err(ObjectKindError::InvalidKind(kind.to_owned()));
        }
        let owned = kind.to_owned();
        let known = BUILT_IN.iter().find(|known| known.group == group && known.kind == kind);
        if known.is_none()
            && let Some(api_version) = other_version(group, kind)
        {
            let given = api_version_of(group, version);
            return Err(ObjectKindError::OtherGroup { kind: owned, api_version, given });
        }
        let resource = match (known, resource) {
            (Some(known), Some(given)) if known.resource != given => {
                let (resource, given) = (known.resource, given.to_owned());
                return Err(ObjectKindError::OtherPlural { kind: owned, resource, given });
            }
            (Some(known), _) if known.is_namespaced && !has_namespace => {
                return Err(ObjectKindError::MissingNamespace(owned));
            }
            (Some(known), _) if !known.is_namespaced && has_namespace => {
                return Err(ObjectKindError::NoNamespace(owned));
            }
            (Some(known), _) => known.resource,
            (None, Some(given)) => given,
            (None, None) => {
                let of_group = BUILT_IN.iter().filter(|known| known.group == group);
                let similar = spelling::nearest(kind, of_group.map(|known| known.kind));
                return Err(ObjectKindError::UnknownPlural { kind: owned, similar });
            }
        };
        Ok(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: owned,
            resource: resource.to_owned(),
        })
    }

    /// Returns whether the objects are Secrets, by what the API server is asked for.
    pub fn is_secret(&self) -> bool {
        self.group.is_empty() && self.resource == "secrets"
    }

    /// Returns the API version, `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version_of(&self.group, &self.version)
    }
}

/// Returns the kind of Kubernetes itself that is written in the plural, or without its capitals: `pods`, `daemonset`.
pub(crate) fn kind_of(written: &str) -> Option<&'static str> {
    let lower = written.to_ascii_lowercase();
    let is_meant =
        |known: &&BuiltIn| known.resource == lower || known.kind.eq_ignore_ascii_case(&lower);
    BUILT_IN.iter().find(is_meant).map(|known| known.kind)
}

fn api_version_of(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Returns the API version in which Kubernetes itself has a kind, where the given group, which does not, is one of
/// Kubernetes itself as well.
fn other_version(group: &str, kind: &str) -> Option<String> {
    /// A group that Kubernetes had once.
    const FORMER: &str = "extensions";
    let is_built_in = group == FORMER || BUILT_IN.iter().any(|known| known.group == group);
    let known = BUILT_IN.iter().find(|known| known.kind == kind).filter(|_| is_built_in)?;
    let version = if known.group == "autoscaling" { "v2" } else { "v1" };
    Some(api_version_of(known.group, version))
}

/// Shows the resource with its group, as kubectl does: `pods`, `deployments.apps`.
impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{}{dot}{}", self.resource, self.group)
    }
}

/// Returns the group and the version of `v1` or `apps/v1`.
fn split_version(api_version: &str) -> Option<(&str, &str)> {
    let (group, version) = match api_version.split_once('/') {
        Some((group, version)) if !group.is_empty() => (group, version),
        Some(_) => return None,
        None => ("", api_version),
    };
    let is_inside =
        |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || ".-".contains(char);
    let is_version = version.starts_with('v')
        && version[1..].starts_with(|char: char| char.is_ascii_digit())
        && version.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit());
    (is_version && group.chars().all(is_inside)).then_some((group, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(
        api_version: &str,
        kind: &str,
        resource: Option<&str>,
        namespaced: bool,
    ) -> Result<String, String> {
        let found = ObjectKind::new(api_version, kind, resource, namespaced);
        found.map(|kind| kind.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_built_in_kind_needs_no_plural() {
        assert_eq!(named("v1", "Node", None, false).unwrap(), "nodes");
        assert_eq!(named("apps/v1", "Deployment", None, true).unwrap(), "deployments.apps");
        assert_eq!(
            named("apps/v1", "Deployment", Some("deployments"), true).unwrap(),
            "deployments.apps"
        );
        assert_eq!(
            named("cert-manager.io/v1", "Certificate", Some("certificates"), true).unwrap(),
            "certificates.cert-manager.io"
        );
    }

    #[test]
    fn what_names_no_kind_is_refused() {
        for (api_version, kind, resource, namespaced, message) in [
            (
                "apps",
                "Deployment",
                None,
                true,
                "'apps' is not an API version, such as v1 or apps/v1",
            ),
            (
                "v1/../x",
                "Pod",
                None,
                true,
                "'v1/../x' is not an API version, such as v1 or apps/v1",
            ),
            ("v1", "pods", None, true, "'pods' is not a kind, such as Deployment"),
            ("v1", "Node", None, true, "a Node is in no namespace"),
            ("v1", "Pod", None, false, "'namespace' is missing: every Pod is in one"),
            ("v1", "Deployment", None, true, "Deployment is in apps/v1, not in v1"),
            ("apps/v1", "Job", Some("jobs"), true, "Job is in batch/v1, not in apps/v1"),
            (
                "extensions/v1",
                "Ingress",
                None,
                true,
                "Ingress is in networking.k8s.io/v1, not in extensions/v1",
            ),
            ("v1", "Pod", Some("secrets"), true, "the resource of Pod is pods, not secrets"),
        ] {
            assert_eq!(named(api_version, kind, resource, namespaced).unwrap_err(), message);
        }
        let unknown = ObjectKind::new("apps/v1", "Deploymnt", None, true).unwrap_err();
        let similar = Some("Deployment");
        assert_eq!(unknown, ObjectKindError::UnknownPlural { kind: "Deploymnt".into(), similar });
    }

    #[test]
    fn a_secret_is_known_by_what_the_api_server_is_asked_for() {
        for (kind, resource) in [("Secret", None), ("Other", Some("secrets"))] {
            assert!(ObjectKind::new("v1", kind, resource, true).unwrap().is_secret());
        }
        let other = ObjectKind::new("example.com/v1", "Secret", Some("secrets"), true).unwrap();
        assert!(!other.is_secret());
    }
}
