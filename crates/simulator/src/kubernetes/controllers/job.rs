//! The job controller: creates one pod after another until a job has completed or has failed, and removes the job when
//! its time to live is over. Pods run one at a time, and a pod that has failed is followed by the next one at once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubernetes::index::Index;
use crate::kubernetes::kinds::{JOBS, PODS};
use crate::kubernetes::object::{
    self, as_count, controller, flag, is_terminating, is_true, number, put, put_default,
    set_condition, text, time, uid,
};
use crate::kubernetes::store::ObjectChange;

use super::queue::{WorkKey, WorkQueue};
use super::replica_set::{owner_reference, set_count};
use super::{ClusterView, ControllerPlan, Reconcile, Timers, events};

const COMPONENT: &str = "job-controller";

/// The controller.
#[derive(Debug)]
pub(super) struct JobController;

impl Reconcile for JobController {
    fn observe(&mut self, _: &ClusterView<'_>, change: &ObjectChange, queue: &mut WorkQueue) {
        let object = &change.object;
        if *change.resource == JOBS {
            queue.add(WorkKey::of(&JOBS, object));
        } else if *change.resource == PODS
            && let Some(owner) = controller(object).filter(|owner| text(owner, "/kind") == "Job")
        {
            queue.add(WorkKey::named(&JOBS, object::namespace(object), text(owner, "/name")));
        }
    }

    fn reconcile(
        &mut self,
        view: &ClusterView<'_>,
        timers: &mut Timers,
        plan: &mut ControllerPlan,
        key: &WorkKey,
    ) {
        let Some(job) = view.get(&JOBS, &key.namespace, &key.name) else {
            return;
        };
        if is_terminating(job) {
            return;
        }
        if is_finished(job) {
            remove_when_old(view, timers, plan, job);
        } else {
            work(view, timers, plan, job);
        }
    }
}

fn is_finished(job: &Value) -> bool {
    is_true(job, "Complete") || is_true(job, "Failed")
}

fn seconds(job: &Value, field: &str) -> Option<Duration> {
    let seconds = number(job, &format!("/spec/{field}"))?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn remove_when_old(
    view: &ClusterView<'_>,
    timers: &mut Timers,
    plan: &mut ControllerPlan,
    job: &Value,
) {
    let Some(lifetime) = seconds(job, "ttlSecondsAfterFinished") else {
        return;
    };
    let end = view.deadline(timers.since("finished", uid(job), view.time), lifetime);
    if end > view.time {
        plan.requeue_at(end);
    } else {
        plan.delete(&JOBS, job);
    }
}

fn work(view: &ClusterView<'_>, timers: &mut Timers, plan: &mut ControllerPlan, job: &Value) {
    let mut reported = job.clone();
    put_default(&mut reported, &["status", "startTime"], time(view.now));
    let pods: Vec<_> = view.find_of(&PODS, Index::Owner, uid(job)).collect();
    let phase = |pod: &Value| text(pod, "/status/phase").to_owned();
    let count = |wanted: &str| pods.iter().filter(|pod| phase(pod) == wanted).count();
    // Pods that have ended count also when they are gone.
    let counted = |field: &str| usize::try_from(number(job, field).unwrap_or(0)).unwrap_or(0);
    let succeeded = count("Succeeded").max(counted("/status/succeeded"));
    let failed = count("Failed").max(counted("/status/failed"));
    let running: Vec<_> =
        pods.iter().filter(|pod| !matches!(&*phase(pod), "Succeeded" | "Failed")).collect();
    let active = running.iter().filter(|pod| !is_terminating(pod)).count();
    let ready = running.iter().filter(|pod| is_true(pod, "Ready")).count();
    let wanted = usize::try_from(number(job, "/spec/completions").unwrap_or(1)).unwrap_or(1);
    let limit = usize::try_from(number(job, "/spec/backoffLimit").unwrap_or(6)).unwrap_or(0);
    let deadline = seconds(job, "activeDeadlineSeconds")
        .map(|limit| view.deadline(timers.since("active", uid(job), view.time), limit));
    let mut end = None;
    if succeeded >= wanted {
        end = Some(("Complete", "CompletionsReached", "Reached expected number of succeeded pods"));
    } else if deadline.is_some_and(|deadline| deadline <= view.time) {
        let why = "Job was active longer than specified deadline";
        end = Some(("Failed", "DeadlineExceeded", why));
    } else if failed > limit {
        let why = "Job has reached the specified backoff limit";
        end = Some(("Failed", "BackoffLimitExceeded", why));
    } else if running.is_empty() && !flag(job, "/spec/suspend") {
        plan.create(&PODS, pod_of(job));
    }
    if let Some(deadline) = deadline.filter(|_| end.is_none()) {
        plan.requeue_at(deadline);
    }
    let left = match end {
        Some((kind, reason, message)) => {
            running.iter().for_each(|pod| plan.delete(&PODS, pod));
            finish(view, plan, &mut reported, kind, reason, message);
            0
        }
        None => active,
    };
    for (field, count) in [("active", left), ("succeeded", succeeded), ("failed", failed)] {
        set_count(&mut reported, field, as_count(count));
    }
    put(&mut reported, &["status", "ready"], if end.is_some() { 0 } else { ready });
    put(&mut reported, &["status", "terminating"], running.len() - active);
    put_default(&mut reported, &["status", "uncountedTerminatedPods"], json!({}));
    if reported != *job {
        plan.update(&JOBS, reported);
    }
}

fn finish(
    view: &ClusterView<'_>,
    plan: &mut ControllerPlan,
    job: &mut Value,
    kind: &str,
    reason: &'static str,
    message: &str,
) {
    let first = if kind == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
    for kind in [first, kind] {
        let ended = json!({
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastProbeTime": time(view.now),
        });
        set_condition(job, ended, view.now);
    }
    if kind == "Complete" {
        put(job, &["status", "completionTime"], time(view.now));
        let event = events::normal(COMPONENT, job, "Completed", "Job completed".to_owned());
        plan.event(event);
    } else {
        plan.event(events::warning(COMPONENT, job, reason, message.to_owned()));
    }
}

fn pod_of(job: &Value) -> Value {
    let template = &job["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    if !metadata.is_object() {
        metadata = json!({});
    }
    metadata["generateName"] = format!("{}-", object::name(job)).into();
    metadata["namespace"] = object::namespace(job).into();
    metadata["ownerReferences"] = json!([owner_reference(job)]);
    for (key, value) in labels(job) {
        put(&mut metadata, &["labels", key], value);
    }
    json!({"metadata": metadata, "spec": template["spec"]})
}

/// Returns the labels of the job's pods, under their names and under those of earlier releases.
fn labels(job: &Value) -> [(&'static str, &str); 4] {
    let (uid, name) = (uid(job), object::name(job));
    [
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
        ("controller-uid", uid),
        ("job-name", name),
    ]
}
