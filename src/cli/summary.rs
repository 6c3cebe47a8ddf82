//! The summary of a run that has stopped: how it ended, what became of its steps, and what is changed now.

use std::{collections::HashMap, fmt::Write as _};

use text::printable;

use super::stdout::{Color, paint};
use crate::journal::{RecordedChange, Run, RunState, RunSummary, StepState, StepSummary};

/// The number of changes that the summary lists. `runs show` lists all.
const MAX_CHANGES: usize = 20;

/// Returns the summary, with colors. `step_count` counts all steps of the runbook, also those that have not begun.
pub(super) fn describe(run: &Run, step_count: usize) -> String {
    let summary = RunSummary::of(run, false);
    let (state, target) = (summary.head.state, &summary.head.target);
    let took = run.head.ended_at.unwrap_or(run.head.last_event_at) - run.head.started_at;
    let took = std::time::Duration::try_from(took).unwrap_or_default();
    let mut text = format!(
        "\nSummary: {} on {} after {}; {}\n",
        paint(color_of(state), state.as_str()),
        printable(&target.to_string()),
        duration_text(took),
        steps(&summary.steps, step_count),
    );
    let changes: Vec<String> = match state {
        RunState::Succeeded | RunState::SucceededWithFailures => net_changes(&summary.steps)
            .iter()
            .map(|change| format!("{}: {} -> {}", change.target, change.before, change.after))
            .collect(),
        // What was decided and what took effect differ: these were read when the run ended.
        _ => summary.differences.iter().map(ToString::to_string).collect(),
    };
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
    text
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

/// Returns a duration as people read it: to a tenth of a second below a minute, else to the second.
fn duration_text(took: std::time::Duration) -> String {
    let seconds = took.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) => format!("{:.1} s", took.as_secs_f64()),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration_text;

    #[test]
    fn durations_are_short() {
        let cases =
            [(250, "0.2 s"), (59_940, "59.9 s"), (61_000, "1 min 1 s"), (3_725_000, "1 h 2 min")];
        for (milliseconds, expected) in cases {
            assert_eq!(duration_text(Duration::from_millis(milliseconds)), expected);
        }
    }
}
