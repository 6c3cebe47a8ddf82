//! The namespace controller: deletes the contents of a namespace that is being deleted, then
//! removes the namespace's finalizer.

use std::collections::{BTreeSet, HashMap};

use crate::kubernetes::kinds::{KINDS, NAMESPACES};
use crate::kubernetes::object::{self, is_terminating, remove};
use crate::kubernetes::store::ObjectChange;

use super::queue::{WorkKey, WorkQueue};
use super::{ClusterView, ControllerPlan, Reconcile, Timers};

/// The controller.
#[derive(Debug, Default)]
pub(super) struct NamespaceLifecycle {
    /// The namespaces that are being deleted, and the objects in them that have not been deleted
    /// yet.
    terminating: HashMap<String, BTreeSet<WorkKey>>,
}

impl Reconcile for NamespaceLifecycle {
    fn observe(&mut self, view: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        let object = &change.object;
        if *change.resource == NAMESPACES {
            let namespace = object::name(object);
            if change.deleted || !is_terminating(object) {
                self.terminating.remove(namespace);
            } else if !self.terminating.contains_key(namespace) {
                let contents = KINDS
                    .into_iter()
                    .filter(|resource| resource.namespaced)
                    .flat_map(|kind| view.read_all(kind, namespace).map(move |o| (kind, o)))
                    .map(|(kind, object)| WorkKey::of(kind, &object));
                self.terminating.insert(namespace.to_owned(), contents.collect());
            }
            queue.add(WorkKey::of(&NAMESPACES, object));
        } else if let Some(contents) = self.terminating.get_mut(object::namespace(object)) {
            if !change.deleted {
                contents.insert(WorkKey::of(change.resource, object));
            }
            queue.add(WorkKey::named(&NAMESPACES, "", object::namespace(object)));
        }
    }

    fn reconcile(
        &mut self,
        view: &ClusterView<'_>,
        _: &mut Timers,
        plan: &mut ControllerPlan,
        key: &WorkKey,
    ) {
        let Some(contents) = self.terminating.get_mut(&key.name) else {
            return;
        };
        for content in std::mem::take(contents) {
            let resource = content.resource();
            let object = view.get(resource, &content.namespace, &content.name);
            if let Some(object) = object.filter(|object| !is_terminating(object)) {
                plan.delete(resource, object);
            }
        }
        let is_empty = KINDS
            .into_iter()
            .filter(|resource| resource.namespaced)
            .all(|resource| view.read_all(resource, &key.name).next().is_none());
        if is_empty && let Some(terminating) = view.get(&NAMESPACES, "", &key.name) {
            let mut released = serde_json::Value::clone(terminating);
            remove(&mut released, &["spec", "finalizers"]);
            plan.update(&NAMESPACES, released);
        }
    }
}
