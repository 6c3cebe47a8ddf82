//! Two plans of one run: an approved one, and one that was made just before the run.

use std::collections::{BTreeSet, HashMap};

use super::model::{Basis, Effect, Existing, Plan, PlannedStep, Severity};
use crate::journal::{ApprovedPlan, ApprovedStep, StepPath, differences, without_evictions};

impl Plan {
    /// Returns how another plan of the same runbook differs, a sentence each: what it is made for, what it changes, and
    /// what speaks against it now.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.runbook != now.runbook {
            found.push(format!("the plan is of runbook {}, not {}", self.runbook, now.runbook));
        }
        for (name, digest) in &self.digests {
            match now.digests.iter().find(|(other, _)| other == name) {
                Some((_, other)) if other == digest => {}
                Some(_) => found.push(format!("the text of runbook {name} is another")),
                None => found.push(format!("runbook {name} is no longer called")),
            }
        }
        for (name, value) in &now.inputs {
            if self.inputs.get(name) != Some(value) {
                let planned = self.inputs.get(name).cloned().unwrap_or_default();
                found.push(format!("input {name}: planned {planned}, now {value}"));
            }
        }
        if let Err(mismatch) = self.target.ensure_same(&now.target) {
            found.push(mismatch.to_string());
        }
        let by_path = |plan: &'_ Self| -> HashMap<StepPath, PlannedStep> {
            plan.steps.iter().map(|step| (step.path.clone(), step.clone())).collect()
        };
        let (mut planned, mut found_now) = (by_path(self), by_path(now));
        let mut seen = BTreeSet::new();
        let paths = self.steps.iter().chain(&now.steps).map(|step| &step.path);
        for path in paths.filter(|path| seen.insert(*path)) {
            let differences = of_step(planned.remove(path), found_now.remove(path));
            found.extend(differences.iter().map(|what| format!("step {path}: {what}")));
        }
        let known: BTreeSet<(&str, &str)> = self
            .findings
            .iter()
            .filter(|found| found.severity == Severity::Error)
            .map(|found| (found.code.as_str(), found.message.as_str()))
            .collect();
        let new = now.findings.iter().filter(|finding| {
            finding.severity == Severity::Error
                && !known.contains(&(finding.code.as_str(), finding.message.as_str()))
        });
        found.extend(
            new.map(|finding| format!("new finding {}: {}", finding.code, finding.message)),
        );
        found
    }

    /// Returns what the run must keep to. `digest` is that of the file of the plan, and `existing` the names of what
    /// exists when the run starts.
    pub fn approve(&self, digest: String, existing: &Existing) -> ApprovedPlan {
        // A step that fails may have changed something before.
        let changing = self.steps.iter().filter(|step| {
            matches!(step.effect, Effect::Changes | Effect::Fails { .. })
                && !step.changes.is_empty()
        });
        let steps: Vec<ApprovedStep> = changing
            .map(|step| {
                let evicts_any = evicts_any(step);
                let changes = match evicts_any {
                    true => without_evictions(&step.changes),
                    false => step.changes.clone(),
                };
                ApprovedStep { step: step.path.clone(), changes, evicts_any }
            })
            .collect();
        let texts: Vec<&str> = steps
            .iter()
            .flat_map(|step| &step.changes)
            .map(|change| change.target.as_str())
            .collect();
        let names = |label: &str| texts.iter().any(|text| text.contains(label));
        let mut kept = BTreeSet::new();
        if names("(new node ") || names("(new instance ") {
            kept.extend(existing.nodes.iter().cloned());
        }
        let workloads: BTreeSet<&str> = texts.iter().filter_map(|text| new_pod_of(text)).collect();
        let is_meant = |pod: &&String| workloads.iter().any(|workload| pod.starts_with(*workload));
        kept.extend(existing.pods.iter().filter(is_meant).cloned());
        ApprovedPlan { digest, steps, existing: kept }
    }
}

/// Returns the workload of which a target names a new pod.
fn new_pod_of(target: &str) -> Option<&str> {
    let (_, rest) = target.split_once("(new pod ")?;
    let (_, workload) = rest.split_once(')')?.0.split_once(" of ")?;
    Some(workload)
}

/// Whether the pods that a step evicts are those that the scheduler happens to have put on its nodes: the step says
/// which nodes, and the rehearsal can only guess which pods.
fn evicts_any(step: &PlannedStep) -> bool {
    const BY_NODE: [&str; 4] =
        ["drain", "scale_nodegroup", "terminate_instances", "update_nodegroup_version"];
    step.basis == Basis::Predicted && BY_NODE.contains(&step.action.as_str())
}

fn of_step(planned: Option<PlannedStep>, now: Option<PlannedStep>) -> Vec<String> {
    let what = |step: &Option<PlannedStep>| {
        step.as_ref().map_or("is not there", |step| word(&step.effect))
    };
    if what(&planned) != what(&now) {
        return vec![format!("planned: {}; now: {}", what(&planned), what(&now))];
    }
    // Both may be of the same step on another basis.
    let evicts_any = [&planned, &now].into_iter().flatten().any(evicts_any);
    let changes = |step: Option<PlannedStep>| step.map(|step| step.changes).unwrap_or_default();
    let (planned, now) = (changes(planned), changes(now));
    match evicts_any {
        true => differences(&without_evictions(&planned), &without_evictions(&now)),
        false => differences(&planned, &now),
    }
}

fn word(effect: &Effect) -> &'static str {
    match effect {
        Effect::Changes => "changes something",
        Effect::Nothing => "has nothing to do",
        Effect::Reads => "reads",
        Effect::Waits => "waits",
        Effect::Parts => "runs its parts",
        Effect::Skipped { .. } => "is skipped",
        Effect::Fails { .. } => "fails",
        Effect::NotReached => "is not reached",
        Effect::Unknown => "is not known",
    }
}
