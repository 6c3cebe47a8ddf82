//! The namespace controller: deletes the contents of a namespace that is being deleted, then
//! removes the namespace's finalizer.

use crate::kubernetes::object::{self, is_terminating, remove};
use crate::kubernetes::resources::{NAMESPACES, RESOURCES};

use super::{ClusterView, ControllerPlan, Timers};

pub(super) fn plan(view: &ClusterView<'_>, _: &mut Timers) -> ControllerPlan {
    let mut plan = ControllerPlan::default();
    for terminating in view.store.list(&NAMESPACES, None) {
        if !is_terminating(terminating) {
            continue;
        }
        let namespace = object::name(terminating);
        let mut empty = true;
        for resource in RESOURCES.into_iter().filter(|resource| resource.namespaced) {
            for object in view.store.list(resource, Some(namespace)) {
                empty = false;
                if !is_terminating(object) {
                    plan.delete(resource, object);
                }
            }
        }
        if empty {
            let mut released = serde_json::Value::clone(terminating);
            remove(&mut released, &["spec", "finalizers"]);
            plan.update(&NAMESPACES, released);
        }
    }
    plan
}
