//! What speaks against a run, or should be known before it: one file a concept, each a function from the evidence to
//! findings. None of them reads anything.

mod budgets;
mod capacity;
pub(super) mod evidence;
mod failures;
pub(super) mod intended;
mod nodegroups;
mod pods;
mod replicas;
mod rollouts;

use std::collections::BTreeSet;

use super::model::{Finding, Severity};
use crate::{
    journal::StepPath,
    permissions::{PermissionReport, describe_all},
};
use evidence::Evidence;

/// A check of the evidence.
type Check = fn(&Evidence<'_>) -> Vec<Finding>;

/// Every check, in the order in which findings of the same severity are listed.
const CHECKS: [Check; 6] = [
    replicas::check,
    rollouts::check,
    budgets::check,
    nodegroups::check,
    capacity::check,
    pods::check,
];

/// The codes of all findings, with what each means: for the documentation, and for `--accept`.
pub const CODES: [(&str, &str); 27] = [
    ("rehearsal_failed", "the run fails on a copy of the cluster"),
    ("limit_exceeded", "the run would exceed a limit of its runbook"),
    ("maximum_too_small", "a size is larger than the maximum of its nodegroup or group"),
    ("step_fails", "a step fails with what is there now"),
    ("object_missing", "an object that a step names does not exist"),
    ("replicas_managed", "an autoscaler sets the replicas that the run sets"),
    ("replicas_owned", "another client manages the field of the replicas"),
    ("zero_replicas", "a workload that the run scales or restarts has no pods"),
    ("rollout_paused", "the rollout of a deployment that the run changes is paused"),
    ("rollout_stuck", "the rollout of a deployment that the run changes makes no progress"),
    ("rollout_in_progress", "the rollout of a deployment that the run changes is in progress"),
    ("budget_blocks", "a disruption budget never allows what the run does to a pod"),
    ("budget_exhausted", "a disruption budget does not allow it now"),
    ("update_in_flight", "an update of a nodegroup that the run changes is in progress"),
    ("nodegroup_unhealthy", "a nodegroup that the run changes is not active"),
    ("several_groups", "a nodegroup that the run changes has several Auto Scaling groups"),
    ("cluster_autoscaler", "a cluster autoscaler may undo the new size of a group"),
    ("processes_suspended", "a process that the run needs is suspended in a group"),
    ("all_protected", "every instance is protected, so a group cannot get smaller"),
    ("born_protected", "new instances are protected from scale-in"),
    ("launches_fail", "launches of a group have failed lately"),
    ("addresses_too_few", "the subnets have fewer free addresses than new nodes need"),
    ("quota_exceeded", "a quota does not allow the new pods"),
    ("pods_not_placed", "new pods fit on no node"),
    ("own_pod", "this process runs on a node that the run closes or removes"),
    ("permission_missing", "this account may not make a call that the run needs"),
    ("unfinished_run", "another run holds the cluster"),
];

/// Returns the first of these codes that no finding has.
pub fn unknown_code(codes: &[String]) -> Option<&str> {
    let is_known = |code: &str| CODES.iter().any(|(known, _)| *known == code);
    codes.iter().map(String::as_str).find(|code| !is_known(code))
}

/// Returns all findings, the worst first.
pub(super) fn all(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = failures::check(evidence);
    let mut checked: Vec<Finding> = CHECKS.iter().flat_map(|check| check(evidence)).collect();
    checked.retain_mut(|found| holds_at_its_step(evidence, &findings, found));
    // A check names each object, where a step is refused because of the first.
    findings.retain(|refusal| {
        !checked.iter().any(|found| (&found.code, &found.step) == (&refusal.code, &refusal.step))
    });
    findings.extend(checked);
    // Several steps may change one object: the first of them says it.
    let mut said = BTreeSet::new();
    findings.retain(|found| said.insert((found.code.clone(), found.message.clone())));
    // What fails, and why, is one finding where the why has a code of its own.
    let explained: BTreeSet<StepPath> = findings
        .iter()
        .filter(|found| found.severity == Severity::Error && !is_general(&found.code))
        .filter_map(|found| found.step.clone())
        .collect();
    let is_explained =
        |found: &Finding| found.step.as_ref().is_some_and(|step| explained.contains(step));
    findings.retain(|found| !is_general(&found.code) || !is_explained(found));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Judges a finding, which was made from the cluster as it is, by what the rehearsal shows of the step: an earlier step
/// may have changed what speaks against it. Returns whether it is still one.
fn holds_at_its_step(evidence: &Evidence<'_>, refusals: &[Finding], found: &mut Finding) -> bool {
    let Some(step) = found.step.as_ref().filter(|_| found.severity == Severity::Error) else {
        return true;
    };
    // The copy decides about evictions as the API server does.
    if found.code == "budget_blocks" && evidence.has_reached(step) {
        return refusals
            .iter()
            .any(|refusal| (&refusal.code, &refusal.step) == (&found.code, &found.step));
    }
    if !evidence.has_passed(step) {
        return true;
    }
    match found.code.as_str() {
        "all_protected"
        | "nodegroup_unhealthy"
        | "processes_suspended"
        | "rollout_paused"
        | "rollout_stuck"
        | "several_groups"
        | "update_in_flight" => {
            found.severity = Severity::Warning;
            found.evidence.push_str("; the step succeeded on the copy of the cluster");
        }
        _ => {}
    }
    true
}

/// Whether a code only says where something was found.
fn is_general(code: &str) -> bool {
    matches!(code, "step_fails" | "rehearsal_failed")
}

/// Returns the warnings that were found before the plan as findings.
pub(super) fn of_warnings(warnings: &[String]) -> Vec<Finding> {
    // Only that of the node on which this process runs is found before a run.
    let found = |text: &String| {
        let found = warning("own_pod", text.clone()).because("SOP_NODE_NAME names the node");
        found.hint("move it to another node, or let another replica continue the run").of_run()
    };
    let each = warnings.iter().map(found);
    each.collect()
}

/// Returns the permissions that the account lacks as findings.
pub(super) fn of_permissions(report: &PermissionReport) -> Vec<Finding> {
    let missing: Vec<_> = report.required().map(|missing| &missing.requirement).collect();
    let each = describe_all(missing).into_iter().map(|text| {
        error("permission_missing", format!("this account lacks a permission: {text}"))
            .because("the API server and IAM were asked, or the call was made")
            .hint("`permissions NAME` prints the policy and the roles that the runbook needs")
            .of_run()
    });
    each.collect()
}

/// Returns the run that holds the cluster as a finding.
pub(super) fn of_holder(holder: &str) -> Finding {
    error("unfinished_run", format!("another run holds the cluster: {holder}"))
        .because("the lease rafay-relay-sop in kube-system has its lock")
        .hint("let it end, resume it, roll it back or abandon it")
        .of_run()
}

/// A finding that is being written.
struct New(Finding);

fn error(code: &'static str, message: impl Into<String>) -> New {
    New::of(Severity::Error, code, message)
}

fn warning(code: &'static str, message: impl Into<String>) -> New {
    New::of(Severity::Warning, code, message)
}

impl New {
    fn of(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        let (code, message) = (code.to_owned(), message.into());
        let evidence = String::new();
        Self(Finding { severity, code, message, evidence, hint: None, step: None })
    }

    fn because(mut self, evidence: impl Into<String>) -> Self {
        self.0.evidence = evidence.into();
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    fn at(mut self, step: &StepPath) -> Finding {
        self.0.step = Some(step.clone());
        self.0
    }

    fn of_run(self) -> Finding {
        self.0
    }
}
