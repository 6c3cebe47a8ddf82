//! A step as a page shows it: its state, its place on the axis of time, what it waits for, what it changes.

use jiff::Timestamp;

use super::{
    watched_run::{Attempt, Notes, Wait, WatchedRun},
    words::{self, Badge, Moment, between, duration, moment, shown, shown_lines},
};
use crate::journal::{
    ApprovalProgress, Failure, RecordedChange, RecordedJson, StepOutcome, StepPath, StepProgress,
    StepState, UndoStatus,
};

/// How many changes of a step are shown.
const MAX_CHANGES: usize = 100;

/// How many items of a step, or steps of a called runbook, are shown in all.
pub(super) const MAX_PARTS: usize = 5_000;

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StepView {
    /// Its path, which is a part of the ids of its elements.
    pub(super) path: String,
    /// The path of what it is a part of; empty at the top level.
    pub(super) outer: String,
    pub(super) name: String,
    /// Its action, where it is known, or the runbook that it calls.
    pub(super) action: String,
    pub(super) badge: Badge,
    pub(super) description: Option<String>,
    pub(super) started: Option<Moment>,
    /// How long it took, if it has ended.
    pub(super) took: Option<String>,
    /// Whether it is running now, so that its time ticks.
    pub(super) is_running: bool,
    pub(super) bar: Option<Bar>,
    pub(super) wait: Option<WaitView>,
    pub(super) message: Option<String>,
    pub(super) attempts: Vec<AttemptView>,
    pub(super) failed_attempts: u32,
    pub(super) changes: Vec<ChangeView>,
    pub(super) more_changes: usize,
    pub(super) not_restored: Vec<String>,
    pub(super) failure: Option<FailureView>,
    /// Why it was skipped.
    pub(super) reason: Option<String>,
    pub(super) output: Option<String>,
    pub(super) has_parts: bool,
}

/// A condition that a step waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WaitView {
    pub(super) message: String,
    pub(super) since: Moment,
}

/// The place of a step on the axis of time, in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) class: &'static str,
    pub(super) x: String,
    pub(super) width: String,
    /// Where attempts failed.
    pub(super) marks: Vec<String>,
    /// The length of the axis.
    pub(super) scale: String,
    /// The start, for a bar that grows.
    pub(super) grows_from: Option<String>,
}

/// The axis of time of a run: where it begins and how long it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    start: Timestamp,
    seconds: f64,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AttemptView {
    pub(super) number: u32,
    pub(super) at: Moment,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) next_at: Moment,
}

/// A change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChangeView {
    pub(super) target: String,
    pub(super) before: String,
    pub(super) after: String,
    pub(super) badge: Badge,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailureView {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// The call that failed, with the code of the platform.
    pub(super) call: Option<String>,
}

/// The summary of the parts of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartsView {
    pub(super) path: String,
    /// Such as `12 of 40 items, 1 failed`.
    pub(super) text: String,
}

impl FailureView {
    pub(super) fn of(failure: &Failure) -> Self {
        let call = failure.call.as_ref().map(|call| match &failure.code {
            Some(code) => shown(&format!("{call}: {code}")),
            None => shown(call),
        });
        let hint = failure.hint.as_deref().map(shown);
        Self { message: shown(&failure.message), hint, call }
    }
}

impl WaitView {
    pub(super) fn of(wait: &Wait) -> Self {
        Self { message: shown(&wait.message), since: moment(wait.since) }
    }
}

impl Axis {
    /// The lengths of an axis while the run goes on, in seconds: it must not change all the time.
    const STEPS: [u32; 22] = [
        10, 30, 60, 120, 300, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10_800, 14_400, 21_600,
        28_800, 43_200, 86_400, 172_800, 345_600, 604_800,
    ];

    /// Returns the axis of a run that began at a time and has ended, or goes on.
    pub(super) fn new(start: Timestamp, end: Timestamp, goes_on: bool) -> Self {
        let elapsed = between(start, end).as_secs_f64().max(1.0);
        let next = Self::STEPS.iter().map(|step| f64::from(*step)).find(|step| *step > elapsed);
        let seconds = match goes_on {
            true => next.unwrap_or(elapsed * 1.5),
            false => elapsed,
        };
        Self { start, seconds }
    }

    /// Returns the length, as pages write it.
    pub(super) fn scale(&self) -> String {
        number(self.seconds)
    }

    /// Returns the labels of the quarters.
    pub(super) fn labels(&self) -> Vec<String> {
        let at = |quarter: u32| {
            let seconds = self.seconds * f64::from(quarter) / 4.0;
            duration(std::time::Duration::from_secs_f64(seconds))
        };
        (0..=4).map(at).collect()
    }

    fn place(&self, time: Timestamp) -> f64 {
        between(self.start, time).as_secs_f64().min(self.seconds)
    }

    fn bar(
        &self,
        step: &StepProgress,
        attempts: &[Attempt],
        class: &'static str,
        end: Option<Timestamp>,
    ) -> Option<Bar> {
        let started = step.started_at?;
        let x = self.place(started);
        Some(Bar {
            class,
            x: number(x),
            width: number((end.map_or(x, |end| self.place(end)) - x).max(0.0)),
            marks: attempts.iter().map(|attempt| number(self.place(attempt.at))).collect(),
            scale: self.scale(),
            grows_from: end.is_none().then(|| moment(started).machine),
        })
    }
}

/// Returns a number of seconds to the tenth.
fn number(seconds: f64) -> String {
    format!("{seconds:.1}")
}

/// Returns the latest state of a step itself: its undo, if there was one, comes after its end.
pub(super) fn own_state(step: &StepProgress) -> StepState {
    match (&step.undo, &step.outcome) {
        (Some(UndoStatus::Started), _) => StepState::Undoing,
        (Some(UndoStatus::Finished(_)), Some(StepOutcome::Completed { .. }))
            if step.is_restored() =>
        {
            StepState::Restored
        }
        (Some(UndoStatus::Finished(_)), _) => StepState::Undone,
        (Some(UndoStatus::Failed(_)), _) => StepState::UndoFailed,
        (None, None) => StepState::Running,
        (None, Some(StepOutcome::Completed { .. })) => StepState::Completed,
        (None, Some(StepOutcome::Skipped { .. })) => StepState::Skipped,
        (None, Some(StepOutcome::Failed { .. })) => StepState::Failed,
    }
}

/// Returns the state of a step with its parts: an undo of a part is one of the step.
fn state(run: &WatchedRun, step: &StepProgress) -> StepState {
    let parts = run.parts(&step.path).iter().filter_map(|path| run.run.step(path));
    parts.map(|part| state(run, part)).fold(own_state(step), |of_step, of_part| {
        match (of_step, of_part) {
            (StepState::UndoFailed, _) | (_, StepState::UndoFailed) => StepState::UndoFailed,
            (StepState::Undoing, _) | (_, StepState::Undoing) => StepState::Undoing,
            (StepState::Failed, _) => StepState::Failed,
            (_, StepState::Undone) => StepState::Undone,
            (of_step, _) => of_step,
        }
    })
}

/// Returns the view of a step, begun or not.
pub(super) fn step_view(run: &WatchedRun, path: &StepPath, axis: &Axis, is_live: bool) -> StepView {
    let outer = path.outer().map(|outer| outer.to_string()).unwrap_or_default();
    let outline = path.is_top_level().then(|| run.outline.step(&path.to_string())).flatten();
    let action = outline.map(|step| step.action.clone()).unwrap_or_default();
    let Some(step) = run.run.step(path) else {
        let name = outline.map_or_else(|| path.to_string(), |step| step.name.clone());
        let badge = match run.run.skipped_by(path) {
            Some(_) => words::of_step(StepState::Skipped, is_live),
            None => words::PENDING,
        };
        let reason = run.run.skipped_by(path).map(|actor| shown(&format!("skipped by {actor}")));
        return StepView { reason, ..empty(path, outer, shown(&name), action, badge) };
    };
    let notes = run.notes(path).cloned().unwrap_or_default();
    let is_running = is_live && step.outcome.is_none() && step.started_at.is_some();
    let state = state(run, step);
    let mut badge = words::of_step(state, is_live);
    let wait = run.wait(path).filter(|_| is_live);
    if is_running && state == StepState::Running {
        let asks = step.approval.as_ref().is_some_and(ApprovalProgress::is_open);
        badge = match (asks, wait) {
            (true, _) => words::ASKING,
            (false, Some(_)) => words::WAITING,
            (false, None) => badge,
        };
    }
    let end = match (step.ended_at, is_running) {
        (Some(end), _) => Some(end),
        (None, true) => None,
        (None, false) => Some(run.run.head.last_event_at),
    };
    let name = match path.step_of_item() {
        Some(_) => item_name(run, path),
        None => shown(&step.name),
    };
    let (failure, reason) = why(step);
    let changes = step.intent.as_ref().map_or(&[][..], |intent| &intent.changes);
    let done = of_changes(step);
    let Notes { message, description, called, attempts, failed, rejected_by: _ } = notes;
    StepView {
        started: step.started_at.map(moment),
        took: end.zip(step.started_at).map(|(end, start)| duration(between(start, end))),
        is_running,
        bar: axis.bar(step, &attempts, badge.class, end),
        wait: wait.map(WaitView::of),
        message: message.as_deref().map(shown),
        description: description.as_deref().map(shown_lines),
        attempts: attempts.iter().map(attempt_view).collect(),
        failed_attempts: failed,
        changes: changes.iter().take(MAX_CHANGES).map(|change| change_view(change, done)).collect(),
        more_changes: changes.len().saturating_sub(MAX_CHANGES),
        not_restored: match &step.undo {
            Some(UndoStatus::Finished(targets)) => targets.iter().map(|one| shown(one)).collect(),
            _ => Vec::new(),
        },
        failure,
        reason,
        output: step
            .output()
            .map(RecordedJson::to_value)
            .filter(|output| !is_empty(output))
            .map(|output| words::output(&output)),
        has_parts: !run.parts(path).is_empty(),
        ..empty(
            path,
            outer,
            name,
            called.map_or(action, |name| format!("call {}", shown(&name))),
            badge,
        )
    }
}

fn empty(path: &StepPath, outer: String, name: String, action: String, badge: Badge) -> StepView {
    StepView {
        path: path.to_string(),
        outer,
        name,
        action,
        badge,
        description: None,
        started: None,
        took: None,
        is_running: false,
        bar: None,
        wait: None,
        message: None,
        attempts: Vec::new(),
        failed_attempts: 0,
        changes: Vec::new(),
        more_changes: 0,
        not_restored: Vec::new(),
        failure: None,
        reason: None,
        output: None,
        has_parts: false,
    }
}

fn is_empty(output: &serde_json::Value) -> bool {
    match output {
        serde_json::Value::Null => true,
        serde_json::Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Returns the item itself as the name, where it is short: a list of nodes reads as a list of nodes.
fn item_name(run: &WatchedRun, path: &StepPath) -> String {
    const MAX_CHARS: usize = 60;
    let index = path.segments().last().and_then(|segment| segment.item).unwrap_or_default();
    let items = path.step_of_item().and_then(|step| run.run.step(&step)?.items.clone());
    let item = match &items {
        Some(serde_json::Value::Array(items)) => items.get(index as usize).map(words::value),
        Some(serde_json::Value::Object(fields)) => {
            fields.keys().nth(index as usize).map(|key| shown(key))
        }
        _ => None,
    };
    let item = item.filter(|item| item.chars().count() <= MAX_CHARS);
    item.unwrap_or_else(|| format!("item {index}"))
}

/// Returns why a step failed or could not be undone, or why it was skipped.
fn why(step: &StepProgress) -> (Option<FailureView>, Option<String>) {
    match (&step.undo, &step.outcome) {
        (Some(UndoStatus::Failed(failure)), _) | (_, Some(StepOutcome::Failed { failure, .. })) => {
            (Some(FailureView::of(failure)), None)
        }
        (_, Some(StepOutcome::Skipped { reason })) => (None, Some(shown(reason))),
        _ => (None, None),
    }
}

/// Returns how far the changes of a step are.
fn of_changes(step: &StepProgress) -> Badge {
    let badge = |class, icon, word| Badge { class, icon, word };
    match (&step.undo, &step.outcome, &step.receipt) {
        (Some(UndoStatus::Started), ..) => badge("run", "undo", "being undone"),
        (Some(UndoStatus::Failed(_)), ..) => badge("bad", "bad", "undo failed"),
        (Some(UndoStatus::Finished(left)), ..) if left.is_empty() => badge("off", "undo", "undone"),
        (Some(UndoStatus::Finished(_)), ..) => badge("warn", "warn", "not undone in full"),
        (None, Some(StepOutcome::Completed { .. }), _) => badge("ok", "ok", "done"),
        (None, _, Some(_)) => badge("run", "run", "sent"),
        (None, _, None) => badge("wait", "pending", "decided"),
    }
}

fn change_view(change: &RecordedChange, badge: Badge) -> ChangeView {
    ChangeView {
        target: shown(&change.target),
        before: words::value(&change.before),
        after: words::value(&change.after),
        badge,
    }
}

fn attempt_view(attempt: &Attempt) -> AttemptView {
    AttemptView {
        number: attempt.number,
        at: moment(attempt.at),
        message: shown(&attempt.message),
        hint: attempt.hint.as_deref().map(shown),
        next_at: moment(attempt.next_at),
    }
}

/// Returns the summary of the parts of a step; none where none has begun.
pub(super) fn parts_view(run: &WatchedRun, path: &StepPath) -> Option<PartsView> {
    let parts = run.parts(path);
    if parts.is_empty() {
        return None;
    }
    let states = parts.iter().filter_map(|part| run.run.step(part)).map(|part| state(run, part));
    let (mut ended, mut failed, mut undone) = (0, 0, 0);
    for state in states {
        match state {
            StepState::Running | StepState::Undoing => {}
            StepState::Failed | StepState::UndoFailed => failed += 1,
            StepState::Undone => undone += 1,
            StepState::Completed | StepState::Skipped | StepState::Restored => ended += 1,
        }
    }
    let items = run.run.step(path).and_then(StepProgress::item_count);
    let mut text = match items {
        Some(count) => format!("{ended} of {}", text::plural(count, "item")),
        None => format!("{ended} of {} begun", text::plural(parts.len(), "step")),
    };
    text.push_str(" completed");
    for (count, word) in [(failed, "failed"), (undone, "undone")] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    Some(PartsView { path: path.to_string(), text })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::watched_run::tests::{at, completed, failed, prepared, started, step, watched},
        *,
    };
    use crate::journal::{Event, StepEvent};

    fn view(rest: Vec<Event>, path: &str, is_live: bool) -> StepView {
        let run = watched(rest);
        let axis = Axis::new(at(0), at(8), is_live);
        step_view(&run, &path.parse().unwrap(), &axis, is_live)
    }

    #[test]
    fn a_running_step_ticks_and_its_bar_grows() {
        let view = view(vec![started("a")], "a", true);
        assert_eq!((view.badge.word, view.is_running, view.took), ("running", true, None));
        let bar = view.bar.unwrap();
        assert_eq!((bar.x.as_str(), bar.scale.as_str()), ("1.0", "10.0"));
        assert_eq!(bar.grows_from.as_deref(), Some("2026-11-27T12:00:01.000Z"));
    }

    #[test]
    fn a_step_of_a_run_without_a_driver_is_not_running() {
        let view = view(vec![started("a")], "a", false);
        assert_eq!((view.badge.word, view.is_running), ("not finished", false));
        assert_eq!(view.bar.unwrap().grows_from, None);
    }

    #[test]
    fn a_wait_is_a_word_of_its_own() {
        let message = "1 of 2 nodes\nis not Ready".to_owned();
        let waiting = step("a", StepEvent::StepWaiting { message, waited_ms: None });
        let view = view(vec![started("a"), waiting], "a", true);
        assert_eq!(view.badge, words::WAITING);
        assert_eq!(view.wait.unwrap().message, "1 of 2 nodes\\nis not Ready");
    }

    #[test]
    fn changes_say_how_far_they_are() {
        let mut events = vec![started("a"), prepared("a", json!(2), json!(4))];
        let word = |events: &[Event]| {
            let view = view(events.to_vec(), "a", true);
            let change = &view.changes[0];
            assert_eq!((change.before.as_str(), change.after.as_str()), ("2", "4"));
            change.badge.word
        };
        assert_eq!(word(&events), "decided");
        events.push(step("a", StepEvent::StepApplied { generation: 0, receipt: json!(1) }));
        assert_eq!(word(&events), "sent");
        events.push(completed("a", json!({})));
        assert_eq!(word(&events), "done");
        events.push(step("a", StepEvent::StepUndoStarted));
        assert_eq!(word(&events), "being undone");
        let finished =
            |not_restored| StepEvent::StepUndoFinished { not_restored, irreversible: false };
        let mut left = events.clone();
        left.push(step("a", finished(vec!["x".into()])));
        assert_eq!(word(&left), "not undone in full");
        events.push(step("a", finished(Vec::new())));
        assert_eq!(word(&events), "undone");
    }

    #[test]
    fn a_failure_of_a_part_counts_in_the_summary_of_the_parts() {
        let items = step("a", StepEvent::StepItemsDecided { items: json!(["n1", "n2", "n3"]) });
        let events = vec![
            started("a"),
            items,
            started("a[0]"),
            completed("a[0]", json!(1)),
            started("a[1]"),
            failed("a[1]"),
        ];
        let run = watched(events.clone());
        let parts = parts_view(&run, &"a".parse().unwrap()).unwrap();
        assert_eq!(parts.text, "1 of 3 items completed, 1 failed");
        let item = view(events, "a[1]", true);
        assert_eq!((item.name.as_str(), item.outer.as_str()), ("n2", "a"));
        assert_eq!(item.failure.unwrap().hint.as_deref(), Some("allow eks:DescribeNodegroup"));
    }

    #[test]
    fn the_axis_of_a_run_that_goes_on_changes_rarely() {
        let scale = |seconds, goes_on| Axis::new(at(0), at(seconds), goes_on).scale();
        assert_eq!(scale(61, true), scale(119, true));
        assert_eq!(scale(61, false), "61.0");
        assert_eq!(
            Axis::new(at(0), at(100), true).labels(),
            ["0s", "30s", "1m 00s", "1m 30s", "2m 00s"]
        );
    }
}
