//! Daemon sets.

use serde_json::Value;

use crate::kubernetes::object::{put_default, text};

use super::check::keep_selector;
use super::pod_spec::{TEMPLATE, pod_defaults, validate_workload};
use super::{Kind, grouped};

pub(crate) static DAEMON_SETS: Kind = Kind {
    short_names: &["ds"],
    subresources: &["status"],
    generation: true,
    common: true,
    set_defaults: defaults,
    admit,
    validate: validate_workload,
    validate_update: keep_selector,
    ..grouped("apps", "v1", "daemonsets", "DaemonSet")
};

fn defaults(object: &mut Value) {
    put_default(object, &["spec", "revisionHistoryLimit"], 10);
    put_default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
    if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        let rolling = ["spec", "updateStrategy", "rollingUpdate"];
        put_default(object, &[&rolling[..], &["maxUnavailable"]].concat(), 1);
        put_default(object, &[&rolling[..], &["maxSurge"]].concat(), 0);
    }
    pod_defaults(object, &TEMPLATE);
}

fn admit(object: &mut Value) {
    let counts =
        ["currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"];
    for count in counts {
        put_default(object, &["status", count], 0);
    }
}
