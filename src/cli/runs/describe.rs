//! One run as a time line: what `runs show` prints. Each row has the time since the start of the run, and each step how
//! long it was worked on, the attempts that failed, and what it waited for.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    cli::{
        durations::{duration_text, offset_text},
        live::line::Line,
        stdout::Color,
        timeline::{Row, RowKind, StepTimes, Timeline, UndoTimes},
    },
    journal::{
        AmendmentSummary, ApprovalSummary, RunId, RunState, RunSummary, RunbookChange, StepPath,
        StepState, StepSummary, difference_texts, origin_and_digest, short_digest, timestamp,
    },
};

/// The columns of the time of a row.
const OFFSET: usize = 8;
/// The columns of the state of a step.
const STATE: usize = 12;
/// The columns before the name of a step.
const BEFORE_NAME: usize = OFFSET + 2 + STATE + 1;
/// The time from which on a wait is worth a line.
const NOTED_WAIT: Duration = Duration::from_secs(1);

/// Describes a run. `now` is the time, where a process drives the run.
pub(super) fn describe(run: &RunSummary, timeline: &Timeline, now: Option<Timestamp>) -> Vec<Line> {
    let mut lines = head(run, timeline, now);
    let steps: HashMap<&StepPath, &StepSummary> =
        run.steps.iter().map(|step| (&step.id, step)).collect();
    if !timeline.rows().is_empty() {
        lines.push(Line::new(""));
    }
    let rows = RowWriter { run, timeline, now };
    for row in timeline.rows() {
        rows.add(row, &steps, &mut lines);
    }
    if run.head.state == RunState::Interrupted && run.head.end_time.is_none() {
        let text = "its process has ended before the run has";
        lines.push(note_line("", text).colored(Color::Yellow));
    }
    let differences = difference_texts(&run.differences);
    if !differences.is_empty() {
        lines.push(Line::new(""));
        let end = run.head.end_time.iter();
        lines.extend(end.map(|time| Line::new(&format!("as of {}:", timestamp(*time)))));
        lines.extend(differences.iter().map(|text| Line::new(text).whole()));
    }
    lines
}

/// Returns a line of the head: a name of at most eight columns, and its value.
fn row(name: &str, value: &str) -> Line {
    Line::new(value).marked(None, &format!("{name:<8}")).whole()
}

fn head(run: &RunSummary, timeline: &Timeline, now: Option<Timestamp>) -> Vec<Line> {
    let head = &run.head;
    let digest = short_digest(&head.digest);
    let mut lines = vec![
        row("run", head.run.as_str()),
        row("runbook", &format!("{} (sha256 {digest})", head.runbook)),
    ];
    lines.extend(run.origin.iter().map(|origin| row("file", origin)));
    lines.push(row("state", head.state.as_str()));
    if let Some(failure) = &head.failure {
        lines.push(row("error", &failure.message));
        lines.extend(failure.hint.iter().map(|hint| row("hint:", hint)));
    }
    lines.push(row("target", &head.target.to_string()));
    lines.push(row("started", &format!("{} by {}", timestamp(head.start_time), head.actor)));
    let outside = run.outside_window.iter();
    lines.extend(outside.map(|reason| row("outside", &format!("the change windows: {reason}"))));
    lines.extend(head.end_time.iter().map(|time| row("ended", &timestamp(*time))));
    if let Some(end) = head.end_time.or(now) {
        let took = duration_text(timeline.offset(end));
        let paused = timeline.paused();
        let paused = match paused.is_zero() {
            true => String::new(),
            false => format!(", of which no process drove the run for {}", duration_text(paused)),
        };
        lines.push(row("took", &format!("{took}{paused}")));
    }
    lines.push(row("inputs", &Value::Object(run.inputs.clone()).to_string()));
    run.amendments.iter().for_each(|amendment| add_amendment(&mut lines, amendment));
    run.approvals.iter().for_each(|asked| add_approval(&mut lines, &head.run, asked));
    lines
}

/// Returns a line of the time line that is not about one step.
fn note_line(offset: &str, text: &str) -> Line {
    let mark = format!("{offset:>OFFSET$}  {:STATE$}", "");
    Line::new(text).marked(None, &mark)
}

/// Writes the rows of a time line.
struct RowWriter<'a> {
    run: &'a RunSummary,
    timeline: &'a Timeline,
    now: Option<Timestamp>,
}

impl RowWriter<'_> {
    fn add(&self, row: &Row, steps: &HashMap<&StepPath, &StepSummary>, lines: &mut Vec<Line>) {
        let offset = offset_text(self.timeline.offset(row.at));
        match &row.kind {
            RowKind::Step(path) => {
                let step = steps.get(path);
                step.iter().for_each(|step| self.add_step(step, &offset, 0, lines));
            }
            RowKind::Undo(undo) => {
                let name = steps.get(&undo.step).map(|step| step.name.as_str());
                Self::add_undo(undo, name.unwrap_or_default(), &offset, lines);
            }
            RowKind::Note(text) => lines.push(note_line(&offset, text)),
            RowKind::Gap(gap) => {
                let text = format!("no step for {}", duration_text(*gap));
                lines.push(note_line(&offset, &text).colored(Color::Faint));
            }
            RowKind::Pause(pause) => {
                let text = format!("no process drove the run for {}", duration_text(*pause));
                lines.push(note_line(&offset, &text).colored(Color::Yellow));
            }
        }
    }

    /// Adds a step with its items and the steps of a runbook that it calls, each level further to the right.
    fn add_step(&self, step: &StepSummary, offset: &str, level: usize, lines: &mut Vec<Line>) {
        let indent = 2 * level;
        let times = self.timeline.step(&step.id);
        let state = step.state.as_str();
        let mark = format!("{offset:>OFFSET$}  {state:<STATE$}{:indent$}", "");
        let took = self.took(step, times);
        let text = format!("{}{}{took}", step.name, item_progress(step));
        lines.push(Line::new(&text).marked(Some(color_of(step.state)), &mark).whole());
        let detail = |text: &String| Line::new(text).indented(BEFORE_NAME + indent + 2).whole();
        let times = times.map(|times| self.times(times)).unwrap_or_default();
        let details = details(step, self.run.head.failed_step.as_ref());
        lines.extend(times.iter().chain(&details).map(detail));
        for part in step.items.iter().chain(&step.steps) {
            // An item that has nothing to say is counted.
            if part.id.step_of_item().is_none() || self.is_shown(part) {
                let began = part.start_time.map(|time| offset_text(self.timeline.offset(time)));
                self.add_step(part, &began.unwrap_or_default(), level + 1, lines);
            }
        }
    }

    /// Whether an item is shown, and not only counted.
    fn is_shown(&self, item: &StepSummary) -> bool {
        let has_failed_before =
            self.timeline.step(&item.id).is_some_and(|times| !times.attempts.is_empty());
        item.state != StepState::Completed
            || has_failed_before
            || !details(item, None).is_empty()
            || item.steps.iter().any(|step| self.is_shown(step))
    }

    /// Returns how long processes have worked on a step, and in how many attempts: ` (4.3 s, 2 attempts)`.
    fn took(&self, step: &StepSummary, times: Option<&StepTimes>) -> String {
        if step.state == StepState::Skipped {
            return String::new();
        }
        let worked = self.timeline.worked(&step.id, self.now);
        let worked = worked.map_or_else(String::new, duration_text);
        let failed = times.map_or(0, |times| times.attempts.len() + times.more_attempts);
        match failed {
            0 => format!(" ({worked})"),
            failed => format!(" ({worked}, {})", text::plural(failed + 1, "attempt")),
        }
    }

    /// Returns what became of a step before it ended.
    fn times(&self, times: &StepTimes) -> Vec<String> {
        let mut lines = Vec::new();
        for attempt in &times.attempts {
            let at = offset_text(self.timeline.offset(attempt.at));
            let delay = duration_text(attempt.retry_in);
            let (number, message) = (attempt.number, &attempt.failure.message);
            lines.push(format!(
                "attempt {number} failed at {at}: {message}; the next after {delay}"
            ));
        }
        if times.more_attempts > 0 {
            lines.push(format!("and {} failed", text::plural(times.more_attempts, "more attempt")));
        }
        if let Some(wait) = times.last_wait.as_ref().filter(|_| times.waited >= NOTED_WAIT) {
            lines.push(format!("waited {}, at last: {wait}", duration_text(times.waited)));
        }
        let continued = times.continued_at.iter();
        lines.extend(
            continued
                .map(|time| format!("continued at {}", offset_text(self.timeline.offset(*time)))),
        );
        lines
    }

    fn add_undo(undo: &UndoTimes, name: &str, offset: &str, lines: &mut Vec<Line>) {
        let (state, color) = match (&undo.failure, undo.has_ended) {
            (Some(_), _) => ("not undone", Color::Red),
            (None, true) => ("undo", Color::Yellow),
            (None, false) => ("undoing", Color::Yellow),
        };
        let mark = format!("{offset:>OFFSET$}  {state:<STATE$}");
        let parts = match undo.parts {
            0 => String::new(),
            parts => format!(": {}", text::plural(parts, "part")),
        };
        let took = match undo.has_ended {
            true => format!(" ({})", duration_text(undo.took)),
            false => String::new(),
        };
        lines.push(Line::new(&format!("{name}{parts}{took}")).marked(Some(color), &mark));
    }
}

fn color_of(state: StepState) -> Color {
    match state {
        StepState::Completed => Color::Green,
        StepState::Failed | StepState::UndoFailed => Color::Red,
        StepState::Running => Color::Cyan,
        StepState::Skipped => Color::Faint,
        StepState::Undoing | StepState::Undone | StepState::Restored => Color::Yellow,
    }
}

/// Returns how far a step is that runs for each of several items: ` (2 of 12 items, 1 failed)`.
fn item_progress(step: &StepSummary) -> String {
    let Some(count) = step.item_count else { return String::new() };
    let in_state = |state| step.items.iter().filter(|item| item.state == state).count();
    let done = in_state(StepState::Completed) + in_state(StepState::Restored);
    let failed = in_state(StepState::Failed);
    let items = text::plural(count, "item");
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    if done == count { format!(" ({items})") } else { format!(" ({done} of {items}{failed})") }
}

/// Returns what a step, or an item, has changed, why it failed, and what its undo did not restore. The failure of the
/// run is said elsewhere.
fn details(step: &StepSummary, failed_step: Option<&StepPath>) -> Vec<String> {
    let changes = step.changes.iter().map(|change| {
        let (before, after) = (&change.before, &change.after);
        format!("{}: {before} -> {after}", change.target)
    });
    let error = step.error.clone().filter(|_| failed_step != Some(&step.id));
    let not_restored = step.not_restored.iter().map(|target| format!("not restored: {target}"));
    changes.chain(error).chain(not_restored).collect()
}

/// Adds what a step asks, and how it is answered.
fn add_approval(lines: &mut Vec<Line>, run: &RunId, asked: &ApprovalSummary) {
    let ApprovalSummary { step, message, expires_at, approvals, given, not_by, ask } = asked;
    let mut texts: Vec<String> = message.lines().map(str::to_owned).collect();
    let mut state = format!("{} of {approvals} approvals", given.len());
    for one in given {
        state.push_str(&format!(", {}", one.actor));
    }
    if !not_by.is_empty() {
        state.push_str(&format!("; not by {}", not_by.join(", ")));
    }
    texts.push(format!("{state}; expires at {}", timestamp(*expires_at)));
    let mut answers = String::new();
    for (name, question) in ask {
        texts.push(format!("{name}: {question}"));
        answers.push_str(&format!(" --answer {name}=…"));
    }
    texts.push(format!("rafay-relay-sop runs approve {run} {step}{answers}"));
    texts.push(format!("rafay-relay-sop runs reject {run} {step} --reason …"));
    let texts = texts.iter().enumerate();
    lines.extend(texts.map(|(at, text)| row(if at == 0 { "waits" } else { "" }, text)));
}

/// Adds how the run was resumed differently, with the difference between the runbooks.
fn add_amendment(lines: &mut Vec<Line>, amendment: &AmendmentSummary) {
    let AmendmentSummary { time, actor, from, skip, again, runbook } = amendment;
    let list = |what: &str, paths: &[StepPath]| {
        (!paths.is_empty()).then(|| format!("{what} {}", StepPath::join(paths, ", ")))
    };
    let from = from.as_ref().map(|from| format!("from {from}"));
    let parts = [from, list("again", again), list("without", skip)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let parts = parts.join("; ");
    let parts = if parts.is_empty() { parts } else { format!(", {parts}") };
    lines.push(row("resumed", &format!("{} by {actor}{parts}", timestamp(*time))));
    if let Some(RunbookChange { origin, digest, diff }) = runbook {
        let file = origin_and_digest(origin.as_deref(), digest);
        lines.push(row("", &format!("with {file}:")));
        lines.extend(diff.lines().map(|line| Line::new(line).indented(9).whole()));
    }
}
