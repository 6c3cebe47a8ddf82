//! Jobs.

use serde_json::{Value, json};

use crate::kubernetes::object::{put_default, text};
use crate::kubernetes::status_error::StatusCause;

use super::pod_spec::{TEMPLATE, pod_defaults, validate_pod};
use super::{Kind, grouped};

pub(crate) static JOBS: Kind = Kind {
    subresources: &["status"],
    generation: true,
    common: true,
    set_defaults: defaults,
    admit: |job| put_default(job, &["status"], json!({})),
    integers: &["parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished"],
    validate,
    ..grouped("batch", "v1", "jobs", "Job")
};

fn defaults(object: &mut Value) {
    put_default(object, &["spec", "parallelism"], 1);
    put_default(object, &["spec", "completions"], 1);
    put_default(object, &["spec", "backoffLimit"], 6);
    put_default(object, &["spec", "completionMode"], "NonIndexed");
    put_default(object, &["spec", "suspend"], false);
    put_default(object, &["spec", "manualSelector"], false);
    put_default(object, &["spec", "podReplacementPolicy"], "TerminatingOrFailed");
    pod_defaults(object, &TEMPLATE);
}

fn validate(object: &Value, causes: &mut Vec<StatusCause>) {
    validate_pod(object, &TEMPLATE, causes);
    let field = "spec.template.spec.restartPolicy";
    let policy = text(object, "/spec/template/spec/restartPolicy");
    if !matches!(policy, "OnFailure" | "Never") {
        let message = "valid values: \"OnFailure\", \"Never\"";
        causes.push(StatusCause::required(field, message));
    }
}
