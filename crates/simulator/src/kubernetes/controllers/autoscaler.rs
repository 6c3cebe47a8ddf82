//! The horizontal pod autoscaler without metrics: it keeps its target's size within its bounds.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubernetes::kinds::{AUTOSCALERS, DEPLOYMENTS};
use crate::kubernetes::object::{self, number, put, set_condition, text, time, uid};
use crate::kubernetes::store::ObjectChange;

use super::queue::{WorkKey, WorkQueue};
use super::{ClusterView, ControllerPlan, Reconcile, Timers, events};

/// The time between two syncs of the controller.
const SYNC_PERIOD: Duration = Duration::from_secs(15);

/// The controller. It reads its autoscalers from time to time, not at the changes of their targets.
pub(super) struct PodAutoscaler;

impl Reconcile for PodAutoscaler {
    fn observe(&mut self, _: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        if *change.resource == AUTOSCALERS {
            queue.add(WorkKey::of(&AUTOSCALERS, &change.object));
        }
    }

    fn reconcile(
        &mut self,
        view: &ClusterView<'_>,
        timers: &mut Timers,
        plan: &mut ControllerPlan,
        key: &WorkKey,
    ) {
        let Some(autoscaler) = view.get(&AUTOSCALERS, &key.namespace, &key.name) else {
            return;
        };
        let last_sync = timers.since("synced", uid(autoscaler), view.time);
        let end = view.deadline(last_sync, SYNC_PERIOD);
        if end <= view.time {
            timers.restart("synced", uid(autoscaler), view.time);
            sync(view, plan, autoscaler);
            plan.requeue_at(view.deadline(view.time, SYNC_PERIOD));
        } else {
            plan.requeue_at(end);
        }
    }
}

fn sync(view: &ClusterView<'_>, plan: &mut ControllerPlan, autoscaler: &Value) {
    let target = text(autoscaler, "/spec/scaleTargetRef/name");
    let is_deployment = text(autoscaler, "/spec/scaleTargetRef/kind") == "Deployment";
    let found =
        view.get(&DEPLOYMENTS, object::namespace(autoscaler), target).filter(|_| is_deployment);
    let mut reported = autoscaler.clone();
    let Some(deployment) = found else {
        let message =
            format!("the HPA controller was unable to get the target's current scale: {target:?}");
        let unable = json!({
            "type": "AbleToScale",
            "status": "False",
            "reason": "FailedGetScale",
            "message": message,
        });
        set_condition(&mut reported, unable, view.now);
        if reported != *autoscaler {
            plan.update(&AUTOSCALERS, reported);
        }
        return;
    };
    let current = number(deployment, "/spec/replicas").unwrap_or(1);
    let min = number(autoscaler, "/spec/minReplicas").unwrap_or(1);
    let max = number(autoscaler, "/spec/maxReplicas").unwrap_or(current);
    // A target with 0 replicas is not scaled, which is how an autoscaler is switched off.
    let desired = if current == 0 { 0 } else { current.clamp(min, max) };
    let (status, reason) = match current {
        0 => ("False", "ScalingDisabled"),
        _ => ("False", "FailedGetResourceMetric"),
    };
    let active = json!({
        "type": "ScalingActive",
        "status": status,
        "reason": reason,
        "message": "the simulator has no metrics",
    });
    let able = json!({
        "type": "AbleToScale",
        "status": "True",
        "reason": "SucceededGetScale",
        "message": "the HPA controller was able to get the target's current scale",
    });
    set_condition(&mut reported, able, view.now);
    set_condition(&mut reported, active, view.now);
    put(&mut reported, &["status", "currentReplicas"], current);
    put(&mut reported, &["status", "desiredReplicas"], desired);
    if desired != current {
        put(&mut reported, &["status", "lastScaleTime"], time(view.now));
        let mut scaled = Value::clone(deployment);
        put(&mut scaled, &["spec", "replicas"], desired);
        plan.update(&DEPLOYMENTS, scaled);
        let why = if current < min { "below minReplicas" } else { "above maxReplicas" };
        let message = format!(
            "New size: {desired}; reason: Current number of replicas {why} of {}",
            object::name(autoscaler)
        );
        plan.event(events::normal(
            "horizontal-pod-autoscaler",
            autoscaler,
            "SuccessfulRescale",
            message,
        ));
    }
    if reported != *autoscaler {
        plan.update(&AUTOSCALERS, reported);
    }
}
