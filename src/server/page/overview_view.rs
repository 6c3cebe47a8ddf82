//! The overview: runs, runbooks and the service, as lists show them. Pure.

use super::{
    run_view::{self, Liveness},
    step_view::FailureView,
    watched_run::WatchedRun,
    words::{self, Badge, Moment, between, duration, moment, shown},
};
use crate::{
    journal::{RunHead, RunId, RunState, StoreError},
    windows::WindowState,
};
use runbook::{Diagnostic, Severity, Source};

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedRun {
    pub(super) id: String,
    pub(super) runbook: String,
    pub(super) badge: Badge,
    pub(super) started: Moment,
    pub(super) took: Option<String>,
    pub(super) is_live: bool,
    pub(super) who: String,
    pub(super) target: Option<String>,
    /// The conditions that it waits for, or the reason why it stopped, each with since when.
    pub(super) lines: Vec<(String, Option<Moment>)>,
    pub(super) hint: Option<String>,
}

/// A runbook in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedRunbook {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) badge: Badge,
    /// The number of errors with the first message.
    pub(super) first: Option<String>,
}

/// The state of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceView {
    pub(super) badge: Badge,
    pub(super) problem: Option<String>,
    pub(super) window: Option<(&'static str, Option<Moment>)>,
    pub(super) store: String,
    pub(super) target: Option<String>,
    pub(super) version: &'static str,
}

/// The result of checking a runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) description: Option<String>,
    pub(super) errors: usize,
    pub(super) warnings: usize,
    pub(super) first: Option<String>,
}

impl Validity {
    /// Returns the result of a check.
    pub(super) fn of(source: &Source, checked: &runbook::CheckResult) -> Self {
        let count = |severity| {
            let found = checked.diagnostics.iter();
            found.filter(|one: &&Diagnostic| one.severity == severity).count()
        };
        let first = checked.diagnostics.iter().find(|one| one.severity == Severity::Error);
        let first = first.map(|one| {
            let place = source.position(one.span.start);
            shown(&format!("line {}: {} ({})", place.line, one.message, one.code))
        });
        let description =
            checked.runbook.as_ref().and_then(|runbook| runbook.description.as_deref());
        Self {
            description: description.and_then(|text| text.lines().next()).map(shown),
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            first,
        }
    }

    /// Returns the result for a runbook that cannot be read.
    pub(super) fn unreadable(message: &str) -> Self {
        Self { description: None, errors: 1, warnings: 0, first: Some(shown(message)) }
    }
}

impl ListedRunbook {
    /// Returns a runbook with the result of its check.
    pub(super) fn of(name: &str, validity: &Validity) -> Self {
        let badge = |class, icon, word| Badge { class, icon, word };
        let first = validity.first.as_ref().map(|first| match validity.errors {
            0 | 1 => first.clone(),
            errors => format!("{errors} errors; {first}"),
        });
        Self {
            name: shown(name),
            description: validity.description.clone(),
            badge: match (validity.errors, validity.warnings) {
                (0, 0) => badge("ok", "ok", "valid"),
                (0, _) => badge("warn", "warn", "valid, with warnings"),
                _ => badge("bad", "bad", "not valid"),
            },
            first,
        }
    }
}

impl ListedRun {
    /// Returns a run of which the head is known.
    pub(super) fn of(head: &RunHead, liveness: &Liveness) -> Self {
        let asks = !head.open_approvals.is_empty() && liveness.is_live();
        let end = head.ended_at.unwrap_or(head.last_event_at);
        Self {
            id: head.run.to_string(),
            runbook: shown(&head.runbook),
            badge: if asks { words::ASKING } else { words::of_run(liveness.state) },
            started: moment(head.started_at),
            took: (!liveness.is_live()).then(|| duration(between(head.started_at, end))),
            is_live: liveness.is_live(),
            who: shown(&head.requested_by),
            target: None,
            lines: Vec::new(),
            hint: None,
        }
    }

    /// Returns a run whose journal cannot be read.
    pub(super) fn unreadable(run: &RunId, error: &StoreError) -> Self {
        let word = match error {
            StoreError::TooNew { .. } => "of a newer version",
            _ => "not readable",
        };
        Self {
            id: run.to_string(),
            runbook: run.to_string(),
            badge: Badge { class: "bad", icon: "bad", word },
            started: moment(run.time().unwrap_or_default()),
            took: None,
            is_live: false,
            who: String::new(),
            target: None,
            lines: vec![(shown(&error.to_string()), None)],
            hint: error.hint().as_deref().map(shown),
        }
    }

    /// Returns a run that is not over, with what it waits for or why it stopped.
    pub(super) fn open(head: &RunHead, liveness: &Liveness, watched: Option<&WatchedRun>) -> Self {
        let mut listed = Self::of(head, liveness);
        listed.target = Some(shown(&head.target.to_string()));
        if let Some(run) = watched.filter(|_| liveness.is_live()) {
            let (nows, _) = run_view::now(run, liveness);
            for now in nows {
                let text = match (&now.wait, &now.message) {
                    (Some(wait), _) => format!("{}: {}", now.step, wait.message),
                    (None, Some(message)) => format!("{}: {message}", now.step),
                    (None, None) => now.step,
                };
                listed.lines.push((text, Some(now.since)));
            }
            for approval in run_view::approvals(run, liveness, None) {
                let text =
                    format!("{}: {} ({})", approval.step, approval.message, approval.progress);
                let path = approval.path.parse().ok();
                let asked = path.and_then(|path| run.run.step(&path)?.started_at);
                listed.lines.push((text, asked.map(moment)));
            }
            return listed;
        }
        if liveness.is_recovering {
            listed.lines.push(("The service is about to continue it.".to_owned(), None));
        }
        if let Some(failure) =
            head.failure.as_ref().filter(|_| head.state(false) != RunState::Cancelled)
        {
            let FailureView { message, hint, .. } = FailureView::of(failure);
            let step = head.failed_step.as_ref().map(|step| format!("{step}: "));
            listed.lines.push((format!("{}{message}", step.unwrap_or_default()), None));
            listed.hint = hint;
        }
        if !liveness.is_live() && listed.lines.is_empty() {
            let text = match head.holds_lock(false) {
                true => {
                    "It keeps the lock of its target until it is resumed, rolled back or abandoned."
                }
                false => "It has changed nothing, and can be resumed.",
            };
            listed.lines.push((text.to_owned(), head.ended_at.map(moment)));
        }
        listed
    }
}

impl ServiceView {
    /// Returns the state of the service.
    pub(super) fn of(
        problem: Option<&StoreError>,
        window: Option<WindowState>,
        store: &str,
        latest: Option<&RunHead>,
    ) -> Self {
        let badge = |class, icon, word| Badge { class, icon, word };
        Self {
            badge: match problem {
                None => badge("ok", "ok", "ready"),
                Some(_) => badge("bad", "bad", "not ready"),
            },
            problem: problem.map(|error| shown(&error.to_string())),
            window: window.map(|window| match window {
                WindowState::Open { until: Some(until) } => ("open until", Some(moment(until))),
                WindowState::Open { until: None } => ("open", None),
                WindowState::Closed { until: Some(until) } => {
                    ("closed; the next one opens", Some(moment(until)))
                }
                WindowState::Closed { until: None } => ("closed, and none opens", None),
            }),
            store: shown(store),
            target: latest.map(|head| shown(&head.target.to_string())),
            version: crate::engine::VERSION,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::watched_run::tests::{at, failed, started, step, watched},
        *,
    };
    use crate::journal::StepEvent;

    #[test]
    fn an_active_run_says_what_it_waits_for_and_since_when() {
        let message = "1 of 2 nodes is not Ready".to_owned();
        let waiting = step("a", StepEvent::StepWaiting { message, waited_ms: None });
        let run = watched(vec![started("a"), waiting]);
        let live = Liveness { state: RunState::Running, is_recovering: false, problem: None };
        let listed = ListedRun::open(&run.run.head, &live, Some(&run));
        assert_eq!(
            listed.lines,
            [("Step a: 1 of 2 nodes is not Ready".to_owned(), Some(moment(at(2))))]
        );
        assert_eq!(listed.took, None);
    }

    #[test]
    fn a_failed_run_says_why_and_what_to_do() {
        let run = watched(vec![started("a"), failed("a")]);
        let rest = Liveness { state: RunState::Failed, is_recovering: false, problem: None };
        let listed = ListedRun::open(&run.run.head, &rest, None);
        assert_eq!(listed.lines[0].0, "a: denied by <policy>");
        assert_eq!(listed.hint.as_deref(), Some("allow eks:DescribeNodegroup"));
    }

    #[test]
    fn a_runbook_that_is_not_valid_has_its_first_error() {
        let source = Source::new("x.yaml", "name: x\nsteps: [{id: a, action: b}]\n");
        let checked = runbook::check(&source, crate::engine::registry());
        let listed = ListedRunbook::of("x", &Validity::of(&source, &checked));
        assert_eq!(listed.badge.word, "not valid");
        assert!(listed.first.unwrap().starts_with("line 2: "));
    }
}
