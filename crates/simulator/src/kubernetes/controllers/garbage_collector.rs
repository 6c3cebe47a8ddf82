//! The garbage collector: deletes an object whose owners are gone, unless their deletion said
//! otherwise.

use std::collections::HashSet;

use serde_json::Value;

use crate::kubernetes::object::{flag, is_terminating, list, put, text, uid};
use crate::kubernetes::resources::{RESOURCES, Resource};

use super::{ClusterView, ControllerPlan, Timers};

pub(super) fn plan(view: &ClusterView<'_>, _: &mut Timers) -> ControllerPlan {
    let mut plan = ControllerPlan::default();
    let objects = || {
        RESOURCES.into_iter().filter(|resource| resource.plural != "events").flat_map(|resource| {
            view.store.list(resource, None).map(move |object| (resource, object))
        })
    };
    let living: HashSet<&str> = objects().map(|(_, object)| uid(object)).collect();
    for (resource, object) in objects() {
        let owners = list(object, "/metadata/ownerReferences");
        if is_terminating(object) {
            process_finalizers(&mut plan, resource, object, &objects().collect::<Vec<_>>());
        } else if !owners.is_empty()
            && owners.iter().all(|owner| !living.contains(text(owner, "/uid")))
        {
            plan.delete(resource, object);
        }
    }
    plan
}

/// Does what the collector's two finalizers ask for.
fn process_finalizers(
    plan: &mut ControllerPlan,
    resource: &'static Resource,
    object: &Value,
    all: &[(&'static Resource, &std::sync::Arc<Value>)],
) {
    let finalizers = list(object, "/metadata/finalizers");
    let has_finalizer = |wanted: &str| finalizers.iter().any(|finalizer| finalizer == wanted);
    let (orphan, foreground) = (has_finalizer("orphan"), has_finalizer("foregroundDeletion"));
    if !orphan && !foreground {
        return;
    }
    let owner = uid(object);
    let is_owner = |reference: &&Value| text(reference, "/uid") == owner;
    let mut blocked = false;
    for (kind, dependent) in all {
        let references = list(dependent, "/metadata/ownerReferences");
        let Some(reference) = references.iter().find(is_owner) else {
            continue;
        };
        if orphan {
            let left: Vec<Value> = references.iter().filter(|r| !is_owner(r)).cloned().collect();
            let mut orphaned = Value::clone(dependent);
            put(&mut orphaned, &["metadata", "ownerReferences"], left);
            plan.update(kind, orphaned);
        } else {
            blocked |= flag(reference, "/blockOwnerDeletion");
            if !is_terminating(dependent) {
                plan.delete(kind, dependent);
            }
        }
    }
    if !blocked {
        let done = if orphan { "orphan" } else { "foregroundDeletion" };
        let left: Vec<Value> = finalizers.iter().filter(|f| *f != done).cloned().collect();
        let mut released = object.clone();
        put(&mut released, &["metadata", "finalizers"], left);
        plan.update(resource, released);
    }
}
