//! What steps are to change that are refused, or to which a rehearsal does not come, as far as the runbook and its
//! inputs say: a conflict that lies behind another one is found with it.

use serde_json::Value;

use super::evidence::ChangedObject;
use crate::{
    journal::StepPath,
    permissions::{Access, Need, Requirement},
    plan::model::{Effect, PlannedStep},
};

/// A workload that a step is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plan) struct Intended {
    kind: &'static str,
    path: String,
    part: &'static str,
    step: StepPath,
}

impl Intended {
    /// Returns it as a change whose values are not known.
    pub(in crate::plan) fn as_change(&self) -> ChangedObject<'_> {
        let unknown = &Value::Null;
        let Self { kind, path, part, step } = self;
        ChangedObject { kind, name: path, part, before: unknown, after: unknown, step }
    }
}

/// Returns the workloads that the steps are to change that are refused, or that the run does not come to.
pub(in crate::plan) fn intended(needed: &[Requirement], steps: &[PlannedStep]) -> Vec<Intended> {
    let is_open = |step: &&PlannedStep| match step.effect {
        Effect::NotReached | Effect::Unknown => true,
        // It is refused because of the first conflict that it meets.
        Effect::Fails { .. } => step.changes.is_empty(),
        _ => false,
    };
    let open: Vec<&PlannedStep> = steps.iter().filter(is_open).collect();
    let mut found: Vec<Intended> = Vec::new();
    for requirement in needed {
        let Access::Kubernetes(access) = &requirement.access else { continue };
        let kind = match (access.group.as_str(), access.resource.as_str()) {
            ("apps", "deployments") => "deployment",
            ("apps", "statefulsets") => "statefulset",
            _ => continue,
        };
        let (Some(namespace), Some(name)) = (access.place.namespace(), &access.name) else {
            continue;
        };
        let (Some(namespace), Some(name)) = (namespace.known(), name.known()) else { continue };
        for need in &requirement.needed_by {
            let Need::Step { step: id, is_undo: false, .. } = need else { continue };
            let step = open
                .iter()
                .find(|step| step.path.segments().last().is_some_and(|last| last.step == *id));
            let Some(step) = step else { continue };
            let part = match step.action.as_str() {
                "scale_deployment" => "replicas",
                "rollout_restart" | "set_image" => "template",
                _ => continue,
            };
            let path = format!("{namespace}/{name}");
            let new = Intended { kind, path, part, step: step.path.clone() };
            if !found.contains(&new) {
                found.push(new);
            }
        }
    }
    found
}
