//! A run as a page shows it, but for its steps: what it is, why it failed, what it waits for, what it left.

use jiff::Timestamp;

use super::{
    fields::{Field, Typed},
    step_view::{Axis, FailureView, WaitView},
    watched_run::{LineKind, LogLine, WatchedRun},
    words::{self, Badge, Moment, between, duration, moment, shown, shown_lines, value},
};
use crate::journal::{ApprovalProgress, RunState, StepPath, StepProgress};
use runbook::Questions;

/// How many waits are shown in the line of what a run waits for; each step shows its own.
const MAX_WAITS: usize = 3;

/// How many inputs of a run, and differences, are shown.
const MAX_ROWS: usize = 200;

/// The facts about a run that are not in its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Liveness {
    pub(super) state: RunState,
    /// Whether the service is about to continue the run.
    pub(super) is_recovering: bool,
    /// Why it is not driven any more, where the service knows.
    pub(super) problem: Option<String>,
}

impl Liveness {
    /// Whether a process drives the run.
    pub(super) fn is_live(&self) -> bool {
        self.state.is_active()
    }

    /// Whether something is going to happen without a person.
    pub(super) fn goes_on(&self) -> bool {
        self.is_live() || self.is_recovering
    }
}

/// The head of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SummaryView {
    pub(super) id: String,
    pub(super) runbook: String,
    pub(super) badge: Badge,
    pub(super) started: Moment,
    /// How long it took; none while it goes on.
    pub(super) took: Option<String>,
    pub(super) requested_by: String,
    /// The actor that resumed it last, if that was another.
    pub(super) resumed_by: Option<String>,
    pub(super) target: String,
    pub(super) is_simulated: bool,
    pub(super) version: String,
    pub(super) origin: String,
    pub(super) inputs: Vec<(String, String)>,
    pub(super) outside_window: Option<String>,
    /// How many steps have ended, and how many there are.
    pub(super) ended: usize,
    pub(super) steps: usize,
    pub(super) scale: String,
    /// Whether it was asked to stop and has not stopped yet.
    pub(super) is_stopping: bool,
    pub(super) amendments: Vec<String>,
}

/// Why a run failed, or what its state means for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoticeView {
    /// The class of the style sheet.
    pub(super) class: &'static str,
    pub(super) title: String,
    /// The path and the name of the step that failed.
    pub(super) step: Option<(String, String)>,
    pub(super) failure: Option<FailureView>,
    pub(super) text: Option<String>,
}

/// The present doing of a step of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NowView {
    /// The name of the step.
    pub(super) step: String,
    pub(super) path: String,
    pub(super) wait: Option<WaitView>,
    /// The last report, where it waits for nothing.
    pub(super) message: Option<String>,
    pub(super) since: Moment,
}

/// An approval that the run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApprovalView {
    pub(super) path: String,
    pub(super) step: String,
    pub(super) message: String,
    /// Such as `1 of 2 approvals`.
    pub(super) progress: String,
    pub(super) given: Vec<String>,
    pub(super) not_by: Option<String>,
    pub(super) expires: Moment,
    pub(super) fields: Vec<Field>,
    pub(super) note: String,
    pub(super) reason: String,
    pub(super) error: Option<String>,
}

/// The fields of the form of an approval that was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RefusedAnswer {
    pub(super) path: String,
    pub(super) typed: Typed,
    pub(super) note: String,
    pub(super) reason: String,
    pub(super) error: String,
}

/// One thing that the run has left different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DifferenceView {
    pub(super) target: String,
    pub(super) before: String,
    pub(super) now: String,
    pub(super) is_verified: bool,
    pub(super) restore: Option<String>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LineView {
    pub(super) id: String,
    pub(super) time: Moment,
    pub(super) text: String,
    pub(super) class: &'static str,
}

/// Returns the axis of time of a run.
pub(super) fn axis(run: &WatchedRun, liveness: &Liveness, now: Timestamp) -> Axis {
    let head = &run.run.head;
    let end = match liveness.goes_on() {
        true => now.max(head.last_event_at),
        false => head.ended_at.unwrap_or(head.last_event_at),
    };
    Axis::new(head.started_at, end, liveness.goes_on())
}

pub(super) fn summary(run: &WatchedRun, liveness: &Liveness, axis: &Axis) -> SummaryView {
    let (spec, head) = (&run.run.spec, &run.run.head);
    let tops = run.top_level();
    let has_ended = |path: &&StepPath| {
        run.run.skipped_by(path).is_some()
            || run.run.step(path).is_some_and(StepProgress::has_ended)
    };
    let end = head.ended_at.unwrap_or(head.last_event_at);
    let inputs = run.run.inputs().iter().take(MAX_ROWS);
    SummaryView {
        id: run.run.id().to_string(),
        runbook: shown(&spec.runbook),
        badge: words::of_run(liveness.state),
        started: moment(head.started_at),
        took: (!liveness.goes_on()).then(|| duration(between(head.started_at, end))),
        requested_by: shown(&head.requested_by),
        resumed_by: (head.actor != head.requested_by).then(|| shown(&head.actor)),
        target: shown(&spec.target.to_string()),
        is_simulated: spec.target.simulated,
        version: shown(&head.version),
        origin: shown(&crate::journal::origin_and_digest(run.run.origin(), run.run.digest())),
        inputs: inputs.map(|(name, given)| (shown(name), value(given))).collect(),
        outside_window: spec.outside_window.as_deref().map(shown),
        ended: tops.iter().filter(has_ended).count(),
        steps: tops.len(),
        scale: axis.scale(),
        is_stopping: head.is_cancel_requested() && liveness.is_live(),
        amendments: run.run.amendments().iter().map(amendment).collect(),
    }
}

fn amendment(recorded: &crate::journal::RecordedAmendment) -> String {
    let amendment = &recorded.amendment;
    let mut parts = Vec::new();
    if let Some(runbook) = &amendment.runbook {
        parts.push(format!(
            "with the runbook {}",
            crate::journal::origin_and_digest(runbook.origin.as_deref(), &runbook.digest)
        ));
    }
    if let Some(from) = &amendment.from {
        parts.push(format!("from {from}"));
    }
    if !amendment.skip.is_empty() {
        parts.push(format!("without {}", StepPath::join(&amendment.skip, ", ")));
    }
    if !amendment.again.is_empty() {
        parts.push(format!("with {} again", StepPath::join(&amendment.again, ", ")));
    }
    let time = moment(recorded.time).text;
    shown(&format!("{time}: resumed by {} {}", recorded.actor, parts.join(", ")))
}

/// Returns what a person must know first: why the run failed, or that it waits for a person.
pub(super) fn notice(run: &WatchedRun, liveness: &Liveness) -> Option<NoticeView> {
    let head = &run.run.head;
    let step = head.failed_step.as_ref().map(|path| {
        let name = run.run.step(path).map_or_else(|| path.to_string(), |step| step.name.clone());
        (path.to_string(), shown(&name))
    });
    let failure = head.failure.as_ref().map(FailureView::of);
    let keeps_lock = head.holds_lock(false);
    let locked = keeps_lock.then(|| {
        "The run keeps the lock of its target: no other run starts there before this one is resumed, rolled back or \
         abandoned."
            .to_owned()
    });
    let notice = |class, title: &str, text: Option<String>| NoticeView {
        class,
        title: title.to_owned(),
        step: step.clone(),
        failure: failure.clone(),
        text,
    };
    if liveness.is_recovering && !liveness.is_live() {
        let text =
            "The process that drove the run ended. The service is about to continue it.".to_owned();
        return Some(notice("warn", "Interrupted, about to be continued", Some(text)));
    }
    match liveness.state {
        RunState::Failed => Some(notice("bad", "Failed", locked)),
        RunState::RollbackFailed => Some(notice("bad", "The rollback failed", locked)),
        RunState::Interrupted => {
            let died = match &liveness.problem {
                Some(problem) => {
                    format!("The run could not be recorded any more: {}.", shown(problem))
                }
                None => "The process that drove the run ended before the run did.".to_owned(),
            };
            let texts: Vec<String> = std::iter::once(died).chain(locked).collect();
            Some(notice("warn", "Interrupted", Some(texts.join(" "))))
        }
        RunState::Cancelled => {
            Some(NoticeView { failure: None, ..notice("warn", "Cancelled", locked) })
        }
        RunState::RollingBack if failure.is_some() => {
            Some(notice("bad", "Failed; its changes are being undone", None))
        }
        RunState::RolledBack if failure.is_some() => {
            Some(notice("bad", "Failed; its changes were undone", None))
        }
        RunState::SucceededWithFailures => {
            let text = "Some steps failed, and the run went on without them.".to_owned();
            Some(notice("warn", "Succeeded with failures", Some(text)))
        }
        RunState::Running if head.restoring().is_some() => {
            let text = "The steps are over. The run restores what is not to outlast it.".to_owned();
            Some(notice(if failure.is_some() { "bad" } else { "warn" }, "At its end", Some(text)))
        }
        RunState::Abandoned if failure.is_some() => {
            Some(notice("warn", "Abandoned after a failure", None))
        }
        RunState::Running
        | RunState::RollingBack
        | RunState::RolledBack
        | RunState::Succeeded
        | RunState::Abandoned => None,
    }
}

/// Returns what a run that is being driven does now: what it waits for, else its step.
pub(super) fn now(run: &WatchedRun, liveness: &Liveness) -> (Vec<NowView>, usize) {
    if !liveness.is_live() {
        return (Vec::new(), 0);
    }
    let name = |path: &StepPath| {
        let step = run.run.step(path);
        let name = step.map_or_else(|| path.to_string(), |step| step.name.clone());
        match path.is_top_level() {
            true => shown(&name),
            false => shown(&path.to_string()),
        }
    };
    let waits: Vec<NowView> = run
        .waits()
        .map(|(path, wait)| NowView {
            step: name(path),
            path: path.to_string(),
            wait: Some(WaitView::of(wait)),
            message: None,
            since: moment(wait.since),
        })
        .collect();
    if !waits.is_empty() {
        let more = waits.len().saturating_sub(MAX_WAITS);
        return (waits.into_iter().take(MAX_WAITS).collect(), more);
    }
    let current = run.current().into_iter().filter(|step| step.approval.is_none());
    let current = current.filter_map(|step| {
        let notes = run.notes(&step.path);
        let retry = notes.and_then(|notes| notes.attempts.last());
        let message = match retry {
            Some(attempt) => Some(format!(
                "attempt {} failed and is repeated: {}",
                attempt.number, attempt.message
            )),
            None => notes.and_then(|notes| notes.message.clone()),
        };
        Some(NowView {
            step: name(&step.path),
            path: step.path.to_string(),
            wait: None,
            message: message.as_deref().map(shown),
            since: moment(step.started_at?),
        })
    });
    (current.collect(), 0)
}

/// Returns the approvals that a run waits for, with what was typed into a form that was refused.
pub(super) fn approvals(
    run: &WatchedRun,
    liveness: &Liveness,
    refused: Option<&RefusedAnswer>,
) -> Vec<ApprovalView> {
    if !liveness.goes_on() {
        return Vec::new();
    }
    let view = |(path, asked): (&StepPath, &ApprovalProgress)| {
        let refused = refused.filter(|refused| refused.path == path.to_string());
        let questions = Questions::read(&asked.ask);
        let given = asked.given.iter().map(|given| match &given.note {
            Some(note) => shown(&format!("{}: {note}", given.actor)),
            None => shown(&given.actor),
        });
        // The first actor that approves answers for all.
        let fields = match asked.given.is_empty() {
            true => questions.all(),
            false => &[],
        };
        let of_form = format!("approve-{path}");
        ApprovalView {
            path: path.to_string(),
            step: run.run.step(path).map_or_else(|| path.to_string(), |step| shown(&step.name)),
            message: shown_lines(&asked.message),
            progress: format!(
                "{} of {} given",
                asked.given.len(),
                text::plural(asked.approvals as usize, "approval")
            ),
            given: given.collect(),
            not_by: (!asked.not_by.is_empty()).then(|| shown(&asked.not_by.join(", "))),
            expires: moment(asked.expires_at),
            fields: fields
                .iter()
                .map(|input| Field::of(input, &of_form, refused.map(|refused| &refused.typed)))
                .collect(),
            note: refused.map(|refused| refused.note.clone()).unwrap_or_default(),
            reason: refused.map(|refused| refused.reason.clone()).unwrap_or_default(),
            error: refused.map(|refused| refused.error.clone()),
        }
    };
    run.run.open_approvals().map(view).collect()
}

/// Returns what the run has left different, once it has stopped.
pub(super) fn differences(run: &WatchedRun, liveness: &Liveness) -> Vec<DifferenceView> {
    if liveness.goes_on() {
        return Vec::new();
    }
    let differences = run.run.differences();
    let view = |one: &crate::journal::RecordedDifference| DifferenceView {
        target: shown(&one.target),
        before: value(&one.before),
        now: if one.now.is_null() { "gone".to_owned() } else { value(&one.now) },
        is_verified: !one.unverified,
        restore: one.restore.as_deref().map(shown),
    };
    differences.iter().take(MAX_ROWS).map(view).collect()
}

/// Returns lines of the log. Lines of one event differ by their number.
pub(super) fn lines(lines: &[LogLine]) -> Vec<LineView> {
    let mut last = (u64::MAX, 0);
    let view = |line: &LogLine| {
        last = if last.0 == line.seq { (line.seq, last.1 + 1) } else { (line.seq, 0) };
        LineView {
            id: format!("l{}-{}", last.0, last.1),
            time: moment(line.time),
            text: line.text.clone(),
            class: match line.kind {
                LineKind::Plain => "",
                LineKind::Good => "ok",
                LineKind::Bad => "bad",
                LineKind::Waiting => "wait",
                LineKind::Changes => "run",
            },
        }
    };
    lines.iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::watched_run::tests::{at, completed, failed, prepared, started, step, watched},
        *,
    };
    use crate::journal::{Event, RunEvent, RunOutcome, StepEvent};

    fn live() -> Liveness {
        Liveness { state: RunState::Running, is_recovering: false, problem: None }
    }

    fn rest(state: RunState) -> Liveness {
        Liveness { state, is_recovering: false, problem: None }
    }

    #[test]
    fn what_the_run_waits_for_is_said_with_since_when() {
        let message = "2 of 4 nodes are not Ready".to_owned();
        let waiting = step("a", StepEvent::StepWaiting { message, waited_ms: Some(1000) });
        let run = watched(vec![started("a"), waiting]);
        let (now, more) = now(&run, &live());
        assert_eq!(more, 0);
        let wait = now[0].wait.as_ref().unwrap();
        assert_eq!(wait.message, "2 of 4 nodes are not Ready");
        assert_eq!(wait.since, moment(at(1)));
        assert_eq!(super::now(&run, &rest(RunState::Interrupted)), (Vec::new(), 0));
    }

    #[test]
    fn a_failure_is_first_and_has_its_hint_and_its_step() {
        let end =
            RunEvent::RunEnded { outcome: RunOutcome::Failed, failure: None, differences: None };
        let run = watched(vec![
            started("a"),
            prepared("a", json!(2), json!(4)),
            failed("a"),
            Event::Run(end),
        ]);
        let notice = notice(&run, &rest(RunState::Failed)).unwrap();
        let failure = notice.failure.unwrap();
        assert_eq!(failure.message, "denied by <policy>");
        assert_eq!(failure.hint.as_deref(), Some("allow eks:DescribeNodegroup"));
        assert_eq!(notice.step, Some(("a".into(), "Step a".into())));
        assert!(notice.text.unwrap().contains("keeps the lock"));
    }

    #[test]
    fn what_is_left_different_is_told_when_the_run_has_stopped() {
        let run = watched(vec![started("a"), prepared("a", json!(2), json!(4))]);
        assert_eq!(differences(&run, &live()), []);
        let left = differences(&run, &rest(RunState::Interrupted));
        assert_eq!((left[0].before.as_str(), left[0].now.as_str()), ("2", "4"));
        assert!(!left[0].is_verified);
    }

    #[test]
    fn an_approval_has_a_form_until_it_is_given() {
        let asked = step(
            "ask",
            StepEvent::StepApprovalRequested {
                message: "Remove\n<these> nodes?".into(),
                approvals: 2,
                not_by: vec!["bob".into()],
                ask: json!({"ticket": {"type": "string"}}),
                expires_at: at(600),
            },
        );
        let run = watched(vec![started("ask"), asked]);
        let approvals = approvals(&run, &live(), None);
        assert_eq!(approvals[0].progress, "0 of 2 approvals given");
        assert_eq!(approvals[0].fields[0].name, "in.ticket");
        assert_eq!(super::approvals(&run, &rest(RunState::Cancelled), None), []);
    }

    #[test]
    fn the_summary_counts_the_steps_that_have_ended() {
        let run = watched(vec![started("a"), completed("a", json!(1)), started("b")]);
        let axis = axis(&run, &live(), at(20));
        let summary = summary(&run, &live(), &axis);
        assert_eq!((summary.ended, summary.steps), (1, 2));
        assert_eq!((summary.took, summary.scale.as_str()), (None, "30.0"));
        assert_eq!(summary.inputs, [("factor".to_owned(), "2".to_owned())]);
    }
}
