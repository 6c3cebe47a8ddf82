//! The kinds that the simulated API serves, as a table. The meaning of their fields is in other
//! modules.

/// A kind of object that the API serves.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) subresources: &'static [&'static str],
    /// Whether the API counts changes of the spec in `metadata.generation`.
    pub(crate) generation: bool,
    /// Whether `kubectl get all` lists the kind.
    pub(crate) common: bool,
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Resource {}

impl Resource {
    /// Returns `v1` or `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Returns the name in most messages, `pods` or `deployments.apps`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Returns the name in messages about validity, `Pod` or `Deployment.apps`.
    pub(crate) fn qualified_kind(&self) -> String {
        if self.group.is_empty() {
            self.kind.to_owned()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    /// Returns what identifies the kind.
    pub(crate) fn key(&self) -> (&'static str, &'static str) {
        (self.group, self.plural)
    }

    /// Returns the position of the kind in the table.
    pub(crate) fn rank(&self) -> usize {
        let position = RESOURCES.iter().position(|resource| *resource == self);
        position.expect("a resource is one of the table")
    }

    /// Returns the kind in whose form the objects are kept.
    pub(crate) fn kept(&'static self) -> &'static Self {
        if *self == NEW_EVENTS { &EVENTS } else { self }
    }

    /// Returns whether the kind has a status subresource.
    pub(crate) fn has_status(&self) -> bool {
        self.subresources.contains(&"status")
    }
}

const fn core(plural: &'static str, kind: &'static str, namespaced: bool) -> Resource {
    Resource {
        group: "",
        version: "v1",
        plural,
        kind,
        namespaced,
        short_names: &[],
        subresources: &[],
        generation: false,
        common: false,
    }
}

const fn grouped(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Resource {
    Resource { group, version, ..core(plural, kind, true) }
}

pub(crate) static NAMESPACES: Resource = Resource {
    short_names: &["ns"],
    subresources: &["status"],
    ..core("namespaces", "Namespace", false)
};
pub(crate) static NODES: Resource =
    Resource { short_names: &["no"], subresources: &["status"], ..core("nodes", "Node", false) };
pub(crate) static PODS: Resource = Resource {
    short_names: &["po"],
    subresources: &["status", "eviction", "binding", "log"],
    generation: true,
    common: true,
    ..core("pods", "Pod", true)
};
pub(crate) static CONFIG_MAPS: Resource =
    Resource { short_names: &["cm"], ..core("configmaps", "ConfigMap", true) };
pub(crate) static EVENTS: Resource =
    Resource { short_names: &["ev"], ..core("events", "Event", true) };
/// The same objects in the form of their newer group: see `event_forms`.
pub(crate) static NEW_EVENTS: Resource =
    Resource { short_names: &["ev"], ..grouped("events.k8s.io", "v1", "events", "Event") };
pub(crate) static SECRETS: Resource = core("secrets", "Secret", true);
pub(crate) static SERVICES: Resource =
    Resource { short_names: &["svc"], common: true, ..core("services", "Service", true) };
pub(crate) static SERVICE_ACCOUNTS: Resource =
    Resource { short_names: &["sa"], ..core("serviceaccounts", "ServiceAccount", true) };
pub(crate) static RESOURCE_QUOTAS: Resource = Resource {
    short_names: &["quota"],
    subresources: &["status"],
    ..core("resourcequotas", "ResourceQuota", true)
};
pub(crate) static LIMIT_RANGES: Resource =
    Resource { short_names: &["limits"], ..core("limitranges", "LimitRange", true) };
pub(crate) static DEPLOYMENTS: Resource = Resource {
    short_names: &["deploy"],
    subresources: &["status", "scale"],
    generation: true,
    common: true,
    ..grouped("apps", "v1", "deployments", "Deployment")
};
pub(crate) static REPLICA_SETS: Resource = Resource {
    short_names: &["rs"],
    subresources: &["status", "scale"],
    generation: true,
    common: true,
    ..grouped("apps", "v1", "replicasets", "ReplicaSet")
};
pub(crate) static DAEMON_SETS: Resource = Resource {
    short_names: &["ds"],
    subresources: &["status"],
    generation: true,
    common: true,
    ..grouped("apps", "v1", "daemonsets", "DaemonSet")
};
pub(crate) static STATEFUL_SETS: Resource = Resource {
    short_names: &["sts"],
    subresources: &["status", "scale"],
    generation: true,
    common: true,
    ..grouped("apps", "v1", "statefulsets", "StatefulSet")
};
pub(crate) static JOBS: Resource = Resource {
    subresources: &["status"],
    generation: true,
    common: true,
    ..grouped("batch", "v1", "jobs", "Job")
};
pub(crate) static BUDGETS: Resource = Resource {
    short_names: &["pdb"],
    subresources: &["status"],
    generation: true,
    ..grouped("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
};
pub(crate) static AUTOSCALERS: Resource = Resource {
    short_names: &["hpa"],
    subresources: &["status"],
    common: true,
    ..grouped("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
};
pub(crate) static CRON_JOBS: Resource = Resource {
    short_names: &["cj"],
    subresources: &["status"],
    generation: true,
    common: true,
    ..grouped("batch", "v1", "cronjobs", "CronJob")
};
pub(crate) static REPLICATION_CONTROLLERS: Resource = Resource {
    short_names: &["rc"],
    subresources: &["status"],
    generation: true,
    common: true,
    ..core("replicationcontrollers", "ReplicationController", true)
};
pub(crate) static PERSISTENT_VOLUMES: Resource = Resource {
    short_names: &["pv"],
    subresources: &["status"],
    ..core("persistentvolumes", "PersistentVolume", false)
};
pub(crate) static PERSISTENT_VOLUME_CLAIMS: Resource = Resource {
    short_names: &["pvc"],
    subresources: &["status"],
    ..core("persistentvolumeclaims", "PersistentVolumeClaim", true)
};
pub(crate) static STORAGE_CLASSES: Resource = Resource {
    short_names: &["sc"],
    namespaced: false,
    ..grouped("storage.k8s.io", "v1", "storageclasses", "StorageClass")
};
pub(crate) static PRIORITY_CLASSES: Resource = Resource {
    short_names: &["pc"],
    generation: true,
    namespaced: false,
    ..grouped("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
};
pub(crate) static LEASES: Resource = grouped("coordination.k8s.io", "v1", "leases", "Lease");
/// The kinds that `rafay-relay-sop crds` defines, as if they had been applied (`custom`).
pub(crate) static RUNBOOK_RUNS: Resource = Resource {
    short_names: &["rbr"],
    subresources: &["status"],
    generation: true,
    ..grouped("sop.rafay.dev", "v1alpha1", "runbookruns", "RunbookRun")
};
pub(crate) static RUN_EVENTS: Resource =
    Resource { generation: true, ..grouped("sop.rafay.dev", "v1alpha1", "runevents", "RunEvents") };

/// Every kind, in the order in which discovery lists them.
pub(crate) static RESOURCES: [&Resource; 27] = [
    &NAMESPACES,
    &NODES,
    &PODS,
    &CONFIG_MAPS,
    &EVENTS,
    &SECRETS,
    &SERVICES,
    &SERVICE_ACCOUNTS,
    &RESOURCE_QUOTAS,
    &LIMIT_RANGES,
    &DEPLOYMENTS,
    &REPLICA_SETS,
    &DAEMON_SETS,
    &STATEFUL_SETS,
    &JOBS,
    &BUDGETS,
    &AUTOSCALERS,
    &LEASES,
    &NEW_EVENTS,
    &CRON_JOBS,
    &REPLICATION_CONTROLLERS,
    &PERSISTENT_VOLUMES,
    &PERSISTENT_VOLUME_CLAIMS,
    &STORAGE_CLASSES,
    &PRIORITY_CLASSES,
    &RUNBOOK_RUNS,
    &RUN_EVENTS,
];

/// Returns the kind that a path names.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.into_iter().find(|resource| {
        resource.group == group && resource.version == version && resource.plural == plural
    })
}
