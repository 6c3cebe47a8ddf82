//! The summary of a run that has stopped: how it ended, what became of its steps, and what is changed now.

use std::{collections::HashMap, fmt::Write as _};

use console::measure_text_width;
use text::printable;

use super::{
    durations::{between, duration_text},
    live_text,
    stdout::{Color, paint},
    timeline::Timeline,
};
use crate::journal::{
    RecordedChange, RecordedDifference, Run, RunState, RunSummary, StepState, StepSummary,
};

/// The number of changes that the summary lists. `runs show` lists all.
const MAX_CHANGES: usize = 20;

/// How many of the longest steps the summary names.
const LONGEST_STEPS: usize = 3;

/// Returns the summary, with colors. `step_count` counts all steps of the runbook, also those that have not begun.
/// `timeline` is that of the run, where its events could be read; `with_commands` says whether it has the commands that
/// restore values, which may be written already.
pub(super) fn describe(
    run: &Run,
    step_count: usize,
    timeline: Option<&Timeline>,
    with_commands: bool,
) -> String {
    let summary = RunSummary::of(run, false);
    let (state, target) = (summary.head.state, &summary.head.target);
    let end = run.head.ended_at.unwrap_or(run.head.last_event_at);
    let took = between(run.head.started_at, end);
    let mut text = format!(
        "\nSummary: {} on {} after {}; {}\n",
        paint(color_of(state), state.as_str()),
        printable(&target.to_string()),
        duration_text(took),
        steps(&summary.steps, step_count),
    );
    for step in summary.steps.iter().filter(|step| step.state == StepState::Running) {
        let wait = timeline.and_then(|timeline| timeline.last_wait_in(&step.id));
        let wait = wait.map_or_else(String::new, |wait| format!("; it waited for {wait}"));
        let _ = writeln!(text, "Not ended: {}{}", printable(&step.name), printable(&wait));
    }
    let changes: Vec<String> = match state {
        RunState::Succeeded | RunState::SucceededWithFailures => net_changes(&summary.steps)
            .iter()
            .map(|change| format!("{}: {} -> {}", change.target, change.before, change.after))
            .collect(),
        // What was decided and what took effect differ: these were read when the run ended.
        _ => summary.differences.iter().map(ToString::to_string).collect(),
    };
    let has_changed = !changes.is_empty();
    let heading = match changes.is_empty() {
        true => "Changed: nothing",
        false => "Changed:",
    };
    let _ = writeln!(text, "{heading}");
    for change in changes.iter().take(MAX_CHANGES) {
        let _ = writeln!(text, "  {}", printable(change));
    }
    if let Some(more @ 1..) = changes.len().checked_sub(MAX_CHANGES) {
        let _ =
            writeln!(text, "  and {}; `runs show` lists them", text::plural(more, "more change"));
    }
    for target in with_parts(&summary.steps).into_iter().flat_map(|step| &step.not_restored) {
        let label = paint(Color::Yellow, "not restored:");
        let _ = writeln!(text, "  {label} {}", printable(target));
    }
    if with_commands {
        text.push_str(&restore_commands(&summary.differences));
    }
    if let Some(timeline) = timeline {
        text.push_str(&longest_steps(run, timeline));
    }
    if let Some(undo) = undo(state, has_changed) {
        let _ = writeln!(text, "Undo: {undo}");
    }
    text
}

/// Returns a text with its lines wrapped at words for this width, each further line below the text of the first.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let mut wrapped = String::new();
    for line in text.split_inclusive('\n') {
        let line = line.trim_end();
        if measure_text_width(line) <= width {
            let _ = writeln!(wrapped, "{line}");
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let texts = live_text::wrap(line, width.saturating_sub(indent + 2).max(1), usize::MAX);
        for (at, text) in texts.iter().enumerate() {
            let indent = if at == 0 { indent } else { indent + 2 };
            let _ = writeln!(wrapped, "{:indent$}{text}", "");
        }
    }
    wrapped
}

/// Returns the commands that restore what a run without success has left different, each once.
fn restore_commands(differences: &[RecordedDifference]) -> String {
    let mut commands: Vec<&String> =
        differences.iter().filter_map(|d| d.restore.as_ref()).collect();
    commands.dedup();
    if commands.is_empty() {
        return String::new();
    }
    let shown = commands.iter().take(MAX_CHANGES);
    let lines: String = shown.map(|command| format!("  {}\n", printable(command))).collect();
    match commands.len().checked_sub(MAX_CHANGES) {
        Some(more @ 1..) => {
            let more = text::plural(more, "more command");
            format!("Restore by hand:\n{lines}  and {more}; `runs show` lists them\n")
        }
        _ => format!("Restore by hand:\n{lines}"),
    }
}

/// Returns where the time went.
fn longest_steps(run: &Run, timeline: &Timeline) -> String {
    let mut text = String::new();
    let paused = timeline.paused();
    if !paused.is_zero() {
        let _ = writeln!(text, "No process drove the run for {}", duration_text(paused));
    }
    let longest = timeline.longest(LONGEST_STEPS);
    // Of two steps a person sees which one took longer.
    if longest.len() == LONGEST_STEPS {
        text.push_str("Longest steps:\n");
        for (path, worked) in longest {
            let name = run.step(path).map_or_else(|| path.to_string(), |step| step.name.clone());
            let _ = writeln!(text, "  {} ({})", printable(&name), duration_text(worked));
        }
    }
    text
}

/// Returns how the changes can be undone, or why they cannot, where no list of commands follows that says it.
fn undo(state: RunState, has_changed: bool) -> Option<&'static str> {
    match state {
        RunState::Succeeded | RunState::SucceededWithFailures if has_changed => Some(
            "a run that succeeded is over and cannot be rolled back; the values before it are listed above",
        ),
        RunState::Abandoned if has_changed => {
            Some("an abandoned run is over and cannot be rolled back")
        }
        RunState::RolledBack if has_changed => {
            Some("the run was rolled back; what is listed above could not be restored")
        }
        RunState::Succeeded
        | RunState::SucceededWithFailures
        | RunState::Abandoned
        | RunState::RolledBack
        | RunState::Running
        | RunState::RollingBack
        | RunState::Failed
        | RunState::Cancelled
        | RunState::Interrupted
        | RunState::RollbackFailed => None,
    }
}

/// Returns what is changed now: one change for each target, from its first value to its last, where the two differ.
fn net_changes(steps: &[StepSummary]) -> Vec<RecordedChange> {
    let mut net: Vec<RecordedChange> = Vec::new();
    let mut index: HashMap<&str, usize> = HashMap::new();
    let left = with_parts(steps).into_iter().filter(|step| is_left(step));
    for change in left.flat_map(|step| &step.changes) {
        match index.get(change.target.as_str()) {
            Some(&at) => net[at].after.clone_from(&change.after),
            None => {
                index.insert(&change.target, net.len());
                net.push(change.clone());
            }
        }
    }
    net.retain(|change| change.before != change.after);
    net
}

/// Returns the steps, and after each its items and the steps of a runbook that it calls.
fn with_parts(steps: &[StepSummary]) -> Vec<&StepSummary> {
    let mut all = Vec::new();
    for step in steps {
        all.push(step);
        all.extend(with_parts(&step.items));
        all.extend(with_parts(&step.steps));
    }
    all
}

/// Whether the changes of a step may be in effect: it decided on them, and they were not undone.
fn is_left(step: &StepSummary) -> bool {
    match step.state {
        StepState::Running
        | StepState::Completed
        | StepState::Failed
        | StepState::Undoing
        | StepState::UndoFailed => true,
        StepState::Skipped | StepState::Undone | StepState::Restored => false,
    }
}

/// Returns how many steps ended in which way: `2 of 4 steps done, 1 failed, 1 not begun`.
fn steps(steps: &[StepSummary], step_count: usize) -> String {
    let count = |state| steps.iter().filter(|step| step.state == state).count();
    let others = [
        (count(StepState::Skipped), "skipped"),
        (count(StepState::Failed), "failed"),
        (count(StepState::Running), "not ended"),
        (count(StepState::Restored), "restored"),
        (count(StepState::Undone), "undone"),
        (count(StepState::Undoing), "partly undone"),
        (count(StepState::UndoFailed), "could not be undone"),
        (step_count.saturating_sub(steps.len()), "not begun"),
    ];
    let others = others.iter().filter(|(count, _)| *count > 0);
    let others: String = others.map(|(count, how)| format!(", {count} {how}")).collect();
    let done = count(StepState::Completed) + count(StepState::Restored);
    let items = steps.iter().flat_map(|step| &step.items);
    let failed = items.filter(|item| item.state == StepState::Failed).count();
    let failed = match failed {
        0 => String::new(),
        _ => format!("; {} failed", text::plural(failed, "item")),
    };
    format!("{done} of {} done{others}{failed}", text::plural(step_count, "step"))
}

fn color_of(state: RunState) -> Color {
    match state {
        RunState::Succeeded => Color::Green,
        RunState::SucceededWithFailures
        | RunState::Cancelled
        | RunState::Interrupted
        | RunState::RolledBack
        | RunState::Abandoned
        | RunState::Running
        | RunState::RollingBack => Color::Yellow,
        RunState::Failed | RunState::RollbackFailed => Color::Red,
    }
}
