//! The garbage collector: deletes an object whose owners are gone, unless their deletion said
//! otherwise.

use std::collections::HashSet;

use serde_json::Value;

use crate::kubernetes::index::Index;
use crate::kubernetes::kinds::{EVENTS, Kind};
use crate::kubernetes::object::{flag, is_terminating, list, put, text, uid};
use crate::kubernetes::store::ObjectChange;

use super::queue::{WorkKey, WorkQueue};
use super::{ClusterView, ControllerPlan, Reconcile, Timers};

/// The controller.
#[derive(Debug, Default)]
pub(super) struct GarbageCollector {
    /// The UIDs of the objects in foreground deletion whose dependents have all been deleted or are
    /// being deleted.
    swept: HashSet<String>,
}

impl Reconcile for GarbageCollector {
    fn observe(&mut self, view: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        if *change.resource == EVENTS {
            return;
        }
        let object = &change.object;
        if change.deleted {
            self.swept.remove(uid(object));
            for (resource, dependent) in view.find(Index::Owner, uid(object)) {
                queue.add(WorkKey::of(resource, dependent));
            }
        } else if !list(object, "/metadata/ownerReferences").is_empty() || is_finalized(object) {
            queue.add(WorkKey::of(change.resource, object));
        }
        for version in change.before.iter().chain([object]) {
            for reference in list(version, "/metadata/ownerReferences") {
                let owner = view.find(Index::Uid, text(reference, "/uid")).next();
                let Some((resource, owner)) = owner.filter(|(_, owner)| is_finalized(owner)) else {
                    continue;
                };
                if !change.deleted && !is_terminating(object) {
                    self.swept.remove(uid(owner));
                }
                queue.add(WorkKey::of(resource, owner));
            }
        }
    }

    fn reconcile(
        &mut self,
        view: &ClusterView<'_>,
        _: &mut Timers,
        plan: &mut ControllerPlan,
        key: &WorkKey,
    ) {
        let resource = key.resource();
        let Some(object) = view.get(resource, &key.namespace, &key.name) else {
            return;
        };
        if is_terminating(object) {
            self.process_finalizers(view, plan, resource, object);
            return;
        }
        let mut owners = list(object, "/metadata/ownerReferences").iter().peekable();
        let is_living = |owner| {
            let owner = text(owner, "/uid");
            view.find(Index::Uid, owner).next().is_some()
                || view.settings.loaded.has_foreign_owner(owner)
        };
        if owners.peek().is_some() && !owners.any(is_living) {
            plan.delete(resource, object);
        }
    }
}

/// Returns whether an object is being deleted and has one of the collector's finalizers.
fn is_finalized(object: &Value) -> bool {
    let is_own = |finalizer: &Value| finalizer == "orphan" || finalizer == "foregroundDeletion";
    is_terminating(object) && list(object, "/metadata/finalizers").iter().any(is_own)
}

impl GarbageCollector {
    /// Does what the collector's two finalizers ask for.
    fn process_finalizers(
        &mut self,
        view: &ClusterView<'_>,
        plan: &mut ControllerPlan,
        resource: &'static Kind,
        object: &Value,
    ) {
        let finalizers = list(object, "/metadata/finalizers");
        let has_finalizer = |wanted: &str| finalizers.iter().any(|finalizer| finalizer == wanted);
        let (orphan, foreground) = (has_finalizer("orphan"), has_finalizer("foregroundDeletion"));
        if !orphan && !foreground {
            return;
        }
        let owner = uid(object);
        let is_owner = |reference: &&Value| text(reference, "/uid") == owner;
        let is_swept = !orphan && self.swept.contains(owner);
        let mut blocked = false;
        for (kind, dependent) in view.find(Index::Owner, owner) {
            let references = list(dependent, "/metadata/ownerReferences");
            let Some(reference) = references.iter().find(is_owner) else {
                continue;
            };
            if orphan {
                let left: Vec<Value> =
                    references.iter().filter(|r| !is_owner(r)).cloned().collect();
                let mut orphaned = Value::clone(dependent);
                put(&mut orphaned, &["metadata", "ownerReferences"], left);
                plan.update(kind, orphaned);
            } else {
                blocked |= flag(reference, "/blockOwnerDeletion");
                if blocked && is_swept {
                    return;
                }
                if !is_terminating(dependent) {
                    plan.delete(kind, dependent);
                }
            }
        }
        if blocked {
            self.swept.insert(owner.to_owned());
            return;
        }
        let done = if orphan { "orphan" } else { "foregroundDeletion" };
        let left: Vec<Value> = finalizers.iter().filter(|f| *f != done).cloned().collect();
        let mut released = object.clone();
        put(&mut released, &["metadata", "finalizers"], left);
        plan.update(resource, released);
    }
}
