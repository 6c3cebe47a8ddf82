//! What an event of a run has to tell, in a form that needs the run no more. Pure.

use jiff::Timestamp;

use super::config::When;
use crate::journal::{
    AfterFailure, Event, Failure, RecordedEvent, Run, RunEvent, RunHead, RunId, RunOutcome,
    RunState, StepEvent, StepPath,
};

/// The longest text for people that is sent, in characters.
const MAX_TEXT: usize = 1000;

/// Something that webhooks may be told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    /// Its id: the same for every attempt and after every crash, so that a receiver can leave repetitions out.
    pub(super) id: String,
    /// The run; none in a test.
    pub(super) run: RunId,
    /// The place of the event in the run.
    pub(super) seq: u64,
    /// When it happened.
    pub(super) time: Timestamp,
    pub(super) what: What,
    pub(super) runbook: String,
    pub(super) state: RunState,
    /// The actor that started or resumed the run, or did what is told.
    pub(super) actor: String,
    /// The step that is concerned, with its name.
    pub(super) step: Option<(StepPath, String)>,
    /// The request, or the missing condition.
    pub(super) message: Option<String>,
    pub(super) failure: Option<Failure>,
    /// The cluster and account, as a part of a sentence.
    pub(super) target: String,
    /// The subcommand that a person may need next, without the name of the program.
    pub(super) command: Vec<String>,
}

/// The kind of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Started,
    Resumed,
    RollingBack,
    Ended(RunOutcome),
    Abandoned,
    Approval,
    /// No progress of a run that is driven.
    NoProgress,
    /// A run that is unfinished, and that no process drives.
    LeftUnfinished,
    Test,
}

impl What {
    /// Returns under which names of the configuration it is told.
    pub(super) fn when(self) -> &'static [When] {
        match self {
            Self::Started | Self::Resumed => &[When::Started],
            Self::RollingBack => &[When::Failed],
            Self::Ended(outcome) => match outcome {
                RunOutcome::Succeeded | RunOutcome::Cancelled | RunOutcome::Interrupted => {
                    &[When::Ended]
                }
                RunOutcome::SucceededWithFailures
                | RunOutcome::Failed
                | RunOutcome::RolledBack
                | RunOutcome::RollbackFailed => &[When::Ended, When::Failed],
            },
            Self::Abandoned => &[When::Ended],
            Self::Approval => &[When::Approval],
            Self::NoProgress | Self::LeftUnfinished => &[When::Stuck],
            Self::Test => &[],
        }
    }

    /// Returns the end of the type of a CloudEvent.
    pub(super) fn event_type(self) -> &'static str {
        match self {
            Self::Started => "run.started",
            Self::Resumed => "run.resumed",
            Self::RollingBack => "run.rolling_back",
            Self::Ended(outcome) => match outcome {
                RunOutcome::Succeeded => "run.succeeded",
                RunOutcome::SucceededWithFailures => "run.succeeded_with_failures",
                RunOutcome::Failed => "run.failed",
                RunOutcome::Cancelled => "run.cancelled",
                RunOutcome::Interrupted => "run.interrupted",
                RunOutcome::RolledBack => "run.rolled_back",
                RunOutcome::RollbackFailed => "run.rollback_failed",
            },
            Self::Abandoned => "run.abandoned",
            Self::Approval => "approval.requested",
            Self::NoProgress | Self::LeftUnfinished => "run.stuck",
            Self::Test => "test",
        }
    }

    /// Returns the end of a sentence that begins with the runbook.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Started => "has started",
            Self::Resumed => "was resumed",
            Self::RollingBack => "rolls back",
            Self::Ended(outcome) => match outcome {
                RunOutcome::Succeeded => "has succeeded",
                RunOutcome::SucceededWithFailures => "has succeeded with failures",
                RunOutcome::Failed => "has failed",
                RunOutcome::Cancelled => "was cancelled",
                RunOutcome::Interrupted => "was interrupted",
                RunOutcome::RolledBack => "has failed and was rolled back",
                RunOutcome::RollbackFailed => "could not be rolled back",
            },
            Self::Abandoned => "was abandoned",
            Self::Approval => "waits for approval",
            Self::NoProgress => "makes no progress",
            Self::LeftUnfinished => "is unfinished, and no process drives it",
            Self::Test => "test: messages arrive here",
        }
    }
}

impl Notice {
    /// Returns what an event has to tell; `run` is the run with that event in it.
    pub(super) fn of(run: &Run, recorded: &RecordedEvent) -> Option<Self> {
        let mut failed = run.head.failure.clone();
        let mut step = run.head.failed_step.clone();
        let mut message = None;
        let mut actor = &run.head.actor;
        let what = match &recorded.event {
            Event::Run(event) => match event {
                RunEvent::RunStarted(_) => What::Started,
                RunEvent::RunResumed { .. } => What::Resumed,
                RunEvent::RunEnded { outcome, .. } => What::Ended(*outcome),
                RunEvent::RunAbandoned { actor: by } => {
                    actor = by;
                    What::Abandoned
                }
                RunEvent::RunCancelRequested { .. } | RunEvent::RunRestoring { .. } => return None,
            },
            Event::Step { path, event } => match event {
                StepEvent::StepApprovalRequested { message: asked, .. } => {
                    (failed, step) = (None, Some(path.clone()));
                    message = Some(cut(asked));
                    What::Approval
                }
                // A run that stops ends with the next event.
                StepEvent::StepFailed { failure, then: AfterFailure::Rollback } => {
                    (failed, step) = (Some(failure.clone()), Some(path.clone()));
                    What::RollingBack
                }
                _ => return None,
            },
        };
        let id = format!("{}/{}", run.id(), recorded.seq);
        let step = step.map(|path| {
            let name = run.step(&path).map_or_else(|| path.to_string(), |step| step.name.clone());
            (path, cut(&name))
        });
        Some(Self {
            id,
            run: run.id().clone(),
            seq: recorded.seq,
            time: recorded.time,
            what,
            runbook: run.spec.runbook.clone(),
            // The process that drives it is this one.
            state: run.head.state(true),
            actor: cut(actor),
            command: command(what, &run.head, step.as_ref().map(|(path, _)| path)),
            step,
            message,
            failure: failed.map(cut_failure),
            target: cut(&run.spec.target.to_string()),
        })
    }

    /// Returns what a run has to tell that has made no progress since an event; `message` says what it waits for.
    pub(super) fn stuck(
        run: &Run,
        is_live: bool,
        since: (u64, Timestamp),
        message: Option<&str>,
    ) -> Self {
        let head = &run.head;
        let what = if is_live { What::NoProgress } else { What::LeftUnfinished };
        let (seq, time) = since;
        let step = match is_live {
            true => run.steps().iter().rev().find(|step| step.outcome.is_none()),
            false => head.failed_step.as_ref().and_then(|path| run.step(path)),
        };
        Self {
            id: format!("{}/{seq}/stuck", run.id()),
            run: run.id().clone(),
            seq,
            time,
            what,
            runbook: run.spec.runbook.clone(),
            state: head.state(is_live),
            actor: cut(&head.actor),
            step: step.map(|step| (step.path.clone(), cut(&step.name))),
            message: message.map(cut),
            failure: head.failure.clone().filter(|_| !is_live).map(cut_failure),
            target: cut(&run.spec.target.to_string()),
            command: command(what, head, None),
        }
    }

    /// Returns a message that tells of no run.
    pub(super) fn test(now: Timestamp, actor: &str) -> Self {
        let run = RunId::new(now, "test", None);
        Self {
            id: format!("{run}/0"),
            run,
            seq: 0,
            time: now,
            what: What::Test,
            runbook: "rafay-relay-sop".to_owned(),
            state: RunState::Succeeded,
            actor: cut(actor),
            step: None,
            message: None,
            failure: None,
            target: "no cluster".to_owned(),
            command: Vec::new(),
        }
    }

    /// Whether it tells of a run that is stuck: its place is that of the last event, which may have been told, too.
    pub(super) fn is_stuck(&self) -> bool {
        matches!(self.what, What::NoProgress | What::LeftUnfinished)
    }
}

/// Returns the subcommand that a person may need next.
fn command(what: What, head: &RunHead, step: Option<&StepPath>) -> Vec<String> {
    let run = head.run.to_string();
    let of_run = |operation: &str| vec!["runs".to_owned(), operation.to_owned(), run.clone()];
    match what {
        What::Approval => {
            let mut command = of_run("approve");
            command.extend(step.map(ToString::to_string));
            command
        }
        What::Ended(_) | What::LeftUnfinished if head.state(false).is_unfinished() => {
            of_run(if head.is_rolling_back() { "rollback" } else { "resume" })
        }
        What::NoProgress => of_run("logs"),
        What::Test => Vec::new(),
        _ => of_run("show"),
    }
}

/// Leaves the beginning of a text.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn cut_failure(mut failure: Failure) -> Failure {
    failure.message = cut(&failure.message);
    failure.hint = failure.hint.as_deref().map(cut);
    failure
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::journal::parse_lines;

    /// A step fails where that is allowed, another one does, and the run is rolled back.
    const ROLLED_BACK: &str = include_str!(
        "../../tests/fixtures/journals/format-1.0/20261125t090002z-rolled-back-0003.jsonl"
    );

    /// Returns the notices of a journal of the fixtures.
    pub(crate) fn notices() -> Vec<Notice> {
        let (events, _) = parse_lines("fixture", ROLLED_BACK.as_bytes()).unwrap();
        let run: RunId = "20261125t090002z-rolled-back-0003".parse().unwrap();
        let notice = |at: usize| Notice::of(&Run::of(&run, &events[..=at])?, &events[at]);
        (0..events.len()).filter_map(notice).collect()
    }

    #[test]
    fn a_run_tells_of_its_start_its_rollback_and_its_end() {
        let notices = notices();
        let told: Vec<What> = notices.iter().map(|notice| notice.what).collect();
        assert_eq!(told, [What::Started, What::RollingBack, What::Ended(RunOutcome::RolledBack)]);
        let [started, rolling_back, ended] = &notices[..] else { panic!("{notices:#?}") };
        assert_eq!(started.id, "20261125t090002z-rolled-back-0003/0");
        assert_eq!((started.failure.is_some(), started.state), (false, RunState::Running));
        assert!(rolling_back.failure.is_some() && rolling_back.step.is_some());
        assert_eq!(rolling_back.state, RunState::RollingBack);
        assert_eq!((ended.state, &ended.failure), (RunState::RolledBack, &rolling_back.failure));
        assert_eq!(ended.command[..2], ["runs", "show"]);
        assert!(notices.iter().all(|notice| notice.id.ends_with(&format!("/{}", notice.seq))));
    }

    #[test]
    fn a_run_that_failed_is_told_as_ended_and_as_failed() {
        let failed = What::Ended(RunOutcome::Failed);
        assert_eq!(failed.when(), [When::Ended, When::Failed]);
        assert_eq!(What::Ended(RunOutcome::Succeeded).when(), [When::Ended]);
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(cut(&"ä".repeat(MAX_TEXT)), "ä".repeat(MAX_TEXT));
        assert_eq!(cut(&"ä".repeat(MAX_TEXT + 1)), format!("{}…", "ä".repeat(MAX_TEXT)));
    }
}
