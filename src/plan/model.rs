//! A plan as data: what a run would do to each object, what is certain about that, and what speaks against the run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::journal::{Failure, FailureKind, RecordedChange, RunTarget, StepPath};

/// The version of the format of plan files.
pub const PLAN_FORMAT: u32 = 1;

/// A plan: the changes that a run would make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The version of the format.
    pub format: u32,
    /// The name of the runbook.
    pub runbook: String,
    /// The SHA-256 of its text, and of the texts of the runbooks that it calls, by name.
    pub digests: Vec<(String, String)>,
    /// Its inputs, defaults included.
    pub inputs: Map<String, Value>,
    /// The answers to questions of approvals, with which it was rehearsed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, String>,
    /// The cluster and account.
    pub target: RunTarget,
    /// When the cluster was read.
    pub made_at: Timestamp,
    /// The steps, in the order in which they would run.
    pub steps: Vec<PlannedStep>,
    /// The rehearsal of the run.
    pub rehearsal: Rehearsal,
    /// The findings: facts that speak against the run, or should be known before it.
    pub findings: Vec<Finding>,
    /// The facts that could not be read or are not simulated, and what is not predicted because of them.
    pub gaps: Vec<Gap>,
    /// How many calls were made to copy the cluster and the account.
    pub reads: Reads,
    /// The names of what exists; for what the plan calls new.
    #[serde(skip)]
    pub existing: Existing,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedStep {
    /// Its address in the run.
    pub path: StepPath,
    /// Its name.
    pub name: String,
    /// Its action; `call` for one that calls a runbook.
    pub action: String,
    /// The basis of what is said of it.
    pub basis: Basis,
    /// Its effect.
    pub effect: Effect,
    /// Its changes, object by object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<RecordedChange>,
    /// Whether its changes can be undone; absent for a step that changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_be_undone: Option<bool>,
    /// Whether it is undone when the run ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored_at_end: bool,
    /// The steps after which it is known what it does, where that is not known before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_after: Vec<StepPath>,
    /// The message that it logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The conditions that it waits for, where that takes time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// How long it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes: Option<Span>,
    /// Its parameters, as far as they are known before the run; for findings.
    #[serde(skip)]
    pub arguments: Option<Value>,
    /// Whether the run goes on where it fails; for findings.
    #[serde(skip)]
    pub may_fail: bool,
    /// Whether it can change something, by its action or by those of the runbook that it calls.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_change: bool,
    /// Its reads, as calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
}

/// The basis of a part of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A read: nothing that the run does before changes it.
    Read,
    /// A prediction of the rehearsal.
    Predicted,
    /// None.
    Unknown,
}

/// The effect of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "does")]
pub enum Effect {
    /// The step changes objects.
    Changes,
    /// The step has nothing to change.
    Nothing,
    /// The step reads.
    Reads,
    /// The step waits.
    Waits,
    /// The step runs other steps, or the same for several items: they follow.
    Parts,
    /// The step is skipped.
    Skipped {
        /// Why.
        reason: String,
    },
    /// The step fails.
    Fails {
        /// Why.
        failure: Failure,
    },
    /// The run does not come to it.
    NotReached,
    /// The effect is not known.
    Unknown,
}

/// A duration: the one that is likely, between two that are not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// The shortest, in seconds.
    pub low: f64,
    /// The likely one, in seconds.
    pub typical: f64,
    /// The longest, in seconds.
    pub high: f64,
}

impl Span {
    /// Returns the span of three durations, in order.
    pub fn of(mut durations: [Duration; 3]) -> Self {
        durations.sort_unstable();
        let [low, typical, high] = durations.map(|duration| duration.as_secs_f64());
        Self { low, typical, high }
    }
}

/// The rehearsal of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
#[expect(clippy::large_enum_variant, reason = "a plan has one")]
pub enum Rehearsal {
    /// The whole runbook was run on a copy of the cluster.
    Done {
        /// The state in which the run ended: `succeeded`, `failed`, `rolled_back`, ….
        outcome: String,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// The step that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed_step: Option<StepPath>,
        /// How long the run takes.
        takes: Span,
        /// Where new pods are placed.
        placements: Vec<Placement>,
        /// The pods that are not placed at the end, each with the reason.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unplaced: Vec<Unplaced>,
        /// The sources of the durations.
        durations: Vec<String>,
    },
    /// The run was not rehearsed.
    NotDone {
        /// Why.
        reason: String,
    },
}

impl Rehearsal {
    /// Whether the run was rehearsed and did not succeed.
    pub fn has_failed(&self) -> bool {
        match self {
            Self::Done { outcome, .. } => !outcome.starts_with("succeeded"),
            Self::NotDone { .. } => false,
        }
    }
}

/// New pods on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placement {
    /// The namespace of the workload.
    pub namespace: String,
    /// The workload.
    pub workload: String,
    /// The node.
    pub node: String,
    /// How many of its new pods run there at the end.
    pub pods: usize,
}

/// A pod that no node takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unplaced {
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Why.
    pub reason: String,
}

/// How much a finding matters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The run does not start unless a person accepts it.
    Error,
    /// The run starts.
    Warning,
    /// The run starts, and the finding is good to know.
    Note,
}

/// Something that speaks against a run, or should be known before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Its code, by which it can be accepted.
    pub code: String,
    /// The message.
    pub message: String,
    /// The facts by which it was found.
    pub evidence: String,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The step that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepPath>,
}

impl Finding {
    /// Whether a run can be started in spite of it.
    pub fn can_be_accepted(&self) -> bool {
        !FINAL.contains(&self.code.as_str())
    }
}

/// Something that is not known, and what cannot be predicted without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// The unknown.
    pub what: String,
    /// Why, and what follows.
    pub why: String,
}

/// The codes of findings that cannot be accepted: the start of a run, or the run, refuses by itself.
pub(super) const FINAL: [&str; 3] = ["limit_exceeded", "permission_missing", "unfinished_run"];

/// The codes of findings about what other clients are doing.
const MAY_PASS: [&str; 2] = ["update_in_flight", "unfinished_run"];

/// The names of what existed when a plan was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Existing {
    /// The names of nodes, and the ids of instances.
    pub nodes: BTreeSet<String>,
    /// The names of pods.
    pub pods: BTreeSet<String>,
}

/// How many calls were made, by service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reads {
    /// To the Kubernetes API, each page one.
    pub kubernetes: u64,
    /// To the services of AWS, each page one.
    pub aws: u64,
}

impl Plan {
    /// Returns the findings that stop a run, without those that are accepted.
    pub fn errors<'p>(&'p self, accepted: &'p [String]) -> impl Iterator<Item = &'p Finding> {
        let is_error = |finding: &&Finding| finding.severity == Severity::Error;
        let is_accepted =
            |finding: &&Finding| accepted.contains(&finding.code) && finding.can_be_accepted();
        self.findings.iter().filter(is_error).filter(move |finding| !is_accepted(finding))
    }

    /// Returns the codes among those that a person accepts without which the run would not start.
    pub fn needed_consent(&self, accepted: &[String]) -> Vec<String> {
        let is_needed = |code: &&String| self.errors(&[]).any(|finding| finding.code == **code);
        let mut needed: Vec<String> = accepted.iter().filter(is_needed).cloned().collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// Returns why a run must not start, if a finding speaks against it that is not accepted. `how` says how codes are
    /// accepted.
    pub fn refusal(&self, accepted: &[String], how: impl Fn(&[&str]) -> String) -> Option<Failure> {
        let errors: Vec<&Finding> = self.errors(accepted).collect();
        let first = errors.first()?;
        let text = |finding: &&Finding| format!("{}: {}", finding.code, finding.message);
        let texts: Vec<String> = errors.iter().map(text).collect();
        let mut codes: Vec<&str> = errors.iter().map(|finding| finding.code.as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        let is_final = codes.iter().any(|code| FINAL.contains(code));
        let how = how(&codes);
        let hint = match &first.hint {
            Some(hint) if is_final => hint.clone(),
            Some(hint) => format!("{hint}; or start nevertheless with {how}"),
            None if is_final => "`plan` shows the facts".to_owned(),
            None => format!("`plan` shows the facts; start nevertheless with {how}"),
        };
        // What another client is about passes.
        let passes = |finding: &&Finding| MAY_PASS.contains(&finding.code.as_str());
        let kind = match errors.iter().all(passes) {
            true => FailureKind::Conflict,
            false => FailureKind::Precondition,
        };
        let failure = Failure::new(kind, texts.join("; "));
        Some(failure.with_hint(Some(hint)))
    }

    /// Whether the run would change something.
    pub fn changes_something(&self) -> bool {
        self.steps.iter().any(|step| match step.effect {
            Effect::Changes => true,
            Effect::Unknown | Effect::NotReached => step.may_change,
            Effect::Fails { .. } => !step.changes.is_empty(),
            _ => false,
        })
    }

    /// Returns the steps that may change something, of which the plan does not say what: a run cannot keep to it.
    pub fn open_steps(&self) -> Vec<&StepPath> {
        let is_open = |step: &&PlannedStep| {
            step.may_change && matches!(step.effect, Effect::Unknown | Effect::NotReached)
        };
        self.steps.iter().filter(is_open).map(|step| &step.path).collect()
    }
}
