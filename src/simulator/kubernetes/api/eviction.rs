//! Eviction: a deletion that asks the disruption budgets first, in the order in which the API server asks.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::simulator::kubernetes::budget;
use crate::simulator::kubernetes::failure::Failure;
use crate::simulator::kubernetes::object::{
    is_terminating, is_true, name, namespace, number, put, set_condition, text, time,
};
use crate::simulator::kubernetes::request::{Query, Target};
use crate::simulator::kubernetes::resources::{BUDGETS, PODS};
use crate::simulator::kubernetes::selectors::selects;
use crate::simulator::kubernetes::store::Store;
use crate::simulator::kubernetes::write::{Deletion, Part, Writer, Written, check_deletion};

use super::change::{Outcome, asks_dry_run, deletion};
use super::subresource::success;

/// What every eviction is answered that a budget does not allow.
const REFUSAL: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Evicts a pod: deletes it, if the disruption budgets over it allow that.
pub(super) fn evict(
    writer: &mut Writer<'_>,
    target: &Target,
    query: &Query,
    eviction: &Value,
) -> Result<Outcome, Failure> {
    let (space, called) = (target.space(), target.name());
    if name(eviction) != called {
        let message = "name in URL does not match name in Eviction object";
        return Err(Failure::bad_request(message));
    }
    let options = eviction.get("deleteOptions").cloned().unwrap_or(Value::Null);
    let deletion = deletion(query, &options)?;
    writer.dry_run |= asks_dry_run(query, &options);
    let pod = writer
        .store
        .get(&PODS, space, called)
        .cloned()
        .ok_or_else(|| Failure::not_found(&PODS, called))?;
    if !ignores_budgets(&pod)
        && let Some(budget) = budget_of(writer.store, &pod)?
        && !is_free(&budget, &pod)
    {
        consume(writer, &budget, &pod)?;
    }
    let written = delete(writer, &pod, deletion)?;
    Ok(Outcome { status: StatusCode::CREATED, changed: written.changed, body: success() })
}

/// Pods that do not serve anybody need no budget.
fn ignores_budgets(pod: &Value) -> bool {
    is_terminating(pod) || matches!(text(pod, "/status/phase"), "Pending" | "Succeeded" | "Failed")
}

/// The one budget over a pod; its own name is returned, as budgets are few.
fn budget_of(store: &Store, pod: &Value) -> Result<Option<Value>, Failure> {
    let mut over: Vec<&Value> = store
        .list(&BUDGETS, Some(namespace(pod)))
        .map(AsRef::as_ref)
        .filter(|budget| selects(budget.pointer("/spec/selector"), pod))
        .collect();
    if over.len() > 1 {
        let message = "This pod has more than one PodDisruptionBudget, which the eviction \
                       subresource does not support.";
        return Err(Failure::new(500, "", message));
    }
    Ok(over.pop().cloned())
}

/// Whether the pod is not one of the healthy ones that the budget counts, and none of those is missing.
fn is_free(budget: &Value, pod: &Value) -> bool {
    let count = |field| budget::count(budget, field);
    let always = text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow";
    let enough = count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0;
    !is_true(pod, "Ready") && (always || enough)
}

/// Takes one disruption from a budget, or says why there is none.
fn consume(writer: &mut Writer<'_>, budget: &Value, pod: &Value) -> Result<(), Failure> {
    let generation = number(budget, "/metadata/generation").unwrap_or(0);
    if budget::count(budget, "observedGeneration") < generation {
        let cause = format!(
            "The disruption budget {} is still being processed by the server.",
            name(budget)
        );
        return Err(Failure::budget(REFUSAL, 10, &cause));
    }
    let left = budget::count(budget, "disruptionsAllowed") - 1;
    if left < 0 {
        return Err(Failure::budget(REFUSAL, 0, &shortage(budget)));
    }
    let (now, called) = (writer.now, name(pod).to_owned());
    writer.update(&BUDGETS, namespace(budget), name(budget), Part::Whole, |budget| {
        let mut budget = budget.clone();
        put(&mut budget, &["status", "disruptionsAllowed"], left);
        put(&mut budget, &["status", "disruptedPods", &called], time(now));
        if left == 0 {
            budget::tell_whether_allowed(&mut budget, now);
        }
        Ok(budget)
    })?;
    Ok(())
}

fn shortage(budget: &Value) -> String {
    let called = name(budget);
    let [current, desired] =
        ["currentHealthy", "desiredHealthy"].map(|field| budget::count(budget, field));
    if current <= desired {
        return format!(
            "The disruption budget {called} needs {desired} healthy pods and has {current} currently"
        );
    }
    format!("The disruption budget {called} does not allow evicting pods currently")
}

/// Deletes the pod, whose last words are why.
fn delete(writer: &mut Writer<'_>, pod: &Value, deletion: Deletion) -> Result<Written, Failure> {
    let (space, called) = (namespace(pod), name(pod));
    check_deletion(&PODS, pod, &deletion)?;
    let now = writer.now;
    writer.update(&PODS, space, called, Part::Whole, |pod| {
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
    // The condition has made another version of it, which is not what was meant by the precondition.
    writer.delete(&PODS, space, called, &Deletion { version: None, ..deletion })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::ids::Ids;
    use jiff::Timestamp;

    /// No table can show this: a disruption controller has seen every budget within a moment.
    #[test]
    fn a_budget_that_was_just_changed_is_not_asked() {
        let mut store = Store::new(Ids::new(1));
        let metadata = json!({"name": "b", "namespace": "n", "generation": 2});
        let status = json!({"observedGeneration": 1, "disruptionsAllowed": 1});
        let budget = store.put(&BUDGETS, json!({"metadata": metadata, "status": status}));
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}});
        let mut writer = Writer { store: &mut store, now: Timestamp::UNIX_EPOCH, dry_run: false };
        let refused = consume(&mut writer, &budget, &pod).unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (429, Some(10)));
        let cause = refused.details["causes"][0]["message"].as_str().unwrap();
        assert_eq!(cause, "The disruption budget b is still being processed by the server.");
        assert_eq!(store.get(&BUDGETS, "n", "b"), Some(&budget));
    }
}
