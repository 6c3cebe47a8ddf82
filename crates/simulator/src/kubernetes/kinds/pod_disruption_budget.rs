//! Disruption budgets.

use serde_json::Value;

use crate::kubernetes::object::put_default;
use crate::kubernetes::status_error::StatusCause;

use super::check::validate_share;
use super::column::{AGE, NAME, column, count};
use super::{Kind, grouped};

pub(crate) static BUDGETS: Kind = Kind {
    short_names: &["pdb"],
    subresources: &["status"],
    generation: true,
    admit,
    validate,
    columns: &[
        NAME,
        column("Min Available", |budget, _| limit(budget, "minAvailable")),
        column("Max Unavailable", |budget, _| limit(budget, "maxUnavailable")),
        column("Allowed Disruptions", |budget, _| {
            count(budget, "/status/disruptionsAllowed").into()
        }),
        AGE,
    ],
    ..grouped("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
};

fn admit(object: &mut Value) {
    let counts = ["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"];
    for count in counts {
        put_default(object, &["status", count], 0);
    }
}

fn validate(object: &Value, causes: &mut Vec<StatusCause>) {
    let both = ["minAvailable", "maxUnavailable"]
        .iter()
        .all(|field| object.pointer(&format!("/spec/{field}")).is_some());
    if both {
        let message = "minAvailable and maxUnavailable cannot be both set";
        let spec = object.pointer("/spec").unwrap_or(&Value::Null);
        causes.push(StatusCause::invalid("spec", spec, message));
    }
    for name in ["minAvailable", "maxUnavailable"] {
        let share = object.pointer(&format!("/spec/{name}"));
        validate_share(share, &format!("spec.{name}"), causes);
    }
}

fn limit(budget: &Value, field: &str) -> Value {
    match budget.pointer(&format!("/spec/{field}")) {
        Some(Value::String(share)) => share.as_str().into(),
        Some(number) => number.to_string().into(),
        None => "N/A".into(),
    }
}
