//! The quota controller: reports what each quota limits and what is used of it.

use serde_json::{Map, Value};

use crate::kubernetes::admission;
use crate::kubernetes::object::{self, map, put};
use crate::kubernetes::quantity::format;
use crate::kubernetes::resources::RESOURCE_QUOTAS;

use super::{ClusterView, ControllerPlan, Timers};

pub(super) fn plan(view: &ClusterView<'_>, _: &mut Timers) -> ControllerPlan {
    let mut plan = ControllerPlan::default();
    for quota in view.store.list(&RESOURCE_QUOTAS, None) {
        let usage = admission::usage_in(view.store, object::namespace(quota));
        let hard = map(quota, "/spec/hard").cloned().unwrap_or_default();
        let used: Map<String, Value> = hard
            .keys()
            .map(|key| (key.clone(), format(usage.get(key).copied().unwrap_or(0)).into()))
            .collect();
        let mut reported = Value::clone(quota);
        put(&mut reported, &["status", "hard"], hard);
        put(&mut reported, &["status", "used"], used);
        if reported != **quota {
            plan.update(&RESOURCE_QUOTAS, reported);
        }
    }
    plan
}
