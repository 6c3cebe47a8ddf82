//! A run as it is shown while it goes on: a fold over its events, which gives what is written for good above the live
//! lines, and keeps what the live lines are made of (`block.rs`). It has no terminal and no clock.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{
    details::{Details, INDENT},
    line::Line,
    outline::Outline,
    undone::Undone,
};
use crate::{
    cli::{
        durations::{between, duration_text},
        stdout::Color,
    },
    journal::{
        AfterFailure, Event, LogLines, RecordedEvent, Run, RunEvent, RunId, StepEvent, StepPath,
        StepProgress,
    },
};
use text::plural;

/// Lines that are written for good, and belong together.
pub(in crate::cli) type Entry = Vec<Line>;

/// The most lines that are written about the time before a run began to be shown.
const MAX_PAST_LINES: usize = 24;
/// How many of its last lines are written where it has more.
const LAST_PAST_LINES: usize = 12;

/// A run, and what goes on in it.
pub(in crate::cli) struct View {
    pub(super) run: Run,
    pub(super) outline: Outline,
    /// How many steps each called runbook has.
    pub(super) called: HashMap<String, usize>,
    /// The steps and items that have begun and not ended, in that order.
    pub(super) active: Vec<StepPath>,
    /// The steps that are being undone, with the time at which that began.
    pub(super) undoing: Vec<(StepPath, Timestamp)>,
    pub(super) notes: HashMap<StepPath, Note>,
    pub(super) details: HashMap<StepPath, Details>,
    undone: Undone,
}

/// The present of a step or item.
pub(super) struct Note {
    /// When it began, or was continued.
    pub(super) begun_at: Timestamp,
    pub(super) wait: Option<Wait>,
    pub(super) retry: Option<Retry>,
    /// The runbook that it calls.
    pub(super) called: Option<String>,
}

/// A condition that is missing.
pub(super) struct Wait {
    pub(super) message: String,
    /// Since when.
    pub(super) since: Timestamp,
}

/// An attempt that has failed.
pub(super) struct Retry {
    pub(super) attempt: u32,
    pub(super) message: String,
    /// When the next one begins.
    pub(super) at: Timestamp,
}

impl Note {
    fn new(begun_at: Timestamp) -> Self {
        Self { begun_at, wait: None, retry: None, called: None }
    }

    /// Forgets what the step waited for: it has gone on.
    fn go_on(&mut self) {
        (self.wait, self.retry) = (None, None);
    }
}

impl View {
    /// Returns the view of a run of which nothing has been shown.
    pub(in crate::cli) fn new(run: Run) -> Self {
        let mut view = Self {
            run,
            outline: Outline::default(),
            called: HashMap::new(),
            active: Vec::new(),
            undoing: Vec::new(),
            notes: HashMap::new(),
            details: HashMap::new(),
            undone: Undone::default(),
        };
        view.read_texts();
        view
    }

    /// Folds the events of a run so far, and returns what is written about them; `None` where the first of them does
    /// not start a run.
    pub(in crate::cli) fn of(id: &RunId, events: &[RecordedEvent]) -> Option<(Self, Vec<Entry>)> {
        let (first, rest) = events.split_first()?;
        let mut view = Self::new(Run::of(id, std::slice::from_ref(first))?);
        let mut entries = vec![view.title()];
        entries.extend(rest.iter().flat_map(|event| view.apply(event)));
        Some((view, entries))
    }

    /// Returns the lines that name the run.
    pub(in crate::cli) fn title(&self) -> Entry {
        let spec = &self.run.spec;
        let title = format!("{} ({})", spec.runbook, self.run.id());
        let title = match spec.origin_and_digest() {
            Some(file) => format!("{title} from {file}"),
            None => title,
        };
        let outside = spec.outside_window.iter();
        let outside = outside.map(|reason| format!("outside the change windows: {reason}"));
        std::iter::once(Line::new(&title))
            .chain(outside.map(|text| Line::new(&text).colored(Color::Yellow)))
            .collect()
    }

    /// Folds one more event, and returns what is written about it for good. Most of what happens inside a step is
    /// written when that step ends.
    pub(in crate::cli) fn apply(&mut self, recorded: &RecordedEvent) -> Vec<Entry> {
        let mut entries = Vec::new();
        match &recorded.event {
            Event::Run(event) => self.apply_run_event(event, recorded, &mut entries),
            Event::Step { path, event } => {
                self.apply_step_event(path, event, recorded.time, &mut entries);
            }
        }
        self.run.apply(recorded);
        if let Event::Run(RunEvent::RunResumed { amendment: Some(_), .. }) = &recorded.event {
            self.read_texts();
        }
        entries.retain(|entry| !entry.is_empty());
        entries
    }

    fn read_texts(&mut self) {
        self.outline = Outline::of(self.run.text());
        let called = self.run.called().iter();
        self.called = called
            .map(|called| (called.runbook.clone(), Outline::of(&called.text).len()))
            .collect();
    }

    fn apply_run_event(
        &mut self,
        event: &RunEvent,
        recorded: &RecordedEvent,
        entries: &mut Vec<Entry>,
    ) {
        entries.push(self.undone.take());
        let lines = |event: RunEvent, color: Option<Color>| -> Entry {
            let texts = LogLines::default().texts(&event.into());
            let lines = texts.iter().map(|text| Line::new(text));
            lines.map(|line| color.into_iter().fold(line, Line::colored)).collect()
        };
        match event {
            RunEvent::RunStarted(_) => {}
            RunEvent::RunResumed { .. } => {
                self.stop(self.run.head.last_event_at, entries);
                let pause = duration_text(between(self.run.head.last_event_at, recorded.time));
                let text = format!("no process drove the run for {pause}");
                entries.push(vec![Line::new(&text).colored(Color::Yellow)]);
                entries.push(lines(event.clone(), None));
            }
            RunEvent::RunCancelRequested { .. } => {
                entries.push(lines(event.clone(), Some(Color::Yellow)));
            }
            RunEvent::RunEnded { outcome, failure, .. } => {
                self.stop(recorded.time, entries);
                // What is different from before is in the summary.
                let (outcome, failure) = (*outcome, failure.clone());
                let ended = RunEvent::RunEnded { outcome, failure, differences: None };
                entries.push(lines(ended, None));
            }
            RunEvent::RunRestoring { .. } | RunEvent::RunAbandoned { .. } => {
                entries.push(lines(event.clone(), None));
            }
        }
    }

    /// Writes what is known of the steps that will not end now.
    fn stop(&mut self, time: Timestamp, entries: &mut Vec<Entry>) {
        let open: Vec<StepPath> =
            self.active.iter().filter(|path| path.is_top_level()).cloned().collect();
        for path in open {
            let line =
                Line::new(&format!("{} ({}, not ended)", self.name(&path), self.took(&path, time)));
            let mut entry = vec![line.marked(Some(Color::Yellow), "■")];
            entry.extend(self.details.remove(&path).into_iter().flat_map(Details::into_lines));
            entries.push(entry);
        }
        self.active.clear();
        self.undoing.clear();
        self.notes.clear();
        self.details.clear();
    }

    fn apply_step_event(
        &mut self,
        path: &StepPath,
        event: &StepEvent,
        time: Timestamp,
        entries: &mut Vec<Entry>,
    ) {
        match event {
            StepEvent::StepStarted { .. } | StepEvent::StepResumed { .. } => {
                entries.push(self.undone.take());
                self.begin(path, time);
            }
            StepEvent::StepSkipped { name, reason } if path.is_top_level() => {
                entries.push(self.undone.take());
                let line = Line::new(&format!("{name} (skipped: {reason})")).at_most(3);
                entries.push(vec![line.marked(Some(Color::Faint), "-")]);
            }
            StepEvent::StepSkipped { .. } | StepEvent::StepItemsDecided { .. } => {}
            StepEvent::StepMessage { message } => self.add_message(path, message),
            StepEvent::StepWaiting { message, waited_ms } => {
                let waited = jiff::SignedDuration::from_millis(
                    waited_ms.map_or(0, |waited| i64::try_from(waited).unwrap_or(0)),
                );
                let since = time.checked_sub(waited).unwrap_or(time);
                let note = self.note(path, time);
                note.retry = None;
                note.wait = Some(Wait { message: message.clone(), since });
            }
            StepEvent::StepCalled { runbook, .. } => {
                self.note(path, time).called = Some(runbook.clone());
            }
            StepEvent::StepApprovalRequested { .. } => {
                // Whole, because the live lines have its beginning only.
                let recorded = Event::step(path, event.clone());
                let texts = LogLines::default().texts(&recorded);
                let texts = texts.iter().filter(|text| !text.contains("hint: answer with"));
                entries.push(texts.map(|text| Line::new(text).whole()).collect());
            }
            StepEvent::StepApproved { actor, note, .. } => {
                let note = note.iter().map(|note| format!(": {note}")).collect::<String>();
                self.add_message(path, &format!("approved by {actor}{note}"));
            }
            StepEvent::StepRejected { actor, reason, .. } => {
                self.add_message(path, &format!("rejected by {actor}: {reason}"));
            }
            StepEvent::StepPrepared { changes, .. } => {
                self.note(path, time).go_on();
                let details = self.details(path);
                for change in changes {
                    let (before, after) = (&change.before, &change.after);
                    details
                        .add_change(Line::new(&format!("{}: {before} -> {after}", change.target)));
                }
            }
            StepEvent::StepApplied { .. } => self.note(path, time).go_on(),
            StepEvent::StepOperationFailed { failure, .. } => {
                let what = format!("{}operation failed", part_prefix(path));
                self.details(path).add_failure(&what, failure);
            }
            StepEvent::StepAttemptFailed { attempt, failure, retry_in_ms } => {
                let what = format!("{}attempt {attempt} failed", part_prefix(path));
                self.details(path).add_failure(&what, failure);
                let delay = i64::try_from(*retry_in_ms).unwrap_or(i64::MAX);
                let delay = jiff::SignedDuration::from_millis(delay);
                let at = time.checked_add(delay).unwrap_or(Timestamp::MAX);
                let message = failure.message.clone();
                let note = self.note(path, time);
                note.wait = None;
                note.retry = Some(Retry { attempt: *attempt, message, at });
            }
            StepEvent::StepCompleted { message, .. } => {
                self.complete(path, message.as_deref(), time, entries);
            }
            StepEvent::StepFailed { failure, then } if path.is_top_level() => {
                let line = Line::new(&format!("{} ({})", self.name(path), self.took(path, time)));
                let mut entry = vec![line.marked(Some(Color::Red), "✘")];
                let details = self.details.remove(path);
                entry.extend(details.into_iter().flat_map(Details::into_lines));
                let lines = failure.lines();
                entry.extend(lines.iter().map(|line| Line::new(line).indented(INDENT).whole()));
                if *then == AfterFailure::Rollback {
                    entry.push(Line::new("Rolling back").colored(Color::Yellow));
                }
                entries.push(entry);
                self.end(path);
            }
            StepEvent::StepFailed { failure, .. } => {
                let what = format!("{}failed", part_prefix(path));
                self.details(path).add_failure(&what, failure);
                self.end(path);
            }
            StepEvent::StepUndoStarted => {
                self.undoing.retain(|(undoing, _)| undoing != path);
                self.undoing.push((path.clone(), time));
            }
            StepEvent::StepUndoFinished { not_restored, .. } => {
                let began = self.end_undo(path, time);
                let name = self.name(&path.top());
                entries.push(self.undone.add(path, &name, between(began, time), not_restored));
            }
            StepEvent::StepUndoFailed { failure } => {
                self.end_undo(path, time);
                entries.push(self.undone.take());
                let line = Line::new(&format!("Could not undo: {}", self.name(path)));
                let mut entry = vec![line.marked(Some(Color::Red), "✘")];
                let lines = failure.lines();
                entry.extend(lines.iter().map(|line| Line::new(line).indented(INDENT).whole()));
                entries.push(entry);
            }
        }
    }

    fn begin(&mut self, path: &StepPath, time: Timestamp) {
        self.active.retain(|active| !active.is_part_of(path));
        self.active.push(path.clone());
        self.notes.insert(path.clone(), Note::new(time));
    }

    /// Ends a step or an item, and everything inside.
    fn end(&mut self, path: &StepPath) {
        self.active.retain(|active| !active.is_part_of(path));
        match path.is_top_level() {
            true => self.notes.retain(|noted, _| !noted.is_part_of(path)),
            false => drop(self.notes.remove(path)),
        }
    }

    fn complete(
        &mut self,
        path: &StepPath,
        message: Option<&str>,
        time: Timestamp,
        entries: &mut Vec<Entry>,
    ) {
        if path.is_top_level() {
            let items = self.run.step(path).and_then(StepProgress::item_count);
            let items =
                items.map_or_else(String::new, |count| format!(": {}", plural(count, "item")));
            let line =
                Line::new(&format!("{}{items} ({})", self.name(path), self.took(path, time)));
            let mut entry = vec![line.marked(Some(Color::Green), "✔")];
            entry.extend(self.details.remove(path).into_iter().flat_map(Details::into_lines));
            // What the runbook's author wants to be read is not cut off.
            entry.extend(message.map(|message| Line::new(message).indented(INDENT)));
            entries.push(entry);
        } else {
            if !path.is_within_item() {
                let text = format!("{} ({})", self.name(path), self.took(path, time));
                let indent = INDENT * (path.segments().len() - 2);
                let line = Line::new(&text).marked(Some(Color::Green), "✔").indented(indent);
                self.details(path).add_message(line);
            }
            if let Some(message) = message {
                self.add_message(path, message);
            }
        }
        self.end(path);
    }

    fn end_undo(&mut self, path: &StepPath, time: Timestamp) -> Timestamp {
        let began = self.undoing.iter().find(|(undoing, _)| undoing == path);
        let began = began.map_or(time, |(_, began)| *began);
        self.undoing.retain(|(undoing, _)| undoing != path);
        began
    }

    fn add_message(&mut self, path: &StepPath, message: &str) {
        let line = Line::new(&format!("{}{message}", part_prefix(path)));
        self.details(path).add_message(line);
    }

    /// Returns the details of the step at the top level.
    fn details(&mut self, path: &StepPath) -> &mut Details {
        let step_count = self.outline.len();
        self.details.entry(path.top()).or_insert_with(|| Details::new(step_count))
    }

    fn note(&mut self, path: &StepPath, time: Timestamp) -> &mut Note {
        self.notes.entry(path.clone()).or_insert_with(|| Note::new(time))
    }

    /// Returns the name of a step for people.
    pub(super) fn name(&self, path: &StepPath) -> String {
        self.run.step(path).map_or_else(|| path.to_string(), |step| step.name.clone())
    }

    fn took(&self, path: &StepPath, now: Timestamp) -> String {
        let begun_at = self.notes.get(path).map_or(now, |note| note.begun_at);
        duration_text(between(begun_at, now))
    }
}

/// Returns what is before the text of a part of a step: `[2]/cordon: `; nothing for the step itself.
fn part_prefix(path: &StepPath) -> String {
    let text = path.to_string();
    let within = text.strip_prefix(&path.top().to_string()).unwrap_or(&text);
    match within.trim_start_matches('/') {
        "" => String::new(),
        within => format!("{within}: "),
    }
}

/// Returns what is written about the time before a run began to be shown: everything, or how it began and what
/// happened last.
pub(in crate::cli) fn shortened(entries: Vec<Entry>, run: &RunId) -> Vec<Entry> {
    let count: usize = entries.iter().map(Vec::len).sum();
    if count <= MAX_PAST_LINES {
        return entries;
    }
    let mut entries = entries.into_iter();
    let first: Entry = entries.next().unwrap_or_default();
    let mut rest: Vec<Entry> = entries.collect();
    let mut kept = 0;
    let is_kept = |entry: &&Entry| {
        kept += entry.len();
        kept <= LAST_PAST_LINES
    };
    let last = rest.iter().rev().take_while(is_kept).count();
    let last = rest.split_off(rest.len() - last);
    let left_out = plural(rest.iter().map(Vec::len).sum(), "earlier line");
    let note = format!("… {left_out}; `runs show {run}` has all of it");
    let note = vec![Line::new(&note).colored(Color::Faint)];
    [first, note].into_iter().chain(last).collect()
}
