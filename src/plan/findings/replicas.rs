//! Who else sets the replicas of a workload that the run scales, and workloads without pods.

use serde_json::Value;

use super::{
    error,
    evidence::{ChangedObject, Evidence, number, text},
    warning,
};
use crate::plan::model::Finding;

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for noun in ["deployment", "statefulset"] {
        for changed in evidence.changed_once(noun) {
            if changed.part == "replicas" {
                findings.extend(managed(evidence, &changed));
            }
            findings.extend(without_pods(evidence, &changed));
        }
    }
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

fn without_pods(evidence: &Evidence<'_>, changed: &ChangedObject<'_>) -> Option<Finding> {
    let object = evidence.object(kind_of(changed.kind), changed.name)?;
    let wants_none = number(object, "/spec/replicas") == Some(0);
    // A run that scales up from nothing, as `unpark` does, is meant.
    let scales_up = changed.part == "replicas" && changed.after.as_i64() > Some(0);
    if !wants_none || scales_up {
        return None;
    }
    Some(
        error("zero_replicas", format!("{} {} has no pods", changed.kind, changed.name))
            .because("its spec.replicas is 0")
            .hint("scale it first, or leave the step out")
            .at(changed.step),
    )
}
