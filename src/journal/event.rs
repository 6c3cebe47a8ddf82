//! The facts of a run, one variant each, in the form in which they are kept.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};

use super::{Amendment, Consent, Failure, Format, RecordedJson, RunTarget, StepPath, format};

/// An event with its place in the run and its time: one line of a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedEvent {
    /// Its place: 0 for the first event of the run.
    pub seq: u64,
    /// When it was written, by the writer's wall clock.
    pub time: Timestamp,
    /// The event.
    pub event: Event,
}

/// An event of a run: to the run itself, or to one of its steps.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something that concerns the run.
    Run(RunEvent),
    /// Something that concerns a step.
    Step {
        /// Which step.
        path: StepPath,
        /// The event.
        event: StepEvent,
    },
}

/// An event that concerns the run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run was accepted. Always the first event.
    RunStarted(Box<RunSpec>),
    /// A process resumed the run.
    RunResumed {
        /// The actor that asked for it.
        actor: String,
        /// The version of the program that resumed it.
        version: String,
        /// The format of the events that follow.
        #[serde(default)]
        format: Format,
        /// Whether the run continues or rolls back.
        #[serde(default)]
        mode: ResumeMode,
        /// The actor's changes to the rest of the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        amendment: Option<Box<Amendment>>,
    },
    /// A person or a client asked the run to stop.
    RunCancelRequested {
        /// The actor that asked for it.
        actor: String,
    },
    /// The steps are over, and the changes that are to be undone when the run ends are undone. `run_ended` follows.
    RunRestoring {
        /// How the run ends.
        outcome: RunOutcome,
        /// Why, where no step's event says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// The run stopped.
    RunEnded {
        /// How.
        outcome: RunOutcome,
        /// Why, where no step's event says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// The differences from the start of the run; absent where the targets were not read, as after a success.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        differences: Option<Vec<RecordedDifference>>,
    },
    /// A person declared an unfinished run to be over; the cluster was not touched.
    RunAbandoned {
        /// The actor that declared it.
        actor: String,
    },
}

/// An event of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum StepEvent {
    /// The step began.
    StepStarted {
        /// The step's name, for people.
        name: String,
        /// The step's description, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
    },
    /// The step was continued after a resume.
    StepResumed {
        /// The step's name, for people.
        name: String,
    },
    /// The step was skipped; it has no output.
    StepSkipped {
        /// The step's name, for people.
        name: String,
        /// Why.
        reason: String,
    },
    /// The step reported something.
    StepMessage {
        /// The report.
        message: String,
    },
    /// The step waits for something.
    StepWaiting {
        /// The missing condition.
        message: String,
        /// How long it has been missing so far, in milliseconds; none where it is reported for the first time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waited_ms: Option<u64>,
    },
    /// The step calls a runbook, whose steps have paths below its own. Its inputs are decided, once.
    StepCalled {
        /// The name of the runbook.
        runbook: String,
        /// Its inputs, defaults included.
        inputs: Map<String, Value>,
    },
    /// The items for which the step runs are decided, once. Each has events of its own, at the path of the step with
    /// the item's index.
    StepItemsDecided {
        /// A list, or a map whose entries are the items in the order of its keys.
        items: Value,
    },
    /// The step asked persons for their approval, and waits.
    StepApprovalRequested {
        /// The text of the request.
        message: String,
        /// How many different actors must approve.
        approvals: u32,
        /// The actors that may not.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        not_by: Vec<String>,
        /// The declarations of the questions, by name.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        ask: Value,
        /// The time at which the step fails.
        expires_at: Timestamp,
    },
    /// An actor approved. Enough approvals complete the step.
    StepApproved {
        /// The name of the posted answer.
        answer: String,
        /// The actor that approved.
        actor: String,
        /// The answers to the questions, defaults included.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        answers: Map<String, Value>,
        /// A remark.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// An actor rejected: the step fails.
    StepRejected {
        /// The name of the posted answer.
        answer: String,
        /// The actor that rejected.
        actor: String,
        /// Why.
        reason: String,
    },
    /// The changes of the step are decided, once, in absolute terms. Nothing of it has been sent.
    StepPrepared {
        /// The revision of the action that wrote `intent`.
        revision: u32,
        /// The action's own intent.
        intent: Value,
        /// The same target by target, for plans, `runs show` and the audit log.
        changes: Vec<RecordedChange>,
    },
    /// The change was sent, and this came back.
    StepApplied {
        /// The generation of the intent that was sent.
        generation: u32,
        /// The action's own receipt.
        receipt: Value,
    },
    /// The operation that was sent ended in a definite failure on the platform's side; the same intent may be sent
    /// again, as the next generation.
    StepOperationFailed {
        /// The generation that failed.
        generation: u32,
        /// Why.
        failure: Failure,
    },
    /// An attempt failed and is retried.
    StepAttemptFailed {
        /// Which attempt, from 1.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// How long until the next one, in milliseconds.
        retry_in_ms: u64,
    },
    /// The step succeeded.
    StepCompleted {
        /// The revision of the action that wrote `output`.
        revision: u32,
        /// The output that later steps are given.
        #[schemars(with = "Value")]
        output: RecordedJson,
        /// The step's `log` message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// The step failed.
    StepFailed {
        /// Why.
        failure: Failure,
        /// The consequence: in the same event, so that no crash can come between the two.
        then: AfterFailure,
    },
    /// The step's undo began.
    StepUndoStarted,
    /// The step was undone.
    StepUndoFinished {
        /// Targets that another client changed meanwhile, and that were therefore left as they are; and whatever else
        /// could not be restored.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        not_restored: Vec<String>,
        /// Whether the change is of a kind that cannot be undone: all of it is still there.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        irreversible: bool,
    },
    /// The step could not be undone.
    StepUndoFailed {
        /// Why.
        failure: Failure,
    },
}

/// The consequence of a step's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AfterFailure {
    /// The run continues without the step.
    Continue,
    /// The run stops; nothing more is changed.
    Stop,
    /// Changes that took effect are undone.
    Rollback,
    /// The loop that the item belongs to, or the called runbook of the step, has failed with it. The failure of the
    /// whole decides about the run.
    Leave,
}

/// The direction of a resumed run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResumeMode {
    /// Continues with the step at which it stopped; a run that was rolling back keeps rolling back.
    #[default]
    Continue,
    /// Undoes its steps, the last first.
    Rollback,
}

/// How a run stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Every step succeeded or was skipped.
    Succeeded,
    /// The end was reached, and some step failed under `on_failure: continue`.
    SucceededWithFailures,
    /// A step failed and nothing more was changed.
    Failed,
    /// A person or a client asked for it.
    Cancelled,
    /// The process was asked to shut down.
    Interrupted,
    /// Everything that took effect was undone, or is reported as not restored.
    RolledBack,
    /// Some step could not be undone.
    RollbackFailed,
}

/// The specification that a run was started with. It finishes with the same, whatever happens to the file that it came
/// from, unless a person amends it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunSpec {
    /// The format of the journal. Absent in format 0.
    #[serde(default)]
    pub format: Format,
    /// The runbook's name.
    pub runbook: String,
    /// Where the text came from: an absolute path, or `built in`. Absent in older journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The runbook's text, whole.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal.
    pub digest: String,
    /// The inputs, defaults included.
    pub inputs: Map<String, Value>,
    /// The runbooks that it calls, and those that they call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub called: Vec<CalledText>,
    /// The actor that asked for the run.
    pub actor: String,
    /// The caller's idempotency key: the same key never starts a second run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why it was started outside the change windows, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside_window: Option<String>,
    /// The version of the program.
    pub version: String,
    /// The cluster and account that the run may touch.
    pub target: RunTarget,
    /// The consent of a person before it started.
    #[serde(default, skip_serializing_if = "Consent::is_empty")]
    pub consent: Consent,
}

/// The text of a called runbook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CalledText {
    /// The name of the runbook.
    pub runbook: String,
    /// Its text, whole.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal.
    pub digest: String,
}

/// One thing that a step changes: as it was found, and as it is to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedChange {
    /// The object and field, in the platform's terms: `nodegroup relay desired`.
    pub target: String,
    /// The value when the step was prepared.
    pub before: Value,
    /// The value after the change.
    pub after: Value,
}

/// One thing that a run has left different from what it found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedDifference {
    /// The object and field, in the platform's terms.
    pub target: String,
    /// The value at the start of the run.
    pub before: Value,
    /// The value at its end; null for an object that no longer exists.
    pub now: Value,
    /// Whether the platform was not asked: `now` is then the value that the run was about to set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unverified: bool,
    /// The command that restores the value; none where no command can, or where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<String>,
}

impl std::fmt::Display for RecordedDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { target, before, now, unverified, .. } = self;
        let note = if *unverified { " (not verified)" } else { "" };
        match now {
            Value::Null => write!(f, "{target}: {before} -> gone{note}"),
            _ => write!(f, "{target}: {before} -> {now}{note}"),
        }
    }
}

impl RunSpec {
    /// Returns where the runbook's text came from, with the beginning of its digest; `None` where the former is not
    /// known.
    pub fn origin_and_digest(&self) -> Option<String> {
        self.origin.as_ref().map(|origin| origin_and_digest(Some(origin), &self.digest))
    }
}

/// Returns where a runbook's text came from, with the beginning of its digest.
pub fn origin_and_digest(origin: Option<&str>, digest: &str) -> String {
    format!("{} (sha256 {})", origin.unwrap_or("unknown"), short_digest(digest))
}

/// Returns as much of a digest as people compare.
pub fn short_digest(digest: &str) -> String {
    digest.chars().take(12).collect()
}

/// The names of the events of a run; every other name is a step's.
const RUN_EVENTS: &[&str] = &[
    "run_started",
    "run_resumed",
    "run_cancel_requested",
    "run_restoring",
    "run_ended",
    "run_abandoned",
];

impl Event {
    /// Returns an event of a step.
    pub fn step(path: &StepPath, event: StepEvent) -> Self {
        Self::Step { path: path.clone(), event }
    }

    /// Whether this event, and all before it, must be on disk before anything else is done.
    pub(super) fn requires_sync(&self) -> bool {
        match self {
            Self::Run(_) => true,
            Self::Step { event, .. } => match event {
                StepEvent::StepApprovalRequested { .. }
                | StepEvent::StepApproved { .. }
                | StepEvent::StepRejected { .. }
                | StepEvent::StepPrepared { .. }
                | StepEvent::StepApplied { .. }
                | StepEvent::StepOperationFailed { .. }
                | StepEvent::StepFailed { .. }
                | StepEvent::StepUndoStarted
                | StepEvent::StepUndoFinished { .. }
                | StepEvent::StepUndoFailed { .. } => true,
                StepEvent::StepStarted { .. }
                | StepEvent::StepResumed { .. }
                | StepEvent::StepSkipped { .. }
                | StepEvent::StepMessage { .. }
                | StepEvent::StepWaiting { .. }
                | StepEvent::StepAttemptFailed { .. }
                | StepEvent::StepCalled { .. }
                | StepEvent::StepItemsDecided { .. }
                | StepEvent::StepCompleted { .. } => false,
            },
        }
    }
}

impl From<RunEvent> for Event {
    fn from(event: RunEvent) -> Self {
        Self::Run(event)
    }
}

/// One flat JSON object: `seq`, `time`, `step` where there is one, `event` and the event's own members.
#[derive(Serialize)]
struct Line<'a, E> {
    seq: u64,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a StepPath>,
    #[serde(flatten)]
    event: &'a E,
}

impl Serialize for RecordedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { seq, time, event } = self;
        let (seq, time) = (*seq, *time);
        match event {
            Event::Run(event) => Line { seq, time, step: None, event }.serialize(serializer),
            Event::Step { path, event } => {
                Line { seq, time, step: Some(path), event }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for RecordedEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Map::deserialize(deserializer)?;
        format::upgrade(&mut object);
        Self::from_object(object).map_err(D::Error::custom)
    }
}

impl RecordedEvent {
    fn from_object(mut object: Map<String, Value>) -> Result<Self, serde_json::Error> {
        let mut take = |name: &str| object.remove(name).unwrap_or_default();
        let seq = u64::deserialize(take("seq"))?;
        let time = Timestamp::deserialize(take("time"))?;
        let step = take("step");
        let is_run_event =
            object.get("event").and_then(Value::as_str).is_some_and(|e| RUN_EVENTS.contains(&e));
        let event = if is_run_event {
            Event::Run(RunEvent::deserialize(Value::Object(object))?)
        } else {
            let event = StepEvent::deserialize(Value::Object(object))?;
            Event::Step { path: StepPath::deserialize(step)?, event }
        };
        Ok(Self { seq, time, event })
    }
}

/// Whether `name` is an event of the current format.
pub(super) fn is_known(name: &str) -> bool {
    let probe = |value: Value| serde_json::from_value::<StepEvent>(value);
    // serde says "unknown variant" before it reads members.
    RUN_EVENTS.contains(&name)
        || !matches!(
            probe(serde_json::json!({ "event": name })),
            Err(error) if error.to_string().starts_with("unknown variant")
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(event: Event) -> String {
        let recorded = RecordedEvent { seq: 3, time: Timestamp::UNIX_EPOCH, event };
        let text = serde_json::to_string(&recorded).unwrap();
        assert_eq!(serde_json::from_str::<RecordedEvent>(&text).unwrap(), recorded);
        text
    }

    #[test]
    fn an_event_of_a_step_is_one_flat_object() {
        let path: StepPath = "rotate[1]/cordon".parse().unwrap();
        let event = Event::step(&path, StepEvent::StepMessage { message: "hello".into() });
        assert_eq!(
            round_trip(event),
            r#"{"seq":3,"time":"1970-01-01T00:00:00Z","step":"rotate[1]/cordon","event":"step_message","message":"hello"}"#
        );
        round_trip(Event::step(&path, StepEvent::StepUndoStarted));
    }

    #[test]
    fn an_event_of_the_run_has_no_step() {
        let event = RunEvent::RunResumed {
            actor: "me".into(),
            version: "1".into(),
            format: Format::CURRENT,
            mode: ResumeMode::Rollback,
            amendment: None,
        };
        assert_eq!(
            round_trip(event.into()),
            r#"{"seq":3,"time":"1970-01-01T00:00:00Z","event":"run_resumed","actor":"me","version":"1","format":{"major":1,"minor":1},"mode":"rollback"}"#
        );
    }

    #[test]
    fn an_event_of_format_0_reads_as_the_current_one() {
        let old = r#"{"seq":1,"time":"1970-01-01T00:00:00Z","event":"undone","step":"a","left_alone":["x"]}"#;
        let recorded: RecordedEvent = serde_json::from_str(old).unwrap();
        let finished =
            StepEvent::StepUndoFinished { not_restored: vec!["x".into()], irreversible: false };
        assert_eq!(recorded.event, Event::step(&StepPath::top_level("a"), finished));
    }

    #[test]
    fn known_names_are_told_from_unknown_ones() {
        for name in ["run_ended", "step_started", "step_undo_started"] {
            assert!(is_known(name), "{name}");
        }
        assert!(!is_known("loop_iteration_started"));
    }
}
