//! A plan as a page shows it. Pure.

use super::{
    step_view::FailureView,
    words::{self, Badge, Moment, duration, moment, shown},
};
use crate::{
    journal::{Failure, StepPath},
    plan::{Basis, Effect, Finding, Plan, PlannedStep, Rehearsal, Severity, Span},
};

/// How many changes of a step are shown, and how many steps.
const MAX_CHANGES: usize = 50;
const MAX_STEPS: usize = 2_000;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlanView {
    pub(super) badge: Badge,
    /// How long the run takes.
    pub(super) takes: String,
    pub(super) target: String,
    pub(super) made_at: Moment,
    /// How the plan was made.
    pub(super) basis: String,
    pub(super) failure: Option<FailureView>,
    pub(super) findings: Vec<FindingView>,
    pub(super) steps: Vec<PlannedStepView>,
    pub(super) gaps: Vec<(String, String)>,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FindingView {
    pub(super) badge: Badge,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) evidence: String,
    pub(super) hint: Option<String>,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedStepView {
    pub(super) badge: Badge,
    pub(super) name: String,
    /// How many steps it is within: 0 at the top level, at most 3.
    pub(super) depth: usize,
    pub(super) takes: String,
    pub(super) waits: Vec<String>,
    pub(super) text: Option<String>,
    pub(super) changes: Vec<PlannedChange>,
    pub(super) more_changes: usize,
}

/// A change of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedChange {
    pub(super) target: String,
    pub(super) before: String,
    pub(super) after: String,
}

impl PlannedStepView {
    /// Whether more is shown than the line.
    pub(super) fn has_body(&self) -> bool {
        !self.waits.is_empty() || self.text.is_some() || !self.changes.is_empty()
    }
}

impl PlanView {
    /// Returns the view of a plan.
    pub(super) fn of(plan: &Plan) -> Self {
        let badge = |class, icon, word| Badge { class, icon, word };
        let has_errors = plan.errors(&[]).next().is_some();
        let (takes, basis, failure) = match &plan.rehearsal {
            Rehearsal::Done { takes, failure, .. } => (
                format!("takes {}", span(takes)),
                "The whole run was rehearsed on a copy of the cluster.".to_owned(),
                failure.as_ref().map(FailureView::of),
            ),
            Rehearsal::NotDone { reason } => {
                (String::new(), format!("The run was not rehearsed: {reason}."), None)
            }
        };
        Self {
            badge: match (has_errors, plan.rehearsal.has_failed(), plan.changes_something()) {
                (true, ..) => badge("bad", "bad", "would be refused"),
                (false, true, _) => badge("bad", "bad", "would fail"),
                (false, false, true) => badge("ok", "ok", "would succeed"),
                (false, false, false) => badge("off", "skip", "would change nothing"),
            },
            takes,
            target: shown(&plan.target.to_string()),
            made_at: moment(plan.made_at),
            basis: shown(&basis),
            failure,
            findings: plan.findings.iter().map(finding).collect(),
            steps: plan.steps.iter().take(MAX_STEPS).map(step).collect(),
            gaps: plan.gaps.iter().map(|gap| (shown(&gap.what), shown(&gap.why))).collect(),
        }
    }
}

fn finding(finding: &Finding) -> FindingView {
    let badge = |class, icon, word| Badge { class, icon, word };
    FindingView {
        badge: match finding.severity {
            Severity::Error => badge("bad", "bad", "error"),
            Severity::Warning => badge("warn", "warn", "warning"),
            Severity::Note => badge("off", "pending", "note"),
        },
        code: shown(&finding.code),
        message: shown(&match &finding.step {
            Some(step) => format!("{step}: {}", finding.message),
            None => finding.message.clone(),
        }),
        evidence: shown(&finding.evidence),
        hint: finding.hint.as_deref().map(shown),
    }
}

/// Returns a duration as the likely one with its range, where that is wide.
fn span(span: &Span) -> String {
    let text = |seconds: f64| {
        let seconds = if seconds.is_finite() { seconds.clamp(0.0, 1e9) } else { 0.0 };
        duration(std::time::Duration::from_secs_f64(seconds.round()))
    };
    let (low, typical, high) = (text(span.low), text(span.typical), text(span.high));
    if low == high {
        format!("about {typical}")
    } else {
        format!("about {typical} ({low} to {high})")
    }
}

fn step(step: &PlannedStep) -> PlannedStepView {
    let badge = |class, icon, word| Badge { class, icon, word };
    let can_be_undone = step.can_be_undone.unwrap_or(true);
    let (badge, text) = match &step.effect {
        Effect::Changes if step.restored_at_end => {
            (badge("run", "undo", "changes, restored at the end"), None)
        }
        Effect::Changes if !can_be_undone => {
            (badge("warn", "warn", "changes, cannot be undone"), None)
        }
        Effect::Changes => (badge("run", "run", "changes"), None),
        Effect::Nothing => (badge("off", "ok", "nothing to change"), None),
        Effect::Reads => (badge("off", "ok", "reads"), None),
        Effect::Waits => (badge("wait", "wait", "waits"), None),
        Effect::Parts => (badge("off", "pending", "runs its parts"), None),
        Effect::Skipped { reason } => (badge("off", "skip", "skipped"), Some(reason.clone())),
        Effect::Fails { failure } => (badge("bad", "bad", "fails"), Some(with_hint(failure))),
        Effect::NotReached => (badge("off", "pending", "not reached"), None),
        Effect::Unknown => (badge("off", "ask", "not known"), None),
    };
    let known_after = match step.known_after.is_empty() {
        true => None,
        false => Some(format!("known after {}", StepPath::join(&step.known_after, ", "))),
    };
    let basis = (step.basis == Basis::Predicted && !step.changes.is_empty())
        .then(|| "predicted by the rehearsal".to_owned());
    let texts = [text, step.message.clone(), known_after, basis];
    let text: Vec<String> = texts.into_iter().flatten().map(|text| shown(&text)).collect();
    PlannedStepView {
        badge,
        name: shown(&step.name),
        depth: (step.path.segments().len() - 1 + usize::from(step.path.step_of_item().is_some()))
            .min(3),
        takes: step
            .takes
            .as_ref()
            .map(|takes| {
                duration(std::time::Duration::from_secs_f64(takes.typical.clamp(0.0, 1e9).round()))
            })
            .unwrap_or_default(),
        waits: step.waits_for.iter().map(|one| shown(one)).collect(),
        text: (!text.is_empty()).then(|| text.join("; ")),
        changes: step
            .changes
            .iter()
            .take(MAX_CHANGES)
            .map(|change| PlannedChange {
                target: shown(&change.target),
                before: words::value(&change.before),
                after: words::value(&change.after),
            })
            .collect(),
        more_changes: step.changes.len().saturating_sub(MAX_CHANGES),
    }
}

fn with_hint(failure: &Failure) -> String {
    failure.lines().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_range_where_that_is_not_one_value() {
        let of = |low, typical, high| span(&Span { low, typical, high });
        assert_eq!(of(60.0, 60.2, 60.4), "about 1m 00s");
        assert_eq!(of(30.0, 60.0, 300.0), "about 1m 00s (30s to 5m 00s)");
        assert_eq!(of(f64::NAN, 0.0, 0.0), "about 0s");
    }
}
