//! A run as a fold over its events, with what a person who watches it wants to know beside [`Run`]: what each step
//! waits for and since when, what it reported last, which attempts failed, and what has changed since a while ago.
//! Pure: it reads nothing and knows no HTML.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::outline::Outline;
use crate::journal::{
    Event, LogLines, RecordedEvent, Run, RunEvent, RunId, StepEvent, StepPath, StepProgress,
};

/// How many failed attempts of a step are remembered; their number is kept.
const MAX_ATTEMPTS: usize = 5;

/// A run that is being watched. All who watch it share one, and each knows up to which event it has seen the run.
pub(super) struct WatchedRun {
    pub(super) run: Run,
    pub(super) outline: Arc<Outline>,
    /// The place of the last event.
    pub(super) seq: u64,
    /// The place of the event by which the run was resumed last.
    pub(super) resumed_at: Option<u64>,
    notes: HashMap<StepPath, Notes>,
    waits: BTreeMap<StepPath, Wait>,
    parts: HashMap<StepPath, Vec<StepPath>>,
    /// The place of the first event of each step.
    begun_at: HashMap<StepPath, u64>,
    lines: Vec<LogLine>,
    names: LogLines,
}

/// A condition that a step waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    /// The missing condition.
    pub(super) message: String,
    /// Since when it has been missing.
    pub(super) since: Timestamp,
}

/// A failed attempt of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) at: Timestamp,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// When the next one begins.
    pub(super) next_at: Timestamp,
}

/// The facts about a step that are not in its progress.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    /// The last report.
    pub(super) message: Option<String>,
    /// The description.
    pub(super) description: Option<String>,
    /// The runbook that it calls.
    pub(super) called: Option<String>,
    /// The last attempts that failed.
    pub(super) attempts: Vec<Attempt>,
    /// How many have failed.
    pub(super) failed: u32,
    /// The actor that rejected.
    pub(super) rejected_by: Option<String>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogLine {
    pub(super) seq: u64,
    pub(super) time: Timestamp,
    pub(super) text: String,
    pub(super) kind: LineKind,
}

/// The kind of a line, by which it is colored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    Plain,
    Good,
    Bad,
    Waiting,
    Changes,
}

impl WatchedRun {
    /// Folds the events of a run; `None` when the first of them does not start a run.
    pub(super) fn of(
        id: &RunId,
        events: &[Arc<RecordedEvent>],
        outline: Arc<Outline>,
    ) -> Option<Self> {
        let (first, rest) = events.split_first()?;
        let run = Run::of(id, std::slice::from_ref(first))?;
        let mut watched = Self {
            run,
            outline,
            seq: first.seq,
            resumed_at: None,
            notes: HashMap::new(),
            waits: BTreeMap::new(),
            parts: HashMap::new(),
            begun_at: HashMap::new(),
            lines: Vec::new(),
            names: LogLines::default(),
        };
        watched.add_lines(first);
        watched.follow(rest);
        Some(watched)
    }

    /// Folds the events that follow the last one. Those before it are known.
    pub(super) fn follow(&mut self, events: &[Arc<RecordedEvent>]) {
        let new = events.iter().filter(|event| event.seq > self.seq).cloned();
        let new: Vec<Arc<RecordedEvent>> = new.collect();
        new.iter().for_each(|event| self.apply(event));
    }

    fn apply(&mut self, recorded: &RecordedEvent) {
        self.run.apply(recorded);
        self.seq = recorded.seq;
        match &recorded.event {
            Event::Run(RunEvent::RunResumed { .. }) => {
                self.resumed_at = Some(recorded.seq);
                self.waits.clear();
                // Steps may have been forgotten, with their parts.
                self.parts.clear();
                let paths: Vec<StepPath> =
                    self.run.steps().iter().map(|step| step.path.clone()).collect();
                paths.iter().for_each(|path| self.note_part(path));
                self.begun_at.retain(|path, _| self.run.step(path).is_some());
            }
            Event::Run(RunEvent::RunEnded { .. } | RunEvent::RunAbandoned { .. }) => {
                self.waits.clear();
            }
            Event::Run(_) => {}
            Event::Step { path, event } => {
                if !self.begun_at.contains_key(path) {
                    self.begun_at.insert(path.clone(), recorded.seq);
                    self.note_part(path);
                }
                self.note_step(path, event, recorded.time);
            }
        }
        self.add_lines(recorded);
    }

    fn note_part(&mut self, path: &StepPath) {
        if let Some(outer) = path.outer() {
            self.parts.entry(outer).or_default().push(path.clone());
        }
    }

    fn note_step(&mut self, path: &StepPath, event: &StepEvent, time: Timestamp) {
        let notes = self.notes.entry(path.clone()).or_default();
        match event {
            StepEvent::StepStarted { description, .. } => {
                *notes = Notes { description: description.clone(), ..Notes::default() };
                self.waits.remove(path);
            }
            StepEvent::StepMessage { message } => notes.message = Some(message.clone()),
            StepEvent::StepWaiting { message, waited_ms } => {
                let waited = Duration::from_millis(waited_ms.unwrap_or_default());
                let since = time.checked_sub(waited).unwrap_or(time);
                let same = self.waits.get(path).filter(|wait| wait.message == *message);
                let since = same.map_or(since, |wait| wait.since);
                self.waits.insert(path.clone(), Wait { message: message.clone(), since });
            }
            StepEvent::StepAttemptFailed { attempt, failure, retry_in_ms } => {
                notes.failed += 1;
                if notes.attempts.len() == MAX_ATTEMPTS {
                    notes.attempts.remove(0);
                }
                let delay = Duration::from_millis(*retry_in_ms);
                notes.attempts.push(Attempt {
                    number: *attempt,
                    at: time,
                    message: failure.message.clone(),
                    hint: failure.hint.clone(),
                    next_at: time.checked_add(delay).unwrap_or(time),
                });
                self.waits.remove(path);
            }
            StepEvent::StepCalled { runbook, .. } => notes.called = Some(runbook.clone()),
            StepEvent::StepRejected { actor, .. } => notes.rejected_by = Some(actor.clone()),
            StepEvent::StepCompleted { message, .. } => {
                if let Some(message) = message {
                    notes.message = Some(message.clone());
                }
                self.waits.remove(path);
            }
            StepEvent::StepSkipped { .. }
            | StepEvent::StepFailed { .. }
            | StepEvent::StepUndoStarted
            | StepEvent::StepUndoFinished { .. }
            | StepEvent::StepUndoFailed { .. } => {
                self.waits.remove(path);
            }
            StepEvent::StepResumed { .. }
            | StepEvent::StepItemsDecided { .. }
            | StepEvent::StepApprovalRequested { .. }
            | StepEvent::StepApproved { .. }
            | StepEvent::StepPrepared { .. }
            | StepEvent::StepApplied { .. }
            | StepEvent::StepOperationFailed { .. } => {}
        }
    }

    fn add_lines(&mut self, recorded: &RecordedEvent) {
        let kind = kind_of(&recorded.event);
        let (seq, time) = (recorded.seq, recorded.time);
        let texts = self.names.texts(&recorded.event).into_iter();
        self.lines.extend(texts.map(|text| LogLine { seq, time, text, kind }));
    }

    /// Returns the lines of the log, from an event on.
    pub(super) fn lines(&self, from: u64) -> &[LogLine] {
        &self.lines[self.lines.partition_point(|line| line.seq < from)..]
    }

    /// Whether a step had begun at an event.
    pub(super) fn had_begun(&self, path: &StepPath, seq: u64) -> bool {
        self.begun_at.get(path).is_some_and(|begun_at| *begun_at <= seq)
    }

    /// Returns how many steps, and parts of steps, have begun.
    pub(super) fn begun(&self) -> usize {
        self.begun_at.len()
    }

    /// Returns what the steps wait for that have not ended, the outermost first.
    pub(super) fn waits(&self) -> impl Iterator<Item = (&StepPath, &Wait)> {
        self.waits.iter()
    }

    /// Returns what a step waits for.
    pub(super) fn wait(&self, path: &StepPath) -> Option<&Wait> {
        self.waits.get(path)
    }

    /// Returns what is known of a step beside its progress.
    pub(super) fn notes(&self, path: &StepPath) -> Option<&Notes> {
        self.notes.get(path)
    }

    /// Returns the items of a step, or the steps of a runbook that it calls, as far as they have begun.
    pub(super) fn parts(&self, path: &StepPath) -> &[StepPath] {
        self.parts.get(path).map_or(&[], Vec::as_slice)
    }

    /// Returns the paths of the steps at the top level: those of the runbook in its order, then others that have begun.
    pub(super) fn top_level(&self) -> Vec<StepPath> {
        let mut paths: Vec<StepPath> =
            self.outline.steps.iter().map(|step| StepPath::top_level(&step.id)).collect();
        let known: BTreeSet<StepPath> = paths.iter().cloned().collect();
        let begun = self.run.steps().iter().map(|step| &step.path);
        let others = begun.filter(|path| path.is_top_level() && !known.contains(*path));
        paths.extend(others.cloned());
        paths
    }

    /// Returns the step that is being run, or was when the run stopped: the last at the top level that has not ended.
    pub(super) fn current(&self) -> Option<&StepProgress> {
        let tops = self.run.steps().iter().rev().filter(|step| step.path.is_top_level());
        tops.into_iter().find(|step| step.outcome.is_none())
    }
}

/// Returns the steps that events are about, each with what it is a part of.
pub(super) fn steps_of(events: &[Arc<RecordedEvent>]) -> BTreeSet<StepPath> {
    let mut steps = BTreeSet::new();
    for recorded in events {
        let Event::Step { path, .. } = &recorded.event else { continue };
        let mut part = Some(path.clone());
        while let Some(path) = part {
            part = path.outer();
            steps.insert(path);
        }
    }
    steps
}

fn kind_of(event: &Event) -> LineKind {
    match event {
        Event::Run(RunEvent::RunEnded { outcome, .. }) => match outcome {
            crate::journal::RunOutcome::Succeeded => LineKind::Good,
            _ => LineKind::Bad,
        },
        Event::Run(_) => LineKind::Plain,
        Event::Step { event, .. } => match event {
            StepEvent::StepCompleted { .. } => LineKind::Good,
            StepEvent::StepFailed { .. }
            | StepEvent::StepAttemptFailed { .. }
            | StepEvent::StepOperationFailed { .. }
            | StepEvent::StepRejected { .. }
            | StepEvent::StepUndoFailed { .. } => LineKind::Bad,
            StepEvent::StepWaiting { .. } | StepEvent::StepApprovalRequested { .. } => {
                LineKind::Waiting
            }
            StepEvent::StepPrepared { .. }
            | StepEvent::StepApplied { .. }
            | StepEvent::StepUndoStarted
            | StepEvent::StepUndoFinished { .. } => LineKind::Changes,
            _ => LineKind::Plain,
        },
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::journal::{Failure, FailureKind, Format, RecordedChange, RunSpec, RunTarget};

    /// A second after the start of every run of these tests.
    pub(in crate::server::page) fn at(second: u64) -> Timestamp {
        "2026-11-27T12:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(second)
    }

    pub(in crate::server::page) fn id() -> RunId {
        "20261127t120000z-relay-scale-0001".parse().unwrap()
    }

    /// The events of a run: the start, then these, a second apart.
    pub(in crate::server::page) fn events(rest: Vec<Event>) -> Vec<Arc<RecordedEvent>> {
        let spec = RunSpec {
            format: Format::CURRENT,
            runbook: "relay-scale".into(),
            origin: None,
            text: String::new(),
            digest: crate::engine::digest(""),
            inputs: json!({"factor": 2}).as_object().cloned().unwrap_or_else(Map::new),
            called: Vec::new(),
            actor: "ops:<b>".into(),
            key: None,
            outside_window: None,
            version: "1".into(),
            target: RunTarget { simulated: true, ..RunTarget::default() },
            consent: Default::default(),
        };
        let first = Event::Run(RunEvent::RunStarted(Box::new(spec)));
        std::iter::once(first)
            .chain(rest)
            .zip(0..)
            .map(|(event, seq)| Arc::new(RecordedEvent { seq, time: at(seq), event }))
            .collect()
    }

    pub(in crate::server::page) fn step(path: &str, event: StepEvent) -> Event {
        Event::step(&path.parse().unwrap(), event)
    }

    pub(in crate::server::page) fn started(path: &str) -> Event {
        step(path, StepEvent::StepStarted { name: format!("Step {path}"), description: None })
    }

    pub(in crate::server::page) fn completed(path: &str, output: Value) -> Event {
        step(path, StepEvent::StepCompleted { revision: 1, output: output.into(), message: None })
    }

    pub(in crate::server::page) fn prepared(path: &str, before: Value, after: Value) -> Event {
        let change = RecordedChange { target: "nodegroup relay desired".into(), before, after };
        step(
            path,
            StepEvent::StepPrepared { revision: 1, intent: Value::Null, changes: vec![change] },
        )
    }

    pub(in crate::server::page) fn failed(path: &str) -> Event {
        let failure = Failure::new(FailureKind::Denied, "denied by <policy>")
            .with_hint(Some("allow eks:DescribeNodegroup"));
        let then = crate::journal::AfterFailure::Stop;
        step(path, StepEvent::StepFailed { failure, then })
    }

    pub(in crate::server::page) fn watched(rest: Vec<Event>) -> WatchedRun {
        WatchedRun::of(&id(), &events(rest), Arc::default()).unwrap()
    }

    fn waiting(message: &str, waited_ms: Option<u64>) -> Event {
        step("a", StepEvent::StepWaiting { message: message.into(), waited_ms })
    }

    fn since(run: &WatchedRun) -> Option<Timestamp> {
        run.wait(&"a".parse().unwrap()).map(|wait| wait.since)
    }

    #[test]
    fn a_wait_has_lasted_since_its_condition_was_first_missing() {
        let mut all = vec![started("a"), waiting("2 nodes", None), waiting("2 nodes", Some(1000))];
        assert_eq!(since(&watched(all.clone())), Some(at(2)));
        all.push(waiting("1 node", None));
        assert_eq!(since(&watched(all.clone())), Some(at(4)));
        all.push(completed("a", json!(1)));
        assert_eq!(since(&watched(all)), None);
        // A report of a wait whose beginning was not seen.
        let message = StepEvent::StepMessage { message: "x".into() };
        let late = vec![started("a"), step("a", message), waiting("2 nodes", Some(2000))];
        assert_eq!(since(&watched(late)), Some(at(1)));
    }

    #[test]
    fn an_event_of_a_part_changes_what_it_is_a_part_of() {
        let all = events(vec![started("rotate"), started("rotate[0]"), started("rotate[0]/drain")]);
        let steps: Vec<String> = steps_of(&all[3..]).iter().map(ToString::to_string).collect();
        assert_eq!(steps, ["rotate", "rotate[0]", "rotate[0]/drain"]);
        let run = WatchedRun::of(&id(), &all, Arc::default()).unwrap();
        let (rotate, item): (StepPath, StepPath) =
            ("rotate".parse().unwrap(), "rotate[0]".parse().unwrap());
        assert_eq!(run.parts(&rotate), std::slice::from_ref(&item));
        assert!(run.had_begun(&item, 2) && !run.had_begun(&item, 1));
        assert_eq!(run.lines(3).len(), 1);
        assert_eq!(run.lines(0).len(), 4);
    }

    #[test]
    fn events_that_are_known_are_not_folded_again() {
        let all = events(vec![started("a"), completed("a", json!(1))]);
        let mut run = WatchedRun::of(&id(), &all[..2], Arc::default()).unwrap();
        run.follow(&all);
        run.follow(&all);
        assert_eq!((run.seq, run.lines(0).len()), (2, 3));
    }
}
