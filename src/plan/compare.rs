//! Two plans of one run: an approved one, and one that was made just before the run.

use std::collections::BTreeSet;

use super::model::{Effect, Plan, PlannedStep, Severity};
use crate::journal::{ApprovedPlan, ApprovedStep, differences};

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
        let paths = self.steps.iter().chain(&now.steps).map(|step| &step.path);
        let mut seen = BTreeSet::new();
        for path in paths.filter(|path| seen.insert(*path)) {
            let of = |plan: &'_ Self| plan.steps.iter().find(|step| step.path == *path).cloned();
            found.extend(
                of_step(of(self), of(now)).iter().map(|what| format!("step {path}: {what}")),
            );
        }
        let known: BTreeSet<(&str, Option<&_>)> =
            self.findings.iter().map(|found| (found.code.as_str(), found.step.as_ref())).collect();
        let new = now.findings.iter().filter(|finding| {
            finding.severity == Severity::Error
                && !known.contains(&(finding.code.as_str(), finding.step.as_ref()))
        });
        found.extend(
            new.map(|finding| format!("new finding {}: {}", finding.code, finding.message)),
        );
        found
    }

    /// Returns what the run must keep to. `digest` is that of the file of the plan.
    pub fn approve(&self, digest: String) -> ApprovedPlan {
        let changing = self.steps.iter().filter(|step| step.effect == Effect::Changes);
        let steps = changing
            .map(|step| ApprovedStep { step: step.path.clone(), changes: step.changes.clone() });
        ApprovedPlan { digest, steps: steps.collect(), existing: BTreeSet::new() }
    }
}

fn of_step(planned: Option<PlannedStep>, now: Option<PlannedStep>) -> Vec<String> {
    let what = |step: &Option<PlannedStep>| {
        step.as_ref().map_or("is not there", |step| word(&step.effect))
    };
    if what(&planned) != what(&now) {
        return vec![format!("planned: {}; now: {}", what(&planned), what(&now))];
    }
    let changes = |step: Option<PlannedStep>| step.map(|step| step.changes).unwrap_or_default();
    differences(&changes(planned), &changes(now))
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
