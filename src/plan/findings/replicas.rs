//! Who else sets the replicas of a workload that the run scales, and workloads without pods.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    error,
    evidence::{ChangedObject, Evidence, number, text},
    warning,
};
use crate::{
    actions::autoscaling,
    plan::model::{Effect, Finding},
};

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for noun in ["deployment", "statefulset"] {
        for changed in evidence.changed_once(noun) {
            if changed.part == "replicas" {
                findings.extend(managed(evidence, &changed));
            }
        }
    }
    findings.extend(without_pods(evidence));
    findings
}

fn kind_of(noun: &str) -> &'static str {
    if noun == "deployment" { "Deployment" } else { "StatefulSet" }
}

fn managed(evidence: &Evidence<'_>, changed: &ChangedObject<'_>) -> Vec<Finding> {
    let (namespace, name) = changed.name.split_once('/').unwrap_or(("", changed.name));
    let is_target = |object: &&Value| {
        // KEDA takes a target without a kind for a deployment.
        let kind = Some(text(object, "/spec/scaleTargetRef/kind")).filter(|kind| !kind.is_empty());
        text(object, "/metadata/namespace") == namespace
            && text(object, "/spec/scaleTargetRef/name") == name
            && kind.unwrap_or("Deployment") == kind_of(changed.kind)
            && !is_paused(object)
    };
    let (before, after) = (changed.before.as_i64(), changed.after.as_i64());
    let mut findings = Vec::new();
    for kind in ["HorizontalPodAutoscaler", "ScaledObject"] {
        for scaler in evidence.objects(kind).filter(is_target) {
            let scaler_name = text(scaler, "/metadata/name");
            let bounds = match kind {
                "ScaledObject" => ["/spec/minReplicaCount", "/spec/maxReplicaCount"],
                _ => ["/spec/minReplicas", "/spec/maxReplicas"],
            };
            if kind == "HorizontalPodAutoscaler" && yields(scaler, before, after) {
                continue;
            }
            // KEDA starts pods again when there is work for them.
            let report = if after == Some(0) { warning } else { error };
            let bound = |pointer| {
                number(scaler, pointer).map_or_else(|| "default".to_owned(), |n| n.to_string())
            };
            findings.push(
                report(
                    "replicas_managed",
                    format!(
                        "{kind} {namespace}/{scaler_name} sets the replicas of {} {}, which the run sets too",
                        changed.kind, changed.name
                    ),
                )
                .because(format!(
                    "its scaleTargetRef names it; minimum {}, maximum {}",
                    bound(bounds[0]),
                    bound(bounds[1])
                ))
                .hint("pause the autoscaler for the time of the run, or let it scale")
                .at(changed.step),
            );
        }
    }
    let managers = evidence.replicas_managers(kind_of(changed.kind), namespace, name).iter();
    let others = managers.filter(|manager| !is_usual(&manager.manager));
    findings.extend(others.map(|other| {
        warning(
            "replicas_owned",
            format!(
                "{} manages the replicas of {} {}, and may set them back",
                other.manager, changed.kind, changed.name
            ),
        )
        .because("managedFields names it as the manager of spec.replicas")
        .hint("suspend what reconciles the workload for the time of the run")
        .at(changed.step)
    }));
    findings
}

/// Whether KEDA is told to leave the workload alone.
fn is_paused(scaler: &Value) -> bool {
    let annotation = |name: &str| {
        let all = scaler.pointer("/metadata/annotations");
        all.and_then(|all| all.get(format!("autoscaling.keda.sh/{name}"))?.as_str())
    };
    annotation("paused") == Some("true") || annotation("paused-replicas").is_some()
}

/// Whether a Horizontal Pod Autoscaler leaves the new number as it is.
fn yields(autoscaler: &Value, before: Option<i64>, after: Option<i64>) -> bool {
    let least = number(autoscaler, "/spec/minReplicas").unwrap_or(1);
    let most = number(autoscaler, "/spec/maxReplicas").unwrap_or(i64::MAX);
    autoscaling::leaves_alone(&(least..=most), before, after)
}

/// Whether a manager is a person's tool, or one that does not set replicas back by itself. `unknown` is a client
/// without a name.
fn is_usual(manager: &str) -> bool {
    let usual = [
        "kubectl",
        "helm",
        "rafay-relay-sop",
        "kube-controller-manager",
        "before-first-apply",
        "unknown",
    ];
    usual.iter().any(|name| manager.to_ascii_lowercase().starts_with(name))
}

/// The actions that do nothing, or nothing of use, for a workload without pods.
const NEED_PODS: [&str; 2] = ["rollout_restart", "scale_deployment"];

/// A step that restarts or multiplies a workload that has no pods does nothing, after others have done their part.
fn without_pods(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut scaled = BTreeSet::new();
    for step in evidence.steps {
        let sizes = evidence
            .changes_of(step)
            .filter(|change| change.part == "replicas" && change.after != 0);
        let names: Vec<&str> = sizes.map(|change| change.name).collect();
        let Some(arguments) = &step.arguments else {
            scaled.extend(names);
            continue;
        };
        // A number is meant as it is: from nothing, as `unpark` does, or to nothing.
        let is_number = arguments.get("replicas").is_some_and(Value::is_number);
        let is_skipped = matches!(step.effect, Effect::Skipped { .. });
        let needs_pods = NEED_PODS.contains(&step.action.as_str()) && !is_number && !is_skipped;
        for (parameter, kind) in [("deployment", "Deployment"), ("stateful_set", "StatefulSet")] {
            let (namespace, name) =
                (text(arguments, "/namespace"), text(arguments, &format!("/{parameter}")));
            let path = format!("{namespace}/{name}");
            let found = evidence.object(kind, &path);
            let has_none = found.is_some_and(|object| number(object, "/spec/replicas") == Some(0));
            if has_none && needs_pods && !scaled.contains(path.as_str()) {
                let found = error("zero_replicas", format!("{kind} {path} has no pods"))
                    .because(format!("spec.replicas of {kind} {path} is 0"))
                    .hint("scale it first, or leave the step out");
                findings.push(found.at(&step.path));
            }
        }
        scaled.extend(names);
    }
    findings
}
