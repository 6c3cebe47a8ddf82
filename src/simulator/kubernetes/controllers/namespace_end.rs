//! The namespace controller: empties a namespace that is being deleted, then lets it go.

use crate::simulator::kubernetes::object::{is_terminating, name, remove};
use crate::simulator::kubernetes::resources::{NAMESPACES, RESOURCES};

use super::{Memory, Plan, View};

pub(super) fn plan(view: &View<'_>, _: &mut Memory) -> Plan {
    let mut plan = Plan::default();
    for namespace in view.store.list(&NAMESPACES, None) {
        if !is_terminating(namespace) {
            continue;
        }
        let space = name(namespace);
        let mut empty = true;
        for resource in RESOURCES.into_iter().filter(|resource| resource.namespaced) {
            for object in view.store.list(resource, Some(space)) {
                empty = false;
                if !is_terminating(object) {
                    plan.delete(resource, object);
                }
            }
        }
        if empty {
            let mut released = serde_json::Value::clone(namespace);
            remove(&mut released, &["spec", "finalizers"]);
            plan.update(&NAMESPACES, released);
        }
    }
    plan
}
