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
    let over = RunState::ALL.into_iter().filter(|state| state.is_over());
    let mut over: Vec<String> = over.map(|state| format!("'{state}'")).collect();
    over.extend([PENDING, REFUSED].map(|state| format!("'{state}'")));
    let controllers = CONTROLLERS.map(|name| format!("'{name}'"));
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
                "expression": format!("!(request.userInfo.username in [{}])", controllers.join(", ")),
            }],
            "validations": [{
                // Not every control plane has the names above.
                "expression": format!(
                    "has(namespaceObject.metadata.deletionTimestamp) || !has(oldObject.status) || \
                     !has(oldObject.status.state) || oldObject.status.state in [{}]",
                    over.join(", ")
                ),
                "messageExpression":
                    "'run ' + oldObject.metadata.name + ' is ' + oldObject.status.state + \
                     (oldObject.status.state in ['running', 'rolling_back'] ? ': cancel it' : \
                     ': resume it, roll it back or abandon it') + \
                     ' first, such as `rafay-relay-sop --store cluster --store-namespace ' + \
                     oldObject.metadata.namespace + ' runs ' + \
                     (oldObject.status.state in ['running', 'rolling_back'] ? 'cancel ' : 'rollback ') + \
                     oldObject.metadata.name + '`'",
            }],
        },
    })
}

fn policy_binding() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": POLICY},
        "spec": {"policyName": POLICY, "validationActions": ["Deny"]},
    })
}
