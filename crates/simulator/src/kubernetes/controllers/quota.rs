//! The quota controller: reports what each quota limits and what is used of it.

use serde_json::{Map, Value};

use crate::kubernetes::kinds::RESOURCE_QUOTAS;
use crate::kubernetes::object::{self, map, put};
use crate::kubernetes::quantity::format;
use crate::kubernetes::store::ObjectChange;

use super::queue::{WorkKey, WorkQueue};
use super::{ClusterView, ControllerPlan, Reconcile, Timers};

/// The controller. What the objects of a namespace use is counted by the store.
pub(super) struct QuotaController;

impl Reconcile for QuotaController {
    fn observe(&mut self, view: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        if change.resource.namespaced {
            for quota in view.list(&RESOURCE_QUOTAS, Some(object::namespace(&change.object))) {
                queue.add(WorkKey::of(&RESOURCE_QUOTAS, quota));
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
        let Some(quota) = view.get(&RESOURCE_QUOTAS, &key.namespace, &key.name) else {
            return;
        };
        let usage = view.store.usage().of(&key.namespace);
        let hard = map(quota, "/spec/hard").cloned().unwrap_or_default();
        let used: Map<String, Value> = hard
            .keys()
            .map(|key| {
                let amount = usage.and_then(|usage| usage.get(key)).copied().unwrap_or(0);
                (key.clone(), format(amount).into())
            })
            .collect();
        let mut reported = Value::clone(quota);
        put(&mut reported, &["status", "hard"], hard);
        put(&mut reported, &["status", "used"], used);
        if reported != **quota {
            plan.update(&RESOURCE_QUOTAS, reported);
        }
    }
}
