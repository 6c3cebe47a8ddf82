//! The nodes and pods that come into being, as the controllers notice them: what is in a copy of a cluster and not in
//! the cluster itself.

use std::sync::PoisonError;

use serde_json::Value;

use super::WorkCounter;
use crate::kubernetes::kinds::{NODES, PODS, REPLICA_SETS};
use crate::kubernetes::object;
use crate::kubernetes::store::{ObjectChange, ObjectStore};

/// A node or a pod that came into being.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedObject {
    /// `Node` or `Pod`.
    pub kind: &'static str,
    /// The namespace; empty for a node.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID.
    pub uid: String,
    /// The name of the workload that a pod belongs to: of the deployment, where a replica set of one created it.
    pub workload: Option<String>,
}

impl WorkCounter {
    /// Notes an object that did not exist before.
    pub(super) fn note_created(&self, store: &ObjectStore, change: &ObjectChange) {
        let is_kept = [&NODES, &PODS].contains(&change.resource);
        if !is_kept || change.deleted || change.before.is_some() {
            return;
        }
        let object = &change.object;
        let created = CreatedObject {
            kind: change.resource.kind,
            namespace: object::namespace(object).to_owned(),
            name: object::name(object).to_owned(),
            uid: object::text(object, "/metadata/uid").to_owned(),
            workload: workload_of(store, object),
        };
        self.created.lock().unwrap_or_else(PoisonError::into_inner).push(created);
    }
}

/// Returns the name of the workload that a pod belongs to.
fn workload_of(store: &ObjectStore, pod: &Value) -> Option<String> {
    let owner = |object: &Value| {
        let owners = object::list(object, "/metadata/ownerReferences");
        let owner = owners.iter().find(|owner| owner["controller"] == true)?;
        Some((object::text(owner, "/kind").to_owned(), object::text(owner, "/name").to_owned()))
    };
    let (kind, name) = owner(pod)?;
    if kind != "ReplicaSet" {
        return Some(name);
    }
    let set = store.get(&REPLICA_SETS, object::namespace(pod), &name);
    Some(set.and_then(|set| owner(set)).map_or(name, |(_, deployment)| deployment))
}
