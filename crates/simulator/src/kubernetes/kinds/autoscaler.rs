//! Horizontal pod autoscalers.

use serde_json::Value;

use crate::kubernetes::object::{number, put_default, text};
use crate::kubernetes::status_error::StatusCause;

use super::column::{AGE, NAME, column, count};
use super::{Kind, grouped};

pub(crate) static AUTOSCALERS: Kind = Kind {
    short_names: &["hpa"],
    subresources: &["status"],
    common: true,
    set_defaults: |autoscaler| put_default(autoscaler, &["spec", "minReplicas"], 1),
    integers: &["minReplicas", "maxReplicas"],
    validate,
    columns: &[
        NAME,
        column("Reference", |hpa, _| {
            let kind = text(hpa, "/spec/scaleTargetRef/kind");
            format!("{kind}/{}", text(hpa, "/spec/scaleTargetRef/name")).into()
        }),
        column("MinPods", |hpa, _| count(hpa, "/spec/minReplicas").into()),
        column("MaxPods", |hpa, _| count(hpa, "/spec/maxReplicas").into()),
        column("Replicas", |hpa, _| count(hpa, "/status/currentReplicas").into()),
        AGE,
    ],
    ..grouped("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
};

fn validate(object: &Value, causes: &mut Vec<StatusCause>) {
    let min = number(object, "/spec/minReplicas").unwrap_or(1);
    match number(object, "/spec/maxReplicas") {
        None => {
            let message = "must be greater than 0";
            causes.push(StatusCause::invalid("spec.maxReplicas", &0.into(), message));
        }
        Some(max) if max < min => {
            let message = "must be greater than or equal to `minReplicas`";
            causes.push(StatusCause::invalid("spec.maxReplicas", &max.into(), message));
        }
        Some(_) => {}
    }
}
