//! The live lines: what goes on now, what it waits for, and what Ctrl-C does. A pure function of the view and the time;
//! it is laid out anew for each drawing, because the terminal may have another size then.

use jiff::Timestamp;

use super::{
    line::{Line, lay_out},
    view::{Note, View},
};
use crate::{
    cli::{
        durations::{between, elapsed_text},
        stdout::Color,
    },
    journal::{
        ApprovalProgress, RunId, StepOutcome, StepPath, StepProgress, UndoStatus, timestamp,
    },
};
use text::plural;

/// The most lines that are drawn. A person reads them at a glance, and what was written above stays in sight.
const MAX_LINES: usize = 16;
/// How many items that are at work at the same time are shown.
const MAX_PARTS: usize = 4;
/// How many lines the text of a wait may take.
const MAX_WAIT_LINES: usize = 4;
/// The columns by which a part is further to the right than its step.
const INDENT: usize = 2;
/// The frames of the sign that turns while the program is at work.
const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// The knowledge about a run that is not in its events.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Surroundings {
    /// The beginning of the command that answers an approval: the program with the flags of its store.
    pub(in crate::cli) program: String,
    /// The effect of Ctrl-C.
    pub(in crate::cli) ctrl_c: String,
    /// A note about the run as a whole, such as that its process has ended.
    pub(in crate::cli) notice: Option<String>,
}

/// The size and the abilities of a terminal.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Terminal {
    /// The columns that a line may have.
    pub(in crate::cli) width: usize,
    /// The rows that all lines together may have.
    pub(in crate::cli) height: usize,
    pub(in crate::cli) has_color: bool,
}

/// Returns the live lines, none of them wider than the terminal, and together not higher.
pub(in crate::cli) fn live_lines(
    view: &View,
    around: &Surroundings,
    now: Timestamp,
    frame: usize,
    terminal: Terminal,
) -> Vec<String> {
    let Terminal { width, height, has_color } = terminal;
    let notice = around.notice.iter().map(|notice| Line::new(notice).colored(Color::Yellow));
    let notice = lay_out(&notice.map(|line| line.at_most(2)).collect::<Vec<_>>(), width, has_color);
    let footer = lay_out(&[footer(view, around, now)], width, has_color);
    let mut work = Vec::new();
    add_work(view, around, now, FRAMES[frame % FRAMES.len()], &mut work);
    let mut work = lay_out(&work, width, has_color);
    // The step and its wait come first; what does not fit is further inside.
    let fits = height.min(MAX_LINES).saturating_sub(notice.len() + footer.len()).max(1);
    if work.len() > fits {
        let more = plural(work.len() - (fits - 1), "more line");
        work.truncate(fits - 1);
        work.extend(lay_out(&[faint(&format!("and {more}"))], width, has_color));
    }
    let mut lines = [notice, work, footer].concat();
    lines.truncate(height.max(1));
    lines
}

fn faint(text: &str) -> Line {
    Line::new(text).colored(Color::Faint).at_most(1)
}

fn footer(view: &View, around: &Surroundings, now: Timestamp) -> Line {
    let head = &view.run.head;
    let elapsed = elapsed_text(between(head.started_at, now));
    let text = format!("{}: {elapsed}; {}", head.runbook, around.ctrl_c);
    Line::new(&text).colored(Color::Faint).at_most(2)
}

fn add_work(
    view: &View,
    around: &Surroundings,
    now: Timestamp,
    spinner: &str,
    lines: &mut Vec<Line>,
) {
    if !view.undoing.is_empty() {
        return add_undo(view, now, spinner, lines);
    }
    let tops: Vec<&StepPath> = view.active.iter().filter(|path| path.is_top_level()).collect();
    if tops.is_empty() {
        let text = match view.run.head.is_rolling_back() {
            _ if view.run.head.ended_at.is_some() => "the run has stopped",
            true => "rolling back",
            false if view.run.steps().is_empty() => "starting",
            false => "between two steps",
        };
        lines.push(at_work(text, spinner));
    }
    for top in tops {
        add_step(view, around, now, spinner, top, 0, lines);
    }
}

fn at_work(text: &str, spinner: &str) -> Line {
    Line::new(text).marked(Some(Color::Cyan), spinner).at_most(2)
}

/// Adds the steps that are being undone, and how far the rollback is.
fn add_undo(view: &View, now: Timestamp, spinner: &str, lines: &mut Vec<Line>) {
    let prepared = view.run.prepared_steps();
    let is_undone = |undo: &Option<UndoStatus>| matches!(undo, Some(UndoStatus::Finished(_)));
    let undone = prepared.iter().filter(|step| is_undone(&step.undo)).count();
    let what = match view.run.head.restoring() {
        Some(_) => "restoring what is not to outlast the run".to_owned(),
        None => format!("rolling back: {undone} of {} undone", plural(prepared.len(), "change")),
    };
    lines.push(at_work(&what, spinner));
    for (path, began) in view.undoing.iter().take(MAX_PARTS) {
        let took = elapsed_text(between(*began, now));
        lines.push(Line::new(&format!("undoing: {} ({took})", view.name(path))).indented(INDENT));
    }
    add_more(view.undoing.len(), INDENT, lines);
}

/// Adds the number of parts that are at work and not shown.
fn add_more(count: usize, indent: usize, lines: &mut Vec<Line>) {
    if let Some(more @ 1..) = count.checked_sub(MAX_PARTS) {
        let text = format!("and {} at work", plural(more, "more part"));
        lines.push(faint(&text).indented(indent));
    }
}

/// Adds a step or item with what it waits for, and the parts of it that are at work.
fn add_step(
    view: &View,
    around: &Surroundings,
    now: Timestamp,
    spinner: &str,
    path: &StepPath,
    indent: usize,
    lines: &mut Vec<Line>,
) {
    let note = view.notes.get(path);
    let took = note
        .map_or(String::new(), |note| format!(" ({})", elapsed_text(between(note.begun_at, now))));
    let text = format!("{}{}{}{took}", place(view, path), own_name(view, path), items(view, path));
    lines.push(at_work(&text, spinner).indented(indent));
    let inner = indent + INDENT;
    let approval = view.run.step(path).and_then(|step| step.approval.as_ref());
    match approval.filter(|approval| approval.is_open()) {
        Some(approval) => add_approval(view.run.id(), path, approval, around, now, inner, lines),
        None => add_wait(note, now, inner, lines),
    }
    add_details(view, path, lines);
    let is_part = |other: &&StepPath| other.outer().as_ref() == Some(path);
    let parts: Vec<&StepPath> = view.active.iter().filter(is_part).collect();
    for part in parts.iter().take(MAX_PARTS) {
        add_step(view, around, now, spinner, part, inner, lines);
    }
    add_more(parts.len(), inner, lines);
}

/// Adds what a step at the top level has changed and reported so far.
fn add_details(view: &View, path: &StepPath, lines: &mut Vec<Line>) {
    let Some(details) = view.details.get(path) else { return };
    let (first, more) = details.first_lines();
    lines.extend(first.iter().map(|line| line.clone().colored(Color::Faint).at_most(1)));
    if more > 0 {
        lines.push(faint(&format!("and {more} more")).indented(2 * INDENT));
    }
}

fn add_wait(note: Option<&Note>, now: Timestamp, indent: usize, lines: &mut Vec<Line>) {
    let Some(note) = note else { return };
    if let Some(retry) = &note.retry {
        let message = Line::new(&format!("attempt {} failed: {}", retry.attempt, retry.message));
        lines.push(message.colored(Color::Yellow).indented(indent).at_most(MAX_WAIT_LINES));
        let next = match between(now, retry.at) {
            left if left.is_zero() => "the next attempt begins".to_owned(),
            left => format!("the next attempt begins in {}", elapsed_text(left)),
        };
        lines.push(Line::new(&next).indented(indent));
    }
    if let Some(wait) = &note.wait {
        let waited = elapsed_text(between(wait.since, now));
        let text = Line::new(&format!("waits {waited}: {}", wait.message));
        lines.push(text.indented(indent).at_most(MAX_WAIT_LINES));
    }
}

/// Adds what a step asks, of whom, until when, and the commands that answer.
fn add_approval(
    run: &RunId,
    path: &StepPath,
    approval: &ApprovalProgress,
    around: &Surroundings,
    now: Timestamp,
    indent: usize,
    lines: &mut Vec<Line>,
) {
    let mut add = |line: Line| lines.push(line.indented(indent));
    let message = approval.message.lines().next().unwrap_or_default();
    add(Line::new(&format!("waits for approval: {message}")).colored(Color::Yellow).at_most(2));
    let mut state = format!(
        "{} of {}",
        approval.given.len(),
        plural(usize::try_from(approval.approvals).unwrap_or(usize::MAX), "approval",)
    );
    if !approval.given.is_empty() {
        state.push_str(&format!(" ({})", approval.approved_by().join(", ")));
    }
    if !approval.not_by.is_empty() {
        state.push_str(&format!(", not by {}", approval.not_by.join(", ")));
    }
    let left = elapsed_text(between(now, approval.expires_at));
    add(Line::new(&format!(
        "{state}; expires in {left}, at {} UTC",
        timestamp(approval.expires_at)
    )));
    let answers = approval.ask.as_object().into_iter().flat_map(serde_json::Map::keys);
    let answers: String = answers.map(|name| format!(" --answer {name}=…")).collect();
    let program = &around.program;
    add(Line::new(&format!("{program} runs approve {run} {path}{answers}")).whole());
    add(Line::new(&format!("{program} runs reject {run} {path} --reason …")).whole());
}

/// Returns the place of a step in its runbook: `step 3 of 13: `.
fn place(view: &View, path: &StepPath) -> String {
    if path.is_top_level() {
        let position = view.outline.position(path);
        let place = position.map(|at| format!("step {at} of {}: ", view.outline.len()));
        return place.unwrap_or_default();
    }
    // A step of a called runbook: steps are run one after another.
    let Some(outer) = path.outer().filter(|_| path.step_of_item().is_none()) else {
        return String::new();
    };
    let runbook = view.notes.get(&outer).and_then(|note| note.called.as_ref());
    let Some(count) =
        runbook.and_then(|runbook| view.called.get(runbook)).filter(|count| **count > 0)
    else {
        return String::new();
    };
    let is_sibling =
        |other: &StepPath| other.step_of_item().is_none() && other.outer().as_ref() == Some(&outer);
    let at = view.run.steps().iter().filter(|step| is_sibling(&step.path)).count();
    format!("step {at} of {count}: ")
}

/// Returns the name of a step; of an item without the name of its step, which is above it.
fn own_name(view: &View, path: &StepPath) -> String {
    let name = view.name(path);
    let Some(step) = path.step_of_item() else { return name };
    match name.strip_prefix(&view.name(&step)) {
        Some(own) if !own.trim().is_empty() => own.trim().to_owned(),
        _ => name,
    }
}

/// Returns how far a step is that runs for each of several items: `: 12 of 60 items, 1 failed`.
fn items(view: &View, path: &StepPath) -> String {
    let Some(count) = view.run.step(path).and_then(StepProgress::item_count) else {
        return String::new();
    };
    let (mut done, mut failed) = (0, 0);
    for step in view.run.steps() {
        if step.path.step_of_item().as_ref() != Some(path) {
            continue;
        }
        match step.outcome {
            Some(StepOutcome::Completed { .. } | StepOutcome::Skipped { .. }) => done += 1,
            Some(StepOutcome::Failed { .. }) => failed += 1,
            None => {}
        }
    }
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!(": {done} of {}{failed}", plural(count, "item"))
}
