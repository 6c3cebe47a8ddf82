//! The objects that a scenario has as they were read from a cluster: which of them can be loaded, their place in the
//! store, and what the controllers must know about them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ids::mixed_seed;
use crate::scenario::{ClusterObject, ScenarioError};

use super::kinds::{self, KINDS, Kind, NAMESPACES, PODS};
use super::object::{self, flag, list, text, uid};
use super::store::ObjectStore;
use super::write::ObjectWriter;

/// The reasons for which a container of a starting pod waits. With any other reason, the pod has failed to start.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Returns the kind of an object.
fn kind_of(object: &Value) -> Option<&'static Kind> {
    let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    KINDS.into_iter().find(|resource| {
        resource.kind == kind
            && resource.api_version() == api_version
            && resource.kept() == *resource
    })
}

/// Returns whether objects of a kind can be among the `cluster_objects` of a scenario.
pub fn is_known_kind(api_version: &str, kind: &str) -> bool {
    kind_of(&json!({"apiVersion": api_version, "kind": kind})).is_some()
}

/// Checks that objects can be loaded.
///
/// # Errors
/// An object of a kind that the simulator does not know, one without what every object has, or a duplicate.
pub(crate) fn check(objects: &[ClusterObject]) -> Result<(), ScenarioError> {
    let mut names = BTreeSet::new();
    let mut uids = HashSet::new();
    for (object, number) in objects.iter().zip(1..) {
        let malformed = |why: &str| {
            let why = why.to_owned();
            Err(ScenarioError::MalformedClusterObject { number, why })
        };
        for (field, pointer) in
            [("apiVersion", "/apiVersion"), ("kind", "/kind"), ("metadata.name", "/metadata/name")]
        {
            if text(object, pointer).is_empty() {
                return malformed(&format!("{field} is missing"));
            }
        }
        let (kind, name) = (text(object, "/kind"), object::name(object));
        let Some(resource) = kind_of(object) else {
            let kind = format!("{} {kind}", text(object, "/apiVersion"));
            return Err(ScenarioError::UnknownClusterObject { kind, name: name.to_owned() });
        };
        if uid(object).is_empty() {
            return malformed(&format!("metadata.uid of {kind} {name:?} is missing"));
        }
        let namespace = object::namespace(object);
        if resource.namespaced && namespace.is_empty() {
            return malformed(&format!("metadata.namespace of {kind} {name:?} is missing"));
        }
        if !resource.namespaced && !namespace.is_empty() {
            return malformed(&format!("{kind} {name:?} has a namespace, which its kind has not"));
        }
        let shown = if namespace.is_empty() {
            format!("{kind} {name:?}")
        } else {
            format!("{kind} {:?}", format!("{namespace}/{name}"))
        };
        if !names.insert((resource.rank(), namespace, name)) {
            return Err(ScenarioError::DuplicateClusterObject(shown));
        }
        if !uids.insert(uid(object)) {
            let what = format!("{shown} has the UID {:?} of another one", uid(object));
            return Err(ScenarioError::DuplicateClusterObject(what));
        }
    }
    Ok(())
}

/// Returns the seed of the ids in a cluster that has these objects, so that no new object gets the id of one of them.
pub(super) fn seed(seed: u64, objects: &[ClusterObject]) -> u64 {
    mixed_seed(seed, objects.iter().map(|object| uid(object)))
}

/// The version that loaded objects have.
const LOADED_VERSION: &str = "1";

/// Adds to an object what it has in the simulator: the defaults of its kind, and a version. Simulators share objects
/// that have both.
pub fn complete(object: &mut ClusterObject) {
    let Some(resource) = kind_of(object).filter(|_| !object.is_complete()) else { return };
    let mut completed = Value::clone(object);
    // They have the defaults of a real API server. A copy that omits them is the same object, which a patch of
    // something else must not seem to change.
    kinds::set_defaults(resource, &mut completed);
    object::put(&mut completed, &["metadata", "resourceVersion"], LOADED_VERSION);
    *object = ClusterObject::completed(object::compact(completed));
}

/// Puts objects that have been checked into the store, completed, and creates the namespaces that they are in.
pub(super) fn load(store: &mut ObjectStore, objects: &[ClusterObject], now: Timestamp) {
    for object in objects {
        if let Some(resource) = kind_of(object) {
            let mut object = object.clone();
            complete(&mut object);
            store.load(resource, Arc::clone(object.shared()));
        }
    }
    for object in objects {
        let name = object::namespace(object);
        if name.is_empty() || store.get(&NAMESPACES, "", name).is_some() {
            continue;
        }
        let mut writer = ObjectWriter { store, now, dry_run: false };
        let namespace = json!({"metadata": {"name": name}});
        if let Err(error) = writer.create(&NAMESPACES, "", namespace) {
            tracing::warn!(
                error = error.message,
                name,
                "could not create a namespace of the scenario"
            );
        }
    }
}

/// The part of the loaded objects that the controllers must know, because they have not seen how it came about.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoadedObjects {
    /// The UIDs of owners that are not among the objects. They count as existing.
    foreign_owners: HashSet<String>,
    /// The UIDs of the pods whose containers run or have failed to start. They stay as they are.
    settled_pods: HashSet<String>,
}

impl LoadedObjects {
    pub(crate) fn of(objects: &[ClusterObject]) -> Self {
        let uids: HashSet<&str> = objects.iter().map(|object| uid(object)).collect();
        let owners = objects.iter().flat_map(|object| list(object, "/metadata/ownerReferences"));
        let foreign = owners.map(|owner| text(owner, "/uid")).filter(|uid| !uids.contains(uid));
        let pods = objects.iter().filter(|object| kind_of(object) == Some(&PODS));
        Self {
            foreign_owners: foreign.map(str::to_owned).collect(),
            settled_pods: pods
                .filter(|pod| is_settled(pod))
                .map(|pod| uid(pod).to_owned())
                .collect(),
        }
    }

    /// Returns whether an owner with this UID exists outside of the objects.
    pub(crate) fn has_foreign_owner(&self, uid: &str) -> bool {
        self.foreign_owners.contains(uid)
    }

    /// Returns whether a pod was loaded whose containers stay as they are.
    pub(crate) fn has_settled_pod(&self, uid: &str) -> bool {
        self.settled_pods.contains(uid)
    }
}

fn is_settled(pod: &Value) -> bool {
    let init = list(pod, "/status/initContainerStatuses").iter();
    let statuses = init.chain(list(pod, "/status/containerStatuses"));
    let has_failed_to_start = statuses.into_iter().any(|status| {
        let reason = text(status, "/state/waiting/reason");
        !reason.is_empty() && !STARTING.contains(&reason) && !flag(status, "/ready")
    });
    text(pod, "/status/phase") == "Running" || has_failed_to_start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, metadata: Value) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": metadata})
    }

    #[test]
    fn objects_that_cannot_be_loaded_are_refused_with_the_reason() {
        let namespaced =
            |name: &str, uid: &str| json!({"name": name, "namespace": "n", "uid": uid});
        let scaled = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": namespaced("s", "1"),
        });
        let cases = [
            (
                vec![json!("text")],
                "cluster object 1 of the scenario is malformed: apiVersion is missing",
            ),
            (
                vec![object("Pod", json!({"namespace": "n", "uid": "1"}))],
                "cluster object 1 of the scenario is malformed: metadata.name is missing",
            ),
            (
                vec![
                    object("Pod", namespaced("p", "1")),
                    object("Pod", json!({"name": "q", "namespace": "n"})),
                ],
                "cluster object 2 of the scenario is malformed: metadata.uid of Pod \"q\" is missing",
            ),
            (
                vec![object("Pod", json!({"name": "p", "uid": "1"}))],
                "cluster object 1 of the scenario is malformed: metadata.namespace of Pod \"p\" is missing",
            ),
            (
                vec![object("Node", namespaced("a", "1"))],
                "cluster object 1 of the scenario is malformed: Node \"a\" has a namespace, which its kind has not",
            ),
            (
                vec![scaled],
                "the simulator does not know the kind keda.sh/v1alpha1 ScaledObject of cluster object \"s\"",
            ),
            (
                vec![object("Pod", namespaced("p", "1")), object("Pod", namespaced("p", "2"))],
                "duplicate cluster object in the scenario: Pod \"n/p\"",
            ),
            (
                vec![object("Pod", namespaced("p", "1")), object("Pod", namespaced("q", "1"))],
                "duplicate cluster object in the scenario: Pod \"n/q\" has the UID \"1\" of another one",
            ),
        ];
        for (objects, error) in cases {
            let objects: Vec<_> = objects.into_iter().map(ClusterObject::from).collect();
            assert_eq!(check(&objects).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn pods_that_run_or_cannot_start_stay_as_they_are_and_starting_ones_do_not() {
        let pod = |phase: &str, waiting: &str| {
            json!({"status": {
                "phase": phase,
                "containerStatuses": [{"ready": false, "state": {"waiting": {"reason": waiting}}}],
            }})
        };
        assert!(is_settled(&json!({"status": {"phase": "Running"}})));
        assert!(is_settled(&pod("Pending", "ImagePullBackOff")));
        assert!(!is_settled(&pod("Pending", "ContainerCreating")));
        assert!(!is_settled(&json!({"status": {"phase": "Pending"}})));
    }
}
