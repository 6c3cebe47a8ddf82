//! The definitions that a cluster needs before it can keep runs.

use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::requests::{PENDING, REFUSED};
use crate::{
    journal::RunState,
    platform::kubernetes::{RunEvents, RunbookRun},
};

/// The name of the policy and of its binding.
const POLICY: &str = "rafay-relay-sop-unfinished-runs";

/// The controllers that delete what was decided on elsewhere: a namespace with all in it, an object with its owner.
const CONTROLLERS: [&str; 3] = [
    "system:kube-controller-manager",
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
];

/// Returns the objects to apply to a cluster: the two kinds, and the policy that refuses to delete an unfinished run.
pub fn definitions() -> Vec<Value> {
    vec![json!(RunbookRun::crd()), json!(RunEvents::crd()), policy(), policy_binding()]
}

fn policy() -> Value {
    let states = |is_meant: fn(RunState) -> bool| {
        RunState::ALL.into_iter().filter(move |state| is_meant(*state)).map(RunState::as_str)
    };
    let over = listed(states(RunState::is_over).chain([PENDING, REFUSED]));
    let active = listed(states(RunState::is_active));
    let controllers = listed(CONTROLLERS);
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": POLICY},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["sop.rafay.dev"],
                "apiVersions": ["*"],
                "resources": ["runbookruns"],
                "operations": ["DELETE"],
            }]},
            "matchConditions": [{
                "name": "not-a-controller",
                "expression": format!("!(request.userInfo.username in {controllers})"),
            }],
            "validations": [{
                // Not every control plane has the names above.
                "expression": format!(
                    "has(namespaceObject.metadata.deletionTimestamp) || !has(oldObject.status) || \
                     !has(oldObject.status.state) || oldObject.status.state in {over}"
                ),
                "messageExpression": format!(
                    "'run ' + oldObject.metadata.name + ' is ' + oldObject.status.state + \
                     (oldObject.status.state in {active} ? ': cancel it' : \
                     ': resume it, roll it back or abandon it') + \
                     ' first, such as `rafay-relay-sop --store cluster --store-namespace ' + \
                     oldObject.metadata.namespace + ' runs ' + \
                     (oldObject.status.state in {active} ? 'cancel ' : 'rollback ') + \
                     oldObject.metadata.name + '`'"
                ),
            }],
        },
    })
}

/// Returns texts as a list of CEL.
fn listed<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(|text| format!("'{text}'")).collect();
    format!("[{}]", quoted.join(", "))
}

fn policy_binding() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": POLICY},
        "spec": {"policyName": POLICY, "validationActions": ["Deny"]},
    })
}
