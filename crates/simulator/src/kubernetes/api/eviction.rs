//! Eviction: a deletion that first checks the disruption budgets, in the API server's order.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kubernetes::kinds::{BUDGETS, PODS};
use crate::kubernetes::object::{
    self, is_terminating, is_true, number, put, set_condition, text, time,
};
use crate::kubernetes::request::{Query, ResourcePath};
use crate::kubernetes::selectors::selects;
use crate::kubernetes::status_error::StatusError;
use crate::kubernetes::store::ObjectStore;
use crate::kubernetes::write::{
    DeleteOptions, ObjectPart, ObjectWriter, WriteOutcome, check_deletion,
};

use super::mutations::{WriteResponse, is_dry_run, parse_deletion};
use super::subresource::success_status;

/// The message of every eviction that a budget does not allow.
const EVICTION_DENIED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Evicts a pod: deletes it if its disruption budgets allow it.
pub(super) fn evict(
    writer: &mut ObjectWriter<'_>,
    target: &ResourcePath,
    query: &Query,
    eviction: &Value,
) -> Result<WriteResponse, StatusError> {
    let (namespace, name) = (target.namespace(), target.name());
    if object::name(eviction) != name {
        let message = "name in URL does not match name in Eviction object";
        return Err(StatusError::bad_request(message));
    }
    let options = eviction.get("deleteOptions").cloned().unwrap_or(Value::Null);
    let deletion = parse_deletion(query, &options)?;
    writer.dry_run |= is_dry_run(query, &options);
    let pod = writer
        .store
        .get(&PODS, namespace, name)
        .cloned()
        .ok_or_else(|| StatusError::not_found(&PODS, name))?;
    if !is_exempt_from_budgets(&pod)
        && let Some(budget) = budget_of(writer.store, &pod)?
        && !is_evictable_unhealthy(&budget, &pod)
    {
        consume_disruption(writer, &budget, &pod)?;
    }
    let written = delete(writer, &pod, deletion)?;
    Ok(WriteResponse {
        status: StatusCode::CREATED,
        changed: written.changed,
        body: success_status(),
    })
}

/// Returns whether the pod is one that does not serve, so that no budget protects it.
fn is_exempt_from_budgets(pod: &Value) -> bool {
    is_terminating(pod) || matches!(text(pod, "/status/phase"), "Pending" | "Succeeded" | "Failed")
}

/// Returns the budget that selects the pod, if there is one, or an error if several do.
fn budget_of(store: &ObjectStore, pod: &Value) -> Result<Option<Value>, StatusError> {
    let mut matching: Vec<&Value> = store
        .list(&BUDGETS, Some(object::namespace(pod)))
        .map(AsRef::as_ref)
        .filter(|budget| selects(budget.pointer("/spec/selector"), pod))
        .collect();
    if matching.len() > 1 {
        let message = "This pod has more than one PodDisruptionBudget, which the eviction \
                       subresource does not support.";
        return Err(StatusError::new(500, "", message));
    }
    Ok(matching.pop().cloned())
}

/// Returns whether the pod is not one of the healthy pods that the budget counts, and none of those
/// is missing.
fn is_evictable_unhealthy(budget: &Value, pod: &Value) -> bool {
    let count = |field| status_count(budget, field);
    let always = text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow";
    let enough = count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0;
    !is_true(pod, "Ready") && (always || enough)
}

/// Takes one disruption from a budget, or returns why there is none.
fn consume_disruption(
    writer: &mut ObjectWriter<'_>,
    budget: &Value,
    pod: &Value,
) -> Result<(), StatusError> {
    let generation = number(budget, "/metadata/generation").unwrap_or(0);
    if status_count(budget, "observedGeneration") < generation {
        let cause = format!(
            "The disruption budget {} is still being processed by the server.",
            object::name(budget)
        );
        return Err(StatusError::disruption_budget_violated(EVICTION_DENIED, 10, &cause));
    }
    let remaining = status_count(budget, "disruptionsAllowed") - 1;
    if remaining < 0 {
        return Err(StatusError::disruption_budget_violated(
            EVICTION_DENIED,
            0,
            &denial_cause(budget),
        ));
    }
    let (now, name) = (writer.now, object::name(pod).to_owned());
    writer.update(
        &BUDGETS,
        object::namespace(budget),
        object::name(budget),
        ObjectPart::Whole,
        |budget| {
            let mut budget = budget.clone();
            put(&mut budget, &["status", "disruptionsAllowed"], remaining);
            put(&mut budget, &["status", "disruptedPods", &name], time(now));
            if remaining == 0 {
                set_allowed_condition(&mut budget, now);
            }
            Ok(budget)
        },
    )?;
    Ok(())
}

fn denial_cause(budget: &Value) -> String {
    let name = object::name(budget);
    let [current, desired] =
        ["currentHealthy", "desiredHealthy"].map(|field| status_count(budget, field));
    if current <= desired {
        return format!(
            "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
        );
    }
    format!("The disruption budget {name} does not allow evicting pods currently")
}

/// Deletes the pod with a condition that says why.
fn delete(
    writer: &mut ObjectWriter<'_>,
    pod: &Value,
    deletion: DeleteOptions,
) -> Result<WriteOutcome, StatusError> {
    let (namespace, name) = (object::namespace(pod), object::name(pod));
    check_deletion(&PODS, pod, &deletion)?;
    let now = writer.now;
    writer.update(&PODS, namespace, name, ObjectPart::Whole, |pod| {
        let mut pod = pod.clone();
        let target = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        });
        set_condition(&mut pod, target, now);
        Ok(pod)
    })?;
    // Setting the condition has changed the version, and the precondition refers to the earlier
    // one.
    writer.delete(&PODS, namespace, name, &DeleteOptions { version: None, ..deletion })
}

/// Returns a number of the budget's status.
pub(crate) fn status_count(budget: &Value, field: &str) -> i64 {
    number(budget, &format!("/status/{field}")).unwrap_or(0)
}

/// Sets the budget's condition according to its number of allowed disruptions.
pub(crate) fn set_allowed_condition(budget: &mut Value, now: Timestamp) {
    let (status, reason) = match status_count(budget, "disruptionsAllowed") {
        0 => ("False", "InsufficientPods"),
        _ => ("True", "SufficientPods"),
    };
    let condition = json!({
        "type": "DisruptionAllowed",
        "status": status,
        "reason": reason,
        "message": "",
        "observedGeneration": status_count(budget, "observedGeneration"),
    });
    set_condition(budget, condition, now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IdGenerator;

    /// The conformance tables cannot show this case: a real disruption controller observes every
    /// budget within a moment.
    #[test]
    fn a_budget_whose_status_is_outdated_allows_no_eviction() {
        let mut store = ObjectStore::new(IdGenerator::new(1));
        let metadata = json!({"name": "b", "namespace": "n", "generation": 2});
        let status = json!({"observedGeneration": 1, "disruptionsAllowed": 1});
        let budget = store.put(&BUDGETS, json!({"metadata": metadata, "status": status}));
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}});
        let mut writer =
            ObjectWriter { store: &mut store, now: Timestamp::UNIX_EPOCH, dry_run: false };
        let refused = consume_disruption(&mut writer, &budget, &pod).unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (429, Some(10)));
        let cause = refused.details["causes"][0]["message"].as_str().unwrap();
        assert_eq!(cause, "The disruption budget b is still being processed by the server.");
        assert_eq!(store.get(&BUDGETS, "n", "b"), Some(&budget));
    }
}
