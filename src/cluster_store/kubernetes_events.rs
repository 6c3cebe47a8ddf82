//! What Kubernetes Events say of a run: which of its events have one, and how it reads. Pure.

use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event as KubernetesEvent, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};

use crate::journal::{
    Event, Failure, LogLines, RecordedEvent, ResumeMode, RunEvent, RunOutcome, StepEvent, StepPath,
};

/// The longest note, in bytes: the API server refuses a longer one.
const MAX_NOTE: usize = 1024;
/// The name of this program, as the API server takes it for that of a controller.
const CONTROLLER: &str = "rafay-relay-sop";

/// The content of a Kubernetes Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// Its place in the run.
    seq: u64,
    time: Timestamp,
    is_warning: bool,
    reason: &'static str,
    action: &'static str,
    note: String,
    /// The same failure of the same step again is a repetition, and no report of its own.
    retried: Option<(StepPath, Failure)>,
}

impl Report {
    /// Whether this is what another report has said.
    pub(super) fn repeats(&self, earlier: &Self) -> bool {
        self.retried.is_some() && self.retried == earlier.retried
    }

    /// Returns the object. Its name has its place in the run, because kubectl lists Events in the order of their names,
    /// and the process, because one that died may have reported what it did not store.
    pub(super) fn object(&self, run: &ObjectReference, writer: &str) -> KubernetesEvent {
        let name = run.name.as_deref().unwrap_or_default();
        let process = writer.rsplit('/').next().unwrap_or_default();
        KubernetesEvent {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:06}-{process}", self.seq)),
                namespace: run.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(self.time)),
            type_: Some(if self.is_warning { "Warning" } else { "Normal" }.into()),
            reason: Some(self.reason.into()),
            action: Some(self.action.into()),
            note: Some(self.note.clone()),
            regarding: Some(run.clone()),
            reporting_controller: Some(CONTROLLER.into()),
            reporting_instance: Some(writer.into()),
            ..KubernetesEvent::default()
        }
    }

    /// Returns the series of this and of what it repeats.
    pub(super) fn series(&self, count: i32) -> EventSeries {
        EventSeries { count, last_observed_time: MicroTime(self.time) }
    }
}

/// Turns the events of one run into reports. It remembers step names between them.
#[derive(Debug, Default)]
pub(super) struct Reports {
    lines: LogLines,
}

impl Reports {
    /// Returns one for the events that follow these.
    pub(super) fn after(past: &[RecordedEvent]) -> Self {
        let mut reports = Self::default();
        past.iter().for_each(|recorded| drop(reports.next(recorded)));
        reports
    }

    /// Returns what the next event has to report.
    pub(super) fn next(&mut self, recorded: &RecordedEvent) -> Option<Report> {
        let mut texts = self.lines.texts(&recorded.event);
        let (is_warning, reason, action) = kind(&recorded.event)?;
        let mut retried = None;
        if let Event::Step { path, event } = &recorded.event {
            match event {
                // The log has this below the step's first line.
                StepEvent::StepAttemptFailed { failure, .. } => {
                    retried = Some((path.clone(), failure.clone()));
                    texts
                        .iter_mut()
                        .take(1)
                        .for_each(|text| text.insert_str(0, &format!("{path}: ")));
                }
                // The log ends with what has happened.
                StepEvent::StepCompleted { .. } | StepEvent::StepUndoFinished { .. } => {
                    if let Some(last) = texts.pop() {
                        texts.insert(0, last);
                    }
                }
                _ => {}
            }
        }
        let note = texts.join("; ");
        let (seq, time, note) = (recorded.seq, recorded.time, cut(note));
        Some(Report { seq, time, is_warning, reason, action, note, retried })
    }
}

/// Returns whether an event is a warning, with its reason and its action; `None` where it has no report.
fn kind(event: &Event) -> Option<(bool, &'static str, &'static str)> {
    let kind = match event {
        Event::Run(event) => match event {
            RunEvent::RunStarted(_) => (false, "RunStarted", "Start"),
            RunEvent::RunResumed { mode: ResumeMode::Continue, .. } => {
                (false, "RunResumed", "Resume")
            }
            RunEvent::RunResumed { mode: ResumeMode::Rollback, .. } => {
                (false, "RunRollingBack", "RollBack")
            }
            RunEvent::RunCancelRequested { .. } => (false, "RunCancelRequested", "Cancel"),
            RunEvent::RunRestoring { .. } => (false, "RunRestoring", "Restore"),
            RunEvent::RunAbandoned { .. } => (false, "RunAbandoned", "Abandon"),
            RunEvent::RunEnded { outcome, .. } => {
                let (is_warning, reason) = match outcome {
                    RunOutcome::Succeeded => (false, "RunSucceeded"),
                    RunOutcome::SucceededWithFailures => (true, "RunSucceededWithFailures"),
                    RunOutcome::Failed => (true, "RunFailed"),
                    RunOutcome::Cancelled => (false, "RunCancelled"),
                    RunOutcome::Interrupted => (true, "RunInterrupted"),
                    RunOutcome::RolledBack => (false, "RunRolledBack"),
                    RunOutcome::RollbackFailed => (true, "RunRollbackFailed"),
                };
                (is_warning, reason, "End")
            }
        },
        // Of the items of a step, only failures are told: there may be a thousand.
        Event::Step { path, event } => match event {
            StepEvent::StepStarted { .. }
            | StepEvent::StepResumed { .. }
            | StepEvent::StepCompleted { .. }
                if path.is_within_item() =>
            {
                return None;
            }
            StepEvent::StepStarted { .. } => (false, "StepStarted", "Start"),
            StepEvent::StepResumed { .. } => (false, "StepResumed", "Resume"),
            StepEvent::StepSkipped { .. } => (false, "StepSkipped", "Skip"),
            StepEvent::StepCompleted { .. } => (false, "StepCompleted", "Complete"),
            StepEvent::StepApprovalRequested { .. } => (false, "ApprovalRequested", "Approve"),
            StepEvent::StepApproved { .. } => (false, "Approved", "Approve"),
            StepEvent::StepRejected { .. } => (true, "Rejected", "Approve"),
            StepEvent::StepFailed { .. } => (true, "StepFailed", "Fail"),
            StepEvent::StepAttemptFailed { .. } => (true, "StepRetried", "Retry"),
            StepEvent::StepUndoStarted => (false, "StepUndoStarted", "Undo"),
            StepEvent::StepUndoFinished { not_restored, .. } => {
                (!not_restored.is_empty(), "StepUndone", "Undo")
            }
            StepEvent::StepUndoFailed { .. } => (true, "StepUndoFailed", "Undo"),
            // Too many, or told by another event.
            StepEvent::StepMessage { .. }
            | StepEvent::StepWaiting { .. }
            | StepEvent::StepCalled { .. }
            | StepEvent::StepItemsDecided { .. }
            | StepEvent::StepPrepared { .. }
            | StepEvent::StepApplied { .. }
            | StepEvent::StepOperationFailed { .. } => return None,
        },
    };
    Some(kind)
}

/// Cuts a note to the length that the API server takes.
fn cut(mut note: String) -> String {
    const MARK: &str = "…";
    if note.len() > MAX_NOTE {
        note.truncate(note.floor_char_boundary(MAX_NOTE - MARK.len()));
        note.push_str(MARK);
    }
    note
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::journal::{AfterFailure, FailureKind, parse_lines};

    fn reports(events: impl IntoIterator<Item = Event>) -> Vec<Report> {
        let mut reports = Reports::default();
        let recorded = |(event, seq)| RecordedEvent { seq, time: Timestamp::UNIX_EPOCH, event };
        events.into_iter().zip(0..).filter_map(|event| reports.next(&recorded(event))).collect()
    }

    fn step(event: StepEvent) -> Event {
        Event::step(&StepPath::top_level("scale"), event)
    }

    fn attempt_failed(attempt: u32, message: &str) -> Event {
        let failure = Failure::new(FailureKind::Transient, message);
        step(StepEvent::StepAttemptFailed { attempt, failure, retry_in_ms: 2_000 })
    }

    fn shown(reports: &[Report]) -> Vec<(bool, &str, &str)> {
        reports.iter().map(|r| (r.is_warning, r.reason, r.note.as_str())).collect()
    }

    #[test]
    fn a_step_reports_its_beginning_and_its_end_in_the_words_of_the_log() {
        let failure = Failure::new(FailureKind::Denied, "denied").with_hint(Some("allow it"));
        let reports = reports([
            step(StepEvent::StepStarted { name: "Scale".into(), description: None }),
            step(StepEvent::StepWaiting { message: "a node".into(), waited_ms: None }),
            step(StepEvent::StepMessage { message: "half of them".into() }),
            step(StepEvent::StepCompleted {
                revision: 1,
                output: json!({"token": "not reported"}).into(),
                message: Some("3 nodes\n".into()),
            }),
            step(StepEvent::StepFailed { failure, then: AfterFailure::Rollback }),
            step(StepEvent::StepUndoStarted),
            step(StepEvent::StepUndoFinished {
                not_restored: vec!["node a".into()],
                irreversible: false,
            }),
        ]);
        assert_eq!(
            shown(&reports),
            [
                (false, "StepStarted", "Starting step: Scale"),
                (false, "StepCompleted", "Completed step: Scale; 3 nodes"),
                (true, "StepFailed", "Failed step: Scale: denied; hint: allow it; Rolling back"),
                (false, "StepUndoStarted", "Undoing step: Scale"),
                (
                    true,
                    "StepUndone",
                    "Undid step: Scale (1 target not restored); Not restored: node a"
                ),
            ]
        );
    }

    #[test]
    fn the_same_failure_of_the_same_step_is_a_repetition() {
        let reports = reports([
            attempt_failed(1, "throttled"),
            attempt_failed(2, "throttled"),
            attempt_failed(3, "timed out"),
            step(StepEvent::StepUndoStarted),
            step(StepEvent::StepUndoStarted),
        ]);
        assert_eq!(reports[0].note, "scale: Attempt 1 failed: throttled; retrying in 2.0 s");
        assert!(reports[1].repeats(&reports[0]));
        assert!(!reports[2].repeats(&reports[1]));
        assert!(!reports[4].repeats(&reports[3]), "only a retry is repeated");
    }

    #[test]
    fn a_note_has_the_length_that_the_api_server_takes_and_one_line() {
        let long = format!("first\nsecond \u{1b}[31m{}", "ä".repeat(MAX_NOTE));
        let name = StepEvent::StepStarted { name: long, description: None };
        let note = reports([step(name)]).remove(0).note;
        assert!(note.len() <= MAX_NOTE && note.len() > MAX_NOTE - 4, "{}", note.len());
        assert!(note.ends_with("ä…") && !note.contains(char::is_control), "{note}");
    }

    /// A step fails where that is allowed, another one does, and the run is rolled back.
    const ROLLED_BACK: &str = include_str!(
        "../../tests/fixtures/journals/format-1.0/20261125t090002z-rolled-back-0003.jsonl"
    );

    #[test]
    fn a_process_that_continues_a_run_reports_as_the_one_before_would_have() {
        let (events, _) = parse_lines("fixture", ROLLED_BACK.as_bytes()).unwrap();
        let mut all = Reports::default();
        let mut reasons = Vec::new();
        for (at, event) in events.iter().enumerate() {
            let report = all.next(event);
            assert_eq!(report, Reports::after(&events[..at]).next(event));
            reasons.extend(report.map(|report| report.reason));
        }
        let (completed, failed) = (["StepStarted", "StepCompleted"], ["StepStarted", "StepFailed"]);
        let undone = ["StepUndoStarted", "StepUndone"];
        let steps = [completed, failed, completed, completed, failed, undone, undone].concat();
        let expected = [&["RunStarted"], &steps[..], &["RunRolledBack"]].concat();
        assert_eq!(reasons, expected);
    }

    #[test]
    fn the_object_names_the_run_its_place_in_it_and_the_process() {
        let report = reports([step(StepEvent::StepUndoStarted)]).remove(0);
        let run = ObjectReference {
            api_version: Some("sop.rafay.dev/v1alpha1".into()),
            kind: Some("RunbookRun".into()),
            name: Some("run".into()),
            namespace: Some("sop".into()),
            uid: Some("u".into()),
            ..ObjectReference::default()
        };
        let object = json!(report.object(&run, "host/7/0badcafe"));
        let regarding = json!({
            "apiVersion": "sop.rafay.dev/v1alpha1", "kind": "RunbookRun", "name": "run",
            "namespace": "sop", "uid": "u",
        });
        assert_eq!(
            object,
            json!({
                "apiVersion": "events.k8s.io/v1",
                "kind": "Event",
                "metadata": {"name": "run.000000-0badcafe", "namespace": "sop"},
                "eventTime": "1970-01-01T00:00:00.000000Z",
                "type": "Normal",
                "reason": "StepUndoStarted",
                "action": "Undo",
                "note": "Undoing step: scale",
                "regarding": regarding,
                "reportingController": "rafay-relay-sop",
                "reportingInstance": "host/7/0badcafe",
            })
        );
    }
}
