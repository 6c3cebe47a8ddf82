//! Shows a run while it is driven: a live line on a terminal, plain log lines when piped, nothing for `--output json`
//! (which prints one document at the end).

use std::{
    fmt,
    io::IsTerminal as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use console::Term;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use text::printable;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
};

use super::{
    Global, Output, live_text,
    stdout::{self, Color, paint},
};
use crate::{
    engine::AcceptedRun,
    journal::{Event, LogLines, RecordedEvent, RunEvent, StepEvent, StepPath},
};

/// How often the spinner of the live line turns.
const SPINNER_INTERVAL: Duration = Duration::from_millis(100);
/// How many lines the live text of a wait may take.
const MAX_WAIT_LINES: usize = 4;
/// The columns before the text of a wait.
const INDENT: &str = "    ";
/// The columns of the spinner and of the time beside the name of a step.
const BESIDE_NAME: usize = 14;

/// Shows a run until its writer is dropped.
pub(super) struct ProgressDisplay {
    task: Option<JoinHandle<()>>,
    /// The live line, where there is one.
    live: Option<(ProgressBar, LiveLines)>,
}

/// Tells the person at the terminal that the run is about to stop.
pub(super) struct StopNotice(Option<(ProgressBar, LiveLines)>);

impl StopNotice {
    /// Shows the text for as long as the run goes on: as a part of the live line, where there is one, so that the line
    /// does not look as if nothing had happened.
    pub(super) fn show(&self, text: &str) {
        let Some((bar, live)) = &self.0 else { return stdout::write_stderr_line(text) };
        bar.println(text);
        live.set_notice(text);
        bar.tick();
    }

    /// Removes the live line, because the program ends now.
    pub(super) fn clear(&self) {
        self.0.iter().for_each(|(bar, _)| bar.finish_and_clear());
    }
}

impl ProgressDisplay {
    /// Waits until everything has been shown.
    pub(super) async fn finish(self) {
        if let Some(task) = self.task {
            // A display that panicked has shown what it could; the run does not depend on it.
            let _ = task.await;
        }
    }
}

impl ProgressDisplay {
    /// Returns a notice that appears where the run is shown.
    pub(super) fn stop_notice(&self) -> StopNotice {
        StopNotice(self.live.clone())
    }
}

/// Starts to show a run.
pub(super) fn show(accepted: &AcceptedRun, global: &Global) -> ProgressDisplay {
    let events = accepted.subscribe();
    let run = accepted.run();
    let lines = LogLines::after(run);
    let title = format!("{} ({})", run.spec.runbook, run.id());
    let title = match run.spec.origin_and_digest() {
        Some(file) => format!("{title} from {file}"),
        None => title,
    };
    let title = printable(&title).into_owned();
    if global.output == Output::Json {
        return ProgressDisplay { task: None, live: None };
    }
    let bar = ProgressBar::new_spinner();
    // It shows nothing at all on a terminal that cannot move its cursor (TERM is `dumb` or not set), nor where standard
    // error, on which it is drawn, goes elsewhere.
    if std::io::stdout().is_terminal() && !bar.is_hidden() {
        let live = LiveLines::default();
        let paths = accepted.step_paths();
        let answer_command =
            format!("rafay-relay-sop{} runs approve {}", global.store_flags(), run.id());
        let live_lines = live.clone();
        let steps =
            LiveStep { lines, paths, live: live_lines, answer_command, ..LiveStep::default() };
        let task = tokio::spawn(show_live(events, bar.clone(), title, steps));
        return ProgressDisplay { task: Some(task), live: Some((bar, live)) };
    }
    ProgressDisplay { task: Some(tokio::spawn(print_lines(events, title, lines))), live: None }
}

/// Returns the next event; events that were missed because the terminal was slow are in the journal.
async fn next(events: &mut Receiver<Arc<RecordedEvent>>) -> Option<Arc<RecordedEvent>> {
    loop {
        match events.recv().await {
            Ok(recorded) => return Some(recorded),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

async fn print_lines(mut events: Receiver<Arc<RecordedEvent>>, title: String, mut lines: LogLines) {
    print_line(&title);
    while let Some(recorded) = next(&mut events).await {
        for line in lines.lines(&recorded) {
            print_line(&line);
        }
    }
}

/// A reader that has gone (`… | head`) does not end the run.
fn print_line(line: &str) {
    let _ = stdout::write(&format!("{line}\n"));
}

async fn show_live(
    mut events: Receiver<Arc<RecordedEvent>>,
    bar: ProgressBar,
    title: String,
    mut steps: LiveStep,
) {
    bar.set_style(steps.live.style());
    bar.enable_steady_tick(SPINNER_INTERVAL);
    bar.println(title);
    while let Some(recorded) = next(&mut events).await {
        steps.show(&bar, &recorded);
    }
    bar.finish_and_clear();
}

/// The texts of the live lines. They are laid out each time that they are drawn, for the terminal's width at that time:
/// `indicatif` would cut a long line off where the terminal ends.
#[derive(Clone, Default)]
struct LiveLines(Arc<Mutex<LiveTexts>>);

#[derive(Default)]
struct LiveTexts {
    /// The notice about the run as a whole, such as that it is about to stop.
    notice: String,
    step: String,
    wait: String,
}

impl LiveLines {
    fn style(&self) -> ProgressStyle {
        let terminal = Term::stderr();
        let (step, wait, waiting_terminal) = (self.clone(), self.clone(), terminal.clone());
        let (notice, notice_terminal) = (self.clone(), terminal.clone());
        ProgressStyle::with_template("{spinner} {notice}{step} ({elapsed}){wait}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .with_key("notice", move |_: &ProgressState, line: &mut dyn fmt::Write| {
                let _ = line.write_str(&notice.notice_text(columns(&notice_terminal)));
            })
            .with_key("step", move |_: &ProgressState, line: &mut dyn fmt::Write| {
                // A line that cannot be written is drawn again at the next turn of the spinner.
                let _ = line.write_str(&step.step_text(columns(&terminal)));
            })
            .with_key("wait", move |_: &ProgressState, line: &mut dyn fmt::Write| {
                let _ = line.write_str(&wait.wait_text(columns(&waiting_terminal)));
            })
    }

    fn step_text(&self, columns: usize) -> String {
        live_text::shorten(
            &self.texts(|texts| texts.step.clone()),
            columns.saturating_sub(BESIDE_NAME),
        )
    }

    /// Returns the notice as a line of its own above the step.
    fn notice_text(&self, columns: usize) -> String {
        let text = self.texts(|texts| texts.notice.clone());
        match live_text::shorten(&text, columns.saturating_sub(BESIDE_NAME)) {
            text if text.is_empty() => text,
            text => format!("{text}\n  "),
        }
    }

    /// Returns the lines of the wait, each after a line feed.
    fn wait_text(&self, columns: usize) -> String {
        let text = self.texts(|texts| texts.wait.clone());
        let lines = live_text::wrap(&text, columns.saturating_sub(INDENT.len()), MAX_WAIT_LINES);
        lines.iter().map(|line| format!("\n{INDENT}{line}")).collect()
    }

    /// Shows the name of a step that does not wait yet.
    fn set_step(&self, step: &str) {
        self.texts(|texts| {
            texts.step = printable(step).into_owned();
            texts.wait.clear();
        });
    }

    /// Shows a notice for as long as the run goes on.
    fn set_notice(&self, notice: &str) {
        self.texts(|texts| texts.notice = printable(notice).into_owned());
    }

    fn set_wait(&self, wait: &str) {
        self.texts(|texts| texts.wait = printable(wait).into_owned());
    }

    fn texts<T>(&self, use_texts: impl FnOnce(&mut LiveTexts) -> T) -> T {
        use_texts(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the width of the terminal, less one column: some terminals begin a new line after the last one.
fn columns(terminal: &Term) -> usize {
    usize::from(terminal.size().1).saturating_sub(1)
}

/// The current step. What it reports and changes is shown under its name when it has ended.
#[derive(Default)]
struct LiveStep {
    name: String,
    started_at: Option<jiff::Timestamp>,
    details: Vec<String>,
    lines: LogLines,
    live: LiveLines,
    /// All steps of the run, in order.
    paths: Vec<StepPath>,
    /// The command that answers an approval, without its step.
    answer_command: String,
}

impl LiveStep {
    /// Returns the place of a step among all steps: `step 3 of 13`.
    fn place(&self, path: &StepPath) -> String {
        let position = self.paths.iter().position(|other| other == path);
        position.map_or_else(String::new, |at| format!("step {} of {}: ", at + 1, self.paths.len()))
    }

    fn show(&mut self, bar: &ProgressBar, recorded: &RecordedEvent) {
        // Also for the names of steps, which only their first events carry.
        let texts = self.lines.texts(&recorded.event);
        match &recorded.event {
            Event::Step { path, event } => {
                self.show_step_event(bar, recorded, path, event, texts);
            }
            Event::Run(RunEvent::RunStarted(_) | RunEvent::RunResumed { .. }) => {}
            Event::Run(_) => self.print_above(bar, &texts),
        }
    }

    fn show_step_event(
        &mut self,
        bar: &ProgressBar,
        recorded: &RecordedEvent,
        path: &StepPath,
        event: &StepEvent,
        texts: Vec<String>,
    ) {
        if !path.is_top_level() {
            if let StepEvent::StepApprovalRequested { .. } = event {
                return self.show_approval(bar, path, &texts);
            }
            return self.show_part_event(&path.top(), event, texts);
        }
        match event {
            StepEvent::StepStarted { name, .. } | StepEvent::StepResumed { name } => {
                self.name = printable(name).into_owned();
                self.started_at = Some(recorded.time);
                bar.reset_elapsed();
                self.live.set_step(&format!("{}{name}", self.place(path)));
            }
            StepEvent::StepWaiting { message, .. } => self.live.set_wait(message),
            StepEvent::StepCompleted { message, .. } => {
                self.details
                    .extend(message.iter().map(|text| printable(text.trim_end()).into_owned()));
                self.end(bar, &self.headline(Color::Green, "✔", recorded));
            }
            StepEvent::StepFailed { failure, .. } => {
                self.details.extend(failure.lines());
                self.end(bar, &self.headline(Color::Red, "✘", recorded));
            }
            StepEvent::StepSkipped { name, reason } => {
                bar.println(printable(&format!("- {name} (skipped: {reason})")));
            }
            StepEvent::StepApprovalRequested { .. } => self.show_approval(bar, path, &texts),
            StepEvent::StepPrepared { .. }
            | StepEvent::StepApproved { .. }
            | StepEvent::StepRejected { .. }
            | StepEvent::StepCalled { .. }
            | StepEvent::StepItemsDecided { .. }
            | StepEvent::StepMessage { .. }
            | StepEvent::StepAttemptFailed { .. } => self.details.extend(texts),
            StepEvent::StepApplied { .. } => {}
            StepEvent::StepOperationFailed { .. }
            | StepEvent::StepUndoStarted
            | StepEvent::StepUndoFinished { .. }
            | StepEvent::StepUndoFailed { .. } => self.print_above(bar, &texts),
        }
    }

    /// Shows what happens to an item of a step, or in a runbook that it calls, under the name of the step.
    fn show_part_event(&mut self, step: &StepPath, event: &StepEvent, texts: Vec<String>) {
        match event {
            StepEvent::StepStarted { name, .. } | StepEvent::StepResumed { name } => {
                self.live.set_step(&format!("{}{name}", self.place(step)));
            }
            StepEvent::StepWaiting { message, .. } => self.live.set_wait(message),
            StepEvent::StepCompleted { message, .. } => {
                self.details
                    .extend(message.iter().map(|text| printable(text.trim_end()).into_owned()));
            }
            StepEvent::StepApplied { .. } => {}
            _ => self.details.extend(texts),
        }
    }

    /// Shows what a step asks, above the live line, and below it the command that answers.
    fn show_approval(&mut self, bar: &ProgressBar, path: &StepPath, texts: &[String]) {
        texts.iter().filter(|text| !text.starts_with("hint: ")).for_each(|text| bar.println(text));
        self.live.set_wait(&format!(
            "approval; answer elsewhere with: {} {path} (or `runs reject`)",
            self.answer_command
        ));
    }

    /// Shows lines that do not end a step, after what was reported before them, as during an undo.
    fn print_above(&mut self, bar: &ProgressBar, texts: &[String]) {
        self.live.set_step("");
        self.details.drain(..).for_each(|text| bar.println(format!("    {text}")));
        texts.iter().for_each(|text| bar.println(text));
    }

    fn end(&mut self, bar: &ProgressBar, headline: &str) {
        bar.println(headline);
        self.details.drain(..).for_each(|text| bar.println(format!("    {text}")));
    }

    fn headline(&self, color: Color, mark: &str, recorded: &RecordedEvent) -> String {
        let mark = if has_color() { paint(color, mark) } else { mark.to_owned() };
        format!("{mark} {} {}", self.name, self.duration_text(recorded))
    }

    fn duration_text(&self, recorded: &RecordedEvent) -> String {
        let started_at = self.started_at.unwrap_or(recorded.time);
        let took = Duration::try_from(recorded.time - started_at).unwrap_or_default();
        format!("({:.1} s)", took.as_secs_f64())
    }
}

/// Whether the terminal shows colors, and the person wants them: the live line is drawn past `stdout`.
fn has_color() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str =
        "Evict the relay pods of the old nodes and wait until their successors are Ready";
    const WAIT: &str = "The disruption budget rafay-relay-budget needs 6 healthy pods and has 6 currently; \
                        6 pods cannot be evicted yet: rafay-relay-7d9c5b8f6d-2xkqp, \
                        rafay-relay-7d9c5b8f6d-4hj2m, rafay-relay-7d9c5b8f6d-8wz5t, \
                        rafay-relay-7d9c5b8f6d-b6v9n, rafay-relay-7d9c5b8f6d-c2r7x and 1 more";

    #[test]
    fn live_lines_fit_the_terminal_and_begin_with_the_cause() {
        let live = LiveLines::default();
        live.set_step(NAME);
        live.set_wait(WAIT);
        for columns in [20, 59, 79, 109] {
            assert!(live.step_text(columns).chars().count() + BESIDE_NAME <= columns, "{columns}");
            let text = live.wait_text(columns);
            let lines: Vec<&str> = text.lines().skip(1).collect();
            assert!((1..=MAX_WAIT_LINES).contains(&lines.len()), "{columns}: {text}");
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{columns}: {text}");
            assert!(lines[0].starts_with("    The disruption"), "{columns}: {text}");
            assert!(text.ends_with("and 1 more"), "{columns}: {text}");
            let is_whole = text.split_whitespace().eq(WAIT.split_whitespace());
            assert!(is_whole || text.contains('…'), "{columns}: {text}");
        }
    }

    #[test]
    fn the_wait_of_a_step_that_has_ended_is_not_shown_with_the_next() {
        let live = LiveLines::default();
        live.set_wait(WAIT);
        live.set_step(NAME);
        assert_eq!(live.wait_text(79), "");
    }
}
