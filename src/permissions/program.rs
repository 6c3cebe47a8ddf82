//! What every run needs beside its runbook, what the service needs: the identity of the cluster, its lease, and the
//! objects of runs; and what a snapshot reads.

use super::{
    Access, AwsAccess, AwsResource, AwsResourceKind, KubernetesAccess, Need, Place, Requirement,
    RunbookContext, Value,
};
use crate::{
    actions::{self, PlatformKind},
    cluster_store, lease, snapshot,
};
use runbook::{ActionKind, Runbook};

/// Why a verb cannot be limited to an object.
const CREATE: &str = "create cannot be limited to a name: the object does not exist yet";

/// Why the Events of objects are allowed everywhere.
const IN_EVERY_NAMESPACE: &str =
    "an Event is in the namespace of its object, and those of nodes are in the namespace default";

/// Returns what a run of a runbook needs whatever its steps are.
pub fn of_run(runbook: &Runbook) -> Vec<Requirement> {
    let steps = runbook.all_steps();
    let actions = || steps.iter().filter_map(|step| actions::find(&step.action));
    if !actions().any(|action| action.uses_platform(PlatformKind::Kubernetes)) {
        return Vec::new();
    }
    let identity = KubernetesAccess {
        place: Place::Cluster,
        group: String::new(),
        resource: "namespaces".into(),
        name: Some(Value::Known("kube-system".into())),
        verb: "get".into(),
    };
    let mut requirements = vec![requirement(identity, Need::Run("which cluster it is"))];
    if actions().any(|action| action.kind() == ActionKind::Change) {
        let lease = |(verb, name): &(&str, Option<&str>)| {
            let access = KubernetesAccess {
                place: Place::Namespace(Value::Known(lease::NAMESPACE.into())),
                group: "coordination.k8s.io".into(),
                resource: "leases".into(),
                name: name.map(|name| Value::Known(name.into())),
                verb: (*verb).to_owned(),
            };
            let mut requirement = requirement(access, Need::Run("the lease of the cluster"));
            requirement.notes.extend(name.is_none().then(|| CREATE.to_owned()));
            requirement
        };
        requirements.extend(lease::CALLS.iter().map(lease));
    }
    requirements
}

/// Returns what the service needs: the runs that it keeps in a namespace, and the check of its own AWS
/// permissions by its role.
pub fn of_service(namespace: &Value, own_role: Option<&AwsResource>) -> Vec<Requirement> {
    let needed = |purpose: &'static str, group: &str, (verb, resource): (&str, &str)| {
        let access = KubernetesAccess {
            place: Place::Namespace(namespace.clone()),
            group: group.into(),
            resource: resource.into(),
            name: None,
            verb: verb.into(),
        };
        requirement(access, Need::Service(purpose))
    };
    let optional =
        |purpose, group, call| Requirement { is_optional: true, ..needed(purpose, group, call) };
    let store = cluster_store::calls_of_runs()
        .map(|call| needed("the journals of runs", cluster_store::GROUP, call));
    let retention = cluster_store::CALLS_OF_RETENTION
        .map(|call| optional("removes old runs", cluster_store::GROUP, call));
    let events = cluster_store::CALLS_OF_EVENTS
        .map(|call| optional("Kubernetes Events of runs", cluster_store::EVENTS_GROUP, call));
    let object_events = KubernetesAccess {
        place: Place::Cluster,
        group: cluster_store::EVENTS_GROUP.into(),
        resource: "events".into(),
        name: None,
        verb: "create".into(),
    };
    let object_events = Requirement {
        is_optional: true,
        notes: [IN_EVERY_NAMESPACE.to_owned()].into(),
        ..requirement(object_events, Need::Service("Kubernetes Events on what runs change"))
    };
    let own = own_role.map(|role| Requirement {
        access: Access::Aws(AwsAccess {
            action: "iam:SimulatePrincipalPolicy".into(),
            resource: role.clone(),
        }),
        needed_by: [Need::Service("checks its own AWS permissions before a run")].into(),
        is_optional: true,
        notes: [].into(),
    });
    store.chain(retention).chain(events).chain([object_events]).chain(own).collect()
}

/// Returns what a snapshot of a cluster reads. Without nodes and pods there is none; what else it may not read, it does
/// not know.
pub fn of_snapshot(context: &RunbookContext) -> Vec<Requirement> {
    let kubernetes = snapshot::listed_resources().map(|(group, resource)| {
        let access = KubernetesAccess {
            place: Place::Cluster,
            group: group.into(),
            resource: resource.into(),
            name: None,
            verb: "list".into(),
        };
        let is_optional = !matches!(resource, "nodes" | "pods");
        Requirement { is_optional, ..requirement(access, Need::Snapshot) }
    });
    let known = |value: &Option<String>, placeholder: &str| match value {
        Some(value) => Value::Known(value.clone()),
        None => Value::Placeholder(placeholder.into()),
    };
    let region = known(&context.region, "REGION");
    let of_cluster = snapshot::CLUSTER_CALLS.iter().map(|(action, kind)| {
        let kind = match kind {
            snapshot::CallScope::Cluster => AwsResourceKind::Cluster,
            snapshot::CallScope::Nodegroup => AwsResourceKind::Nodegroup,
            snapshot::CallScope::Both => AwsResourceKind::ClusterAndNodegroup,
        };
        let resource = AwsResource::OfCluster {
            kind,
            region: region.clone(),
            account: known(&context.account, "ACCOUNT_ID"),
            cluster: known(&context.cluster, "CLUSTER"),
            nodegroup: None,
        };
        (*action, resource)
    });
    let of_region =
        snapshot::REGION_CALLS.iter().map(|action| (*action, AwsResource::Region(region.clone())));
    let aws = of_cluster.chain(of_region).map(|(action, resource)| Requirement {
        access: Access::Aws(AwsAccess { action: action.to_owned(), resource }),
        needed_by: [Need::Snapshot].into(),
        is_optional: true,
        notes: [].into(),
    });
    kubernetes.chain(aws).collect()
}

fn requirement(access: KubernetesAccess, need: Need) -> Requirement {
    Requirement {
        access: Access::Kubernetes(access),
        needed_by: [need].into(),
        is_optional: false,
        notes: [].into(),
    }
}
