//! Who else sets the replicas of a workload that the run scales, and workloads without pods.

use serde_json::Value;

use super::{
    error,
    evidence::{ChangedObject, Evidence, number, text},
    warning,
};
use crate::plan::model::{Effect, Finding};

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
        text(object, "/metadata/namespace") == namespace
            && text(object, "/spec/scaleTargetRef/name") == name
            && matches!(
                text(object, "/spec/scaleTargetRef/kind"),
                "" | "Deployment" | "StatefulSet"
            )
            && (text(object, "/spec/scaleTargetRef/kind").is_empty()
                || text(object, "/spec/scaleTargetRef/kind") == kind_of(changed.kind))
    };
    let mut findings = Vec::new();
    for kind in ["HorizontalPodAutoscaler", "ScaledObject"] {
        for scaler in evidence.objects(kind).filter(is_target) {
            let scaler_name = text(scaler, "/metadata/name");
            let bounds = match kind {
                "ScaledObject" => ["/spec/minReplicaCount", "/spec/maxReplicaCount"],
                _ => ["/spec/minReplicas", "/spec/maxReplicas"],
            };
            let bound = |pointer| {
                number(scaler, pointer).map_or_else(|| "default".to_owned(), |n| n.to_string())
            };
            findings.push(
                error(
                    "replicas_managed",
                    format!(
                        "{kind} {namespace}/{scaler_name} sets the replicas of {} {}, which the run sets to {}",
                        changed.kind, changed.name, changed.after
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

/// Whether a manager is a person's tool, or one that does not set replicas back by itself.
fn is_usual(manager: &str) -> bool {
    let usual =
        ["kubectl", "helm", "rafay-relay-sop", "kube-controller-manager", "before-first-apply"];
    usual.iter().any(|name| manager.to_ascii_lowercase().starts_with(name))
}

/// A step that restarts or multiplies a workload that has no pods does nothing, after others have done their part.
fn without_pods(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for step in evidence.steps.iter().filter(|step| step.can_be_undone.is_some()) {
        let Some(arguments) = &step.arguments else { continue };
        // A run that scales up from nothing, as `unpark` does, is meant.
        let scales_up = arguments.get("replicas").and_then(Value::as_i64) > Some(0);
        let is_skipped = matches!(step.effect, Effect::Skipped { .. });
        for (parameter, kind) in [("deployment", "Deployment"), ("stateful_set", "StatefulSet")] {
            let (namespace, name) =
                (text(arguments, "/namespace"), text(arguments, &format!("/{parameter}")));
            let path = format!("{namespace}/{name}");
            let found = evidence.object(kind, &path);
            let has_none = found.is_some_and(|object| number(object, "/spec/replicas") == Some(0));
            if has_none && !scales_up && !is_skipped {
                let found = error("zero_replicas", format!("{kind} {path} has no pods"))
                    .because(format!("spec.replicas of {kind} {path} is 0"))
                    .hint("scale it first, or leave the step out");
                findings.push(found.at(&step.path));
            }
        }
    }
    findings
}
